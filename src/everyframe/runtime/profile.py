"""Where the time of a step goes: preparing the frames, then the network, part by part where it is split."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from everyframe.errors import SourceError, UsageError
from everyframe.modelfile.interface import check_pictures
from everyframe.runtime.pipeline import SerialRun
from everyframe.runtime.program import Program
from everyframe.video import normalize, prepare, sample
from everyframe.video.decode import decode
from everyframe.video.sources import Source

WARM = 2  # steps that are not counted


@dataclass(frozen=True)
class Profile:
    """Medians in milliseconds of a step. preprocess: resize, crop, normalize; decoding is not in it. parts: name -> time."""

    steps: int
    hop: int
    preprocess_ms: float
    parts: dict[str, float]

    @property
    def inference_ms(self) -> float:
        return sum(self.parts.values())

    @property
    def fps(self) -> float:
        """Frames a second if one frame is prepared and computed after another: 1 / (preprocess + inference)."""
        return self.hop * 1e3 / (self.preprocess_ms + self.inference_ms)

    def to_dict(self) -> dict[str, Any]:
        return {
            "steps": self.steps, "hop": self.hop, "preprocess_ms": round(self.preprocess_ms, 4),
            "inference_ms": round(self.inference_ms, 4), "fps": round(self.fps, 2),
            "parts": {name: round(value, 4) for name, value in self.parts.items()},
        }  # fmt: skip


def profile(program: Program, source: Source, max_frames: int = 200) -> Profile:
    """Runs a video through a step model, one thing after another, in this process. Raises SourceError, UsageError."""
    metadata = program.metadata
    if metadata.kind != "step" or program.overlap:
        raise UsageError(
            "Only the steps of a step model can be timed part by part.", where=program.path,
            got="stages that overlap" if program.overlap else f"a {metadata.kind} model", hint="leave --profile or --overlap out",
        )  # fmt: skip
    check_pictures(program.interface, program.path)
    run = program.start()
    preprocess = metadata.preprocess
    rows: list[dict[str, float]] = []
    pictures: list[np.ndarray] = []
    spent = 0.0
    frames = sample(decode(source), fps=preprocess.fps, every_n=preprocess.sample_every_n, live=source.live)
    for number, frame in enumerate(frames):
        if number == max_frames:
            break
        begun = time.perf_counter()
        pictures.append(prepare(frame.picture, preprocess))
        if len(pictures) == metadata.hop:
            batch = np.stack(pictures)
            tensor = batch if program.interface.folded else normalize(batch, preprocess)
            ready = time.perf_counter()
            run.step(tensor)
            parts = run.spent if isinstance(run, SerialRun) else {"network": time.perf_counter() - ready}
            rows.append({"": spent + ready - begun, **parts})
            pictures, spent = [], 0.0
        else:
            spent += time.perf_counter() - begun
    if len(rows) <= WARM:
        raise SourceError(
            "The video is too short to be timed.", where=source.name, expected=f"more than {WARM * metadata.hop} frames",
            got=f"{len(rows)} steps of {metadata.hop}",
        )  # fmt: skip
    times = {name: median(row[name] for row in rows[WARM:]) * 1e3 for name in rows[0]}
    preprocess_ms = times.pop("")
    return Profile(len(rows) - WARM, metadata.hop, preprocess_ms, times)
