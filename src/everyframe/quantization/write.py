"""The quantized model: onnxruntime's quantizer inserts the integers (QDQ), with the scales that were found here.

Left to itself it would choose a scale for each tensor, which a state does not survive: what is written under one scale would be
read under another in the next step. So every scale is prescribed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx

from everyframe.conversion.account import layer_of
from everyframe.modelfile import saturation
from everyframe.modelfile.schema import Metadata
from everyframe.quantization.conventions import Convention
from everyframe.quantization.scales import Scale, weight_scales
from everyframe.quantization.structure import COMPUTES, MOVES, Structure, arrays, weights_of

_DEQUANTIZED = "_DequantizeLinear_Output"  # how onnxruntime's quantizer calls what it makes of a tensor
_BEFORE = "_QuantizeLinear_Input"  # of a graph's output


def write(
    parts: Structure, metadata: Metadata, scales: Mapping[str, Scale], to: Convention, logits: str, put_back: Iterable[str] = ()
) -> onnx.ModelProto:
    """scales: of groups. put_back: names of nodes that stay float. States and logits stay float at the graph's border."""
    from onnxruntime.quantization import QDQQuantizer, QuantType, TensorsData
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData

    model = onnx.ModelProto()
    model.CopyFrom(parts.model)
    of = {x: scales[group] for x, group in parts.share.items() if group in scales}
    kinds = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8, "int16": QuantType.QInt16}
    chosen = set(parts.nodes) - set(put_back)
    chosen -= {n.name for n in parts.model.graph.node if _lacks_scale(n, parts, of)}
    overrides: dict[str, list[dict[str, Any]]] = {
        x: [{"scale": np.array(s.scale, np.float32), "zero_point": np.array(s.zero, s.kind), "quant_type": kinds[s.kind]}]
        for x, s in of.items()
    }
    overrides |= _weights(parts, of, chosen, to, QuantType.QInt8)
    ranges = {x: TensorData(lowest=np.float32(s.limits[0]), highest=np.float32(s.limits[1])) for x, s in of.items()}
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it writes to the root logger what concerns only its own choices
    try:
        quantizer = QDQQuantizer(
            model, to.per_channel, False, QuantType.QInt8, kinds[to.activations],
            TensorsData(CalibrationMethod.MinMax, ranges), sorted(chosen), [], sorted(COMPUTES | set(MOVES) - {"Identity"}),
            {
                "TensorQuantOverrides": overrides, "ActivationSymmetric": to.symmetric, "WeightSymmetric": True,
                "QDQDisableWeightAdjustForInt32Bias": to.power_of_two,
            },
        )  # fmt: skip
        made = quantizer.quantize_model()
        quantizer.model.topological_sort()
    finally:
        logger.setLevel(level)
    _restore_copies(made, metadata)
    _float_output(made, logits)
    return made


def counterpart(quantized: onnx.ModelProto) -> dict[str, str]:
    """Tensor of the float model -> the tensor that holds it in the quantized one, rounded where it is."""
    there = {x for node in quantized.graph.node for x in node.output} | {v.name for v in quantized.graph.input}
    found = {x.removesuffix(_DEQUANTIZED): x for x in there if x.endswith(_DEQUANTIZED)}
    return {x: x for x in there} | found


def _lacks_scale(node: onnx.NodeProto, parts: Structure, of: Mapping[str, Scale]) -> bool:
    return any(x in parts.share and x not in of for x in (*node.input, *node.output))


def narrower(parts: Structure, to: Convention, put_back: Iterable[str] = ()) -> dict[str, float]:
    """Layers whose weights get coarser steps than 8 bits have, so that no sum of two products overflows 16 bits -> the bits that
    are left, as a mean over the channels.
    """
    constants = arrays(parts.model)
    return _narrower(parts, to, set(parts.nodes) - set(put_back), constants)


def _narrower(parts: Structure, to: Convention, chosen: set[str], constants: Mapping[str, np.ndarray]) -> dict[str, float]:
    found: dict[str, float] = {}
    for node in _fixed(parts, to, chosen, constants):
        if to.overflow_fix == "first" and found and layer_of(node.name) != layer_of(next(iter(found))):
            break  # the taps of one convolution are one layer
        name, axis = weights_of(node) or ("", 0)
        own = axis if to.per_channel else None
        usual, ours = (
            weight_scales(constants[name], own, powers=to.power_of_two, outputs=outputs)
            for outputs in (None, _outputs(node, constants[name], axis))
        )
        if np.any(ours > usual):
            found[node.name] = 8 - float(np.log2(ours / usual).mean())
    return found


def _fixed(parts: Structure, to: Convention, chosen: set[str], constants: Mapping[str, np.ndarray]) -> list[onnx.NodeProto]:
    """The nodes that the overflow fix may be needed for. Depthwise convolutions are multiplied in 32 bits everywhere, and
    16-bit activations as floats or in 64.
    """
    if to.activations == "int16" or to.overflow_fix == "none":
        return []
    nodes = [node for node in parts.model.graph.node if node.name in chosen and (weights_of(node) or ("",))[0] in constants]
    return [node for node in nodes if not saturation.depthwise(node, constants[node.input[1]])]


def _outputs(node: onnx.NodeProto, weight: np.ndarray, axis: int) -> int:
    """The axis of a weight along which each index belongs to other outputs."""
    return axis if node.op_type != "MatMul" else weight.ndim - 1


def _weights(parts: Structure, of: Mapping[str, Scale], chosen: set[str], to: Convention, kind: Any) -> dict[str, list]:
    """Powers of two for every constant that is quantized; or steps under which no sum of products overflows, and nothing for the
    rest, whose scales onnxruntime finds.
    """
    constants, made = arrays(parts.model), {}
    narrow = set(_narrower(parts, to, chosen, constants))
    if to.overflow_fix == "all":  # also those of 8 bits: another's rounding of a scale must not decide
        narrow = {node.name for node in _fixed(parts, to, chosen, constants)}
    for node in parts.model.graph.node:
        if node.name not in chosen or node.op_type not in COMPUTES or not (to.power_of_two or node.name in narrow):
            continue
        found = weights_of(node)
        for name in node.input[: 2 if found else None]:
            if name not in constants or constants[name].dtype != np.float32:
                continue
            axis = found[1] if found and to.per_channel else None
            bias = constants.get(node.input[2]) if found and to.power_of_two and len(node.input) > 2 else None
            around = of[node.input[0]].scale if node.input[0] in of else 1.0
            outputs = _outputs(node, constants[name], found[1]) if found and node.name in narrow else None
            scales = weight_scales(constants[name], axis, bias, around, powers=to.power_of_two, outputs=outputs)
            made[name] = [{"scale": s, "zero_point": np.int8(0), "quant_type": kind} for s in scales]
            if axis is not None:
                for row in made[name]:
                    row["axis"] = axis
    return made


def _restore_copies(model: onnx.ModelProto, metadata: Metadata) -> None:
    """A slot repeats another one's input as it is; what it holds was rounded when it was made."""
    copies = {spec.output: spec.copy_of for spec in metadata.states if spec.copy_of}
    for node in model.graph.node:
        if node.op_type == "Identity" and node.output[0] in copies:
            node.input[0] = copies[node.output[0]]


def _float_output(model: onnx.ModelProto, logits: str) -> None:
    """Takes the integers off the answer: rounded, close scores would become equal."""
    made = {x: node for node in model.graph.node for x in node.output}
    back = made[logits]
    if back.op_type != "DequantizeLinear" or f"{logits}{_BEFORE}" not in made:
        return
    forth = made[back.input[0]]
    for node in (back, forth):
        model.graph.node.remove(node)
    for node in model.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == f"{logits}{_BEFORE}":
                    names[i] = logits
