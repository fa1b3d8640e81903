"""A training on the terminal: bars with the time left, a line an epoch; in a log a line now and then.

A caller that listens (`everyframe.progress.told`) gets the same as text.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich import progress
from rich.console import Console

from everyframe.progress import Log, watcher


class Progress:
    def __init__(self, epochs: int, steps: int, shown: bool) -> None:
        console = Console(stderr=True)
        self.epochs, self.steps = epochs, steps
        self.live = shown and console.is_terminal and watcher() is None
        self.told = watcher() or Log() if shown and not self.live else None
        self.bars = progress.Progress(
            progress.TextColumn("{task.description}"), progress.BarColumn(), progress.TextColumn("{task.fields[note]}"),
            progress.TimeRemainingColumn(), console=console, disable=not self.live,
        )  # fmt: skip
        self.all = self.bars.add_task("training", total=1.0, note="")
        self.epoch = self.bars.add_task("epoch", total=steps, note="")

    def __enter__(self) -> Progress:
        self.bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bars.stop()

    def step(self, epoch: int, step: int, loss: float, share: float) -> None:
        """share: of the time given, where the clock ends the training."""
        note = f"step {step} of {self.steps}, loss {loss:.3f}"
        if self.told is not None:
            self.told(f"epoch {epoch + 1} of {self.epochs}, {note}")
        done = max(share, (epoch + step / self.steps) / self.epochs)
        self.bars.update(self.all, completed=done, note=f"epoch {epoch + 1} of {self.epochs}")
        self.bars.update(self.epoch, completed=step, note=note)

    def line(self, row: dict[str, Any], better: bool) -> None:
        held = ""
        if row["top1"] is not None:
            held = f", validation {row['validation_loss']:.3f}  top-1 {row['top1']:.1%}, top-5 {row['top5']:.1%}"
        best = "  best" if better and held else ""
        text = f"epoch {row['epoch']:>3}  loss {row['train_loss']:.3f}{held}{best}"
        if self.told is not None:
            self.told(text)
        elif self.live:
            self.bars.console.print(text)
