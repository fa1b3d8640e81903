"""clip ONNX -> the same network with constants folded and BatchNorm merged into convolutions.

Exporters leave Shape/If/ConstantOfShape chains; onnxruntime's basic optimizer removes them all and emits only standard
operators, so it is used instead of a folder of our own. What is no network at all is refused before.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import onnx
from onnx import numpy_helper

from everyframe.errors import ModelError
from everyframe.modelfile.session import session

#: what onnxruntime calls weights that it merged with a BatchNorm where another layer had them too
_MERGED = re.compile(r"ConvBnFusion_(?:W|BN_B)_(.+?)(?:_token_\d+)?")
OLDEST = 9  # opset with which everything that exporters write is standard


def fold(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the folded model, which was looked at before (`bounds`). Raises ModelError if onnxruntime refuses it."""
    _check_float32(model)
    _check_trained(model)
    folded = _optimized(model)
    if any(node.op_type == "Shape" or "_inlfunc_" in "".join(node.output) for node in folded.graph.node):
        # of operators that onnxruntime wrote out (GroupNormalization, Swish)
        folded = _optimized(folded)
    return folded


def _optimized(model: onnx.ModelProto) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        try:
            session(model, save_to=str(path))
        except ModelError as error:
            opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
            if opset >= OLDEST:
                raise
            raise ModelError(
                error.what, where=f"opset {opset}", got=error.got, expected=f"opset {OLDEST} or newer",
                hint="export it again with a newer opset (torch: opset_version=17): older exporters wrote operators that no "
                "runtime knows",
            ) from None  # fmt: skip
        made = onnx.load(str(path))
    _share(made.graph)
    return made


def _share(graph: onnx.GraphProto) -> None:
    """Weights of several layers were merged with the BatchNorm of each: those that came out equal are one again, and all have
    names of before.
    """
    taken = {t.name for t in graph.initializer} | {name for node in graph.node for name in node.output}
    first: dict[tuple[str, bytes], str] = {}
    renamed: dict[str, str] = {}
    for tensor in [t for t in graph.initializer if _MERGED.fullmatch(t.name)]:
        base, old = _MERGED.sub(r"\1", tensor.name), tensor.name
        key = base, tensor.raw_data
        if key in first:
            graph.initializer.remove(tensor)
        else:
            name = next(n for i in range(len(taken)) if (n := f"{base}_{i}" if i else base) not in taken)
            taken.add(name)
            first[key] = tensor.name = name
        renamed[old] = first[key]
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]


def _check_float32(model: onnx.ModelProto) -> None:
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        kind = value.type.tensor_type.elem_type
        if value.name not in weights and kind != onnx.TensorProto.FLOAT:
            raise ModelError(
                "Only float32 networks can be streamed.",
                where=f"input {value.name!r}",
                got=onnx.TensorProto.DataType.Name(kind).lower(),
                hint="export the network in float32",
            )


def _check_trained(model: onnx.ModelProto) -> None:
    """Refuses what is random, or depends on the batch, while a network is trained: such answers cannot be compared."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    constants |= {n.output[0]: a.t for n in model.graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"}

    def true(name: str) -> bool:
        return name in constants and bool(numpy_helper.to_array(constants[name]).any())

    for i, node in enumerate(model.graph.node):
        dropout = node.op_type == "Dropout" and len(node.input) > 2 and true(node.input[2])
        dropout = dropout and (not node.input[1] or node.input[1] not in constants or true(node.input[1]))
        if dropout or (node.op_type == "BatchNormalization" and any(a.name == "training_mode" and a.i for a in node.attribute)):
            raise ModelError(
                "The network was exported in training mode.", got=f"{node.op_type} that trains",
                where=f"node {node.name or node.output[0]!r} ({node.op_type}, {i + 1} of {len(model.graph.node)})",
                hint="export it for inference (torch: `net.eval()` before the export)",
            )  # fmt: skip
