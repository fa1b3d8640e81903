"""Rewrites for devices change how a network is computed, never what: random step networks before and after, over a stream."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx.checker

from everyframe.conversion.verify import relative
from everyframe.devices.check import passed_through
from everyframe.devices.prove import answers
from everyframe.devices.rewrites import host_state, opset
from everyframe.modelfile.file import metadata_of
from laws.nets import Net, nets
from laws.streaming import convert_net
from laws.tally import Tally

STEPS = 7


def difference(before: onnx.ModelProto, after: onnx.ModelProto) -> float:
    """Largest relative difference of the logits over a few steps, from the very first."""
    frames = next(value for value in before.graph.input if value.name == "frames")
    shape = [d.dim_value for d in frames.type.tensor_type.shape.dim]
    rng = np.random.default_rng(0)
    video = [{"frames": rng.standard_normal(shape).astype(np.float32)} for _ in range(STEPS)]
    one, other = (answers(model, video, optimize=False)["logits"] for model in (before, after))
    return relative(other, one)


def test_states_moved_by_the_host() -> None:
    """No output repeats a state any more, and a host that moves the old ones gets the same answers, bit by bit."""

    def law(net: Net, count: Counter) -> float:
        step = convert_net(net).step
        lean = host_state.apply(step)
        handed_on = list(passed_through(step))
        assert (lean is None) == (not handed_on)
        if lean is None:
            return 0.0
        count["moved"] += 1
        onnx.checker.check_model(lean, full_check=True)
        assert not list(passed_through(lean))
        metadata = metadata_of(lean)
        given = {output.name for output in lean.graph.output}
        assert metadata is not None
        assert given - {"logits"} == {spec.output for spec in metadata.states if spec.copy_of is None}
        assert difference(step, lean) == 0
        return 0.0

    tally = Tally().over(nets(), 40, law)
    assert tally.counts["moved"] > 0.3 * tally.counts["drawn"]


def test_older_opsets() -> None:
    """Step networks are written for opset 18 and newer; in 11 they say the same, and onnx accepts every operator."""

    def law(net: Net, count: Counter) -> float:
        step = convert_net(net).step
        lowered = opset.lower(step, 11, 7)
        if lowered.stuck:
            count["stuck"] += 1
            return 0.0
        count["lowered"] += bool(lowered.changed)
        assert (lowered.model.ir_version, lowered.model.opset_import[0].version) == (7, 11)
        onnx.checker.check_model(lowered.model, full_check=True)
        worst = difference(step, lowered.model)
        assert worst <= 1e-6, net
        return worst

    tally = Tally().over(nets(), 40, law)
    assert tally.counts["lowered"] > 0.3 * tally.counts["drawn"]
    assert tally.counts["stuck"] < 0.3 * tally.counts["drawn"]
