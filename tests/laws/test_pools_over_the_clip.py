"""A pool that spans the clip in time is a window that moves with every frame, not one pool a clip; two of them make one gate."""

from __future__ import annotations

import numpy as np
import pytest

from everyframe.conversion.step import stream
from everyframe.modelfile.file import Held
from everyframe.modelfile.session import run
from everyframe.modelfile.walk import Walk
from laws.drafts import C, Draft, S, T

#: kernel in time and space -> how much of a frame's pooled picture is left
KERNELS = {"all of it": ((T, S, S), 1), "time alone": ((T, 1, 1), S), "parts of a picture": ((T, 2, 2), 2)}


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("stride", [1, None])
def test_a_pool_over_all_frames_is_a_window_that_moves(op: str, kernel: str, stride: int | None) -> None:
    draft, (sizes, left) = Draft(), KERNELS[kernel]
    x = draft.op("Conv", "clip", draft.random(C, C, 2, 1, 1))  # valid: T - 1 frames, a delay of one
    sizes = (T - 1, *sizes[1:])
    draft.op(op, x, kernel_shape=list(sizes), strides=[1, *sizes[1:]] if stride else list(sizes))
    draft.op("Flatten")
    clip = draft.model()
    made = stream(Held(clip), None, layout="NCTHW")
    assert (made.metadata.hop, made.metadata.feature_delay, made.metadata.delay) == (1, 1, T - 1)
    video = np.random.default_rng(0).standard_normal((3 * T, C, S, S)).astype(np.float32)
    walk = Walk(made.step, states=made.metadata.states)
    for n in range(len(video)):
        got = walk.step(video[n : n + 1])["logits"].reshape(-1)
        if n >= T - 1:
            (wanted,) = run(clip, {"clip": np.moveaxis(video[n - T + 1 : n + 1], 0, 1)[None]}, (draft.last,)).values()
            assert wanted.size == C * left * left
            np.testing.assert_allclose(got, wanted.reshape(-1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("se", ["frame", "window"])
def test_the_mean_and_the_maximum_make_one_gate(se: str) -> None:
    """CBAM: both squeezes through one layer, summed."""
    draft = Draft()
    weight, x = draft.random(C, C), draft.conv()
    squeezed = [draft.op("GlobalAveragePool", x), draft.op("MaxPool", x, kernel_shape=[T, S, S])]
    both = draft.op("Add", *(draft.op("Gemm", draft.op("Flatten", y), weight) for y in squeezed))
    gate = draft.op("Reshape", draft.op("Sigmoid", both), draft.ints(1, C, 1, 1, 1))
    draft.mean(draft.op("Mul", x, gate), 2, 3, 4)
    made = stream(Held(draft.model()), None, layout="NCTHW", se=se)
    assert made.metadata.hop == 1 and made.metadata.receptive_field == T + 2 + (T - 1) * (se == "window")


def test_the_last_of_several_pools_that_halve_is_one_of_them() -> None:
    """C3D: what is left of the clip at its last pool is two frames."""
    draft = Draft((1, C, T, 2 * S, 2 * S))
    x = draft.conv()
    for kernel in ([2, 2, 2], [2, 1, 1], [2, 2, 2]):
        x = draft.op("MaxPool", x, kernel_shape=kernel, strides=kernel)
    draft.op("Flatten")
    assert stream(Held(draft.model()), None, layout="NCTHW").metadata.hop == T
