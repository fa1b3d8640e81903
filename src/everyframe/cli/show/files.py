"""Several videos: a line for each when it is over, aligned; meanwhile, at a terminal, which of them is being played."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from everyframe.cli.show.console import middle, padded
from everyframe.cli.show.outcome import names
from everyframe.progress import TextProgress, silent, status

if TYPE_CHECKING:
    from everyframe.cli.show.outcome import Outcome
    from everyframe.runtime import Playback, Prediction, Program
    from everyframe.video import Source

REFRESH_S = 0.2
LABEL = 32  # columns, at most
#: columns of what stands beside names and labels: time, score, number of events, and what is between them
REST = 2 + 2 + 10 + 2 + 5 + 2 + 10


class Files:
    """name, best label, time of its peak, score, number of events; or the error in a few words."""

    def __init__(self, program: Program, sources: Sequence[Source], columns: int | None = None, model: str | None = None) -> None:
        """columns: of the terminal; None asks it, and shortens nothing where there is none. model: named behind each video."""
        self.program, self.model = program, f"  {model}" if model else ""
        self.names = [name + self.model for name in names(sources)]
        self.columns = columns or (shutil.get_terminal_size().columns if sys.stdout.isatty() else None)
        self.events = program.metadata.events is not None
        label, name = (max(map(len, texts or [""])) for texts in (program.labels or (), self.names))
        self.label = min(label, LABEL)
        self.width = name
        if self.columns is not None:
            self.label = min(self.label, (self.columns - REST) // 2)
            self.width = min(self.width, self.columns - REST - self.label)
        self.count, self.shown_at = 0, 0.0
        self.tell: TextProgress = silent
        self._status = contextlib.ExitStack()

    def begin(self, playback: Playback) -> None:
        self.count += 1
        self.tell = self._status.enter_context(status(self._doing(0.0)))

    def show(self, prediction: Prediction, playback: Playback) -> None:
        if (now := time.monotonic()) - self.shown_at >= REFRESH_S:
            self.shown_at = now
            self.tell(self._doing(prediction.pts_s))

    def end(self, outcome: Outcome) -> None:
        self._status.close()
        print(self.line(outcome), flush=True)

    def line(self, outcome: Outcome) -> str:
        from rich.cells import cell_len

        best, said = outcome.best, []
        if best is not None:
            score = f"{best.score:5.4g}" if self.program.ending.task == "regress" else f"{best.score:5.2f}"
            said = [padded(middle(best.label, self.label), self.label), f"{best.pts_s:8.2f} s", score]
            if self.events:
                said.append(f"{len(outcome.events):3} event{'s' * (len(outcome.events) != 1)}")
        elif outcome.error is None:
            said = ["too short for a prediction" if outcome.frames else "stopped"]
        name = padded(middle(outcome.name + self.model, self.width), self.width)
        if outcome.error is None:
            return "  ".join([name, *said])
        error = f"error: {outcome.error.what.removesuffix('.')}"
        both = "  ".join([name, *said, error])
        if self.columns is None or cell_len(both) <= self.columns:
            return both
        return middle(f"{name}  {error}", self.columns, at=1.0)

    def _doing(self, pts_s: float) -> str:
        from rich.markup import escape

        name = middle(self.names[self.count - 1], self.width)
        return f"{self.count} of {len(self.names)}  {escape(name)}" + (f"  {pts_s:.1f} s" if pts_s else "")
