"""Random networks, converted and compiled: a stream says what onnxruntime says of the same step network."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.errors import UnsupportedOperator
from everyframe.modelfile.schema import StateSpec
from everyframe.native.library import Library
from laws.nets import Net, nets, picture_step
from native.operators import CPUS, QUICK, compiled

CLOSE = 2e-5


def distance(model: onnx.ModelProto, states: tuple[StateSpec, ...], library: Library, steps: int) -> float:
    """Largest distance of the answers over a stream, relative to them where they are not tiny."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    held = {spec.input: np.full(spec.shape, spec.fill, spec.dtype) for spec in states}
    names = ["logits", *(spec.output for spec in states)]
    stream, noise, worst = library.start(threads=2), np.random.default_rng(0), 0.0
    for _ in range(steps):
        frames = noise.standard_normal(library.input_shape, np.float32)
        wanted, *new = session.run(names, {"frames": frames, **held})
        held = {spec.input: value for spec, value in zip(states, new, strict=True)}
        got, wanted = stream.step(frames).ravel(), np.asarray(wanted).ravel()
        finite = np.isfinite(wanted)
        np.testing.assert_array_equal(np.isfinite(got), finite)
        size = max(float(np.linalg.norm(wanted[finite])), 1e-3)
        worst = max(worst, float(np.linalg.norm((got - wanted)[finite])) / size)
    stream.close()
    return worst


@pytest.mark.slow
@pytest.mark.parametrize("rate", ["native", "dense"])
def test_streams_of_random_networks(rate: str) -> None:
    """Each network for one of the processors that run here; those of one rate compiled as they ship."""
    tally: Counter[str] = Counter()

    @settings(max_examples=60)
    @given(nets(rate=rate), st.sampled_from(CPUS))
    def compare(net: Net, cpu: str) -> None:
        made = picture_step(net, tally)
        if made is None:
            return
        with tempfile.TemporaryDirectory() as folder:
            try:
                library = compiled(made.step, Path(folder), cpu, made.metadata.states, QUICK if rate == "dense" else ())
            except UnsupportedOperator:
                tally["refused"] += 1
                return
            steps = 4 + made.metadata.delay // made.metadata.hop
            assert distance(made.step, made.metadata.states, library, steps) <= CLOSE
        tally["compared"] += 1

    compare()
    assert tally["compared"] >= 25, tally
