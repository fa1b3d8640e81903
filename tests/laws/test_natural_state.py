"""Recurrent layers, loops and running sums: their state is carried from step to step, exactly from the first frame on."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from everyframe.conversion.step import Options, convert
from everyframe.conversion.verify import verify
from everyframe.errors import UnsupportedOperator
from everyframe.modelfile.session import run
from everyframe.modelfile.walk import Walk
from laws.natural import C, Draft, H, S, build, check

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
PLACES = {"LSTM": 3, "GRU": 2, "RNN": 1}  # how many activations
BOUNDED = ["Sigmoid", "Tanh", "Softsign", "HardSigmoid", "ScaledTanh"]
UNBOUNDED = ["Relu", "LeakyRelu", "Elu", "Affine", "Softplus", "ThresholdedRelu"]  # only where `clip` keeps the state small


def last(draft: Draft, x: str) -> str:
    return draft.op("Gather", x, draft.const(-1, np.int64), axis=0)


def recurrent(draft: Draft, x: str, op: str, *, layers: int = 1, positions: bool = False, first: str = "", **attrs: Any) -> str:
    """(1, C, T, S, S) -> (T, H), or (T, S*S, H) of every position by itself."""
    if positions:
        folded = draft.op("Reshape", x, draft.ints(1, C, -1, S * S))
        x, b = draft.op("Squeeze", draft.op("Transpose", folded, perm=[2, 0, 3, 1]), draft.ints(1)), S * S
    else:
        x, b = draft.sequence(x), 1
    peepholes = attrs.pop("peepholes", False)
    size, g, directions = C, GATES[op], 2 if attrs.get("direction") == "bidirectional" else 1
    for _ in range(layers):
        names = [draft.random(directions, *shape) for shape in ((g * H, size), (g * H, H), (2 * g * H,))] + [""]
        for _ in range(2 if op == "LSTM" else 1):
            start = {"": "", "zeros": draft.const(np.zeros((1, b, H))), "ones": draft.const(np.ones((1, b, H)))}
            names.append(start[first] if first in start else draft.random(1, b, H))
        names += [draft.random(1, 3 * H)] if op == "LSTM" and peepholes else []
        y = draft.op(op, x, *names, outputs=2, hidden_size=H, **attrs)[0]
        x, size = draft.op("Reshape", y, draft.ints(-1, b, directions * H)), H
    return x if positions else draft.op("Squeeze", x, draft.ints(1))


@st.composite
def cells(draw: st.DrawFn) -> dict[str, Any]:
    op = draw(st.sampled_from(list(GATES)))
    attrs: dict[str, Any] = {}
    if draw(st.booleans()):
        attrs["clip"] = 0.3
    if draw(st.booleans()):
        names = st.sampled_from(BOUNDED + UNBOUNDED * ("clip" in attrs))
        attrs["activations"] = draw(st.lists(names, min_size=PLACES[op], max_size=PLACES[op]))
        attrs |= {"activation_alpha": [0.3] * PLACES[op], "activation_beta": [0.2] * PLACES[op]}
    if op == "GRU":
        attrs["linear_before_reset"] = draw(st.integers(0, 1))
    if op == "LSTM":
        attrs |= {"input_forget": draw(st.integers(0, 1)), "peepholes": draw(st.booleans())}
    first = draw(st.sampled_from(["", "zeros", "ones", "random"]))
    return attrs | {"op": op, "first": first, "positions": draw(st.booleans()), "layers": draw(st.integers(1, 2))}


@settings(max_examples=25)
@given(cells(), st.sampled_from([(1, 0, "native"), (1, 1, "native"), (2, 1, "native"), (2, 2, "dense")]))
def test_every_recurrent_layer_is_carried(cell: dict[str, Any], shape: tuple[int, int, str]) -> None:
    stride, ahead, rate = shape
    check(partial(recurrent, **cell), stride=stride, ahead=ahead, rate=rate)


@pytest.mark.parametrize("op", list(GATES))
def test_the_last_output_is_the_newest(op: str) -> None:
    check(partial(recurrent, op=op), read=last)


def ends(draft: Draft, x: str, op: str, output: int) -> str:
    """What a recurrent layer says at its end: Y_h (1) or Y_c (2), (1, 1, H)."""
    g = GATES[op]
    names = [draft.random(1, g * H, C), draft.random(1, g * H, H), draft.random(1, 2 * g * H)]
    return draft.op(op, draft.sequence(x), *names, outputs=3 if op == "LSTM" else 2, hidden_size=H)[output]


@pytest.mark.parametrize(("op", "output"), [("LSTM", 1), ("LSTM", 2), ("GRU", 1), ("RNN", 1)])
@pytest.mark.parametrize("ahead", [0, 1])
def test_a_state_at_the_end_is_the_newest(op: str, output: int, ahead: int) -> None:
    """The network on the first n frames ends with the state that a stream has after n frames."""
    made = convert(build(partial(ends, op=op, output=output), 6, 1, ahead, 18))
    assert verify(made) <= 1e-5
    video = np.random.default_rng(0).standard_normal((12, C, 2, 2)).astype(np.float32)
    walk = Walk(made.step)
    got = [walk.step(frame[None])["logits"] for frame in video]
    for n in (1, 5, 12) if not ahead else ():
        (wanted,) = run(
            build(partial(ends, op=op, output=output), n, 1, ahead, 18), {"clip": np.moveaxis(video[:n], 0, 1)[None]}
        ).values()
        np.testing.assert_allclose(got[n - 1], wanted.reshape(got[n - 1].shape), rtol=1e-4, atol=1e-5)


def running(
    draft: Draft, x: str, *, exclusive: int = 0, mean: str = "", start: int = 1, of: float = 1.0, full: bool = False
) -> str:  # fmt: skip
    """The running sum, or its mean, of (1, C, T, S, S) over time. of: as many values a frame are in the sum."""
    total = draft.op("CumSum", x, draft.const(2, np.int64), exclusive=exclusive)
    frames = int(draft.frames_now)
    numbers = (of * np.arange(start, start + frames)).astype(np.float32).reshape(1, 1, -1, 1, 1)
    if full:  # expanded to all channels and positions, as some exporters fold it
        numbers = np.broadcast_to(numbers, (1, C, frames, 2, 2))
    if mean:
        total = draft.op(mean, total, draft.const(numbers if mean == "Div" else 1 / numbers))
    return draft.op("Transpose", total, perm=[2, 0, 1, 3, 4])


@pytest.mark.parametrize(("stride", "ahead", "rate"), [(1, 0, "native"), (1, 1, "native"), (2, 1, "native"), (2, 2, "dense")])
@pytest.mark.parametrize(
    "form",
    [
        {}, {"exclusive": 1}, {"mean": "Div"}, {"mean": "Mul"}, {"mean": "Div", "start": 3}, {"mean": "Div", "full": True},
        {"mean": "Div", "of": 6.0}, {"mean": "Mul", "of": 48.0}, {"mean": "Div", "of": 0.3, "start": 2},
    ],
)  # fmt: skip
def test_a_running_sum_goes_on(form: dict[str, Any], stride: int, ahead: int, rate: str) -> None:
    check(partial(running, **form), stride=stride, ahead=ahead, rate=rate)


@pytest.mark.parametrize("stride", [1, 2])
def test_causal_squeeze_and_excite_is_exact(stride: int) -> None:
    """x * sigmoid(cumulative mean of x), and at the end the cumulative mean itself: MoViNet's causal blocks and head."""

    def write(draft: Draft, x: str) -> str:
        frames = draft.frames_now
        numbers = draft.const(np.arange(1, frames + 1).reshape(1, 1, -1, 1, 1))

        def cumulated(y: str) -> str:
            return draft.op("Div", draft.op("CumSum", draft.mean(y, 3, 4, keep=True), draft.const(2, np.int64)), numbers)

        squeezed = draft.op("Conv", cumulated(x), draft.random(C, C, 1, 1, 1), draft.random(C))
        y = draft.op("Mul", x, draft.op("Sigmoid", squeezed))
        return draft.op("Transpose", cumulated(draft.op("Relu", y)), perm=[2, 0, 1, 3, 4])

    check(write, stride=stride, ahead=1)
    check(write, stride=stride, ahead=1, read=last)


def test_a_running_mean_does_not_outgrow_float32() -> None:
    """After a year of ones, the mean still follows: the sum itself would have stopped at 2**24."""
    made = convert(build(partial(running, mean="Div"), 6, 1, 0, 18))
    walk = Walk(made.step)
    ones = np.ones((1, C, 2, 2), np.float32)
    walk.step(ones)
    for spec in walk.specs:
        if spec.shape == (1, 1, 1, 1):
            walk.states[spec.input] = np.full(spec.shape, 2.0**25, np.float32)
    for _ in range(10):
        found = walk.step(ones)["logits"]
    np.testing.assert_allclose(found, 1, rtol=1e-6)


def body(name: str, draft: Draft, size: int, number: bool) -> onnx.GraphProto:
    """h' = tanh(x W + h R); gives h' as frames. Weights are taken from around it."""
    weights = draft.random(C, size), draft.random(size, size)
    info = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
    nodes = [
        helper.make_node("MatMul", ["b.x", weights[0]], ["b.xw"]),
        helper.make_node("MatMul", ["b.h", weights[1]], ["b.hr"]),
        helper.make_node("Add", ["b.xw", "b.hr"], ["b.sum"]),
        helper.make_node("Tanh", ["b.sum"], ["b.next"]),
        helper.make_node("Identity", ["b.next"], ["b.frame"]),
    ]
    inputs = [info("b.h", shape=[1, size])]
    outputs = [info("b.next", shape=[1, size]), info("b.frame", shape=[1, size])]
    if number:
        nodes = [
            helper.make_node("Gather", [name, "b.i"], ["b.x"], axis=0),
            *nodes,
            helper.make_node("Identity", ["b.go"], ["b.on"]),
        ]
        inputs = [
            helper.make_tensor_value_info("b.i", TensorProto.INT64, []),
            helper.make_tensor_value_info("b.go", TensorProto.BOOL, []),
            *inputs,
        ]
        outputs = [helper.make_tensor_value_info("b.on", TensorProto.BOOL, []), *outputs]
    else:
        inputs.append(info("b.x", shape=[1, C]))
    return helper.make_graph(nodes, "body", inputs, outputs)


def scan(draft: Draft, x: str, output: int = 1) -> str:
    x = draft.sequence(x)
    return draft.op("Scan", draft.random(1, H), x, outputs=2, body=body(x, draft, H, False), num_scan_inputs=1)[output]


def loop(draft: Draft, x: str, output: int = 1) -> str:
    x = draft.sequence(x)
    first, going = draft.random(1, H), draft.const(True, bool)
    trips = draft.const(draft.frames_now, np.int64)
    return draft.op("Loop", trips, going, first, outputs=2, body=body(x, draft, H, True))[output]


@pytest.mark.parametrize(("stride", "ahead", "rate"), [(1, 0, "native"), (2, 1, "native"), (2, 2, "dense")])
@pytest.mark.parametrize("write", [scan, loop])
def test_a_loop_over_time_is_carried(write: Any, stride: int, ahead: int, rate: str) -> None:
    check(write, stride=stride, ahead=ahead, rate=rate)
    assert verify(convert(build(partial(write, output=0), 6, stride, ahead, 18))) <= 1e-5  # its last state


def unrolled(draft: Draft, x: str, pick: str = "gather", read: str = "stack", layers: int = 1) -> str:
    """A convolutional GRU-like cell, written out frame after frame, as exporters write a loop of Python."""
    frames, axis = draft.frames_now, 2
    split = draft.op("Split", x, draft.ints(*[1] * frames), outputs=frames, axis=axis) if pick == "split" else []
    weights = [(draft.random(C, 2 * C, 3, 3), draft.random(C), draft.random(C, C, 1, 1)) for _ in range(layers)]
    states = [draft.const(np.full((1, C, 2, 2), 0.3 * layer)) for layer in range(layers)]
    shape, made = draft.ints(1, C, 2, 2), []
    for t in range(frames):
        if pick == "gather":
            frame = draft.op("Gather", x, draft.const(t, np.int64), axis=axis)
        elif pick == "slice":
            frame = draft.op("Reshape", draft.op("Slice", x, *(draft.ints(v) for v in (t, t + 1, axis))), shape)
        else:
            frame = draft.op("Reshape", split[t], shape)
        for layer, (w, b, u) in enumerate(weights):
            gate = draft.op(
                "Sigmoid", draft.op("Conv", draft.op("Concat", frame, states[layer], axis=1), w, b, pads=[1, 1, 1, 1])
            )
            kept = draft.op("Mul", gate, states[layer])
            states[layer] = frame = draft.op("Add", kept, draft.op("Tanh", draft.op("Conv", frame, u)))
        made.append(frame)
    if read == "last":
        return draft.op("Reshape", made[-1], draft.ints(1, C * 4))
    return draft.op("Concat", *(draft.op("Unsqueeze", y, draft.ints(0)) for y in made), axis=0)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("pick", ["gather", "slice", "split"])
def test_a_loop_that_was_written_out_is_carried(pick: str, layers: int) -> None:
    check(partial(unrolled, pick=pick, layers=layers))
    made = convert(build(partial(unrolled, pick=pick, layers=layers, read="last"), 6, 2, 1, 18))
    assert verify(made) <= 1e-5
    assert sum(".carried" in spec.input for spec in made.metadata.states) == layers


def rotated(draft: Draft, x: str) -> str:
    """What serves only the next frame is computed at the end of a cell, so the last one lacks it."""
    x, weight = draft.sequence(x), draft.random(C, C)
    state, made = draft.random(1, C), []
    for t in range(draft.frames_now):
        frame = draft.op("Gather", x, draft.const(t, np.int64), axis=0)
        h = draft.op("Tanh", draft.op("Add", state, frame))
        made.append(draft.op("Unsqueeze", h, draft.ints(0)))
        state = draft.op("MatMul", h, weight) if t + 1 < draft.frames_now else ""
    return draft.op("Concat", *made, axis=0)


def test_the_last_copy_may_lack_what_serves_the_next() -> None:
    made = check(rotated)
    assert [spec.shape for spec in made.metadata.states if ".carried" in spec.input] == [(1, C)]


def test_the_last_states_of_several_layers_keep_their_axes() -> None:
    def write(draft: Draft, x: str) -> str:
        sequence, size, hidden = draft.sequence(x), C, []
        for _ in range(2):
            names = [draft.random(1, *shape) for shape in ((4 * H, size), (4 * H, H), (8 * H,))]
            y, h, _ = draft.op("LSTM", sequence, *names, outputs=3, hidden_size=H)
            sequence, size = draft.op("Squeeze", y, draft.ints(1)), H
            hidden.append(h)
        newest = draft.op("Gather", draft.op("Concat", *hidden, axis=0), draft.const(-1, np.int64), axis=0)
        return draft.op("Gemm", newest, draft.random(H, 5), draft.random(5))

    assert verify(convert(build(write, 6, 1, 1, 18))) <= 1e-5


def test_a_loop_whose_copies_differ_is_a_window_of_frames() -> None:
    def write(draft: Draft, x: str) -> str:
        y = unrolled(draft, x)
        other = next(node for node in draft.nodes[::-1] if node.op_type == "Tanh")
        other.op_type = "Sigmoid"
        return y

    assert verify(convert(build(write, 6, 1, 1, 18))) <= 1e-5  # a window of six frames, without a state that goes on


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_pictures_may_become_vectors_frame_after_frame(axis: int) -> None:
    """`torch.stack([net(x[:, :, t]) for t in range(T)], axis).mean(axis)`, and a convolution over the frames of the vectors."""

    def write(draft: Draft, x: str) -> str:
        weight, made = draft.random(H, C, 1, 1), []
        for t in range(draft.frames_now):
            frame = draft.op("Conv", draft.op("Gather", x, draft.const(t, np.int64), axis=2), weight)
            vector = draft.op("ReduceMean", frame, draft.ints(2, 3), keepdims=0)
            made.append(draft.op("Unsqueeze", vector, draft.ints(axis)))
        y = draft.op("Concat", *made, axis=axis)
        if axis == 2:
            y = draft.op("Conv", y, draft.random(H, H, 3), pads=[1, 1])
        return draft.op("Gemm", draft.op("ReduceMean", y, draft.ints(axis), keepdims=0), draft.random(H, 5), draft.random(5))

    assert verify(convert(build(write, 6, 1, 1, 18))) <= 1e-5


REFUSED: dict[str, tuple[Any, str]] = {
    "both directions": (partial(recurrent, op="LSTM", direction="bidirectional"), "one direction"),
    "backwards": (partial(recurrent, op="GRU", direction="reverse"), "one direction"),
    "a sum from the end": (lambda d, x: d.op("CumSum", x, d.const(2, np.int64), reverse=1), "from the beginning"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_needs_the_end_of_the_clip_is_refused_with_the_way_out(name: str) -> None:
    write, way = REFUSED[name]
    with pytest.raises(UnsupportedOperator, match=way):
        convert(build(write, 6, 1, 1, 18))


@pytest.mark.parametrize("frames", [3, 6])
def test_a_loop_over_the_frames_of_two_tensors_is_carried(frames: int) -> None:
    """`h = tanh(a(x[:, t]) + p[:, t] + b(h))`, p another tensor of the same frames; the first `b(h)` is of constants alone."""

    def two(draft: Draft, x: str) -> str:
        p, h, made = draft.op("Sigmoid", draft.op("Add", x, draft.const(0.5))), draft.const(np.zeros((1, C))), []
        a, b, axis = draft.random(C, C), draft.random(C, C), draft.ints(0)
        for t in range(draft.frames):
            one, two = (draft.op("Squeeze", draft.op("Gather", y, draft.ints(t), axis=0), axis) for y in (x, p))
            h = draft.op("Tanh", draft.op("Sum", draft.op("MatMul", one, a), two, draft.op("MatMul", h, b)))
            made.append(draft.op("Unsqueeze", h, axis))
        return str(draft.op("ReduceMean", draft.op("Concat", *made, axis=0), draft.ints(0), keepdims=0))

    def network(count: int, mean: bool) -> onnx.ModelProto:
        draft = Draft(count)
        flat = draft.op("Reshape", draft.op("Transpose", "x", perm=[1, 0, 2]), draft.ints(count, 1, C))
        y = two(draft, flat)
        info = helper.make_tensor_value_info
        graph = helper.make_graph(
            draft.nodes, "two", [info("x", TensorProto.FLOAT, [1, count, C])], [info(y, TensorProto.FLOAT, [1, C])], draft.weights
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)

    made = convert(network(frames, mean=True), Options(layout="NTC"))
    assert (made.metadata.feature_delay, made.metadata.unbounded, made.metadata.window) == (0, True, frames)
    assert verify(made) < 1e-5
    video = np.random.default_rng(0).standard_normal((1, frames, C)).astype(np.float32)
    walk = Walk(made.step)
    found = [walk.step(video[0, t : t + 1])["logits"] for t in range(frames)]
    (whole,) = run(network(frames, mean=True), {"x": video}).values()
    np.testing.assert_allclose(found[-1], whole, rtol=1e-5, atol=1e-6)
