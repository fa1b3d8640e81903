"""Luma of pictures on disk, small and large: training cuts a little out of one of them at a time, and decoding a large picture
and reducing it takes a thousand times longer than that.

Entries are .npy files named after all that their bytes depend on, written under another name and renamed. They can be deleted at
any time.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import av
import numpy as np

from everyframe.errors import SourceError
from everyframe.files import cache_folder, make_folder, write_bytes
from everyframe.tasks.super_resolution.pictures import GRAY, Pair
from everyframe.video.preprocess import prepare

#: raised when the same picture gives other bytes
VERSION = 1


class Lumas:
    """Pairs of pictures as luma. folder: of the cache; None: they are kept in memory instead."""

    def __init__(self, pairs: tuple[Pair, ...], scale: int, folder: Path | None) -> None:
        self.pairs, self.scale, self.folder = pairs, scale, folder
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """(small (h, w), large (h * scale, w * scale)), uint8 of 0..255, perhaps mapped from disk and read-only. Raises
        SourceError, and OutputError where the cache cannot be written.
        """
        if number not in self._kept:
            self._kept[number] = self._made(self.pairs[number])
        return self._kept[number]

    def _made(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        if self.folder is None:
            return lumas(pair, self.scale)
        entries = [self.folder / f"{self._digest(pair)}_{which}.npy" for which in ("small", "large")]
        if any(_mapped(entry) is None for entry in entries):
            make_folder(self.folder)
            for entry, picture in zip(entries, lumas(pair, self.scale), strict=True):
                data = io.BytesIO()
                np.save(data, picture)
                write_bytes(data.getvalue(), entry)
        small, large = map(_mapped, entries)
        if small is None or large is None:
            raise SourceError("What was kept of a picture cannot be read again.", where=self.folder, got=pair.name)
        return small, large

    def _digest(self, pair: Pair) -> str:
        stats = []
        for path in filter(None, (pair.large, pair.small)):
            try:
                found = path.stat()
            except OSError as error:
                raise SourceError("The picture cannot be opened.", where=path, got=error.strerror) from None
            stats.append((str(path.resolve()), found.st_size, found.st_mtime_ns))
        what = [VERSION, av.__version__, self.scale, stats]
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]


def lumas(pair: Pair, scale: int) -> tuple[np.ndarray, np.ndarray]:
    small, large = (prepare(picture, GRAY)[..., 0] for picture in pair.read(scale))  # type: ignore[arg-type]
    return small, large


def folder() -> Path:
    return cache_folder("pictures")


def _mapped(entry: Path) -> np.ndarray | None:
    try:
        found = np.load(entry, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there, or cut short
        return None
    return found if found.ndim == 2 and found.dtype == np.uint8 else None
