"""What travels from the decode process to its parent: a fixed header, then the payload."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, replace
from typing import Literal

from everyframe.video.sources import Source

#: kind, dropped so far, frame index, pts_s, H, W, C, payload bytes
HEADER = struct.Struct("<cxxxIQdIIIQ")

FRAME, THUMBNAIL, NOTE, ALIVE, ERROR, END = b"F", b"T", b"N", b"A", b"E", b"Z"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What decoding may cost where a stranger sent the video. memory: bytes of address space. cpu_s, silent_s: seconds of
    processor time, and without a frame. pixels: of one frame. formats: containers, as FFmpeg calls them; no playlists, which name
    other files.
    """

    memory: int = 1_500_000_000
    cpu_s: int = 600
    silent_s: float = 15.0
    pixels: int = 4096 * 2304
    formats: str = "mov,matroska,avi,mpegts,mpeg,flv,ogg,asf,yuv4mpegpipe,gif"


@dataclass(frozen=True, slots=True)
class Order:
    """What the decode process is asked to do. Has the fields of `preprocess.Geometry`.

    policy: `every` waits for the reader, `latest` drops the oldest waiting frame when it is late. realtime: a file is
    played at its own speed. buffer: frames that may wait under `latest`. thumbnails: short side of small RGB pictures
    sent now and then, or 0. bounds: of a video that a stranger sent.
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
    bounds: Bounds | None = None

    def dumps(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> Order:
        fields = json.loads(text)
        source, bounds = fields.pop("source"), fields.pop("bounds")
        order = cls(Source(**{**source, "paths": tuple(source["paths"])}), bounds=bounds and Bounds(**bounds), **fields)
        pair = lambda value: tuple(value) if isinstance(value, list) else value  # noqa: E731
        return replace(order, resize=pair(order.resize), crop=pair(order.crop))
