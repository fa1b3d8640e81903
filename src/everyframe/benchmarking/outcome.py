"""What was measured: of each contender, and of all together. The files that `--json` writes, and reads again to compare."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from everyframe.errors import UsageError

#: of the JSON files; another one is refused
FORMAT = "everyframe-benchmark-1"


@dataclass(frozen=True)
class Figures:
    """Of all calls, in milliseconds of the clock."""

    median: float
    mean: float
    least: float
    p5: float
    p95: float
    p99: float
    calls: int


@dataclass
class Measured:
    """One contender. Times in milliseconds, memory in bytes.

    kind: `step`, `clip` or `network`. frames: a call takes so many (a step's new frames, a clip's
    all). rate: frames a second that the model wants. first_ms: making a
    stream and its first call. compile_ms: None where nothing was compiled. cpu_ms: processor time of all threads a call.
    calls_per_s: of all streams together, by the clock. occupancy: cores that were busy. memory_peak: of the whole process;
    memory_before: before anything was loaded. joules: a call, where the machine tells (energy_source). turns: of each the
    median by the clock; turns_cpu: processor time a call. skipped: why there is nothing. difference: of its answer
    from another's, relative to the largest logit, where answers were compared. called: what tells the model from the others.
    """

    model: str
    engine: str
    threads: int
    streams: int
    kind: str = ""
    reason: str = ""
    frames: int = 1
    rate: float = 0.0
    load_ms: float | None = None
    compile_ms: float | None = None
    first_ms: float | None = None
    latency: Figures | None = None
    cpu_ms: float | None = None
    calls_per_s: float | None = None
    occupancy: float | None = None
    memory_before: int = 0
    memory_peak: int = 0
    weights: int = 0
    state: int = 0
    joules: float | None = None
    energy_source: str | None = None
    turns: list[float] = field(default_factory=list)
    turns_cpu: list[float] = field(default_factory=list)
    histogram: tuple[list[float], list[int]] = field(default_factory=lambda: ([], []))
    skipped: str = ""
    difference: float | None = None
    called: str = ""

    def __post_init__(self) -> None:
        self.called = self.called or Path(self.model).name
        self._walls: list[float] = []
        self._cpu_ms, self._elapsed_ms, self._joules = 0.0, 0.0, 0.0

    @property
    def name(self) -> str:
        more = f", {self.streams} streams" if self.streams > 1 else ""
        return f"{self.called} on {self.engine}, {self.threads} thread{'s' * (self.threads > 1)}{more}"

    @property
    def key(self) -> tuple[str, str, int, int]:
        """What is the same contender in two files."""
        return self.called, self.engine, self.threads, self.streams

    @property
    def alone(self) -> bool:
        """One thread and one stream: processor time is then the figure to trust, which other processes hardly change."""
        return self.threads == self.streams == 1

    @property
    def basis(self) -> list[float]:
        """The times of the turns that are compared: of the processor where it works alone, else of the clock."""
        return self.turns_cpu if self.alone else self.turns

    @property
    def scatter(self) -> float:
        """How far its turns lie apart, as a share of their median: the middle four fifths of them."""
        if len(self.turns) < 3:
            return 0.0
        low, middle, high = np.percentile(self.basis, (10, 50, 90))
        return float((high - low) / middle)

    def frames_per_s(self, stride: int | None = None) -> float | None:
        """New frames a second that all streams together can take. stride: of a clip network, frames between two predictions."""
        return None if self.calls_per_s is None else self.calls_per_s * (self.frames if stride is None else stride)

    def loaded(self, facts: dict[str, Any]) -> None:
        """What a worker says when it has loaded the model."""
        for name, value in facts.items():
            setattr(self, name, value)

    def add(self, turn: dict[str, Any]) -> None:
        walls = turn["wall_ms"]
        self._walls += walls
        self._cpu_ms += turn["cpu_ms"]
        self._elapsed_ms += turn["elapsed_ms"]
        self._joules += turn["joules"] or 0.0
        self.energy_source = turn["energy_source"] if turn["joules"] is not None else None
        self.memory_peak = max(self.memory_peak, turn["memory_peak"])
        self.turns.append(round(float(np.median(walls)), 5))
        self.turns_cpu.append(round(turn["cpu_ms"] / len(walls), 5))

    def finish(self) -> None:
        """From the turns to the figures."""
        if not self._walls:
            return
        walls = np.array(self._walls)
        p5, middle, p95, p99 = np.percentile(walls, (5, 50, 95, 99))
        middle, mean, least, p5, p95, p99 = (
            round(float(value), 4) for value in (middle, walls.mean(), walls.min(), p5, p95, p99)
        )
        self.latency = Figures(middle, mean, least, p5, p95, p99, len(walls))
        self.cpu_ms = round(self._cpu_ms / len(walls), 4)
        self.calls_per_s = round(len(walls) / self._elapsed_ms * 1e3, 3)
        self.occupancy = round(self._cpu_ms / self._elapsed_ms, 3)
        self.joules = round(self._joules / len(walls), 6) if self.energy_source else None
        counts, edges = np.histogram(walls, bins=40, range=(walls.min(), max(float(p99) * 1.1, walls.min() * 1.001)))
        self.histogram = ([round(float(edge), 4) for edge in edges], counts.tolist())


def called(models: Iterable[str]) -> dict[str, str]:
    """The file of each, with as many folders in front as it takes to tell them apart: run folders all have a `step.onnx`."""
    parts = {model: Path(model).parts for model in models}
    for count in range(1, max(map(len, parts.values()), default=0) + 1):
        names = {model: "/".join(part[-count:]) for model, part in parts.items()}
        if len({*names.values()}) == len(names):
            return names
    return {model: model for model in parts}


@dataclass
class Benchmark:
    """notes: what should be known before a figure is trusted. partial: it was interrupted. stages, layers: if asked for. costs:
    what
    models are made of, by the name of their file. table: the published one it was measured for; cards: what the zoo knows of
    its networks. sweep: axis and values, by the name of the file.
    """

    machine: dict[str, Any]
    rows: list[Measured]
    notes: list[str] = field(default_factory=list)
    partial: bool = False
    stages: list[dict[str, Any]] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)
    costs: dict[str, dict[str, Any]] = field(default_factory=dict)
    table: str | None = None
    cards: dict[str, dict[str, Any]] = field(default_factory=dict)
    sweep: dict[str, Any] = field(default_factory=dict)

    @property
    def measured(self) -> list[Measured]:
        return [row for row in self.rows if row.latency is not None]

    def to_dict(self) -> dict[str, Any]:
        rows = [{item.name: getattr(row, item.name) for item in fields(row)} for row in self.rows]
        for row in rows:
            row["latency"] = None if row["latency"] is None else asdict(row["latency"])
        return {
            "format": FORMAT, "machine": self.machine, "notes": self.notes, "partial": self.partial, "rows": rows,
            "stages": self.stages, "layers": self.layers, "costs": self.costs, "table": self.table, "cards": self.cards,
            "sweep": self.sweep,
        }  # fmt: skip


def read(path: Path) -> Benchmark:
    """A file that `--json` wrote. Raises UsageError."""
    hint = "give a file that `everyframe benchmark --json FILE` wrote"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise UsageError("This result has another format.", where=path, expected=FORMAT, got=found["format"], hint=hint)
        return parsed(found)
    except OSError as error:
        raise UsageError("The result cannot be read.", where=path, got=error.strerror or str(error), hint=hint) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError("This is no result of a benchmark.", where=path, hint=hint) from None


def parsed(found: Mapping[str, Any]) -> Benchmark:
    """What `to_dict` gave; what newer versions added may be missing. Raises KeyError, TypeError and AttributeError for other
    values."""
    rows = []
    for row in found["rows"]:
        figures = row["latency"]
        rows.append(Measured(**{**row, "latency": None if figures is None else Figures(**figures)}))
    more = {name: found[name] for name in ("costs", "table", "cards", "sweep") if name in found}
    return Benchmark(found["machine"], rows, found["notes"], found["partial"], found["stages"], found["layers"], **more)


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row of `Benchmark.to_dict` without what is a list: for a table in a file."""
    latency = row["latency"] or dict.fromkeys(item.name for item in fields(Figures))
    plain = {name: value for name, value in row.items() if name not in ("latency", "turns", "turns_cpu", "histogram")}
    return {**plain, **{f"{name}_ms" if name != "calls" else name: value for name, value in latency.items()}}
