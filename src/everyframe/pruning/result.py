"""What a pruning led to: figures, the report's part, the text on the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everyframe.evaluation.page import Section
from everyframe.files import write_bytes
from everyframe.pruning import draw
from everyframe.pruning.mask import Mask
from everyframe.training import finish

#: moment of a pruning -> how it is said
MOMENTS = {"dense": "dense", "regularized": "regularized", "pruned": "after the hard prune", "retrained": "retrained"}
PICTURES = 12  # layers whose pattern is drawn, the costliest


@dataclass(frozen=True)
class Record:
    """`pruning.json` of the run folder: what was measured on the way, and what is left. Written anew with all that it learns."""

    path: Path

    def read(self) -> dict[str, Any]:
        return json.loads(self.path.read_text("utf-8")) if self.path.is_file() else {"accuracy": {}, "done": []}

    def accuracy(self, moment: str, row: Mapping[str, Any]) -> None:
        """row: of an epoch, or its figures over the middle clips of the validation videos."""
        found = self.read()
        found["accuracy"][moment] = {"loss": row["validation_loss"], "top1": row["top1"], "top5": row["top5"]}
        self._write(found)

    def done(self, stage: str) -> None:
        found = self.read()
        self._write({**found, "done": [*found["done"], stage]})

    def left(self, values: Mapping[str, object]) -> None:
        self._write({**self.read(), **values})

    def _write(self, found: dict[str, Any]) -> None:
        write_bytes((json.dumps(found, indent=1) + "\n").encode(), self.path)


@dataclass(frozen=True)
class Result:
    """ended: no stage was interrupted; figures: as in `pruning.json`; finished: the model, where it came so far."""

    path: Path
    ended: bool
    figures: Mapping[str, Any]
    finished: finish.Result | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "run": str(self.path), "ended": self.ended, **self.figures,
            "finished": self.finished.to_dict() if self.finished else None,
        }  # fmt: skip

    def text(self) -> str:
        lines = []
        if "macs" in self.figures:
            lines.append(share(self.figures))
        if said := accuracies(self.figures):
            lines.append(f"validation clips right: {said}")
        if self.finished is not None:
            lines.append(self.finished.text())
        if not self.ended:
            lines.append(f"interrupted; everyframe prune -o {self.path} --resume goes on")
        return "\n".join(lines)


def share(figures: Mapping[str, Any]) -> str:
    f = figures
    return (
        f"{f['rate']:.2f} times fewer MACs ({f['pattern']}): {f['macs_left'] / 1e9:.3g} of {f['macs'] / 1e9:.3g} G a clip, "
        f"{f['params_left'] / f['params']:.1%} of the weights"
    )


def accuracies(figures: Mapping[str, Any]) -> str:
    top1 = {moment: values["top1"] for moment, values in figures["accuracy"].items()}
    return ", ".join(f"{said} {top1[moment]:.1%}" for moment, said in MOMENTS.items() if top1.get(moment) is not None)


def section(figures: Mapping[str, Any], mask: Mask, norms: bytes) -> Section:
    """The report's part about pruning."""
    rows = [_row(row) for row in figures["layers"]]
    text = [share(figures) + "."]
    if said := accuracies(figures):
        text.append(f"Validation clips right: {said}.")
    costliest = sorted(figures["layers"], key=lambda row: -row["macs"])[:PICTURES]
    drawn = {f"pattern_{row['layer']}.png": draw.pattern(mask, row["layer"]) for row in costliest}
    heading = ("layer", "weight", "units kept", "", "MMACs", "left", "kept in a group")
    return Section("Pruning", text, heading, rows, {"norms.png": norms, **drawn})


def _row(layer: Mapping[str, Any]) -> list[str]:
    kept, units = layer["kept"], layer["units"]
    weight = " x ".join(map(str, layer["weight"]))
    in_a_group = f"{layer['fewest_in_a_group']} to {layer['most_in_a_group']}"
    macs = [f"{layer[key] / 1e6:.4g}" for key in ("macs", "macs_left")]
    return [layer["layer"], weight, f"{kept} of {units}", f"{kept / units:.1%}", *macs, in_a_group]
