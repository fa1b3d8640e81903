"""A training on the terminal: bars, how fast it is and when it will end, a line an epoch; in a log a line now and then.

A caller that listens (`everyframe.progress.told`) gets the same as text.
"""

from __future__ import annotations

import math
from types import TracebackType
from typing import Any

from rich import progress
from rich.console import Console

from everyframe.progress import Log, duration, watcher


class Pace:
    """How fast a sitting is, and how far it will come. steps: of an epoch; batch: so many of `unit` a step."""

    def __init__(self, epochs: int, steps: int, batch: int, unit: str) -> None:
        self.epochs, self.steps, self.batch, self.unit = epochs, steps, batch, unit
        self.before, self.taken, self.began, self.seconds, self.spent = 0, 0, 0.0, 0.0, 0.0
        self.minutes: float | None = None

    def begin(self, epoch: int, step: int, seconds: float, minutes: float | None) -> None:
        """Where the sitting begins, and after how long its clock ends it."""
        self.before, self.taken, self.began, self.seconds, self.spent = epoch * self.steps + step, 0, seconds, 0.0, 0.0
        self.minutes = minutes

    def stepped(self, seconds: float) -> None:
        """seconds: of all sittings together."""
        self.taken, self.seconds = self.taken + 1, seconds - self.began
        self.spent = self.seconds

    def validated(self, seconds: float) -> None:
        """What is not of steps, but on the clock too."""
        self.spent = seconds - self.began

    @property
    def done(self) -> float:
        """Epochs, with the fraction of the one under way."""
        return (self.before + self.taken) / self.steps

    def lasts(self, epochs: float) -> float:
        """Seconds that so many epochs take at this speed."""
        return epochs * self.steps * self.seconds / self.taken

    def outlook(self) -> str:
        if not self.taken:
            return "waiting for the first step"
        speed = f"{self.taken * self.batch / max(1e-9, self.seconds):.3g} {self.unit}/s"
        left, clock = self.lasts(self.epochs - self.done), (self.minutes or math.inf) * 60 - self.seconds
        if left <= clock:
            return f"{speed}, ends in {duration(left)}"
        reached = self.done + max(0.0, clock) / self.lasts(1)
        return f"{speed}, ends in {duration(max(0.0, clock))} with {reached:.2g} of {self.epochs} epochs"

    def shortfall(self, key: str | None = None, trainings: int = 1) -> tuple[str, ...]:
        """What would have been needed, where the clock ended the training before its epochs. key: of the recipe, which sets
        them; trainings: that share the minutes.
        """
        if self.minutes is None or not self.taken or self.done >= self.epochs or self.spent < self.minutes * 60:
            return ()
        whole = trainings * self.lasts(self.epochs)
        advice = f"; give it --minutes {math.ceil(whole / 60)}, or --set {key}={max(1, round(self.done))}" if key else ""
        return (f"{self.done:.2g} of {self.epochs} epochs: at this speed all of them take {duration(whole)}{advice}",)


class Progress:
    def __init__(self, pace: Pace, shown: bool) -> None:
        console = Console(stderr=True)
        self.pace = pace
        self.live = shown and console.is_terminal and watcher() is None
        self.told = watcher() or Log() if shown and not self.live else None
        self.bars = progress.Progress(
            progress.TextColumn("{task.description}"), progress.BarColumn(), progress.TextColumn("{task.fields[said]}"),
            console=console, disable=not self.live,
        )  # fmt: skip
        self.all = self.bars.add_task("training", total=1.0, said=pace.outlook())
        self.epoch = self.bars.add_task("epoch", total=pace.steps, said="")

    def __enter__(self) -> Progress:
        self.bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bars.stop()

    def step(self, epoch: int, step: int, loss: float, share: float) -> None:
        """share: of the time given, where the clock ends the training."""
        pace = self.pace
        self.bars.update(self.all, completed=max(share, pace.done / pace.epochs), said=pace.outlook())
        said = f"{epoch + 1} of {pace.epochs}, step {step} of {pace.steps}, loss {loss:.3f}"
        self.bars.update(self.epoch, completed=step, said=said)
        if self.told is not None:
            self.told(f"epoch {said}; {pace.outlook()}")

    def validating(self) -> None:
        self.bars.update(self.epoch, said="validating")

    def line(self, row: dict[str, Any], better: bool) -> None:
        """An epoch's figures, but for those that are no result."""
        figures = {key: value for key, value in row.items() if key not in ("epoch", "learning_rate", "seconds")}
        told = ", ".join(f"{key.replace('_', ' ')} {value:.3g}" for key, value in figures.items() if value is not None)
        text = f"epoch {row['epoch']:>3}  {told}{'  best' if better else ''}"
        if self.told is not None:
            (self.told.say if isinstance(self.told, Log) else self.told)(text)
        elif self.live:
            self.bars.console.print(text)
