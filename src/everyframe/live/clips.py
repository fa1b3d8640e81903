"""Pictures and videos of events, and how long they are kept.

A snapshot is the newest preview when an event begins; a video is what the camera sent around it, as it was coded. A thread of its
own writes both, so that a slow disk holds nothing up; what cannot be written is counted and said.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import io
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from everyframe.errors import OutputError
from everyframe.files import make_folder, write_bytes
from everyframe.live.events import CameraEvent
from everyframe.video.masks import Polygon
from everyframe.video.packets import Recording
from everyframe.video.remux import save

#: seconds between two looks at what is kept: one at 9,000 files takes 60 ms of a processor
TIDY_S = 60.0
#: files that are deleted before the folder is looked at once more
_OLDEST = 256
#: what is ours in the folder: `CameraEvent.id` and a suffix
_OURS = re.compile(r"\d{8}T\d{6}-.+-\d+\.(jpg|mp4|mkv)$")
#: videos, and pictures, that wait for a slow disk; those of further events are left out and counted
WAITING = 16
#: seconds after its end that a video may come late
_LATE_S = 0.5
_TOO_LATE = "no time was left at the end"


@dataclass(slots=True)
class _Job:
    """A video that is not over yet, and who is told when it is written."""

    event: CameraEvent
    recording: Recording
    masks: Sequence[Polygon]
    done: Callable[[CameraEvent], None]
    due: float = float("inf")  # on the monotonic clock
    told: bool = False


@dataclass
class Keeper:
    """folder: made by `prepare`, where it is not there. days, most: how long snapshots and videos are kept, and how many bytes of
    them; the oldest go first. lost: how many could not be written; failed: the last of them, and why.
    """

    folder: Path
    days: float = 14.0
    most: int = 10 << 30
    lost: int = 0
    failed: deque[str] = field(default_factory=lambda: deque(maxlen=20))

    def prepare(self) -> None:
        """Raises OutputError."""
        make_folder(self.folder)
        self.tidy()

    def __post_init__(self) -> None:
        self._tidied = time.monotonic()
        self._jobs: list[_Job] = []
        self._writing: list[_Job] = []
        self._pictures: list[tuple[CameraEvent, np.ndarray, Callable[[CameraEvent], None]]] = []
        self._changed = threading.Condition()
        self._until: float | None = None  # from when on nothing is waited for any more
        self._thread = threading.Thread(target=self._work, name="everyframe clips", daemon=True)
        self._thread.start()

    def snapshot(self, event: CameraEvent, picture: np.ndarray, done: Callable[[CameraEvent], None]) -> None:
        """picture: (h, w, 3) uint8 RGB. done: called in the thread that writes, when it is there."""
        with self._changed:
            if len(self._pictures) < WAITING:
                self._pictures.append((event, picture, done))
                self._changed.notify()
            else:
                self._failed_at(event.id, "too many at once, or too slow")

    def begin(
        self, event: CameraEvent, recording: Recording, masks: Sequence[Polygon], done: Callable[[CameraEvent], None]
    ) -> None:
        """done: called when the event is over and its video is there or cannot be, in the thread that writes."""
        with self._changed:
            if len(self._jobs) >= WAITING:
                recording.stop()
                self._failed_at(event.id, "too many at once, or too slow")
            self._jobs.append(_Job(event, recording, masks, done))

    def end(self, event: CameraEvent, after: float) -> None:
        """The event is over; so many seconds more are wanted."""
        now = time.monotonic()
        with self._changed:
            for job in self._jobs:
                if job.event is event and job.due == float("inf"):
                    job.recording.until = now + after
                    job.due = now + (0 if job.recording.over else after + _LATE_S)
            self._changed.notify()

    def close(self, seconds: float) -> None:
        """Writes what there is, for so many seconds at most."""
        with self._changed:
            self._until = time.monotonic() + seconds
            for job in self._jobs:
                job.due = min(job.due, time.monotonic())
            self._changed.notify()
        self._thread.join(seconds)
        with self._changed:
            waiting, self._jobs = self._jobs, []
        for job in waiting:
            if job.recording.packets:
                self._failed_at(job.event.id, _TOO_LATE)
        for job in [*self._writing, *waiting]:  # for which there was no time: the event is told all the same
            self._tell(job)

    def tidy(self) -> None:
        """Deletes what is too old or too much. Of tens of thousands of files only the oldest are remembered."""
        self._tidied, before = time.monotonic(), time.time() - self.days * 86_400
        deleted = _OLDEST
        while deleted == _OLDEST:  # else those were all
            total, deleted, oldest = 0, 0, list[tuple[float, str, int]]()  # a heap, the youngest of them first
            for at, name, size in self._kept():
                total += size
                (heapq.heappush if len(oldest) < _OLDEST else heapq.heappushpop)(oldest, (-at, name, size))
            for ago, name, size in sorted(oldest, reverse=True):
                if total > self.most or -ago < before:
                    with contextlib.suppress(OSError):
                        (self.folder / name).unlink()
                        total, deleted = total - size, deleted + 1

    def _kept(self) -> Iterator[tuple[float, str, int]]:
        """When it was written, name and bytes of each file of ours."""
        with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
            for entry in filter(lambda entry: _OURS.match(entry.name), entries):
                with contextlib.suppress(OSError):  # somebody else has deleted it
                    yield entry.stat().st_mtime, entry.name, entry.stat().st_size

    # in the thread

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._pictures and not self._ready():
                    if self._until is not None and not self._jobs:
                        return
                    self._changed.wait(self._wait())
                pictures, self._pictures = self._pictures, []
                self._writing = self._ready()[:1]  # pictures need not wait for many
                for job in self._writing:
                    self._jobs.remove(job)
            for event, picture, done in pictures:
                path = self.folder / f"{event.id}.jpg"
                if self._try(path, functools.partial(_picture, picture, path)):
                    event.snapshot = str(path)
                    done(event)
            for job in self._writing:
                self._video(job)
            if time.monotonic() - self._tidied >= TIDY_S:
                self.tidy()

    def _ready(self) -> list[_Job]:
        now = time.monotonic()
        return [job for job in self._jobs if job.due <= now or (job.recording.over and job.due < float("inf"))]

    def _wait(self) -> float | None:
        due = min((job.due for job in self._jobs), default=float("inf"))
        return None if due == float("inf") else max(0.0, min(due - time.monotonic(), 0.25))

    def _video(self, job: _Job) -> None:
        left = 60.0 if self._until is None else self._until - time.monotonic()
        job.recording.over = True

        def write() -> None:
            if left <= 0:
                raise OutputError("The clip cannot be written.", got=_TOO_LATE)
            job.event.video = str(save(job.recording, self.folder / job.event.id, job.masks, left))

        if job.recording.packets:
            self._try(self.folder / job.event.id, write)
        self._tell(job)

    def _tell(self, job: _Job) -> None:
        with self._changed:
            told, job.told = job.told, True
        if not told:
            job.done(job.event)

    def _try(self, path: Path, work: Callable[[], object]) -> bool:
        try:
            work()
            return True
        except Exception as error:  # whatever it is: the next one may be written
            self._failed_at(path.name, getattr(error, "got", None) or error)
            return False

    def _failed_at(self, name: str, why: object) -> None:
        self.lost += 1
        self.failed.append(f"{name}: {why}")


def _picture(picture: np.ndarray, path: Path) -> None:
    write_bytes(jpeg(picture), path)


def jpeg(picture: np.ndarray, quality: int = 85) -> bytes:
    """(h, w, 3) uint8 RGB -> a file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return file.getvalue()
