"""What a machine tells of the energy it uses: Linux counts that of Intel's and AMD's processors, boards measure their power."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

#: where Linux shows its devices
SYSTEM = Path("/sys/class")


class Meter:
    """joules() between two calls of `start` and it; None where the machine tells nothing, or not to this user.

    source: what is read. Counters of whole processor packages come first, else the sum of what power sensors (INA of Jetson and
    others) say at both ends, times the time between.
    """

    def __init__(self, system: Path = SYSTEM, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        #: package-0, not its parts package-0:0; a counter begins again at its own maximum
        self._counters = [
            (path, _number(path.with_name("max_energy_range_uj")) or 0)
            for path in sorted(system.glob("powercap/intel-rapl:[0-9]*/energy_uj"))
            if path.parent.name.count(":") == 1 and _number(path) is not None
        ]
        self._sensors = [path for path in sorted(system.glob("hwmon/hwmon*/power*_input")) if _number(path) is not None]
        self.source = "RAPL" if self._counters else "power sensors" if self._sensors else None

    def start(self) -> None:
        self._begun, self._before = self._clock(), self._read()

    def joules(self) -> float | None:
        """Since `start`."""
        before, after = self._before, self._read()
        if not after or len(after) != len(before):
            return None
        if self._counters:
            used = sum(b - a + (range_ if b < a else 0) for a, b, (_, range_) in zip(before, after, self._counters, strict=True))
            return used / 1e6
        return sum(a + b for a, b in zip(before, after, strict=True)) / 2e6 * (self._clock() - self._begun)

    def _read(self) -> list[int]:
        """What all of them say; nothing where one is silent."""
        values = [_number(path) for path in ([path for path, _ in self._counters] or self._sensors)]
        return [value for value in values if value is not None]


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
