"""The law on the zoo: streaming a network equals running it once over the whole video, at small pictures.

`verify` is the comparison that every conversion goes through; its reference is the clip network itself on a longer video.
Delays, hops and receptive fields do not depend on the picture's size, so they are the published networks' own.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

import onnx
import pytest

from everyframe.program import contract, convert
from everyframe.program.facts import Options
from everyframe.program.verify import TOLERANCE, verify
from helpers import randomise

torch = pytest.importorskip("torch")


@dataclass(frozen=True)
class Case:
    name: str
    frames: int
    size: int
    hop: int
    feature_delay: int
    delay: int | None = None
    receptive_field: int | None = None
    taps: str = "trained"
    rate: str = "native"
    within_noise: bool = False  # linear bottlenecks with random weights amplify rounding; verify measures how much


CASES = (
    Case("x3d_s", 13, 32, hop=1, feature_delay=28, delay=40, receptive_field=69),
    Case("x3d_m", 16, 32, hop=1, feature_delay=28, delay=43, receptive_field=72),
    Case("slow_r50", 8, 32, hop=1, feature_delay=9, delay=16, receptive_field=26),
    Case("i3d_r50", 8, 32, hop=2, feature_delay=18, delay=24, receptive_field=42),
    Case("i3d_r50", 8, 32, hop=1, feature_delay=18, delay=24, receptive_field=42, rate="dense"),
    Case("mobilenet3d_v2_0.45x", 16, 32, hop=16, feature_delay=75, within_noise=True),
    Case("mobilenet3d_v2_0.45x", 16, 32, hop=16, feature_delay=123, taps="all", within_noise=True),
    Case("tsm_mobilenet_v2", 8, 32, hop=1, feature_delay=10),
    Case("tsm_mobilenet_v2_online", 8, 32, hop=1, feature_delay=0),
    Case("r2plus1d_18", 16, 32, hop=8, feature_delay=54),
    Case("r2plus1d_18", 16, 32, hop=1, feature_delay=54, rate="dense"),
    Case("c3d", 16, 32, hop=16, feature_delay=45),
)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.name}-{c.rate}-{c.taps}")
def test_streaming_equals_the_whole_video(case: Case, clip: dict[tuple, onnx.ModelProto]) -> None:
    made = convert(_clip(clip, case), Options(rate=case.rate, taps=case.taps))
    difference = verify(made)
    meta = made.metadata
    assert difference <= TOLERANCE or case.within_noise
    assert (meta.hop, meta.feature_delay) == (case.hop, case.feature_delay)
    assert case.delay in (None, meta.delay) and case.receptive_field in (None, meta.receptive_field)
    _four_axes(made.step)


@pytest.mark.slow
def test_x3d_l_has_the_published_delay(clip: dict[tuple, onnx.ModelProto]) -> None:
    meta = convert(_clip(clip, Case("x3d_l", 16, 32, 1, 57))).metadata
    assert (meta.feature_delay, meta.delay, meta.receptive_field) == (57, 72, 130)


@pytest.fixture(scope="module")
def clip() -> dict[tuple, onnx.ModelProto]:
    """Clip networks exported so far."""
    return {}


def _clip(made: dict[tuple, onnx.ModelProto], case: Case) -> onnx.ModelProto:
    key = (case.name, case.frames, case.size)
    if key not in made:
        import tempfile

        import everyframe
        from everyframe import models

        net = models.create(case.name, num_classes=10, frames=case.frames, size=case.size)
        randomise(net, seed=1)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.onnx"
            everyframe.export(net, path, frames=case.frames, size=case.size)
            made[key] = contract.load(path)
    return made[key]


def _four_axes(step: onnx.ModelProto) -> None:
    """No tensor of a step network has more than four axes, and no operator but standard ones is in it."""
    shapes = onnx.shape_inference.infer_shapes(step, strict_mode=True).graph
    for value in (*shapes.input, *shapes.output, *shapes.value_info):
        assert len(value.type.tensor_type.shape.dim) <= 4, value.name
    for tensor in step.graph.initializer:
        assert len(tensor.dims) <= 4, tensor.name
    assert {node.domain for node in step.graph.node} <= {"", "ai.onnx"}
    assert all(prod(tensor.dims) for tensor in step.graph.initializer)
