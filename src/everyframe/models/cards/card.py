"""Cards: what is known about a network of the zoo, published and measured, without torch.

measured.json is written by `make zoo`; figures.toml holds published figures with their source.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any

from everyframe.models.checkpoints.published import published
from everyframe.models.registry import Entry, describe

FILE = "measured.json"


@dataclass(frozen=True)
class Streamed:
    """A network as a step network, at its published clip shape; delays and the receptive field in frames (None: everything since
    the reset).

    feature_delay: age of the newest frame that a prediction has fully seen. delay: until the window is full.
    """

    hop: int
    feature_delay: int
    delay: int
    receptive_field: int | None
    state_floats: int
    macs_per_step: int

    @property
    def macs_per_frame(self) -> float:
        return self.macs_per_step / self.hop


@dataclass(frozen=True)
class Measured:
    """macs: multiply-accumulates of convolutions and linear layers for one clip. paper_flops: see thop.py.

    native: a prediction every hop frames. dense: a prediction at every frame; None where that cannot be converted.
    golden: the reference case and the relative L2 difference to the original implementation, where there is one.
    library: (T, height = width, our state in floats, that of continual-inference) at the clip shape at which the latter
        was measured.
    """

    params: int
    macs: int
    paper_flops: int
    native: Streamed
    dense: Streamed | None
    golden: tuple[str, float] | None = None
    library: tuple[int, int, int, int] | None = None

    @property
    def saving_per_hop(self) -> float:
        """A clip run every hop frames, over a step: the same predictions at the same times."""
        return self.macs / self.native.macs_per_step

    @property
    def saving_per_frame(self) -> float | None:
        """A clip run at every frame, over a step of the network that predicts at every frame."""
        return self.macs / self.dense.macs_per_step if self.dense else None

    def rates(self) -> dict[str, dict[str, Any] | None]:
        """What streaming costs at each rate, as plain data."""
        pairs = {"native": (self.native, self.saving_per_hop), "dense": (self.dense, self.saving_per_frame)}
        return {
            rate: {**asdict(streamed), "macs_per_frame": streamed.macs_per_frame, "saving": saving} if streamed else None
            for rate, (streamed, saving) in pairs.items()
        }


@dataclass(frozen=True)
class Figure:
    """A published figure. what: such as "top-1"; on: the data set or device; protocol: how it was measured."""

    what: str
    value: float
    on: str
    source: str
    protocol: str = ""


@dataclass(frozen=True)
class Card:
    entry: Entry
    measured: Measured | None  # None for widths that are not in the table
    figures: tuple[Figure, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data."""
        entry, measured = self.entry, self.measured
        height, width = entry.size
        return {
            "name": entry.name,
            "input": f"{entry.preprocess.channels}x{entry.frames}x{height}x{width}",
            "classes": entry.num_classes,
            "parameters": measured.params if measured else None,
            "macs_per_clip": measured.macs if measured else None,
            "paper_flops": measured.paper_flops if measured else None,
            "streamed": measured.rates() if measured else None,
            "golden": dict(zip(("case", "difference"), measured.golden, strict=True)) if measured and measured.golden else None,
            "published": [asdict(figure) for figure in self.figures],
            "weights": [asdict(item) for item in published(entry.name)],
            "paper": entry.paper,
            "checkpoints": entry.source,
            "preprocess": entry.preprocess.model_dump(),
            "options": {key: {"default": entry.options[key], "choices": values} for key, values in entry.choices.items()},
            "least_frames": entry.min_frames,
            "least_size": entry.min_size,
            "note": entry.note,
        }


def card(name: str) -> Card:
    """Raises UsageError for an unknown name."""
    entry = describe(name)
    return Card(entry, measured().get(entry.name), figures().get(entry.name, ()))


@cache
def measured() -> dict[str, Measured]:
    return parse(resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8"))


def parse(text: str) -> dict[str, Measured]:
    """The content of measured.json."""
    return {name: _measured(row) for name, row in json.loads(text).items()}


def _measured(row: dict[str, Any]) -> Measured:
    streamed = {key: Streamed(**row[key]) if row[key] else None for key in ("native", "dense")}
    pairs = {key: tuple(row[key]) if row.get(key) else None for key in ("golden", "library")}
    return Measured(**{**row, **streamed, **pairs})


def dump(table: dict[str, Measured]) -> str:
    """The text that `parse` reads: one network a line, sorted."""
    rows = (f"{json.dumps(name)}: {json.dumps(asdict(table[name]))}" for name in sorted(table))
    return "{\n" + ",\n".join(rows) + "\n}\n"


@cache
def figures() -> dict[str, tuple[Figure, ...]]:
    table = tomllib.loads(resources.files(__package__).joinpath("figures.toml").read_text(encoding="utf-8"))
    found: dict[str, list[Figure]] = {}
    for group in table["figures"]:
        shared = {key: value for key, value in group.items() if key != "values"}
        for name, value in group["values"].items():
            found.setdefault(name, []).append(Figure(value=value, **shared))
    return {name: tuple(rows) for name, rows in found.items()}
