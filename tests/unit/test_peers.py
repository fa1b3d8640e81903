"""Other systems beside ours: the same network with the same weights, and what one says that is not there. No time is asserted."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import everyframe as ef
from everyframe import peers
from everyframe.benchmarking.outcome import Measured
from everyframe.benchmarking.tables import is_ours
from everyframe.errors import EngineError
from everyframe.peers.graph import MAKERS, Network

CHANNELS, FRAMES, SIZE, CLASSES = 4, 6, 8, 5


def network(stride: int = 1) -> onnx.ModelProto:
    """A block of X3D's kind: convolutions over time with a residual and a gate, a pool over the clip, a classifier."""
    rng = np.random.default_rng(0)
    weights = {
        "stem": rng.standard_normal((CHANNELS, 3, 1, 3, 3)), "time": rng.standard_normal((CHANNELS, 1, 3, 1, 1)),
        "bias": rng.standard_normal(CHANNELS), "squeeze": rng.standard_normal((CHANNELS, CHANNELS, 1, 1, 1)),
        "classes": rng.standard_normal((CLASSES, CHANNELS)),
    }  # fmt: skip
    node = helper.make_node
    nodes = [
        node("Conv", ["clip", "stem"], ["a"], pads=[0, 1, 1, 0, 1, 1], strides=[1, 2, 2]),
        node("Conv", ["a", "time", "bias"], ["b"], pads=[1, 0, 0, 1, 0, 0], group=CHANNELS, strides=[stride, 1, 1]),
        node("ReduceMean", ["b", "axes"], ["pooled"], keepdims=1),
        node("Conv", ["pooled", "squeeze"], ["squeezed"]),
        node("Sigmoid", ["squeezed"], ["gate"]),
        node("Mul", ["b", "gate"], ["gated"]),
        node("Add", ["gated", "a"], ["sum"]) if stride == 1 else node("Identity", ["gated"], ["sum"]),
        node("Relu", ["sum"], ["c"]),
        node("ReduceMean", ["c", "axes"], ["mean"], keepdims=0),
        node("Gemm", ["mean", "classes"], ["logits"], transB=1),
    ]
    made = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("clip", TensorProto.FLOAT, (1, 3, FRAMES, SIZE, SIZE))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, CLASSES))],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
        + [numpy_helper.from_array(np.array([2, 3, 4]), "axes")],
    )  # fmt: skip
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("peers")
    onnx.save(network(), made / "clip.onnx")
    ef.convert(made / "clip.onnx", made / "step.onnx")
    return made


def test_torch_computes_the_same() -> None:
    model = network()
    clip = np.random.default_rng(1).standard_normal((1, 3, FRAMES, SIZE, SIZE), np.float32)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"clip": clip})
    run = peers.load("torch", model, 1, "clip.onnx").start()
    np.testing.assert_allclose(run(clip), expected, rtol=1e-4, atol=1e-5)


def test_operators_compute_what_onnxruntime_does() -> None:
    """Those with arguments: pools, slices, pads, splits and reshapes, in one chain."""
    node = helper.make_node
    numbers = {
        "starts": [1], "ends": [-1], "axis2": [2], "ones": [1], "pads": [0, 0, 1, 0, 0, 0, 0, 2, 0, 0], "shape": [0, 2, -1, 7, 7],
        "flat": [1, -1], "half": [3, 3],
    }  # fmt: skip
    nodes = [
        node("MaxPool", ["x"], ["a"], kernel_shape=[1, 3, 3], pads=[0, 0, 0, 0, 1, 1], strides=[1, 1, 1]),
        node("AveragePool", ["a"], ["b"], kernel_shape=[3, 1, 1], pads=[1, 0, 0, 1, 0, 0]),
        node("Slice", ["b", "starts", "ends", "axis2", "ones"], ["c"]),
        node("Pad", ["c", "pads"], ["d"]),
        node("Split", ["d", "half"], ["e", "f"], axis=2),
        node("Concat", ["f", "e"], ["g"], axis=2),
        node("HardSigmoid", ["g"], ["h"]),
        node("Reshape", ["h", "shape"], ["i"]),
        node("Transpose", ["i"], ["j"], perm=[0, 2, 1, 3, 4]),
        node("Reshape", ["j", "flat"], ["k"]),
        node("Softmax", ["k"], ["y"]),
    ]
    made = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4, 5, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in numbers.items()],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    import torch

    x = np.random.default_rng(0).standard_normal((1, 4, 5, 8, 8), np.float32)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(Network(model)(torch.from_numpy(x)).numpy(), expected, rtol=1e-5)
    assert {one.op_type for one in nodes} <= MAKERS.keys()


def test_beside_ours(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are compared, and each system's time is told in times of ours. Those that compile for long are left out."""
    for name in ("torch.compile", "ncnn"):
        monkeypatch.delitem(peers.PEERS, name)
    found = ef.benchmark([folder / "clip.onnx", folder / "step.onnx"], engines=["ort"], frames=1, peers=True)
    rows = {row.engine: row for row in found.benchmark.rows if row.engine in peers.PEERS}
    assert rows["torch"].difference is not None
    assert rows["torch"].difference < 1e-4
    if find_spec("continual"):
        assert rows["continual-inference"].kind == "step"
        assert rows["continual-inference"].difference is not None
        assert rows["continual-inference"].difference < 1e-4
    (table,) = [one for one in found.tables() if "other systems" in one.title]
    assert [row[5] for row in table.rows].count("ours") == 1
    assert next(row for row in table.rows if row[5] == "ours")[:2] == ["ort", "step.onnx, step by step"]
    missing = [name for name, one in peers.PEERS.items() if not one.installed]
    assert [note for note in found.benchmark.notes if "is not installed" in note] == [
        f"{name} is not installed: {peers.PEERS[name].how}" for name in missing
    ]


def test_what_is_ours() -> None:
    step, clip, other = (
        Measured("m", engine, 1, 1, kind) for engine, kind in (("ort", "step"), ("native", "clip"), ("torch", "clip"))
    )
    assert [is_ours(row, [step, clip, other]) for row in (step, clip, other)] == [True, False, False]
    assert [is_ours(row, [clip, other]) for row in (clip, other)] == [True, False]


@pytest.mark.skipif(not find_spec("continual"), reason="continual-inference is not installed: pip install 'everyframe[bench]'")
def test_a_peer_says_what_it_cannot_do() -> None:
    with pytest.raises(EngineError, match="time is not strided"):
        peers.load("continual-inference", network(stride=2), 1, "clip.onnx")
    import torch

    assert torch.is_grad_enabled(), "whoever trains in the same process goes on"


def test_a_peer_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peers.PEERS, "other", peers.Peer(("no_such_package",), "everyframe.peers.eager"))
    with pytest.raises(EngineError, match="pip install no_such_package"):
        peers.load("other", network(), 1, "clip.onnx")


def test_an_operator_that_torch_lacks_here() -> None:
    model = network()
    model.graph.node[1].op_type = "Unknown"
    with pytest.raises(EngineError, match="Unknown"):
        peers.load("torch", model, 1, "clip.onnx")
