"""Drawing: Pillow with smooth edges, one font and one set of colors for all pictures of the package."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

SCALE = 2  # drawn so much larger, then shrunk: smooth edges

INK, SOFT, FAINT, PAPER = (28, 32, 38), (104, 112, 122), (226, 230, 235), (255, 255, 255)
BLANK, QUIET = (243, 245, 247), (176, 184, 193)
HUES = (
    (37, 99, 180), (214, 96, 38), (30, 136, 94), (176, 58, 104), (112, 84, 178), (171, 129, 22),
    (22, 134, 156), (148, 78, 50), (92, 128, 40), (190, 70, 70), (70, 92, 140), (130, 60, 140),
)  # fmt: skip


class Canvas:
    """Pillow in pixels of the finished picture. Colors are (red, green, blue) or with opacity behind."""

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image, ImageDraw, ImageFont

        self.width = width
        self.image = Image.new("RGB", (width * SCALE, height * SCALE), PAPER)
        self.pen = ImageDraw.Draw(self.image, "RGBA")
        self._fonts: dict[int, Any] = {}
        self._font = ImageFont.load_default

    def text(self, x: float, y: float, words: str, size: int = 14, color: tuple = INK, anchor: str = "lm", halo: int = 0) -> None:
        font = self._fonts.setdefault(size, self._font(size * SCALE))
        at = (x * SCALE, y * SCALE)
        self.pen.text(at, words, font=font, fill=color, anchor=anchor, stroke_width=halo * SCALE, stroke_fill=PAPER)

    def text_up(self, x: float, y: float, words: str, size: int = 14, color: tuple = INK) -> None:
        """From the point (x, y) upwards, centered on x, read from below."""
        from PIL import Image, ImageDraw

        font = self._fonts.setdefault(size, self._font(size * SCALE))
        left, top, right, bottom = font.getbbox(words, anchor="lm")
        mask = Image.new("L", (max(1, round(right - left) + 2), max(1, round(bottom - top) + 2)))
        ImageDraw.Draw(mask).text((1 - left, 1 - top), words, font=font, fill=255, anchor="lm")
        turned = mask.rotate(90, expand=True)
        at = (round(x * SCALE - turned.width / 2), round(y * SCALE - turned.height))
        self.image.paste(Image.new("RGB", turned.size, color), at, turned)

    def width_of(self, words: str, size: int) -> float:
        font = self._fonts.setdefault(size, self._font(size * SCALE))
        return font.getlength(words) / SCALE

    def fit(self, words: str, size: int, room: float) -> str:
        if self.width_of(words, size) <= room:
            return words
        while words and self.width_of(words + "…", size) > room:
            words = words[:-1]
        return words + "…"

    def line(self, x0: float, y0: float, x1: float, y1: float, color: tuple, width: float = 1) -> None:
        self.pen.line((x0 * SCALE, y0 * SCALE, x1 * SCALE, y1 * SCALE), fill=color, width=max(1, round(width * SCALE)))

    def box(self, x0: float, y0: float, x1: float, y1: float, color: tuple) -> None:
        if x1 - x0 >= 1:
            self.pen.rectangle((x0 * SCALE, y0 * SCALE, x1 * SCALE - 1, y1 * SCALE - 1), fill=color)

    def dot(self, x: float, y: float, radius: float, color: tuple) -> None:
        at = [(x - radius) * SCALE, (y - radius) * SCALE, (x + radius) * SCALE, (y + radius) * SCALE]
        self.pen.ellipse(at, fill=color, outline=PAPER, width=SCALE)

    def path(self, points: Sequence[tuple[float, float]], color: tuple, width: float = 2, dash: float = 0) -> None:
        """A line through points. dash: length of its pieces and of the gaps between them, 0 for a whole line."""
        scaled = [(x * SCALE, y * SCALE) for x, y in points]
        if not dash:
            self.pen.line(scaled, fill=color, width=round(width * SCALE), joint="curve")
            return
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            length = max(1e-9, float(np.hypot(x1 - x0, y1 - y0)))
            for start in np.arange(0, length, 2 * dash):
                a, b = start / length, min(1.0, (start + dash) / length)
                self.line(x0 + (x1 - x0) * a, y0 + (y1 - y0) * a, x0 + (x1 - x0) * b, y0 + (y1 - y0) * b, color, width)

    def area(self, points: Sequence[tuple[float, float]], floor: float, color: tuple) -> None:
        scaled = [(x * SCALE, y * SCALE) for x, y in points]
        closed = [(scaled[0][0], floor * SCALE), *scaled, (scaled[-1][0], floor * SCALE)]
        self.pen.polygon(closed, fill=(*color, 70))
        self.pen.line(scaled, fill=color, width=round(1.4 * SCALE), joint="curve")

    def paste(self, data: np.ndarray, x: float, y: float, height: float) -> None:
        from PIL import Image

        picture = Image.fromarray(data)
        width = round(picture.width * height / picture.height)
        picture = picture.resize((width * SCALE, round(height) * SCALE), Image.Resampling.LANCZOS)
        self.image.paste(picture, (round(x * SCALE), round(y * SCALE)))

    def png(self) -> bytes:
        """The finished picture as a file."""
        buffer = io.BytesIO()
        self._finished().save(buffer, "PNG", optimize=False)
        return buffer.getvalue()

    def array(self) -> np.ndarray:
        """The finished picture, (H, W, 3) uint8."""
        return np.array(self._finished())

    def _finished(self) -> Any:
        from PIL import Image

        return self.image.resize((self.image.width // SCALE, self.image.height // SCALE), Image.Resampling.LANCZOS)
