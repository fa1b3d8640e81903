"""From labels to parts: each an ONNX model, with what it reads from others as inputs and what others read as outputs."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import helper

from everyframe.errors import ConversionMismatch, ModelError, OutputError
from everyframe.files import check_folder, write_bytes
from everyframe.modelfile.file import attach, load, metadata_of, save
from everyframe.modelfile.interface import check_pictures, interface, one_kind
from everyframe.modelfile.manifest import NAME, Manifest, Part, Port, read
from everyframe.modelfile.noise import noise
from everyframe.modelfile.schema import Metadata, Provenance
from everyframe.modelfile.session import run_all
from everyframe.modelfile.walk import Walk
from everyframe.runtime.pipeline import PipelineSession, SerialRun
from everyframe.splitting.label import Flow, Label

#: where samples for the stages lie, below the folder of the parts
FOLDER = "calibration"
#: largest relative distance (L2) between the pipeline and the whole, as they are run
TOLERANCE = 1e-4
STEPS = 4


@dataclass(frozen=True)
class Cut:
    manifest: Manifest
    models: list[onnx.ModelProto]


def open_step(path: str | os.PathLike[str], videos: bool = False) -> Flow:
    """The graph of a step model. videos: they are to be run through it. Raises ModelError for any other file."""
    model = load(path)
    metadata = metadata_of(model, path)
    if metadata is None or metadata.kind != "step":
        raise ModelError(
            "Only a step model can be split.", where=path, expected="a file written by `everyframe stream`",
            got="no everyframe metadata" if metadata is None else f"a {metadata.kind} model",
            hint="run `everyframe stream CLIP.onnx` on it",
        )  # fmt: skip
    if any(node.op_type == "Constant" for node in model.graph.node):
        model = _as_weights(model)
    model = _with_copies(model, metadata)
    taken = one_kind(interface(model, metadata, path), path, "only one with a single one can be split")
    if videos:
        check_pictures(taken, path)
    return Flow(model, metadata)


def cut(flow: Flow, labels: Sequence[Label]) -> Cut:
    """The parts, in the order in which they run."""
    ports = _ports(flow)
    outputs = {value.name for value in flow.model.graph.output}
    made, models = [], []
    for label in sorted(set(labels)):
        own = {i for i, each in enumerate(labels) if each == label}
        elsewhere = {name for i in set(range(len(labels))) - own for name in flow.reads[i]}
        inside = {name for i in own for name in flow.nodes[i].output}
        inputs = list(dict.fromkeys(name for i in sorted(own) for name in flow.reads[i] if name in ports and name not in inside))
        given = [name for i in sorted(own) for name in flow.nodes[i].output if name in outputs or name in elsewhere]
        place: Literal["stage", "host"] = "stage" if label[1] else "host"
        model = _part(flow, own, [ports[name] for name in inputs], [ports[name] for name in given])
        models.append(model)
        made.append(
            Part(
                file=f"{place}_{label[0]:02d}.onnx", place=place, sha256=hashlib.sha256(model.SerializeToString()).hexdigest(),
                inputs=tuple(ports[name] for name in inputs), outputs=tuple(ports[name] for name in given),
            )
        )  # fmt: skip
    frames, logits = ports[flow.frames], ports[flow.logits]
    return Cut(Manifest(metadata=flow.metadata, frames=frames, logits=logits, parts=tuple(made)), models)


def check(flow: Flow, made: Cut, where: object) -> float:
    """Runs whole and parts over noise, node by node: they must agree in every bit. Returns the largest relative difference (L2)
    as `predict` runs them, where layouts and operators fused across a cut change the rounding. Raises ConversionMismatch.
    """
    for optimize, most in ((False, 0.0), (True, TOLERANCE)):
        found = _distance(flow, made, optimize)
        if not found <= most:
            raise ConversionMismatch(
                "The parts do not say what the whole model says, so nothing was written.", where=where,
                expected=f"a relative difference up to {most:g}", got=f"{found:.2g}",
            )  # fmt: skip
    return found


def _distance(flow: Flow, made: Cut, optimize: bool) -> float:
    states = flow.metadata.states
    walk = Walk(flow.model, states=states, how="fast" if optimize else "plain", threads=1)
    run = SerialRun(PipelineSession(made.manifest, made.models, threads=1, optimize=optimize))
    worst, rng = 0.0, np.random.default_rng(0)
    for _ in range(STEPS):
        frames = noise(made.manifest.frames.shape, made.manifest.frames.dtype, rng)
        wanted = walk.step(frames)
        pairs = [(run.step(frames), wanted[flow.logits])]
        pairs += [(run.others[spec.name], wanted[spec.name]) for spec in flow.metadata.outputs]
        pairs += [(run.state[spec.input], walk.states[spec.input]) for spec in states]
        for got, value in pairs:
            if not np.array_equal(got, value, equal_nan=True):
                worst = max(worst, float(np.linalg.norm(got - value)) / max(float(np.linalg.norm(value)), 1e-30))
    return worst


def check_output(folder: Path) -> None:
    """Raises OutputError for a folder that holds something else, before the long work."""
    check_folder(folder, NAME, "parts")


def write(made: Cut, folder: Path, fill: Callable[[Path], None] = lambda _: None) -> list[Path]:
    """The folder, whole or not at all; the parts of an earlier split and its samples are replaced. fill: adds samples for the
    parts, which lie in the folder that it is given. Raises OutputError.
    """
    check_output(folder)
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as beside:
            fresh = Path(beside)
            for part, model in zip(made.manifest.parts, made.models, strict=True):
                save(model, fresh / part.file)
            write_bytes(made.manifest.model_dump_json(indent=1).encode(), fresh / NAME)
            fill(fresh)
            old = [part.file for part in read(folder).parts] if (folder / NAME).exists() else []
            folder.mkdir(exist_ok=True)
            for name in old:
                (folder / name).unlink(missing_ok=True)
            shutil.rmtree(folder / FOLDER, ignore_errors=True)
            # the manifest last: it makes the folder valid
            for file in [*sorted(fresh.glob("*.onnx")), *fresh.glob(FOLDER), fresh / NAME]:
                file.replace(folder / file.name)
    except OSError as error:
        raise OutputError(
            "The parts cannot be written.", where=folder, got=error.strerror or str(error), hint="choose a writable folder"
        ) from None
    return [folder / name for name in (NAME, *(part.file for part in made.manifest.parts))]


def _part(flow: Flow, own: set[int], inputs: list[Port], outputs: list[Port]) -> onnx.ModelProto:
    """Its nodes in the order of the whole, with a DequantizeLinear of its own for each one it reads."""
    read = {name for i in own for name in flow.nodes[i].input}
    names = {flow.nodes[i].output[0] for i in own}
    nodes = [n for n in flow.model.graph.node if n.output[0] in names or (n.output[0] in flow.integers and n.output[0] in read)]
    wanted = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes, "part", [_value(port) for port in inputs], [_value(port) for port in outputs],
        [tensor for tensor in flow.model.graph.initializer if tensor.name in wanted],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=list(flow.model.opset_import), ir_version=flow.model.ir_version)
    metadata = flow.metadata
    provenance = Provenance(model=metadata.provenance.model, tool=metadata.provenance.tool)
    return attach(made, Metadata(kind="stage", frames=metadata.frames, hop=metadata.hop, provenance=provenance))


def _ports(flow: Flow) -> dict[str, Port]:
    """Every tensor that could go from part to part, with the shape and type it has when the model runs."""
    rng = np.random.default_rng(0)
    feeds = {port.name: noise(port.shape, port.dtype, rng) for port in flow.inputs()}
    arrays = feeds | run_all(flow.model, feeds)
    return {name: Port(name=name, shape=array.shape, dtype=array.dtype.name) for name, array in arrays.items()}


def _value(port: Port) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(port.name, helper.np_dtype_to_tensor_dtype(np.dtype(port.dtype)), port.shape)


def _as_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Constant nodes as initializers: a part takes along what it needs."""
    lean = onnx.ModelProto()
    lean.CopyFrom(model)
    for i in reversed(range(len(lean.graph.node))):
        node = lean.graph.node[i]
        if node.op_type == "Constant":
            (value,) = [a.t for a in node.attribute if a.name == "value"] or [onnx.numpy_helper.from_array(_scalar(node))]
            lean.graph.initializer.add().CopyFrom(value)
            lean.graph.initializer[-1].name = node.output[0]
            del lean.graph.node[i]
    return lean


def _with_copies(model: onnx.ModelProto, metadata: Metadata) -> onnx.ModelProto:
    """With the outputs that only repeat a state, which a model may leave to its host: here some part makes each of them."""
    given = {value.name for value in model.graph.output}
    missing = [(spec, spec.copy_of) for spec in metadata.states if spec.output not in given and spec.copy_of is not None]
    if not missing:
        return model
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    for spec, copied in missing:
        whole.graph.node.append(helper.make_node("Identity", [copied], [spec.output]))
        whole.graph.output.append(_value(Port(name=spec.output, shape=spec.shape, dtype=spec.dtype)))
    return whole


def _scalar(node: onnx.NodeProto) -> np.ndarray:
    """What a Constant says by an attribute of numbers."""
    (attribute,) = node.attribute
    value = helper.get_attribute_value(attribute)
    return np.asarray(value, np.float32 if "float" in attribute.name else np.int64)
