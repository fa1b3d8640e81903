"""Networks that take more than one kind of frames, and values that have none: a stream says what the network says of the video.

The reference is written here: the network itself, built for the whole video, and its mean over the newest frames in numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import everyframe as ef
from everyframe.conversion.step import Conversion, stream
from everyframe.errors import EveryframeError, ModelError, SourceError, StateError, UsageError
from everyframe.modelfile.file import Held
from everyframe.modelfile.session import run
from everyframe.modelfile.walk import Walk
from everyframe.runtime import BUILTIN

C, T = 2, 16
STATIC = 3
SAMPLE = BUILTIN.with_name("sample.mp4")


@dataclass(frozen=True)
class Branch:
    """An input and its convolution over time. rate: stream frames between two of its frames; arrays: (N, C, T), not pictures."""

    rate: int
    kernel: int
    left: int
    stride: int
    arrays: bool

    @property
    def right(self) -> int:
        """Stream frames that its output waits for."""
        return (self.kernel - 1 - self.left) * self.rate


@dataclass(frozen=True)
class Net:
    """Two branches of one rate, joined, a convolution, a mean over the clip. style: where a value without frames comes in."""

    branches: tuple[Branch, Branch]
    join: str
    kernel: int
    style: str
    swapped: bool

    @property
    def every(self) -> int:
        return self.branches[0].rate * self.branches[0].stride

    @property
    def delay(self) -> int:
        """Stream frames until frame 0 of the last wire is complete: it has `kernel // 2` frames of padding on both sides."""
        return max(0, *(b.right for b in self.branches)) + self.kernel // 2 * self.every

    def build(self, frames: int, mean: bool) -> onnx.ModelProto:
        rng, nodes, weights, info = np.random.default_rng(0), [], [], helper.make_tensor_value_info

        def op(kind: str, *inputs: str, **attrs: object) -> str:
            nodes.append(helper.make_node(kind, inputs, [f"{kind}{len(nodes)}"], **attrs))
            return str(nodes[-1].output[0])

        def const(values: object, dtype: type = np.float32) -> str:
            weights.append(numpy_helper.from_array(np.asarray(values, dtype), f"c{len(weights)}"))
            return str(weights[-1].name)

        wires, inputs = [], []
        for name, b in zip(("one", "two"), self.branches, strict=True):
            inner = () if b.arrays else (2, 2)
            inputs.append(info(name, TensorProto.FLOAT, [1, C, frames // b.rate, *inner]))
            ones = [0] * len(inner)
            x = op(
                "Conv", name, const(rng.standard_normal((C, C, b.kernel, *[1] * len(inner)))),
                strides=[b.stride, *[1] * len(inner)], pads=[b.left, *ones, b.kernel - 1 - b.left, *ones],
            )  # fmt: skip
            wires.append(x if b.arrays else op("ReduceMean", x, const([3, 4], np.int64), keepdims=0))
        if self.swapped:
            inputs.reverse()
        x = op("Concat", *wires, axis=1) if self.join == "Concat" else op(self.join, *wires)
        channels = 2 * C if self.join == "Concat" else C
        if self.style:
            inputs.append(info("style", TensorProto.FLOAT, [1, STATIC]))
            s = op("MatMul", "style", const(rng.standard_normal((STATIC, channels))))
            s = op("Reshape", s, const([1, channels, 1], np.int64))
            if self.style == "joined":
                s = op("Expand", s, const([1, 1, frames // self.every], np.int64))
                x, channels = op("Concat", s, x, axis=1), 2 * channels
            else:
                x = op("Mul", s, op("Tanh", x))
        k = self.kernel
        x = op("Conv", x, const(rng.standard_normal((C, channels, k))), pads=[k // 2, k // 2])
        if mean:
            x = op("ReduceMean", x, const([2], np.int64), keepdims=0)
        graph = helper.make_graph(nodes, "net", inputs, [info(x, TensorProto.FLOAT, None)], weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)

    @property
    def layout(self) -> str:
        named = [f"{name}=NCT" for name, b in zip(("one", "two"), self.branches, strict=True) if b.arrays]
        return ",".join(["NCTHW", *named])

    def video(self, frames: int) -> dict[str, np.ndarray]:
        """(frames, C, ...) of each input, the value of `style`."""
        rng = np.random.default_rng(1)
        made = {
            name: rng.standard_normal((frames // b.rate, C, *(() if b.arrays else (2, 2)))).astype(np.float32)
            for name, b in zip(("one", "two"), self.branches, strict=True)
        }
        return made | ({"style": rng.standard_normal((1, STATIC)).astype(np.float32)} if self.style else {})

    def whole(self, video: dict[str, np.ndarray], frames: int) -> np.ndarray:
        """(frames of the last wire, C)."""
        feeds = {name: array if name == "style" else np.moveaxis(array, 0, 1)[None] for name, array in video.items()}
        (found,) = run(self.build(frames, mean=False), feeds).values()
        return np.asarray(found)[0].T


@st.composite
def nets(draw: st.DrawFn) -> Net:
    fast, slow = draw(st.sampled_from([(1, 1), (1, 2), (1, 4), (2, 1)]))
    every = max(fast, slow) * draw(st.sampled_from([1, 1, 2]))

    def branch(rate: int) -> Branch:
        kernel = draw(st.integers(1, 3))
        return Branch(rate, kernel, draw(st.integers(0, kernel - 1)), every // rate, draw(st.booleans()))

    join, style = draw(st.sampled_from(["Concat", "Add", "Mul"])), draw(st.sampled_from(["", "", "gate", "joined"]))
    return Net((branch(fast), branch(slow)), join, draw(st.sampled_from([1, 3])), style, draw(st.booleans()))


def steps(made: Conversion, video: dict[str, np.ndarray], frames: int) -> list[np.ndarray]:
    """A plain loop: each step is given the next frames of every input."""
    walk, hop = Walk(made.step), made.metadata.hop
    every = {spec.name: spec.every for spec in made.metadata.inputs}
    return [
        walk.step({
            name: array if not every[name] else array[t * hop // every[name] : (t + 1) * hop // every[name]]
            for name, array in video.items()
        })["logits"]
        for t in range(frames // hop)
    ]  # fmt: skip


@settings(max_examples=20, deadline=None, derandomize=True)
@given(nets())
def test_a_stream_of_several_inputs_is_the_network_on_the_whole_video(net: Net) -> None:
    made = stream(Held(net.build(T, mean=True)), None, layout=net.layout)
    hop, meta = net.every, made.metadata
    assert (meta.hop, meta.window) == (hop, T // net.every)
    assert meta.feature_delay == net.delay
    assert [spec.name for spec in meta.inputs] == [value.name for value in net.build(T, mean=True).graph.input]
    frames = 12 * hop
    video = net.video(frames)
    features, found = net.whole(video, frames), steps(made, video, frames)
    compared = 0
    for t, logits in enumerate(found):
        newest = ((t + 1) * hop - 1 - net.delay) // net.every  # the last frame that is complete
        if newest >= 0 and newest < len(features) - 2 - net.kernel:  # and saw nothing of the video's end
            wanted = features[max(0, newest + 1 - meta.window) : newest + 1].mean(0)
            np.testing.assert_allclose(logits[0], wanted, rtol=1e-4, atol=1e-5 * np.abs(features).max())
            compared += 1
    assert compared > 2


PLAIN = Net((Branch(1, 3, 1, 2, False), Branch(2, 1, 0, 1, True)), "Concat", 3, "gate", swapped=True)


@pytest.fixture(scope="module")
def step(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("several") / "step.onnx"
    stream(Held(PLAIN.build(T, mean=True)), path, layout=PLAIN.layout)
    return path


def test_every_way_to_give_frames_says_the_same(step: Path, tmp_path: Path) -> None:
    video = PLAIN.video(16)
    np.savez(tmp_path / "video.npz", **video)
    program = ef.open(step, engine="ort", threads=1)
    by_dict = list(program.predict(video))
    style = {"style": video["style"]}
    frames = [{"one": video["one"][i]} | ({} if i % 2 else {"two": video["two"][i // 2]}) for i in range(16)]
    frames[0] |= style
    pushed, stepped, one = program.stream(), program.stream(), program.stream()
    parts = [{"one": video["one"][2 * i : 2 * i + 2], "two": video["two"][i : i + 1]} | style for i in range(8)]
    ways = {
        "a file": list(program.predict(tmp_path / "video.npz")), "ef.predict": list(ef.predict(step, video, engine="ort")),
        "an iterator": list(program.predict(iter(frames))), "push": [pushed.push(frame) for frame in frames],
        "step": [stepped.step(part) for part in parts], "later": [one.push(frame | style) for frame in frames],
    }  # fmt: skip
    assert len(by_dict) > 4
    for way, found in ways.items():
        logits = [each.logits for each in found if each is not None]
        np.testing.assert_array_equal(logits, [each.logits for each in by_dict], err_msg=way)


@pytest.mark.parametrize(
    ("give", "error", "says"),
    [
        (lambda s, v: s.push(v["one"][0]), StateError, ("several inputs", "one", "two", "style")),
        (lambda s, v: s.push({"one": v["one"][0], "style": v["style"]}), StateError, ("no value", "two", "every 2 frames")),
        (lambda s, v: s.push({"one": v["one"][0], "two": v["two"][0]}), StateError, ("no value", "style", "first frame")),
        (lambda s, v: s.push({"one": v["one"][0], "tow": v["two"][0]}), StateError, ("several inputs", "tow")),
        (lambda s, v: s.push({"one": v["two"][0], "two": v["two"][0], "style": v["style"]}), StateError, ("shape", "one")),
        (lambda s, v: s.step(v), StateError, ("one step", "one", "2 frames")),
        (lambda s, v: ef.predict(s.program.path, {"one": v["one"]}), SourceError, ("not the inputs", "two", "style")),
        (lambda s, v: ef.predict(s.program.path, {**v, "two": v["two"][:3]}), SourceError, ("as many frames", "two", "8 frames")),
        (lambda s, v: ef.predict(s.program.path, v["one"]), StateError, ("several inputs",)),
        (lambda s, v: ef.predict(s.program.path, SAMPLE), ModelError, ("several inputs", "video gives only pictures", ".npz")),
        (lambda s, v: ef.split(s.program.path, s.program.path + ".parts", stages=2), ModelError, ("several inputs",)),
        (lambda s, v: ef.quantize(s.program.path, SAMPLE), ModelError, ("several inputs",)),
        (lambda s, v: ef.bundle(s.program.path, "web", output=s.program.path + ".web"), ModelError, ("several inputs",)),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(step: Path, give: object, error: type[Exception], says: tuple[str, ...]) -> None:
    with ef.open(step, engine="ort", threads=1).stream() as streaming, pytest.raises(error) as caught:
        give(streaming, PLAIN.video(16))  # type: ignore[operator]
    for words in says:
        assert words in str(caught.value)


def test_a_value_is_bound_once_and_for_all(tmp_path: Path) -> None:
    """--bind: the network of the value is the network with that constant; a first state of a GRU must be one."""
    video = PLAIN.video(16)
    np.save(tmp_path / "style.npy", video["style"])
    open_one = stream(Held(PLAIN.build(T, mean=True)), None, layout=PLAIN.layout)
    bound = ef.convert(PLAIN.build(T, mean=True), layout=PLAIN.layout, bind={"style": tmp_path / "style.npy"})
    assert [spec.name for spec in bound.metadata.inputs] == ["two", "one"]
    rest = {name: array for name, array in video.items() if name != "style"}
    np.testing.assert_allclose(steps(bound, rest, 16), steps(open_one, video, 16), rtol=1e-5, atol=1e-6)
    gru = _gru()
    with pytest.raises(ModelError, match="--bind h=0"):
        stream(Held(gru), None, layout="x=TNC,h=VNC")
    assert stream(Held(gru), None, layout="x=TNC", values={"h": 0.0}).metadata.inputs == ()
    for values, says in (({"g": 0}, "no such input"), ({"h": np.zeros(7)}, "input's shape"), ({"h": "no.npy"}, "cannot be read")):
        with pytest.raises(UsageError, match=says):
            stream(Held(gru), None, layout="x=TNC", values=values)


def test_what_an_input_is_has_to_be_said() -> None:
    net = PLAIN.build(T, mean=True)
    for layout, says in ((None, "--layout two=NCT"), ("tow=NCT", "no such input"), ("one=NCHW,two=NCV", "not one clip|No input")):
        with pytest.raises(EveryframeError, match=says):
            stream(Held(net), None, layout=layout)


def test_dense_streams_take_a_frame_of_every_input_with_every_frame() -> None:
    made = stream(Held(PLAIN.build(T, mean=True)), None, layout=PLAIN.layout, rate="dense")
    assert made.metadata.hop == 1 and [spec.every for spec in made.metadata.inputs] == [1, 1, 0]


def test_flow_alone_is_given_as_arrays(tmp_path: Path) -> None:
    """Two channels are no picture, whatever their axes."""
    weights = [numpy_helper.from_array(np.ones((1, 2, 3, 1, 1), np.float32), "w")]
    info = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Conv", ["flow", "w"], ["y"], pads=[1, 0, 0, 1, 0, 0]),
        helper.make_node("GlobalAveragePool", ["y"], ["z"]),
    ]
    graph = helper.make_graph(nodes, "net", [info("flow", 1, [1, 2, 4, 3, 3])], [info("z", 1, [1, 1, 1, 1, 1])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    made = stream(Held(model), tmp_path / "flow.onnx")
    assert made.metadata.inputs[0].preprocess is None
    flow = np.random.default_rng(0).standard_normal((2, 9, 3, 3)).astype(np.float32)
    found = list(ef.open(tmp_path / "flow.onnx", engine="ort").predict(flow))
    sums = flow.sum(0).mean((1, 2))
    wanted = [sums[i : i + 3].sum() for i in range(7)]
    np.testing.assert_allclose(np.mean(wanted[3:7]), found[-1].logits[0], rtol=1e-5)


def _gru() -> onnx.ModelProto:
    rng, info = np.random.default_rng(0), helper.make_tensor_value_info
    arrays = {"w": (1, 6, 3), "r": (1, 6, 2)}
    weights = [numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name) for name, shape in arrays.items()]
    weights.append(numpy_helper.from_array(np.array(-1, np.int64), "last"))
    nodes = [
        helper.make_node("GRU", ["x", "w", "r", "", "", "h"], ["y"], hidden_size=2),
        helper.make_node("Gather", ["y", "last"], ["z"], axis=0),
    ]
    inputs = [info("x", TensorProto.FLOAT, [T, 1, 3]), info("h", TensorProto.FLOAT, [1, 1, 2])]
    graph = helper.make_graph(nodes, "gru", inputs, [info("z", TensorProto.FLOAT, None)], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
