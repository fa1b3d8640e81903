"""Small decoded clips on disk: training sees each clip many times, and decoding it costs most of what making it costs.

An entry is a .npy file of (T, H, W, C) uint8 with a checksum behind it, named after everything its bytes depend on, so
that it is never wrong, only unused. Entries are written under another name and renamed: any number of processes may share
a folder. It can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np

from everyframe.data.clips import Clip
from everyframe.data.decode import pictures
from everyframe.data.workers import Pool
from everyframe.errors import EveryframeError, OutputError, SourceError
from everyframe.files import cache_folder
from everyframe.modelfile.schema import Preprocess

#: raised when `decode.pictures` gives other bytes for the same clip
VERSION = 2
#: where the recipe does not say: no more than so many bytes, and no more than half of what is free
LIMIT = 20 << 30
SAMPLES = 6


class Store:
    """Clips as uint8 pictures. preprocess: without a crop, as training and views cut their own. folder: of the cache;
    None: nothing is kept and every clip is decoded again.
    """

    def __init__(self, preprocess: Preprocess, folder: Path | None = None) -> None:
        self.preprocess, self.folder = preprocess, folder
        self._checked: set[Path] = set()  # entries whose checksum this process has seen to be right

    def frames(self, clip: Clip, choose: Callable[[int], np.ndarray] | None = None) -> np.ndarray:
        """(T, H, W, C) uint8, of all frames or of those that `choose` takes of so many. All of them may be mapped from
        disk and read-only. Raises SourceError, and OutputError where the cache cannot be written.
        """
        found = self._forwards(clip, choose)
        return np.ascontiguousarray(found[::-1]) if clip.backwards else found

    def _forwards(self, clip: Clip, choose: Callable[[int], np.ndarray] | None) -> np.ndarray:
        if self.folder is None:
            return pictures(clip, self.preprocess, choose)
        entry = self.entry(clip)
        found = self._read(entry)
        if found is None:
            found = pictures(clip, self.preprocess)
            self._write(entry, found)
        return found if choose is None else found[choose(len(found))]

    def entry(self, clip: Clip) -> Path:
        """Where a clip is or would be kept. Raises SourceError where the clip itself is not there."""
        stats = []
        for name in clip.files():
            try:
                found = Path(name).stat()
            except OSError as error:
                raise SourceError("The clip cannot be opened.", where=name, got=error.strerror) from None
            stats.append((found.st_size, found.st_mtime_ns))
        geometry = self.preprocess.model_dump(include={"color", "resize", "crop", "fps", "sample_every_n"})
        what = [VERSION, av.__version__, os.path.realpath(clip.path), clip.pictures, clip.first, clip.span, stats, geometry]
        digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
        return Path(self.folder or "", digest[:2], f"{digest[2:32]}.npy")

    def _read(self, entry: Path) -> np.ndarray | None:
        try:
            frames = np.load(entry, mmap_mode="r", allow_pickle=False)
            if entry not in self._checked:
                with entry.open("rb") as file:
                    file.seek(-4, os.SEEK_END)
                    written = file.read(4)
                if frames.ndim != 4 or frames.dtype != np.uint8 or _checksum(frames) != written:
                    return None
                self._checked.add(entry)
        except (OSError, ValueError, EOFError):  # not there, or cut short
            return None
        return frames

    def _write(self, entry: Path, frames: np.ndarray) -> None:
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(frames))  # type: ignore[arg-type]
        temporary = None
        try:
            entry.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=entry.parent, suffix=".part", delete=False) as file:
                temporary = Path(file.name)
                for part in (head.getvalue(), frames.data, _checksum(frames)):
                    file.write(part)
            temporary.replace(entry)
        except OSError as error:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    temporary.unlink()
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise OutputError(
                "The disk is full: the decoded clips do not fit." if full else "The cache of decoded clips cannot be written.",
                where=self.folder, got=error.strerror,
                hint="data.cache = false does without, or let EVERYFRAME_CACHE name a folder elsewhere",
            ) from None  # fmt: skip
        self._checked.add(entry)

    def fill(self, clips: Sequence[Clip], workers: int, progress: Callable[[int], None] | None = None) -> dict[int, SourceError]:
        """Decodes every clip that is not there yet. Gives {number: error} of those that cannot be read."""
        broken: dict[int, SourceError] = {}
        with Pool(_Fill(self, tuple(clips)), workers, name=lambda index: clips[index].path) as pool:
            for index, error in enumerate(pool.run(range(len(clips)))):
                if error is not None:
                    broken[index] = error
                if progress:
                    progress(index + 1)
        return broken


class _Fill:
    def __init__(self, store: Store, clips: tuple[Clip, ...]) -> None:
        self.store, self.clips = store, clips

    def __call__(self, index: int) -> SourceError | None:
        try:
            self.store.frames(self.clips[index])
        except SourceError as error:
            return error
        return None


def _checksum(frames: np.ndarray) -> bytes:
    return zlib.crc32(frames.data).to_bytes(4, "little")


def choose(wanted: bool | None, clips: Sequence[Clip], preprocess: Preprocess) -> Path | None:
    """The folder to keep decoded clips in, or None for none. wanted: as `data.cache` of the recipe has it; where it is
    None, a few clips are decoded, and all of them must fit into half of the free disk and into LIMIT.
    """
    folder = cache_folder("clips")
    if wanted is not None:
        return folder if wanted else None
    sizes = []
    for clip in clips[:: max(1, len(clips) // SAMPLES)][:SAMPLES]:
        with contextlib.suppress(EveryframeError):  # said when its turn comes
            sizes.append(pictures(clip, preprocess).nbytes)
    expected = sum(sizes) / max(1, len(sizes)) * len(clips)
    above = next(path for path in (folder, *folder.parents) if path.exists())
    return folder if expected < min(LIMIT, shutil.disk_usage(above).free / 2) else None
