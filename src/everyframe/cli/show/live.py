"""How predictions are shown while they come: bars in a terminal, plain lines in a pipe, JSON lines for programs."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

    from everyframe.cli.show.outcome import Outcome
    from everyframe.runtime import Playback, Prediction, Program
    from everyframe.runtime.events import Alert
    from everyframe.runtime.prediction import Value
    from everyframe.video import Source

HELD = 3  # predictions for which a label must lead before a plain line says so
REFRESH_S = 0.08
BAR = 40  # columns, at most
FEW, FEW_OF_MANY = 12, 5  # labels that are all shown; how many of more are


class View(Protocol):
    def begin(self, playback: Playback) -> None: ...
    def show(self, prediction: Prediction, playback: Playback) -> None: ...
    def end(self, outcome: Outcome) -> None: ...


def choose(
    program: Program,
    sources: Sequence[Source],
    *,
    as_json: bool = False,
    top_k: int | None = None,
    model: str | None = None,
    widest: int = 0,
) -> View:
    """JSON lines if asked for; a line a video if there are several; bars if a person is looking; plain lines otherwise.

    model: its name, where it is one of several, of which the longest has `widest` letters.
    """
    if as_json:
        return JsonLines(program, several=len(sources) > 1, model=model)
    if len(sources) > 1:
        from everyframe.cli.show.files import Files

        return Files(program, sources, model=model and model.ljust(widest))
    if model is not None:
        return Lines(program, model)
    if sys.stdout.isatty() and sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
        return Bars(program, top_k)
    return Lines(program)


class JsonLines:
    """One object a line: frame, pts_s, top [{label, index, score}], event where there is one, engine, source and model where
    there are several.
    """

    def __init__(self, program: Program, several: bool, model: str | None = None) -> None:
        self.program, self.several, self.model = program, several, model
        self.flush = sys.stdout.isatty()

    def begin(self, playback: Playback) -> None:
        # a reader behind a pipe wants live predictions now; for files read at full speed whole buffers are cheaper
        self.flush = self.flush or playback.live

    def show(self, prediction: Prediction, playback: Playback) -> None:
        record = {**prediction.to_dict(), "engine": playback.engine or self.program.engine}
        if self.several:
            record = {"source": prediction.source, **record}
        if self.model is not None:
            record = {"model": self.model, **record}
        print(json.dumps(record), flush=self.flush)

    def end(self, outcome: Outcome) -> None:
        sys.stdout.flush()


class Lines:
    """A line for each event; for a model without an event rule, a line when another label has taken the lead."""

    def __init__(self, program: Program, model: str | None = None) -> None:
        self.events, self.model = program.metadata.events is not None, model

    def begin(self, playback: Playback) -> None:
        if self.model is not None:
            print(self.model, flush=True)
        self.said, self.leader, self.led = "", "", 0
        self.newest: Prediction | None = None

    def show(self, prediction: Prediction, playback: Playback) -> None:
        self.newest = prediction
        if prediction.event is not None:
            event = prediction.event
            print(f"{event.pts_s:9.2f} s  event  {event.label}  {event.score:.2f}", flush=True)
        if prediction.alert is not None:
            print(f"{prediction.alert.pts_s:9.2f} s  {alarming(prediction.alert)}", flush=True)
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

    def end(self, outcome: Outcome) -> None:
        if self.newest is not None and not (self.events or self.said):
            print("\n".join(_ranked(self.newest)), flush=True)


def _ranked(prediction: Prediction) -> list[str]:
    """The best of what is too short for any label to have led: a clip is often one prediction."""
    return [f"{prediction.pts_s:9.2f} s  top    {top.label}  {top.score:.2f}" for top in prediction.top]


def alarming(alert: Alert) -> str:
    lasts = f"  for {alert.pts_s - alert.began_s:.1f} s" if alert.pts_s > alert.began_s else ""
    return f"ALERT  {alert.label}  {alert.score:.2f}{lasts}"


def _words(prediction: Prediction) -> str:
    """Quantities with their units, or the labels that are there; nothing but changes is to be said of the latter."""
    if prediction.values:
        return "  ".join(map(_quantity, prediction.values))
    return "there  " + (", ".join(sorted(top.label for top in prediction.top)) or "nothing")


def _quantity(value: Value) -> str:
    return f"{value.name} {value.value:.4g} {value.unit or ''}".rstrip()


class Bars:
    """The terminal view: a row for each of some labels, with bars, which stay where they are; then rate, latency and dropped
    frames. The picture has the same number of lines, none of them wrapped, whatever the scores are.

    top_k: rows; None shows all of a few labels, and FEW_OF_MANY of many.
    """

    def __init__(self, program: Program, top_k: int | None = None, columns: int | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self.program, self.top_k = program, top_k
        self.live = Live(console=Console(stderr=True, width=columns), auto_refresh=False, transient=True)
        self.shown_at = 0.0
        self.rows: list[int] = []  # indices of the labels that are shown, top to bottom

    def begin(self, playback: Playback) -> None:
        self.arrivals: deque[tuple[float, int]] = deque(maxlen=240)  # (wall clock, frames so far)
        self.rows = []
        self.seen: list[Prediction] = []  # the first few
        self.live.start()

    def show(self, prediction: Prediction, playback: Playback) -> None:
        now = time.monotonic()
        if len(self.seen) < HELD:
            self.seen.append(prediction)
        self.arrivals.append((now, playback.frames))
        while now - self.arrivals[0][0] > 2:
            self.arrivals.popleft()
        if prediction.event is not None:
            event = prediction.event
            self.live.console.print(
                f"{event.pts_s:8.2f} s  {event.label}  {event.score:.2f}", style="bold", highlight=False, markup=False
            )
        if prediction.alert is not None:
            self.live.console.print(
                f"{prediction.alert.pts_s:8.2f} s  {alarming(prediction.alert)}", style="bold red", highlight=False, markup=False
            )
        if now - self.shown_at >= REFRESH_S:
            self.shown_at = now
            self.live.update(self.picture(prediction, playback), refresh=True)

    def end(self, outcome: Outcome) -> None:
        self.live.stop()
        if 0 < len(self.seen) < HELD and self.program.metadata.events is None:
            print("\n".join(_ranked(self.seen[-1])))  # the bars are gone before anybody could read them

    def picture(self, prediction: Prediction, playback: Playback) -> Any:
        from rich.text import Text

        from everyframe.cli.show.console import middle

        name = middle(playback.source.name, self.live.console.width - 34)
        lines = [(f"{name}  {prediction.pts_s:8.2f} s  frame {prediction.frame}", "dim")]
        lines += [(f"  {_quantity(value)}", "") for value in prediction.values] or self._bars(prediction)
        rate = f"{self._rate():.0f} frames/s" if len(self.arrivals) > 1 else ""
        lines.append((f"  {rate}  step {prediction.latency_ms:.1f} ms  dropped {playback.dropped}   Ctrl-C ends", "dim"))
        return Text("\n", no_wrap=True, overflow="ellipsis").join(
            line if isinstance(line, Text) else Text(line, style) for line, style in lines
        )

    def _bars(self, prediction: Prediction) -> list[tuple[Any, str]]:
        from rich.cells import cell_len
        from rich.text import Text

        from everyframe.cli.show.console import middle, padded
        from everyframe.runtime.prediction import shares

        scores = shares(prediction.scores)
        labels = self.program.labels_for(len(scores))
        self.rows = _placed(self.rows, scores, self.top_k or (len(labels) if len(labels) <= FEW else FEW_OF_MANY))
        room = self.live.console.width - 2 - 2 - 2 - 4 - 1
        width = min(max(map(cell_len, labels)), room * 2 // 3)
        most = min(BAR, room - width)
        lead = {top.index for top in prediction.top} if prediction.task == "multilabel" else {int(scores.argmax())}
        made: list[tuple[Any, str]] = []
        for row in self.rows:
            bar = "█" * round(min(max(float(scores[row]), 0.0), 1.0) * most)
            style = "bold green" if row in lead else "green"
            name = padded(middle(labels[row], width), width)
            made.append((Text.assemble(f"  {name}  ", (f"{bar:<{most}}", style), f"  {scores[row]:.2f}"), ""))
        return made

    def _rate(self) -> float:
        (begun, first), (now, last) = self.arrivals[0], self.arrivals[-1]
        return (last - first) / (now - begun) if now > begun else 0.0


def _placed(rows: Sequence[int], scores: np.ndarray, count: int) -> list[int]:
    """Which labels are shown where: all in their own order if there is room; else who comes among the best takes the place of the
    lowest of those that have left them, and nobody else moves.
    """
    if count >= len(scores):
        return list(range(len(scores)))
    best = [int(i) for i in (-scores).argsort(kind="stable")[:count]]
    if not rows:
        return best
    placed, new = list(rows), [i for i in best if i not in rows]
    free = sorted((place for place, row in enumerate(rows) if row not in best), key=lambda place: scores[rows[place]])
    for place, row in zip(free, new, strict=False):
        placed[place] = row
    return placed
