"""A picture, enlarged: its luma by the network, its colors by bicubic interpolation.

Eyes and measures look for detail in luma, and videos store colors at half the size; a network for three colors has three times
the work in its first and last layers. A picture goes through the network as a whole where that fits into memory, and else in
overlapping parts, which give the same values. A network for video keeps what it remembers for each part.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from PIL import Image

from everyframe.errors import EngineError, SourceError, StateError
from everyframe.modelfile.file import Held, load
from everyframe.modelfile.interface import interface, metadata_or_raise
from everyframe.native import artifact
from everyframe.runtime.program import Program
from everyframe.tasks.super_resolution import sized
from everyframe.tasks.super_resolution.pictures import GRAY
from everyframe.video.preprocess import prepare

#: pixels of a picture that goes through the network as a whole. 64 channels of them are 256 MB
WHOLE = 1 << 20
#: side of a part of a larger one
PART = 768


class Enhancer:
    """A model file for pictures of any size. Raises ModelError for one that does not enlarge, EngineError.

    engine, threads: as `everyframe.open` takes them; `auto` is onnxruntime for single pictures, since comparing engines and
    compiling for their size takes longer than they do.
    """

    def __init__(
        self, path: str | os.PathLike[str] | Held, *, engine: str = "auto", threads: int | None = None, whole: int = WHOLE,
        part: int = PART,
    ) -> None:  # fmt: skip
        self.path, self.engine, self.threads, self.whole, self.part = path, engine, threads, whole, part
        self.name = os.fspath(path)
        #: one that was compiled, for one size and without its graph
        self.compiled = not isinstance(path, Held) and artifact.is_library(path)
        self.model = artifact.read(path)["model"] if self.compiled else load(path)
        self.metadata = metadata_or_raise(self.model, self.name)
        self.taken = interface(self.model, self.metadata, self.name)
        self.facts = sized.facts(self.model, self.metadata, self.taken, self.name)
        self._programs: dict[tuple[tuple[int, int], str], Program] = {}

    @property
    def scale(self) -> int:
        return self.facts.scale

    @property
    def remembers(self) -> bool:
        """It is a network for video: what came before counts."""
        return bool(self.metadata.states)

    @cached_property
    def reach(self) -> int:
        return sized.reach(self.model, self.taken, self.facts.squares)

    def __enter__(self) -> Enhancer:
        return self

    def __exit__(self, *_: object) -> None:
        for program in self._programs.values():
            program.close()
        self._programs.clear()

    def program(self, size: tuple[int, int], engine: str) -> Program:
        """For pictures of this (height, width); the last few are kept."""
        key = size, engine
        if key not in self._programs:
            given = (
                self.path
                if self.compiled
                else Held(sized.sized(self.model, self.metadata, self.facts, size, self.name), self.name)
            )
            if len(self._programs) > 3:
                self._programs.pop(next(iter(self._programs))).close()
            self._programs[key] = Program(given, engine=engine, threads=self.threads)
        return self._programs[key]

    def stream(self, size: tuple[int, int], *, video: bool = False) -> Stream:
        """For pictures of this (height, width). video: for many of them."""
        single = self.engine == "auto" and not video and not self.compiled
        return Stream(self, size, "ort" if single else self.engine)


class Stream:
    """Pictures of one size, one after another. size: (height, width)."""

    def __init__(self, enhancer: Enhancer, size: tuple[int, int], engine: str) -> None:
        self.size, self.scale = size, enhancer.scale
        if enhancer.compiled and size != enhancer.facts.size:
            raise SourceError(
                "This compiled model is for pictures of another size.", where=enhancer.name,
                expected=f"{enhancer.facts.size[1]}x{enhancer.facts.size[0]}", got=f"{size[1]}x{size[0]}",
                hint="give the .onnx that it was compiled from: it is made for any size",
            )  # fmt: skip
        squares = enhancer.facts.squares
        most = max(squares, enhancer.part // squares * squares)
        #: in whole squares of pixels
        height, width = self.whole = size[0] + -size[0] % squares, size[1] + -size[1] % squares
        fits = enhancer.compiled or height * width <= enhancer.whole
        self.part = (height, width) if fits else (min(height, most), min(width, most))
        self.program = enhancer.program(self.part, engine)
        overlap = 0 if self.part == self.whole else enhancer.reach
        down, across = (pieces(side, part, overlap) for side, part in zip(self.whole, self.part, strict=True))
        #: (rows, columns, its own state)
        self.parts = [(rows, columns, self.program.start()) for rows, columns in itertools.product(down, across)]
        preprocess = self.program.metadata.preprocess
        self._factor, self._offset = preprocess.scale / preprocess.std[0], preprocess.mean[0] / preprocess.std[0]

    def gray(self, picture: np.ndarray) -> np.ndarray:
        """(H, W) uint8 luma of full range -> (sH, sW) float32 of 0..255."""
        if picture.shape != self.size:
            raise StateError("The pictures of a stream have one size.", expected=self.size, got=picture.shape)
        frame = picture[None, None].astype(np.float32) * np.float32(self._factor) - np.float32(self._offset)
        (height, width), s = self.whole, self.scale
        if self.whole != self.size:
            frame = np.pad(frame, [(0, 0), (0, 0), (0, height - self.size[0]), (0, width - self.size[1])], mode="edge")
        made = np.empty((height * s, width * s), np.float32)
        for (top, low, high), (left, near, far), run in self.parts:
            part = np.ascontiguousarray(frame[:, :, top : top + self.part[0], left : left + self.part[1]])
            inner = slice((low - top) * s, (high - top) * s), slice((near - left) * s, (far - left) * s)
            made[low * s : high * s, near * s : far * s] = run.step(part)[0, 0][inner]
        if self.whole != self.size:
            made = np.ascontiguousarray(made[: self.size[0] * s, : self.size[1] * s])
        if not np.isfinite(made).all():
            raise EngineError(
                "The model's picture is not finite.", where=self.program.path, got="NaN or infinity",
                hint="its weights are damaged, or its training came to nothing: train it again",
            )  # fmt: skip
        if self._offset:
            made += np.float32(self._offset)
        return np.multiply(made, np.float32(1 / self._factor), out=made)

    def color(self, picture: np.ndarray) -> np.ndarray:
        """(H, W, 3) RGB uint8 -> (sH, sW, 3)."""
        made = self.gray(prepare(picture, GRAY)[..., 0])  # type: ignore[arg-type]
        size = (made.shape[1], made.shape[0])
        _, blue, red = Image.fromarray(picture).convert("YCbCr").split()
        made += 0.5
        luma = Image.fromarray(np.clip(made, 0, 255, out=made).astype(np.uint8))
        colors = [each.resize(size, Image.Resampling.BICUBIC) for each in (blue, red)]
        return np.asarray(Image.merge("YCbCr", (luma, *colors)).convert("RGB"))


def pieces(side: int, part: int, overlap: int) -> Iterator[tuple[int, int, int]]:
    """A side in parts of one length: (where a part begins, and from where to where its values are taken)."""
    inner = part - 2 * overlap
    if side > part and inner < 1:
        raise StateError("The parts of a picture are shorter than their overlap.", expected=2 * overlap + 1, got=part)
    taken = 0
    while taken < side:
        begin = min(max(0, taken - overlap), side - part)
        until = side if begin + part == side else begin + part - overlap
        yield begin, taken, until
        taken = until
