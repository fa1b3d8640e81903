"""Compiled code against onnxruntime, over a stream of noise, before anything is written."""

from __future__ import annotations

import numpy as np
import onnx

from everyframe.errors import ConversionMismatch
from everyframe.native.library import Library
from everyframe.program.contract import Metadata
from everyframe.program.execute import session
from everyframe.program.states import first_states, next_states

#: largest relative L2 distance of the logits
TOLERANCE = 1e-4
#: of quantised networks, where a value between two steps may become either, and that grows from layer to layer
QUANTISED_TOLERANCE = 0.1
_MOST_STEPS = 60


def check(model: onnx.ModelProto, metadata: Metadata, library: Library, *, steps: int | None = None) -> float:
    """The largest relative L2 distance between the logits of both over a stream. Raises ConversionMismatch above TOLERANCE
    (or QUANTISED_TOLERANCE).

    steps: default: until predictions begin and some more, at most 60; a clip network is asked twice.
    """
    reference = session(model, optimise=False)
    quantised = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    tolerance = QUANTISED_TOLERANCE if quantised else TOLERANCE
    names = [o.name for o in reference.get_outputs()]
    states = first_states(metadata.states)
    inputs = [i.name for i in reference.get_inputs() if i.name not in states]
    answer = "logits" if "logits" in names else next(n for n in names if n not in {s.output for s in metadata.states})
    first = metadata.feature_delay // metadata.hop
    count = steps or (2 if metadata.kind == "clip" else min(_MOST_STEPS, first + 6))
    stream, noise, worst = library.start(threads=1), np.random.default_rng(0), 0.0
    for n in range(count):
        frames = noise.standard_normal(library.input_shape, np.float32)
        found = dict(zip(names, reference.run(names, {inputs[0]: frames, **states}), strict=True))
        states = next_states(metadata.states, states, found)
        wanted, got = found[answer].ravel(), stream.step(frames).ravel()
        distance = float(np.linalg.norm(got - wanted) / max(float(np.linalg.norm(wanted)), 1e-6))
        worst = max(worst, distance)
        if not distance <= tolerance:
            raise ConversionMismatch(
                "The compiled code disagrees with onnxruntime, so nothing was written.", where=f"step {n}",
                expected=f"a relative distance of at most {tolerance:g}", got=f"{distance:.2g}",
                hint="this is a defect of everyframe; run the model with --engine ort meanwhile",
            )  # fmt: skip
    stream.close()
    return worst
