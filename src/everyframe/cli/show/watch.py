"""Running videos through a program on the command line: shows, counts, survives Ctrl-C. Shared by predict and demo."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everyframe.cli.show.live import View
from everyframe.cli.show.outcome import Outcome, Tally, names
from everyframe.cli.show.timeline import Timeline
from everyframe.errors import EveryframeError

if TYPE_CHECKING:
    from everyframe.cli.show.alarm import Alarm
    from everyframe.runtime import Playback, Program
    from everyframe.video import Source
    from everyframe.video.supervise import Change, Gap

THUMBNAIL = 66  # short side of the pictures on a timeline


def watch(
    program: Program,
    sources: Sequence[Source],
    view: View,
    picture: Path | None = None,
    alarm: Alarm | None = None,
    **options: Any,
) -> Tally:
    """Each source through a fresh stream. One bad source does not keep the others from being run; Ctrl-C ends all of
    them. alarm: told every prediction.
    """
    rule = program.metadata.events
    tally = Tally()
    pictures = targets(picture, names(sources)) if picture else []
    playbacks = program.play_all(sources, thumbnails=THUMBNAIL if picture else 0, changed=said, **options)
    try:
        for playback, name in zip(playbacks, names(sources), strict=False):  # which Ctrl-C may end
            timeline = Timeline(program.labels) if picture else None
            quantities = program.ending.task == "regress"
            tally.outcomes.append(Outcome(playback.source, name, rule.background if rule else None, quantities))
            _one(program, playback, view, timeline, alarm, tally)
            if timeline is not None and playback.frames:
                target = pictures[len(tally.outcomes) - 1]
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


def said(what: Change | Gap) -> None:
    """A line on stderr for what happens to a camera, but not for its beginning and its end."""
    from everyframe.video.supervise import Gap

    if isinstance(what, Gap):
        print(f"no pictures for {what.seconds:.1f} s: the network begins anew", file=sys.stderr)
    elif what.reason and what.state != "stopped":
        print(f"camera {what.state}{' again' if what.state == 'live' else ':'} {what.reason}", file=sys.stderr)


def targets(picture: Path, names: Sequence[str]) -> list[Path]:
    """A file for each of several: `out.NAME.png`, by stems; by whole names where stems are alike; then by numbers."""
    if len(names) == 1:
        return [picture]
    stems = Counter(Path(name).stem for name in names)
    told: list[str] = []
    for name in names:
        own = Path(name).stem if stems[Path(name).stem] == 1 else name.replace("/", "_")
        told.append(next(each for n in count(1) if (each := own if n == 1 else f"{own}-{n}") not in told))
    return [picture.with_name(f"{picture.stem}.{each}.png") for each in told]


def _one(program: Program, playback: Playback, view: View, timeline: Timeline | None, alarm: Alarm | None, tally: Tally) -> None:
    begun, outcome = time.perf_counter(), tally.outcomes[-1]
    look = alarm.watch(outcome.name) if alarm else None
    try:
        view.begin(playback)
        for found in playback:
            prediction = look(found) if look else found
            outcome.add(prediction, program)
            tally.latencies_ms.append(prediction.latency_ms)
            if timeline is not None:
                timeline.add(prediction)
            view.show(prediction, playback)
    except KeyboardInterrupt:
        tally.interrupted = True
    except EveryframeError as error:
        outcome.error = error
    finally:
        playback.close()
        outcome.close(playback)
        view.end(outcome)
        tally.wall_s += time.perf_counter() - begun


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
