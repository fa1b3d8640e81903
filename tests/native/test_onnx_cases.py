"""ONNX's own tests of operators: each is compiled and right, or refused by name."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from everyframe.errors import EngineError, ModelError, UnsupportedOperator
from everyframe.modelfile.exact import Exact
from everyframe.modelfile.graph import Node
from everyframe.native.evaluate import check_read
from everyframe.native.trace import trace
from everyframe.native.tracer import LOWER
from native.onnx_cases import Branch, answers_of, branches, cases, groups, joined, others, wrong
from native.operators import CPUS, Sketch, compiled

#: as few as that may be compiled, of how many
AT_LEAST = 1390
#: answers that are drawn, and a scale that float32 rounds
NOT_EXACT = ("test_bernoulli", "test_dynamicquantizelinear")


OPSETS = range(7, onnx.defs.onnx_opset_version() + 1)


def schemas(op: str) -> list[Any]:
    """An operator's definitions, oldest first."""
    return [onnx.defs.get_schema(op, opset) for opset in OPSETS if onnx.defs.has(op, opset)]


KINDS = onnx.defs.OpSchema.AttrType
#: attributes with values that are no default of any operator
OTHER = {
    KINDS.INT: 77,
    KINDS.FLOAT: 77.5,
    KINDS.STRING: b"other",
    KINDS.INTS: [77],
    KINDS.FLOATS: [77.5],
    KINDS.STRINGS: [b"other"],
}


@pytest.mark.parametrize("op", sorted(LOWER))
def test_what_is_not_read_must_have_its_default(op: str) -> None:
    assert schemas(op)
    for schema in schemas(op):
        for name, declared in schema.attributes.items():
            if name in LOWER[op].reads or declared.type not in OTHER:
                continue
            node = Node(op, "one", ("x",), ("y",), {name: OTHER[declared.type]}, "1 of 1")
            with pytest.raises(UnsupportedOperator, match=f"attribute {name} cannot be compiled"):
                check_read(node, LOWER[op], [None], schema.since_version)
            if declared.default_value.name:
                same = onnx.helper.get_attribute_value(declared.default_value)
                check_read(Node(op, "one", ("x",), ("y",), {name: same}, "1 of 1"), LOWER[op], [None], schema.since_version)


def attribute_network(op: str, shape: tuple[int, ...], opset: int = 20, more: tuple[Any, ...] = (), **attrs: Any) -> Sketch:
    sketch = Sketch(shape, opset=opset)
    sketch.answer(sketch.op(op, "frames", *(sketch.constant(value, np.asarray(value).dtype) for value in more), **attrs))
    return sketch


STATISTICS = (np.ones(3, np.float32), np.zeros(3, np.float32), np.zeros(3, np.float32), np.ones(3, np.float32))
REFUSED = {
    "training": (attribute_network("BatchNormalization", (2, 3, 4, 4), 20, STATISTICS, training_mode=1), "training_mode"),
    "drawn": (attribute_network("Dropout", (2, 3, 4, 4), 20, (np.float32(0.5), np.array(True))), "training mode"),
    "the largest share": (
        attribute_network(
            "RoiAlign", (2, 3, 4, 4), 20, (np.array([[0, 0, 2, 2]], np.float32), np.array([0])), mode="max", sampling_ratio=2
        ),
        "attribute mode",
    ),
    "of a newer opset": (attribute_network("Gelu", (2, 3, 4, 4), 13), "Opset 13 has no such operator"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_read_is_refused_by_name(case: str) -> None:
    sketch, said = REFUSED[case]
    with pytest.raises(UnsupportedOperator, match=said):
        trace(sketch.model())


@pytest.mark.slow
def test_every_case_is_compiled_right_or_refused_by_name(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """Each processor takes some of the networks. No case may end in anything but our errors, which name its operator."""
    fitting: list[Branch] = []
    outcome: dict[str, str] = {}
    for case in cases():
        outcome[case.name] = "refused"
        with contextlib.suppress(ModelError):  # as it is: few take frames
            trace(case.model, (), case.name)
        more = (branch for branch in others(case) if outcome[case.name] == "refused")
        for branch in chain(branches(case), more):
            try:
                graph = trace(joined([branch])[0].model(), (), case.name)
            except ModelError as refused:
                assert refused.where, case.name
                continue
            assert int(np.prod(graph.answers[0][1])) == branch.size, case.name
            fitting.append(branch)
            outcome[case.name] = "passed"
    failed = []
    for number, parts in enumerate(groups(fitting)):
        sketch, frames = joined(parts)
        stream = compiled(sketch.model(), tmp_path / str(number), CPUS[number % len(CPUS)], flags=("-O0",)).start(threads=1)
        found = answers_of(parts, stream.step(frames)[0])
        stream.close()
        failed += [branch.case.name for branch, got in zip(parts, found, strict=True) if wrong(branch, got)]
    assert not failed
    tally = Counter(outcome.values())
    figure(f"ONNX's tests of operators: {tally['passed']} of {len(outcome)} compiled")
    assert tally["passed"] >= AT_LEAST


@pytest.mark.slow
def test_exact_arithmetic_agrees_or_says_that_it_cannot() -> None:
    tally: Counter[str] = Counter()
    for case in cases():
        if case.name.startswith(NOT_EXACT):
            continue
        try:
            found = Exact(case.model, case.name).run(dict(case.feeds))
        except EngineError:
            tally["refused"] += 1
            continue
        assert all(case.close(name, found[name]) for name, value in case.answers if isinstance(value, np.ndarray)), case.name
        tally["right"] += 1
    assert tally["right"] >= 1600
