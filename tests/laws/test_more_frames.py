"""More frames go out than come in: transposed convolutions and interpolation in time, exact from the first frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.conversion.step import Options, convert
from everyframe.conversion.verify import verify
from everyframe.errors import UnsupportedOperator
from everyframe.modelfile.session import run
from everyframe.modelfile.walk import Walk
from laws.natural import C, Draft, build

T = 8


def grown(draft: Draft, x: str, kind: str, s: int, k: int, crop: int, dilation: int, groups: int, space: bool) -> str:
    """(1, C, T, S, S) -> s times as many frames."""
    if kind == "conv":
        side = 2 if space else 1
        longer = max(0, s - (k - 1) * dilation - 1 + crop)  # as long as s times the frames, or longer
        where = {"strides": [s, side, side], "pads": [crop, 0, 0, 0, 0, 0], "dilations": [dilation, 1, 1]}
        where |= {"output_padding": [min(longer, s - 1), 0, 0], "group": groups}
        return draft.op("ConvTranspose", x, draft.random(C, C // groups, k, side, side), draft.random(C), **where)
    mode, corners, nearest = kind.split("/")
    attrs = {"mode": mode, "coordinate_transformation_mode": corners, **({"nearest_mode": nearest} if nearest else {})}
    side = 2 if space else 1
    if k % 2:
        return draft.op("Resize", x, "", draft.const([1, 1, s, side, side]), **attrs)
    sizes = draft.ints(1, C, s * draft.frames_now, side * 2, side * 2)
    return draft.op("Resize", x, "", "", sizes, **attrs)


KINDS = (
    "conv", "conv", "nearest/asymmetric/floor", "nearest/half_pixel/round_prefer_floor", "nearest/half_pixel/round_prefer_ceil",
    "linear/half_pixel/", "linear/pytorch_half_pixel/", "linear/asymmetric/",
)  # fmt: skip


@st.composite
def growths(draw: st.DrawFn) -> dict[str, Any]:
    s, k = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    return {
        "kind": draw(st.sampled_from(KINDS)), "s": s, "k": k, "crop": draw(st.integers(0, min(k - 1, 3))),
        "dilation": draw(st.sampled_from([1, 1, 2, 3])), "groups": draw(st.sampled_from([1, C])), "space": draw(st.booleans()),
    }  # fmt: skip


@settings(max_examples=60)
@given(growths(), st.sampled_from([(1, 0), (1, 1), (2, 1), (4, 2)]), st.sampled_from(["", "conv", "head", "strided"]))
def test_frames_that_were_not_there_are_exact(growth: dict[str, Any], before: tuple[int, int], behind: str) -> None:
    stride, ahead = before

    def write(draft: Draft, x: str) -> str:
        y = draft.op("Relu", grown(draft, x, **growth))
        if behind in ("conv", "strided"):
            y = draft.conv(y, 2 if behind == "strided" else 1)
        return draft.mean(y, 2, 3, 4) if behind == "head" else y

    try:
        made = convert(build(write, T, stride, ahead, 18))
    except UnsupportedOperator as error:
        assert "Wires" not in str(error)
        raise
    assert verify(made) <= 1e-5


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", ["conv", "linear/half_pixel/"])
def test_a_step_answers_with_all_its_frames(kind: str, stride: int) -> None:
    def write(draft: Draft, x: str) -> str:
        return grown(draft, x, kind, 2, 3, 1 if kind == "conv" else 0, 1, 1, False)

    made = convert(build(write, T, stride, 0, 18))
    fact = made.facts[made.facts.graph.outputs[0]]
    assert (made.metadata.hop, made.facts.m(fact)) == (stride, 2)
    video = np.random.default_rng(0).standard_normal((4 * T, C, 2, 2)).astype(np.float32)
    walk, got = Walk(made.step), []
    for t in range(len(video) // stride):
        got.append(walk.step(video[t * stride : (t + 1) * stride])["logits"])
    clip = np.ascontiguousarray(np.moveaxis(video, 0, 1)[None])
    (whole,) = run(build(write, 4 * T, stride, 0, 18), {"clip": clip}).values()
    for t, frames in enumerate(got[:-2]):
        assert len(frames) == 2
        for q, frame in enumerate(frames):
            if (number := t * 2 + q - fact.lag) >= 0:
                np.testing.assert_allclose(frame, whole[0, :, number], rtol=1e-4, atol=1e-5)


def test_what_has_no_end_in_a_stream_is_refused() -> None:
    def corners(draft: Draft, x: str) -> str:
        return draft.op(
            "Resize", x, "", draft.const([1, 1, 2, 1, 1]), mode="linear", coordinate_transformation_mode="align_corners"
        )

    with pytest.raises(UnsupportedOperator, match="align_corners=False"):
        convert(build(corners, T, 1, 0, 18))
    with pytest.raises(UnsupportedOperator, match="rate native"):
        convert(build(lambda d, x: grown(d, x, "conv", 2, 2, 0, 1, 1, False), T, 2, 1, 18), Options(rate="dense"))
