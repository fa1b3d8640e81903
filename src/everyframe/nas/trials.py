"""The log of a search: a line of JSON for each network that was judged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from everyframe.files import write_bytes
from everyframe.nas.space import Values

#: stages of a search, in their order
ARCHITECTURE, RATES = "architecture", "rates"


@dataclass(frozen=True)
class Trial:
    """ms: by the latency model. score: of the supernet. seconds: that judging took."""

    stage: str
    number: int
    values: dict[str, Any]
    ms: float
    score: float
    controller: str
    seconds: float = 0.0


def key(values: Values) -> str:
    """The same for the same network."""
    return json.dumps(dict(values), sort_keys=True)


def best(trials: Sequence[Trial]) -> Trial:
    """Of equal ones the faster."""
    return max(trials, key=lambda trial: (trial.score, -trial.ms))


def front(trials: Sequence[Trial]) -> list[Trial]:
    """Those than which none is both faster and better, from the fastest on."""
    found: list[Trial] = []
    for trial in sorted(trials, key=lambda trial: (trial.ms, -trial.score)):
        if not found or trial.score > found[-1].score:
            found.append(trial)
    return found


def write(trials: Sequence[Trial], path: Path) -> None:
    write_bytes("".join(json.dumps(asdict(trial)) + "\n" for trial in trials).encode(), path)


def read(path: Path) -> list[Trial]:
    """What a search before this one wrote; lines that are damaged count as none."""
    found = []
    for line in path.read_text("utf-8", "replace").splitlines() if path.is_file() else ():
        try:
            found.append(Trial(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return found
