"""The step graph of a network whose facts are known: each node by its rule, in passes that find out what has to be remembered."""

from __future__ import annotations

from math import prod

import onnx

from everyframe.conversion import rules
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Facts, Place
from everyframe.conversion.memory import MemoryPlan
from everyframe.conversion.refusals import following
from everyframe.conversion.rules.verbatim import Verbatim
from everyframe.errors import ModelError
from everyframe.modelfile.bounds import LARGEST


def build(facts: Facts) -> tuple[onnx.ModelProto, Builder]:
    """Lowers every node. The first pass finds out who needs which history, the second what sums would save, the third builds."""
    plan = MemoryPlan(depths={}, sums={})
    for _ in range(2):
        trial = lower(facts, plan)
        _check_memory(trial)
        # a convolution keeps sums where they are smaller than what its ring would add to histories that exist anyway
        sums = plan.sums or {
            name: past * floats < max(0, past - _deepest(trial, wire)) * prod(trial.frame_shape(wire))
            for name, (wire, past, floats) in trial.eligible.items()
        }
        plan = MemoryPlan(depths=_merged(trial.wanted), sums=sums)
    plan = MemoryPlan(depths=_merged(lower(facts, plan).wanted), sums=plan.sums)
    builder = lower(facts, plan)
    return builder.finish(facts.graph.outputs, facts.graph.opset), builder


def _check_memory(trial: Builder) -> None:
    largest = max(trial.states, key=lambda state: prod(state.shape), default=None)
    floats = sum(prod(state.shape) for state in trial.states)
    if largest is not None and floats > LARGEST:
        raise ModelError(
            "The step network would have to remember too much.", where=f"state {largest.input!r} of {largest.shape}, and others",
            expected=f"up to {LARGEST:,} values in all states", got=f"{floats:,}",
            hint="use smaller pictures, or smaller kernels and dilations in time",
        )  # fmt: skip


def lower(facts: Facts, plan: MemoryPlan, place: Place | None = None) -> Builder:
    builder, place = Builder(facts, plan), place or Place()
    for name, tensor in builder.given.items():
        builder.put(name, tensor)
    for node in facts.graph.nodes:
        if facts.timed(node):
            place.node = node
            with following(node):
                (Verbatim if node.name in facts.verbatim and node not in facts.heads else rules.of(node)).lower(node, builder)
    return builder


def _deepest(builder: Builder, wire: str) -> int:
    return max((depth for (w, _), depth in builder.wanted.items() if w == wire), default=0)


def _merged(wanted: dict[tuple[str, float | None], int]) -> dict[tuple[str, float | None], int]:
    """Readers that do not care about the fill join another history of the same wire."""
    merged = {key: depth for key, depth in wanted.items() if key[1] is not None}
    for (wire, fill), depth in wanted.items():
        if fill is None:
            key = next((key for key in merged if key[0] == wire), (wire, None))
            merged[key] = max(merged.get(key, 0), depth)
    return merged
