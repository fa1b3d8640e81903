"""Files made larger: a picture, a video with its sound, a folder of both. Each is written whole or not at all."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from everyframe.errors import EveryframeError, OutputError, SourceError, UsageError
from everyframe.files import check_kept, check_writable, make_folder, write_bytes
from everyframe.progress import TextProgress, silent
from everyframe.tasks.super_resolution.enhance import Enhancer, Stream
from everyframe.tasks.super_resolution.pictures import read
from everyframe.video.sources import PICTURES, VIDEOS, Source, is_litter, natural, resolve
from everyframe.video.write import KINDS, check_twice, rewrite

#: what a picture's name ends in -> how Pillow writes it
FORMATS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG"},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".webp": {"format": "WEBP", "quality": 95},
    ".bmp": {"format": "BMP"},
    ".tif": {"format": "TIFF", "compression": "tiff_deflate"},
    ".tiff": {"format": "TIFF", "compression": "tiff_deflate"},
}
#: most pixels that a side of a JPEG, and of a WebP, can have
_LONGEST = {"JPEG": 65535, "WEBP": 16383}
RATE = Fraction(25)  # pictures a second of a folder that becomes a video


@dataclass(frozen=True)
class Job:
    """One file to be written. picture: it becomes a picture, and else a video."""

    source: Source
    output: Path
    picture: bool

    @property
    def name(self) -> str:
        return Path(self.source.paths[0]).name if self.picture else self.source.name


@dataclass(frozen=True)
class Written:
    """size: (height, width) of what was read, of the first frame of a video. notes: what is no error."""

    source: str
    path: Path
    size: tuple[int, int]
    scale: int
    frames: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        height, width = (side * self.scale for side in self.size)
        return {
            "source": self.source, "file": str(self.path), "height": height, "width": width, "frames": self.frames,
            "notes": list(self.notes),
        }  # fmt: skip

    def text(self) -> str:
        height, width = self.size
        frames = f", {self.frames} frames" if self.frames > 1 else ""
        return f"wrote {self.path}  {width}x{height} -> {width * self.scale}x{height * self.scale}{frames}"


def found(given: str | os.PathLike[str], output: Path | None) -> list[Source]:
    """What a path names; of a folder its pictures and videos, or, to become a video, its pictures as one. Raises SourceError."""
    folder = Path(given)
    if not folder.is_dir() or (output is not None and output.suffix.lower() in KINDS):
        return resolve(given)
    there = [path for path in folder.iterdir() if path.is_file() and not is_litter(path.name)]
    files = [path for path in there if path.suffix.lower() in PICTURES | VIDEOS]
    if not files:
        return resolve(given)  # which says what is there instead
    return [Source("file", path.name, (str(path),)) for path in sorted(files, key=lambda path: natural(path.name))]


def plan(given: Sequence[str | os.PathLike[str]], output: Path | None) -> list[Job]:
    """What is to be written: one picture or video to a file of such a name, anything else into a folder, under its own names.
    Raises UsageError, OutputError, SourceError before any work.
    """
    sources = [source for each in given for source in found(each, output)]
    if output is None:
        raise UsageError(
            "This model enlarges pictures and videos, which have to be written somewhere.", expected="--output FILE or FOLDER",
            hint="-o larger.png, -o larger.mp4, or for several a folder",
        )  # fmt: skip
    suffix = output.suffix.lower()
    if suffix in (*KINDS, *FORMATS, *PICTURES) and not output.is_dir():  # a file is meant
        if len(sources) > 1:
            raise UsageError("Several files cannot become one.", where=output, got=f"{len(sources)} files", expected="a folder")
        picture = _is_picture(sources[0])
        if suffix not in (FORMATS if picture else KINDS):
            raise _unlike(picture, output)
        jobs = [Job(sources[0], output, picture)]
    else:
        jobs = _into(sources, output)
    for job in jobs:
        if not job.picture:
            check_twice(job.source, job.output)
        if job.source.live or job.source.kind in ("stdin", "array"):
            raise UsageError(
                "Only files can be enlarged.", where=job.source.name, expected="pictures, videos or folders of them",
                hint="record it first",
            )  # fmt: skip
        check_kept(job.output, *job.source.paths)
    if len(jobs) == 1 and jobs[0].output == output:
        check_writable(output)
    else:
        make_folder(output)
    return jobs


def _is_picture(source: Source) -> bool:
    return source.kind == "file" and Path(source.paths[0]).suffix.lower() in PICTURES


def _unlike(picture: bool, output: Path) -> OutputError:
    return OutputError(
        f"A {'picture' if picture else 'video'} cannot be written under this name.", where=output,
        expected=f"a name that ends in {', '.join(FORMATS if picture else KINDS)}, or a folder", got=output.name,
    )  # fmt: skip


def _into(sources: Sequence[Source], folder: Path) -> list[Job]:
    """Each under its own name, or one that can be written; a folder's pictures one by one."""
    jobs: list[Job] = []
    taken: set[Path] = set()

    def add(source: Source, picture: bool) -> None:
        path = Path(source.paths[0])
        known, other = (FORMATS, ".png") if picture else (KINDS, ".mp4")
        output = folder / (path.name if path.suffix.lower() in known else f"{path.stem}{other}")
        if output in taken:
            raise UsageError("Two files would be written under one name.", where=output, got=path, hint="run them one by one")
        taken.add(output)
        jobs.append(Job(source, output, picture))

    for source in sources:
        if source.kind == "pictures":
            for path in source.paths:
                add(Source("file", Path(path).name, (path,)), True)
        else:
            add(source, _is_picture(source))
    return jobs


def write_picture(picture: np.ndarray, path: Path) -> Path:
    """(H, W, 3) RGB uint8 in the format that the name says. Raises OutputError."""
    how = FORMATS.get(path.suffix.lower())
    if how is None:
        raise _unlike(True, path)
    height, width = picture.shape[:2]
    if max(height, width) > _LONGEST.get(how["format"], max(height, width)):
        raise OutputError(
            f"A {how['format']} cannot be as large as that.", where=path, got=f"{width}x{height}",
            expected=f"sides of at most {_LONGEST[how['format']]} pixels", hint="write a .png",
        )  # fmt: skip
    data = io.BytesIO()
    Image.fromarray(picture).save(data, **how)
    return write_bytes(data.getvalue(), path)


class Worker:
    """Jobs, one after another. Pictures of one size that follow each other are a video to a network for video."""

    def __init__(self, enhancer: Enhancer) -> None:
        self.enhancer = enhancer
        self._last: Stream | None = None

    def run(self, job: Job, *, seconds: float | None = None, told: TextProgress = silent) -> Written:
        """seconds: of a video, where it ends. Raises SourceError, OutputError, EngineError."""
        told(job.name)
        return self._picture(job) if job.picture else self._video(job, seconds, told)

    def _picture(self, job: Job) -> Written:
        picture = read(Path(job.source.paths[0]))
        size = picture.shape[0], picture.shape[1]
        if self._last is None or self._last.size != size or not self.enhancer.remembers:
            self._last = self.enhancer.stream(size)
        write_picture(self._last.color(picture), job.output)
        return Written(job.source.name, job.output, size, self.enhancer.scale, 1)

    def _video(self, job: Job, seconds: float | None, told: Callable[[str], None]) -> Written:
        stream: Stream | None = None
        count = 0

        def draw(picture: np.ndarray, time_s: float) -> np.ndarray:
            nonlocal stream, count
            if stream is None:  # asked for its size first, and a second time for the same picture
                stream = self.enhancer.stream((picture.shape[0], picture.shape[1]), video=True)
                return np.empty((picture.shape[0] * stream.scale, picture.shape[1] * stream.scale, 3), np.uint8)
            made = stream.color(picture)
            count += 1
            told(f"{job.name}: {count} frames, {time_s:.1f} s of video")
            return made

        notes = rewrite(job.source, job.output, draw, picture_rate=RATE, until=seconds)
        if stream is None:
            raise SourceError("The video has no frames.", where=job.source.where)
        return Written(job.source.name, job.output, stream.size, self.enhancer.scale, count, tuple(notes))


def run(
    enhancer: Enhancer, jobs: Sequence[Job], *, seconds: float | None = None, told: TextProgress = silent,
    failed: Callable[[Job, EveryframeError], None] | None = None,
) -> Iterator[Written]:  # fmt: skip
    """Each as it is there. failed: told of what cannot be read or written; None: it is raised."""
    worker = Worker(enhancer)
    for job in jobs:
        try:
            yield worker.run(job, seconds=seconds, told=told)
        except EveryframeError as error:
            if failed is None:
                raise
            failed(job, error)
