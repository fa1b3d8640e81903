"""Builds the step graph: what rules need besides memory (constants, operands of another shape), and the finished model."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
from onnx import TensorProto, helper

from everyframe.conversion import axes as ax
from everyframe.conversion.facts import Fact
from everyframe.conversion.heads import keeps_frames
from everyframe.conversion.memory import COUNTER, Memory, Plan
from everyframe.conversion.rules import unsupported
from everyframe.modelfile.graph import Node
from everyframe.modelfile.schema import StateSpec

__all__ = ["Builder", "Plan"]


class Builder(Memory):
    """The `step` that rules write to."""

    def constant(self, name: str) -> np.ndarray | None:
        """A constant of the clip graph as an array."""
        return self.facts.graph.constant(name) if name else None

    def same(self, name: str) -> str:
        """A constant of the clip graph, unchanged."""
        array = self.constant(name)
        return self._once(("same", name), lambda: self.const(array, name)) if array is not None else ""

    def axis_of(self, node: Node, fact: Fact, axis: int) -> int:
        made = ax.step_axis(fact.axes, axis)
        if made is None:
            raise unsupported(
                node,
                f"Axis {axis} has no place of its own in four axes.",
                got=f"shape {fact.clip_shape}",
                hint="avoid tensors of more than five axes here",
            )
        return made

    # -- operands of different shape -----------------------------------------------------------------------------------

    def operand(self, node: Node, name: str, out: Fact) -> str:
        """An input of an element-wise operator in the output's frame and layout: delayed and reshaped where needed."""
        if not name:
            return ""
        if name not in self.facts.table:
            return self.constant_operand(node, name, out)
        fact = self.facts[name]
        tensor = self.delayed(node, name, out.lag - fact.lag)
        axes = ((),) * (len(out.axes) - len(fact.axes)) + fact.axes
        sizes = [prod(atom.size for atom in axis if not atom.kind) for axis in axes]
        wanted = self._grouped(node, sizes, out)
        if wanted == ax.step_shape(fact.axes):
            return tensor
        return self.emit("Reshape", [tensor, self.ints([self.m(fact), *wanted])], f"{node.label}::align")

    def _grouped(self, node: Node, sizes: list[int], out: Fact) -> tuple[int, ...]:
        """Sizes per clip axis -> sizes per step axis of `out`; frame axes must be 1."""
        full = [prod(atom.size for atom in axis if not atom.kind) for axis in out.axes]
        made = []
        for group in ax.step_groups(out.axes):
            part = [sizes[i] for i in group]
            uneven = any(size != 1 for size in part) and part != [full[i] for i in group]
            if uneven and len(group) > 1:
                hint = "avoid element-wise operators inside a channel shuffle"
                raise unsupported(node, "A broadcast over merged axes.", hint=hint)
            made.append(prod(part))
        if prod(made) != prod(sizes):
            raise unsupported(
                node,
                "A tensor without time varies along the time axis.",
                got=f"shape {tuple(sizes)}",
                hint="time-dependent constants cannot be streamed",
            )
        return tuple(made)

    def constant_operand(self, node: Node, name: str, out: Fact) -> str:
        array = self.constant(name)
        if array is None:
            raise unsupported(node, f"Input {name!r} is computed at run time.", hint="export with static shapes")
        if array.size == 1:
            scalar = array.reshape(())
            return self._once(("same", name), lambda: self.const(scalar, name))
        array = _without_time(node, array.reshape((1,) * (len(out.axes) - array.ndim) + array.shape), out.axes)
        shape = (1, *self._grouped(node, list(array.shape), out))
        framed = array.reshape(shape)
        return self._once(("operand", name, shape), lambda: self.const(framed, name))

    def constant_frame(self, node: Node, name: str, axes: ax.Axes) -> str:
        """A constant operand of Concat: the same frame m times."""
        array = self.constant(name)
        if array is None or array.ndim != len(axes):
            raise unsupported(
                node,
                f"Input {name!r} of Concat is neither a wire nor a constant frame.",
                hint="export with static shapes",
            )
        array = _without_time(node, array, axes)
        groups = [prod(array.shape[i] for i in group) for group in ax.step_groups(axes)]
        m = self.m(self.facts[node.outputs[0]])
        return self.const(np.repeat(array.reshape(1, *groups), m, axis=0), name)

    # -- the graph -----------------------------------------------------------------------------------------------------

    def finish(self, frames: str, wires: tuple[str, ...], opset: int) -> onnx.ModelProto:
        """The step model: inputs (frames, states), outputs (logits, other outputs, states), unused nodes removed. `answers` says
        which output of the clip network became which.
        """
        if self.last_t or any(f"{COUNTER}.in" in node.input for node in self.nodes):
            limit = self.const(np.array([self.last_t], np.int64), "t.last")
            more = self.emit("Add", [f"{COUNTER}.in", self.ints([1])], "t.next")
            self.state_out[COUNTER] = (self.emit("Min", [more, limit], "t.kept"), None)
            self.states.append(StateSpec(input=f"{COUNTER}.in", output=f"{COUNTER}.out", shape=(1,), dtype="int64"))
        self.states = [
            state.model_copy(update={"copy_of": self.state_out[state.input.removesuffix(".in")][1]}) for state in self.states
        ]
        self.answers = {wire: ("logits.2" if wire == "logits" else wire) if i else "logits" for i, wire in enumerate(wires)}
        counts = {wire: self.m(self.fact(wire)) if keeps_frames(self.facts, wire) else 1 for wire in wires}
        outputs = {name: self._answer(wire, counts[wire], name) for wire, name in self.answers.items()}
        outputs |= {f"{name}.out": tensor for name, (tensor, _) in self.state_out.items()}
        renamed = self.publish(outputs)
        self.tensors = {wire: renamed.get(tensor, tensor) for wire, tensor in self.tensors.items()}
        shape = self.frame_shape(self.facts.graph.input)
        types = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
        shapes = {name: [counts[wire], *self.frame_shape(wire)] for wire, name in self.answers.items()}
        nodes, constants = self.needed(set(outputs))
        graph = helper.make_graph(
            nodes,
            "step",
            [helper.make_tensor_value_info(frames, TensorProto.FLOAT, [self.hop, *shape])]
            + [helper.make_tensor_value_info(s.input, types[s.dtype], list(s.shape)) for s in self.states],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, answer) for name, answer in shapes.items()]
            + [helper.make_tensor_value_info(s.output, types[s.dtype], list(s.shape)) for s in self.states],
        )
        graph.initializer.extend(constants)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", max(18, opset))], ir_version=9, producer_name="everyframe"
        )

    def _answer(self, wire: str, count: int, name: str) -> str:
        """The newest `count` values of a step; without a head the last of m predictions."""
        m = self.m(self.fact(wire))
        return self.raw(wire) if count == m else self._frames(self.raw(wire), m - 1, 1, 1, m, f"{name}.newest")


def _without_time(node: Node, array: np.ndarray, axes: ax.Axes) -> np.ndarray:
    """Keeps one frame of a constant; refuses one that changes along time."""
    for i, axis in enumerate(axes):
        if ax.is_frame_axis(axis) and array.shape[i] > 1:
            first = array.take([0], axis=i)
            if not np.array_equal(np.broadcast_to(first, array.shape), array):
                raise unsupported(
                    node,
                    "A constant changes along time.",
                    got=f"shape {array.shape}",
                    hint="temporal position embeddings and the like cannot be streamed",
                )
            array = first
    return array
