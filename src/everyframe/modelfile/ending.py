"""What a network ends in, as its last operators tell: a softmax is probabilities of one class, a sigmoid of any of several.

An average over places or time may follow it, as in test-time heads: in a clip network as a mean, in a step network as a ring, a
band matrix and a table of shares. A sum of two answers or a scaled one is no probability any more.
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
    | {"ReduceMean", "GlobalAveragePool", "AveragePool", "Concat", "Sum", "Where"}
    | {"QuantizeLinear", "DequantizeLinear", "Mul", "MatMul"}
)


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
    graph, name = model.graph, output
    made_by = {made: node for node in graph.node for made in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    timed = _timed(graph, {*constants, *states})
    while (node := made_by.get(name)) is not None:
        if node.op_type in _ENDS:
            return Ending(*_ENDS[node.op_type])
        computed = [x for x in node.input if x in timed]
        if node.op_type not in _CARRIERS or len(set(computed)) != 1 or not _averages(node, constants, made_by):
            return None
        name = computed[0]
    return None


def ending(model: onnx.ModelProto, output: str, told: Metadata | None, task: Task | None = None) -> Ending:
    """task: what the user says; then the file, the graph, and the assumption that it is the logits of one of several classes.

    A task that is not the one that the graph tells is about values that are logits, as far as anybody knows.
    """
    graph = found(model, output, [spec.input for spec in told.states] if told is not None else ())
    said = task or (told.task if told is not None else None)
    if told is not None and told.scores is not None and said == told.task:
        return Ending(said or "classify", told.scores)
    if said is None:
        return graph or Ending("classify", "logits", assumed=True)
    return Ending(said, graph.scores if graph is not None and said in (graph.task, "frames") else "logits")


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
