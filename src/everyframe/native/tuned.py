"""Measured choices: a line of JSON each, which a person can read, compare and mend, and which a small C program can write.

    {"isa": "x86-64-v3", "vector": 8, "processor": "...", "caches_kb": [32, 512, 32768], "shape": "3x3x3/1x1 768->256 28x28",
     "kept": 33, "frames": 8, "choice": {"slice": 144, ...}, "ms": 3.1, "default_ms": 3.4, "rounds": 9, "date": "...", ...}

`shape` is kernel (frames, height, width) / stride, input channels of all frames -> output channels, height x width of the output;
`kept` the percent of weights that are not zero, and `kernels`, 100 where it is not there, that of whole kernels in space.
A choice without `bits` was measured when there were none but 32.
Empty lines and those that begin with # are comments. `measured.jsonl` in this folder ships; `make choices` adds to it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

from everyframe.errors import ModelError, OutputError, UsageError
from everyframe.files import cache_folder, write_bytes
from everyframe.native.choice import Choice, Geometry, default, waits
from everyframe.native.locks import alone
from everyframe.native.processor import Processor, here
from everyframe.native.target import Target, machine

SHIPPED = Path(__file__).resolve().parent / "measured.jsonl"
#: caches further from one's own than that say nothing (see `Processor.distance`): of 2 MB, what was measured with 512 KB
FARTHEST = 2.8
#: percent of the weights by which sparsity may differ
_KEPT_APART = 12
NUMBERS = [field.name for field in fields(Choice) if field.name != "why"]


@dataclass(frozen=True)
class Row:
    isa: str
    vector: int
    processor: Processor
    shape: str
    kept: int
    kernels: int
    frames: int
    choice: Choice
    approximate: Choice | None  # faster still, but not as exact
    facts: dict[str, Any]  # the whole line

    @property
    def key(self) -> tuple:
        return self.isa, self.vector, self.processor, self.shape, self.kept, self.kernels, self.frames


def isa(target: Target, geometry: Geometry) -> str:
    """Instructions for bytes do not matter to floats."""
    return target.name if geometry.int8 else target.name.removesuffix("-vnni")


def shape(geometry: Geometry) -> str:
    g = geometry
    kernel = f"{g.sources}x{g.kernel_h}x{g.kernel_w}/{g.stride_h}x{g.stride_w}"
    return f"{kernel} {g.channels_in}->{g.channels_out} {g.height}x{g.width}{' int8' if g.int8 else ''}"


def parse(line: str, where: object) -> Row:
    """Raises UsageError that says what is wrong with the line."""
    try:
        facts = json.loads(line)
        caches = tuple(int(size) for size in facts["caches_kb"])
        measured = ("choice", "ms"), ("approximate", "approximate_ms")
        exact, quick = (_choice(facts, name, ms, where) for name, ms in measured)
        if exact is None:
            raise KeyError("choice")
        if len(caches) != 3:
            raise ValueError("caches_kb has three sizes")
        return Row(
            str(facts["isa"]), int(facts["vector"]), Processor(str(facts["processor"]), caches), str(facts["shape"]),
            int(facts["kept"]), int(facts.get("kernels", 100)), int(facts["frames"]), exact, quick, facts,
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            "A row of measured choices cannot be read.", where=where, got=f"{type(error).__name__}: {error}",
            expected="a line of JSON as `everyframe compile --tune` and tune.c write it",
            hint="delete the line, or measure again",
        ) from None  # fmt: skip


def _choice(facts: dict[str, Any], name: str, ms: str, where: object) -> Choice | None:
    if name not in facts:
        return None
    numbers = {number: int({"bits": 32, **facts[name]}[number]) for number in NUMBERS}
    return Choice(**numbers, why=_why(facts, float(facts[ms]))).possible(where)


def _why(facts: dict[str, Any], ms: float) -> str:
    usual = float(facts["default_ms"])
    than = "as good as any other" if ms >= usual else f"the default {usual:.4g} ms"
    return f"measured on {facts['processor']}, {facts.get('date', 'no date')}: {ms:.4g} ms, {than}"


def read(path: str | os.PathLike[str]) -> list[Row]:
    """Raises ModelError for a file that cannot be read, UsageError for a line that cannot."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        got = getattr(error, "strerror", None) or str(error)
        raise ModelError("The table of measured choices cannot be read.", where=path, got=got) from None
    numbered = [(n, line.strip()) for n, line in enumerate(lines, 1)]
    return [parse(line, f"{path}, line {n}") for n, line in numbered if line and not line.startswith("#")]


def _readable(path: Path) -> list[Row]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    found = []
    for line in lines:
        with suppress(UsageError):
            found.append(parse(line, path))
    return found


def write(rows: Iterable[Row], path: str | os.PathLike[str]) -> Path:
    """Of rows with one key the last stays. Raises OutputError."""
    kept = {row.key: row for row in rows}
    ordered = sorted(kept.values(), key=lambda row: (row.processor.name, *map(str, row.key)))
    return write_bytes("".join(f"{json.dumps(row.facts)}\n" for row in ordered).encode(), path)


def add(rows: Iterable[Row], table: Path) -> Path:
    """To those of a table, or a new one; of rows with one key the last stays. Processes that measure at the same time lose none
    of each other's. Raises OutputError."""
    try:
        with alone(table.with_name(f"{table.name}.lock"), lambda _: None):
            return write([*(read(table) if table.exists() else ()), *rows], table)
    except OutputError as error:  # of the lock's folder, which may be no cache, or of the table
        raise OutputError(
            "The table of measured choices cannot be written.", where=table, got=error.got,
            hint="name one in a writable folder with enough free space by --table FILE",
        ) from None  # fmt: skip


def own_table() -> Path:
    """What was measured by this user: beside the cache of compiled models, which is emptied now and then."""
    return cache_folder("tuned") / "measured.jsonl"


@dataclass(frozen=True)
class Rounding:
    """What may round more than the operators themselves do. approximate: Winograd's F(4x4, 3x3), where it is faster. weights:
    `fp32`, `auto` (16 bits where a convolution waits for them, see `choice.waits`) or `int16` (everywhere)."""

    approximate: bool = False
    weights: str = "fp32"


#: what --weights says -> what is tried, the next where the network's answers differ by too much
ROUNDINGS = {
    "auto": (Rounding(True, "auto"), Rounding(True), Rounding()),
    "fp32": (Rounding(True), Rounding()),
    "int16": (Rounding(True, "int16"), Rounding(False, "int16")),
}


def different(roundings: Sequence[Rounding], inexact: int, halved: int) -> list[Rounding]:
    """Those that make another source than the ones before them. inexact, halved: of the source that the first of them makes (see
    `emit.Source`)."""
    made = {(each.approximate and inexact > 0, each.weights != "fp32" and halved > 0): each for each in roundings[::-1]}
    return list(made.values())[::-1]


class Tables:
    """Rows to choose from. given: of a file that the user names, which count wherever they were measured. others: of this user
    and of the package, which count on the same processor, or one with caches of similar size.
    rounding: what is not as exact as the convolution itself and counts, too. asked: each question and the answer it
    got, so that it can be told whether other rows would make another library."""

    def __init__(self, given: Sequence[Row] = (), others: Sequence[Row] = (), rounding: Rounding = Rounding()) -> None:
        self.given, self.others, self.rounding = list(given), list(others), rounding
        self.asked: dict[tuple[Target, Geometry], Choice] = {}

    @classmethod
    def found(cls, path: str | os.PathLike[str] | None = None) -> Tables:
        """path: of a table that the user names. Of the others, what cannot be read (another version wrote it) is passed over."""
        return cls(read(path) if path else (), [*_readable(own_table()), *_readable(SHIPPED)])

    def __call__(self, target: Target, geometry: Geometry, label: str) -> Choice:
        """The choice for a convolution: of the nearest row, or the default."""
        self.asked[target, geometry] = found = self._answer(target, geometry)
        return found

    def _answer(self, target: Target, geometry: Geometry) -> Choice:
        row, rounding = self._nearest(target, geometry), self.rounding
        choice, measured = default(target, geometry, rounding.approximate), False
        if row is not None:
            quick, measured = row.approximate, "bits" in row.facts["choice"]
            allowed = quick and (rounding.weights == "auto" if quick.bits < 32 else rounding.approximate)
            choice = quick if quick and allowed else row.choice
        if geometry.int8 or (measured and rounding.weights == "auto"):
            return choice
        half = rounding.weights == "int16" or (rounding.weights == "auto" and not choice.tile and waits(geometry))
        return replace(choice, bits=16 if half else 32)

    def _nearest(self, target: Target, geometry: Geometry) -> Row | None:
        there, wanted = here() if target.machine in ("", machine()) else None, self._key(target, geometry)
        found: list[tuple[tuple, Row]] = []
        for rank, rows in enumerate((self.given, self.others)):
            for order, row in enumerate(rows):
                if (row.isa, row.vector, row.shape) != wanted or not self._as_sparse(row, geometry):
                    continue
                apart = row.processor.distance(there) if there else None
                if rank and (apart is None or apart > FARTHEST):
                    continue
                kept = abs(row.kept - geometry.kept)
                found.append(((rank, apart is None, apart or 0, kept, abs(row.frames - geometry.frames), order), row))
        return min(found, key=lambda pair: pair[0])[1] if found else None

    @staticmethod
    def _key(target: Target, geometry: Geometry) -> tuple[str, int, str]:
        return isa(target, geometry), target.block, shape(geometry)

    @staticmethod
    def _as_sparse(row: Row, geometry: Geometry) -> bool:
        near = max(abs(row.kept - geometry.kept), abs(row.kernels - geometry.kernels)) <= _KEPT_APART
        return near and (row.kept > 99) == (geometry.kept > 99)

    def told(self, target: Target) -> dict[str, Any]:
        """What was asked for a target, or for its narrow form, and answered: what a library keeps for `would_tell`."""
        rows = [[asked != target, astuple(geometry), choice.numbers] for (asked, geometry), choice in self.asked.items()]
        return {"rounding": asdict(self.rounding), "asked": rows}

    @classmethod
    def would_tell(cls, told: Mapping[str, Any], target: Target) -> bool:
        """Would the same be answered now?"""
        tables = cls.found()
        tables.rounding = Rounding(**told["rounding"])
        return all(
            tables(target.narrow or target if narrow else target, Geometry(*geometry), "").numbers == tuple(numbers)
            for narrow, geometry, numbers in told["asked"]
        )


def measured(row: Row, target: Target, geometry: Geometry) -> bool:
    """Is this the very convolution, on this processor?"""
    key = isa(target, geometry), target.block, here(), shape(geometry), geometry.kept, geometry.kernels, geometry.frames
    return row.key == key
