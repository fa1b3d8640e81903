"""What came of a run: of each source its frames, peaks, events and error; of all of them a summary, a table and an exit code."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from everyframe.errors import EveryframeError

if TYPE_CHECKING:
    from everyframe.runtime import Playback, Program
    from everyframe.runtime.events import Alert, Event
    from everyframe.runtime.prediction import Prediction
    from everyframe.video import Source

#: columns of `--csv`: a row `file` for each source, behind it a row `event` for each of its events and `alert` for each of its
#: alerts, or `value` for each quantity
COLUMNS = ("file", "row", "label", "time_s", "score", "events", "seconds", "error")
#: events of several files that the summary lists; further ones are counted
LISTED = 20


class Best(NamedTuple):
    label: str
    score: float
    pts_s: float


@dataclass
class Outcome:
    """What came of one source. seconds: of video. fps: frames a second that it has. first_s: time of the first prediction.
    background: the label that is no event. quantities: labels name quantities, none of which is better than another.
    """

    source: Source
    name: str
    background: str | None = None
    quantities: bool = False
    frames: int = 0
    predictions: int = 0
    dropped: int = 0
    seconds: float = 0.0
    fps: float | None = None
    first_s: float | None = None
    events: list[Event] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # of what is no error
    error: EveryframeError | None = None
    _labels: Sequence[str] = ()
    _scores: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))  # (classes,), the highest
    _times: np.ndarray = field(default_factory=lambda: np.empty(0))  # (classes,), and when they were

    def add(self, prediction: Prediction, program: Program) -> None:
        from everyframe.runtime.prediction import shares

        scores = shares(prediction.scores)
        if self.first_s is None:
            self.first_s, self._labels = prediction.pts_s, program.labels_for(len(scores))
            self._scores, self._times = np.full(len(scores), -np.inf), np.zeros(len(scores))
        self.predictions += 1
        higher = scores > self._scores
        self._scores[higher], self._times[higher] = scores[higher], prediction.pts_s
        if prediction.event is not None:
            self.events.append(prediction.event)
        if prediction.alert is not None:
            self.alerts.append(prediction.alert)

    def close(self, playback: Playback) -> None:
        self.frames, self.dropped = playback.frames, playback.dropped
        self.seconds, self.fps = playback.last_pts_s, playback.source_fps
        self.notes = playback.notes

    @property
    def best(self) -> Best | None:
        """The highest score, and when: of labels that had an event, where there are events, else of all but the background."""
        wanted = {event.label for event in self.events} or set(self._labels) - {self.background}
        places = [i for i, label in enumerate(self._labels) if label in wanted and np.isfinite(self._scores[i])]
        if not places:
            return None
        place = max(places, key=lambda i: self._scores[i])
        return Best(self._labels[place], float(self._scores[place]), float(self._times[place]))

    def rows(self) -> Iterator[dict[str, Any]]:
        """As `COLUMNS` say."""
        best = None if self.quantities else self.best
        said = {} if best is None else _scored(best.label, best.pts_s, best.score)
        file = self.source.paths[0] if self.source.kind == "file" else self.source.name
        error = " ".join(str(part) for part in (self.error.what, self.error.got) if part) if self.error else ""
        seconds = f"{self.seconds:.3f}"
        yield {"file": file, "row": "file", **said, "events": len(self.events), "seconds": seconds, "error": error}
        for row, found in (("event", self.events), ("alert", self.alerts)):
            for each in found:
                yield {"file": file, "row": row, **_scored(each.label, each.pts_s, each.score)}
        for label, value, time_s in zip(self._labels, self._scores, self._times, strict=True) if self.quantities else ():
            yield {"file": file, "row": "value", **_scored(label, time_s, value)}


def _scored(label: str, time_s: float, score: float) -> dict[str, str]:
    return {"label": label, "time_s": f"{time_s:.3f}", "score": f"{score:.4f}"}


@dataclass
class Tally:
    """What came of a run. wall_s: from the first frame wanted to the last prediction."""

    outcomes: list[Outcome] = field(default_factory=list)
    wall_s: float = 0.0
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=100_000))
    pictures: list[Path] = field(default_factory=list)
    videos: list[Path] = field(default_factory=list)
    interrupted: bool = False
    alarmed: bool = False  # alerts were looked for
    undelivered: list[str] = field(default_factory=list)  # what did not arrive of them, and why

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.error is not None]

    def total(self, what: str) -> Any:
        return sum(getattr(outcome, what) for outcome in self.outcomes)

    def percentile(self, q: float) -> float:
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * q))] if ordered else 0.0


def together(tallies: Sequence[Tally]) -> Tally:
    """What came of all of them, for the exit code."""
    outcomes = [outcome for tally in tallies for outcome in tally.outcomes]
    return Tally(outcomes, interrupted=any(tally.interrupted for tally in tallies))


def names(sources: Sequence[Source]) -> list[str]:
    """What sources are called in lines: files by their path below the folder that all of them are in."""
    paths = {id(s): Path(s.paths[0]).absolute() for s in sources if s.kind == "file"}
    base = os.path.commonpath([path.parent for path in paths.values()]) if paths else ""
    found = (os.path.relpath(paths[id(s)], base) if id(s) in paths else s.name for s in sources)
    return ["".join(c if c.isprintable() else "?" for c in name) for name in found]


def table(tallies: Mapping[str, Tally]) -> bytes:
    """The file of `--csv`, with a column of models where there are several. Names that are no text keep their bytes."""
    text, several = io.StringIO(newline=""), len(tallies) > 1
    writer = csv.DictWriter(text, ["model", *COLUMNS] if several else COLUMNS, lineterminator="\n")
    writer.writeheader()
    for model, tally in tallies.items():
        for row in (row for outcome in tally.outcomes for row in outcome.rows()):
            writer.writerow({"model": model, **row} if several else row)
    return text.getvalue().encode("utf-8", "surrogateescape")


def summary(tally: Tally, program: Program, *, several: bool) -> str:
    """What is said at the end."""
    meta = program.metadata
    frames, predictions, seconds = tally.total("frames"), tally.total("predictions"), tally.total("seconds")
    rate = f"{program.rate:g} fps" if meta.preprocess.fps else "the video's own rate"
    lines = [f"files        {len(tally.outcomes)}, {len(tally.failed) or 'none'} failed"] if several else []
    lines.append(f"frames       {frames} ({seconds:.2f} s of video, sampled at {rate})")
    if rates := [outcome.fps for outcome in tally.outcomes if outcome.fps is not None]:
        own = dict.fromkeys(f"{rate:.4g}" for rate in (min(rates), max(rates)))
        lines.append(f"source       {' to '.join(own)} fps")
    if predictions:
        first = "" if several else f", the first at {tally.outcomes[0].first_s:.2f} s"
        lines.append(f"predictions  {predictions}{first}")
        lines.append(
            f"time         {tally.wall_s:.2f} s: {frames / tally.wall_s:.0f} frames/s, {seconds / tally.wall_s:.1f}x real time"
        )
        what = "clip" if meta.kind == "clip" else "step"
        lines.append(f"{what}         p50 {tally.percentile(0.5):.2f} ms, p95 {tally.percentile(0.95):.2f} ms")
    else:
        needed = meta.frames if meta.kind == "clip" else (meta.feature_delay // meta.hop + 1) * meta.hop
        lines.append(f"predictions  none: the first comes after {needed} frames ({needed / program.rate:.2f} s)")
    lines.append(f"dropped      {tally.total('dropped')}")
    lines.append(f"engine       {program.engine}" + (f": {program.engine_reason}" if program.engine_reason else ""))
    lines += _events(tally, program, several)
    lines += _alerts(tally, several)
    lines += _notes(tally, several)
    lines += [f"timeline     {path}" for path in tally.pictures] + [f"video        {path}" for path in tally.videos]
    return "\n".join(lines)


def _events(tally: Tally, program: Program, several: bool) -> Iterator[str]:
    rule = program.metadata.events
    if rule is None:
        return
    events = [(event, outcome.name) for outcome in tally.outcomes for event in outcome.events]
    yield f"events       {len(events)}"
    for event, name in events[: LISTED if several else None]:
        yield f"{event.pts_s:10.2f} s  {event.label}  {event.score:.2f}" + (f"  ({name})" if several else "")
    if several and len(events) > LISTED:
        yield f"             and {len(events) - LISTED} more: --csv FILE has all of them"
    near = [(best, outcome.name) for outcome in tally.outcomes if (best := outcome.best) is not None]
    if near and not events:
        best, name = max(near, key=lambda pair: pair[0].score)
        needs = f"an event needs {rule.threshold:g}, {rule.hold_steps} times in a row"
        yield f"closest      {best.label} {best.score:.2f} at {best.pts_s:.2f} s{f' ({name})' if several else ''}; {needs}"


def _alerts(tally: Tally, several: bool) -> Iterator[str]:
    if tally.alarmed:
        yield f"alerts       {sum(len(outcome.alerts) for outcome in tally.outcomes)}"
        if not several:
            yield from (f"{each.pts_s:10.2f} s  {each.label}  {each.score:.2f}" for each in tally.outcomes[0].alerts)
        yield from (f"note         {problem}" for problem in tally.undelivered)


def _notes(tally: Tally, several: bool) -> Iterator[str]:
    found: dict[str, list[str]] = {}
    for outcome in tally.outcomes:
        for note in outcome.notes:
            found.setdefault(note, []).append(outcome.name)
    for note, where in found.items():
        more = f" and {len(where) - 1} more" if len(where) > 1 else ""
        yield f"note         {f'{where[0]}{more}: ' if several else ''}{note}"


def exit_code(tally: Tally, *, several: bool) -> int:
    """Says what failed. One source: its error is raised, as everywhere. Several: the first error of each kind is printed, with
    the names of the others, and the code is 2.
    """
    kinds: dict[str, list[Outcome]] = {}
    for outcome in tally.outcomes:
        if outcome.error is None:
            continue
        if not several and not tally.interrupted:
            raise outcome.error
        kinds.setdefault(outcome.error.what, []).append(outcome)
    for first, *others in kinds.values():
        print(f"error: {first.error}", file=sys.stderr)
        if others:
            print(f"  {'also:':<10}{', '.join(dict.fromkeys(outcome.name for outcome in others))}", file=sys.stderr)
    return 130 if tally.interrupted else 2 if tally.failed else 0
