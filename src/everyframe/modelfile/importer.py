"""Networks of others: a small file says which tensors are frames, states and logits; the model then carries our metadata.

    frames = { input = "image", layout = "NTCHW" }      axes: N T C H W in the order that the network has, some may be missing
    logits = { output = "scores", probabilities = true }
    labels = "labels.txt"                               or a list; beside this file
    preprocess = { resize = 172, crop = [172, 172] }    as in the metadata
    states = [{ input = "s0", output = "s0_new", fill = 0.0 }]      or begin = "s0.npy", the values before the first frame

A clip network has no states and T frames in its input; a step network takes T new frames at a time.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from pydantic import Field, ValidationError

from everyframe.errors import EngineError, ModelError, meant
from everyframe.modelfile.file import attach
from everyframe.modelfile.labels import read_labels
from everyframe.modelfile.schema import Metadata, Preprocess, Provenance, StateSpec, Strict
from everyframe.modelfile.walk import Walk
from everyframe.version import __version__

STEPS = 3  # of the trial
BEGUN = "everyframe.begun"  # a state that is 0 before the first step only

# T frames, C channels, H W


class Frames(Strict):
    """layout: the axes of `input`, letters of NTCHW; N is one."""

    input: str
    layout: str = "TCHW"


class Logits(Strict):
    """probabilities: the network ends in a softmax."""

    output: str
    probabilities: bool = False


class State(Strict):
    """fill: every value before the first step; begin: a .npy file with them."""

    input: str
    output: str
    fill: float = 0.0
    begin: str | None = None


class Mapping(Strict):
    """delay: frames before the first prediction that counts."""

    frames: Frames
    logits: Logits
    states: tuple[State, ...] = ()
    labels: str | tuple[str, ...] | None = None
    preprocess: Preprocess = Preprocess()
    delay: int = Field(default=0, ge=0)


_NESTED: dict[str, type[Strict]] = {"frames": Frames, "logits": Logits, "states": State, "preprocess": Preprocess}


def read_mapping(path: Path) -> Mapping:
    """Raises ModelError with the key that is wrong, and the closest one that exists."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        got = getattr(error, "strerror", None) or str(error)
        raise ModelError("The mapping cannot be read.", where=path, got=got, expected="a TOML file") from None
    return parse_mapping(found, path)


def parse_mapping(found: object, where: object = "the mapping") -> Mapping:
    """A mapping that is plain values already, by the same keys. Raises ModelError."""
    try:
        return Mapping.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        known = list(_NESTED.get(place[0], Mapping).model_fields) if len(place) > 1 else list(Mapping.model_fields)
        hint = _closest(place[-1], known) if first["type"] == "extra_forbidden" else None
        raise ModelError("The mapping is not valid.", where=f"{where}, {'.'.join(place)}", got=first["msg"], hint=hint) from None


def import_model(model: onnx.ModelProto, mapping: Mapping, folder: Path) -> onnx.ModelProto:
    """A copy with frames, states and logits as the file format wants them, and metadata; tried on noise for a few steps.

    folder: where files that the mapping names lie. Raises ModelError.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: value for value in graph.input if value.name not in weights}
    outputs = {value.name: value for value in graph.output}
    _known(mapping, set(inputs), set(outputs))
    frames, shape = _frames(graph, inputs[mapping.frames.input], mapping)
    logits = _logits(graph, outputs[mapping.logits.output], mapping.logits)
    specs, begins = [], {}
    for state in mapping.states:
        spec = _spec(inputs[state.input], state)
        specs.append(spec)
        if state.begin is not None:
            begins[state.input] = _begin(folder / state.begin, spec)
    values = [frames, *(inputs[spec.input] for spec in specs)]
    if begins:
        values.append(_beginnings(graph, begins))
        specs.append(StateSpec(input=BEGUN, output=f"{BEGUN}.new", shape=(1,)))
    results = [logits, *(helper.make_tensor_value_info(s.output, _onnx_type(s.dtype), s.shape) for s in specs)]
    del graph.input[:]
    del graph.output[:]
    graph.input.extend(values)
    graph.output.extend(results)
    kind: Literal["clip", "step"] = "step" if mapping.states else "clip"
    count = shape[0] if mapping.states else shape[2]
    classes = logits.type.tensor_type.shape.dim[1].dim_value
    metadata = Metadata(
        kind=kind, labels=_labels(mapping.labels, folder, classes), preprocess=mapping.preprocess, frames=count,
        hop=count if kind == "step" else 1, states=tuple(specs), delay=mapping.delay, feature_delay=mapping.delay,
        receptive_field=mapping.delay + 1, provenance=Provenance(model=graph.name or None, tool=f"everyframe {__version__}"),
    )  # fmt: skip
    attach(made, metadata)
    _try(made, metadata, shape)
    return made


def _known(mapping: Mapping, inputs: set[str], outputs: set[str]) -> None:
    """Every name exists, no input is left without a meaning, nothing is named twice."""
    given = [mapping.frames.input, *(state.input for state in mapping.states)]
    taken = [mapping.logits.output, *(state.output for state in mapping.states)]
    for kind, names, there in (("input", given, inputs), ("output", taken, outputs)):
        for name in names:
            if name not in there:
                raise ModelError(f"The network has no such {kind}.", where=f"mapping, {name}", hint=_closest(name, sorted(there)))
            if names.count(name) > 1:
                raise ModelError(f"An {kind} is named twice.", where=f"mapping, {name}")
    if rest := sorted(inputs - set(given)):
        raise ModelError(
            "The mapping does not say what these inputs are.", where=", ".join(rest[:5]), expected="the frames, or a state each",
            got=f"{len(rest)} inputs without a meaning",
        )  # fmt: skip


def _frames(graph: onnx.GraphProto, value: onnx.ValueInfoProto, mapping: Mapping) -> tuple[onnx.ValueInfoProto, tuple[int, ...]]:
    """The input as (T, C, H, W), or (1, C, T, H, W) for a clip network, with nodes that turn it into the network's own layout."""
    layout, shape = mapping.frames.layout, _static(value)
    if sorted(set(layout) | set("NT")) != sorted("NTCHW") or len(set(layout)) != len(layout) or len(layout) != len(shape):
        raise ModelError(
            "The layout does not fit the input.", where=f"mapping, frames, {value.name}",
            expected=f"{len(shape)} letters of NTCHW, C, H and W among them", got=layout,
        )  # fmt: skip
    size = dict.fromkeys("NTCHW", 1) | dict(zip(layout, shape, strict=True))
    if size["N"] != 1 or size["C"] != mapping.preprocess.channels:
        raise ModelError(
            "The network does not take such frames.", where=f"input {value.name}", got=f"{layout} {shape}",
            expected=f"one video at a time, {mapping.preprocess.channels} channels for color {mapping.preprocess.color!r}",
        )  # fmt: skip
    ours = "TCHW" if mapping.states else "NCTHW"
    made = tuple(size[axis] for axis in ours)
    name = f"everyframe.{value.name}"
    inside = "".join(axis for axis in layout if axis in ours)  # the order after the transpose
    order = [ours.index(axis) for axis in inside] + [i for i, axis in enumerate(ours) if axis not in layout]
    graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), f"{name}.shape"))
    nodes = [
        helper.make_node("Transpose", [name], [f"{name}.turned"], f"{name}.turn", perm=order),
        helper.make_node("Reshape", [f"{name}.turned", f"{name}.shape"], [value.name], f"{name}.form"),
    ]
    _in_front(graph, nodes)
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, made), made


def _logits(graph: onnx.GraphProto, value: onnx.ValueInfoProto, logits: Logits) -> onnx.ValueInfoProto:
    """The output as (1, classes)."""
    name, classes = f"everyframe.{value.name}", int(np.prod(_static(value)))
    source = value.name
    if logits.probabilities:
        graph.initializer.append(numpy_helper.from_array(np.array(1e-12, np.float32), f"{name}.least"))
        graph.node.append(helper.make_node("Max", [source, f"{name}.least"], [f"{name}.above"], f"{name}.max"))
        graph.node.append(helper.make_node("Log", [f"{name}.above"], [f"{name}.log"], f"{name}.log"))
        source = f"{name}.log"
    graph.initializer.append(numpy_helper.from_array(np.array([1, classes], np.int64), f"{name}.shape"))
    graph.node.append(helper.make_node("Reshape", [source, f"{name}.shape"], [name], f"{name}.form"))
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, classes))


def _spec(value: onnx.ValueInfoProto, state: State) -> StateSpec:
    kinds: dict[int, str] = {TensorProto.FLOAT: "float32", TensorProto.INT64: "int64"}
    kind = value.type.tensor_type.elem_type
    if kind not in kinds:
        raise ModelError(
            "A state of this type cannot be kept.", where=f"input {state.input}", expected="float32 or int64",
            got=TensorProto.DataType.Name(kind).lower(),
        )  # fmt: skip
    fields: dict[str, Any] = {"dtype": kinds[kind], "shape": _static(value), "fill": state.fill}
    return StateSpec(input=state.input, output=state.output, **fields)


def _begin(path: Path, spec: StateSpec) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ModelError("The values of a state cannot be read.", where=path, got=str(error)) from None
    if array.shape != spec.shape:
        raise ModelError("The values do not have the state's shape.", where=path, expected=spec.shape, got=array.shape)
    return array.astype(spec.dtype)


def _beginnings(graph: onnx.GraphProto, begins: dict[str, np.ndarray]) -> onnx.ValueInfoProto:
    """States that begin with given values: in the first step these take the place of what is fed."""
    nodes = [helper.make_node("Greater", [BEGUN, f"{BEGUN}.zero"], [f"{BEGUN}.later"], f"{BEGUN}.later")]
    graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), f"{BEGUN}.zero"))
    graph.initializer.append(numpy_helper.from_array(np.ones(1, np.float32), f"{BEGUN}.one"))
    for name, array in begins.items():
        for node in graph.node:
            for place, read in enumerate(node.input):
                if read == name:
                    node.input[place] = f"{name}.begun"
        graph.initializer.append(numpy_helper.from_array(array, f"{name}.begin"))
        chosen = [f"{BEGUN}.later", name, f"{name}.begin"]
        nodes.append(helper.make_node("Where", chosen, [f"{name}.begun"], f"{name}.begun"))
    _in_front(graph, nodes)
    graph.node.append(helper.make_node("Max", [BEGUN, f"{BEGUN}.one"], [f"{BEGUN}.new"], f"{BEGUN}.new"))
    return helper.make_tensor_value_info(BEGUN, TensorProto.FLOAT, (1,))


def _in_front(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])


def _labels(given: str | tuple[str, ...] | None, folder: Path, classes: int) -> tuple[str, ...] | None:
    if isinstance(given, str):
        given = read_labels(folder / given)
    if given is not None and len(given) != classes:
        raise ModelError("The label list does not fit the network.", expected=f"{classes} labels", got=len(given))
    return given


def _static(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    shape = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    if 0 in shape:
        raise ModelError(
            "A tensor has no fixed shape.",
            where=value.name,
            got=shape,
            hint="export the network with fixed sizes, one video at a time",
        )
    return shape


def _onnx_type(dtype: str) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _closest(name: str, known: list[str]) -> str:
    return meant(name, known, f"known here: {', '.join(known[:8])}")


def _try(model: onnx.ModelProto, metadata: Metadata, shape: tuple[int, ...]) -> None:
    """Some steps on noise: it runs, every state comes back as it went in, and the logits are numbers."""
    onnx.checker.check_model(model)
    rng, heads = np.random.default_rng(0), [spec.output for spec in metadata.states]
    walk = Walk(model, heads, states=metadata.states)
    (logits,) = walk.answers
    for _ in range(STEPS if metadata.states else 1):
        try:
            found = walk.step(rng.standard_normal(shape).astype(np.float32))
        except EngineError as error:
            raise ModelError("The network does not run like that.", got=error.got) from None
        if not np.isfinite(found[logits]).all():
            raise ModelError("The logits are no numbers.", where=logits, hint="check fill and begin of the states")
        for spec in metadata.states:
            new = found[spec.output]
            if new.shape != spec.shape or new.dtype != spec.dtype:
                raise ModelError(
                    "A state does not come back as it went in.", where=f"{spec.input} -> {spec.output}",
                    expected=f"{spec.shape} {spec.dtype}", got=f"{new.shape} {new.dtype}", hint="pair it with another output",
                )  # fmt: skip
