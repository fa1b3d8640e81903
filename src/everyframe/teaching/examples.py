"""Examples and background footage: which clips there are, and the features and moments of each.

T frames, F features. A model with a delay is shown the last frame of an example for as long again, as if the scene stood
still, so that every frame of it is fully seen; every model sees it for HELD_S more, as what is told of a gesture comes behind it.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from everyframe.data.formats import spans
from everyframe.data.header import probe
from everyframe.errors import EngineError, EveryframeError, SourceError
from everyframe.modelfile.schema import Preprocess
from everyframe.progress import TextProgress
from everyframe.runtime import engine as engines
from everyframe.runtime.states import plan
from everyframe.teaching.cut import Backbone
from everyframe.teaching.moments import Span, span
from everyframe.video.decode import decode
from everyframe.video.frame import Decoded
from everyframe.video.preprocess import normalize, prepare
from everyframe.video.sampling import sample
from everyframe.video.sources import Source, is_litter, resolve

#: frames of an example at the least
SHORTEST = 4
#: after an example its last frame is shown for so long: a clip is often over before what can be said of it
HELD_S = 1.0
#: a background video is taken in pieces of so many seconds, of which leave-one-out leaves out one
PIECE_S = 10.0


@dataclass(frozen=True, eq=False)
class Example:
    """features (steps, F); seen (steps,): the newest frame that each step has fully seen; moves: where it moves. Of
    background, label is None and `moves` does not matter.
    """

    label: str | None
    name: str
    features: np.ndarray
    seen: np.ndarray
    moves: Span


@dataclass(frozen=True)
class Clip:
    """A clip to learn from; label None: background. spans: of a long recording, (begin, end, label) in seconds by their begin:
    each of them is an example, and what lies between them is background.
    """

    label: str | None
    source: Source
    spans: tuple[tuple[float, float, str], ...] = ()

    @property
    def name(self) -> str:
        return self.source.paths[0]


def folders(folder: str | os.PathLike[str], background: str) -> list[Clip]:
    """One folder a class, with its clips; that called `background` holds background footage. Raises SourceError."""
    root = Path(folder)
    if not root.is_dir():
        raise SourceError(
            "There is no such folder of examples.", where=root, expected="one folder a gesture, with a few short clips in each",
            hint="check the path, or record examples with --camera 0",
        )  # fmt: skip
    classes = sorted(p for p in root.iterdir() if p.is_dir() and not is_litter(p.name))
    if not classes:
        raise SourceError(
            "There are no gestures in this folder.", where=root, expected="one folder a gesture, with a few short clips in each",
            got="no folders", hint=f"put the clips of each gesture into a folder of its name, such as {root / 'thumbs_up'}",
        )  # fmt: skip
    return [Clip(None if p.name == background else p.name, source) for p in classes for source in resolve(p)]


def marked(path: Path, notes: list[str]) -> list[Clip]:
    """The recordings of a list of spans; the spans called `none` are background like what is in no span. notes: gets
    those that are not there, and spans that end behind their recording. Raises SourceError.
    """
    clips = []
    for one, parts in spans.recordings(path, problems=notes):
        seconds = probe(one.clip).seconds
        if seconds is not None:  # else it cannot be read, which is told when it is
            notes += spans.beyond(str(one.clip.name), parts, seconds)
            parts = tuple(part for part in parts if part[0] < seconds)
        told = tuple((begin, end, str(label)) for begin, end, label in parts if label != spans.BACKGROUND)
        clips.append(Clip(None, resolve(one.clip.path)[0], told))
    return clips


def distinct(clips: Sequence[Clip]) -> tuple[list[Clip], list[str]]:
    """Each clip once, by its content, in an order of their names; and the names of those that were given again."""
    seen: dict[tuple[str | None, str], str] = {}
    kept, again = [], []
    for clip in sorted(clips, key=lambda c: (c.label or "", c.name)):
        digest = hashlib.sha256()
        for path in clip.source.paths:
            digest.update(Path(path).read_bytes() if Path(path).is_file() else path.encode())
        key = clip.label, digest.hexdigest()
        if key in seen:
            again.append(f"{clip.name} is {seen[key]} again and counts once")
            continue
        seen[key] = clip.name
        kept.append(clip)
    return kept, again


class Reader:
    """Runs clips through a backbone in onnxruntime, several at once: each thread has its own states."""

    def __init__(self, backbone: Backbone, where: str) -> None:
        metadata = backbone.metadata
        own = {s.input for s in metadata.states}
        (frames,) = (v for v in backbone.model.graph.input if v.name not in own)
        self.hop, self.delay, self.preprocess = metadata.hop, metadata.feature_delay, metadata.preprocess
        self.where = where
        self.rate, self.window = rate(metadata.preprocess), metadata.window
        self._raw = len(frames.type.tensor_type.shape.dim) == 4 and frames.type.tensor_type.elem_type == 2  # uint8
        job = engines.Job(backbone.model, where, frames.name, backbone.features, plan(metadata.states, where), threads=1)
        self._session = engines.load("ort", job)
        self._own = threading.local()

    def read(self, clip: Clip) -> Iterator[Example]:
        """One example, the pieces of background footage, or both of a marked recording. Raises SourceError."""
        if clip.label is None:
            features, seen = self.features(_pictures(clip.source, self.preprocess))
            yield from self._marked(clip, features, seen)
            times = (seen + 0.5) / self.rate
            gaps = spans.between(clip.spans, len(seen) * self.hop / self.rate) if clip.spans else [(0.0, np.inf)]
            for begin, end in gaps:
                # what a window remembers of a span is none of the background's
                first = begin + (self.window / self.rate if begin else 0)
                yield from self._pieces(clip, features, seen, np.flatnonzero((times >= first) & (times < end)))
            return
        pictures = np.stack(list(_pictures(clip.source, self.preprocess)))
        least = max(SHORTEST, self.hop)
        if len(pictures) < least:
            raise SourceError(
                "The example is too short.", where=clip.name, got=f"{len(pictures)} frames",
                expected=f"at least {least} frames at the model's {self.rate:g} a second",
                hint="record it again, with the whole gesture in it",
            )  # fmt: skip
        yield Example(clip.label, clip.name, *self.features(pictures, HELD_S), span(pictures))

    def _pieces(self, clip: Clip, features: np.ndarray, seen: np.ndarray, rows: np.ndarray) -> Iterator[Example]:
        steps = max(1, round(PIECE_S * self.rate / self.hop))
        for piece in np.array_split(rows, max(1, round(len(rows) / steps))):
            if len(piece):
                yield Example(None, clip.name, features[piece], seen[piece], Span(0, 0, len(seen)))

    def _marked(self, clip: Clip, features: np.ndarray, seen: np.ndarray) -> Iterator[Example]:
        """The spans, as the network sees them in the running recording, each until half a window behind its end."""
        for number, (begin, end, label) in enumerate(clip.spans):
            first, last = int(np.ceil(begin * self.rate)), int(end * self.rate)
            following = clip.spans[number + 1][0] * self.rate if number + 1 < len(clip.spans) else np.inf
            rows = np.flatnonzero((seen >= first) & (seen <= min(last + self.window // 2, max(following, last))))
            if last - first >= SHORTEST and len(rows):
                name, moves = f"{clip.name}#{begin:g}", Span(0, last - first, len(rows))
                yield Example(label, name, features[rows], seen[rows] - first, moves)

    def features(self, pictures: Iterable[np.ndarray], held_s: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """(H, W, C) uint8 one by one -> features (steps, F), and the newest frame that each step has fully seen (steps,). held_s:
        for so long the last one is shown again.
        """
        run = getattr(self._own, "run", None) or self._session.start()
        self._own.run = run
        run.reset()
        made, waiting = [], list[np.ndarray]()
        for picture in self._and_held(pictures, self.delay + round(held_s * self.rate)):
            waiting.append(picture)
            if len(waiting) == self.hop:
                new, waiting = np.stack(waiting), []
                made.append(run.step(new if self._raw else normalize(new, self.preprocess)).reshape(-1))
        if not np.isfinite(made).all():
            raise EngineError(
                "The network's features are not finite.", where=self.where,
                got=f"{sum(not np.isfinite(row).all() for row in made)} of {len(made)} steps have NaN or infinite values",
                hint="look for a state that grows without end, or a division by 0; such a network cannot be taught",
            )  # fmt: skip
        seen = (np.arange(len(made)) + 1) * self.hop - 1 - self.delay
        return np.stack(made)[seen >= 0], seen[seen >= 0]

    def _and_held(self, pictures: Iterable[np.ndarray], held: int) -> Iterator[np.ndarray]:
        count, last = 0, None
        for last in pictures:
            count += 1
            yield last
        if last is not None:
            for _ in range(held + -(count + held) % self.hop):
                yield last


def rate(preprocess: Preprocess) -> float:
    """Frames a second that the model sees; where it does not say, 30 fps video is assumed."""
    return preprocess.fps or 30.0 / (preprocess.sample_every_n or 1)


def _pictures(source: Source, preprocess: Preprocess) -> Iterator[np.ndarray]:
    """The frames that the network sees of one source, (H, W, C) uint8."""
    last, picture = None, np.empty(0)
    for frame in sample(_decoded(source), fps=preprocess.fps, every_n=preprocess.sample_every_n):
        if frame is not last:  # a slow source repeats frames
            picture, last = prepare(frame.picture, preprocess), frame
        yield picture


def _decoded(source: Source) -> Iterator[Decoded]:
    """Raises SourceError for whatever is wrong with the file, so that only this clip is left out."""
    try:
        yield from decode(source)
    except EveryframeError:
        raise
    except Exception as error:  # PyAV's fault; the user is told which file it was
        raise SourceError("The clip cannot be decoded.", where=source.paths[0], got=f"{type(error).__name__}: {error}") from None


def read_all(reader: Reader, clips: Sequence[Clip], progress: TextProgress) -> tuple[list[Example], list[EveryframeError]]:
    """The examples of all clips, in their order; what is broken is left out and returned."""
    examples: list[Example] = []
    broken: list[EveryframeError] = []
    # threads: the decoder and the engine leave the interpreter's lock while they work
    with ThreadPoolExecutor(engines.cores()) as pool:
        waiting = [pool.submit(lambda clip: list(reader.read(clip)), clip) for clip in clips]
        try:
            for i, one in enumerate(waiting, 1):
                progress(f"looking at clip {i} of {len(clips)}")
                try:
                    examples += one.result()
                except SourceError as error:
                    broken.append(error)
        finally:
            pool.shutdown(cancel_futures=True)
    return examples, broken
