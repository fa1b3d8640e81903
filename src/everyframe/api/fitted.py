"""What is made of a model for a device: findings, integers, parts, compiled code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from everyframe import modelfile
from everyframe.api.results import save_json, table
from everyframe.conversion.account import split_facts
from everyframe.devices.profile import load_profile
from everyframe.devices.prove import Proof
from everyframe.devices.repair import RepairPlan
from everyframe.errors import EveryframeError, UsageError
from everyframe.files import write_bytes
from everyframe.modelfile.manifest import Manifest
from everyframe.native.compile import Compiled
from everyframe.quantization import quantize, report
from everyframe.splitting.cut import Cut, write

if TYPE_CHECKING:
    from everyframe.api.given import File


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
            "weight_bytes": self.weight_bytes, "weights_of_16_bits": self.halved, "memory": self.memory,
            "convolutions": [{"name": name, "choice": str(choice)} for name, choice in self.chosen],
            "measured": [row.facts for row in self.rows],
        }  # fmt: skip

    def _repr_html_(self) -> str:
        return table(
            f"library for {self.target.name}",
            [(k, v) for k, v in self.to_dict().items() if k not in ("memory", "convolutions", "measured")],
        )
