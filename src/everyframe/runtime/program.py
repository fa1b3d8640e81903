"""A program: an opened model. Weights and session are shared by all its streams."""

from __future__ import annotations

import contextlib
import inspect
import os
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np

from everyframe.errors import ModelError, StateError, UsageError
from everyframe.limits import MAX_THREADS
from everyframe.modelfile import manifest
from everyframe.modelfile.ending import ending
from everyframe.modelfile.file import Held, load
from everyframe.modelfile.interface import check_labels, check_pictures, interface, metadata_or_raise
from everyframe.modelfile.schema import BESIDE, Task
from everyframe.native import artifact
from everyframe.runtime import engine as engines
from everyframe.runtime import pipeline
from everyframe.runtime.events import EventDetector, asked_of
from everyframe.runtime.feed import is_frames, named, over
from everyframe.runtime.handover import Handover, steps_until_known
from everyframe.runtime.play import Playback, layout
from everyframe.runtime.prediction import THRESHOLD, Prediction
from everyframe.runtime.states import plan
from everyframe.runtime.stream import ClipStream, OverlappedStream, Stream
from everyframe.video.arrays import by_name, frames_first
from everyframe.video.sampling import as_fps
from everyframe.video.sources import Source, resolve
from everyframe.video.supervise import Change, Gap

if TYPE_CHECKING:
    from everyframe.runtime.steady import Steady

#: the model that comes with the package
BUILTIN = Path(__file__).resolve().parent.parent / "assets" / "motions.onnx"


def open(
    path: str | os.PathLike[str],
    engine: str = "auto",
    threads: int | None = None,
    labels: tuple[str, ...] | list[str] | None = None,
    overlap: bool = False,
    steady: str | None = None,
    task: Task | None = None,
    threshold: float | None = None,
    refractory: float | None = None,
    wait: bool = False,
) -> Program:
    """Opens a step or clip model that carries everyframe metadata, or the folder of a split one; `builtin` is the one that
    comes with the package.

    engine: auto (ort, native or openvino, whichever is fastest), ort, native, openvino or reference.
    threads: how many the engine uses (default: one per core). labels: replaces the model's own. overlap: the stages of a
    split model work at the same time, each on another step; streams answer a few steps later, with the same.
    steady: the rule for a label to show (`runtime.steady.RULES`). task: what the network's answer is, instead of what the file
    or its last operators say: classify, multilabel, regress or frames. threshold: from which score on a label is
    shown (multilabel), or can be an event. refractory: how many seconds after an event there is no other. Both instead of what
    the model's event rule says. wait: until `auto` knows the fastest engine; else it starts on one that needs no compiling, and
    goes on with the fastest when that is ready (see `handover`), now or in later runs.
    """
    return Program(
        path, engine=engine, threads=threads, labels=labels, overlap=overlap, steady=steady, task=task, threshold=threshold,
        refractory=refractory, wait=wait,
    )  # fmt: skip


def _levels_up() -> int:
    """From who calls this to the code outside of this package that opens a model: a warning is said once for each place there."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __name__.partition(".")[0]:
        frame, level = frame.f_back, level + 1
    return level


def _check_limit(name: str, value: float | None) -> None:
    if value is not None and value <= 0:
        raise UsageError("A limit must be positive.", where=name, expected="more than 0", got=value)


class Program:
    """See `open`. metadata: what the file says. compiled: it is a library, not ONNX. labels: one per logit. size: (H, W) of
    the network's input, where fixed. ending: what the network's answer is.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        engine: str = "auto",
        threads: int | None = None,
        labels: tuple[str, ...] | list[str] | None = None,
        overlap: bool = False,
        steady: str | None = None,
        task: Task | None = None,
        threshold: float | None = None,
        refractory: float | None = None,
        wait: bool = True,
    ) -> None:
        if task is not None and task not in get_args(Task):
            raise UsageError("There is no such task.", where="task", expected=", ".join(get_args(Task)), got=task)
        if threshold is not None and not 0 <= threshold <= 1:
            raise UsageError("A threshold is a probability.", where="threshold", expected="0 to 1", got=threshold)
        if threads is not None and not 1 <= threads <= MAX_THREADS:
            raise UsageError("So many threads cannot be used.", where="threads", expected=f"1 to {MAX_THREADS}", got=threads)
        self.path = str(BUILTIN) if os.fspath(path) == "builtin" else os.fspath(path)
        if self.path == str(BUILTIN) and not BUILTIN.exists():
            raise ModelError("This installation has no built-in model.", where=self.path, hint="install everyframe from a wheel")
        self.name = "builtin" if os.fspath(path) == "builtin" else Path(self.path).name
        self.compiled = artifact.is_library(self.path)
        if self.compiled and engine not in ("auto", "native"):
            raise UsageError(
                "A compiled model runs on the native engine only.", where=self.path, expected="auto or native", got=engine
            )
        engine = "native" if self.compiled else engine
        split = manifest.read(self.path) if manifest.is_split(self.path) else None
        if split is not None and engine not in ("auto", "ort"):
            raise UsageError("A split model runs on ONNX Runtime.", where=self.path, expected="auto or ort", got=engine)
        if overlap and split is None:
            raise UsageError("Only the stages of a split model can overlap.", where=self.path, hint="run `everyframe split`")
        if split is not None:
            model = split.outline()
        else:
            model = artifact.read(self.path)["model"] if self.compiled else load(path if isinstance(path, Held) else self.path)
        self.metadata = metadata_or_raise(model, self.path)
        self.interface = interface(model, self.metadata, self.path)
        self.ending = ending(model, self.interface.logits, self.metadata, task)
        self.threshold = THRESHOLD if threshold is None else threshold
        multilabel = self.ending.task == "multilabel"
        self.metadata = asked_of(self.metadata, None if multilabel else threshold, refractory, self.path)
        if labels is not None:
            check_labels(tuple(labels), self.interface.classes, self.path)
        self.labels: tuple[str, ...] | None = tuple(labels) if labels is not None else self.metadata.labels
        self.size = self.interface.size
        preprocess = self.metadata.preprocess
        #: sampled frames per second; where the model does not say, 30 fps video is assumed
        self.rate = float(as_fps(preprocess.fps)) if preprocess.fps else 30.0 / (preprocess.sample_every_n or 1)
        self.overlap, self._steady = overlap, steady
        self.steady_label()  # a rule that does not fit is said now
        states = plan(self.metadata.states, self.path)
        if split is not None:
            session = pipeline.load(self.path, split, threads, overlap)
            reason = "; ".join(filter(None, (f"{len(split.stages)} stages", session.reason)))
            loaded = engines.Loaded(session, "ort", reason, session.warning)
        else:
            job = engines.Job(
                model, self.path, self.interface.frames, self.interface.logits, states, threads, self.interface.others,
                tuple(taken.name for taken in self.interface.inputs[1:]), wait or isinstance(path, Held),
                None if wait else steps_until_known(self.metadata, model),
            )  # fmt: skip
            loaded = engines.load(engine, job)
        self._told = (loaded.engine, loaded.reason)
        if loaded.warning:
            warnings.warn(f"{self.name}: {loaded.warning}", engines.AccuracyWarning, stacklevel=_levels_up())
        self._session: engines.Session | None = loaded.session

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def engine(self) -> str:
        """What runs it: new streams begin with it, and those that run move to it."""
        return self._now()[0]

    @property
    def engine_reason(self) -> str:
        """Why `auto` chose that one, or how it computes where that is not the usual way."""
        return self._now()[1]

    def _now(self) -> tuple[str, str]:
        now = self._session.now if isinstance(self._session, Handover) else None
        return self._told if now is None else (now.engine, now.reason)

    @property
    def closed(self) -> bool:
        return self._session is None

    def close(self) -> None:
        """Frees the weights. Its streams raise StateError from then on."""
        self._told, self._session = self._now(), None

    def check_recognizes(self) -> None:
        """Raises ModelError for a model that does something else."""
        if self.ending.task in BESIDE:
            what, hint = BESIDE[self.ending.task]
            raise ModelError(f"This model {what} and recognizes nothing.", where=self.path, hint=hint)

    def stream(self, *, stride: int | None = None, top_k: int = 5) -> Stream:
        """A new stream at its beginning. stride: for clip models only, frames between two predictions (default half a
        clip).
        """
        self.check_recognizes()
        if self.metadata.kind == "clip":
            return ClipStream(self, stride=stride, top_k=top_k)
        if stride is not None:
            raise UsageError(
                "A stride is for clip models; a step model predicts at every step.", where=self.path,
                got=f"stride {stride}", hint="leave it out",
            )  # fmt: skip
        return (OverlappedStream if self.overlap else Stream)(self, top_k=top_k)

    def play(
        self,
        source: Source,
        *,
        stride: int | None = None,
        top_k: int = 5,
        max_frames: int | None = None,
        seconds: float | None = None,
        realtime: bool = False,
        thumbnails: int = 0,
        fps: float | None = None,
        changed: Callable[[Change | Gap], None] = lambda _: None,
        preview: int = 0,
    ) -> Playback:
        """One video through a fresh stream; decoding starts at once. The iterator that `predict` gives, with its
        counters. fps: of a file of arrays that does not say its times. changed: told when a live source is lost, is back, and
        was away for so long that the stream begins anew. preview: short side of the newest picture, kept to be shown.
        """
        for name, value in (("max_frames", max_frames), ("seconds", seconds)):
            _check_limit(name, value)
        if source.kind != "array":
            check_pictures(self.interface, self.path)
            if fps is not None:
                raise UsageError("A video says its times itself.", where=source.name, got=f"fps {fps:g}", hint="leave it out")
        elif realtime:
            raise UsageError("Arrays have no speed of their own.", where=source.name, got="realtime", hint="leave it out")
        stream = self.stream(stride=stride, top_k=top_k)
        return Playback(stream, source, max_frames, seconds, realtime, thumbnails, fps, changed, preview)

    def play_all(self, sources: Sequence[Source], **options: Any) -> Generator[Playback, None, None]:
        """`play` for one video after another. While one runs, the decode process of the next file is already starting."""
        ahead: Playback | None = None
        try:
            for source, following in zip(sources, [*sources[1:], None], strict=True):
                playback, ahead = ahead or self.play(source, **options), None
                with playback:
                    if following is not None and not following.live and not options.get("realtime"):
                        ahead = self.play(following, **options)
                    yield playback
        finally:
            if ahead is not None:
                ahead.close()

    def predict(
        self,
        source: Any,
        *,
        stride: int | None = None,
        top_k: int = 5,
        max_frames: int | None = None,
        seconds: float | None = None,
        realtime: bool = False,
        fps: float | None = None,
        pts: Iterable[float] | None = None,
        bgr: bool | None = None,
        note: Callable[[str], None] = lambda _: None,
    ) -> Iterator[Prediction]:
        """Predictions for a file, folder, glob, camera number or address; several videos go one after another, each
        from a fresh state. A camera that is lost is opened again, until it has failed five times in a row; after a gap its state
        is fresh, too. max_frames, seconds: stop each video there. realtime: play a file at its own speed and drop what is late.
        note: told of each video what is no error, such as colors that are only approximated.

        Or for frames: any iterator of uint8 pictures (h, w, 3), an array (T, h, w, 3), a cv2.VideoCapture, or an async
        iterator, for which the predictions are one too. Of a model that takes no pictures: frames (C, ...) one by one, or an
        array (C, T, ...) or (T, C, ...); of one with several inputs, dicts of frames by name, or a dict of whole arrays. fps:
        their rate, or pts: their times in seconds; without both, frames that come one by one are timed as they arrive. bgr:
        their order of colors (of a capture: True, else False). Files of arrays (.npy, .npz, .csv) take fps too.
        """
        if is_frames(source):
            for name, value in (("max_frames", max_frames), ("seconds", seconds)):
                _check_limit(name, value)
            stream = self.stream(stride=stride, top_k=top_k)
            if isinstance(source, Mapping):
                source = by_name(source, layout(self), "the arrays")
            elif isinstance(source, np.ndarray) and not self.interface.pictures:
                source = frames_first(source, layout(self), "the array")
            found = over(stream, source, fps=fps, pts=pts, bgr=bgr, max_frames=max_frames, seconds_most=seconds)
            return cast("Iterator[Prediction]", found)  # or an async one
        source = named(source)
        sources = self.sources(source)
        if (pts, bgr) != (None, None) or (fps is not None and sources[0].kind != "array"):
            raise UsageError(
                "A video says its times and colors itself.", where=source, got="fps, pts or bgr", hint="leave them out"
            )
        self.stream(stride=stride, top_k=top_k).close()  # wrong arguments are said now, not at the first frame

        def run() -> Iterator[Prediction]:
            options = {"max_frames": max_frames, "seconds": seconds, "realtime": realtime, "fps": fps}
            with contextlib.closing(self.play_all(sources, stride=stride, top_k=top_k, **options)) as playbacks:
                for playback in playbacks:
                    yield from playback
                    for each in playback.notes:
                        note(each)

        return run()

    def sources(self, source: str | int | os.PathLike[str]) -> list[Source]:
        """What a path, camera number or address names; of a folder its arrays, where the model takes no pictures."""
        return resolve(source, arrays=not self.interface.pictures)

    @property
    def classes_one(self) -> bool:
        """Is the answer one of several classes, as a steady label and events need it?"""
        return self.ending.task in ("classify", "frames")

    # for streams

    def start(self) -> engines.Run:
        if self._session is None:
            raise StateError("The program is closed.", where=self.path, hint="open it again")
        return self._session.start()

    def labels_for(self, classes: int) -> tuple[str, ...]:
        if self.labels is None or len(self.labels) != classes:
            if self.labels is not None:
                check_labels(self.labels, classes, self.path)
            self.labels = tuple(f"class {i}" for i in range(classes))
        return self.labels

    def steady_label(self) -> Steady | None:
        if self._steady is None:
            return None
        from everyframe.runtime.steady import RULES, Steady

        if not self.classes_one:
            raise UsageError(
                "Only one of several classes can be steady.", where="steady", got=f"a model that is {self.ending.task}"
            )
        if self._steady not in RULES:
            raise UsageError("There is no such rule.", where="steady", expected=", ".join(RULES), got=self._steady)
        return Steady(RULES[self._steady], self.labels or ())

    def event_detector(self) -> EventDetector | None:
        rule = self.metadata.events
        if rule is None or self.labels is None or not self.classes_one:
            return None
        return EventDetector(rule, self.labels)
