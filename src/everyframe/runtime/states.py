"""What a step network remembers, as a plan: which buffer is which state's input, and where each new value is written.

A state is a pair (input, output): the output of step n is the input of step n+1. Two kinds:

    head    the network computes the output; it is written straight into a buffer that nothing reads in this step
    slot    `copy_of` names another state's input: the output only repeats it. Its Identity is cut out of the graph and
    the
            host gives the slot that buffer instead. A ring of L one-frame slots is a head and L-1 slots behind it:

        step n      head <- A   slot1 <- B   slot2 <- C        out -> D (free)
        step n+1    head <- D   slot1 <- A   slot2 <- B        out -> C (nobody reads it any more)

A buffer is free when no state's input holds it, so a ring settles at L+1 buffers and a lone state at two, and nothing
is ever copied. Nothing here knows what a ring is: the rotation follows from the pairs alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from everyframe.errors import ModelError
from everyframe.modelfile.schema import StateSpec
from everyframe.modelfile.states import first_states


@dataclass(frozen=True, slots=True)
class StatePlan:
    """specs: all states. heads: those whose output the network computes, in order."""

    specs: tuple[StateSpec, ...]

    @property
    def heads(self) -> tuple[StateSpec, ...]:
        return tuple(spec for spec in self.specs if spec.copy_of is None)

    @property
    def slots(self) -> tuple[StateSpec, ...]:
        return tuple(spec for spec in self.specs if spec.copy_of is not None)


def plan(specs: tuple[StateSpec, ...], where: object) -> StatePlan:
    """Checks that the states are consistent with each other. Raises ModelError."""
    by_input = {spec.input: spec for spec in specs}
    if len(by_input) != len(specs):
        raise ModelError("Two states of the model share an input.", where=where, hint="convert the clip model again")
    for spec in specs:
        if spec.copy_of is None:
            continue
        source = by_input.get(spec.copy_of)
        if source is None or (source.shape, source.dtype) != (spec.shape, spec.dtype):
            raise ModelError(
                "A state of the model repeats one that is not there or of another shape.",
                where=f"{where}, state {spec.input}",
                expected=f"{spec.copy_of} with shape {spec.shape} {spec.dtype}",
                got="no such state" if source is None else f"shape {source.shape} {source.dtype}",
                hint="convert the clip model again",
            )
    return StatePlan(specs)


def without_copies(model: onnx.ModelProto, states: StatePlan) -> onnx.ModelProto:
    """A copy of `model` whose outputs that only repeat a state are gone, with the Identity nodes that made them."""
    dropped = {spec.output for spec in states.slots}
    if not dropped:
        return model
    lean = onnx.ModelProto()
    lean.CopyFrom(model)
    graph = lean.graph
    read = {name for node in graph.node for name in node.input}
    for i in reversed(range(len(graph.output))):
        if graph.output[i].name in dropped:
            del graph.output[i]
    for i in reversed(range(len(graph.node))):
        node = graph.node[i]
        if node.op_type == "Identity" and set(node.output) <= dropped and not read & set(node.output):
            del graph.node[i]
    return lean


def steps_remembered(model: onnx.ModelProto, states: StatePlan) -> int | None:
    """After so many steps, nothing that a step network remembers depends on frames from before; None where two states feed each
    other, which may go on for ever. What only counts is not looked at.

    A state that reads itself is a ring, and holds its frames for as many steps at most; any other is new in each step.
    """
    specs = [spec for spec in states.specs if spec.floats]
    reads = {spec.input: 1 << n for n, spec in enumerate(specs)}  # name -> the states that it depends on, as bits

    def pass_over(graph: onnx.GraphProto) -> int:
        read = 0
        for node in graph.node:
            of = [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]
            found = 0
            for name in node.input:
                found |= reads.get(name, 0)
            for inner in of:
                found |= pass_over(inner)
            reads.update(dict.fromkeys(node.output, found))
            read |= found
        return read

    pass_over(model.graph)
    reads |= {spec.output: reads[spec.copy_of] for spec in specs if spec.copy_of is not None}
    needs = [reads.get(spec.output, 0) & ~(1 << n) for n, spec in enumerate(specs)]  # other states
    steps: dict[int, int] = {}
    done = 0
    while len(steps) < len(specs):
        ready = [n for n, need in enumerate(needs) if n not in steps and not need & ~done]
        if not ready:
            return None
        for n in ready:
            itself = reads.get(specs[n].output, 0) >> n & 1
            longest = max((steps[m] for m in steps if needs[n] >> m & 1), default=0)
            steps[n] = longest + (specs[n].frames if itself else 1)
            done |= 1 << n
    return max(steps.values(), default=0)


class Rotation:
    """The buffers of one stream. `inputs[name]` is what to feed now, `outputs[name]` where the network must write.

    After each step `advance()` makes the outputs the next inputs; it says which of both changed.
    """

    def __init__(self, states: StatePlan) -> None:
        self.plan = states
        self.inputs: dict[str, np.ndarray] = {}
        self.outputs: dict[str, np.ndarray] = {}
        self._free: dict[tuple[tuple[int, ...], str], list[np.ndarray]] = {}
        self.reset()

    def reset(self) -> None:
        self._free = {}
        self.inputs = first_states(self.plan.specs)
        self.outputs = {spec.output: self._take(spec) for spec in self.plan.heads}

    def advance(self) -> None:
        old = self.inputs
        self.inputs = {
            spec.input: self.outputs[spec.output] if spec.copy_of is None else old[spec.copy_of] for spec in self.plan.specs
        }
        held = {id(buffer) for buffer in self.inputs.values()}
        for spec in self.plan.specs:
            buffer = old[spec.input]
            if id(buffer) not in held:
                held.add(id(buffer))
                self._free.setdefault((spec.shape, spec.dtype), []).append(buffer)
        self.outputs = {spec.output: self._take(spec) for spec in self.plan.heads}

    def _take(self, spec: StateSpec) -> np.ndarray:
        free = self._free.get((spec.shape, spec.dtype))
        return free.pop(0) if free else np.empty(spec.shape, spec.dtype)

    @property
    def nbytes(self) -> int:
        """Memory of all buffers, free ones included."""
        buffers = [*self.inputs.values(), *self.outputs.values(), *(b for free in self._free.values() for b in free)]
        return sum({id(b): b.nbytes for b in buffers}.values())
