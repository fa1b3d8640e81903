"""A frame that is picked from the clip: the network answers as soon as what it reads is exact, and says when that is.

The reference is written here: the body of the network on the whole video, and what is picked, in numpy. At the step with frame
n the newest pick is the newest frame of its wire that is complete, and all others lie before it as far as they do in the clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from everyframe.conversion.step import stream
from everyframe.modelfile.file import Held
from everyframe.modelfile.session import run
from everyframe.modelfile.walk import Walk

C = 3


@dataclass(frozen=True)
class Layer:
    """A convolution over time; pads: in front and behind."""

    kernel: int
    pads: tuple[int, int]
    stride: int = 1

    @property
    def right(self) -> int:
        return self.kernel - 1 - self.pads[0]


@dataclass(frozen=True)
class Picks:
    """A body of layers on T frames, and the frames (from the end) that a classifier reads. form: how each is picked; front:
    frames that a slice drops before; recurrent: an LSTM at the end."""

    T: int
    layers: tuple[Layer, ...]
    ages: tuple[int, ...]
    form: str
    front: int
    recurrent: bool

    def body(self, frames: int) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray], str]:
        """(nodes, constants, output (1, C, t))."""
        rng, nodes, constants, x = np.random.default_rng(0), [], {}, "clip"
        for i, layer in enumerate(self.layers):
            constants[f"w{i}"] = rng.standard_normal((C, C, layer.kernel)).astype(np.float32)
            nodes.append(helper.make_node("Conv", [x, f"w{i}"], [f"y{i}"], strides=[layer.stride], pads=list(layer.pads)))
            x = f"y{i}"
        if self.recurrent:
            for name, shape in (("w", (1, 4 * C, C)), ("r", (1, 4 * C, C))):
                constants[name] = rng.standard_normal(shape).astype(np.float32)
            nodes.append(helper.make_node("Transpose", [x], ["tnc"], perm=[2, 0, 1]))
            nodes.append(helper.make_node("LSTM", ["tnc", "w", "r"], ["h"], hidden_size=C))
            constants["one"] = np.array([1], np.int64)
            nodes.append(helper.make_node("Squeeze", ["h", "one"], ["h3"]))
            nodes.append(helper.make_node("Transpose", ["h3"], ["all"], perm=[1, 2, 0]))
            x = "all"
        return nodes, constants, x

    @property
    def frames(self) -> int:
        """Of the wire that is picked from."""
        n = self.T
        for layer in self.layers:
            n = (n + sum(layer.pads) - layer.kernel) // layer.stride + 1
        return n

    def clip(self) -> onnx.ModelProto:
        nodes, constants, x = self.body(self.T)

        def const(name: str, values: object) -> str:
            constants[name] = np.asarray(values, np.int64)
            return name

        if self.front:
            ends = [const("front", [self.front]), const("end", [2**40]), const("axis", [2])]
            nodes.append(helper.make_node("Slice", [x, *ends], ["cut"]))
            x = "cut"
        n, parts = self.frames - self.front, []
        for k, age in enumerate(self.ages):
            at = n - 1 - age
            if self.form == "Gather":
                nodes.append(helper.make_node("Gather", [x, const(f"at{k}", at)], [f"p{k}"], axis=2))
            elif self.form == "Slice":
                given = [const(f"at{k}", [at]), const(f"to{k}", [at + 1]), const(f"on{k}", [2])]
                nodes.append(helper.make_node("Slice", [x, *given], [f"s{k}"]))
                nodes.append(helper.make_node("Squeeze", [f"s{k}", const(f"of{k}", [2])], [f"p{k}"]))
            else:  # a head of one frame
                given = [const(f"at{k}", [at]), const(f"to{k}", [at + 1]), const(f"on{k}", [2])]
                nodes.append(helper.make_node("Slice", [x, *given], [f"s{k}"]))
                nodes.append(helper.make_node("ReduceMean", [f"s{k}", const(f"of{k}", [2])], [f"p{k}"], keepdims=0))
            parts.append(f"p{k}")
        nodes.append(helper.make_node("Concat", parts, ["logits"], axis=1))
        return _model(nodes, constants, "logits", self.T, [1, C * len(parts)])

    def whole(self, video: np.ndarray) -> np.ndarray:
        """(frames of the wire that is picked from, C) on the whole video (T, C), none of which saw its end."""
        nodes, constants, x = self.body(len(video))
        out = run(_model(nodes, constants, x, len(video), None), {"clip": video.T[None]}, (x,))[x]
        return out[0].T


def _model(nodes: list, constants: dict, output: str, frames: int, shape: list[int] | None) -> onnx.ModelProto:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "net", [info("clip", TensorProto.FLOAT, [1, C, frames])], [info(output, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@st.composite
def picks(draw) -> Picks:
    T, layers = draw(st.integers(4, 12)), []
    n = T
    for _ in range(draw(st.integers(0, 3))):
        kernel = draw(st.integers(1, 3))
        before = draw(st.integers(0, kernel - 1))
        layer = Layer(kernel, (before, draw(st.sampled_from([0, kernel - 1 - before]))), draw(st.sampled_from([1, 1, 1, 2])))
        after = (n + sum(layer.pads) - layer.kernel) // layer.stride + 1
        if after >= 3:
            layers, n = [*layers, layer], after
    front = draw(st.sampled_from([0, 0, 0, 1]))
    ages = draw(st.sampled_from([(0,), (0,), (n - 1 - front,), ((n - front) // 2,), (0, n - 1 - front), (1, 0), (1, 2, 1)]))
    form = draw(st.sampled_from(["Gather", "Slice", "head"]))
    return Picks(T, tuple(layers), tuple(min(a, n - 1 - front) for a in ages), form, front, draw(st.booleans()))


@settings(max_examples=60, deadline=None)
@given(picks())
def test_it_answers_as_soon_as_it_can(net: Picks) -> None:
    made = stream(Held(net.clip()), None, layout="NCT", taps="all")
    meta, every, delay = made.metadata, 1, 0
    for layer in net.layers:
        delay, every = max(0, delay + every * layer.right), every * layer.stride
    assert meta.hop == every
    span = max(net.ages) - min(net.ages)
    assert meta.feature_delay == delay + every * span
    video = np.random.default_rng(1).standard_normal((every * 16 + delay, C)).astype(np.float32)
    frames, walk = net.whole(video), Walk(made.step, states=meta.states)
    for t in range(len(video) // every):
        answer = walk.step(video[t * every : (t + 1) * every])["logits"].reshape(-1)
        newest = ((t + 1) * every - 1 - delay) // every
        if (t + 1) * every - 1 < meta.feature_delay:
            continue
        wanted = np.concatenate([frames[newest - (age - min(net.ages))] for age in net.ages])
        np.testing.assert_allclose(answer, wanted, rtol=0, atol=1e-5 * np.abs(frames).max())


@pytest.mark.parametrize("age", [0, 3, 7])
def test_it_says_what_the_clip_that_ends_now_says(age: int) -> None:
    """Behind causal layers: the answer at frame n is that of the clip whose picked frame is n."""
    net = Picks(8, (Layer(2, (0, 0)),), (min(age, 6),), "Gather", 0, recurrent=False)
    clip = net.clip()
    made = stream(Held(clip), None, layout="NCT")
    video = np.random.default_rng(2).standard_normal((20, C)).astype(np.float32)
    walk = Walk(made.step, states=made.metadata.states)
    for n in range(20):
        answer = walk.step(video[n : n + 1])["logits"].reshape(-1)
        begin = n - 7 + min(age, 6)
        if begin >= 0 and begin + 8 <= 20:
            wanted = run(clip, {"clip": video[begin : begin + 8].T[None]}, ("logits",))["logits"].reshape(-1)
            np.testing.assert_allclose(answer, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [None, 12])
@pytest.mark.parametrize("layer", [Layer(3, (1, 1)), Layer(3, (2, 0)), Layer(3, (1, 1), 2)])
def test_a_mean_beside_a_picked_frame(layer: Layer, window: int | None) -> None:
    """cat(y.mean(2), y.max(2), y[:, :, -1], y[:, :, -1] - y[:, :, -2]): all of them are values of the same step."""
    net = Picks(8, (layer,), (), "Slice", 0, False)
    nodes, constants, y = net.body(net.T)
    for name, values in {"axis": [2], "last": [-1], "before": [-2], "end": [2**40]}.items():
        constants[name] = np.array(values, np.int64)
    nodes += [
        helper.make_node("ReduceMean", [y, "axis"], ["mean"]), helper.make_node("ReduceMax", [y, "axis"], ["max"]),
        helper.make_node("Slice", [y, "last", "end", "axis"], ["newest"]),
        helper.make_node("Slice", [y, "before", "last", "axis"], ["older"]),
        helper.make_node("Sub", ["newest", "older"], ["change"]),
        helper.make_node("Concat", ["mean", "max", "newest", "change"], ["logits"], axis=1),
    ]  # fmt: skip
    made = stream(Held(_model(nodes, constants, "logits", net.T, None)), None, window=window, layout="NCT")
    n, hop = window or net.frames, layer.stride
    assert (made.metadata.hop, made.metadata.window) == (hop, n)
    video = np.random.default_rng(1).standard_normal((40, C)).astype(np.float32)
    whole, walk = net.whole(video), Walk(made.step)
    for t in range((len(video) - 8) // hop):
        found = walk.step(video[t * hop : (t + 1) * hop].reshape(hop, C))["logits"].reshape(4, C)
        j = ((t + 1) * hop - 1 - layer.right) // hop  # the newest frame that is complete
        if j >= n - 1:
            seen = whole[j - n + 1 : j + 1]
            wanted = [seen.mean(0), seen.max(0), whole[j], whole[j] - whole[j - 1]]
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5, err_msg=f"step {t}")
