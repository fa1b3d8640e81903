"""Which axes an operator works on, measured: along all others a part of the result is the result of that part."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from everyframe.conversion import axes as ax
from everyframe.conversion.facts import Fact, Facts, Heads, Options
from everyframe.conversion.rules import perframe, pointwise, reduce, softmax
from everyframe.modelfile.graph import Graph
from everyframe.modelfile.session import run
from laws.drafts import Draft

SHAPE = (2, 4, 2, 6)  # no two neighbors alike


def _case(op: str, *constants: Any, opset: int = 18, shape: tuple[int, ...] = SHAPE, **attrs: Any) -> Any:
    return pytest.param(op, constants, opset, shape, attrs, id=f"{op} {attrs or ''}")


ONES = np.linspace(1, 2, 4).astype(np.float32)
CASES = [
    *(_case(op, axis=axis) for op in ("Hardmax", "ArgMax", "ArgMin", "LpNormalization") for axis in (0, 1, -1)),
    *(_case(op, axis=axis) for op in ("Softmax", "LogSoftmax") for axis in (1, -1)),
    _case("Softmax", axis=2, opset=11), _case("TopK", np.array([2]), axis=1), _case("CumSum", np.array(1)),
    _case("LayerNormalization", np.ones((2, 6), np.float32), axis=2), _case("BatchNormalization", *[ONES] * 4),
    _case("LRN", size=3), _case("InstanceNormalization", ONES, ONES), _case("GlobalLpPool"), _case("DepthToSpace", blocksize=2),
    _case("SpaceToDepth", blocksize=2), _case("Trilu"), _case("MeanVarianceNormalization", axes=[1, 3]),
    _case("Resize", np.zeros(0, np.float32), np.array([1, 1, 2, 1], np.float32), mode="linear"),
    _case("Tile", np.array([1, 2, 1, 3])),
    *(_case(op, np.array(axes), keepdims=1) for op in reduce.REDUCTIONS if op.startswith("Reduce") for axes in ([1], [0, 3])),
    _case("GlobalAveragePool"), _case("GlobalMaxPool"),
]  # fmt: skip
# written out by onnxruntime before a rule sees it, or a former name of another
ELSEWHERE = {"GroupNormalization", "RMSNormalization", "Upsample"}


@pytest.mark.parametrize("op, constants, opset, shape, attrs", CASES)
def test_other_axes_are_carried_along(
    op: str, constants: tuple[Any, ...], opset: int, shape: tuple[int, ...], attrs: dict[str, Any]
) -> None:
    draft = Draft(shape, opset=opset)
    draft.op(op, "clip", *(draft.const(c, np.asarray(c).dtype) for c in constants), outputs=2 if op == "TopK" else 1, **attrs)
    model = draft.model()
    model.graph.output[0].CopyFrom(onnx.ValueInfoProto(name=draft.last))
    graph = Graph.of(model)
    facts = Facts(graph, Options(), 1, Heads({}))
    facts.table["clip"] = Fact(tuple((ax.Atom(size),) for size in shape), 1)
    (node,) = graph.nodes
    touched = _touched(node, facts)
    clip = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    whole = run(model, {"clip": np.abs(clip)})[draft.last]
    for axis in set(range(len(shape))) - touched:
        for i in range(shape[axis]):
            part = onnx.ModelProto.FromString(model.SerializeToString())
            sizes = [1 if j == axis else n for j, n in enumerate(shape)]
            part.graph.input[0].CopyFrom(helper.make_tensor_value_info("clip", 1, sizes))
            found = run(part, {"clip": np.abs(clip).take([i], axis=axis)})[draft.last]
            np.testing.assert_allclose(found, whole.take([i], axis=axis), rtol=1e-5, atol=1e-6, err_msg=f"axis {axis}")


def _touched(node: Any, facts: Facts) -> set[int]:
    if node.op in reduce.KINDS:
        return reduce.reduced_axes_of(node, facts)
    if node.op in ("Softmax", "LogSoftmax", "Hardmax"):
        return softmax.touched(node, facts)
    return perframe.ROWS[node.op].touched(node, facts)


def test_no_operator_is_forgotten() -> None:
    measured = {case.values[0] for case in CASES}
    assert set(perframe.ROWS) - measured == ELSEWHERE
    assert set(reduce.REDUCTIONS) <= measured
    assert not set(perframe.ROWS) & (set(pointwise.NONNEGATIVE) | set(reduce.KINDS))
