"""Running videos through a program on the command line: shows, counts, survives Ctrl-C, sums up. Shared by predict and
demo.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everyframe.cli.show.live import View
from everyframe.cli.show.timeline import Timeline
from everyframe.errors import EveryframeError

if TYPE_CHECKING:
    from everyframe.runtime import Playback, Program
    from everyframe.runtime.events import Event
    from everyframe.runtime.prediction import Prediction, Top
    from everyframe.video import Source

THUMBNAIL = 66  # short side of the pictures on a timeline


@dataclass
class Tally:
    """What came of a run. wall_s: from the first frame wanted to the last prediction. seconds: of video, over all
    sources. background: the label that is no event. closest: the best of the others, and when (seconds) in which source.
    """

    background: str | None = None
    closest: tuple[Top, float, str] | None = None
    frames: int = 0
    predictions: int = 0
    dropped: int = 0
    wall_s: float = 0.0
    seconds: float = 0.0
    first_s: float | None = None
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=100_000))
    rates: list[float] = field(default_factory=list)  # of the sources, frames a second
    events: list[tuple[str, Event]] = field(default_factory=list)
    failed: list[EveryframeError] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    interrupted: bool = False

    def note_closest(self, prediction: Prediction, source: str) -> None:
        top = next((top for top in prediction.top if top.label != self.background), None)
        if top is not None and (self.closest is None or top.score > self.closest[0].score):
            self.closest = top, prediction.pts_s, source

    def percentile(self, q: float) -> float:
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * q))] if ordered else 0.0


def watch(program: Program, sources: Sequence[Source], view: View, picture: Path | None = None, **options: Any) -> Tally:
    """Each source through a fresh stream. One bad source does not keep the others from being run; Ctrl-C ends all of
    them.
    """
    rule = program.metadata.events
    tally = Tally(background=rule.background if rule else None)
    playbacks = program.play_all(sources, thumbnails=THUMBNAIL if picture else 0, **options)
    try:
        for playback in playbacks:
            timeline = Timeline(program.labels) if picture else None
            _one(playback, view, timeline, tally)
            if timeline is not None and picture is not None and playback.frames:
                name = Path(playback.source.name).stem
                target = picture if len(sources) == 1 else picture.with_name(f"{picture.stem}.{name}.png")
                timeline.labels = program.labels
                _save(timeline, target, program, playback)
                tally.pictures.append(target)
            if tally.interrupted:
                break
    except KeyboardInterrupt:  # between two videos
        tally.interrupted = True
    finally:
        playbacks.close()  # and with them the decode processes
    return tally


def _one(playback: Playback, view: View, timeline: Timeline | None, tally: Tally) -> None:
    begun = time.perf_counter()
    try:
        view.begin(playback)
        _run(playback, view, timeline, tally)
    except KeyboardInterrupt:
        tally.interrupted = True
    except EveryframeError as error:
        tally.failed.append(error)
    finally:
        playback.close()
        view.end()
        tally.wall_s += time.perf_counter() - begun
        tally.frames += playback.frames
        tally.dropped += playback.dropped
        tally.seconds += playback.last_pts_s
        if playback.source_fps is not None:
            tally.rates.append(playback.source_fps)


def _run(playback: Playback, view: View, timeline: Timeline | None, tally: Tally) -> None:
    for prediction in playback:
        if tally.first_s is None:
            tally.first_s = prediction.pts_s
        tally.predictions += 1
        tally.latencies_ms.append(prediction.latency_ms)
        tally.note_closest(prediction, playback.source.name)
        if prediction.event is not None:
            tally.events.append((playback.source.name, prediction.event))
        if timeline is not None:
            timeline.add(prediction)
        view.show(prediction, playback)


def _save(timeline: Timeline, path: Path, program: Program, playback: Playback) -> None:
    meta = program.metadata
    rule = meta.events
    what = [
        f"{playback.last_pts_s:.1f} s",
        f"{playback.frames} frames at {program.rate:g} fps",
        f"{timeline.predictions} predictions",
    ]
    if rule is not None:
        what.append(f"{len(timeline.events)} event{'s' * (len(timeline.events) != 1)}")
    timeline.save(
        path,
        title=f"{playback.source.name}    {program.name}",
        subtitle=" · ".join(what),
        thumbnails=playback.thumbnails,
        background=rule.background if rule else None,
        threshold=rule.threshold if rule else None,
        end_s=playback.last_pts_s,
    )


def summary(tally: Tally, program: Program, *, several: bool) -> str:
    """What is said at the end."""
    meta = program.metadata
    rate = f"{program.rate:g} fps" if meta.preprocess.fps else "the video's own rate"
    lines = [f"frames       {tally.frames} ({tally.seconds:.2f} s of video, sampled at {rate})"]
    if own := [f"{rate:.4g}" for rate in dict.fromkeys((min(tally.rates), max(tally.rates)))] if tally.rates else []:
        lines.append(f"source       {' to '.join(dict.fromkeys(own))} fps")
    if tally.predictions and tally.first_s is not None:
        lines.append(f"predictions  {tally.predictions}, the first at {tally.first_s:.2f} s")
        speed = f"{tally.frames / tally.wall_s:.0f} frames/s, {tally.seconds / tally.wall_s:.1f}x real time"
        lines.append(f"time         {tally.wall_s:.2f} s: {speed}")
        what = "clip" if meta.kind == "clip" else "step"
        lines.append(f"{what}         p50 {tally.percentile(0.5):.2f} ms, p95 {tally.percentile(0.95):.2f} ms")
    else:
        needed = meta.frames if meta.kind == "clip" else (meta.feature_delay // meta.hop + 1) * meta.hop
        lines.append(f"predictions  none: the first comes after {needed} frames ({needed / program.rate:.2f} s)")
    lines.append(f"dropped      {tally.dropped}")
    lines.append(f"engine       {program.engine}" + (f": {program.engine_reason}" if program.engine_reason else ""))
    if meta.events is not None:
        lines.append(f"events       {len(tally.events)}")
        for name, event in tally.events:
            lines.append(f"{event.pts_s:10.2f} s  {event.label}  {event.score:.2f}" + (f"  ({name})" if several else ""))
        if not tally.events and tally.closest is not None:
            top, pts_s, name = tally.closest
            rule = f"an event needs {meta.events.threshold:g}, {meta.events.hold_steps} times in a row"
            lines.append(f"closest      {top.label} {top.score:.2f} at {pts_s:.2f} s{f' ({name})' if several else ''}; {rule}")
    lines += [f"timeline     {path}" for path in tally.pictures]
    return "\n".join(lines)


def exit_code(tally: Tally, *, several: bool) -> int:
    """Says what failed. One source: its error is raised, as everywhere. Several: each is printed, and the code is 2."""
    if tally.failed and not several and not tally.interrupted:
        raise tally.failed[0]
    for error in tally.failed:
        print(f"error: {error}", file=sys.stderr)
    return 130 if tally.interrupted else 2 if tally.failed else 0
