"""Layers that look at all frames of the clip: refused, or with `tail="window"` asked anew in each step, of the newest frames."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from everyframe.conversion.step import stream
from everyframe.errors import UnsupportedOperator, UsageError
from everyframe.modelfile.file import Held
from everyframe.modelfile.session import run
from everyframe.modelfile.walk import Walk
from everyframe.native.target import TARGETS
from laws.drafts import C, Draft, S, T
from native.operators import CPUS, QUICK, compiled

HEADS: dict[str, Callable[[Draft, str], None]] = {}
WIDE = 6  # values of a frame behind the trunk


def head(row: Callable[[Draft, str], None]) -> Callable[[Draft, str], None]:
    HEADS[row.__name__] = row
    return row


def network(name: str, stride: int = 1, opset: int = 18) -> onnx.ModelProto:
    """A trunk of two convolutions, most of the work, and the head on what is left of each frame, (1, T, WIDE)."""
    d = Draft((1, C, T, 3 * S, 3 * S), opset=opset)
    x = d.op("Relu", d.op("Conv", "clip", d.random(8, C, 3, 3, 3), pads=[1] * 6, strides=[stride, 1, 1]))
    x = d.op("Relu", d.op("Conv", x, d.random(WIDE, 8, 1, 3, 3), pads=[0, 1, 1] * 2))
    x = d.op("Squeeze", d.op("AveragePool", x, kernel_shape=[1, 3 * S, 3 * S]), d.ints(3, 4))
    HEADS[name](d, d.op("Transpose", x, perm=[0, 2, 1]))
    return d.model()


def rows(d: Draft, x: str, *more: int) -> str:
    return d.op("MatMul", x, d.random(WIDE, *(more or (WIDE,))))


@head
def attention(d: Draft, x: str) -> None:
    scores = d.op("MatMul", rows(d, x), d.op("Transpose", rows(d, x), perm=[0, 2, 1]))
    x = d.op("Add", x, d.op("MatMul", d.op("Softmax", scores, axis=-1), rows(d, x)))
    d.op("ReduceMax", d.op("LayerNormalization", x, d.random(WIDE), axis=-1), d.ints(1), keepdims=0)


@head
def positions_and_a_class_token(d: Draft, x: str) -> None:
    x = d.op("Concat", d.random(1, 1, WIDE), x, axis=1)
    x = d.op("Add", x, d.op("Resize", d.random(1, 3, WIDE), "", "", d.op("Shape", x)))
    x = d.op("MatMul", d.op("Softmax", d.op("MatMul", x, d.op("Transpose", x, perm=[0, 2, 1])), axis=-1), x)
    rows(d, d.op("Gather", x, d.const(0, np.int64), axis=1), 3)


@head
def a_softmax_of_frames(d: Draft, x: str) -> None:
    d.op("ReduceSum", d.op("Mul", x, d.op("Softmax", rows(d, x, 1), axis=1)), d.ints(1), keepdims=0)


@head
def the_best_frames(d: Draft, x: str) -> None:
    best = d.op("TopK", rows(d, x, 3), d.ints(3), axis=1, outputs=2)
    d.op("ReduceMean", best, d.ints(1), keepdims=0)


@head
def the_frame_of_the_largest(d: Draft, x: str) -> None:
    place = d.op("Expand", d.op("ArgMax", rows(d, x, 1), axis=1), d.ints(1, 1, WIDE))
    d.op("Squeeze", d.op("GatherElements", x, place, axis=1), d.ints(1))


@head
def a_deviation(d: Draft, x: str) -> None:
    apart = d.op("Sub", x, d.op("ReduceMean", x, d.ints(1)))
    d.op("Sqrt", d.op("ReduceMean", d.op("Mul", apart, apart), d.ints(1), keepdims=0))


@head
def both_directions(d: Draft, x: str) -> None:
    x = d.op("Transpose", x, perm=[1, 0, 2])
    x = d.op("LSTM", x, d.random(2, 16, WIDE), d.random(2, 16, 4), hidden_size=4, direction="bidirectional", outputs=3)
    d.op("Reshape", d.op("ReduceMean", x, d.ints(0)), d.ints(1, 8))


@head
def frames_by_frames(d: Draft, x: str) -> None:
    apart = d.op("Sub", d.op("Unsqueeze", x, d.ints(1)), d.op("Unsqueeze", x, d.ints(2)))
    near = d.op("Softmax", d.op("Neg", d.op("ReduceSumSquare", apart, d.ints(3), keepdims=0)), axis=-1)
    made = d.op("Conv", d.op("Unsqueeze", near, d.ints(1)), d.random(2, 1, 3, 3), pads=[1] * 4)
    d.op("ReduceMax", made, d.ints(2, 3), keepdims=0)


@head
def layers_along_time(d: Draft, x: str) -> None:
    mixed = d.op("MatMul", d.op("Transpose", x, perm=[0, 2, 1]), d.random(T, T))
    d.op("ReduceMean", d.op("Relu", mixed), d.ints(2), keepdims=0)


@head
def frames_in_any_order(d: Draft, x: str) -> None:
    one = d.op("Reshape", d.op("Gather", x, d.ints(6, 0, 3), axis=1), d.ints(1, 3 * WIDE))
    d.op("MatMul", one, d.random(3 * WIDE, 4))


@head
def an_average_beside(d: Draft, x: str) -> None:
    weighed = d.op("ReduceSum", d.op("Mul", x, d.op("Softmax", rows(d, x, 1), axis=1)), d.ints(1), keepdims=0)
    d.op("Concat", weighed, d.op("ReduceMean", x, d.ints(1), keepdims=0), axis=1)


def of_windows(model: onnx.ModelProto, trunk: np.ndarray) -> np.ndarray:
    """What the clip network says of each window of frames, the first of them repeated where there are too few."""
    frames = [
        np.concatenate([trunk[:, :, :1]] * max(0, T - 1 - n) + [trunk[:, :, max(0, n - T + 1) : n + 1]], 2) for n in range(20)
    ]
    return np.concatenate([run(model, {"clip": each}, ["logits"])["logits"] for each in frames])


@pytest.mark.parametrize("name", HEADS)
def test_it_streams_as_a_window_and_says_so(name: str) -> None:
    """`stream` itself compares with the clip network's own layers, from the first step on."""
    model = network(name)
    with pytest.raises(UnsupportedOperator) as refused:
        stream(Held(model), None)
    assert "--tail window" in str(refused.value.hint) and "of the newest 8 frames" in str(refused.value.hint)
    made = stream(Held(model), None, tail="window")
    assert made.difference is not None and made.difference < 1e-5
    assert made.metadata.window == T and made.metadata.feature_delay == 1 and made.metadata.delay == T
    assert any("layers that look at all frames" in note for note in made.notes)
    if name not in ("layers_along_time", "frames_in_any_order", "positions_and_a_class_token"):  # of a clip of 8 frames
        stream(Held(network(name, stride=2)), None, tail="window")
        stream(Held(network(name, stride=2)), None, tail="window", rate="dense")
    with pytest.raises(UsageError, match="--window cannot be changed"):
        stream(Held(model), None, tail="window", window=16)
    with pytest.raises(UnsupportedOperator, match=str(refused.value.what)):
        stream(Held(model), None, window=16)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("cpu", [name for name in CPUS if not TARGETS[name].scalar][-1:])
def test_compiled_code_says_the_same(cpu: str, name: str) -> None:
    made = stream(Held(network(name)), None, tail="window")
    walk, noise = Walk(made.step, states=made.metadata.states), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        running = compiled(made.step, Path(folder), cpu, made.metadata.states, QUICK).start(threads=2)
        for _ in range(T + 4):
            frames = noise.standard_normal((1, C, 3 * S, 3 * S)).astype(np.float32)
            np.testing.assert_allclose(running.step(frames).ravel(), walk.step(frames)["logits"].ravel(), rtol=1e-4, atol=1e-4)
        running.close()


def test_steps_say_what_the_clip_network_says_of_each_window() -> None:
    """A trunk without time, so that clips have no borders of their own: equal in every step."""
    d = Draft((1, C, T, 3 * S, 3 * S))
    x = d.op("Relu", d.op("Conv", "clip", d.random(WIDE, C, 1, 3, 3), pads=[0, 1, 1] * 2))
    x = d.op("Squeeze", d.op("AveragePool", x, kernel_shape=[1, 3 * S, 3 * S]), d.ints(3, 4))
    attention(d, d.op("Transpose", x, perm=[0, 2, 1]))
    d.op("Identity", d.last)
    model = d.model()
    model.graph.node[-1].output[0] = model.graph.output[0].name = "logits"
    made = stream(Held(model), None, tail="window")
    video = np.random.default_rng(3).standard_normal((1, C, 20, 3 * S, 3 * S)).astype(np.float32)
    walk = Walk(made.step, states=made.metadata.states)
    streamed = np.concatenate([walk.step(video[:, :, t])["logits"] for t in range(20)])
    np.testing.assert_allclose(streamed, of_windows(model, video), rtol=1e-4, atol=1e-5)


def test_what_looks_at_whole_pictures_is_refused_all_the_same() -> None:
    """Each step would be a clip."""
    d = Draft()
    d.conv(d.op("Softmax", d.conv(), axis=2))
    with pytest.raises(UnsupportedOperator, match="Softmax works along time") as refused:
        stream(Held(d.model()), None, tail="window")
    assert "--tail" not in str(refused.value.hint)


def test_an_operator_without_a_rule_behind_the_head_is_copied() -> None:
    d = Draft((1, C, T, S, S))
    pooled = d.mean(d.conv(), 2, 3, 4, keep=False)
    d.op("Det", d.op("Reshape", d.op("MatMul", pooled, d.random(C, 18)), d.ints(2, 3, 3)))
    d.op("Reshape", d.last, d.ints(1, 2))
    made = stream(Held(d.model()), None)
    assert made.difference is not None and made.difference < 1e-5


def test_tail_is_one_of_two() -> None:
    with pytest.raises(UsageError, match="--tail 'windows'"):
        stream(Held(network("attention")), None, tail="windows")
