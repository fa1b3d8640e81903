"""Pictures become the stream of a video: RGB at its own times, told as the colors that it was made into."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from typing import Any

import av
import numpy as np

_H264 = ("libx264", {"preset": "veryfast", "crf": "20"})
_BY_SYSTEM: tuple[tuple[str, dict[str, str]], ...] = (_H264, ("libopenh264", {}), ("h264_videotoolbox", {}), ("mpeg4", {}))
_VP9: tuple[tuple[str, dict[str, str]], ...] = (("libvpx-vp9", {"crf": "30", "b": "0", "deadline": "realtime", "cpu-used": "6"}),)
#: what a name ends in -> codecs with their settings, the first that is there
KINDS = {**dict.fromkeys((".mp4", ".mkv", ".mov", ".m4v"), _BY_SYSTEM), ".webm": _VP9}
#: of a second, in which times are written; MPEG-4 knows no finer clock
_TICKS, _COARSE = 90_000, {"mpeg4": 1000}
_BT601, _VIDEO_RANGE = 6, 1  # as swscale makes YUV of RGB


class Encoder:
    """A stream of `output`, of pictures as large as the first: (H, W), odd rows and columns left out, since colors are halved.
    rate: pictures a second, about."""

    def __init__(self, output: Any, suffix: str, height: int, width: int, rate: Fraction) -> None:
        name, options = _first(KINDS[suffix])
        self._output, self._last = output, -1
        self._clock = Fraction(1, _COARSE.get(name, _TICKS))
        self._stream = output.add_stream(name, rate=max(1, round(rate)), options=options)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width - width % 2, height - height % 2, "yuv420p"
        context = self._stream.codec_context
        context.time_base, context.colorspace, context.color_range = self._clock, _BT601, _VIDEO_RANGE

    def add(self, picture: np.ndarray, at: Fraction) -> None:
        """picture: (H, W, 3) uint8 RGB. at: seconds, later than the picture before."""
        made = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[: self._stream.height, : self._stream.width]), "rgb24")
        self._last = max(self._last + 1, round(at / self._clock))
        made.pts, made.time_base = self._last, self._clock
        self._output.mux(self._stream.encode(made))

    def close(self) -> None:
        self._output.mux(self._stream.encode(None))


def _first(codecs: tuple[tuple[str, dict[str, str]], ...]) -> tuple[str, dict[str, str]]:
    for name, options in codecs[:-1]:
        with contextlib.suppress(ValueError):
            return av.Codec(name, "w").name, options
    return codecs[-1]
