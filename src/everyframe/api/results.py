"""What the functions give: each can be saved, becomes plain values, and shows itself in a notebook."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from everyframe import modelfile
from everyframe.bundles.make import Bundle, replace
from everyframe.bundles.make import check as check_bundle
from everyframe.conversion.account import layers, split_facts
from everyframe.conversion.step import Conversion
from everyframe.devices.profile import load_profile
from everyframe.devices.prove import Proof
from everyframe.devices.repair import RepairPlan
from everyframe.errors import EveryframeError, OutputError, UsageError
from everyframe.files import write_bytes
from everyframe.modelfile.manifest import Manifest
from everyframe.modelfile.schema import Metadata
from everyframe.models.to_onnx import Exported
from everyframe.native.compile import Compiled
from everyframe.quantization import quantize, report
from everyframe.splitting.cut import Cut, write

if TYPE_CHECKING:
    from everyframe.api.given import File, Kept


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
            "state_floats": sum(prod(spec.shape) for spec in meta.states if spec.dtype == "float32"),
            "macs_per_clip": clip_macs, "macs_per_step": step_macs, "macs_per_frame": step_macs / meta.hop,
            "saving_per_frame": per_hop * meta.hop, "saving_per_hop": per_hop, "difference": self.difference, "notes": self.notes,
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


@dataclass(frozen=True)
class Checked:
    """A model beside a device. plan: the findings, the rewrites that mend them, and what then remains."""

    target: str
    plan: RepairPlan

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
    difference. fits: nothing remains. path: where it was written, if it was.
    """

    proofs: tuple[Proof, ...] = ()
    path: Path | None = None

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
        """Plain values for JSON: what was found, and in `fixed` what became of it."""
        fixed = {
            "file": str(self.path) if self.path else None, "host": self.plan.after.host,
            "proofs": [vars(proof) for proof in self.proofs],
        }  # fmt: skip
        return {**super().to_dict(), "fixed": fixed}


class Quantized(quantize.Quantized):
    """A model in integers, and what that costs layer by layer."""

    def save(self, path: File) -> Path:
        """Writes the model. Raises OutputError."""
        return modelfile.save(self.model, path)

    def save_report(self, folder: File, name: str = "model") -> list[Path]:
        """Writes all figures (quantized.json) and a picture. name: how the model is called there. Raises OutputError."""
        return report.write_report(Path(folder), self, name)

    def _repr_html_(self) -> str:
        rows = [(row.name, row.op, row.precision, f"{row.cosine:.5f}", f"{row.sqnr_db:.1f}") for row in self.comparison.layers]
        return table(self.verdict, rows, ("layer", "operator", "in", "cosine", "SQNR dB"))


@dataclass(frozen=True)
class Split:
    """A step model in parts: the manifest says how tensors and states flow between them. difference: the largest relative one
    (L2) to the whole model, as they are run. path: the folder that was written, if one was. samples: steps that were kept there
    for calibration, if any were asked for. broken: why videos for them could not be read to their end.
    """

    manifest: Manifest
    models: list[onnx.ModelProto]
    difference: float
    path: Path | None = None
    samples: int | None = None
    broken: tuple[EveryframeError, ...] = ()

    def save(self, folder: File) -> Path:
        """Writes one ONNX file a part and the manifest; `open` takes the folder. Raises OutputError."""
        write(Cut(self.manifest, self.models), Path(folder))
        return Path(folder)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: what `info` says of the folder."""
        found = split_facts(self.manifest, self.models)
        kept = {} if self.samples is None else {"samples": self.samples, "left_out": [str(error) for error in self.broken]}
        return {"folder": str(self.path) if self.path else None, **found, "difference": self.difference, **kept}

    def _repr_html_(self) -> str:
        rows = [(part["file"], part["place"], part["macs"], part["params"]) for part in self.to_dict()["parts"]]
        return table(f"{len(self.manifest.stages)} stages", rows, ("part", "runs on", "MACs", "parameters"))


@dataclass(frozen=True)
class Code(Compiled):
    """A model as a library. code: its bytes; None where only C was asked for."""

    code: bytes | None = None

    def save(self, path: File) -> Path:
        """Writes the library. Raises OutputError, and UsageError where there is none."""
        if self.code is None:
            raise UsageError("Only C was asked for.", where="emit_c", hint="compile without emit_c, or with an output as well")
        return write_bytes(self.code, path)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; memory in bytes."""
        return {
            "files": [str(file) for file in self.files], "cpu": self.target.name, "difference": self.difference,
            "macs": self.macs, "weights_kept": round(self.weights, 4), "memory_bytes": self.memory_bytes,
            "weight_bytes": self.weight_bytes, "memory": self.memory,
            "convolutions": [{"name": name, "choice": str(choice)} for name, choice in self.chosen],
            "measured": [row.facts for row in self.rows],
        }  # fmt: skip

    def _repr_html_(self) -> str:
        return table(
            f"library for {self.target.name}",
            [(k, v) for k, v in self.to_dict().items() if k not in ("memory", "convolutions", "measured")],
        )


@dataclass(frozen=True)
class Bundled(Bundle):
    """A folder for a board. held: keeps it while the result lives, where no folder was named."""

    held: Kept | None = field(default=None, repr=False)

    def save(self, folder: File) -> Path:
        """Copies the folder, whole or not at all. Raises OutputError, UsageError."""
        there = Path(folder)
        check_bundle(there, self.target)
        try:
            with tempfile.TemporaryDirectory(dir=there.parent, prefix=f".{there.name}.") as beside:
                replace(Path(shutil.copytree(self.path, Path(beside) / "bundle")), there)
        except OSError as error:
            raise OutputError("The bundle cannot be written.", where=there, got=error.strerror or str(error)) from None
        return there

    def _repr_html_(self) -> str:
        return table(f"bundle for {self.target}", self.to_dict().items())
