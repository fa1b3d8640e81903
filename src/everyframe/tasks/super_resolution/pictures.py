"""Pictures for super-resolution as folders hold them: large ones, and their small ones where somebody has made them.

Read are a folder of large pictures alone; and DIV2K's, where beside NAME_HR there is NAME_LR_bicubic/X4 with 0001x4.png of
0001.png.
Small pictures that lie among the large ones (0001x4.png, 1_lr4.png) are left out; where there are none, they are made by the
field's bicubic, and rounded as in a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from everyframe.errors import SourceError
from everyframe.recipes.super_resolution import SuperResolutionRecipe
from everyframe.tasks.super_resolution.resize import bicubic
from everyframe.video.decode import decode
from everyframe.video.preprocess import prepare
from everyframe.video.sources import PICTURES, VIDEOS, Source, is_litter, natural

#: what the name of a small picture has behind that of its large one
_SMALL = re.compile(r"(?:_?x|_?lrx?)([2348])$", re.IGNORECASE)


@dataclass(frozen=True)
class Upright:
    """A whole picture as `video.preprocess.prepare` makes it: RGB, or gray, which is full-range BT.601 luma."""

    color: str = "rgb"
    resize: tuple[int, int] | None = None
    crop: None = None


Kind = TypeVar("Kind")
RGB, GRAY = Upright(), Upright("gray")


@dataclass(frozen=True)
class Pair:
    """large: a file. small: the file of its small one; None: it is to be made."""

    large: Path
    small: Path | None = None

    @property
    def name(self) -> str:
        return self.large.name

    def read(self, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """(small (h, w, 3), large (h * scale, w * scale, 3)), RGB uint8. What is over at the large one's right and bottom is cut
        off. Raises SourceError.
        """
        large = read(self.large)
        height, width = large.shape[0] // scale, large.shape[1] // scale
        if not height or not width:
            raise SourceError(
                "The picture is too small.", where=self.large, expected=f"at least {scale} x {scale}",
                got=f"{large.shape[0]} x {large.shape[1]} (height x width)",
            )  # fmt: skip
        large = large[: height * scale, : width * scale]
        if self.small is None:
            return bicubic(large, (height, width)), large
        small = read(self.small)
        if small.shape != (height, width, 3):
            raise SourceError(
                "The small picture does not fit the large one.", where=self.small,
                expected=f"{height} x {width} (height x width), a {scale}th of {self.large.name}",
                got=f"{small.shape[0]} x {small.shape[1]}", hint="check that both folders are of the same scale",
            )  # fmt: skip
        return small, large


@dataclass(frozen=True)
class Film:
    """A video whose frames are large pictures, and are made small: what a network for video is measured on. most: frames."""

    large: Path
    most: int = 100

    @property
    def name(self) -> str:
        return self.large.name

    def lumas(self, scale: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(small (h, w), large (h * scale, w * scale)) uint8 luma of 0..255, frame by frame. Raises SourceError."""
        for frame in decode(Source("file", self.name, (str(self.large),))):
            if frame.index == self.most:
                return
            large = prepare(frame.picture, GRAY)[..., 0]  # type: ignore[arg-type]
            height, width = large.shape[0] // scale, large.shape[1] // scale
            large = large[: height * scale, : width * scale]
            yield bicubic(large, (height, width)), large


def read(path: Path, geometry: Upright = RGB) -> np.ndarray:
    """(H, W, 3) RGB uint8, or (H, W, 1) gray, of a picture in any format that FFmpeg reads. Raises SourceError."""
    return prepare(next(iter(decode(Source("pictures", path.name, (str(path),))))).picture, geometry)  # type: ignore[arg-type]


def films(folder: Path) -> list[Film]:
    """The videos of a folder, in natural order; none where it holds none."""
    there = (
        [path for path in folder.iterdir() if path.suffix.lower() in VIDEOS and not is_litter(path.name)]
        if folder.is_dir()
        else []
    )
    return [Film(path) for path in sorted(there, key=lambda path: natural(path.name))]


def find(folder: Path, scale: int) -> list[Pair]:
    """The large pictures of a folder in natural order, each with its small one where it is there. Raises SourceError where there
    are none, or where a folder of small ones lacks some.
    """
    if not folder.is_dir():
        raise SourceError("There is no such folder of pictures.", where=folder, hint="check the path")
    there = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES and not is_litter(path.name)]
    stems = {path.stem for path in there}
    large = sorted((path for path in there if not _is_small(path.stem, stems)), key=lambda path: natural(path.name))
    if not large:
        below = sorted(path.name for path in folder.iterdir() if path.is_dir() and not is_litter(path.name))
        raise SourceError(
            "There are no pictures in this folder.", where=folder, expected="large pictures, such as .png",
            got=f"{len(there)} pictures, {len(below)} folders" + (f": {', '.join(below[:5])}" if below else ""),
            hint="give the folder that holds the pictures themselves" if below else None,
        )  # fmt: skip
    smaller = _smaller(folder, scale)
    if smaller is None:
        return [Pair(path) for path in large]
    known = {_SMALL.sub("", path.stem): path for path in smaller.iterdir() if path.suffix.lower() in PICTURES}
    if missing := [path.name for path in large if path.stem not in known]:
        raise SourceError(
            "Small pictures are missing.", where=smaller, expected=f"one for each of {len(large)} large ones",
            got=f"none of {', '.join(missing[:3])}", hint="take the folder away: they are made then",
        )  # fmt: skip
    return [Pair(path, known[path.stem]) for path in large]


def spread(pairs: Sequence[Kind], most: int | None) -> list[Kind]:
    """At most so many, evenly spread."""
    at = np.linspace(0, len(pairs) - 1, min(len(pairs), most or len(pairs))).round().astype(int)
    return [pairs[int(n)] for n in at]


def held_out(recipe: SuperResolutionRecipe) -> tuple[list[Pair], list[Pair]]:
    """(for training, held out) as a recipe says whose `data.root` is absolute. Raises SourceError."""
    data, scale = recipe.data, recipe.model.scale
    train = find(Path(data.root) / data.train, scale)
    if data.validation is not None:
        return train, spread(find(Path(data.root) / data.validation, scale), data.shown)
    count = max(1, round(len(train) * data.holdout)) if len(train) > 1 else 0
    out = {int(n) for n in np.random.default_rng(0).permutation(len(train))[:count]}
    kept = [pair for n, pair in enumerate(train) if n not in out]
    return kept, spread([pair for n, pair in enumerate(train) if n in out], data.shown)


def _is_small(stem: str, stems: set[str]) -> bool:
    return _SMALL.search(stem) is not None and _SMALL.sub("", stem) in stems


def _smaller(folder: Path, scale: int) -> Path | None:
    """DIV2K_train_HR -> DIV2K_train_LR_bicubic/X4, where that is there."""
    name = folder.resolve().name
    found = folder.resolve().with_name(f"{name.removesuffix('HR')}LR_bicubic") / f"X{scale}"
    return found if name.endswith("HR") and found.is_dir() else None
