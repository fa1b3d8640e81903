"""From a picture to the network's input. The only place where this is done: prediction, training and evaluation share
it.

`prepare` does color and geometry and gives small uint8 pictures, so that little has to cross a process border or be
kept in memory; `normalize` turns a batch of those into the float32 tensor.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from everyframe.errors import SourceError, StateError
from everyframe.video.tags import orientation, scalable, transposed

if TYPE_CHECKING:
    import av
    from av.video.reformatter import VideoReformatter

    from everyframe.modelfile.schema import Preprocess


class Geometry(Protocol):
    """The part of `modelfile.Preprocess` that `prepare` needs; the decode process holds it without importing onnx."""

    @property
    def color(self) -> Literal["rgb", "bgr", "gray"]: ...
    @property
    def resize(self) -> int | tuple[int, int] | None: ...
    @property
    def crop(self) -> tuple[int, int] | None: ...


def resized_size(height: int, width: int, resize: int | tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) after `resize`: None keeps it, an int is the short side, a pair is exact."""
    if resize is None:
        return height, width
    if isinstance(resize, int):
        short = min(height, width)
        return (height * resize + short // 2) // short, (width * resize + short // 2) // short
    return int(resize[0]), int(resize[1])


def output_size(height: int, width: int, geometry: Geometry) -> tuple[int, int]:
    """(height, width) that `prepare` gives for a picture of this size. Raises SourceError where a crop does not fit."""
    h, w = resized_size(height, width, geometry.resize)
    if geometry.crop is None:
        return h, w
    crop_h, crop_w = geometry.crop
    if crop_h > h or crop_w > w:
        raise SourceError(
            "The picture is smaller than the model's crop.",
            expected=f"at least {crop_h}x{crop_w} (height x width) after resizing",
            got=f"{h}x{w} from a {height}x{width} picture",
            hint="use a larger video, or convert the model with a `resize` in its preprocessing",
        )
    return int(crop_h), int(crop_w)


def prepare(picture: np.ndarray | av.VideoFrame, geometry: Geometry) -> np.ndarray:
    """Color, resize and center crop of one picture: (h, w, C) uint8, C being 1 for gray.

    picture: a decoded `av.VideoFrame`, or an array of uint8: (H, W, 3) in RGB order, (H, W) or (H, W, 1) gray.
    Resizing is bilinear with anti-aliasing (the filter widens when it shrinks, as in Pillow), on full-range RGB; gray
    is the BT.601 luma of that RGB, 0..255, so files and camera arrays of the same picture give the same values.
    """
    frame = _as_av(picture)
    turned = transposed(frame)
    height, width = (frame.width, frame.height) if turned else (frame.height, frame.width)
    h, w = resized_size(height, width, geometry.resize)
    crop_h, crop_w = output_size(height, width, geometry)
    scaled = _scaled(frame, *((w, h) if turned else (h, w)))
    rgb = orientation(frame).apply(scaled.to_ndarray())  # (h, w, 3)
    top, left = (h - crop_h) // 2, (w - crop_w) // 2
    rgb = rgb[top : top + crop_h, left : left + crop_w]
    if geometry.color == "gray":
        weighted = rgb.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32)  # 0.299, 0.587, 0.114 in 1/65536
        return ((weighted + 32768) >> 16).astype(np.uint8)[..., None]
    return np.ascontiguousarray(rgb[..., ::-1] if geometry.color == "bgr" else rgb)


def normalize(batch: np.ndarray, preprocess: Preprocess, out: np.ndarray | None = None) -> np.ndarray:
    """(N, H, W, C) uint8 -> (N, C, H, W) float32: (pixel * scale - mean) / std, per channel. `out` is written if
    given.
    """
    if batch.ndim != 4 or batch.shape[3] != preprocess.channels:
        raise StateError(
            "The pictures do not have the model's channels.",
            expected=f"(N, H, W, {preprocess.channels}) for color {preprocess.color!r}",
            got=tuple(batch.shape),
        )
    std = np.asarray(preprocess.std, np.float64)
    factor = (preprocess.scale / std).astype(np.float32)[:, None, None]  # (C, 1, 1)
    offset = (np.asarray(preprocess.mean, np.float64) / std).astype(np.float32)[:, None, None]
    n, h, w, c = batch.shape
    result = np.empty((n, c, h, w), np.float32) if out is None else out
    np.multiply(batch.transpose(0, 3, 1, 2), factor, out=result, dtype=np.float32)
    return np.subtract(result, offset, out=result)


#: sizes for which a thread keeps a scaler: what a network sees, a preview, a thumbnail, the picture whole
SIZES = 4


class _Scaler(threading.local):
    """swscale with its contexts, each thread its own (they must not be shared), and one for each size: a context that is told
    another size is made anew, which costs more than the scaling of a small picture, and leaves holes in the heap.
    """

    def __init__(self) -> None:
        from av.video.reformatter import Interpolation

        self.contexts: dict[tuple[int, int], VideoReformatter] = {}  # the one that was used last comes last
        # without full chroma interpolation swscale's YUV -> RGB is off by up to 7 levels and white becomes 253; without full
        # chroma input it looks at every other pixel's color where it shrinks RGB, which is off by up to 13
        self.how = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
        self.how |= Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP

    def to(self, h: int, w: int) -> VideoReformatter:
        from av.video.reformatter import VideoReformatter

        context = self.contexts.pop((h, w), None) or VideoReformatter()
        self.contexts[h, w] = context
        if len(self.contexts) > SIZES:
            del self.contexts[next(iter(self.contexts))]
        return context


_scaler: _Scaler | None = None


def _scaled(frame: av.VideoFrame, h: int, w: int) -> av.VideoFrame:
    """In rgb24, not turned yet."""
    global _scaler
    if frame.format.name != "rgb24" or (frame.height, frame.width) != (h, w):
        _scaler = _scaler or _Scaler()
        frame = _scaler.to(h, w).reformat(scalable(frame), w, h, format="rgb24", interpolation=_scaler.how, threads=1)
    return frame


def _as_av(picture: np.ndarray | av.VideoFrame) -> av.VideoFrame:
    if not isinstance(picture, np.ndarray):
        return picture
    import av

    if picture.dtype != np.uint8:
        raise StateError("A picture must hold bytes.", expected="uint8, 0..255", got=picture.dtype)
    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = picture[..., 0]
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    if picture.ndim != 3 or picture.shape[2] != 3 or 0 in picture.shape:
        raise StateError("This is not a picture.", expected="(H, W, 3) RGB or (H, W) gray", got=tuple(picture.shape))
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
