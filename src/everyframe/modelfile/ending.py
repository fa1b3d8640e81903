"""What a network ends in, as its last operators tell: a softmax is probabilities of one class, a sigmoid of any of several.

An average over places or time may follow it, as in test-time heads: in a clip network as a mean, in a step network as a ring, a
band matrix and a table of shares; so may the mean of several networks' answers. A sum of two answers or a scaled one is no
probability any more.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import onnx
from onnx import numpy_helper

from everyframe.modelfile.schema import Metadata, Scores, Task

_ENDS: dict[str, tuple[Task, Scores]] = {"Softmax": ("classify", "probabilities"), "Sigmoid": ("multilabel", "probabilities")}
#: what moves and averages values, of one computed operand
_CARRIERS = frozenset(
    {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Cast", "Slice", "Gather", "Dropout", "Split"}
    | {"Clip", "ReduceMean", "GlobalAveragePool", "AveragePool", "Concat", "Sum", "Where"}
    | {"QuantizeLinear", "DequantizeLinear", "Mul", "MatMul"}
)
_SUMS = frozenset({"Add", "Sum", "Mean"})
#: how far weights of a mean may be from one together: 1/3 in float16 three times
_ROUNDED = 2e-3


@dataclass(frozen=True, slots=True)
class Ending:
    """task, scores: see `schema.Metadata`. assumed: neither the file nor the graph says so."""

    task: Task
    scores: Scores
    assumed: bool = False

    def __str__(self) -> str:
        return f"{self.task}, {self.scores}"


def found(model: onnx.ModelProto, output: str, states: Collection[str] = ()) -> Ending | None:
    """What the operators before `output` say; None if it ends in a plain layer. states: names of inputs that are states."""
    said = _Graph(model.graph, states).of(output)
    return said[0] if said is not None and abs(said[1] - 1) < _ROUNDED else None


class _Graph:
    """Tensors that are shares of what a softmax or a sigmoid gives."""

    def __init__(self, graph: onnx.GraphProto, states: Collection[str]) -> None:
        self.made_by = {made: node for node in graph.node for made in node.output}
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.constants |= {
            n.output[0]: a.t for n in graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"
        }
        self.timed = _timed(graph, {*self.constants, *states})

    def of(self, name: str) -> tuple[Ending, float] | None:
        """What a tensor is, and times what: the mean of several networks is a sum of shares."""
        shares = 1.0
        while (node := self.made_by.get(name)) is not None:
            if (known := _ENDS.get(node.op_type) or self._by_hand(node)) is not None:
                return Ending(*known), shares
            computed = [x for x in node.input if x in self.timed]
            if node.op_type in _SUMS and len(set(computed)) > 1 and len(computed) == len(node.input):
                parts = [self.of(x) for x in computed]
                if None in parts or len({part[0] for part in parts if part}) > 1:
                    return None
                total = sum(part[1] for part in parts if part) / (len(parts) if node.op_type == "Mean" else 1)
                return parts[0][0], shares * total  # type: ignore[index]
            if (factor := self._factor(node, computed)) is not None:
                shares *= factor
            elif node.op_type not in _CARRIERS or len(set(computed)) != 1 or not _averages(node, self.constants, self.made_by):
                return None
            name = computed[0]
        return None

    def _factor(self, node: onnx.NodeProto, computed: list[str]) -> float | None:
        """Of a product or a quotient with one number."""
        if node.op_type not in ("Mul", "Div") or len(computed) != 1 or (node.op_type == "Div" and computed[0] != node.input[0]):
            return None
        value = self._number(next(x for x in node.input if x != computed[0]))
        return None if not value else value if node.op_type == "Mul" else 1 / value

    def _number(self, name: str) -> float | None:
        tensor = self.constants.get(name)
        return float(numpy_helper.to_array(tensor).ravel()[0]) if tensor is not None and list(tensor.dims) in ([], [1]) else None

    def _maker(self, name: str, *kinds: str) -> onnx.NodeProto | None:
        node = self.made_by.get(name)
        return node if node is not None and node.op_type in kinds else None

    def _by_hand(self, node: onnx.NodeProto) -> tuple[Task, Scores] | None:
        """A softmax as exp(x) / sum(exp(x)) or exp(x - log(sum(exp(x)))), a sigmoid as 1 / (1 + exp(-x))."""
        given = list(node.input)
        if node.op_type == "Exp" and (self._maker(given[0], "LogSoftmax") or self._less_its_sum(given[0])):
            return _ENDS["Softmax"]
        if node.op_type == "Div" and self._maker(given[0], "Exp"):
            return _ENDS["Softmax"] if self._sums(given[1], given[0]) else None
        if node.op_type == "Mul":
            for powers, share in (given, given[::-1]):
                part = self._maker(share, "Reciprocal")
                if part is not None and self._maker(powers, "Exp") and self._sums(part.input[0], powers):
                    return _ENDS["Softmax"]
        if node.op_type == "Reciprocal" or (node.op_type == "Div" and self._number(given[0]) == 1):
            below = self._maker(given[-1], "Add")
            parts = list(below.input) if below is not None else []
            if any(self._number(x) == 1 for x in parts) and any(self._maker(x, "Exp") for x in parts):
                return _ENDS["Sigmoid"]
        return None

    def _sums(self, name: str, of: str) -> bool:
        total = self._maker(name, "ReduceSum", "ReduceL1")
        return total is not None and total.input[0] == of

    def _less_its_sum(self, name: str) -> bool:
        """x - log(sum(exp(x))): a softmax's logarithm."""
        difference = self._maker(name, "Sub")
        if difference is None:
            return False
        whole, total = difference.input
        if (at_once := self._maker(total, "ReduceLogSumExp")) is not None:
            return bool(at_once.input[0] == whole)
        powers = next((n.output[0] for n in self.made_by.values() if n.op_type == "Exp" and n.input[0] == whole), None)
        logarithm = self._maker(total, "Log")
        return logarithm is not None and powers is not None and self._sums(logarithm.input[0], powers)


def ending(model: onnx.ModelProto, output: str, told: Metadata | None, task: Task | None = None) -> Ending:
    """task: what the user says; then the file, the graph, and the assumption that it is the logits of one of several classes,
    or, of one value, that quantity: as a class it would always be sure.

    A task that is not the one that the graph tells is about values that are logits, as far as anybody knows.
    """
    graph = found(model, output, [spec.input for spec in told.states] if told is not None else ())
    said = task or (told.task if told is not None else None)
    if told is not None and told.scores is not None and said == told.task:
        return Ending(said or "classify", told.scores)
    if said is None:
        return graph or Ending("regress" if _single(model, output) else "classify", "logits", assumed=True)
    return Ending(said, graph.scores if graph is not None and said in (graph.task, "frames") else "logits")


def _single(model: onnx.ModelProto, output: str) -> bool:
    """Whether an output is one value, in whatever axes behind the first."""
    dims = next((value.type.tensor_type.shape.dim for value in model.graph.output if value.name == output), None)
    return dims is not None and all(dim.dim_value == 1 for dim in dims[1:])


def _averages(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], made_by: dict[str, onnx.NodeProto]) -> bool:
    """Of operators that could scale: is it a step network's mean? Its shares come from a table, its sums from a 0/1 band."""
    if node.op_type == "Mul":
        return any((maker := made_by.get(x)) is not None and _of_table(maker, constants, made_by) for x in node.input)
    if node.op_type != "MatMul":
        return True
    band = constants.get(node.input[0])
    return band is not None and set(numpy_helper.to_array(band).ravel().tolist()) <= {0.0, 1.0}


def _of_table(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], made_by: dict[str, onnx.NodeProto]) -> bool:
    if node.op_type == "Reshape":
        maker = made_by.get(node.input[0])
        return maker is not None and _of_table(maker, constants, made_by)
    return node.op_type == "Gather" and node.input[0] in constants


def _timed(graph: onnx.GraphProto, others: set[str]) -> set[str]:
    """Tensors that are computed from the frames of this step."""
    timed = {value.name for value in graph.input} - others
    for node in graph.node:
        if timed & set(node.input):
            timed |= set(node.output)
    return timed
