"""Calibration videos as the network takes them: prediction's own decoding, sampling and preprocessing."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from everyframe.errors import SourceError
from everyframe.modelfile.ending import Ending, ending
from everyframe.modelfile.interface import Interface, check_picture, check_pictures
from everyframe.modelfile.schema import Metadata
from everyframe.modelfile.walk import How, Walk
from everyframe.video.preprocess import normalize
from everyframe.video.reader import Reader
from everyframe.video.sources import Source, resolve

# N new frames a step (hop), T frames of a clip, C channels, H W

_NAMED = 5
KEPT_BYTES = 1 << 29  # of prepared pictures, which are shown more than once


def chosen(where: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], most: int | None = None) -> list[Source]:
    """Up to `most` of the videos that `where` names, evenly spread over all of them. Raises SourceError."""
    places = [where] if isinstance(where, str | os.PathLike) else list(where)
    found = [source for place in places for source in resolve(place)]
    live = next((source for source in found if source.live), None)
    if live is not None:
        raise SourceError("Calibration takes recorded videos.", where=live.name, hint="record some of it to a file")
    if most is None or len(found) <= most:
        return found
    return [found[(2 * i + 1) * len(found) // (2 * most)] for i in range(most)]


@dataclass(frozen=True)
class Model:
    """A model with what running it takes. where: its name in messages. kept: pictures of videos that were decoded before.
    broken: videos that could not be read to their end; what comes before that is used.
    """

    model: onnx.ModelProto
    metadata: Metadata
    interface: Interface
    where: str
    kept: dict[Source, list[np.ndarray]] = field(default_factory=dict)
    broken: dict[Source, SourceError] = field(default_factory=dict)

    @property
    def ending(self) -> Ending:
        """What its answer is."""
        return ending(self.model, self.interface.logits, self.metadata)

    @property
    def frames_a_step(self) -> int:
        """New frames that one run takes: a step's, or a whole clip."""
        return self.metadata.hop if self.metadata.kind == "step" else self.metadata.frames

    @property
    def runs(self) -> str:
        """What a run takes, in words."""
        return "steps" if self.metadata.kind == "step" else "clips"

    def walk(self, watched: Iterable[str] = (), *, model: onnx.ModelProto | None = None, how: How = "fast") -> Walk:
        """Through this model, or through `model`, another form of it."""
        return Walk(self.model if model is None else model, watched, states=self.metadata.states, how=how)

    def inputs(self, sources: Sequence[Source], again: bool = False) -> Iterator[tuple[int, np.ndarray]]:
        """One video after another, each with its number: the inputs of its steps, (hop, C, H, W), or of its clips side by side,
        (1, C, T, H, W). What is left at a video's end is left out. again: from the first one, when all are through, without end.
        Raises SourceError where no video can be read or is long enough. The next video's decoding starts while one runs.
        """
        check_pictures(self.interface, self.where)
        order: Iterator[tuple[int, Source]] = enumerate(sources)
        if again:
            order = itertools.cycle(order)
        coming, given = next(order, None), False
        ahead: Reader | None = None
        try:
            while coming is not None:
                (number, source), coming = coming, next(order, None)
                pictures, ahead = self._pictures(source, ahead), None
                with contextlib.closing(pictures):
                    for waiting in _groups(pictures, self.frames_a_step):
                        if ahead is None and coming is not None and coming[1] not in self.kept:
                            ahead = self._open(coming[1])
                        given = True
                        yield number, self._tensor(np.stack(waiting))
                if not given and number == len(sources) - 1:
                    if all(each in self.broken for each in sources):
                        raise self.broken[sources[0]]
                    raise SourceError(
                        "The videos are too short.", expected=f"{self.frames_a_step} frames in one of them",
                        got=f"{len(sources)} shorter videos",
                    )  # fmt: skip
        finally:
            if ahead is not None:
                ahead.close()

    def left_out(self) -> list[str]:
        """A line that names the videos that could not be read, if there are any."""
        named = [f"{Path(source.paths[0]).name}: {error.what}" for source, error in self.broken.items()]
        more = [f"and {len(named) - _NAMED} more"] if len(named) > _NAMED else []
        count = f"{len(named)} video{'s' * (len(named) != 1)}"
        return [f"{count} could not be read to the end: {' '.join([*named[:_NAMED], *more])}"] if named else []

    def _open(self, source: Source) -> Reader:
        return Reader(source, self.metadata.preprocess, buffer=self.frames_a_step + 1)

    def _pictures(self, source: Source, reader: Reader | None) -> Generator[np.ndarray, None, None]:
        """Prepared pictures, (H, W, C) uint8, of a video; decoded once where they find room."""
        if source in self.kept:
            yield from self.kept[source]
            return
        room = KEPT_BYTES - sum(len(pictures) * pictures[0].nbytes for pictures in self.kept.values() if pictures)
        seen: list[np.ndarray] = []
        try:
            with reader or self._open(source) as reader:
                for frame in reader:
                    check_picture(frame.data, self.interface, source.paths[0] if source.kind == "file" else source.name)
                    room -= frame.data.nbytes
                    if room >= 0:
                        seen.append(frame.data)
                    yield frame.data
        except SourceError as error:  # of this video; the others are enough, or the caller is told
            self.broken[source] = error
        if room >= 0:
            self.kept[source] = seen

    def _tensor(self, pictures: np.ndarray) -> np.ndarray:
        if self.interface.folded:
            return pictures
        frames = normalize(pictures, self.metadata.preprocess)  # (N, C, H, W)
        return frames if self.metadata.kind == "step" else np.ascontiguousarray(frames.transpose(1, 0, 2, 3)[None])


def _groups(pictures: Iterable[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    """`size` at a time; what is left is left out."""
    waiting: list[np.ndarray] = []
    for picture in pictures:
        waiting.append(picture)
        if len(waiting) == size:
            yield waiting
            waiting = []
