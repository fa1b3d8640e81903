"""Scans as files hold them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from everyframe.errors import OutputError, SourceError
from everyframe.files import write_bytes

#: what the name of a scan ends in
SCANS = frozenset({".bin", ".npy"})
#: bytes of a point in a .bin
_POINT = 16
#: that reflectance may lie outside of 0..1 by
ROUNDED = 0.01


def read(path: Path) -> np.ndarray:
    """(n, 4) float32: x, y, z in meters, reflectance of 0..1. A .bin holds nothing else, as KITTI has it; a .npy may leave out
    the reflectance, which is then 0. Raises SourceError.
    """
    if path.suffix.lower() not in SCANS:
        raise SourceError(
            "This is no scan.", where=path, expected=f"a name that ends in {' or '.join(sorted(SCANS))}",
            hint="read its points with what wrote it, and numpy.save('scan.npy', points): (n, 3) or (n, 4)",
        )  # fmt: skip
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError("The scan cannot be read.", where=path, got=error.strerror or str(error)) from None
    if path.suffix.lower() == ".npy":
        try:
            found = np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise SourceError("The scan cannot be read.", where=path, got=str(error).splitlines()[0]) from None
        return checked(found, path)
    if len(data) % _POINT:
        raise SourceError(
            "The scan is cut short, or no scan.", where=path, got=f"{len(data)} bytes",
            expected=f"a multiple of {_POINT}: x, y, z and reflectance of each point as float32", hint="copy it again",
        )  # fmt: skip
    return checked(np.frombuffer(data, "<f4").reshape(-1, 4), path)


def checked(points: np.ndarray, where: object) -> np.ndarray:
    """(n, 4) float32 of (n, 3) or (n, 4) numbers. Raises SourceError for any other, an empty scan, what is no number, and
    reflectance in another unit, which would be told as people and bicycles.
    """
    if points.ndim != 2 or points.shape[1] not in (3, 4) or points.dtype.kind not in "fiu":
        raise SourceError(
            "This is no scan.", where=where, expected="(n, 3) x, y, z or (n, 4) with the reflectance, in meters and 0..1",
            got=f"{points.shape} {points.dtype}",
        )  # fmt: skip
    if not len(points):
        raise SourceError("The scan is empty.", where=where, expected="at least one point", got="0 points")
    made = np.zeros((len(points), 4), np.float32)
    made[:, : points.shape[1]] = points
    if bad := int((~np.isfinite(made)).any(1).sum()):
        raise SourceError(
            "The scan has points that are no numbers.", where=where, got=f"{bad} of {len(made)} points with NaN or infinity",
            hint="leave them out: points[np.isfinite(points).all(1)]",
        )  # fmt: skip
    low, high = float(made[:, 3].min()), float(made[:, 3].max())
    if low < -1:  # no sensor's reflectance
        raise SourceError(
            "The scan's columns are other ones.", where=where, expected="x, y, z, reflectance of each point as four float32",
            got=f"{low:.4g} to {high:.4g} where the reflectance of 0 to 1 should be",
            hint="of five columns: numpy.save('scan.npy', numpy.fromfile(file, 'f4').reshape(-1, 5)[:, :4])",
        )  # fmt: skip
    if low < -ROUNDED or high > 1 + ROUNDED:
        raise SourceError(
            "The scan's reflectance is of another unit.", where=where, expected="0 to 1", got=f"{low:.4g} to {high:.4g}",
            hint="divide it by its largest value, such as 255: points[:, 3] /= 255",
        )  # fmt: skip
    return made


def write(points: np.ndarray, path: Path) -> Path:
    """(n, 4) as a .bin. Raises OutputError."""
    if path.suffix.lower() != ".bin":
        raise OutputError("A scan is written as .bin.", where=path, got=path.name)
    return write_bytes(np.ascontiguousarray(points, "<f4").tobytes(), path)
