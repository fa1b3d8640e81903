"""What else went on while something was measured: a figure of a busy or throttled machine says so."""

from __future__ import annotations

import os
import resource
from pathlib import Path

#: from which share of the cores on, what others did counts as noise
OTHERS = 0.1
#: how much slower than at its fastest a processor may be clocked before it is said
CLOCK = 0.85
CPU = Path("/sys/devices/system/cpu")


class Watch:
    """From its making to `warnings`. cores: that this process may use."""

    def __init__(self, cores: int, stat: Path = Path("/proc/stat"), cpu: Path = CPU) -> None:
        self.cores, self._stat, self._cpu = cores, stat, cpu
        self._before, self._own, self._throttled = self._busy(), _own(), self._throttles()
        self.others: float | None = None

    def warnings(self) -> list[str]:
        """Sentences, once all children have ended; `others` is then the share of the machine's cores that other processes had."""
        found = []
        after = self._busy()
        if self._before is not None and after is not None and after[1] > self._before[1]:
            ticks = os.sysconf("SC_CLK_TCK")
            spent, total = (after[0] - self._before[0]) / ticks, (after[1] - self._before[1]) / ticks
            self.others = round(max(0.0, spent - (_own() - self._own)) / total, 3)
            if self.others > OTHERS:
                found.append(
                    f"other work had {self.others:.0%} of the machine's cores meanwhile: CPU time counts, wall time less"
                )
        if self._throttles() > self._throttled:
            found.append("the processor was throttled for its heat: let it cool, or measure for longer")
        clocked = [_ratio(path) for path in sorted(self._cpu.glob("cpu[0-9]*/cpufreq"))]
        known = [share for share in clocked if share is not None]
        if known and max(known) < CLOCK:
            found.append(f"the cores are clocked at {max(known):.0%} of their highest rate: look at the governor")
        return found

    def _busy(self) -> tuple[int, int] | None:
        """(Busy, all) ticks of all cores since the machine was started; time that a host took away counts as busy."""
        try:
            user, nice, system, idle, wait, *rest = map(int, self._stat.read_text().split("\n", 1)[0].split()[1:9])
        except (OSError, ValueError):
            return None
        busy = user + nice + system + sum(rest)
        return busy, busy + idle + wait

    def _throttles(self) -> int:
        return sum(_whole(path) or 0 for path in self._cpu.glob("cpu[0-9]*/thermal_throttle/package_throttle_count"))


def _own() -> float:
    """Seconds of processor time of this process and of its children that have ended or are waited for."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _ratio(path: Path) -> float | None:
    now, most = _whole(path / "scaling_cur_freq"), _whole(path / "cpuinfo_max_freq")
    return now / most if now and most else None


def _whole(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
