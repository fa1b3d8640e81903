"""The zoo equals the original implementations: their keys in order, their parameter counts, their outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import golden
from everyframe import models
from helpers import relative

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

# golden case -> (network, arguments)
GOLDEN: dict[str, tuple[str, dict[str, Any]]] = {
    "pv_x3d_s": ("x3d_s", {}),
    "pv_slow_8x8_r50": ("slow_r50", {}),
    "pv_i3d_8x8_r50": ("i3d_r50", {}),
    "pv_c2d_8x8_r50": ("c2d_r50", {}),
    "pv_r2plus1d_16x4_r50": ("r2plus1d_r50", {}),
    "pv_slowfast_8x8_r50": ("slowfast_r50", {}),
    "pv_csn_32x2_r101": ("csn_r101", {}),
    "tv_r2plus1d_18": ("r2plus1d_18", {}),
    "tv_r3d_18": ("r3d_18", {}),
    "tv_mc3_18": ("mc3_18", {}),
    "mma_c3d": ("c3d", {}),
    "i3d_inception_20": ("i3d", {"frames": 16}),  # run on 20 frames: two windows of 16
    "eff_squeezenet11": ("squeezenet3d", {}),
    "eff_mobilenet_1.0": ("mobilenet3d_1.0x", {}),
    "eff_mobilenetv2_1.0": ("mobilenet3d_v2_1.0x", {}),
    "eff_shufflenet_g3_1.0": ("shufflenet3d_1.0x", {}),
    "eff_shufflenetv2_1.0": ("shufflenet3d_v2_1.0x", {}),
    "eff_resnet50_B": ("resnet3d_50", {"shortcut": "B"}),
    "eff_resnext101_B": ("resnext3d_101", {"shortcut": "B"}),
    "eff_c3d_bn": ("c3d_bn", {}),
    "tsm_offline_resnet50": ("tsm_resnet50", {}),
    "tsm_online_mobilenetv2": ("tsm_mobilenet_v2_online", {"frames": 6}),
    "movinet_a0_base": ("movinet_a0", {}),
    "movinet_a2_base": ("movinet_a2", {}),
    "movinet_a3_base": ("movinet_a3", {}),
    "movinet_a4_base": ("movinet_a4", {}),
    "movinet_a5_base": ("movinet_a5", {}),
    "movinet_a0_stream": ("movinet_a0_stream", {}),
    "movinet_a1_stream": ("movinet_a1_stream", {}),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_keys_and_parameters_are_the_official_ones(name: str) -> None:
    case = golden.case(name)
    network, options = GOLDEN[name]
    with torch.device("meta"):
        net = models.create(network, **options)
    own = {key: list(value.shape) for key, value in net.state_dict().items()}
    assert own == {key: shape for key, shape, *_ in case.spec["state_dict"]}
    assert list(own) == case.keys, "in the official order"
    assert sum(p.numel() for p in net.parameters()) == case.spec["params"]


@pytest.mark.parametrize("name", GOLDEN)
def test_outputs_are_the_official_ones(name: str) -> None:
    case = golden.case(name)
    if case.expected():
        assert difference(name) <= golden.TOLERANCE
        return
    logits = outputs(name)  # of these only the spread and the largest value are known
    known = case.spec["outputs"].get("logits") or case.spec["outputs"]["clip_forward"]
    assert np.std(logits) == pytest.approx(known["std"], rel=golden.TOLERANCE)
    assert np.abs(logits).max() == pytest.approx(known["absmax"], rel=golden.TOLERANCE)


def difference(name: str) -> float:
    """Relative L2 between our outputs and the official ones."""
    expected = golden.case(name).expected()
    official = next(expected[key] for key in ("segment_logits", "logits", "clip_forward") if key in expected)
    if official.ndim == 3:  # one prediction a window: (N, classes, T')
        official = np.mean(official, axis=2)
    return relative(outputs(name), official)


def outputs(name: str) -> np.ndarray:
    """What our network says with the official weights: logits (N, classes), of TSM for each frame (T, classes)."""
    case, (network, options) = golden.case(name), GOLDEN[name]
    inputs = [torch.from_numpy(x) for x in case.inputs()]
    with torch.device("meta"):  # nothing is drawn that is overwritten
        net = models.create(network, **options)
    net.load_state_dict({key: torch.from_numpy(value) for key, value in case.weights().items()}, strict=True, assign=True)
    with torch.no_grad():
        if name.startswith("tsm"):  # frames as a batch of images: (T, 3, H, W)
            clip = inputs[0][None].transpose(1, 2)
            frames = net.frame_logits(clip)[0].numpy()
            assert relative(net(clip).numpy()[0], frames.mean(0)) <= golden.TOLERANCE
            return frames
        return net(inputs if len(inputs) > 1 else inputs[0]).numpy()
