"""Small networks of what changed between opsets, at every opset and for every device: never a traceback, never an invalid model,
never another answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from everyframe.devices.profile import load_profile, targets
from everyframe.devices.prove import prove
from everyframe.devices.repair import mend, plan
from everyframe.devices.rewrites.opset import invalid, lower

OPSETS = range(7, 24)
SHAPE = (1, 4, 6, 8)


class Net:
    """Nodes on one input `x` of SHAPE."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def const(self, value: Any, dtype: Any = np.int64) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), f"w{len(self.weights)}"))
        return self.weights[-1].name

    def __call__(self, op: str, *inputs: Any, outputs: int = 1, **attrs: Any) -> Any:
        names = [f"{op.lower()}{len(self.nodes)}" + (f".{i}" if outputs > 1 else "") for i in range(outputs)]
        given = [each if isinstance(each, str) else self.const(each, np.asarray(each).dtype) for each in inputs]
        self.nodes.append(helper.make_node(op, given, names, name=names[0], **attrs))
        return names[0] if outputs == 1 else names

    def model(self, outputs: list[str], opset: int) -> onnx.ModelProto:
        values = [helper.make_empty_tensor_value_info(name) for name in outputs]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)
        graph = helper.make_graph(self.nodes, "net", [x], values, self.weights)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        return onnx.shape_inference.infer_shapes(made)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def _pool(n: Net) -> list[str]:
    return [
        n("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, pads=[1, 1, 1, 1], count_include_pad=1),
        n("AveragePool", "x", kernel_shape=[2, 2], dilations=[2, 2]),
        n("AveragePool", "x", kernel_shape=[2, 2]),
    ]


def _max_pool(n: Net) -> list[str]:
    return [
        n("MaxPool", "x", kernel_shape=[2, 2], ceil_mode=1, strides=[3, 3]),
        n("MaxPool", "x", kernel_shape=[2, 2], dilations=[2, 1]),
    ]


def _split(n: Net) -> list[str]:
    a, b, c = n("Split", "x", axis=-1, num_outputs=3, outputs=3)
    return [n("Concat", c, b, a, axis=-1)]


def _reductions(n: Net) -> list[str]:
    names = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare")
    return [n(op, "x", ints(-1), keepdims=0) for op in names] + [n("ReduceSum", "x"), n("ReduceMax", "x", ints(1, -2))]


def _nothing(n: Net) -> list[str]:
    return [n("ReduceSum", "x", noop_with_empty_axes=1), n("ReduceMean", "x", ints(), noop_with_empty_axes=1)]


def _norm(n: Net) -> list[str]:
    return [
        n("LayerNormalization", "x", floats(*range(1, 9)), floats(*range(8)), axis=-1),
        n("GroupNormalization", "x", floats(1, 2, 3, 4), floats(0, 1, 0, 1), num_groups=2),
        n("InstanceNormalization", "x", floats(1, 2, 3, 4), floats(0, 1, 0, 1)),
        n("BatchNormalization", "x", *(floats(1, 2, 3, 4) for _ in range(4))),
    ]


def _chosen(n: Net) -> list[str]:
    flag = n("Cast", n("ArgMax", "x", axis=-1, select_last_index=1), to=1)
    return [flag, n("ArgMin", "x", axis=1, keepdims=0)]


def _compared(n: Net) -> list[str]:
    ge, le = n("GreaterOrEqual", "x", floats(0.1)), n("LessOrEqual", "x", floats(0.5))
    return [n("Where", n("And", ge, le), "x", floats(0)), n("Cast", n("Equal", n("Cast", "x", to=6), np.int32(0)), to=1)]


def _resized(n: Net) -> list[str]:
    return [
        n("Resize", "x", "", floats(1, 1, 2, 2), mode="nearest"),
        n("Resize", "x", "", "", ints(1, 4, 12, 16), mode="linear"),
        n("Resize", "x", "", floats(2, 2), axes=[2, 3], mode="linear"),
        n("Resize", "x", floats(), floats(1, 1, 0.5, 0.5), mode="linear", antialias=1),
        n("Resize", "x", "", "", ints(9, 9), axes=[2, 3], mode="cubic", keep_aspect_ratio_policy="not_larger"),
    ]


def _padded(n: Net) -> list[str]:
    return [
        n("Pad", "x", ints(1, 2), "", ints(3)),
        n("Pad", "x", ints(0, 0, 1, 1, 0, 0, 1, 1), mode="reflect"),
        n("Pad", "x", ints(0, 0, 0, -2, 0, 0, 0, -1), floats(1.5)),
        n("Pad", "x", ints(0, 0, 2, 2, 0, 0, 0, 0), mode="wrap"),
    ]


def _sliced(n: Net) -> list[str]:
    return [
        n("Slice", "x", ints(1), ints(-1), ints(-1)),
        n("Slice", "x", ints(0), ints(5), ints(2), ints(2)),
        n("Slice", "x", ints(-1), ints(-9), ints(-1), ints(-1)),
        n("Slice", "x", ints(1), ints(3), ints(1), ints(1)),
    ]


def _axes(n: Net) -> list[str]:
    return [
        n("Unsqueeze", "x", ints(-1)),
        n("Squeeze", "x", ints(0)),
        n("Squeeze", "x"),
        n("Unsqueeze", "x", ints(0, 3)),
        n("Flatten", "x", axis=-1),
        n("Transpose", "x"),
        n("Gather", "x", ints(-1, 0), axis=-1),
        n("Concat", "x", "x", axis=-2),
    ]


def _soft(n: Net) -> list[str]:
    return [n(op, "x", axis=axis) for op in ("Softmax", "LogSoftmax", "Hardmax") for axis in (1, -1)]


def _activations(n: Net) -> list[str]:
    rows: tuple[tuple[str, dict[str, Any]], ...] = (
        ("Relu", {}), ("LeakyRelu", {"alpha": 0.2}), ("Elu", {}), ("Selu", {}), ("Celu", {}), ("HardSigmoid", {}),
        ("HardSwish", {}), ("Mish", {}), ("Gelu", {"approximate": "tanh"}), ("Softplus", {}), ("Softsign", {}),
        ("ThresholdedRelu", {}), ("Shrink", {}), ("Erf", {}),
    )  # fmt: skip
    return [n(op, "x", **attrs) for op, attrs in rows] + [n("PRelu", "x", floats(0.1, 0.2, 0.3, 0.4).reshape(4, 1, 1))]


def _clipped(n: Net) -> list[str]:
    whole = n("Cast", "x", to=7)
    return [
        n("Clip", "x", floats(0.0)[0], floats(1.0)[0]),
        n("Clip", "x", "", floats(0.5)[0]),
        n("Clip", "x"),
        n("Cast", n("Clip", whole, np.int64(-1), np.int64(1)), to=1),
    ]


def _extremes(n: Net) -> list[str]:
    whole = n("Cast", "x", to=7)
    return [n("Max", "x", floats(0.1), floats(0.3)), n("Cast", n("Min", whole, np.int64(0), np.int64(-1)), to=1), n("Min", "x")]


def _products(n: Net) -> list[str]:
    w = np.random.default_rng(0).standard_normal((8, 5)).astype(np.float32)
    flat = n("Reshape", "x", ints(24, 8))
    return [
        n("MatMul", "x", w),
        n("Gemm", flat, w, floats(1, 2, 3, 4, 5)),
        n("Gemm", flat, w),
        n("Einsum", "x", w, equation="nchw,wk->nchk"),
    ]


def _convolutions(n: Net) -> list[str]:
    w = np.random.default_rng(0).standard_normal((4, 4, 3, 3)).astype(np.float32)
    return [
        n("Conv", "x", w, auto_pad="SAME_UPPER"),
        n("Conv", "x", w[:, :1], group=4, dilations=[2, 1], pads=[2, 1, 2, 1]),
        n("ConvTranspose", "x", w, strides=[2, 2], output_padding=[1, 1]),
    ]


def _scattered(n: Net) -> list[str]:
    index = np.zeros((1, 4, 1, 8), np.int64)
    return [
        n("ScatterND", "x", ints(0).reshape(1, 1), np.ones((1, 4, 6, 8), np.float32)),
        n("ScatterElements", "x", index, np.ones(index.shape, np.float32), axis=2, reduction="add"),
        n("GatherElements", "x", index, axis=-2),
        n("GatherND", "x", ints(0, 1).reshape(1, 2)),
    ]


def _ranked(n: Net) -> list[str]:
    best, at = n("TopK", "x", ints(2), axis=-1, outputs=2)
    least, _ = n("TopK", "x", ints(2), axis=1, largest=0, sorted=1, outputs=2)
    return [best, n("Cast", at, to=1), least, n("OneHot", n("Cast", best, to=7), ints(5)[0], floats(0, 1), axis=-1)]


def _counted(n: Net) -> list[str]:
    return [
        n("CumSum", "x", ints(-1)[0]),
        n("Cast", n("Shape", "x", start=1), to=1),
        n("Expand", "x", ints(2, 4, 6, 8)),
        n("Tile", "x", ints(1, 2, 1, 1)),
        n("Cast", n("Range", ints(0)[0], ints(5)[0], ints(1)[0]), to=1),
        n("ConstantOfShape", n("Shape", "x")),
        n("Cast", n("NonZero", n("Relu", "x")), to=1),
    ]


def _bytes(n: Net) -> list[str]:
    scale, zero = floats(0.1)[0], np.uint8(128)
    return [
        n("DequantizeLinear", n("QuantizeLinear", "x", scale, zero), scale, zero),
        n(
            "DequantizeLinear",
            n("QuantizeLinear", "x", floats(0.1, 0.2, 0.3, 0.4), np.zeros(4, np.int8), axis=1),
            floats(0.1, 0.2, 0.3, 0.4),
            np.zeros(4, np.int8),
            axis=1,
        ),
    ]


def _space(n: Net) -> list[str]:
    return [
        n("DepthToSpace", "x", blocksize=2, mode="CRD"),
        n("SpaceToDepth", "x", blocksize=2),
        n("LRN", "x", size=3),
        n("LpPool", "x", kernel_shape=[2, 2], p=1),
        n("GlobalAveragePool", "x"),
        n("GlobalLpPool", "x"),
        n("GridSample", "x", np.zeros((1, 3, 3, 2), np.float32), mode="cubic"),
    ]


def _odd(n: Net) -> list[str]:
    return [
        n("Mod", "x", floats(0.7), fmod=1),
        n("Cast", n("IsInf", "x"), to=1),
        n("Round", "x"),
        n("Sum", "x"),
        n("Mean", "x", "x"),
        n("Trilu", "x"),
        n("Pow", "x", np.int64(2)),
        n("Neg", n("Cast", "x", to=6)),
        n("Not", n("Cast", "x", to=9)),
        n("Dropout", "x"),
        n("Swish", "x"),
        n("RMSNormalization", "x", floats(*range(1, 9))),
    ]


NETS: dict[str, Callable[[Net], list[str]]] = {
    name.removeprefix("_"): made for name, made in list(globals().items())
    if name.startswith("_") and getattr(made, "__annotations__", {}).get("n") == "Net"
}  # fmt: skip


@cache
def singles() -> tuple[tuple[str, onnx.ModelProto], ...]:
    """A model for each output of the networks, at the newest opset that the runtime takes and that has its operators."""
    made = []
    for name, build in NETS.items():
        count = len(build(Net()))
        for k in range(count):
            net = Net()
            output = build(net)[k]
            needed, used = {output}, []
            for node in reversed(net.nodes):
                if needed & set(node.output):
                    needed |= set(node.input)
                    used.append(node)
            net.nodes = used[::-1]
            net.weights = [tensor for tensor in net.weights if tensor.name in needed]
            model = next((m for opset in (23, 24, 20, 17) if invalid(m := net.model([output], opset)) is None), None)
            if model is not None:
                made.append((f"{name}.{k}.{used[0].op_type}", model))
    return tuple(made)


def test_every_opset() -> None:
    kept = 0
    for name, model in singles():
        for opset in OPSETS:
            made = lower(model, opset)
            if made.stuck:
                continue
            assert invalid(made.model) is None, (name, opset, invalid(made.model))
            if made.changed or opset in (7, 12, 17):
                prove(model, made.model)
            kept += 1
    assert len(singles()) > 100 and kept > 1000


@pytest.mark.parametrize("target", targets())
def test_every_device(target: str) -> None:
    """What is said to fit is taken by a runtime, what is mended answers the same; anything else is said."""
    profile = load_profile(target)
    for name, model in singles():
        made = plan(model, profile)
        if made.verdict == "needs a fix":
            fixed, proofs = mend(model, profile)
            assert invalid(fixed.model) is None and proofs, name
        else:
            assert made.verdict == "fits" or made.after.findings, name
