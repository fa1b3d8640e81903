"""What the functions give: each can be saved, becomes plain values, and shows itself in a notebook."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from everyframe import modelfile
from everyframe.conversion.account import layers
from everyframe.conversion.step import Conversion
from everyframe.devices.profile import load_profile
from everyframe.devices.prove import Proof
from everyframe.devices.repair import Plan
from everyframe.files import write_bytes

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
            "receptive_field_frames": meta.receptive_field, "window_frames": meta.window,
            "state_floats": sum(prod(spec.shape) for spec in meta.states if spec.dtype == "float32"),
            "macs_per_clip": clip_macs, "macs_per_step": step_macs, "macs_per_frame": step_macs / meta.hop,
            "saving_per_frame": per_hop * meta.hop, "saving_per_hop": per_hop, "difference": self.difference, "notes": self.notes,
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


@dataclass(frozen=True)
class Checked:
    """A model beside a device. plan: the findings, the rewrites that mend them, and what then remains."""

    target: str
    plan: Plan

    @property
    def fits(self) -> bool:
        return self.plan.before.fits

    @property
    def verdict(self) -> str:
        """`fits`, `needs a fix` or `does not fit`."""
        return self.plan.verdict

    def save(self, path: File) -> Path:
        """Writes the findings as JSON. Raises OutputError."""
        return save_json(self.to_dict(), path)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plan = self.plan
        return {
            "target": self.target, "verdict": plan.verdict, "nodes": plan.before.nodes, "host": plan.before.host,
            "findings": [vars(finding) for finding in plan.before.findings],
            "rewrites": [vars(applied) for applied in plan.applied],
            "remains": [vars(finding) for finding in plan.after.findings], "notes": plan.notes,
        }  # fmt: skip

    def _repr_html_(self) -> str:
        rows = [(f.op, f.node, f.why, f.mend or "nothing", f.origin) for f in self.plan.before.findings]
        heading = ("operator", "node", "what does not fit", "mended by", "source") if rows else ()
        return table(f"{load_profile(self.target).title}: {self.verdict}", rows, heading)


@dataclass(frozen=True)
class Fit(Checked):
    """A model that was made to fit. proofs: on what it gives the answers of the model before, and the largest relative
    difference. fits: nothing remains.
    """

    proofs: tuple[Proof, ...] = ()

    @property
    def model(self) -> onnx.ModelProto:
        return self.plan.model

    @property
    def fits(self) -> bool:
        return self.plan.after.fits

    def save(self, path: File) -> Path:
        """Writes the model. Raises OutputError."""
        return modelfile.save(self.model, path)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**super().to_dict(), "proofs": [vars(proof) for proof in self.proofs]}


def fields_of(made: object) -> Mapping[str, Any]:
    """Of a room's own result, for the class here that adds to it."""
    return dict(vars(made))
