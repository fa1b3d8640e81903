"""Which processor this is, as tables of measured choices name it: `c/tune.c` reads the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import log2
from pathlib import Path


@dataclass(frozen=True)
class Processor:
    """name: as the system calls it; caches: KB of the first (data), second and third level, 0 for none or unknown."""

    name: str
    caches: tuple[int, int, int]

    def distance(self, other: Processor) -> float | None:
        """0 for the same, else at least 1: how far the first two caches differ, in powers of two. None where they are unknown."""
        if self == other:
            return 0.0
        pairs = list(zip(self.caches[:2], other.caches[:2], strict=True))
        if not all(all(pair) for pair in pairs):
            return None
        return 1 + sum(abs(log2(own / theirs)) for own, theirs in pairs)


@cache
def here() -> Processor:
    return Processor(_name(), _caches())


def _name() -> str:
    found: dict[str, str] = {}
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        word, _, rest = line.partition(":")
        found.setdefault(word.strip(), rest.strip())
    if "model name" in found:
        return " ".join(found["model name"].split())
    return f"{found.get('CPU implementer', found.get('uarch', 'unknown'))} {found.get('CPU part', '')}".strip()


def _caches() -> tuple[int, int, int]:
    sizes = [0, 0, 0]
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (_text(index / name).strip() for name in ("level", "type", "size"))
        if kind != "Instruction" and level in ("1", "2", "3") and size.endswith("K") and size[:-1].isdigit():
            sizes[int(level) - 1] = int(size[:-1])
    return sizes[0], sizes[1], sizes[2]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
