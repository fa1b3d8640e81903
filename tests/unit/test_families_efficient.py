"""The networks of "Resource Efficient 3D Convolutional Neural Networks": their published costs, widths and shapes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from everyframe.errors import UsageError
from everyframe.models.registry import build, describe
from helpers import randomise

torch = pytest.importorskip("torch")
flop_counter = pytest.importorskip("torch.utils.flop_counter")
torch.set_num_threads(1)

CLIP = (1, 3, 16, 112, 112)

# name: (shortcut, million parameters, million multiply-adds of convolutions and linear layers, the paper's "MFLOPs" in table 8)
PUBLISHED: dict[str, tuple[str, float, float, int | None]] = {
    "shufflenet3d_0.5x": ("", 0.546, 72.0, 78),
    "shufflenet3d_1.0x": ("", 1.522, 187.7, 199),
    "shufflenet3d_1.5x": ("", 2.925, 329.2, 347),
    "shufflenet3d_2.0x": ("", 4.759, 514.5, 538),
    "shufflenet3d_v2_0.25x": ("", 0.830, 110.5, 116),
    "shufflenet3d_v2_0.5x": ("", 0.977, 119.9, None),
    "shufflenet3d_v2_1.0x": ("", 1.914, 186.5, 195),
    "shufflenet3d_v2_1.5x": ("", 3.162, 280.9, 291),
    "shufflenet3d_v2_2.0x": ("", 6.640, 424.9, 438),
    "mobilenet3d_0.5x": ("", 1.172, 94.0, 98),
    "mobilenet3d_1.0x": ("", 3.913, 233.0, 241),
    "mobilenet3d_1.5x": ("", 8.224, 417.0, 429),
    "mobilenet3d_2.0x": ("", 14.105, 646.0, 662),
    "mobilenet3d_v2_0.2x": ("", 0.964, 54.9, 63),
    "mobilenet3d_v2_0.45x": ("", 1.400, 158.0, 177),
    "mobilenet3d_v2_0.7x": ("", 2.050, 295.7, 325),
    "mobilenet3d_v2_1.0x": ("", 3.123, 519.0, 561),
    "squeezenet3d": ("", 2.146, 902.6, 926),
    "resnet3d_18": ("A", 33.338, 8296, 8323),
    "resnet3d_50": ("A", 44.652, 9779, 9835),
    "resnet3d_50 B": ("B", 47.428, 10070, None),
    "resnet3d_101": ("A", 83.698, 13601, 13664),
    "resnet3d_101 B": ("B", 86.475, 13891, None),
    "resnext3d_101": ("B", 48.751, 9568, 9652),
    "c3d_bn": ("", 80.459, 33000, None),
}


def meta(name: str, classes: int = 600, **options: object) -> torch.nn.Module:
    with torch.device("meta"):
        return build(describe(name), classes, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("row", PUBLISHED)
def test_costs_are_the_published_ones(row: str) -> None:
    from everyframe.models.cards.thop import paper_flops

    shortcut, parameters, macs, printed = PUBLISHED[row]
    net = meta(row.split()[0], **({"shortcut": shortcut} if shortcut else {}))
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 3) == parameters
    with flop_counter.FlopCounterMode(display=False) as counter:
        net(torch.empty(CLIP, device="meta"))
    assert round(counter.get_total_flops() / 2e6, 1 if macs < 1000 else None) == macs
    assert printed in (None, round(paper_flops(net, CLIP) / 1e6))


def test_the_papers_count_leaves_the_network_alone() -> None:
    from everyframe.models.cards.thop import paper_flops

    layer = torch.nn.Sequential(torch.nn.Conv3d(2, 5, 3, bias=True), torch.nn.ReLU()).train()
    assert paper_flops(layer, (1, 2, 3, 3, 4)) == 5 * 2 * (2 * 27 + 1) + 5 * 2
    assert layer.training and layer[0].weight.device.type == "cpu" and not layer[0]._forward_hooks


# --- widths ---
@pytest.mark.parametrize("family", ["shufflenet3d", "shufflenet3d_v2", "mobilenet3d"])
def test_any_width_runs_and_a_wider_network_is_larger(family: str) -> None:
    counts = []
    for width in (0.25, 0.33, 0.49, 0.5, 0.7, 0.9, 1.0, 1.1, 1.25, 1.77, 2.0):
        net = meta(f"{family}_{width}x", 7)
        assert net(torch.empty(2, 3, 16, 64, 64, device="meta")).shape == (2, 7)
        counts.append(sum(p.numel() for p in net.parameters()))
    assert all(a < b for a, b in pairwise(counts))


def test_shufflenet_takes_any_width_of_its_range() -> None:
    for hundredths in (*range(25, 200, 10), 333, 400):
        meta(f"shufflenet3d_{hundredths / 100}x", 3)


def test_shufflenet_v2_refuses_a_width_beyond_its_table() -> None:
    from everyframe.models.families.shufflenet3d_v2 import plan

    assert plan(0.75) == (82, 164, 328, 1024)
    with pytest.raises(UsageError, match=r"0\.25 to 2\.0"):
        plan(2.5)


# --- shapes ---
SMALL = ("squeezenet3d", "mobilenet3d_0.5x", "shufflenet3d_0.5x", "shufflenet3d_1.0x", "shufflenet3d_v2_0.25x", "resnet3d_18")


@pytest.mark.parametrize("name", (*SMALL, "resnet3d_50", "resnext3d_101"))
@pytest.mark.parametrize("frames, size, channels", [(8, (33, 45), 1), (20, (45, 33), 3), (5, (32, 32), 2), (16, (50, 98), 4)])
def test_any_clip_and_any_channels(name: str, frames: int, size: tuple[int, int], channels: int) -> None:
    net = meta(name, 5, frames=frames, size=size, in_channels=channels)
    assert net(torch.empty(2, channels, frames, *size, device="meta")).shape == (2, 5)


@pytest.mark.parametrize("frames, size", [(16, (33, 45)), (20, (32, 32)), (33, (64, 48))])
def test_c3d_fits_its_dense_layer_to_the_clip(frames: int, size: tuple[int, int]) -> None:
    net = meta("c3d_bn", 5, frames=frames, size=size, in_channels=1)
    assert net(torch.empty(1, 1, frames, *size, device="meta")).shape == (1, 5)


def test_small_pictures_are_pooled_like_large_ones() -> None:
    """3D-ShuffleNet pads in front of its average pool, which torch refuses for pictures smaller than the window."""
    from everyframe.models.families.shufflenet3d import Block

    block = Block(12, 24, 2).eval()
    clip = torch.randn(1, 12, 4, 7, 8)
    expected = torch.nn.functional.avg_pool3d(clip, (2, 3, 3), 2, (0, 1, 1)).relu()
    assert torch.equal(block(clip)[:, 12:], expected)
    assert block(clip[:, :, :3, :2, :1]).shape == (1, 24, 2, 1, 1)


# --- shortcuts ---
def test_shortcut_a_takes_every_second_position_and_adds_zero_channels() -> None:
    from everyframe.models.families.resnet3d import ZeroShortcut

    x = torch.randn(2, 3, 5, 6, 7, requires_grad=True)
    made = ZeroShortcut(2, 4)(x)
    assert torch.equal(made[:, :3], x[:, :, ::2, ::2, ::2]) and made.shape == (2, 7, 3, 3, 4) and not made[:, 3:].any()
    made.sum().backward()
    expected = torch.zeros_like(x)
    expected[:, :, ::2, ::2, ::2] = 1
    assert torch.equal(x.grad, expected)


def test_gradients_pass_the_shortcuts_where_the_convolutions_are_silent() -> None:
    net = build(describe("resnet3d_18"), 4, shortcut="A")
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        for block in stage:
            torch.nn.init.zeros_(block.bn2.weight)  # only shortcuts are left
    net(torch.randn(1, 3, 8, 32, 32)).square().sum().backward()
    assert net.conv1.weight.grad.abs().max() > 0


# --- the stream ---
class LastStage(torch.nn.Module):
    """What 3D-ShuffleNet is from where two frames of a 16-frame clip are left: the shortcut's pool spans them all."""

    def __init__(self) -> None:
        super().__init__()
        from everyframe.models.families.shufflenet3d import Block

        self.block, self.fc = Block(3, 24, 2), torch.nn.Linear(24, 5)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return self.fc(self.block(clip).mean((2, 3, 4)))


@pytest.mark.parametrize("size", [2, 7])
def test_a_pool_over_all_frames_beside_a_strided_branch_streams_as_a_pool(size: int, tmp_path: Path) -> None:
    import everyframe
    from everyframe import modelfile
    from everyframe.conversion import convert
    from everyframe.conversion.verify import TOLERANCE, verify

    everyframe.export(randomise(LastStage(), seed=1), tmp_path / "clip.onnx", frames=2, size=size)
    made = convert(modelfile.load(tmp_path / "clip.onnx"))
    assert verify(made) <= TOLERANCE
    assert (made.metadata.hop, made.metadata.feature_delay) == (2, 1)
