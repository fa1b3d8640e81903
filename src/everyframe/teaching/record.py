"""Recording examples, guided: for each gesture so many times a countdown, then a clip; at the end a pause, which is background.

All time is that of the source's own frames, so that a video file can stand in for a camera. Every clip is a file of its own as
soon as it is over: whatever ends the recording, what was recorded is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from everyframe.errors import OutputError, SourceError, UsageError
from everyframe.files import results_in, write_bytes
from everyframe.modelfile.schema import Preprocess
from everyframe.progress import TextProgress
from everyframe.video.frame import Frame
from everyframe.video.reader import Reader
from everyframe.video.sources import resolve

_MILLI = Fraction(1, 1000)
_HALF_MILLI_S = 5e-4  # files' times are not more exact


@dataclass(frozen=True)
class RecordingPlan:
    """gestures: their names. count: examples of each. seconds: length of an example. countdown: whole seconds before each.
    pause: seconds of background at the end, none if 0. short_side: of the recorded pictures, pixels.
    """

    gestures: tuple[str, ...]
    background: str
    count: int = 5
    seconds: float = 2.5
    countdown: int = 3
    pause: float = 10.0
    short_side: int = 240

    def check(self) -> None:
        """Raises UsageError for what cannot be recorded."""
        for name in self.gestures:
            if not name or name != Path(name).name or name.startswith("."):
                raise UsageError("This cannot be the name of a gesture.", got=repr(name), expected="a name for a folder")
            if name == self.background:
                raise UsageError(
                    "A gesture cannot be called like the background.",
                    got=name,
                    hint="the pause at the end is recorded as background",
                )
        if not self.gestures or len(set(self.gestures)) != len(self.gestures):
            raise UsageError(
                "Each gesture to record needs a name of its own.", where="--gesture", got=", ".join(self.gestures) or "none",
                hint="--gesture thumbs_up --gesture point",
            )  # fmt: skip

    def takes(self) -> Iterator[tuple[str, str, float]]:
        """What is recorded, in order: folder, what to say, seconds."""
        for name in self.gestures:
            for i in range(1, self.count + 1):
                yield name, f"gesture {name!r}, example {i} of {self.count}", self.seconds
        if self.pause:
            yield self.background, f"now anything but a gesture, for {self.pause:g} s", self.pause


def record(source: str | int, folder: Path, plan: RecordingPlan, progress: TextProgress) -> Sequence[Path]:
    """Writes folder/GESTURE/NNN.mp4 for each example, numbered on from what is there. Returns the files.

    A source that ends early ends the recording: what was over is kept. Raises SourceError, UsageError, OutputError.
    """
    plan.check()
    sources = resolve(source)
    if len(sources) != 1:
        raise SourceError("Examples are recorded from one source.", where=source, got=f"{len(sources)} videos")
    made: list[Path] = []
    with results_in(folder), Reader(sources[0], Preprocess(resize=plan.short_side)) as reader:
        for name, text, seconds in plan.takes():
            frames = _take(reader, text, seconds, plan.countdown, progress)
            if not frames:
                progress(f"{sources[0].name} is over; {len(made)} clips were recorded")
                break
            target = _next(folder / name)
            write_bytes(encode(frames), target)
            made.append(target)
    return made


def _take(reader: Reader, text: str, seconds: float, countdown: int, progress: TextProgress) -> list[Frame]:
    """The frames of one clip, those of the countdown passed by; empty where the source ends before."""
    begun: float | None = None
    said = countdown + 1
    frames: list[Frame] = []
    for frame in reader:
        begun = frame.pts_s if begun is None else begun
        left = begun + countdown - frame.pts_s
        if left > 0:
            if math.ceil(left) < said:
                said = math.ceil(left)
                progress(f"{text}: in {said}")
            continue
        if not frames:
            progress(f"{text}: go")
        frames.append(frame)
        if frame.pts_s - frames[0].pts_s >= seconds - _HALF_MILLI_S:
            return frames
    return []


def _next(folder: Path) -> Path:
    """A free file name; the folder is made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError("The folder for the clips cannot be made.", where=folder, got=error.strerror) from None
    taken = {int(path.stem) for path in folder.glob("*.mp4") if path.stem.isdecimal()}
    return folder / f"{max(taken, default=0) + 1:03d}.mp4"


def encode(frames: Sequence[Frame]) -> bytes:
    """An MP4 of RGB frames at their own times."""
    import io

    buffer = io.BytesIO()
    height, width = (size // 2 * 2 for size in frames[0].data.shape[:2])
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "18", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = _MILLI
        last = -1
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.data[:height, :width]), format="rgb24")
            last = max(last + 1, round((frame.pts_s - frames[0].pts_s) * 1000))
            picture.pts, picture.time_base = last, _MILLI
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return buffer.getvalue()
