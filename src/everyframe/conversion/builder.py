"""Builds the step graph: what rules need besides memory (constants, operands of another shape), and the finished model."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
from onnx import TensorProto, helper

from everyframe.conversion import axes as ax
from everyframe.conversion.carrying import Carrying
from everyframe.conversion.counting import Numbers, numbers
from everyframe.conversion.facts import Fact
from everyframe.conversion.heads import keeps_frames
from everyframe.conversion.memory import COUNTER
from everyframe.conversion.refusals import unsupported
from everyframe.conversion.view import View
from everyframe.modelfile.graph import Node
from everyframe.modelfile.schema import StateSpec

#: of step networks, at least
OPSET = 18


class Builder(Carrying):
    """The `step` that rules write to."""

    def constant(self, name: str) -> np.ndarray | None:
        """A constant of the clip graph as an array."""
        return self.facts.graph.constant(name) if name else None

    def weight(self, name: str) -> np.ndarray:
        """A constant that the rule's fact has made sure of."""
        return self.facts.graph.constants[name]

    def same(self, name: str) -> str:
        """A constant of the clip graph, unchanged."""
        array = self.constant(name)
        return self._once(("same", name), lambda: self.const(array, name)) if array is not None else ""

    def inner(self, node: Node, name: str, array: np.ndarray) -> str:
        """A constant of the body of a loop."""
        return self._once(("inner", node.name, name), lambda: self.const(array, f"{node.label}.{name}"))

    # -- the clip's own axes -------------------------------------------------------------------------------------------

    def enter(self, view: View, tensor: str, name: str) -> str:
        """Frames of a wire as the view has them."""
        return tensor if view.plain else self.emit("Reshape", [tensor, self.ints([-1, *view.sizes])], f"{name}::enter")

    def leave(self, view: View, tensor: str, name: str) -> str:
        """Frames back from a view of the result's axes."""
        if view.plain:
            return tensor
        return self.emit("Reshape", [tensor, self.ints([-1, *ax.step_shape(view.axes)])], f"{name}::leave")

    # -- operands of different shape -----------------------------------------------------------------------------------

    def groups(self, node: Node, out: Fact) -> list[list[int]]:
        """Clip axes that are one in the step tensors of an element-wise operator: those that are merged in its output, or each
        by itself where an operand has only some of them."""
        merged = ax.step_groups(out.axes)
        for name in filter(None, node.inputs):
            sizes = self._sizes(name, len(out.axes))
            for group in merged:
                part = [sizes[i] for i in group]
                if len(group) > 1 and part not in ([1] * len(group), [ax.rest(out.axes[i]) for i in group]):
                    return [[i] for i, axis in enumerate(out.axes) if not ax.is_frame_axis(axis)]
        return merged

    def _sizes(self, name: str, rank: int) -> list[int]:
        """What a frame of an operand has on each axis of the result."""
        if name in self.facts.table:
            axes = self.facts[name].axes
            return [1] * (rank - len(axes)) + [ax.rest(axis) for axis in axes]
        shape = self.facts.graph.shapes.get(name, ())
        return [1] * (rank - len(shape)) + list(shape)

    def regrouped(self, tensor: str, out: Fact, groups: list[list[int]], name: str) -> str:
        """The result of an element-wise operator as the step network keeps it."""
        if len(groups) == len(ax.step_groups(out.axes)):
            return tensor
        return self.emit("Reshape", [tensor, self.ints([-1, *ax.step_shape(out.axes)])], f"{name}::leave")

    def operand(self, node: Node, name: str, out: Fact, groups: list[list[int]]) -> str:
        """An input of an element-wise operator in the output's frame and layout: delayed and reshaped where needed."""
        if not name:
            return ""
        if name not in self.facts.table:
            return self.constant_operand(node, name, out, groups)
        fact = self.facts[name]
        tensor = self.delayed(node, name, out.lag - fact.lag)
        wanted = self._grouped(node, self._sizes(name, len(out.axes)), groups)
        if wanted == ax.step_shape(fact.axes):
            return tensor
        return self.emit("Reshape", [tensor, self.ints([self.m(fact), *wanted])], f"{node.label}::align")

    def _grouped(self, node: Node, sizes: list[int], groups: list[list[int]]) -> tuple[int, ...]:
        """Sizes per clip axis -> sizes per step axis; frame axes must be 1."""
        made = tuple(prod(sizes[i] for i in group) for group in groups)
        if prod(made) != prod(sizes):
            raise unsupported(
                node,
                "A tensor without time varies along the time axis.",
                got=f"shape {tuple(sizes)}",
                hint="time-dependent constants cannot be streamed",
            )
        return made

    def constant_operand(self, node: Node, name: str, out: Fact, groups: list[list[int]]) -> str:
        array = self.constant(name)
        if array is None:
            raise unsupported(node, f"Input {name!r} is computed at run time.", hint="export with static shapes")
        if array.size == 1:
            scalar = array.reshape(())
            return self._once(("same", name), lambda: self.const(scalar, name))
        if (counted := numbers(node.op, array, out.axes)) is not None:
            return self._numbers(node, out, counted)
        array = _without_time(node, array.reshape((1,) * (len(out.axes) - array.ndim) + array.shape), out.axes)
        shape = (1, *self._grouped(node, list(array.shape), groups))
        framed = array.reshape(shape)
        return self._once(("operand", name, shape), lambda: self.const(framed, name))

    def _numbers(self, node: Node, out: Fact, counted: Numbers) -> str:
        """The numbers of the step's frames, for an operand of `out`."""
        made = []
        for count in self.count(node, out, len(ax.step_shape(out.axes)) + 1):
            if counted.start != 1:
                count = self.emit("Add", [count, self.scalar(counted.start - 1.0)], f"{node.label}::number")
            if counted.of != 1:
                count = self.emit("Mul", [count, self.scalar(counted.of)], f"{node.label}::number")
            if counted.shares:
                count = self.emit("Div", [self.scalar(1.0), count], f"{node.label}::number")
            made.append(count)
        return self.emit("Concat", made, f"{node.label}::numbers", axis=0) if len(made) > 1 else made[0]

    def constant_frame(self, node: Node, name: str, axes: ax.Axes) -> str:
        """A constant operand of Concat: the same frame m times."""
        array = self.constant(name)
        if array is None or array.ndim != len(axes):
            raise unsupported(
                node,
                f"Input {name!r} of Concat is neither a wire nor a constant frame.",
                hint="export with static shapes",
            )
        if ax.time_is_mixed(axes):
            raise unsupported(node, "A constant beside frames that share an axis.", hint="keep time on an axis of its own")
        array = _without_time(node, array, axes)
        groups = [prod(array.shape[i] for i in group) for group in ax.step_groups(axes)]
        m = self.m(self.facts[node.outputs[0]])
        return self.const(np.repeat(array.reshape(1, *groups), m, axis=0), name)

    # -- the graph -----------------------------------------------------------------------------------------------------

    def finish(self, wires: tuple[str, ...], opset: int) -> onnx.ModelProto:
        """The step model: inputs (frames of each kind, states), outputs (logits, other outputs, states), unused nodes removed.
        `answers` says which output of the clip network became which.
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
        types = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
        shapes = {name: [counts[wire], *self.frame_shape(wire)] for wire, name in self.answers.items()}
        nodes, constants = self.needed(set(outputs))
        graph = helper.make_graph(
            nodes,
            "step",
            [helper.make_tensor_value_info(self.given[x], TensorProto.FLOAT, self.step_shape(x)) for x in self.given]
            + [helper.make_tensor_value_info(s.input, types[s.dtype], list(s.shape)) for s in self.states],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, answer) for name, answer in shapes.items()]
            + [helper.make_tensor_value_info(s.output, types[s.dtype], list(s.shape)) for s in self.states],
        )
        graph.initializer.extend(constants)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", max(OPSET, opset))], ir_version=9, producer_name="everyframe"
        )

    def step_shape(self, wire: str) -> list[int]:
        """Of a wire in a step: its frames first."""
        return [self.m(self.fact(wire)), *self.frame_shape(wire)]

    def _answer(self, wire: str, count: int, name: str) -> str:
        """The newest `count` values of a step; without a head the last of m predictions."""
        m = self.m(self.fact(wire))
        made = self.raw(wire) if count == m else self._frames(self.raw(wire), m - 1, 1, 1, m, f"{name}.newest")
        return self.emit("Cast", [made], f"{name}.float", to=TensorProto.FLOAT) if wire in self.facts.graph.types else made


def _without_time(node: Node, array: np.ndarray, axes: ax.Axes) -> np.ndarray:
    """Keeps one frame of a constant; refuses one that changes along time."""
    for i, axis in enumerate(axes):
        if any(atom.kind == "T" for atom in axis) and array.shape[i] > 1:
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
