"""States of half the memory: what a step network remembers between steps as float16, everything it computes as before.

A step reads a state through a Cast to float32 and writes it through a Cast to float16, clipped to what float16 holds, so that a
large value stays large and never becomes infinite. States that only repeat another one are moved as they are. Each value is
rounded once, when it is written; reading it is exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from everyframe.errors import ConversionMismatch
from everyframe.modelfile.file import attach
from everyframe.modelfile.schema import Metadata, StateSpec
from everyframe.modelfile.walk import Walk

#: what a state may be kept as -> the type of its tensor
KEPT: dict[str, str] = {"fp32": "float32", "fp16": "float16"}
#: the largest number of float16
MOST = float(np.finfo(np.float16).max)
#: largest relative difference of the answers that is written: ten times what X3D's random weights show
TOLERANCE = 2e-2
#: steps that are compared behind the network's delay
STEPS = 32
_FLOAT, _LEAST, _LARGEST = ".float", "state.least", "state.largest"


def halved(model: onnx.ModelProto, metadata: Metadata) -> tuple[onnx.ModelProto, Metadata]:
    """A copy of a step network whose float states are float16, and what it says of itself. The states' names stay."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    specs = {spec.input: spec for spec in metadata.states if spec.dtype == "float32"}
    _typed(graph.input, specs)
    _typed(graph.output, {spec.output: spec for spec in specs.values()})
    computed = {spec.output for spec in specs.values() if spec.copy_of is None}
    moved = {spec.output for spec in specs.values() if spec.copy_of is not None}
    renamed = {name: name + _FLOAT for name in (*specs, *computed)}
    nodes: list[onnx.NodeProto] = []
    cast: set[str] = set()
    for given in model.graph.node:
        node = onnx.NodeProto()
        node.CopyFrom(given)
        if node.op_type == "Identity" and set(node.output) <= moved and node.input[0] in specs:
            nodes.append(node)  # it only moves a state
            continue
        # just before it is read and just behind what makes it: floats of all states at once would take more than halves save
        for name in dict.fromkeys(name for name in node.input if name in specs and name not in cast):
            cast.add(name)
            nodes.append(_cast(name, name + _FLOAT, TensorProto.FLOAT))
        made_here = [name for name in node.output if name in computed]
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = renamed.get(name, name)
        nodes.append(node)
        for name in made_here:
            clipped = f"{name}.clipped"
            nodes.append(helper.make_node("Clip", [name + _FLOAT, _LEAST, _LARGEST], [clipped], f"{name}.clip"))
            nodes.append(_cast(clipped, name, TensorProto.FLOAT16))
    del graph.node[:]
    graph.node.extend(nodes)
    ends = ((_LEAST, -MOST), (_LARGEST, MOST)) if computed else ()
    graph.initializer.extend(numpy_helper.from_array(np.array(value, np.float32), name) for name, value in ends)
    states = tuple(_half(spec) if spec.input in specs else spec for spec in metadata.states)
    told = metadata.model_copy(update={"states": states})
    return attach(made, told), told


def _half(spec: StateSpec) -> StateSpec:
    return spec.model_copy(update={"dtype": "float16", "fill": float(np.clip(spec.fill, -MOST, MOST).astype(np.float16))})


def _typed(values: Sequence[onnx.ValueInfoProto], names: dict[str, StateSpec]) -> None:
    for value in values:
        if value.name in names:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16


def _cast(name: str, to: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [name], [to], f"{to}.cast", to=kind)


def compared(model: onnx.ModelProto, half: onnx.ModelProto, delay: int, seed: int = 0) -> float:
    """Largest difference of the answers of the two over a stream of noise, relative to the largest answer. delay:
    steps until what a prediction sees is complete. Raises ConversionMismatch where halves say something else.
    """
    plain, rounded = Walk(model), Walk(half)
    rng = np.random.default_rng(seed)
    shapes = {value.name: value for value in model.graph.input if value.name in plain.frames}
    most = worst = 0.0
    for step in range(delay + STEPS):
        frames = {name: _noise(value, rng) for name, value in shapes.items()}
        wanted, found = plain.step(frames), rounded.step(frames)
        for name, value in wanted.items():
            most = max(most, float(np.abs(value).max()))
            difference = float(np.abs(np.asarray(found[name], np.float64) - value).max())
            worst = difference if not difference <= worst else worst  # NaN, too
        if not worst <= TOLERANCE * max(most, 1e-30) and step >= delay:
            raise ConversionMismatch(
                "Halves are too coarse for what this network remembers, so nothing was written.", where=f"step {step} of noise",
                expected=f"a relative difference up to {TOLERANCE:.0e}", got=f"{worst / max(most, 1e-30):.1e}",
                hint="leave --state fp16 away",
            )  # fmt: skip
    return worst / max(most, 1e-30)


def _noise(value: onnx.ValueInfoProto, rng: np.random.Generator) -> np.ndarray:
    kind = value.type.tensor_type
    shape = [d.dim_value for d in kind.shape.dim]
    if kind.elem_type == TensorProto.FLOAT:
        return rng.standard_normal(shape, np.float32)
    return rng.integers(0, 256, shape).astype(helper.tensor_dtype_to_np_dtype(kind.elem_type))
