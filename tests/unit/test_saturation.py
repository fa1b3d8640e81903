"""Which layers can saturate, what engines do about it, and what is said. Here also means a processor that does it."""

from __future__ import annotations

import dataclasses
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import everyframe
import handmade
from everyframe.cli import main
from everyframe.modelfile import saturation
from everyframe.modelfile.exact import Exact
from everyframe.modelfile.file import attach, save
from everyframe.modelfile.schema import Metadata, Preprocess
from everyframe.modelfile.session import session
from everyframe.runtime import auto, ort
from everyframe.runtime import engine as engines
from everyframe.runtime.states import plan

BOTH = ("ort", "openvino")
SIZE = (6, 5)


class Net:
    """Operators over frames (1, c, 6, 5), as bytes."""

    def __init__(self, channels: int = 8) -> None:
        self.channels, self.nodes, self.weights = channels, [], []  # type: ignore[var-annotated]

    def put(self, value: Any, dtype: Any = np.float32) -> str:
        self.weights.append(handmade.tensor(name := f"c{len(self.weights)}", value, dtype))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [name := f"t{len(self.nodes)}"], f"{kind} {name}", **attributes))
        return name

    def grid(self, x: str, scale: float, kind: Any, zero: int = 0) -> str:
        numbers = self.put(scale), self.put(zero, kind)
        return self.op("DequantizeLinear", self.op("QuantizeLinear", x, *numbers), *numbers)

    def weight(self, integers: Any, kind: Any = np.int8, zero: int = 0) -> str:
        return self.op("DequantizeLinear", self.put(integers, kind), self.put(0.001), self.put(zero, kind))

    def model(self, answer: str) -> onnx.ModelProto:
        """The answer's mean over everything, twice: two classes."""
        floats = self.op("Cast", answer, to=TensorProto.FLOAT)
        flat = self.op("Reshape", floats, self.put([1, -1], np.int64))
        mean = self.op("ReduceMean", flat, axes=[1], keepdims=1)
        self.nodes.append(helper.make_node("Mul", [mean, self.put([1.0, 0.5])], ["logits"]))
        shape = (1, self.channels, *SIZE)
        return handmade.model(
            self.nodes, {"frames": (TensorProto.FLOAT, shape)}, {"logits": (TensorProto.FLOAT, (1, 2))}, self.weights
        )


def product(op: str, x: Any, w: Any, value: int, **more: Any) -> onnx.ModelProto:
    """One operator with two equal weights for each output, or `many`, and zeros."""
    net = Net(more.get("channels", 8))
    integers = np.zeros((8, 8) if op in ("Gemm", "MatMul") else (8, more.get("inputs", 8), 3, 3))
    integers.reshape(8, -1)[:, : more.get("many", 2)] = value
    frames = "frames" if "Conv" in op else net.op("Slice", *_rows(net))
    attributes = {"pads": [1] * 4} if "Conv" in op else {"transB": 1} if op == "Gemm" else {}
    data, weight = net.grid(frames, 0.02, x), net.weight(integers.T if op == "MatMul" else integers, w)
    made = net.op(op, data, weight, **attributes, **more.get("attributes", {}))
    return net.model(net.grid(made, 0.05, x))


def _rows(net: Net) -> tuple[str, ...]:
    """Of 8 numbers each."""
    flat = net.op("Reshape", "frames", net.put([-1, 8], np.int64))
    return flat, *(net.put([v], np.int64) for v in (0, 9, 0))


@pytest.mark.parametrize("x", [np.uint8, np.int8])
@pytest.mark.parametrize(("op", "engines"), [("Conv", BOTH), ("Gemm", BOTH), ("MatMul", BOTH), ("ConvTranspose", ("openvino",))])
def test_two_weights_decide(op: str, engines: tuple[str, ...], x: Any) -> None:
    """128 = 64 + 64 fit, 130 do not; a negative pair as well; unsigned weights never saturate."""
    for value, wanted in ((64, None), (65, 130), (-64, None), (-65, 130)):
        found = saturation.layers(product(op, x, np.int8, value))
        assert [(row.op, row.engines, row.pair) for row in found] == ([(op, engines, wanted)] if wanted else []), value
    assert not saturation.layers(product(op, x, np.uint8, 255))
    assert len(saturation.layers(product(op, x, np.int8, 127), "ort")) == ("ort" in engines)


def test_depthwise_and_wide_and_float() -> None:
    assert not saturation.layers(product("Conv", np.uint8, np.int8, 127, inputs=1, attributes={"group": 8}))
    assert saturation.layers(product("Conv", np.uint8, np.int8, 127, inputs=4, attributes={"group": 2}))
    assert saturation.layers(product("Conv", np.uint8, np.int8, 127, channels=1, inputs=1)), "one channel in, many out"
    floats = Net()
    made = floats.model(floats.op("Conv", "frames", floats.weight(np.full((8, 8, 1, 1), 127))))
    assert not saturation.layers(made) and saturation.quantized(made)
    wide = Net()
    assert not saturation.layers(
        wide.model(wide.op("Conv", wide.grid("frames", 0.1, np.int16), wide.weight(np.ones((8, 8, 1, 1)))))
    )
    plain = Net()
    assert not saturation.quantized(plain.model(plain.op("Relu", "frames")))


def test_weights_that_are_rounded_when_loaded_and_what_is_moved_or_computed() -> None:
    """Floats with a QuantizeLinear; bytes that were turned; products of two activations."""
    net = Net()
    scale, zero = net.put(np.full(8, 0.01)), net.put(np.zeros(8), np.int8)
    floats = np.zeros((8, 8, 1, 1))
    floats[3, :2, 0, 0] = 0.9
    turned = net.op("QuantizeLinear", net.put(floats), scale, zero, axis=0)
    made = net.op("Conv", net.grid("frames", 0.1, np.uint8), net.op("DequantizeLinear", turned, scale, zero, axis=0))
    (found,) = saturation.layers(net.model(made))
    assert found.pair == 180
    net = Net()
    weight = net.op("Transpose", net.weight(np.full((8, 8), 127)), perm=[1, 0])
    rows = net.op("Slice", *_rows(net))
    (found,) = saturation.layers(net.model(net.op("MatMul", net.op("Relu", net.grid(rows, 0.1, np.int8)), weight)))
    assert found.pair == 254
    for kind, wanted in ((np.uint8, 0), (np.int8, 1)):
        net = Net()
        one = net.grid(net.op("Slice", *_rows(net)), 0.1, kind)
        two = net.grid(net.op("Transpose", net.op("Slice", *_rows(net)), perm=[1, 0]), 0.1, kind)
        found_all = saturation.layers(net.model(net.op("MatMul", one, two)))
        assert [row.pair for row in found_all] == [None] * wanted


@pytest.mark.parametrize(("op", "x", "w", "wanted"), [
    ("QLinearConv", np.uint8, np.int8, BOTH), ("QLinearConv", np.int8, np.int8, ("openvino",)),
    ("QLinearConv", np.uint8, np.uint8, ()),
    ("QLinearMatMul", np.uint8, np.int8, BOTH), ("QLinearMatMul", np.int8, np.int8, ("openvino",)),
    ("MatMulInteger", np.uint8, np.int8, ("ort",)), ("MatMulInteger", np.int8, np.int8, ()),
    ("ConvInteger", np.int8, np.uint8, ("ort",)), ("ConvInteger", np.uint8, np.int8, ()),
])  # fmt: skip
def test_operators_on_integers(op: str, x: Any, w: Any, wanted: tuple[str, ...]) -> None:
    found = saturation.layers(integer_model(op, x, w))
    assert [row.engines for row in found] == ([wanted] if wanted else [])


def integer_model(op: str, x: Any, w: Any) -> onnx.ModelProto:
    """All bytes as large as they can be."""
    net = Net()
    rows = "frames" if "Conv" in op else net.op("Slice", *_rows(net))
    zero, w_zero, scale = net.put(0, x), net.put(0, w), net.put(0.01)
    data = net.op("QuantizeLinear", rows, scale, zero)
    weight = net.put(np.full((8, 8, 3, 3) if "Conv" in op else (8, 8), np.iinfo(w).max), w)
    if op.startswith("QLinear"):
        return net.model(net.op(op, data, scale, zero, weight, scale, w_zero, net.put(2.0), net.put(0, x)))
    return net.model(net.op(op, data, weight, zero, w_zero))


@given(st.lists(st.integers(-128, 127), min_size=1, max_size=9), st.integers(1, 4))
def test_pairs_are_those_of_a_plain_search(values: list[int], rows: int) -> None:
    table = np.array([values[k:] + values[:k] for k in range(rows)], np.int8)
    wanted = max(
        (abs(sum(pair)) for i, a in enumerate(values) for pair in ([a], *([a, b] for b in values[i + 1 :] if a * b > 0))),
        default=0,
    )
    assert saturation.pair(table, 0) == saturation.pair(table, None if rows == 1 else 0) == wanted


# -- this processor ----------------------------------------------------------------------------------------------------


def largest() -> np.ndarray:
    return np.full((1, 8, *SIZE), 5.0, np.float32)


def test_here_is_what_onnxruntime_does() -> None:
    """A convolution of the largest bytes, as QDQ: off exactly where the processor is said to saturate."""
    model = product("Conv", np.uint8, np.int8, 127, many=72)
    plain = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    exact = Exact(model).run({"frames": largest()})["logits"]
    off = np.abs(plain.run(None, {"frames": largest()})[0] - exact).max() > 0.01 * np.abs(exact).max()
    assert off == saturation.here()
    ours = session(model).run(None, {"frames": largest()})[0]
    np.testing.assert_allclose(ours, exact, rtol=1e-3)  # never off


def test_a_runtime_that_cannot_say_it_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(onnxruntime, "InferenceSession", broken)
    saturation.here.cache_clear()
    try:
        assert saturation.here()
    finally:
        saturation.here.cache_clear()


@pytest.fixture
def saturating(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saturation, "here", lambda: True)


def job(model: onnx.ModelProto) -> engines.Job:
    return engines.Job(model, "net.onnx", "frames", "logits", plan((), "net.onnx"), 1)


@pytest.mark.parametrize("op", ["Conv", "Gemm", "ConvTranspose"])
@pytest.mark.parametrize("x", [np.uint8, np.int8])
@pytest.mark.parametrize("engine", [
    "ort", pytest.param("openvino", marks=pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")),
])  # fmt: skip
def test_engines_go_another_way(engine: str, x: Any, op: str, saturating: None) -> None:
    model = product(op, x, np.int8, 127, many=72)
    loaded = engines.load(engine, job(model))
    frames = largest() * np.random.default_rng(0).choice([1, 1, 0.5], largest().shape).astype(np.float32)
    exact = Exact(model).run({"frames": frames})["logits"]
    np.testing.assert_allclose(loaded.start().step(frames), exact, rtol=2e-2)
    ways = {saturation.AS_UNSIGNED, saturation.AS_FLOATS} if engine in saturation.layers(model)[0].engines else {""}
    assert loaded.reason in ways and loaded.warning == ""


def test_floats_where_unsigned_weights_fail(saturating: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "_unsigned", lambda *_: None)
    model = product("Conv", np.uint8, np.int8, 127)
    loaded = engines.load("ort", job(model))
    assert loaded.reason == saturation.AS_FLOATS
    np.testing.assert_allclose(loaded.start().step(largest()), Exact(model).run({"frames": largest()})["logits"], rtol=1e-3)


def test_unsigned_weights_are_compared_first(saturating: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that answers otherwise is not taken."""
    whole = ort._session

    def spoilt(model: onnx.ModelProto, given: engines.Job, more: Any = ort.AS_FLOATS) -> Any:
        if more is not ort._AS_UNSIGNED:
            return whole(model, given, more)
        other = onnx.ModelProto()
        other.CopyFrom(model)
        last = other.graph.node[-1].input[1]
        next(t for t in other.graph.initializer if t.name == last).raw_data = np.float32([9, 9]).tobytes()
        return whole(other, given, more)

    monkeypatch.setattr(ort, "_session", spoilt)
    assert engines.load("ort", job(product("Conv", np.uint8, np.int8, 127))).reason == saturation.AS_FLOATS


def computed(folder: Path) -> Path:
    """Bytes times bytes, none of them constant, by definition: no setting of a runtime avoids it."""
    net = Net(3)
    rows = net.op("Reshape", "frames", net.put([-1, 6], np.int64))
    one = net.op("QuantizeLinear", rows, net.put(0.02), net.put(0, np.uint8))
    turned = net.op("Transpose", net.op("QuantizeLinear", rows, net.put(0.02), net.put(0, np.int8)), perm=[1, 0])
    model = net.model(net.op("MatMulInteger", one, turned))
    save(attach(model, Metadata(kind="step", frames=1, preprocess=Preprocess(resize=SIZE))), folder / "computed.onnx")
    return folder / "computed.onnx"


def test_what_no_setting_avoids_is_said_once_a_model(tmp_path: Path, saturating: None) -> None:
    path = computed(tmp_path)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        for _ in range(2):
            with everyframe.open(path, engine="ort") as program:
                assert program.engine == "ort"
    (one,) = said
    assert issubclass(one.category, engines.AccuracyWarning) and Path(one.filename) == Path(__file__)
    assert "computed.onnx: onnxruntime cuts off sums" in str(one.message) and "MatMulInteger" in str(one.message)


def test_the_command_line_says_it_in_a_line(tmp_path: Path, saturating: None, capsys: pytest.CaptureFixture[str]) -> None:
    path = computed(tmp_path)
    handmade.write_video(tmp_path / "video.mp4", 12, rate=10)
    with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:
        warnings.simplefilter("default")
        main.run(["predict", str(path), str(tmp_path / "video.mp4"), "--engine", "ort", "--json"])
    assert ended.value.code == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "cuts off" in line]
    assert line.startswith("warning: computed.onnx: ") and "--engine native" in line


def test_auto_takes_generated_code_instead(tmp_path: Path, saturating: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """However short a step is."""
    path = handmade.brightness_step(tmp_path / "net.onnx")
    whole = engines.load

    def wrong(name: str, *given: Any) -> engines.Loaded:
        return dataclasses.replace(whole(name, *given), warning="wrong here" if name == "ort" else "")

    monkeypatch.setattr(auto.engines, "load", wrong)
    with everyframe.open(path) as program:
        assert program.engine == "native" and "saturate" in program.engine_reason
