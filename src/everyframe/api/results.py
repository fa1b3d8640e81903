"""What the functions give: each can be saved, becomes plain values, and shows itself in a notebook. Here the networks themselves;
`fitted` and `bundled` are apart, because they begin with all that makes a model fit, which nobody waits for who needs none of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from everyframe import modelfile
from everyframe.conversion.account import layers
from everyframe.conversion.step import Conversion
from everyframe.files import write_bytes
from everyframe.modelfile.schema import Metadata
from everyframe.models.to_onnx import Exported

if TYPE_CHECKING:
    from everyframe.api.given import File


def table(title: str, rows: Iterable[Sequence[object]], heading: Sequence[str] = ()) -> str:
    """An HTML table. All text is escaped: names come from models and files of others."""
    head = f"<tr>{''.join(f'<th>{escape(name)}</th>' for name in heading)}</tr>" if heading else ""
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><caption>{escape(title)}</caption>{head}{body}</table>"


def save_json(found: object, path: File) -> Path:
    """Raises OutputError."""
    return write_bytes((json.dumps(found, indent=1) + "\n").encode(), path)


class Converted(Conversion):
    """A step network and what was decided on the way. model: the step network. difference: the largest relative one (L2) to
    the clip network over a stream.
    """

    @property
    def model(self) -> onnx.ModelProto:
        return self.step

    def save(self, path: File) -> Path:
        """Writes the step network. Raises OutputError."""
        return modelfile.save(self.step, path)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; keys name their units."""
        meta = self.metadata
        clip_macs = sum(row.macs for row in layers(self.clip, None))
        step_macs = sum(row.macs for row in layers(self.step, meta))
        per_hop = clip_macs / max(step_macs, 1)  # a network without convolutions has nothing to save
        return {
            "hop": meta.hop, "frames": meta.frames, "feature_delay_frames": meta.feature_delay, "delay_frames": meta.delay,
            "receptive_field_frames": None if meta.unbounded else meta.receptive_field, "unbounded": meta.unbounded,
            "window_frames": meta.window,
            "state_floats": sum(prod(spec.shape) for spec in meta.states if spec.floats),
            "state_bytes": sum(spec.bytes for spec in meta.states),
            "macs_per_clip": clip_macs, "macs_per_step": step_macs, "macs_per_frame": step_macs / meta.hop,
            "saving_per_frame": per_hop * meta.hop, "saving_per_hop": per_hop, "difference": self.difference,
            "state_difference": self.state_difference, "notes": self.notes,
            "task": meta.task, "scores": meta.scores, "outputs": [spec.model_dump() for spec in meta.outputs],
            "assumed": list(self.assumed),
        }  # fmt: skip

    def _repr_html_(self) -> str:
        return table("step network", self.to_dict().items())


class Info(dict[str, Any]):
    """What `info` found, as plain values by name (docs/info.md explains each)."""

    def save(self, path: File) -> Path:
        """Writes it as JSON. Raises OutputError."""
        return save_json(self, path)

    def to_dict(self) -> dict[str, Any]:
        return dict(self)

    def _repr_html_(self) -> str:
        plain = {name: value for name, value in self.items() if not isinstance(value, list | dict)}
        rows = [(row["name"], row["op"], row["macs"], row["params"]) for row in self.get("layers", ())]
        layered = table("layers", rows, ("layer", "operator", "MACs", "parameters")) if rows else ""
        return table(str(self.get("file", self.get("folder", "model"))), plain.items()) + layered


class ClipModel(Exported):
    """A clip model that was exported. difference: the worst relative one (L2) between torch and onnxruntime."""

    def save(self, path: File) -> Path:
        """Writes the model. Raises OutputError."""
        return modelfile.save(self.model, path)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; input is (1, C, T, H, W)."""
        provenance = self.metadata.provenance
        return {
            "path": str(self.path) if self.path else None, "model": provenance.model, "input": list(self.input_shape),
            "classes": self.classes, "nodes": self.nodes, "difference": self.difference,
            "weights_sha256": provenance.weights_sha256, "notes": list(self.notes),
        }  # fmt: skip

    def _repr_html_(self) -> str:
        return table("clip network", self.to_dict().items())


@dataclass(frozen=True)
class Imported:
    """A network of others with our metadata. path: where it was written, if it was."""

    model: onnx.ModelProto
    metadata: Metadata
    path: Path | None = None

    def save(self, path: File) -> Path:
        """Writes the model. Raises OutputError."""
        return modelfile.save(self.model, path)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: where it is, what it is, how many states and labels; all else is in `metadata`."""
        metadata = self.metadata
        return {
            "output": str(self.path) if self.path else None, "kind": metadata.kind, "states": len(metadata.states),
            "labels": len(metadata.labels or ()),
        }  # fmt: skip

    def _repr_html_(self) -> str:
        return table(f"{self.metadata.kind} network", self.to_dict().items())
