"""A gate that is reduced over time twice, and means that meet themselves: against the clip network itself, on a still video.

The reference that every conversion is compared with makes the same of a gate as the stream does; a still video tells whether that
is what the clip network means: of frames that are all alike, a window and the clip say the same.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from everyframe.conversion.facts import Options
from everyframe.conversion.step import convert
from everyframe.conversion.verify import verify
from everyframe.errors import UnsupportedOperator
from everyframe.modelfile.session import run
from everyframe.modelfile.walk import Walk
from laws.natural import Draft, build

FRAMES = 6


def gated(first: str, second: str) -> onnx.ModelProto:
    def write(draft: Draft, x: str) -> str:
        once = draft.op(first, x, draft.ints(2, 3), keepdims=1)
        squeezed = draft.op(second, once, draft.ints(2, 3, 4), keepdims=1)
        gate = draft.op("Sigmoid", draft.op("Mul", squeezed, draft.const(0.1)))
        return draft.op("ReduceMean", draft.op("Mul", x, gate), draft.ints(2, 3, 4), keepdims=0)

    return build(write, FRAMES, 1, 0, 18)


@pytest.mark.parametrize("se", ["frame", "window"])
@pytest.mark.parametrize(
    ("first", "second"),
    [("ReduceMean", "ReduceMean"), ("ReduceSum", "ReduceSum"), ("ReduceMax", "ReduceMax"), ("ReduceSum", "ReduceMean")],
)
def test_a_gate_is_reduced_over_time_once(first: str, second: str, se: str) -> None:
    model = gated(first, second)
    made = convert(model, Options(se=se))
    assert verify(made) <= 1e-5
    frame = np.random.default_rng(0).standard_normal((1, 3, 2, 2)).astype(np.float32)
    walk = Walk(made.step)
    for _ in range(2 * FRAMES):
        got = walk.step(frame)["logits"]
    clip = np.repeat(frame[:, :, None], FRAMES, axis=2)
    (wanted,) = run(model, {"clip": clip}).values()
    np.testing.assert_allclose(got.ravel(), wanted.ravel(), rtol=1e-5, atol=1e-6)


def spread(draft: Draft, x: str) -> str:
    """The standard deviation over time of each channel."""
    y = draft.mean(x, 3, 4)
    off = draft.op("Sub", y, draft.op("ReduceMean", y, draft.ints(2), keepdims=1))
    return draft.op("Sqrt", draft.op("ReduceMean", draft.op("Mul", off, off), draft.ints(2), keepdims=0))


def less_its_mean(draft: Draft, x: str) -> str:
    y = draft.mean(x, 3, 4)
    mean = draft.op("Unsqueeze", draft.op("ReduceMean", y, draft.ints(2), keepdims=0), draft.ints(2))
    return draft.op("ReduceMean", draft.op("Relu", draft.op("Sub", y, mean)), draft.ints(2), keepdims=0)


@pytest.mark.parametrize("write", [spread, less_its_mean])
def test_a_mean_that_meets_itself_is_refused(write: object) -> None:
    """Of one frame it would be the frame itself, and nothing would be left; over a window something is."""
    model = build(write, FRAMES, 1, 1, 18)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedOperator, match=r"meets its frames again(.|\n)*--se window"):
        convert(model)
    assert verify(convert(model, Options(se="window"))) <= 1e-5
