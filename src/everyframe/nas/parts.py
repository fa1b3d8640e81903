"""How long a network takes, from parts that were measured once: a table on disk for each engine, threads, machine and version,
and what whole networks take more than the sum of their parts.

A part is measured where it stands: the time of a network with it less that of one without, in turns. So what an engine does
between layers (layouts, transforms, what it fuses) is in the figures. A straight line through a few whole networks gives the
rest, and as many others, which it has not seen, say how far it is off.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from everyframe.benchmarking.variants import SECONDS, circumstances, milliseconds
from everyframe.errors import UsageError
from everyframe.files import cache_folder, write_bytes
from everyframe.nas.space import Point, Space, Values
from everyframe.nas.task import Part, Task
from everyframe.progress import bar

#: networks that are measured in turns with one another
TOGETHER = 6


@dataclass
class Table:
    """ms: part -> milliseconds."""

    engine: str
    threads: int
    path: Path
    ms: dict[str, float] = field(default_factory=dict)

    @classmethod
    def open(cls, engine: str, threads: int) -> Table:
        """What was measured before with this engine, processor and version; a damaged file counts as none."""
        path = cache_folder("latency") / f"parts-{circumstances(engine)}-{threads}.json"
        return cls(engine, threads, path, _read(path))

    def time(self, networks: Mapping[str, Any], task: Task, seconds: float) -> dict[str, float]:
        return milliseconds(
            {name: task.graph(dict(values)) for name, values in networks.items()}, self.engine, seconds, self.threads
        )

    def measure(self, parts: Iterable[Part], task: Task, seconds: float = SECONDS) -> None:
        """Fills in what is missing, with a bar; what was measured stays when it is interrupted."""
        missing = [part for part in dict.fromkeys(parts) if part.name not in self.ms]
        groups: dict[Any, list[Part]] = {}
        for part in missing:
            groups.setdefault(part.without, []).append(part)
        rounds = [
            (without, group[at : at + TOGETHER]) for without, group in groups.items() for at in range(0, len(group), TOGETHER)
        ]
        done = 0
        with bar(f"measuring parts on {self.engine}") as progress:
            for without, group in rounds:
                progress(done, len(missing))
                networks = {part.name: part.whole for part in group}
                if without is not None:
                    networks["without"] = without
                found = self.time(networks, task, seconds)
                for part in group:
                    self.ms[part.name] = (found[part.name] - found.get("without", 0.0)) / part.times
                done += len(group)
                self._write()

    def sum(self, parts: Mapping[Part, int]) -> float:
        """Raises UsageError where one was not measured."""
        for part in parts:
            if part.name not in self.ms:
                raise UsageError("A part of this network was not measured.", got=part.name)
        return sum(count * self.ms[part.name] for part, count in parts.items())

    def _write(self) -> None:
        """With what other processes have measured meanwhile."""
        self.ms = {**_read(self.path), **self.ms}
        with contextlib.suppress(OSError):  # writing says better what is wrong
            self.path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(json.dumps(self.ms, indent=1, sort_keys=True).encode(), self.path)


@dataclass(frozen=True)
class Checked:
    """A whole network: what it was measured at, and what the model says."""

    values: dict[str, Any]
    measured_ms: float
    modeled_ms: float
    fitted: bool


@dataclass(frozen=True)
class Latency:
    """slope, offset: milliseconds of a network = slope * sum of its parts + offset. checked: whole networks, of which those that
    were not fitted say how good it is.
    """

    table: Table
    task: Task
    slope: float = 1.0
    offset: float = 0.0
    checked: tuple[Checked, ...] = ()

    @classmethod
    def read(cls, path: Path, table: Table, task: Task) -> Latency | None:
        """What `to_dict` wrote of this engine; None where there is none."""
        try:
            told = json.loads(path.read_text("utf-8"))
            if (told["engine"], told["threads"]) != (table.engine, table.threads):
                return None
            return cls(table, task, told["slope"], told["offset_ms"], tuple(Checked(**one) for one in told["networks"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def ms(self, values: Values) -> float:
        return self.slope * self.table.sum(self.task.parts(values)) + self.offset

    def error(self) -> tuple[float, float]:
        """Of networks that were not fitted: the mean and the largest share by which the model is off."""
        off = [abs(one.modeled_ms / one.measured_ms - 1) for one in self.checked if not one.fitted]
        return (float(np.mean(off)), float(np.max(off))) if off else (float("nan"), float("nan"))

    def to_dict(self) -> dict[str, Any]:
        mean, most = self.error()
        return {
            "engine": self.table.engine, "threads": self.table.threads, "slope": self.slope, "offset_ms": self.offset,
            "mean_error": mean, "largest_error": most, "parts": len(self.table.ms),
            "networks": [vars(one) for one in self.checked],
        }  # fmt: skip

    def text(self) -> str:
        mean, most = self.error()
        count = sum(not one.fitted for one in self.checked)
        return (
            f"latency model: off by {mean:.1%} in the mean, {most:.1%} at most, on {count} networks that it has not seen "
            f"({self.table.engine}, {self.table.threads} thread{'s' * (self.table.threads != 1)})"
        )


def every_part(space: Space, task: Task, seed: int, draws: int = 3000) -> list[Part]:
    """The parts of the networks of a space, as far as random ones show them."""
    rng = np.random.default_rng(seed)
    found: dict[Part, None] = {}
    for point in (space.smallest(), space.largest(), *(space.random(rng) for _ in range(draws))):
        found.update(dict.fromkeys(task.parts(space.values(point))))
    return list(found)


def fit(
    table: Table, task: Task, count: int, seed: int, *, near: float | None = None, seconds: float = 3 * SECONDS
) -> Latency:  # fmt: skip
    """From `count` random networks, checked on as many others. near: a time; networks up to half as long again are measured."""
    rng, space = np.random.default_rng(seed), task.space
    raw: Callable[[Point], float] = lambda point: table.sum(task.parts(space.values(point)))  # noqa: E731
    points = space.some(2 * count, rng, lambda point: near is None or raw(point) <= 1.5 * near)
    points = points if len(points) >= count else space.some(2 * count, rng, lambda _: True)
    measured: list[float] = []
    with bar("measuring whole networks") as progress:
        for at in range(0, len(points), TOGETHER):
            progress(at, len(points))
            some = {str(n): tuple(space.values(point).items()) for n, point in enumerate(points[at : at + TOGETHER])}
            measured += table.time(some, task, seconds).values()
    sums, times = np.array([raw(point) for point in points]), np.array(measured)
    taken = np.arange(len(points)) % 2 == 0
    slope, offset = line(sums[taken], times[taken])
    checked = [
        Checked(space.values(point), float(ms), float(slope * total + offset), bool(used))
        for point, ms, total, used in zip(points, times, sums, taken, strict=True)
    ]
    return Latency(table, task, slope, offset, tuple(checked))


def line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and offset with the least squares of shares: what is off by a tenth counts alike for small and large networks. Few
    or equal points give no slope.
    """
    if len(x) < 3 or np.ptp(x) < 0.1 * np.mean(x):
        return 1.0, float(np.mean(y - x)) if len(x) else 0.0
    rows = np.stack([x, np.ones_like(x)], 1) / y[:, None]
    slope, offset = np.linalg.lstsq(rows, np.ones_like(y), rcond=None)[0]
    return float(slope), float(offset)


def _read(path: Path) -> dict[str, float]:
    try:
        return {str(name): float(ms) for name, ms in json.loads(path.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
