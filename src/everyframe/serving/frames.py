"""A picture as a client sends it, looked at before it is decoded: what it will take is known from its first bytes."""

from __future__ import annotations

import io
import math
import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from everyframe.errors import StateError
from everyframe.serving.limits import Limits

#: in front of each picture: its time in seconds (float64), then width and height (uint16 each), little endian; a JPEG has 0 and
#: 0, a picture of a coded video 0 and KEY, or 0 and DELTA where it needs those before it
KEY, DELTA = 1, 2
HEADER = struct.Struct("<dHH")
_JPEG = b"\xff\xd8\xff"
_SCAN = b"\xff\xda"
#: seconds: times of the system's clock fit, and their microseconds into a float
_LATEST = 1e10
_FORM = "a time, width and height (little endian: float64, uint16, uint16), then RGB bytes; 0 and 0, then a JPEG; or 0 and 1 or 2"


@dataclass(frozen=True, slots=True)
class Sent:
    """One message: when the picture was taken, by the client's clock, and its bytes. (0, 0): a JPEG; (0, KEY), (0, DELTA): of a
    coded video.
    """

    pts_s: float
    width: int
    height: int
    data: memoryview
    number: int = 0  # of the stream, from 0
    arrived: float = 0.0  # on the clock of `time.perf_counter`

    @property
    def coded(self) -> bool:
        return self.width == 0 and self.height in (KEY, DELTA)

    @property
    def key(self) -> bool:
        return self.coded and self.height == KEY


def parsed(message: bytes, limits: Limits, number: int = 0, arrived: float = 0.0) -> Sent:
    """Raises StateError for what is no frame, or is too large; nothing is decoded yet."""
    if len(message) <= HEADER.size:
        raise StateError("This is not a frame.", expected=_FORM, got=f"{len(message)} bytes")
    pts_s, width, height = HEADER.unpack_from(message)
    if not (math.isfinite(pts_s) and abs(pts_s) < _LATEST):
        raise StateError("This is not a time.", expected="seconds", got=pts_s)
    data = memoryview(message)[HEADER.size :]
    if width == height == 0:
        if data[:3] != _JPEG:
            raise StateError("This is not a JPEG.", expected=_FORM, got=bytes(data[:8]).hex(" "))
    elif width == 0 and height in (KEY, DELTA):
        pass  # its decoder looks at it
    elif len(data) != 3 * width * height:
        raise StateError("The picture has another size than it says.", expected=f"{3 * width * height} bytes", got=len(data))
    elif width * height > limits.pixels:
        raise _too_large(width, height, limits)
    return Sent(pts_s, width, height, data, number, arrived)


def decoded(sent: Sent, limits: Limits) -> np.ndarray:
    """(h, w, 3) uint8 RGB. Raises StateError. A JPEG's size and the number of its scans are known before it is decoded."""
    if sent.width:
        return np.frombuffer(sent.data, np.uint8).reshape(sent.height, sent.width, 3)
    data = bytes(sent.data)
    if (scans := data.count(_SCAN)) > limits.scans:
        raise StateError("This JPEG would take too long to decode.", expected=f"at most {limits.scans} scans", got=scans)
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as picture:
            width, height = picture.size
            if width * height > limits.pixels:
                raise _too_large(width, height, limits)
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except StateError:
        raise
    except Exception as error:  # Pillow's errors are of many kinds
        raise StateError("This JPEG is damaged.", got=str(error) or type(error).__name__) from None


def _too_large(width: int, height: int, limits: Limits) -> StateError:
    return StateError(
        "The picture is too large.", expected=f"at most {limits.pixels:,} pixels", got=f"{width} x {height}",
        hint="send it smaller: the network looks at a few hundred pixels a side",
    )  # fmt: skip
