"""Frames from arrays in files, .npy, .npz and .csv: signals, skeletons, features, or pictures. Values stay as they are.

A file has the layout of the clip network, (C, T), (C, T, V) or (C, T, V, M), with or without an N of 1 before it, or its frames
first, (T, C, ...). Pictures are uint8 (T, H, W, 3), which are prepared like a video's, or floats (C, T, H, W), normalized
already. A .npz has an array for each input, by name, where a network takes several. A .csv has a line for each frame, with its
values in the order of the axes. Times: `pts` in seconds, a column of a .csv or an array of a .npz; else a rate.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from everyframe.errors import SourceError, UsageError
from everyframe.video.frame import Decoded, Frame
from everyframe.video.preprocess import prepare
from everyframe.video.sampling import rate_of, sample
from everyframe.video.sources import Source

if TYPE_CHECKING:
    from everyframe.modelfile.interface import Input

TIMES = ("pts", "pts_s", "time", "times", "time_s", "timestamp", "timestamps", "seconds")
Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Layout:
    """What a network takes. frame: the shape of one frame, None where open: (C,), (C, V), (C, V, M), or of pictures (C, H, W).
    rate: frames a second, where nobody says. inputs: all that it takes.
    """

    frame: Shape
    pictures: bool
    rate: float
    preprocess: Any = None
    inputs: tuple[Input, ...] = ()

    def __str__(self) -> str:
        if len(self.inputs) > 1:
            return "an array for each input: " + ", ".join(f"{taken.name} {_order(taken)}" for taken in self.inputs)
        channels, *rest = ("?" if size is None else str(size) for size in self.frame)
        own = f"({', '.join((channels, 'T', *rest))})"
        shown = f"{own}, the network's order, or frames first: ({', '.join(('T', channels, *rest))})"
        return f"uint8 (T, H, W, 3), or floats {shown}" if self.pictures else shown


class ArrayReader:
    """Frames of one file, as `Reader` gives those of a video. fps: of the array; None: its own times, or the network's rate."""

    def __init__(self, source: Source, layout: Layout, fps: float | None = None) -> None:
        self.source, self.frames, self.dropped = source, 0, 0
        self.thumbnails: list[Frame] = []
        self.notes: list[str] = []
        path = Path(source.paths[0])
        array, times = _SUFFIXES[path.suffix.lower()](path, layout)
        self._array = by_name(array, layout, path) if len(layout.inputs) > 1 else frames_first(array, layout, path)
        self._where, self._layout = path, layout
        # pictures of floats were prepared for this network before: resized, normalized, and sampled
        ready = layout.pictures and len(layout.inputs) < 2 and array.dtype.kind == "f" and times is None and fps is None
        at = _times(times, layout.rate if ready else fps, layout, len(self._array), path)
        self._sampled = self._decoded(at) if ready else self._sample(at)

    def __iter__(self) -> ArrayReader:
        return self

    def __next__(self) -> Frame:
        frame = next(self._sampled)
        self.frames += 1
        return Frame(frame.picture, float(frame.pts), frame.index)

    def close(self) -> None:
        self._sampled = iter(())

    def _sample(self, times: Sequence[Fraction]) -> Iterator[Decoded]:
        wanted = self._layout.preprocess
        return sample(self._decoded(times), fps=wanted.fps, every_n=wanted.sample_every_n)

    def _decoded(self, times: Sequence[Fraction]) -> Iterator[Decoded]:
        gap = times[1] - times[0] if len(times) > 1 else Fraction(0)
        for number, (values, pts) in enumerate(zip(self._array, times, strict=True)):
            if isinstance(values, Mapping):
                checked: Any = {name: self._checked(np.asarray(value), number, name) for name, value in values.items()}
            else:
                checked = self._checked(np.asarray(values), number)
            yield Decoded(checked, pts, gap, number)

    def _checked(self, values: np.ndarray, number: int, name: str = "") -> np.ndarray:
        if name and values.dtype == np.uint8:
            return values  # prepared with the others of its frame
        if self._layout.pictures and values.dtype == np.uint8:
            return prepare(values, self._layout.preprocess)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            at = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
            where = f"{self._where}, {name}" if name else self._where
            raise SourceError(
                "There is a value that is not finite.", where=f"{where}, frame {number}, place {at}", got=values[at],
                hint="fill the gaps before: a network remembers them",
            )  # fmt: skip
        return values.astype(np.float32, copy=False)


def loaded(path: Path) -> tuple[np.ndarray, list[Fraction] | None]:
    """(pictures (T, H, W, 3) or (T, H, W, 1) uint8, seconds of each where the file says them). Raises SourceError for arrays of
    anything else, which nothing that looks at videos has a use for.
    """
    array, times = _SUFFIXES[path.suffix.lower()](path, _PICTURES)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] not in (1, 3) or 0 in array.shape:
        raise SourceError(
            "There are no pictures in this array.", where=path, expected="uint8 (T, H, W, 3) or (T, H, W, 1)",
            got=f"{array.dtype} {array.shape}", hint="`predict` and `evaluate` take other arrays, with a network made for them",
        )  # fmt: skip
    return array, None if times is None else _in_order(times, len(array), path)


def pictures(path: Path, rate: Fraction) -> Iterator[Decoded]:
    """The pictures of a file. rate: frames a second, where it does not say their times. Raises SourceError."""
    array, told = loaded(path)
    times = told or [number / rate for number in range(len(array))]
    for number, (picture, pts) in enumerate(zip(array, times, strict=True)):
        yield Decoded(np.asarray(picture), pts - times[0], Fraction(0), number)


def frames_first(array: np.ndarray, layout: Layout, where: object) -> np.ndarray:
    """(T, ...) of an array in one of the orders of `Layout`; the network's own where two would fit. Raises SourceError."""
    if layout.pictures and array.dtype == np.uint8:
        if array.ndim == 4 and array.shape[3] in (1, 3):
            return array
    elif array.dtype.kind in "fiu":
        frame = layout.frame
        inner = array[0] if array.ndim == len(frame) + 2 and len(array) == 1 else array
        if inner.ndim == len(frame) + 1:
            if fits((inner.shape[0], *inner.shape[2:]), frame):
                return np.moveaxis(inner, 1, 0)
            if fits(inner.shape[1:], frame):
                return inner
    raise SourceError(
        "This array is not what the network takes.", where=where, expected=layout, got=f"{array.dtype} {array.shape}"
    )


def _order(taken: Input) -> str:
    channels, *rest = ("?" if size is None else str(size) for size in taken.frame)
    if not taken.every:
        return f"({', '.join((channels, *rest))})"
    return f"({', '.join((channels, 'T' if taken.every == 1 else f'T/{taken.every}', *rest))})"


def by_name(arrays: Any, layout: Layout, where: object) -> list[dict[str, np.ndarray]]:
    """The frames of several inputs, a dict each; what has no frames is in the first. arrays: by name, each in one of the orders
    of `Layout`. Raises SourceError.
    """
    if not isinstance(arrays, Mapping):
        raise SourceError("The network takes several inputs.", where=where, expected=f"a .npz with {layout}", got="one array")
    wanted = {taken.name: taken for taken in layout.inputs}
    if set(arrays) != set(wanted):
        raise SourceError(
            "These are not the inputs of the network.", where=where, expected=layout, got=", ".join(arrays) or "none"
        )
    found = {}
    for name, taken in wanted.items():
        array = np.asarray(arrays[name])
        own = Layout(taken.frame, taken.pictures, layout.rate, taken.preprocess)
        found[name] = frames_first(array, own, f"{where}, {name}") if taken.every else array
    count = len(found[layout.inputs[0].name])
    for name, taken in wanted.items():
        if taken.every and len(found[name]) != -(-count // taken.every):
            raise SourceError(
                "The inputs do not have as many frames as each other.", where=f"{where}, {name}",
                expected=f"{-(-count // taken.every)} frames", got=len(found[name]),
            )  # fmt: skip
    return [
        {
            name: found[name][number // taken.every] if taken.every else found[name]
            for name, taken in wanted.items()
            if (number % taken.every == 0 if taken.every else number == 0)
        }
        for number in range(count)
    ]


def fits(shape: Sequence[int], wanted: Shape) -> bool:
    """Has every axis the size that is wanted? None is any."""
    return len(shape) == len(wanted) and all(size in (None, n) for size, n in zip(wanted, shape, strict=True))


def _times(times: np.ndarray | None, fps: float | None, layout: Layout, count: int, where: Path) -> list[Fraction]:
    if not count:
        raise SourceError("There are no frames in this array.", where=where)
    if fps is not None and times is not None:
        raise UsageError("Frames have a rate or times.", where=where, expected="--fps, or times in the file", got="both")
    if times is None:
        if fps is None and layout.preprocess.fps:
            raise UsageError(
                "Nobody knows how fast these frames are.", where=where, expected=f"--fps, or times in seconds ({TIMES[0]})",
                got="neither", hint=f"--fps {layout.preprocess.fps:g}, the network's own rate, uses them all",
            )  # fmt: skip
        gap = 1 / rate_of(layout.rate if fps is None else fps)
        return [number * gap for number in range(count)]
    return _in_order(times, count, where)


def _in_order(times: np.ndarray, count: int, where: Path) -> list[Fraction]:
    if times.shape != (count,) or times.dtype.kind not in "fiu" or not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise SourceError("The times are not those of the frames.", where=where, expected=f"{count} seconds in order",
                          got=f"{times.dtype} {times.shape}")  # fmt: skip
    return [Fraction(round(float(time) * 1_000_000), 1_000_000) for time in times]


# --- files ---


def _npy(path: Path, layout: Layout) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False), None
    except (OSError, ValueError, EOFError) as error:
        raise SourceError("The array cannot be read.", where=path, got=error) from None


def _npz(path: Path, layout: Layout) -> tuple[Any, np.ndarray | None]:
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except Exception as error:  # zipfile has errors of its own
        raise SourceError("The arrays cannot be read.", where=path, got=error) from None
    taken = {each.name for each in layout.inputs}
    times = next((found.pop(name) for name in TIMES if name in found and name not in taken), None)
    if len(layout.inputs) > 1:
        return found, times
    if len(found) != 1:
        raise SourceError(
            "It cannot be told which array of the file holds the frames.", where=path,
            expected=f"one array, and {TIMES[0]} if there are times", got=", ".join(found) or "none",
        )  # fmt: skip
    return next(iter(found.values())), times


def _csv(path: Path, layout: Layout) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError("The table cannot be read.", where=path, got=error) from None
    mark = next((mark for mark in "\t;," if mark in text[:4096]), ",")
    rows = [
        (number, row) for number, row in enumerate(csv.reader(text.splitlines(), delimiter=mark), 1) if any(map(str.strip, row))
    ]
    header = None
    if rows and any(cell.strip() and _number(cell) is None for cell in rows[0][1]):  # a gap is no name of a column
        header = [cell.strip() for cell in rows.pop(0)[1]]
    if not rows:
        raise SourceError("There are no frames in this table.", where=path, expected="a line of numbers for each frame")
    width = len(header) if header else len(rows[0][1])
    values = np.array([_numbers(row, number, width, header, path) for number, row in rows], np.float64)
    at = next((i for i, name in enumerate(header or ()) if name.casefold() in TIMES), None)
    times = None if at is None else values[:, at]
    values = values if at is None else np.delete(values, at, axis=1)
    return _shaped(values.astype(np.float32), layout, path), times


def _shaped(values: np.ndarray, layout: Layout, path: Path) -> np.ndarray:
    """(T, values) -> (T, *frame)."""
    frame = layout.frame
    if None in frame and len(frame) == 1:
        return values
    if None in frame or layout.pictures or prod(size for size in frame if size) != values.shape[1]:
        axes = " x ".join("?" if size is None else str(size) for size in frame)
        raise SourceError(
            "The columns of this table are not what the network takes.", where=path,
            expected="an array: pictures are no table" if layout.pictures else f"{axes} values a line, and `pts` for times",
            got=f"{values.shape[1]} columns",
        )  # fmt: skip
    return values.reshape(len(values), *(size or 1 for size in frame))


def _numbers(row: list[str], number: int, width: int, header: list[str] | None, path: Path) -> list[float]:
    if len(row) != width:
        raise SourceError("A line has another number of values.", where=f"{path}, line {number}", expected=width, got=len(row))
    found = []
    for place, cell in enumerate(row):
        value = _number(cell)
        if value is None or not np.isfinite(value):
            column = header[place] if header else place + 1
            raise SourceError(
                "There is a value that is no number.", where=f"{path}, line {number}, column {column}",
                got=cell.strip() or "nothing", hint="fill the gaps before: a network remembers them",
            )  # fmt: skip
        found.append(value)
    return found


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


_SUFFIXES = {".npy": _npy, ".npz": _npz, ".csv": _csv}
_PICTURES = Layout((None, None, None), True, 0.0)
