"""What decoded frames say of themselves beside their pixels: how they are held, their fields, their colors.

`orientation` reads the display matrix that phones and cameras write instead of turning pixels; `squared` widens pixels that are
not square; `scalable` takes away what makes swscale do something else than convert the picture.
"""

from __future__ import annotations

import re
import threading
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import av
    import av.video.stream
    from av.filter.graph import Graph

#: AVCOL_SPC_* that swscale converts; others become the nearest of them (constant luminance: BT.2020's matrix) or `unspecified`
_MATRICES = {number: number for number in (0, 1, 2, 4, 5, 6, 7, 9)} | {10: 9, 13: 9, 14: 9}
_UNSPECIFIED, _RANGES = 2, (0, 1, 2)
_UNKNOWN = re.compile(r"(\d+) is not a valid Type")


#: codecs of pictures, which tell dots an inch
_PRINTED = ("mjpeg", "png", "apng", "tiff", "bmp")
_NAMED = ("png", "apng")
#: how H.273 calls what is in none of the above; curves of brightness that screens for high dynamic range undo
_RARE = {8: "YCgCo", 10: "BT.2020 with constant luminance", 11: "SMPTE 2085", 12: "by its primaries", 13: "by its primaries"}
_RARE |= {14: "ICtCp", 15: "IPT", 16: "YCgCo-R", 17: "YCgCo-R"}
_CURVES = {16: "PQ", 18: "HLG"}


class Orientation(NamedTuple):
    """How a stored picture becomes the one to be shown: transposed first, then mirrored up-down and left-right."""

    transposed: bool = False
    up_down: bool = False
    left_right: bool = False

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """(H, W, C), or (W, H, C) where it was transposed."""
        picture = picture.swapaxes(0, 1) if self.transposed else picture
        return picture[:: -1 if self.up_down else 1, :: -1 if self.left_right else 1]


def transposed(frame: av.VideoFrame) -> bool:
    """Whether height and width are exchanged when it is shown. Of a matrix that shows nothing FFmpeg gives no angle."""
    if isinstance(frame.opaque, Orientation):
        return frame.opaque.transposed
    return abs(frame.rotation) <= 360 and round(frame.rotation / 90) % 2 == 1


def orientation(frame: av.VideoFrame) -> Orientation:
    """How a picture is shown: as it was told by itself, or by one before it (`hold`)."""
    if isinstance(frame.opaque, Orientation):
        return frame.opaque
    return _told(frame) or Orientation(transposed(frame))


def hold(frame: av.VideoFrame, before: Orientation | None) -> Orientation | None:
    """How a picture is to be shown, if anything says so: it, or the one before. In a stream of H.264 or HEVC what a picture says
    (display orientation SEI) holds for those behind it, and FFmpeg tells it of that picture alone.
    """
    said = _told(frame)
    if said is not None or before is None:
        return said
    frame.opaque = Orientation(*before)  # PyAV lets go of one object with the first picture that has it
    return before


def _told(frame: av.VideoFrame) -> Orientation | None:
    """The display matrix, rounded to one of the eight ways in which a rectangle covers itself: x' = a x + c y, y' = b x + d y."""
    turned, matrix = transposed(frame), _matrix(frame)
    if matrix is None:
        return None
    (a, b), (c, d) = matrix[:2, :2].tolist()
    return Orientation(turned, b < 0, c < 0) if turned else Orientation(turned, d < 0, a < 0)


def _matrix(frame: Any) -> np.ndarray | None:
    """(3, 3) in 16.16 fixed point, or None."""
    from av.sidedata.sidedata import SideDataContainer

    # not `frame.side_data`, which would be kept by the frame, and keep the frame: pictures would pile up in memory until garbage
    # is collected, which in a camera's process is seldom
    side_data: Any = SideDataContainer
    for _ in range(8):
        try:
            found = next((data for data in side_data(frame) if data.type.name == "DISPLAYMATRIX"), None)
        except ValueError as error:  # PyAV reads none of it where FFmpeg knows more kinds than itself
            unknown = _UNKNOWN.search(str(error))
            if unknown is None:
                return None
            frame = _filtered(frame, "sidedata", f"mode=delete:type={unknown[1]}")
        else:
            if found is None:
                return None
            matrix = np.frombuffer(found, np.int32).reshape(3, 3).astype(np.int64)
            (a, b), (c, d) = matrix[:2, :2].tolist()
            return matrix if a * d != b * c else None  # one that shows nothing is a muxer's mistake
    return None


def unnamed(frame: av.VideoFrame, codec: str) -> av.VideoFrame:
    """The picture without its color profile, which is not followed. That of a PNG has a name, which PyAV frees once more when
    side data are looked at: the process would crash, sooner or later.
    """
    return _filtered(frame, "sidedata", "mode=delete:type=ICC_PROFILE") if codec in _NAMED else frame


def approximated(frame: av.VideoFrame) -> str | None:
    """What the colors of a picture are that the model does not see as they were meant."""
    matrix, curve = frame.colorspace, _CURVES.get(frame.color_trc)
    if _MATRICES.get(matrix) != matrix:
        read = {9: "BT.2020"}.get(_MATRICES.get(matrix, _UNSPECIFIED), "BT.601")
        return f"the colors are {_RARE.get(matrix, f'of matrix {matrix}')}, which is not known here: read as {read}"
    return f"the video is HDR ({curve}), read without its curve: paler than a screen shows it" if curve else None


def scalable(frame: av.VideoFrame) -> av.VideoFrame:
    """The same picture without what makes swscale scale field by field, or refuse."""
    if frame.interlaced_frame:
        frame = _filtered(frame, "setfield", "mode=prog")
    if frame.colorspace not in _MATRICES or _MATRICES[frame.colorspace] != frame.colorspace:
        frame.colorspace = _MATRICES.get(frame.colorspace, _UNSPECIFIED)
    if frame.color_range not in _RANGES:
        frame.color_range = 0
    return frame


def pixel_aspect(stream: av.video.stream.VideoStream) -> Fraction | None:
    """How many times as wide as high a pixel is shown, as the stream tells; None of pictures, which tell how to print them."""
    return None if stream.codec_context.name in _PRINTED else stream.sample_aspect_ratio


def square_size(height: int, width: int, aspect: Fraction | None) -> tuple[int, int]:
    """(height, width) of a picture whose pixels are shown `aspect` times as wide as high, in square ones: never fewer of them,
    and an even number of those that are new. What no camera writes, and what is a hundredth off, is taken for square.
    """
    if not aspect or not 1 / 4 <= aspect <= 4 or abs(aspect - 1) < 1 / 100:
        return height, width
    return (height, 2 * round(width * aspect / 2)) if aspect > 1 else (2 * round(height / aspect / 2), width)


def squared(frame: av.VideoFrame, aspect: Fraction | None) -> av.VideoFrame:
    """The picture as it is shown, in square pixels. aspect: that of one pixel, as its stream tells."""
    height, width = square_size(frame.height, frame.width, aspect)
    if (height, width) == (frame.height, frame.width):
        return frame
    return _filtered(scalable(frame), "scale", f"w={width}:h={height}:flags=bicubic+accurate_rnd+full_chroma_int+bitexact")


class _Graphs(threading.local):
    """One filter graph a thread for each kind of picture; those of a stream change rarely."""

    def __init__(self) -> None:
        self.made: dict[tuple[object, ...], Graph] = {}


_graphs: _Graphs | None = None


def _filtered(frame: av.VideoFrame, name: str, arguments: str) -> av.VideoFrame:
    """The frame through one filter."""
    global _graphs
    _graphs = _graphs or _Graphs()
    from av.filter import Graph

    key = (name, arguments, frame.format.name, frame.width, frame.height, frame.colorspace, frame.color_range)
    graph = _graphs.made.get(key)
    if graph is None:
        if len(_graphs.made) > 8:
            _graphs.made.clear()
        graph = _graphs.made[key] = Graph()
        base = Fraction(1, 1000)  # any; times are not looked at
        source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=base)
        graph.link_nodes(source, graph.add(name, arguments), graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull()
