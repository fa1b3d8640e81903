"""How predictions are shown while they come: bars in a terminal, plain lines in a pipe, JSON lines for programs."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from everyframe.runtime import Playback, Prediction, Program

HELD = 3  # predictions for which a label must lead before a plain line says so
REFRESH_S = 0.08
BAR = 28


class View(Protocol):
    def begin(self, playback: Playback) -> None: ...
    def show(self, prediction: Prediction, playback: Playback) -> None: ...
    def end(self) -> None: ...


def choose(program: Program, *, as_json: bool, several: bool) -> View:
    """JSON lines if asked for; bars if a person is looking; plain lines otherwise."""
    if as_json:
        return JsonLines(program, several)
    if sys.stdout.isatty() and sys.stderr.isatty():
        return Bars(program)
    return Lines(program, several)


class JsonLines:
    """One object a line: frame, pts_s, top [{label, index, score}], event where there is one, engine, source where there
    are several.
    """

    def __init__(self, program: Program, several: bool) -> None:
        self.engine, self.several = program.engine, several
        self.flush = sys.stdout.isatty()

    def begin(self, playback: Playback) -> None:
        # a reader behind a pipe wants live predictions now; for files read at full speed whole buffers are cheaper
        self.flush = self.flush or playback.live

    def show(self, prediction: Prediction, playback: Playback) -> None:
        record = {**prediction.to_dict(), "engine": self.engine}
        if self.several:
            record = {"source": prediction.source, **record}
        print(json.dumps(record), flush=self.flush)

    def end(self) -> None:
        sys.stdout.flush()


class Lines:
    """A line for each event; for a model without an event rule, a line when another label has taken the lead."""

    def __init__(self, program: Program, several: bool) -> None:
        self.events = program.metadata.events is not None
        self.several = several

    def begin(self, playback: Playback) -> None:
        self.said, self.leader, self.led = "", "", 0
        if self.several:
            print(f"{playback.source.paths[0]}", flush=True)

    def show(self, prediction: Prediction, playback: Playback) -> None:
        if prediction.event is not None:
            event = prediction.event
            print(f"{event.pts_s:9.2f} s  event  {event.label}  {event.score:.2f}", flush=True)
        if self.events:
            return
        if prediction.task not in ("classify", "frames"):
            text = _words(prediction)
            if text != self.said:
                self.said = text
                print(f"{prediction.pts_s:9.2f} s  {text}", flush=True)
            return
        top = prediction.steady or prediction.top[0]
        self.led = self.led + 1 if top.label == self.leader else 1
        self.leader = top.label
        if (self.led >= HELD or prediction.steady) and top.label != self.said:
            self.said = top.label
            print(f"{prediction.pts_s:9.2f} s  top    {top.label}  {top.score:.2f}", flush=True)

    def end(self) -> None:
        pass


def _words(prediction: Prediction) -> str:
    """Quantities with their units, or the labels that are there; nothing but changes is to be said of the latter."""
    if prediction.values:
        return "  ".join(f"{value.name} {value.value:.4g} {value.unit or ''}".rstrip() for value in prediction.values)
    return "there  " + (", ".join(sorted(top.label for top in prediction.top)) or "nothing")


class Bars:
    """The terminal view: the best labels with bars, then rate, latency and dropped frames."""

    def __init__(self, program: Program) -> None:
        from rich.console import Console
        from rich.live import Live

        self.program = program
        self.live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
        self.shown_at = 0.0

    def begin(self, playback: Playback) -> None:
        self.arrivals: deque[tuple[float, int]] = deque(maxlen=240)  # (wall clock, frames so far)
        self.events: deque[str] = deque(maxlen=4)
        self.live.start()

    def show(self, prediction: Prediction, playback: Playback) -> None:
        now = time.monotonic()
        self.arrivals.append((now, playback.frames))
        while now - self.arrivals[0][0] > 2:
            self.arrivals.popleft()
        if prediction.event is not None:
            event = prediction.event
            self.live.console.print(f"[bold]{event.pts_s:8.2f} s  {event.label}[/bold]  {event.score:.2f}", highlight=False)
        if now - self.shown_at >= REFRESH_S:
            self.shown_at = now
            self.live.update(self._picture(prediction, playback), refresh=True)

    def end(self) -> None:
        self.live.stop()

    def _picture(self, prediction: Prediction, playback: Playback) -> Any:
        from rich.markup import escape
        from rich.text import Text

        width = max((len(top.label) for top in prediction.top), default=0)
        lines = [f"[dim]{escape(playback.source.name)}[/dim]  {prediction.pts_s:8.2f} s  frame {prediction.frame}"]
        for place, top in enumerate(prediction.top):
            bar = "█" * round(top.score * BAR)
            style = "bold green" if place == 0 else "green"
            lines.append(f"  {escape(top.label):<{width}}  [{style}]{bar:<{BAR}}[/{style}]  {top.score:.2f}")
        if prediction.values:
            lines.append(f"  {escape(_words(prediction))}")
        rate = f"{self._rate():.0f} frames/s" if len(self.arrivals) > 1 else ""
        lines.append(f"[dim]  {rate}  step {prediction.latency_ms:.1f} ms  dropped {playback.dropped}   Ctrl-C ends[/dim]")
        return Text.from_markup("\n".join(lines))

    def _rate(self) -> float:
        (begun, first), (now, last) = self.arrivals[0], self.arrivals[-1]
        return (last - first) / (now - begun) if now > begun else 0.0
