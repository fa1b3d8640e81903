"""A video on its way to predictions, stage by stage, and what remains of the sum when stages work at the same time. Of a network
that is split the step is told part by part.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from everyframe.errors import SourceError, UsageError
from everyframe.modelfile.interface import check_pictures
from everyframe.runtime.engine import Frames, Run
from everyframe.runtime.pipeline import SerialRun
from everyframe.runtime.program import Program
from everyframe.runtime.stream import ClipStream, Stream
from everyframe.video import prepare, sample
from everyframe.video.decode import decode
from everyframe.video.frame import Frame
from everyframe.video.sources import Source

#: predictions that do not count
WARM = 2


@dataclass(frozen=True)
class Stages:
    """Milliseconds a frame of the model's rate, medians. decode: with the frames that are left out. postprocess: scores, labels,
    events. whole: of `predict`, by the clock, where decoding has a process of its own, which takes until first_ms to
    start and bring the first prediction. networks: the step part by part, by file where the network is split.
    """

    model: str
    engine: str
    threads: int
    video: str
    frames: int
    decode: float
    preprocess: float
    step: float
    postprocess: float
    whole: float
    first_ms: float
    networks: Mapping[str, float]

    @property
    def parts(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in ("decode", "preprocess", "step", "postprocess")}

    @property
    def overlap(self) -> float:
        """The share of the stages' sum that takes no time of its own, since other stages work meanwhile."""
        return max(0.0, 1 - self.whole / sum(self.parts.values()))

    @property
    def serial_fps(self) -> float:
        """1 / (preprocess + inference), as articles count."""
        return 1e3 / (self.preprocess + self.step)

    @property
    def fps(self) -> float:
        """Frames a second that really go through."""
        return 1e3 / self.whole

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "overlap": self.overlap, "serial_fps": self.serial_fps, "fps": self.fps}


class _Timed:
    """A program whose steps tell how long they take."""

    def __init__(self, program: Program) -> None:
        self._program, self.spent = program, 0.0
        self.parts: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._program, name)

    def start(self) -> Run:
        return _TimedRun(self._program.start(), self)


class _TimedRun:
    def __init__(self, run: Run, owner: _Timed) -> None:
        self._run, self._owner = run, owner

    @property
    def others(self) -> Mapping[str, np.ndarray]:
        return self._run.others

    def step(self, frames: Frames) -> np.ndarray:
        begun = time.perf_counter()
        answer = self._run.step(frames)
        took = time.perf_counter() - begun
        self._owner.spent += took
        self._owner.parts.update(self._run.spent if isinstance(self._run, SerialRun) else {"network": took})
        return answer

    def reset(self) -> None:
        self._run.reset()


def stages(program: Program, source: Source, max_frames: int = 200, threads: int = 1) -> Stages:
    """A recording through a model of pictures. Raises SourceError where it is too short, ModelError for a model of arrays,
    UsageError for stages of a split one that work at the same time: they have no time of their own.
    """
    if program.overlap:
        raise UsageError("Stages that overlap cannot be timed one by one.", where=program.path, hint="leave --overlap out")
    check_pictures(program.interface, program.path)
    preprocess = program.metadata.preprocess
    begun, pictures = time.perf_counter(), []
    for frame in sample(decode(source), fps=preprocess.fps, every_n=preprocess.sample_every_n, live=False):
        pictures.append(frame.picture)
        if len(pictures) == max_frames:
            break
    decoding = time.perf_counter() - begun
    timed = _Timed(program)
    stream: Stream = (ClipStream if program.metadata.kind == "clip" else Stream)(timed)
    each = stream.stride if isinstance(stream, ClipStream) else stream.hop
    rows: list[tuple[float, float, float]] = []  # of as many frames as a prediction takes
    parts: list[dict[str, float]] = []
    before = prepared = pushed = 0.0
    for number, picture in enumerate(pictures):
        at = time.perf_counter()
        ready = prepare(picture, preprocess)
        then = time.perf_counter()
        stream.push_frame(Frame(ready, number / program.rate, number))
        prepared, pushed = prepared + then - at, pushed + time.perf_counter() - then
        if (number + 1) % each == 0:
            inside = timed.spent - before
            if inside:
                rows.append((prepared, inside, pushed - inside))
                parts.append(dict(timed.parts))
            before, prepared, pushed = timed.spent, 0.0, 0.0
            timed.parts.clear()
    counted = rows[WARM:]
    begun, said = time.perf_counter(), []
    with program.play(source, max_frames=len(pictures)) as playback:
        for _ in playback:
            said.append(time.perf_counter())
    if not counted or len(said) < 2:  # what the network has not seen enough of gives steps, and no predictions
        raise SourceError(
            "The video is too short to be timed.", where=source.name, expected=f"more than {WARM} predictions",
            got=f"{len(pictures)} frames at {program.rate:g} a second",
        )  # fmt: skip
    ready_ms, step_ms, after_ms = (median(row[i] for row in counted) * 1e3 / each for i in range(3))
    count = len(pictures)
    return Stages(
        program.name, program.engine, threads, source.name, count, decoding * 1e3 / count, ready_ms, step_ms, after_ms,
        (said[-1] - said[0]) * 1e3 / (len(said) - 1) / each, (said[0] - begun) * 1e3,
        {name: median(row[name] for row in parts[WARM:]) * 1e3 / each for name in parts[0]},
    )  # fmt: skip
