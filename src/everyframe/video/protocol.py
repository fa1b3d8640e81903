"""What travels from the decode process to its parent: a fixed header, then the payload."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from typing import Any, Literal

from everyframe.video.bounds import Bounds
from everyframe.video.masks import Polygon
from everyframe.video.sources import Source

#: kind, H, W, C, frame index (where there is no frame: pictures that came while the source's clock stood still), payload bytes,
#: captured and dropped so far, pts_s, when it came on the clock of `time.monotonic` (one for all processes), seconds for which
#: the source has not gone on
HEADER = struct.Struct("<cxxxIIIQQQQddd")
#: before the bytes of a packet: pts and dts (NONE: not told), duration, numerator and denominator of their base, whether it is a
#: key frame
PACKET_HEADER = struct.Struct("<qqqiiB")
NONE = -(1 << 63)

FRAME, THUMBNAIL, NOTE, ALIVE, ERROR, END = b"F", b"T", b"N", b"A", b"E", b"Z"
PREVIEW, HEAD, PACKET = b"P", b"H", b"K"
#: seconds between two signs of life
BEAT_S = 0.25


@dataclass(frozen=True, slots=True)
class Order:
    """What the decode process is asked to do. Has the fields of `preprocess.Geometry`.

    policy: `every` waits for the reader, `latest` drops the oldest waiting frame when it is late. realtime: a file is
    played at its own speed. buffer: frames that may wait under `latest`. thumbnails: short side of small RGB pictures
    sent now and then, or 0. preview: the same of the newest picture, every preview_s seconds. packets: what comes is sent
    as it is coded, too. masks, region: what is black, and what counts (`masks.Masks`), before anything else is done. asked: the
    descriptor from which a byte comes for each frame that is wanted, under `latest`. held: and a first one when the source may be
    opened. bounds: of a video that a stranger sent.
    """

    source: Source
    color: Literal["rgb", "bgr", "gray"] = "rgb"
    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    fps: float | None = None
    every_n: int | None = None
    policy: Literal["every", "latest"] = "every"
    realtime: bool = False
    buffer: int = 2
    thumbnails: int = 0
    preview: int = 0
    preview_s: float = 0.2
    packets: bool = False
    masks: tuple[Polygon, ...] = ()
    region: Polygon | None = None
    bounds: Bounds | None = None
    asked: int = -1
    held: bool = False

    def dumps(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> Order:
        fields = json.loads(text)
        source, bounds = fields.pop("source"), fields.pop("bounds")
        return cls(Source(**_tuples(source)), bounds=bounds and Bounds(**bounds), **_tuples(fields))


def _tuples(value: Any) -> Any:
    """What JSON made lists of."""
    if isinstance(value, dict):
        return {key: _tuples(each) for key, each in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
