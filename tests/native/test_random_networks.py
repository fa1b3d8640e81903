"""Random networks, converted and compiled: a stream says what onnxruntime says of the same step network."""

from __future__ import annotations

import tempfile
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.conversion import convert, memory
from everyframe.conversion.facts import Options
from everyframe.errors import UnsupportedOperator
from everyframe.modelfile.schema import StateSpec
from everyframe.native.library import Library
from laws import natural
from laws.drafts import Draft, S, T
from laws.nets import Net, nets, picture_step
from laws.test_natural_state import recurrent
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


@pytest.mark.parametrize(("op", "ahead"), [("GRU", 1), ("RNN", 1), ("LSTM", 0)])
def test_recurrent_cells(op: str, ahead: int, tmp_path: Path) -> None:
    """Behind layers that look ahead, they begin later than the stream, with what a cell makes of constants."""
    made = convert(natural.build(partial(recurrent, op=op, first="random"), 6, 1, ahead, 18))
    library = compiled(made.step, tmp_path, "native", made.metadata.states, QUICK)
    assert distance(made.step, made.metadata.states, library, 8) <= CLOSE


def test_a_state_of_pictures_that_were_taken_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A normalization of groups leaves single values, and what remembers them has pictures."""
    monkeypatch.setattr(memory, "_SLOT_FLOATS", 1)
    draft = Draft((1, 4, T, S, S))
    groups = draft.op("Reshape", draft.op("Transpose", "clip", perm=[0, 2, 1, 3, 4]), draft.ints(T, 2, 2 * S * S))
    groups = draft.op("InstanceNormalization", groups, draft.random(2), draft.random(2))
    frames = draft.op("Relu", draft.op("Reshape", groups, draft.ints(1, T, 4, S, S)))
    y = draft.op("Conv", draft.op("Transpose", frames, perm=[0, 2, 1, 3, 4]), draft.random(4, 4, 3, 1, 1), pads=[1, 0, 0] * 2)
    draft.mean(y, 2, 3, 4, keep=False)
    made = convert(draft.model(), Options(layout="NCTHW"))
    library = compiled(made.step, tmp_path, "native", made.metadata.states, QUICK)
    assert distance(made.step, made.metadata.states, library, 8) <= CLOSE


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
