"""A video through a stream: what `predict` iterates over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from everyframe.modelfile.interface import check_picture
from everyframe.runtime.handover import HandoverRun
from everyframe.runtime.prediction import Prediction
from everyframe.runtime.stream import ClipStream, Owner, Stream
from everyframe.video.arrays import ArrayReader, Layout
from everyframe.video.frame import Frame
from everyframe.video.reader import Reader
from everyframe.video.sources import Source
from everyframe.video.supervise import Change, Gap, LiveReader

#: seconds between two pictures that are shown
PREVIEW_S = 1 / 15


def layout(program: Owner) -> Layout:
    """What arrays in files are to be."""
    taken = program.interface
    return Layout(taken.frame, taken.pictures, program.rate, program.metadata.preprocess, taken.inputs)


class Playback:
    """Iterator of predictions. frames, dropped: as the reader counts them; wait_s: time spent waiting for frames.

    A live source that is lost is opened again (`video.supervise`), and after a gap the stream begins anew. changed: told both.
    """

    def __init__(
        self,
        stream: Stream,
        source: Source,
        max_frames: int | None,
        seconds: float | None,
        realtime: bool,
        thumbnails: int,
        fps: float | None = None,
        changed: Callable[[Change | Gap], None] = lambda _: None,
        preview: int = 0,
    ) -> None:
        self.source, self.stream = source, stream
        self.live = source.live or realtime  # predictions come at the speed of the world, not of this machine
        self.max_frames, self.seconds = max_frames, seconds
        self.last_pts_s, self._newest = 0.0, 0
        self._base, self._away_s = 0, 0.0  # frames that the stream saw before it began anew; seconds without any
        self.wait_s = 0.0
        self._rest: Iterator[Prediction] | None = None  # what comes when the video is over
        self._name = source.paths[0] if source.kind == "file" else source.name
        group = stream.stride if isinstance(stream, ClipStream) else stream.hop
        wanted = stream.program.metadata.preprocess
        options: dict[str, Any] = {"buffer": group + 1, "thumbnails": thumbnails, "preview": preview, "preview_s": PREVIEW_S}
        self._reader: Reader | ArrayReader | LiveReader
        if source.kind == "array":
            self._reader = ArrayReader(source, layout(stream.program), fps)
        elif source.live:
            self._reader = LiveReader(source, wanted, tell=changed, give_up=True, **options)
        else:
            self._reader = Reader(source, wanted, realtime=realtime, **options)

    @property
    def frames(self) -> int:
        return self._reader.frames

    @property
    def engine(self) -> str | None:
        """What the newest answer is from, where a stream may change its engine (see `handover`)."""
        run = self.stream._run
        return run.using.engine if isinstance(run, HandoverRun) else None

    @property
    def source_fps(self) -> float | None:
        """Frames a second that the source really has, by its own times so far."""
        seconds = self.last_pts_s - self._away_s
        return self._newest / seconds if seconds > 0 else None

    @property
    def dropped(self) -> int:
        return self._reader.dropped

    @property
    def notes(self) -> list[str]:
        """What the user should know of the source so far: colors that are only approximated, recordings that were not played."""
        return self._reader.notes

    @property
    def thumbnails(self) -> list[Frame]:
        return self._reader.thumbnails

    @property
    def preview(self) -> Frame | None:
        """The newest picture, where one is kept: RGB, its short side `preview` pixels."""
        return None if isinstance(self._reader, ArrayReader) else self._reader.preview

    def __iter__(self) -> Playback:
        return self

    def __enter__(self) -> Playback:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the decoding and frees the stream."""
        self._reader.close()
        self.stream.close()

    def __next__(self) -> Prediction:
        try:
            return self._next()
        except BaseException:
            self.close()
            raise

    def _next(self) -> Prediction:
        if self._rest is None:
            try:
                return self._play()
            except StopIteration:
                self._rest = self.stream.drain()
        return replace(next(self._rest), source=self._name)

    def _play(self) -> Prediction:
        while True:
            if self.max_frames is not None and self.frames >= self.max_frames:
                raise StopIteration
            waited = time.perf_counter()
            frame = next(self._reader)
            self.wait_s += time.perf_counter() - waited
            if self.seconds is not None and frame.pts_s >= self.seconds:
                raise StopIteration
            if self.frames == 1 and self.source.kind != "array":
                check_picture(frame.data, self.stream.program.interface, self._name)
            if isinstance(self._reader, LiveReader) and self._reader.gap_s:
                self._base += self.stream.frames
                self._away_s += self._reader.gap_s
                self.stream.reset()
            prediction = self.stream.push_frame(frame)
            self.last_pts_s, self._newest = frame.pts_s, frame.index
            if prediction is not None:
                return replace(prediction, source=self._name, frame=prediction.frame + self._base)
