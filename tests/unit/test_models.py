"""The zoo: structure (parameter counts, key names), numbers (official outputs), names and weights."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everyframe import models
from everyframe.errors import EngineError, UsageError, WeightsError, install_extra
from everyframe.models import registry
from helpers import randomise, relative

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

# parameters, as far as published: torchvision's and PyTorchVideo's model lists, table 8 of Kopuklu et al. by their code
PARAMETERS = {
    "x3d_xs": 3_794_274,
    "x3d_s": 3_794_274,
    "x3d_m": 3_794_274,
    "x3d_l": 6_153_384,
    "slow_r50": 32_454_096,
    "i3d_r50": 28_043_472,
    "c2d_r50": 24_327_632,
    "r2plus1d_r50": 28_107_600,
    "slowfast_r50": 34_566_488,
    "csn_r101": 22_213_776,
    "r2plus1d_18": 31_505_325,
    "r3d_18": 33_371_472,
    "mc3_18": 11_695_440,
    "s3d": 8_320_048,
    "c3d": 78_409_573,
    "c3d_bn": 80_459_480,
    "tsm_resnet50": 24_327_632,
    "tsm_mobilenet_v2_online": 2_258_459,
    "mobilenet3d_v2_0.2x": 964_110,
    "mobilenet3d_v2_0.45x": 1_399_834,
    "mobilenet3d_v2_0.7x": 2_049_942,
    "mobilenet3d_v2_1.0x": 3_122_648,
    "mobilenet3d_1.0x": 3_912_984,
    "shufflenet3d_1.0x": 1_521_504,
    "shufflenet3d_v2_1.0x": 1_914_180,
    "squeezenet3d": 2_145_560,
    "resnet3d_50": 47_428_376,
    "resnext3d_101": 48_750_616,
}


def meta(name: str, **options: Any) -> Any:
    """The network without memory for its weights."""
    with torch.device("meta"):
        return registry.build(models.describe(name), **options)


def clip(*shape: int, seed: int = 0) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def run(net: Any, x: Any) -> np.ndarray:
    with torch.no_grad():
        return net(x).numpy()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4e18 bytes"),
            "does not fit into memory",
        ),
        (RuntimeError("Storage size calculation overflowed with sizes=[9, 9]"), "does not fit into memory"),
        (MemoryError(), "does not fit into memory"),
        (RuntimeError("shape '[2, 3]' is invalid for input of size 5"), "(?s)cannot be made like this.*shape '"),
    ],
)
def test_only_a_lack_of_memory_is_called_one(error: Exception, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    entry = models.describe("c3d")
    monkeypatch.setattr(entry.build.replace(":", "."), fails)
    with pytest.raises(UsageError, match=said):
        registry.build(entry)


# --- names ---


def test_every_listed_network_builds_with_its_defaults() -> None:
    names = models.list()
    assert names == sorted(names)
    assert set(PARAMETERS) <= set(names)
    for name in names:
        entry = models.describe(name)
        net = meta(name)
        assert not net.training
        assert f"{entry.head}.weight" in net.state_dict(), name
        assert (entry.preprocess.crop or entry.preprocess.resize) == entry.size, name


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts(name: str) -> None:
    assert sum(p.numel() for p in meta(name).parameters()) == PARAMETERS[name]


def test_any_width_of_mobilenet() -> None:
    assert run(models.create("mobilenet3d_v2_0.25x", num_classes=5), clip(2, 3, 4, 32, 32)).shape == (2, 5)
    assert models.describe("mobilenet3d_v2_1x") == models.describe("mobilenet3d_v2_1.0x")
    with pytest.raises(UsageError, match="width"):
        models.describe("mobilenet3d_v2_0x")
    with pytest.raises(UsageError, match="width"):
        models.describe("mobilenet3d_v2_99x")


def test_an_unknown_name_lists_the_closest() -> None:
    with pytest.raises(UsageError, match="x3d_s"):
        models.create("x3d-s")
    with pytest.raises(UsageError, match="r2plus1d_18"):
        models.describe("r2plus1d18")


def test_a_duplicate_name_raises() -> None:
    with pytest.raises(UsageError, match="same name"):
        models.register(models.describe("c3d"))


def test_listing_needs_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; from everyframe import models; print(len(models.list()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(models.list())


def test_building_without_torch_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineError, match=re.escape(install_extra("train"))):
        models.create("x3d_s")


# --- shapes ---


@pytest.mark.parametrize(
    ("name", "frames", "size"),
    [
        ("x3d_xs", 1, (32, 32)),
        ("x3d_xs", 4, (50, 37)),
        ("slow_r50", 1, (32, 48)),
        ("i3d_r50", 3, (33, 32)),
        ("r2plus1d_18", 1, (32, 32)),
        ("mc3_18", 2, (32, 40)),
        ("mobilenet3d_v2_0.2x", 3, (32, 45)),
        ("tsm_mobilenet_v2", 2, (32, 32)),
        ("tsm_mobilenet_v2_online", 3, (40, 32)),
    ],
)
def test_other_clip_shapes_and_batches(name: str, frames: int, size: tuple[int, int]) -> None:
    net = models.create(name, num_classes=7, frames=frames, size=size)
    x = clip(2, 3, frames, *size)
    both = run(net, x)
    assert both.shape == (2, 7)
    assert relative(both[1:], run(net, x[1:])) < 1e-5, "the clips of a batch must not mix"


def test_c3d_takes_its_dense_layer_from_the_clip_shape() -> None:
    net = meta("c3d", frames=16, size=64)
    assert net.backbone.fc6.in_features == 512 * 1 * 3 * 3


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("c3d", {"frames": 15}, "at least 16 frames"),
        ("tsm_resnet50", {"frames": 1}, "at least 2 frames"),
        ("x3d_s", {"frames": 0}, "at least 1 frame"),
        ("x3d_s", {"size": 31}, "at least 32 x 32"),
        ("x3d_s", {"size": (64, 8)}, "at least 32 x 32"),
        ("x3d_s", {"num_classes": 0}, "at least one class"),
    ],
)
def test_impossible_shapes(name: str, options: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        models.create(name, **options)


def test_fresh_weights_let_the_clip_through() -> None:
    """With torch's default weights these logits agree to 7 digits whatever the clip is."""
    for name in ("mobilenet3d_v2_0.45x", "tsm_mobilenet_v2"):
        net = models.create(name, frames=4, size=32)
        assert relative(run(net, clip(1, 3, 4, 32, 32, seed=1)), run(net, clip(1, 3, 4, 32, 32, seed=2))) > 1e-2


# --- temporal shift ---


def test_the_shift_by_hand() -> None:
    from everyframe.models.families.blocks import TimeShift

    x = torch.arange(1, 1 + 3 * 16, dtype=torch.float32).reshape(3, 16, 1, 1)  # 3 frames, 16 channels: folds of 2
    both = TimeShift(3, causal=False)(x)[:, :, 0, 0]
    frames = x[:, :, 0, 0]
    assert torch.equal(both[:, :2], torch.stack([frames[1, :2], frames[2, :2], torch.zeros(2)]))
    assert torch.equal(both[:, 2:4], torch.stack([torch.zeros(2), frames[0, 2:4], frames[1, 2:4]]))
    assert torch.equal(both[:, 4:], frames[:, 4:])
    past = TimeShift(3, causal=True)(x)[:, :, 0, 0]
    assert torch.equal(past[:, :2], torch.stack([torch.zeros(2), frames[0, :2], frames[1, :2]]))
    assert torch.equal(past[:, 2:], frames[:, 2:])


def test_the_online_network_never_looks_ahead() -> None:
    net = randomise(models.create("tsm_mobilenet_v2_online", frames=5, size=32), seed=3)
    x = clip(1, 3, 5, 32, 32)
    changed = x.clone()
    changed[:, :, 3:] += 1
    with torch.no_grad():
        before, after = net.frame_logits(x)[0], net.frame_logits(changed)[0]
    assert torch.equal(before[:3], after[:3])
    assert (before[3:] - after[3:]).abs().min() > 0
    assert relative(run(net, x)[0], before.mean(0)) < 1e-6


def test_the_offline_network_looks_both_ways() -> None:
    net = randomise(models.create("tsm_mobilenet_v2", frames=3, size=32), seed=3)
    x = clip(1, 3, 3, 32, 32)
    with torch.no_grad():
        before = net.frame_logits(x)[0]
        for other in (0, 2):
            changed = x.clone()
            changed[:, :, other] += 1
            assert not torch.equal(net.frame_logits(changed)[0, 1], before[1])


def test_tsm_on_another_clip_length_says_so() -> None:
    with pytest.raises(UsageError, match="frames=3"):
        models.create("tsm_mobilenet_v2", frames=2, size=32)(clip(1, 3, 3, 32, 32))


# --- weights ---


def small(**options: Any) -> Any:
    return models.create("mobilenet3d_v2_0.2x", **{"num_classes": 4, **options})


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_checkpoint_round_trip(tmp_path: Path, wrapper: str | None, prefix: str) -> None:
    net = randomise(small(), seed=1)
    state = {prefix + key: value for key, value in net.state_dict().items()}
    torch.save(state if wrapper is None else {wrapper: state, "epoch": 3}, tmp_path / "w.pt")
    x = clip(1, 3, 2, 32, 32)
    assert np.array_equal(run(small(num_classes=None, weights=tmp_path / "w.pt"), x), run(net, x))


def test_safetensors(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    net = randomise(small(), seed=1)
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    x = clip(1, 3, 2, 32, 32)
    assert np.array_equal(run(small(weights=tmp_path / "w.safetensors"), x), run(net, x))


def test_a_head_of_another_size_is_replaced_with_a_note(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    net = randomise(small(), seed=1)
    torch.save(net.state_dict(), tmp_path / "w.pt")
    other = small(num_classes=9, weights=tmp_path / "w.pt")
    assert "4 classes in the checkpoint; replaced by 9" in caplog.text
    assert other.classifier[1].out_features == 9
    assert torch.equal(other.features[0][0].weight, net.features[0][0].weight)


def test_keys_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    state = small().state_dict()
    state["features.7.extra"] = torch.zeros(1)
    del state["features.0.0.weight"]
    state["features.1.conv.0.weight"] = torch.zeros(1, 2, 3)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(WeightsError) as caught:
        small(weights=tmp_path / "w.pt")
    text = str(caught.value)
    assert "1 missing: features.0.0.weight" in text
    assert "1 unexpected: features.7.extra" in text
    assert "1 misshapen: features.1.conv.0.weight (1, 2, 3), expected (6, 1, 3, 3, 3)" in text
    assert str(tmp_path / "w.pt") in text


def test_batch_counters_may_be_missing(tmp_path: Path) -> None:
    state = {key: value for key, value in small().state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "w.pt")
    small(weights=tmp_path / "w.pt")


class Harmful:
    """Unpickling this runs code."""

    def __reduce__(self) -> tuple:
        return (print, ("unpickled",))


def test_bad_checkpoints_give_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": Harmful()}, tmp_path / "harmful.pt")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    (tmp_path / "text.safetensors").write_text("not a checkpoint")
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "nothing.pt")
    state = small().state_dict()
    state["features.0.0.weight"][0] = float("nan")
    torch.save(state, tmp_path / "nan.pt")
    for name in (
        "harmful.pt",
        "text.pt",
        "text.safetensors",
        "empty.pt",
        "list.pt",
        "nothing.pt",
        "nan.pt",
        "absent.pt",
    ):
        with pytest.raises(WeightsError, match=name):
            small(weights=tmp_path / name)
    assert "unpickled" not in capsys.readouterr().out
