"""The law on the zoo once more, with torch itself as the reference: the same weights in a network made for the longer video.

Nothing of the converter takes part in the reference (test_zoo.py uses its own). Kept small: few frames, 32 x 32 pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import everyframe
from everyframe import modelfile
from everyframe.conversion import convert
from everyframe.conversion.facts import Options
from helpers import randomise
from laws.streaming import TOLERANCE, difference, run_steps

torch = pytest.importorskip("torch")

SIZE = 32


@dataclass(frozen=True)
class Case:
    """features: from the network to what its head averages, (N, C, T, H, W) or (N, T, classes)."""

    name: str
    frames: int
    features: Callable[[Any, Any], Any]
    rate: str = "native"

    def __str__(self) -> str:
        return f"{self.name}-{self.rate}"


def _before(module: str) -> Callable[[Any, Any], Any]:
    """What comes in at a submodule."""

    def features(net: Any, clip: Any) -> Any:
        seen = []
        hook = net.get_submodule(module).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        net(clip)
        hook.remove()
        return seen[0]

    return features


def _behind(module: str) -> Callable[[Any, Any], Any]:
    def features(net: Any, clip: Any) -> Any:
        seen = []
        hook = net.get_submodule(module).register_forward_hook(lambda _, inputs, output: seen.append(output))
        net(clip)
        hook.remove()
        return seen[0]

    return features


CASES = (
    Case("x3d_xs", 4, _before("blocks.5.pool.pool")),
    Case("mobilenet3d_v2_0.2x", 16, _behind("features"), rate="dense"),
    Case("tsm_mobilenet_v2", 4, lambda net, clip: net.frame_logits(clip)),
)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_features_are_those_of_the_network_run_once(case: Case, tmp_path: Path) -> None:
    net = randomise(everyframe.models.create(case.name, num_classes=5, frames=case.frames, size=SIZE), seed=1).eval()
    everyframe.export(net, tmp_path / "clip.onnx", frames=case.frames, size=SIZE)
    made = convert(modelfile.load(tmp_path / "clip.onnx"), Options(rate=case.rate, taps="all"))
    wire = made.facts.heads[0].inputs[0]
    fact, hop = made.facts[wire], max(made.facts[wire].spacing, made.metadata.hop)
    frames = case.frames + -(-(made.metadata.feature_delay + 3 * hop + 8) // hop) * hop
    video = np.random.default_rng(0).standard_normal((frames, 3, SIZE, SIZE)).astype(np.float32)
    features, floor = _reference(case, net, video)
    streamed = run_steps(made, video, [wire]).wires[wire]
    apart = fact.spacing // fact.every
    numbers = [j for j in range(len(features)) if j * apart in streamed]
    assert len(numbers) >= 3
    got = np.stack([streamed[j * apart].reshape(-1) for j in numbers])
    assert difference(got, features[numbers].reshape(len(numbers), -1)) <= max(TOLERANCE, 3 * floor)


def _reference(case: Case, net: Any, video: np.ndarray) -> tuple[np.ndarray, float]:
    """(features by frame, what a relative change of 1e-7 of the video does to them)."""
    longer = everyframe.models.create(case.name, num_classes=5, frames=len(video), size=SIZE).eval()
    longer.load_state_dict(net.state_dict())
    for module in longer.modules():
        if type(module).__name__ == "SqueezeExcite":  # of each frame
            module.forward = lambda x, block=module.block: x * block(x.mean((3, 4), keepdim=True))
    noise = 1 + 1e-7 * np.random.default_rng(1).choice([-1.0, 1.0], video.shape).astype(np.float32)
    with torch.no_grad():
        a, b = (
            case.features(longer, torch.from_numpy(v).transpose(0, 1)[None])[0].numpy()
            for v in (video, (video * noise).astype(np.float32))
        )
    if a.ndim == 4:  # (C, T, H, W)
        a, b = a.swapaxes(0, 1), b.swapaxes(0, 1)
    return a, difference(b, a)
