"""The option `causal`: a network that looks at both sides of a frame becomes one that looks back only."""

from __future__ import annotations

from typing import Any

import pytest

from everyframe import models
from everyframe.conversion import convert
from everyframe.conversion.verify import TOLERANCE, verify
from everyframe.models import registry
from helpers import quick_export, randomise

torch = pytest.importorskip("torch")
from everyframe.models.causal import make_causal  # noqa: E402

nn = torch.nn

LAYERS = (nn.Conv3d, nn.AvgPool3d, nn.MaxPool3d)


def pads_time(net: Any) -> bool:
    found = (layer.padding for layer in net.modules() if isinstance(layer, LAYERS))
    return any(padding if isinstance(padding, int) else padding[0] for padding in found)


@pytest.mark.parametrize("name", models.list())
def test_networks_that_pad_time_at_both_ends_have_the_option(name: str) -> None:
    entry = models.describe(name)
    with torch.device("meta"):
        net = registry.build(entry)
    assert pads_time(net) == entry.two_sided == ("causal" in entry.choices)
    keys = list(net.state_dict())
    assert not pads_time(make_causal(net))
    assert list(net.state_dict()) == keys, "a checkpoint of the other fits"


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
def test_a_layer_sees_no_later_frame(kind: type[Any], stride: int) -> None:
    torch.manual_seed(0)
    own = {"in_channels": 2, "out_channels": 2} if kind is nn.Conv3d else {}
    make = lambda: kind(kernel_size=(5, 3, 3), stride=(stride, 1, 1), padding=(2, 1, 1), **own)  # noqa: E731
    layer, clip = make_causal(make()), torch.randn(1, 2, 9, 4, 4)
    out = layer(clip)
    assert out.shape == make()(clip).shape
    for at in range(9):
        later = clip.clone()
        later[:, :, at + 1 :] = 7.0
        upto = at // stride + 1
        assert torch.equal(layer(later)[:, :, :upto], out[:, :, :upto])


@pytest.mark.parametrize("name", ["x3d_xs", "squeezenet3d"])
def test_a_causal_network_streams_without_delay(name: str) -> None:
    entry = models.describe(name)
    made = convert(quick_export(randomise(registry.build(entry, 5, size=32, causal="true"), seed=1), entry.frames, 32))
    assert verify(made) <= TOLERANCE
    assert made.metadata.feature_delay == 0


def test_yes_and_no_may_be_spelled_as_python_and_toml_spell_them() -> None:
    for yes in (True, "true"):
        assert not pads_time(models.create("mobilenet3d_0.5x", num_classes=2, frames=16, size=32, causal=yes))
    assert pads_time(models.create("mobilenet3d_0.5x", num_classes=2, frames=16, size=32, causal=False))
