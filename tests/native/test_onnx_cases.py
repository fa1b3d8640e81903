"""ONNX's own tests of operators: each is compiled and right, or refused by name."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from everyframe.errors import EngineError, ModelError
from everyframe.modelfile.exact import Exact
from everyframe.native.trace import trace
from native.onnx_cases import Branch, answers_of, branches, cases, groups, joined, wrong
from native.operators import CPUS, compiled

#: as few as that may be compiled, of how many
AT_LEAST = 830
#: answers that are drawn, and a scale that float32 rounds
NOT_EXACT = ("test_bernoulli", "test_dynamicquantizelinear")


@pytest.mark.slow
def test_every_case_is_compiled_right_or_refused_by_name(tmp_path: Path, figure: Callable[[str], None]) -> None:
    """Each processor takes some of the networks. No case may end in anything but our errors, which name its operator."""
    fitting: list[Branch] = []
    outcome: dict[str, str] = {}
    for case in cases():
        outcome[case.name] = "refused"
        with contextlib.suppress(ModelError):  # as it is: few take frames
            trace(case.model, (), case.name)
        for branch in branches(case):
            try:
                graph = trace(joined([branch])[0].model(), (), case.name)
            except ModelError as refused:
                assert refused.where, case.name
                continue
            assert int(np.prod(graph.output_shape)) == branch.size, case.name
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
