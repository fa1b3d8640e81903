"""What a model costs: multiply-accumulates, parameters, state and transient memory, layer by layer.

MACs count convolutions and linear layers (one MAC = one multiply and add), as the literature does; padding is counted.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from everyframe import modelfile
from everyframe.conversion.facts import Options, Time
from everyframe.conversion.refusals import following
from everyframe.conversion.work import is_auxiliary, macs_of
from everyframe.modelfile import manifest, saturation
from everyframe.modelfile.ending import ending
from everyframe.modelfile.floats import floats
from everyframe.modelfile.graph import static_shapes
from everyframe.modelfile.schema import Metadata, StateSpec


@dataclass
class LayerAccount:
    """Costs of one layer of the network, all nodes it was written as taken together."""

    name: str
    op: str
    output: tuple[int, ...]
    macs: int = 0
    params: int = 0
    state_floats: int = 0


def layers(model: onnx.ModelProto, metadata: Metadata | None) -> list[LayerAccount]:
    """Layers in graph order; those with neither work, weights nor state are left out."""
    shapes = static_shapes(model)
    weights = {
        t.name: prod(t.dims) for t in model.graph.initializer if t.data_type == TensorProto.FLOAT and not is_auxiliary(t.name)
    }
    dims = {t.name: tuple(t.dims) for t in model.graph.initializer}
    table: dict[str, LayerAccount] = {}
    counted: set[str] = set()
    for node in model.graph.node:
        name = layer_of(node.name or node.output[0])
        row = table.setdefault(name, LayerAccount(name, node.op_type, shapes.get(node.output[0], ())))
        macs = macs_of(node, shapes, dims)
        if macs:
            row.op, row.output = node.op_type, shapes.get(node.output[0], ())
        row.macs += macs
        fresh = [i for i in node.input if i in weights and i not in counted and weights[i] > 1]
        row.params += sum(weights[i] for i in fresh)
        counted.update(fresh)
    for state in metadata.states if metadata else ():
        if state.floats:
            name = state_layer(state)
            row = table.setdefault(name, LayerAccount(name, "", state.shape))
            row.state_floats += prod(state.shape)
    return [row for row in table.values() if row.macs or row.params or row.state_floats]


def layer_of(node_name: str) -> str:
    """'conv_b::tap1#2' -> 'conv_b': the layer a node was made for."""
    return node_name.split("::")[0].split("#")[0]


def state_layer(state: StateSpec) -> str:
    name = state.input.removeprefix("state.").removesuffix(".in").split("#")[0]
    head, _, slot = name.rpartition(".slot")
    return layer_of(head if head and slot.isdigit() else name)


def transient_floats(model: onnx.ModelProto) -> int:
    """Peak of intermediate tensors alive at once, in execution order; inputs, states, weights and outputs are not counted."""
    shapes = static_shapes(model)
    outside = {v.name for v in (*model.graph.input, *model.graph.output)} | {t.name for t in model.graph.initializer}
    last = {name: i for i, node in enumerate(model.graph.node) for name in node.input}
    alive: dict[str, int] = {}
    peak = 0
    for i, node in enumerate(model.graph.node):
        alive.update({name: prod(shapes.get(name, (0,))) for name in node.output if name and name not in outside})
        peak = max(peak, sum(alive.values()))
        for name in [name for name in alive if last.get(name, i) <= i]:
            del alive[name]
    return peak


def info(path: str | os.PathLike[str], options: Options = Options()) -> dict[str, Any]:
    """Everything known about a clip or step model, as plain data (see docs/info.md). Raises ModelError."""
    model = modelfile.load(path)
    metadata = modelfile.metadata_of(model, path)
    plain = floats(model)  # integers change neither times nor work
    with following():
        made = _step_info(plain, metadata) if metadata and metadata.kind == "step" else _clip_info(plain, options)
    return {
        "file": str(path),
        **made,
        "saturation": saturation_of(model),
        "labels": list(metadata.labels) if metadata and metadata.labels else None,
        "grid": metadata.grid.model_dump() if metadata and metadata.grid else None,
        "provenance": metadata.provenance.model_dump() if metadata else None,
    }


def saturation_of(*models: onnx.ModelProto) -> dict[str, Any] | None:
    """Can sums of products of a quantized model, or of its parts, be cut off at 16 bits, in which layers and on which engines,
    and does this processor do it? None for a float model.
    """
    if not any(saturation.quantized(model) for model in models):
        return None
    return {
        "layers": [{"name": row.name, "engines": list(row.engines)} for model in models for row in saturation.layers(model)],
        "this_processor": saturation.here(),
    }


def info_split(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What `everyframe info` says about a split model: its parts, what flows between them, and the work of each."""
    found = manifest.read(folder)
    return {"folder": str(folder), **split_facts(found, manifest.read_parts(folder, found))}


def split_facts(found: manifest.Manifest, models: Sequence[onnx.ModelProto]) -> dict[str, Any]:
    """The same of a split model in memory: its manifest, and the parts that it names."""
    parts = []
    for part, model in zip(found.parts, models, strict=True):
        macs, params, _ = _totals(layers(floats(model), None))
        parts.append({
            "file": part.file, "place": part.place, "macs": macs, "params": params,
            "inputs": [{"role": found.role(port), **port.model_dump(mode="json")} for port in part.inputs],
            "outputs": [port.model_dump(mode="json") for port in part.outputs],
        })  # fmt: skip
    states = [
        spec.model_dump(mode="json", include={"input", "output", "shape", "dtype", "fill"}) for spec in found.metadata.states
    ]
    return {
        "kind": "split", "stages": len(found.stages), "parts": parts, "hop": found.metadata.hop,
        "states": states, "state_bytes": sum(spec.bytes for spec in found.metadata.states),
        "saturation": saturation_of(*models),
    }  # fmt: skip


def _totals(rows: Iterable[LayerAccount]) -> tuple[int, int, int]:
    rows = list(rows)
    return sum(r.macs for r in rows), sum(r.params for r in rows), sum(r.state_floats for r in rows)


def _step_info(model: onnx.ModelProto, metadata: Metadata) -> dict[str, Any]:
    rows = layers(model, metadata)
    macs, params, state = _totals(rows)
    told = ending(model, "logits", metadata)
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in model.graph.output}
    return {
        "kind": "step",
        "output": shapes.get("logits"),
        "task": told.task,
        "scores": told.scores,
        "outputs": [spec.model_dump() for spec in metadata.outputs],
        "inputs": [spec.model_dump() for spec in metadata.inputs],
        "frames": metadata.frames,
        "hop": metadata.hop,
        "rate": metadata.rate,
        "se": metadata.se,
        "taps": metadata.taps,
        "input": [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim],
        "delay_frames": metadata.delay,
        "feature_delay_frames": metadata.feature_delay,
        "receptive_field_frames": None if metadata.unbounded else metadata.receptive_field,
        "unbounded": metadata.unbounded,
        "window_frames": metadata.window,
        "delay_ms": _ms(metadata.delay, metadata),
        "feature_delay_ms": _ms(metadata.feature_delay, metadata),
        "macs_per_step": macs,
        "macs_per_frame": macs / metadata.hop,
        "params": params,
        "state_floats": state,
        "transient_floats": transient_floats(model),
        "states": [s.model_dump() for s in metadata.states],
        "layers": [row.__dict__ | {"output": list(row.output)} for row in rows],
        "published": compare(metadata.states),
    }


def _clip_info(model: onnx.ModelProto, options: Options) -> dict[str, Any]:
    from everyframe.conversion.step import convert, prepare

    metadata = modelfile.metadata_of(model)
    prepared = prepare(model, options)
    clip, facts, notes = prepared.clip, prepared.facts, prepared.notes
    made = convert(model, options)  # delay and receptive field as the step network will have them
    macs, params, _ = _totals(layers(clip, None))
    wires = [
        {
            "tensor": name,
            "op": node.op,
            "layer": node.label,
            "shape": list(fact.clip_shape),
            "every": _number(fact.every),
            "delay": _number(fact.delay),
            "lag": fact.lag,
            "spacing": _number(fact.spacing),
            "left": _number(fact.left),
            "right": _number(fact.right),
        }
        for node in facts.graph.nodes
        for name in node.outputs
        if (fact := facts.get(name))
    ]
    step_macs, _, state = _totals(layers(made.step, made.metadata))
    return {
        "kind": "clip",
        "frames": facts.length,
        "input": list(facts.graph.shapes[facts.clock]),
        "inputs": {name: list(facts.graph.shapes[name]) for name in facts.graph.inputs},
        "hop": facts.hop,
        "delay_frames": made.metadata.delay,
        "feature_delay_frames": made.metadata.feature_delay,
        "receptive_field_frames": None if made.metadata.unbounded else made.metadata.receptive_field,
        "unbounded": made.metadata.unbounded,
        "window_frames": made.metadata.window,
        "delay_ms": _ms(made.metadata.delay, metadata),
        "feature_delay_ms": _ms(made.metadata.feature_delay, metadata),
        "macs_per_clip": macs,
        "params": params,
        "transient_floats": transient_floats(clip),
        "streamed": {"macs_per_step": step_macs, "macs_per_frame": step_macs / facts.hop, "state_floats": state},
        "tensors": wires,
        "notes": notes,
    }


def _number(time: Time) -> int | float:
    return time if isinstance(time, int) else float(time)


def _ms(frames: int, metadata: Metadata | None) -> float | None:
    """Frames of the model's own rate in milliseconds; None if the model does not fix a rate."""
    fps = metadata.preprocess.fps if metadata else None
    return None if fps is None else frames * 1000 / fps


def compare(states: Iterable[StateSpec]) -> dict[str, Any] | None:
    """Our states beside a published table, where one describes exactly this network (all states find a row); else None."""
    by_shape: dict[tuple[int, ...], dict[str, int]] = {}
    for state in states:
        if state.floats:
            layer = state_layer(state)
            group = by_shape.setdefault(state.shape[1:], {})
            group[layer] = group.get(layer, 0) + prod(state.shape)
    for file in resources.files(__package__).joinpath("published").iterdir():
        if not file.name.endswith(".toml"):
            continue
        table = tomllib.loads(file.read_text())
        rows, used = [], 0
        for row in table["rows"]:
            values = list(by_shape.get(tuple(row["shape"]), {}).values())[row.get("first", 1) - 1 : row.get("last")]
            used += len(values)
            rows.append(
                {
                    "label": row["label"],
                    "printed": row["printed"],
                    "formula": row["formula"],
                    "ours": int(np.sum(values, dtype=np.int64)),
                    "wrong": row["printed"] != row["formula"],
                }
            )
        if all(row["ours"] for row in rows) and used == sum(map(len, by_shape.values())):
            return {
                "name": table["name"],
                "source": table["source"],
                "rows": rows,
                "printed_total": table["printed_total"],
                "formula_total": sum(r["formula"] for r in rows),
                "ours_total": sum(r["ours"] for r in rows),
                "notes": table["notes"],
            }
    return None
