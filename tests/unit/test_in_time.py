"""A network over time that begins with weights for single pictures answers what the one for pictures does, frame by frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402
from torch import nn  # noqa: E402

from everyframe.errors import WeightsError  # noqa: E402
from everyframe.models.checkpoints.load import assemble, save  # noqa: E402
from everyframe.models.families.early3d import BLOCKS, STEM_CHANNELS, widen  # noqa: E402
from helpers import randomise  # noqa: E402

NAME, WIDTH, CLASSES = "early3d_mobilenet_0.25x", 0.25, 5
STAGES = ((0, 1), (1, 2), (3, 2), (5, 6), (11, 2))  # first block, how many, as timm counts them


class Pictures(nn.Module):
    """MobileNet-V1 (Howard et al. 2017, table 1) for single pictures, with the names that timm has for its layers."""

    def __init__(self) -> None:
        super().__init__()
        channels = widen(STEM_CHANNELS, WIDTH)
        self.conv_stem, self.bn1 = nn.Conv2d(3, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels)
        stages: list[nn.Module] = []
        for first, count in STAGES:
            blocks: list[nn.Module] = []
            for c_out, stride, _ in BLOCKS[first : first + count]:
                wide, block = widen(c_out, WIDTH), nn.Module()
                block.conv_dw = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
                block.bn1, block.conv_pw = nn.BatchNorm2d(channels), nn.Conv2d(channels, wide, 1, bias=False)
                block.bn2, channels = nn.BatchNorm2d(wide), wide
                blocks.append(block)
            stages.append(nn.Sequential(*blocks))
        self.blocks, self.classifier = nn.Sequential(*stages), nn.Linear(channels, CLASSES)

    def forward(self, x: Any) -> Any:
        x = torch.relu(self.bn1(self.conv_stem(x)))
        for stage in self.blocks:
            for block in stage:
                x = torch.relu(block.bn1(block.conv_dw(x)))
                x = torch.relu(block.bn2(block.conv_pw(x)))
        return self.classifier(x.mean((2, 3)))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    net, path = randomise(Pictures(), 3, gain=2.0).eval(), tmp_path_factory.mktemp("weights") / "pictures.safetensors"
    save_file(net.state_dict(), path)
    return net, path


@pytest.mark.parametrize("causal", ["false", "true"])
@torch.no_grad()
def test_a_clip_is_the_mean_of_its_pictures(pictures: tuple[nn.Module, Path], causal: str) -> None:
    net, path = pictures
    made = assemble(NAME, None, path, 5, 48, options={"causal": causal})
    assert made.num_classes == CLASSES and any("3 layers" in note for note in made.notes)
    clip = torch.randn(2, 3, 5, 48, 48, generator=torch.Generator().manual_seed(0))
    each = torch.stack([net(clip[:, :, t]) for t in range(5)])
    assert torch.allclose(made.net.eval()(clip), each.mean(0), rtol=1e-4, atol=1e-5)
    still = clip[:, :, 2:3].expand(-1, -1, 5, -1, -1)
    assert torch.allclose(made.net(still), each[2], rtol=1e-4, atol=1e-5)
    assert each.std(0).min() > 0.02 * each.abs().max()  # the pictures are told apart, so this is no law of constants


@torch.no_grad()
def test_so_do_our_own_weights_without_time(tmp_path: Path) -> None:
    frames = randomise(assemble(NAME, CLASSES, None, 4, 48, options={"time": "none"}).net, 1, gain=2.0).eval()
    save(frames, tmp_path / "frames.safetensors")
    made = assemble(NAME, None, tmp_path / "frames.safetensors", 4, 48)
    clip = torch.randn(1, 3, 4, 48, 48, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(made.net.eval()(clip), frames(clip), rtol=1e-4, atol=1e-5)
    made.net.train().requires_grad_(True)
    with torch.enable_grad():
        made.net(clip.repeat(2, 1, 1, 1, 1)).square().sum().backward()
    taps = made.net.features[1][0].weight
    assert taps.grad[:, :, 0].abs().max() > 0 and taps[:, :, 0].abs().max() == 0  # it can learn what time is


def test_other_networks_refuse_what_lacks_time(tmp_path: Path) -> None:
    flat = {
        key: value[:, :, 0] if value.ndim == 5 else value
        for key, value in assemble("c3d_bn", 4, None, 16, 112).net.state_dict().items()
    }
    save_file({key: value.contiguous() for key, value in flat.items()}, tmp_path / "flat.safetensors")
    with pytest.raises(WeightsError, match="misshapen"):
        assemble("c3d_bn", 4, tmp_path / "flat.safetensors", 16, 112)
