"""Checkpoints of the original projects load into our networks, strictly, whoever's names they use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import golden
from everyframe import models
from everyframe.errors import OutputError, UsageError, WeightsError
from everyframe.models.checkpoints import formats
from everyframe.models.checkpoints.load import load_into, read_checkpoint
from helpers import randomise, relative

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


def run(net: Any, x: Any) -> np.ndarray:
    with torch.no_grad():
        return net(x).numpy()


def saved(path: Path, state: dict[str, Any], wrapper: str | None = None, prefix: str = "") -> Path:
    tensors = {prefix + key: torch.as_tensor(value) for key, value in state.items()}
    torch.save({wrapper: tensors, "epoch": 3, "arch": "x"} if wrapper else tensors, path)
    return path


# --- other projects' names: the golden cases of co3d, which uses PySlowFast's names and its own ---


@pytest.mark.parametrize(
    ("case", "network", "frames", "size"),
    [("co_x3d_s", "x3d_s", 13, 112), ("co_slow_8", "slow_r50", 8, 96), ("co_i3d_8", "i3d_r50", 8, 96)],
)
def test_co3d_checkpoints(case: str, network: str, frames: int, size: int, tmp_path: Path) -> None:
    found = golden.case(case)
    path = saved(tmp_path / "w.pyth", found.weights(), "model_state")
    net = models.create(network, weights=path, frames=frames, size=size)
    clip = torch.from_numpy(found.inputs()[0][:, :, :frames])
    if case == "co_x3d_s":  # its squeeze-and-excite averages over the frame only
        assert sum(p.numel() for p in net.parameters()) == found.spec["params"]
        return
    assert sum(p.numel() for p in net.parameters()) == found.spec["params"]
    assert relative(run(net, clip), found.expected()["clip_forward"]) <= golden.TOLERANCE


# --- names of PySlowFast, written from our own by the inverse rules ---

PYSLOWFAST = {
    "x3d_xs": (
        ("blocks.0.conv.conv_t.", "s1.pathway0_stem.conv_xy."),
        ("blocks.0.conv.conv_xy.", "s1.pathway0_stem.conv."),
        ("blocks.0.norm.", "s1.pathway0_stem.bn."),
        ("blocks.5.pool.pre_conv.", "head.conv_5."),
        ("blocks.5.pool.pre_norm.", "head.conv_5_bn."),
        ("blocks.5.pool.post_conv.", "head.lin_5."),
        ("blocks.5.proj.", "head.projection."),
        ("norm_b.1.block.0.", "se.fc1."),
        ("norm_b.1.block.2.", "se.fc2."),
        ("norm_b.0.", "b_bn."),
    ),
    "slow_r50": (
        ("blocks.0.conv.", "s1.pathway0_stem.conv."),
        ("blocks.0.norm.", "s1.pathway0_stem.bn."),
        ("blocks.5.proj.", "head.projection."),
    ),
    "i3d_r50": (
        ("blocks.0.conv.", "s1.pathway0_stem.conv."),
        ("blocks.0.norm.", "s1.pathway0_stem.bn."),
        ("blocks.6.proj.", "head.projection."),
        ("blocks.5.res_blocks.", "s5.pathway0_res"),
        ("blocks.4.res_blocks.", "s4.pathway0_res"),
        ("blocks.3.res_blocks.", "s3.pathway0_res"),
    ),
    "slowfast_r50": (
        ("blocks.0.multipathway_blocks.0.conv.", "s1.pathway0_stem.conv."),
        ("blocks.0.multipathway_blocks.1.conv.", "s1.pathway1_stem.conv."),
        ("blocks.0.multipathway_blocks.0.norm.", "s1.pathway0_stem.bn."),
        ("blocks.0.multipathway_blocks.1.norm.", "s1.pathway1_stem.bn."),
        *((f"blocks.{k}.multipathway_fusion.conv_fast_to_slow.", f"s{k + 1}_fuse.conv_f2s.") for k in range(4)),
        *((f"blocks.{k}.multipathway_fusion.norm.", f"s{k + 1}_fuse.bn.") for k in range(4)),
        *((f"blocks.{k}.multipathway_blocks.{p}.res_blocks.", f"s{k + 1}.pathway{p}_res") for k in range(1, 5) for p in (0, 1)),
        ("blocks.6.proj.", "head.projection."),
    ),
}
LAYERS = (
    *((f"blocks.{k}.res_blocks.", f"s{k + 1}.pathway0_res") for k in range(1, 5)),
    ("branch1_conv.", "branch1."),
    ("branch1_norm.", "branch1_bn."),
    ("conv_a.", "a."),
    ("conv_b.", "b."),
    ("conv_c.", "c."),
    ("norm_a.", "a_bn."),
    ("norm_b.", "b_bn."),
    ("norm_c.", "c_bn."),
)


@pytest.mark.parametrize("name", PYSLOWFAST)
@pytest.mark.parametrize("wrapper", [None, "model_state"])
def test_pyslowfast_checkpoints(name: str, wrapper: str | None, tmp_path: Path) -> None:
    options = {"first_shortcut": "conv_bn"} if name.startswith("x3d") else {}
    net = randomise(models.create(name, num_classes=5, **options), seed=1)
    theirs = {}
    for key, value in net.state_dict().items():
        for ours, other in (*PYSLOWFAST[name], *LAYERS):
            key = key.replace(ours, other)
        theirs[key] = value
    assert not any(key.startswith("blocks") for key in theirs)
    loaded = models.create(name, weights=saved(tmp_path / "w.pyth", theirs, wrapper))
    for (key, value), other in zip(net.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert torch.equal(value, other), key


def test_x3d_loads_with_and_without_the_first_batch_norm(tmp_path: Path) -> None:
    for kind in ("conv", "conv_bn"):
        net = randomise(models.create("x3d_xs", num_classes=3, first_shortcut=kind), seed=2)
        loaded = models.create("x3d_xs", weights=saved(tmp_path / "w.pt", net.state_dict()))
        assert list(loaded.state_dict()) == list(net.state_dict())


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_the_shortcut_of_a_resnet_is_read_from_its_keys(shortcut: str, tmp_path: Path) -> None:
    net = randomise(models.create("resnet3d_18", num_classes=3, shortcut=shortcut), seed=2)
    path = saved(tmp_path / "w.pth", net.state_dict(), "state_dict", "module.")
    loaded = models.create("resnet3d_18", weights=path)
    x = torch.randn(1, 3, 8, 64, 64)
    assert np.array_equal(run(loaded, x), run(net, x))
    other = "AB".replace(shortcut, "")
    with pytest.raises(WeightsError, match="downsample"):
        models.create("resnet3d_18", weights=path, shortcut=other)


def test_a_one_way_tsm_checkpoint_loads_into_the_online_network(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    net = randomise(models.create("tsm_mobilenet_v2", num_classes=6, frames=2, size=32), seed=1)
    path = saved(tmp_path / "ckpt.best.pth.tar", net.state_dict(), "state_dict", "module.")
    online = models.create("tsm_mobilenet_v2_online", weights=path, frames=2, size=32)
    assert torch.equal(online.classifier.weight, net.new_fc.weight)
    assert torch.equal(online.features[3].conv[0].weight, net.base_model.features[3].conv[0].net.weight)
    assert "two-way shift" in caplog.text


# --- every network: its own names are recognized as its project's, and as no other network's ---


@pytest.mark.parametrize("name", models.list())
def test_every_network_is_recognized(name: str) -> None:
    entry = models.describe(name)
    with torch.device("meta"):
        keys = list(models.create(name).state_dict())
    found = next((one for one in formats.recognize(keys) if one.fits(name)), None)
    if entry.source == "everyframe":
        assert found is None
        return
    assert found is not None, name
    assert not found.rules, "its own names need no rules"
    assert dict.fromkeys(keys) == formats.rename(found, entry, dict.fromkeys(keys))
    for option, value in formats.build_options(found, keys).items():
        assert entry.options[option] == value


# --- as strangers wrap them ---


def under(*prefixes: str) -> Callable[[dict[str, Any]], Any]:
    return lambda state: {"".join(prefixes) + key: value for key, value in state.items()}


def with_optimizer(state: dict[str, Any]) -> Any:
    held = {number: {"momentum_buffer": value} for number, value in enumerate(state.values())}
    return {"optimizer": {"state": held, "param_groups": [{"lr": 0.1}]}, "net": state, "epoch": 3, "best": torch.tensor(0.5)}


WRAPPED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "an optimizer beside": with_optimizer,
    "Lightning": lambda state: {"state_dict": under("model.")(state), "hyper_parameters": {"lr": 0.1}, "global_step": 7},
    "Lightning around DataParallel": lambda state: {"state_dict": under("model.", "module.")(state)},
    "torch.compile": under("_orig_mod."),
    "compiled, in parallel": under("module.", "_orig_mod."),
    "averaged": lambda state: {"n_averaged": torch.tensor(4), **under("module.")(state)},
    "averaged by timm": lambda state: {"state_dict_ema": state, "arch": "x"},
    "operations were counted": lambda state: state | {"total_ops": torch.zeros(1), "features.0.total_params": torch.zeros(1)},
    "halves": lambda state: {key: value.half() if value.is_floating_point() else value for key, value in state.items()},
    "bfloat16": lambda state: {"model": {k: v.bfloat16() if v.is_floating_point() else v for k, v in state.items()}},
}


@pytest.fixture(scope="module")
def small() -> dict[str, Any]:
    """Weights that bfloat16 holds."""
    net = randomise(models.create("mobilenet3d_v2_0.2x", num_classes=7), seed=1)
    return {
        key: value.bfloat16().to(value.dtype) if value.is_floating_point() else value for key, value in net.state_dict().items()
    }


@pytest.mark.parametrize("how", WRAPPED)
def test_a_strangers_wrapping(how: str, small: dict[str, Any], tmp_path: Path) -> None:
    torch.save(WRAPPED[how](small), tmp_path / "w.pth")
    state, _ = read_checkpoint(tmp_path / "w.pth")
    net = models.create("mobilenet3d_v2_0.2x", num_classes=7)
    load_into(net, state, head=None, where="w.pth")
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, small[key], rtol=0, atol=1e-7 if how == "halves" else 0)  # below its smallest numbers


def test_c3d_with_the_names_of_caffe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """As in c3d.pickle of Sports-1M, whose classes are 487."""
    monkeypatch.setattr("everyframe.models.families.c3d.HIDDEN", 32)
    net = randomise(models.create("c3d", num_classes=487, size=32), seed=1)
    theirs = {}
    for key, value in net.state_dict().items():
        name = key.removeprefix("backbone.").replace(".conv.", ".").replace("cls_head.fc_cls", "fc8")
        theirs[name.replace("conv1a", "conv1").replace("conv2a", "conv2")] = value
    assert list(theirs)[:4] == ["conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias"] and "fc8.bias" in theirs
    loaded = models.create("c3d", weights=saved(tmp_path / "c3d.pickle", theirs), size=32)
    for (key, value), other in zip(net.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert torch.equal(value, other), key
    assert "does not say which" in caplog.text


# --- what does not fit ---


def test_a_checkpoint_of_another_network_says_whose_it_is(tmp_path: Path) -> None:
    net = models.create("mobilenet3d_v2_0.45x", num_classes=3)
    path = saved(tmp_path / "w.pth", net.state_dict(), "state_dict", "module.")
    with pytest.raises(WeightsError, match=r"fits mobilenet3d_v2_0.45x \(Efficient-3DCNNs\)"):
        models.create("mobilenet3d_v2_0.2x", weights=path)
    with pytest.raises(WeightsError, match=r"fits mobilenet3d_v2_0.45x"):
        models.create("x3d_s", weights=path)


def test_unknown_options() -> None:
    with pytest.raises(UsageError, match="shortcut"):
        models.create("x3d_s", shortcut="A")
    with pytest.raises(UsageError, match="A or B"):
        models.create("resnet3d_18", shortcut="C")


def test_weights_are_written_as_safetensors_and_read_back(tmp_path: Path) -> None:
    net = randomise(models.create("tsm_mobilenet_v2_online", num_classes=4, frames=2, size=32), seed=1)
    models.save(net, tmp_path / "w.safetensors")
    again = models.create("tsm_mobilenet_v2_online", weights=tmp_path / "w.safetensors", frames=2, size=32)
    x = torch.randn(1, 3, 2, 32, 32)
    assert np.array_equal(run(again, x), run(net, x))
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]
    with pytest.raises(OutputError, match="safetensors"):
        models.save(net, tmp_path / "w.pt")
    with pytest.raises(OutputError, match="folder"):
        models.save(net, tmp_path / "no" / "w.safetensors")
