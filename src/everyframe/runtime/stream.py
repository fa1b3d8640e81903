"""A stream: one video going through a program. It owns the state; the weights belong to the program and are shared."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from everyframe.errors import StateError, UsageError
from everyframe.runtime.handed import Pace, one, picture, seconds
from everyframe.runtime.prediction import Prediction, Top, best, not_finite, quantities, read, shares
from everyframe.runtime.several import Several
from everyframe.video.arrays import fits
from everyframe.video.frame import Decoded, Frame
from everyframe.video.preprocess import normalize, prepare
from everyframe.video.sampling import Ticks

if TYPE_CHECKING:
    from everyframe.modelfile.ending import Ending
    from everyframe.modelfile.interface import Interface
    from everyframe.modelfile.schema import Metadata
    from everyframe.runtime.engine import Frames, Run
    from everyframe.runtime.events import EventDetector
    from everyframe.runtime.pipeline import OverlappedRun
    from everyframe.runtime.steady import Steady


class Owner(Protocol):
    """What a stream needs of the program that made it (see `program.Program`). size: (H, W), where fixed. rate: sampled frames
    per second.
    """

    path: str
    metadata: Metadata
    interface: Interface
    size: tuple[int, int] | None
    rate: float
    ending: Ending
    threshold: float

    @property
    def closed(self) -> bool: ...
    def start(self) -> Run: ...
    def labels_for(self, classes: int) -> tuple[str, ...]: ...
    def steady_label(self) -> Steady | None: ...
    def event_detector(self) -> EventDetector | None: ...


@dataclass(frozen=True, slots=True)
class _Ticket:
    """A step that was begun. newest: number of its last frame; begun: on the clock of `time.perf_counter`."""

    newest: int
    pts_s: float
    begun: float
    source_frame: int | None


# N frames at a time, C channels, H W: the network's; h w: a picture of any size


class Stream:
    """Frames in, a prediction per step out. Made by `program.stream()`; may be used from several threads, one at a
    time.

    step(frames)  hop frames at once: float32 (hop, C, H, W) already normalized, or uint8 (hop, h, w, 3) RGB pictures of any
                  size, which are prepared as the model's metadata says. Returns None until the network has seen enough.
    push(frame)   one picture of a camera or a video of any rate, with its time; runs a step whenever hop of those that the
                  model's frame rate asks for are there.
    reset()       forgets everything: the next frame is the first.
    """

    def __init__(self, program: Owner, *, top_k: int = 5) -> None:
        if top_k < 1:
            raise UsageError("At least one label must be shown.", where="top_k", expected="1 or more", got=top_k)
        self.program = program
        self.top_k = top_k
        self.hop = program.metadata.hop
        self._lock = threading.RLock()
        self._run = program.start()
        self._closed = False
        self._clear()

    def _clear(self) -> None:
        self.frames = 0  # taken so far
        self._size = self.program.size  # (H, W), fixed by the first frame where the graph leaves it open
        self._source_frame: int | None = None  # the newest one's number in the file
        self._waiting: list[Any] = []  # prepared pictures (H, W, C) of a step that is not full; of several inputs, dicts
        inputs = self.program.interface.inputs
        self._several = Several(inputs) if len(inputs) > 1 else None  # with the values that were given
        self._events = self.program.event_detector()
        self._steady = self.program.steady_label()
        self._pace = Pace(self.program.rate)
        self.expect(live=True)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the state. A closed stream raises StateError."""
        with self._lock:
            if not self._closed:
                self._closed = True
                del self._run

    def reset(self) -> None:
        with self._lock:
            self._check_open()
            self._run.reset()
            self._clear()

    def step(self, frames: Frames, pts_s: float | None = None) -> Prediction | None:
        """frames: of several inputs a dict of arrays. pts_s: time of the newest; left out, it is counted at the model's rate."""
        with self._lock:
            self._check_open()
            if self._waiting:
                raise StateError(
                    "A step cannot start in the middle of another.", got=f"{len(self._waiting)} pushed frames waiting",
                    expected=f"a multiple of {self.hop} pushed frames", hint="use either push or step",
                )  # fmt: skip
            begun = time.perf_counter()
            if self._several is not None:
                return [self._push(frame, pts_s) for frame in self._several.frames(frames, self.hop)][-1]
            return self._advance(self._tensor(np.asarray(frames)), pts_s, begun)

    def push(self, frame: Frames, pts_s: float | None = None, *, bgr: bool = False) -> Prediction | None:
        """One uint8 picture: (h, w, 3) RGB (BGR, as OpenCV reads it, with `bgr`) or (h, w) gray, of any size. Of several inputs a
        dict of one frame each: uint8 pictures or numbers (C, ...); a slower one with each of its frames, what has no frames once.

        pts_s: its time in seconds. With it, pictures may come at any rate: those nearest to the model's ticks are used, one
        is repeated where the source is slower, a stall of more than a second is skipped. Without it, each picture is taken
        for one at the model's own rate (`program.rate`), with a PaceWarning where the clock on the wall says otherwise.
        """
        with self._lock:
            self._check_open()
            if not self.program.interface.pictures:
                return self._push(frame if self._several is not None else np.asarray(frame), pts_s)
            given = picture(frame, bgr)
            if pts_s is None:
                self._pace.beat()
                return self._push(prepare(given, self.program.metadata.preprocess), None)
            return one(list(self.feed(given, seconds(pts_s))))

    def expect(self, *, live: bool) -> None:
        """Whether frames with times come as they happen (the default) or a little later, the nearest to each tick exactly."""
        preprocess = self.program.metadata.preprocess
        self._ticks = Ticks(preprocess.fps, preprocess.sample_every_n, live=live)

    def feed(self, given: Any, pts: Fraction) -> Iterator[Prediction]:
        """All predictions that one picture with its time gives."""
        with self._lock:
            self._check_open()
            prepared = given  # of several inputs when it is known which frame it is
            if self._several is None:
                pictures = self.program.interface.pictures
                prepared = prepare(given, self.program.metadata.preprocess) if pictures else self._array(given, 1)[0]
                self._check_picture(prepared)
            due = list(self._ticks.put(Decoded(prepared, pts, Fraction(0), self._ticks.count)))
            yield from self._fed(due)

    def feed_end(self) -> Iterator[Prediction]:
        """And those that are still to come when no more pictures do."""
        with self._lock:
            yield from self._fed(list(self._ticks.rest()))
            yield from self.drain()

    def _fed(self, due: list[Decoded]) -> Iterator[Prediction]:
        for frame in due:
            self._source_frame = frame.index
            prediction = self._push(frame.picture, float(frame.pts))
            if prediction is not None:
                yield prediction

    def push_frame(self, frame: Frame) -> Prediction | None:
        """One frame of a `video.Reader` that was opened with this model's preprocessing: already prepared."""
        with self._lock:
            self._check_open()
            self._source_frame = frame.index
            return self._push(frame.data, frame.pts_s)

    def drain(self) -> Iterator[Prediction]:
        """The predictions that are still to come when no more frames do."""
        return iter(())

    # what a clip stream does otherwise

    def _push(self, picture: Any, pts_s: float | None) -> Prediction | None:
        self._check_picture(picture)
        if self._several is not None:
            picture = self._several.frame(picture, self.frames + len(self._waiting))
        self._waiting.append(picture)
        if len(self._waiting) < self.hop:
            return None
        (frames, self._waiting), begun = (self._waiting, []), time.perf_counter()
        if self._several is not None:
            return self._advance(self._several.step(frames), pts_s, begun)
        pictures = np.stack(frames)
        prepared = self.program.interface.pictures and pictures.dtype == np.uint8
        return self._advance(self._network_input(pictures) if prepared else self._tensor(pictures), pts_s, begun)

    def _array(self, frames: np.ndarray, count: int) -> np.ndarray:
        """(count, C, ...) numbers of a model that takes no pictures; a single one may come without that axis."""
        wanted = (count, *self.program.interface.frame)
        frames = frames[None] if frames.ndim == len(wanted) - 1 and count == 1 else frames
        if not fits(frames.shape, wanted) or frames.dtype.kind not in "fiu":
            raise StateError(
                "The frames do not have the shape this stream takes.", expected=f"numbers {wanted}",
                got=f"{frames.dtype} {tuple(frames.shape)}", hint="this model takes arrays, not pictures",
            )  # fmt: skip
        return frames.astype(np.float32, copy=False)

    def _tensor(self, frames: np.ndarray) -> np.ndarray:
        """What the user gave -> what the network takes."""
        meta = self.program.metadata
        if not self.program.interface.pictures:
            return self._array(frames, self.hop)
        if frames.dtype == np.uint8:
            pictures = frames[None] if frames.ndim == 3 and self.hop == 1 else frames
            if pictures.ndim != 4 or len(pictures) != self.hop:
                raise StateError(
                    "These are not the pictures of one step.",
                    expected=f"uint8 ({self.hop}, h, w, 3)",
                    got=tuple(frames.shape),
                )
            prepared = [prepare(picture, meta.preprocess) for picture in pictures]
            self._check_picture(prepared[0])
            return self._network_input(np.stack(prepared))
        if frames.dtype.kind != "f" or self.program.interface.folded:
            wanted = "uint8" if self.program.interface.folded else "float32 (normalized) or uint8 (pictures)"
            raise StateError("Frames must be numbers of another type.", expected=wanted, got=frames.dtype)
        frames = frames[None] if frames.ndim == 3 and self.hop == 1 else frames
        self._check_size(frames.shape, (self.hop, meta.preprocess.channels))
        return frames.astype(np.float32, copy=False)

    def _advance(self, tensor: Any, pts_s: float | None, begun: float) -> Prediction | None:
        logits = self._run.step(tensor)
        self.frames += self.hop
        return self._answer(logits, self._ticket(pts_s, begun))

    def _ticket(self, pts_s: float | None, begun: float) -> _Ticket:
        newest = self.frames - 1
        return _Ticket(newest, newest / self.program.rate if pts_s is None else pts_s, begun, self._source_frame)

    def _answer(self, logits: np.ndarray, ticket: _Ticket) -> Prediction | None:
        if ticket.newest < self.program.metadata.feature_delay:
            return None
        return self._predict(logits, ticket)

    # shared

    def _network_input(self, pictures: np.ndarray) -> np.ndarray:
        """(N, H, W, C) uint8 -> (N, C, H, W) float32, or as it is where the graph normalizes by itself."""
        return pictures if self.program.interface.folded else normalize(pictures, self.program.metadata.preprocess)

    def _predict(self, logits: np.ndarray, ticket: _Ticket) -> Prediction:
        newest, pts_s, program = ticket.newest, ticket.pts_s, self.program
        task, said = program.ending.task, program.ending.scores
        logits = logits.astype(np.float32, copy=False)
        self._check_finite(logits, "logits", ticket)
        temperature = program.metadata.temperature
        each, logits = read(_rows(logits, program.interface.classes), task, said, temperature)
        scores, logits, shown = each[-1], logits[-1], None
        if self._steady is not None:
            logits, shown = self._steady.update(logits)
            scores = read(logits, task, "logits", temperature if said == "logits" else 1.0)[0]
        event = self._events.update(scores, pts_s) if self._events is not None else None
        labels = program.labels_for(len(scores))
        regress = task == "regress"
        top = () if regress else best(shares(scores), labels, self.top_k, program.threshold if task == "multilabel" else None)
        values = quantities(shares(scores), labels) if regress else ()
        steady = None if shown is None else Top(labels[shown], shown, float(scores[shown]))
        latency_ms = (time.perf_counter() - ticket.begun) * 1e3
        return Prediction(
            newest, pts_s, scores, logits, top, event, latency_ms, ticket.source_frame, None, steady, task, values,
            each if len(each) > 1 else None, self._others(ticket),
        )  # fmt: skip

    def _others(self, ticket: _Ticket) -> dict[str, np.ndarray]:
        """What the network says beside, of outputs that have seen enough; read as their own tasks say."""
        found, made = getattr(self._run, "others", {}), dict[str, np.ndarray]()
        for spec in (each for each in self.program.metadata.outputs if each.name in found and ticket.newest >= each.delay):
            values = found[spec.name].astype(np.float32, copy=False)
            self._check_finite(values, f"values of {spec.name}", ticket)
            made[spec.name] = read(values, spec.task, spec.scores)[0]
        return made

    def _check_finite(self, values: np.ndarray, what: str, ticket: _Ticket) -> None:
        if not np.isfinite(values).all():
            place = f"{self.program.path}, frame {ticket.newest} ({ticket.pts_s:.2f} s)"
            raise not_finite(values, what, place, self.program.interface.pictures)

    def _check_open(self) -> None:
        if self._closed or self.program.closed:
            raise StateError("The stream is closed.", hint="make a new one with program.stream()")

    def _check_picture(self, picture: Any) -> None:
        if not self.program.interface.pictures or picture.dtype != np.uint8:
            return  # looked at when the step is full
        height, width, channels = picture.shape
        self._check_size((1, channels, height, width), (1, self.program.metadata.preprocess.channels))

    def _check_size(self, got: tuple[int, ...], wanted: tuple[int, int]) -> None:
        size = self._size
        if len(got) == 4 and tuple(got[:2]) == wanted and (size is None or tuple(got[2:]) == size):
            self._size = (got[2], got[3])
            return
        h, w = size or ("H", "W")
        what = "The frames do not have the shape this stream takes."
        if len(got) == 4 and tuple(got[:2]) == wanted and self.frames:
            what = "The frames changed their size in the middle of the stream."
        n, c = wanted
        raise StateError(what, expected=f"({n}, {c}, {h}, {w})", got=tuple(got), hint="one stream takes frames of one size")


def _rows(answer: np.ndarray, classes: int | None) -> np.ndarray:
    """(m, classes) or, of maps, (m, classes, H, W); any other shape is the classes of one frame. A clip network's
    (1, classes, T) or (1, T, classes) are its T frames.
    """
    if classes is not None and answer.ndim == 3 and len(answer) == 1 and classes in answer.shape[1:] and answer.size > classes:
        only: np.ndarray = answer[0]
        return only.T if len(only) == classes else only
    maps = answer.ndim == 4 and answer.shape[2] * answer.shape[3] > 1
    return answer if maps or answer.ndim == 2 else answer.reshape(1, -1)


class ClipStream(Stream):
    """A clip network over a sliding window: a prediction once T frames are there, then every `stride` frames.

    `step` takes any number of frames (N, C, H, W), or uint8 (N, h, w, 3), and returns the newest prediction they gave,
    if any.
    """

    def __init__(self, program: Owner, *, stride: int | None = None, top_k: int = 5) -> None:
        length = program.metadata.frames
        self.stride = max(1, length // 2) if stride is None else stride
        if self.stride < 1:
            raise UsageError("The stride must be positive.", where="stride", expected="1 or more frames", got=stride)
        self._window: np.ndarray | None = None  # (T, C, ...), a ring; and what the network is given:
        self._clip: np.ndarray | None = None  # (1, C, T, ...)
        super().__init__(program, top_k=top_k)
        self.hop = 1

    def step(self, frames: Frames, pts_s: float | None = None) -> Prediction | None:
        prediction = None
        with self._lock:
            for frame in np.asarray(frames):
                prediction = super().step(frame, pts_s) or prediction
        return prediction

    def _advance(self, tensor: Any, pts_s: float | None, begun: float) -> Prediction | None:
        length = self.program.metadata.frames
        if self._window is None or self._clip is None:
            _, c, *rest = tensor.shape
            self._window = np.empty((length, c, *rest), np.float32)
            self._clip = np.empty((1, c, length, *rest), np.float32)
        self._window[self.frames % length] = tensor[0]
        self.frames += 1
        if self.frames < length or (self.frames - length) % self.stride:
            return None
        oldest = self.frames % length
        self._clip[0, :, : length - oldest] = self._window[oldest:].swapaxes(0, 1)
        self._clip[0, :, length - oldest :] = self._window[:oldest].swapaxes(0, 1)
        return self._predict(self._run.step(self._clip), self._ticket(pts_s, begun))


class OverlappedStream(Stream):
    """A split network whose stages work at the same time: a prediction is that of some steps ago. `drain` gives the last ones."""

    _run: OverlappedRun

    def _clear(self) -> None:
        super()._clear()
        self._tickets: deque[_Ticket] = deque()

    def drain(self) -> Iterator[Prediction]:
        while self._tickets:
            with self._lock:
                self._check_open()
                prediction = self._oldest()
            if prediction is not None:
                yield prediction

    def _advance(self, tensor: Any, pts_s: float | None, begun: float) -> Prediction | None:
        self.frames += self.hop
        self._run.submit(tensor)
        self._tickets.append(self._ticket(pts_s, begun))
        return self._oldest() if len(self._tickets) > self._run.depth else None

    def _oldest(self) -> Prediction | None:
        logits = self._run.result()
        return self._answer(logits, self._tickets.popleft())
