"""Which nodes of a model compute in integers, and which of its tensors hold the same values and so share one scale.

A state's input and output are one tensor at two times, and what only moves values (a ring's Concat and Slice, the slots behind a
slot) changes none: all of these get one scale. So a value is rounded once, when it is made, and never again while it is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper, shape_inference

from everyframe.errors import ModelError
from everyframe.modelfile.schema import Metadata

#: operators whose result is a new value
COMPUTES = frozenset({
    "Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sub", "Mul", "Div", "Sum", "Relu", "Clip", "LeakyRelu", "PRelu", "Elu",
    "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softmax", "GlobalAveragePool", "ReduceMean",
})  # fmt: skip
#: operators whose result holds values of these inputs (None: all), or averages of them
MOVES: dict[str, tuple[int, ...] | None] = {
    "Concat": None, "Slice": (0,), "Split": (0,), "Reshape": (0,), "Transpose": (0,), "Squeeze": (0,), "Unsqueeze": (0,),
    "Flatten": (0,), "Identity": (0,), "Gather": (0,), "Expand": (0,), "Pad": (0,), "Where": (1, 2), "MaxPool": (0,),
    "GlobalMaxPool": (0,), "AveragePool": (0,),
}  # fmt: skip
#: what only cuts off a range that an integer's own limits cut off as well
CUTS = frozenset({"Relu", "Clip"})
WITH_WEIGHTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
QUANTIZED = frozenset({
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger",
})  # fmt: skip
MIN_OPSET = 13  # scales for each channel


@dataclass(frozen=True)
class LayerNode:
    """A node that makes new values, with the ReLU or Clip behind it. output: the tensor it makes. made_of: outputs of other
    layers that it reads, however they were moved in between. quantized: it computes in integers.
    """

    name: str
    op: str
    output: str
    made_of: tuple[str, ...]
    quantized: bool


@dataclass(frozen=True)
class Structure:
    """nodes: names of the nodes that compute in integers or move them. share: tensor -> the tensor that stands for its group.
    measured: tensors whose values make the ranges. layers: the input first, in order of computation.
    """

    model: onnx.ModelProto
    nodes: tuple[str, ...]
    share: dict[str, str]
    measured: tuple[str, ...]
    layers: tuple[LayerNode, ...]


def prepared(model: onnx.ModelProto, where: object) -> onnx.ModelProto:
    """A copy with the types of all tensors and a name for every node. Raises ModelError for one that is quantized already."""
    made = shape_inference.infer_shapes(model, data_prop=True)
    found = next((node for node in made.graph.node if node.op_type in QUANTIZED), None)
    if found is not None:
        raise ModelError(
            "The model is quantized already.", where=f"{where}, node {found.name or found.output[0]}",
            expected="a float32 model", got=found.op_type, hint="give the float model that it was made from",
        )  # fmt: skip
    if half := [value.name for value in made.graph.input if value.type.tensor_type.elem_type == TensorProto.FLOAT16]:
        raise ModelError(
            "The model's states are float16.", where=f"{where}, {half[0]}", expected="a float32 model", got="float16",
            hint="quantize the one that was made without --state fp16: integers take half of that memory",
        )  # fmt: skip
    opset = next((o.version for o in made.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset < MIN_OPSET:
        raise ModelError(
            "The model's opset has no scales for each channel.", where=where, expected=f"opset {MIN_OPSET} or newer", got=opset,
            hint="export it again with a newer opset",
        )  # fmt: skip
    _bypass_identities(made.graph)
    names: set[str] = set()
    for node in made.graph.node:
        name = node.name or node.output[0]
        while name in names:
            name += "'"
        node.name = name
        names.add(name)
    return made


def _bypass_identities(graph: onnx.GraphProto) -> None:
    """Everybody reads what an Identity repeats; only those stay that make an output."""
    same: dict[str, str] = {}
    outputs = {value.name for value in graph.output}
    for node in list(graph.node):
        for i, name in enumerate(node.input):
            node.input[i] = same.get(name, name)
        if node.op_type == "Identity":
            same[node.output[0]] = node.input[0]
            if node.output[0] not in outputs:
                graph.node.remove(node)


def structure(model: onnx.ModelProto, metadata: Metadata, frames: str, keep_float: Iterable[str] = ()) -> Structure:
    """model: from `prepared`. frames: name of its input. keep_float: names of nodes, or patterns of names. Raises ModelError."""
    graph, patterns = model.graph, tuple(keep_float)
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    values = (*graph.input, *graph.value_info, *graph.output)
    floats = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT} | {
        t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT
    }
    state_inputs = {spec.input for spec in metadata.states if spec.dtype == "float32"}
    timed = {frames, *state_inputs}
    for node in graph.node:
        if not timed.isdisjoint(node.input):
            timed |= set(node.output)
    chosen = [n for n in graph.node if _in_integers(n, floats, timed, constants) and not _matches(n.name, patterns)]
    groups = _Groups()
    for spec in metadata.states:
        groups.join(spec.input, spec.output)
        if spec.copy_of:
            groups.join(spec.input, spec.copy_of)
    kept = {node.name for node in graph.node} - {node.name for node in chosen}
    readers: dict[str, int] = {}
    for name in (*(x for node in graph.node for x in node.input), *(v.name for v in graph.output)):
        readers[name] = readers.get(name, 0) + 1
    made_elsewhere: set[str] = set(state_inputs)
    made: set[str] = set()
    cuts: dict[str, onnx.NodeProto] = {}  # tensor that is made only to be cut off -> by which node
    for node in graph.node:
        if node.op_type in MOVES and (node.name not in kept or node.op_type == "Identity"):
            for name in _moved(node):
                if name in timed:
                    groups.join(name, *node.output)
            made_elsewhere |= set(node.output)
        elif node.op_type in CUTS and node.name not in kept and readers[node.input[0]] == 1 and node.input[0] in made:
            groups.join(node.input[0], node.output[0])
            made_elsewhere.add(node.input[0])
            cuts[node.input[0]] = node
        made |= set(node.output) if node.op_type in COMPUTES else set()
    touched = {x for node in chosen for x in (*node.input, *node.output) if x in floats and x in timed}
    wanted = {groups.of(x) for x in touched}
    tensors = [frames, *(x for node in graph.node for x in node.output)]
    measured = tuple(x for x in tensors if x in floats & timed - made_elsewhere and groups.of(x) in wanted)
    if not any(node.op_type in COMPUTES for node in chosen):
        raise ModelError("No node of the model can be quantized.", got=f"{len(graph.node)} nodes", hint="look at --keep-float")
    names = tuple(node.name for node in chosen)
    share = {x: groups.of(x) for x in sorted(touched)}
    return Structure(model, names, share, measured, tuple(_layers(model, metadata, frames, floats & timed, cuts, set(names))))


def missing(model: onnx.ModelProto, patterns: Iterable[str]) -> list[str]:
    """Patterns that name no node."""
    return [p for p in patterns if not any(_matches(node.name, (p,)) for node in model.graph.node)]


def weights_of(node: onnx.NodeProto) -> tuple[str, int] | None:
    """(the weight's name, the axis of its output channels) of an operator with weights."""
    if node.op_type not in WITH_WEIGHTS:
        return None
    if node.op_type == "ConvTranspose" or node.op_type == "MatMul":
        return node.input[1], 1
    turned = next((a.i for a in node.attribute if a.name == "transB"), 0)
    return node.input[1], 0 if node.op_type == "Conv" or turned else 1


def arrays(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _layers(
    model: onnx.ModelProto, metadata: Metadata, frames: str, timed: set[str], cuts: dict[str, onnx.NodeProto], chosen: set[str]
) -> Iterator[LayerNode]:
    sources: dict[str, tuple[str, ...]] = {frames: (frames,)}  # tensor -> the outputs of layers that it holds
    sources |= {spec.input: (spec.output,) for spec in metadata.states}
    by_cut = {node.name for node in cuts.values()}
    if frames in timed:  # a model that takes bytes has nothing to round there
        yield LayerNode(frames, "input", frames, (), True)
    for node in model.graph.node:
        made_of = tuple(dict.fromkeys(x for name in node.input for x in sources.get(name, ())))
        if node.op_type in MOVES or node.name in by_cut:
            sources |= dict.fromkeys(node.output, made_of)
        elif node.output[0] in timed:
            cut = cuts.get(node.output[0])
            output = cut.output[0] if cut is not None else node.output[0]
            sources[node.output[0]] = (output,)
            op = node.op_type if cut is None else f"{node.op_type}+{cut.op_type}"
            yield LayerNode(node.name, op, output, made_of, node.name in chosen)


def _in_integers(node: onnx.NodeProto, floats: set[str], timed: set[str], constants: set[str]) -> bool:
    """Not so: what depends on the step counter alone, what is multiplied with it, sums under a 0/1 band (a constant on the left
    of a product), and a division by what may be rounded to 0.
    """
    if (node.op_type not in COMPUTES and node.op_type not in MOVES) or node.op_type == "Identity":
        return False
    operands = [x for x in node.input if x in floats]
    if not any(x in timed for x in operands) or not all(x in floats for x in node.output if x):
        return False
    if any(x not in timed and x not in constants for x in operands):
        return False
    return not ((node.op_type == "MatMul" and node.input[0] in constants) or (node.op_type == "Div" and node.input[1] in timed))


def _moved(node: onnx.NodeProto) -> list[str]:
    which = MOVES[node.op_type]
    return [x for i, x in enumerate(node.input) if which is None or i in which]


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


class _Groups:
    """Disjoint sets of names."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def of(self, name: str) -> str:
        while name in self._parent:
            name = self._parent[name]
        return name

    def join(self, *names: str) -> None:
        first = self.of(names[0])
        for name in names[1:]:
            if self.of(name) != first:
                self._parent[self.of(name)] = first
