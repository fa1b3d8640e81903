"""ResNets over time, SlowFast, S3D, I3D and the early-fusion MobileNet: cost, shapes, and what of time they see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import everyframe
from everyframe import modelfile, models
from everyframe.conversion import convert
from everyframe.conversion.facts import Options
from everyframe.conversion.verify import TOLERANCE, verify
from everyframe.models import registry
from helpers import randomise, relative

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

CLIP_8, CLIP_16, CLIP_32 = ((1, 3, t, 224, 224) for t in (8, 16, 32))

# network, frames it is made for, inputs, parameters, multiply-adds of its convolutions and linear layers. Both figures were
# counted on the original implementations, those of s3d are torchvision's (17.979 G), those of early3d are our own.
COST: tuple[tuple[str, int, tuple[tuple[int, ...], ...], int, int], ...] = (
    ("slow_r50", 8, (CLIP_8,), 32_454_096, 41_740_828_672),
    ("i3d_r50", 8, (CLIP_8,), 28_043_472, 28_407_660_544),
    ("c2d_r50", 8, (CLIP_8,), 24_327_632, 19_493_191_680),
    ("r2plus1d_r50", 16, (CLIP_16,), 28_107_600, 57_533_825_024),
    ("csn_r101", 32, (CLIP_32,), 22_213_776, 56_468_187_136),
    ("slowfast_r50", 32, (CLIP_8, CLIP_32), 34_566_488, 50_308_583_424),
    ("slowfast_r50_4x16", 32, (CLIP_32,), 34_480_216, 27_638_665_216),
    ("s3d", 16, (CLIP_16,), 8_320_048, 17_978_771_456),
    ("i3d", 16, ((1, 3, 20, 224, 224),), 12_697_264, 34_851_764_224),
    ("early3d_mobilenet_0.5x", 16, ((1, 3, 16, 112, 112),), 821_634, 656_075_776),
    ("early3d_mobilenet_1.0x", 16, ((1, 3, 16, 112, 112),), 3_213_058, 2_438_322_176),
)


def build(name: str, **options: Any) -> Any:
    return registry.build(models.describe(name), **options)


def random(*shape: int, seed: int = 0) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def run(net: Any, x: Any) -> np.ndarray:
    with torch.no_grad():
        return net(x).numpy()


@pytest.mark.parametrize(("name", "frames", "inputs", "parameters", "macs"), COST, ids=lambda v: v if isinstance(v, str) else "")
def test_cost(name: str, frames: int, inputs: tuple[tuple[int, ...], ...], parameters: int, macs: int) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        net = build(name, frames=frames)
        clips = [torch.empty(shape) for shape in inputs]
        logits = net(clips if len(clips) > 1 else clips[0])
    assert logits.shape == (1, models.describe(name).num_classes)
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert counter.get_total_flops() == 2 * macs


@pytest.mark.parametrize(
    ("name", "channels", "frames", "size"),
    [
        ("c2d_r50", 3, 2, (32, 48)),
        ("c2d_r50", 1, 5, (45, 32)),
        ("r2plus1d_r50", 3, 1, (32, 32)),
        ("r2plus1d_r50", 2, 7, (50, 37)),
        ("csn_r101", 3, 9, (32, 33)),
        ("slowfast_r50", 1, 4, (32, 32)),
        ("slowfast_r50", 3, 11, (37, 50)),
        ("slowfast_r50_4x16", 3, 9, (32, 32)),
        ("s3d", 3, 5, (32, 32)),
        ("s3d", 4, 13, (61, 47)),
        ("i3d", 3, 1, (32, 32)),
        ("i3d", 2, 12, (47, 61)),
        ("early3d_mobilenet_0.5x", 3, 1, (32, 32)),
        ("early3d_mobilenet_0.3x", 1, 6, (33, 47)),
    ],
)
def test_other_clips(name: str, channels: int, frames: int, size: tuple[int, int]) -> None:
    net = build(name, num_classes=7, frames=frames, size=size, in_channels=channels)
    clips = random(2, channels, frames, *size)
    both = run(net, clips)
    assert both.shape == (2, 7)
    assert relative(both[1:], run(net, clips[1:])) < 1e-5, "the clips of a batch must not mix"
    assert relative(both[1:], both[:1]) > 1e-3, "another clip has other logits"


@pytest.mark.parametrize("name", ["c2d_r50", "slowfast_r50", "s3d", "i3d"])
def test_positions_of_a_larger_clip_are_averaged(name: str) -> None:
    net = build(name, num_classes=5, frames=16, size=32)
    assert run(net, random(1, 3, 32, 64, 64)).shape == (1, 5)


def test_the_windows_of_s3d_and_i3d_are_the_published_ones_where_they_fit() -> None:
    for name, pool in (("s3d", "avgpool"), ("i3d", "avg_pool")):
        for frames, size, window in ((None, None, (2, 7, 7)), (16, 448, (2, 7, 7)), (8, (64, 224), (1, 2, 7))):
            with torch.device("meta"):
                net = build(name, frames=frames, size=size)
            assert net.get_submodule(pool).kernel_size == window


# --- slowfast ---


@pytest.mark.parametrize(("name", "alpha"), [("slowfast_r50", 4), ("slowfast_r50_4x16", 8)])
@pytest.mark.parametrize("frames", [8, 13])
def test_slowfast_takes_a_clip_or_both_pathways(name: str, alpha: int, frames: int) -> None:
    net = build(name, num_classes=6, frames=frames, size=32)
    clip = random(1, 3, frames, 32, 32)
    assert np.array_equal(run(net, clip), run(net, [clip[:, :, ::alpha], clip]))
    other = clip[:, :, ::alpha] + random(1, 3, -(-frames // alpha), 32, 32, seed=1)
    assert relative(run(net, (other, clip)), run(net, clip)) > 1e-2


def test_slowfast_pathways_have_the_published_shapes() -> None:
    """Table 1 of the paper, with the frames of 8x8: slow (channels, frames, pixels), fast."""
    with torch.device("meta"):
        net = build("slowfast_r50")
        fast = torch.empty(1, 3, 32, 224, 224)
        slow = fast[:, :, ::4]
        seen = []
        for stage in list(net.blocks)[:5]:
            slow, fast = stage(slow, fast)
            seen.append((tuple(slow.shape[1:4]), tuple(fast.shape[1:4])))
    assert seen == [
        ((64 + 16, 8, 56), (8, 32, 56)),
        ((256 + 64, 8, 56), (32, 32, 56)),
        ((512 + 128, 8, 28), (64, 32, 28)),
        ((1024 + 256, 8, 14), (128, 32, 14)),
        ((2048, 8, 7), (256, 32, 7)),
    ]


# --- i3d, s3d ---


@pytest.mark.parametrize(
    ("n", "kernel", "stride", "pads"),
    [(16, 7, 2, (2, 3)), (15, 7, 2, (3, 3)), (16, 3, 1, (1, 1)), (5, 2, 2, (0, 1)), (4, 2, 2, (0, 0)), (3, 1, 2, (0, 0))],
)
def test_same_padding_puts_the_odd_frame_behind(n: int, kernel: int, stride: int, pads: tuple[int, int]) -> None:
    from everyframe.models.families.i3d import same

    padded = same(torch.ones(1, 1, n, 1, 1), (kernel, 1, 1), (stride, 1, 1)).flatten()
    assert padded.tolist() == [0.0] * pads[0] + [1.0] * n + [0.0] * pads[1]
    assert (len(padded) - kernel) // stride + 1 == -(-n // stride)


@pytest.mark.parametrize(("frames", "last"), [(16, 2), (20, 3), (9, 2), (8, 1), (23, 3)])
def test_i3d_on_clips_that_8_does_not_divide(frames: int, last: int) -> None:
    with torch.device("meta"):
        net = build("i3d", frames=frames)
        shapes: list[tuple[int, ...]] = []
        net.get_submodule("Mixed_5c").register_forward_hook(lambda *call: shapes.append(tuple(call[2].shape)))
        logits = net(torch.empty(1, 3, frames, 224, 224))
    assert shapes == [(1, 1024, last, 7, 7)] and logits.shape == (1, 400)


def test_the_max_pools_of_i3d_see_zeros_beyond_the_edge() -> None:
    from everyframe.models.families.i3d import Pool

    assert Pool(1, (3, 3, 3), (1, 1, 1))(torch.full((1, 1, 1, 1, 1), -5.0)).item() == 0


def test_keys_of_s3d_are_torchvisions() -> None:
    with torch.device("meta"):
        keys = list(build("s3d").state_dict())
    assert len(keys) == 464
    weights = [key for key in keys if key.endswith("weight")]
    assert weights[:6] == [f"features.{key}.weight" for key in ("0.0.0", "0.0.1", "0.1.0", "0.1.1", "2.0", "2.1")]
    convs = ("branch0.0", "branch1.0.0", "branch1.1.0.0", "branch1.1.1.0", "branch2.0.0", "branch2.1.0.0", "branch2.1.1.0")
    mixed = [key for key in weights if key.startswith("features.5.")]
    assert mixed[::2] == [f"features.5.{key}.weight" for key in (*convs, "branch3.1.0")]
    assert keys[-2:] == ["classifier.1.weight", "classifier.1.bias"]


# --- what of time they see ---


def seen_frames(features: Any, frames: int, at: int) -> set[int]:
    """Frames of the clip that change frame `at` of `features(clip)`."""
    clip = random(1, 3, frames, 32, 32)
    with torch.no_grad():
        before = features(clip)[:, :, at]
        changed = set()
        for j in range(frames):
            other = clip.clone()
            other[:, :, j] += 1
            if not torch.equal(features(other)[:, :, at], before):
                changed.add(j)
    return changed


def test_early_fusion_sees_three_frames_on_either_side() -> None:
    net = build("early3d_mobilenet_0.5x", frames=12, size=32)
    assert seen_frames(net.features, 12, at=5) == {2, 3, 4, 5, 6, 7, 8}
    assert net.features(random(1, 3, 12, 32, 32)).shape[2] == 12, "time is never strided"
    one = build("early3d_mobilenet_0.5x", frames=1, size=32)
    one.load_state_dict(net.state_dict())
    assert run(one, random(1, 3, 1, 32, 32)).shape == (1, 2)


def test_time_is_mixed_in_the_first_blocks_only() -> None:
    net = build("early3d_mobilenet_1.0x", frames=4, size=32)
    taps = [layer.kernel_size[0] for layer in net.features.modules() if isinstance(layer, torch.nn.Conv3d)]
    assert sum(k > 1 for k in taps) == 3 and all(k == 1 for k in taps[7:])


def test_c2d_does_not_know_the_order_of_frames() -> None:
    net = build("c2d_r50", num_classes=5, frames=4, size=32)
    clip = random(1, 3, 4, 32, 32)
    assert relative(run(net, clip.flip(2)), run(net, clip)) < 1e-5
    assert relative(run(net, clip[:, :, [0, 2, 1, 3]]), run(net, clip)) > 1e-3, "but which two are pooled matters"


@pytest.mark.parametrize(("name", "frames", "left"), [("r2plus1d_r50", 16, 4), ("csn_r101", 32, 4), ("i3d_r50", 8, 4)])
def test_strides_over_time(name: str, frames: int, left: int) -> None:
    with torch.device("meta"):
        net = build(name)
        assert net.blocks[:-1](torch.empty(1, 3, frames, 224, 224)).shape == (1, 2048, left, 7, 7)


# --- streaming ---


def test_pathways_of_a_clip_shorter_than_the_fusion_stream(tmp_path: Path) -> None:
    """Of 3 frames the fusion's kernel keeps 3 of 7 taps; both pathways are then as long as each other only in videos that
    differ from the clip by whole hops."""
    from everyframe.models.families.slowfast import VARIANTS, Pathways, fusion

    class Fused(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pathways = Pathways(torch.nn.Conv3d(3, 8, 1), torch.nn.Conv3d(3, 8, 1), fusion(8, VARIANTS["8x8"]))
            self.head = torch.nn.Linear(24, 5)

        def forward(self, clip: Any) -> Any:
            slow, _ = self.pathways(clip[:, :, ::4], clip)
            return self.head(slow.mean((2, 3, 4)))

    everyframe.export(randomise(Fused().eval(), seed=1), tmp_path / "clip.onnx", frames=3, size=8)
    made = convert(modelfile.load(tmp_path / "clip.onnx"), Options())
    assert made.metadata.hop == 4
    assert verify(made) <= TOLERANCE
