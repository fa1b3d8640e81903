"""Running videos through programs on the command line: shows, counts, survives Ctrl-C. Shared by predict and demo."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everyframe.cli.show import marked, timeline
from everyframe.cli.show.live import View
from everyframe.cli.show.marked import Marks
from everyframe.cli.show.outcome import Outcome, Tally, names
from everyframe.cli.show.timeline import Part, Timeline
from everyframe.errors import EveryframeError
from everyframe.video import as_fps

if TYPE_CHECKING:
    from everyframe.cli.show.alarm import Alarm
    from everyframe.cli.show.window import Window
    from everyframe.runtime import Playback, Prediction, Program
    from everyframe.video import Source
    from everyframe.video.supervise import Change, Gap

THUMBNAIL = 66  # short side of the pictures on a timeline
SIDE = 360  # and of those in a window
_LONGEST = 240  # bytes of a file's name, with room for a number: systems take 255


@dataclass
class Seen:
    """What one model said of one video."""

    name: str
    program: Program
    playback: Playback
    timeline: Timeline = field(default_factory=Timeline)
    marks: Marks | None = None  # of all of it
    recent: Marks | None = None

    @property
    def part(self) -> Part:
        rule = self.program.metadata.events
        self.timeline.labels = self.program.labels
        return Part(self.name, self.timeline, rule.background if rule else None, rule.threshold if rule else None)


def watch(
    programs: Mapping[str, Program],
    sources: Sequence[Source],
    views: Sequence[View],
    picture: Path | None = None,
    video: Path | None = None,
    alarm: Alarm | None = None,
    window: Window | None = None,
    **options: Any,
) -> list[Tally]:
    """Each source through a fresh stream of each program, by the models' names; a tally and a view for each. One bad source does
    not keep the others from being run; Ctrl-C ends all of them. picture, video: files for each source to be shown in. alarm:
    told every prediction of the first program. window: shows the newest picture; to close it ends all of them.
    """
    tallies = [Tally() for _ in programs]
    called = names(sources)
    pictures, videos = (targets(path, called) if path else [] for path in (picture, video))
    options |= {"thumbnails": THUMBNAIL if picture else 0, "preview": SIDE if window else 0}
    playbacks = _playbacks(list(programs.values()), sources, changed=said, **options)
    try:
        for place, name in enumerate(called):
            seen: list[Seen] = []
            for number, (model, program) in enumerate(programs.items()):
                if (playback := next(playbacks, None)) is None:  # which Ctrl-C may end
                    return tallies
                rule = program.metadata.events
                background = rule.background if rule else None
                marks = Marks(model if len(programs) > 1 else "", background) if video else None
                tallies[number].outcomes.append(Outcome(playback.source, name, background, program.ending.task == "regress"))
                recent = Marks(model if len(programs) > 1 else "", background) if window else None
                seen.append(Seen(model, program, playback, marks=marks, recent=recent))
                _one(seen[-1], views[number], bool(picture), None if number else alarm, tallies[number], window)
                if tallies[number].interrupted:
                    break
            ran = [one for one in seen if one.playback.frames]
            if picture and ran:
                _save(pictures[place], ran)
                tallies[0].pictures.append(pictures[place])
            if any(tally.interrupted for tally in tallies):
                break
            if video and ran:
                _mark(videos[place], ran, tallies[0], cut=any(options.get(key) for key in ("max_frames", "seconds")))
    except KeyboardInterrupt:  # between two videos
        tallies[0].interrupted = True
    finally:
        playbacks.close()  # and with them the decode processes
    return tallies


def _playbacks(programs: Sequence[Program], sources: Sequence[Source], **options: Any) -> Generator[Playback, None, None]:
    """Source by source, of each program."""
    if len(programs) == 1:
        yield from programs[0].play_all(sources, **options)
        return
    for source in sources:
        for program in programs:
            with program.play(source, **options) as playback:
                yield playback


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
    room = _LONGEST - len(os.fsencode(picture.name)) - 1
    for name in names:
        own = Path(name).stem if stems[Path(name).stem] == 1 else name.replace("/", "_")
        if len(os.fsencode(own)) > room:
            own = os.fsencode(own)[:room].decode(errors="ignore")
        told.append(next(each for n in count(1) if (each := own if n == 1 else f"{own}-{n}") not in told))
    return [picture.with_name(f"{picture.stem}.{each}{picture.suffix}") for each in told]


def _one(seen: Seen, view: View, picture: bool, alarm: Alarm | None, tally: Tally, window: Window | None) -> None:
    begun, outcome, playback = time.perf_counter(), tally.outcomes[-1], seen.playback
    look = alarm.watch(outcome.name) if alarm else None
    try:
        view.begin(playback)
        for found in playback:
            prediction = look(found) if look else found
            outcome.add(prediction, seen.program)
            tally.latencies_ms.append(prediction.latency_ms)
            if picture:
                seen.timeline.add(prediction)
            if seen.marks is not None:
                seen.marks.add(prediction)
            view.show(prediction, playback)
            if window is not None and seen.recent is not None and not _shown(seen.recent, prediction, playback, window):
                tally.interrupted = True
                break
    except KeyboardInterrupt:
        tally.interrupted = True
    except EveryframeError as error:
        outcome.error = error
    finally:
        playback.close()
        outcome.close(playback)
        view.end(outcome)
        tally.wall_s += time.perf_counter() - begun


def _shown(marks: Marks, prediction: Prediction, playback: Playback, window: Window) -> bool:
    """Whether the window is still open."""
    marks.add(prediction)
    return playback.preview is None or window.show(marked.now(marks, playback.preview.data))


def _save(path: Path, seen: Sequence[Seen]) -> None:
    """Models one below the other."""
    first, program, parts = seen[0].playback, seen[0].program, [one.part for one in seen]
    what = [f"{first.last_pts_s:.1f} s"]
    if len(parts) == 1:
        events = len(parts[0].timeline.events)
        what += [f"{first.frames} frames at {program.rate:g} fps", f"{parts[0].timeline.predictions} predictions"]
        what += [f"{events} event{'s' * (events != 1)}"] if program.metadata.events else []
    title = f"{first.source.name}    {', '.join(part.name for part in parts)}"
    timeline.save(path, parts, title=title, subtitle=" · ".join(what), thumbnails=first.thumbnails, end_s=first.last_pts_s)


def _mark(path: Path, seen: Sequence[Seen], tally: Tally, *, cut: bool) -> None:
    from everyframe.progress import status

    first, fps = seen[0].playback, seen[0].program.metadata.preprocess.fps
    rate = as_fps(fps) if fps else Fraction(25)
    with status(f"writing {path.name}"):
        notes = marked.write(
            path, first.source, [one.marks for one in seen if one.marks], end_s=first.last_pts_s, rate=rate, cut=cut
        )
    tally.outcomes[-1].notes = [*tally.outcomes[-1].notes, *notes]
    tally.videos.append(path)
