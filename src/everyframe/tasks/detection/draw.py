"""A scan from above, with boxes: the lidar at the bottom, ahead is up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from everyframe.canvas import FAINT, HUES, INK, QUIET, SOFT, Canvas
from everyframe.data.scans.overlap import corners, flat
from everyframe.modelfile.schema import Grid
from everyframe.tasks.detection.detector import Boxes

#: pixels of the longer side of the ground, and of what is around it
SIDE, MARGIN, HEAD = 760, 34, 40
#: meters between two lines
_LINES = 10
#: of points, by height: dark below, light blue to red above
_LOW, _HIGH = np.array([70.0, 96, 150]), np.array([196.0, 74, 40])


def picture(
    points: np.ndarray, found: Boxes, grid: Grid, classes: Sequence[str], title: str, truth: np.ndarray | None = None
) -> Canvas:
    """points: (n, 4). truth: (m, 7), boxes that are labeled, drawn thin. Of what lies in the grid."""
    long, wide = grid.high[0] - grid.low[0], grid.high[1] - grid.low[1]
    per = SIDE / max(long, wide)
    width, height = round(wide * per), round(long * per)
    canvas = Canvas(max(width + 2 * MARGIN, 420), height + HEAD + MARGIN)
    left, top = (canvas.width - width) / 2, HEAD

    def at(x: float, y: float) -> tuple[float, float]:
        return left + (grid.high[1] - y) * per, top + (grid.high[0] - x) * per

    canvas.paste(_points(points, grid, per), left, top, height)
    for x in np.arange(np.ceil(grid.low[0] / _LINES) * _LINES, grid.high[0] + 0.1, _LINES):
        canvas.line(*at(x, grid.high[1]), *at(x, grid.low[1]), (*FAINT, 150))
        canvas.text(left - 6, at(x, 0)[1], f"{x:.0f} m", 11, SOFT, "rm")
    for y in np.arange(np.ceil(grid.low[1] / _LINES) * _LINES, grid.high[1] + 0.1, _LINES):
        canvas.line(*at(grid.high[0], y), *at(grid.low[0], y), (*FAINT, 150))
        canvas.text(at(0, y)[0], top + height + 12, f"{y:.0f}", 11, SOFT, "mm")
    for around in corners(flat(truth)) if truth is not None and len(truth) else ():
        _outline(canvas, [at(*corner) for corner in around], QUIET, 1.5)
    drawn = zip(found.boxes, corners(flat(found.boxes)), found.names, found.scores, strict=True)
    for box, around, name, score in reversed(list(drawn)):  # the surest on top
        color = HUES[classes.index(name) % len(HUES)]
        _outline(canvas, [at(*corner) for corner in around], color, 2)
        ahead = box[:2] + box[3] / 2 * np.array([np.cos(box[6]), np.sin(box[6])])
        canvas.line(*at(*box[:2]), *at(*ahead), color, 2)
        x, y = at(*around.max(0))
        canvas.text(x, y - 7, f"{score:.2f}", 10, color, "mm", halo=2)
    canvas.text(left, HEAD / 2, canvas.fit(title, 14, width * 0.55), 14, INK)
    x = left + width
    shown = [("labeled", QUIET)] if truth is not None else []
    for name, color in [*shown, *((name, HUES[n % len(HUES)]) for n, name in enumerate(classes))][::-1]:
        canvas.text(x, HEAD / 2, name, 12, color, "rm")
        x -= canvas.width_of(name, 12) + 14
    return canvas


def _outline(canvas: Canvas, points: list[tuple[float, float]], color: tuple, width: float) -> None:
    canvas.path([*points, points[0]], color, width)


def _points(points: np.ndarray, grid: Grid, per: float) -> np.ndarray:
    """(H, W, 3) uint8, twice as large as it is drawn."""
    per *= 2
    low, high = np.array(grid.low), np.array(grid.high)
    shape = tuple(np.ceil((high - low)[:2] * per).astype(int))
    made = np.full((*shape, 3), 255, np.uint8)
    points = points[((points[:, :3] >= low) & (points[:, :3] < high)).all(1)]
    points = points[np.argsort(points[:, 2], kind="stable")]  # what is high is seen
    at = np.minimum(((high[:2] - points[:, :2]) * per).astype(int), np.array(shape) - 1)
    tall = np.clip((points[:, 2, None] - low[2]) / (high[2] - low[2]), 0, 1)
    colors = (_LOW + (_HIGH - _LOW) * tall).astype(np.uint8)
    for down in (0, 1):
        for right in (0, 1):
            made[np.minimum(at[:, 0] + down, shape[0] - 1), np.minimum(at[:, 1] + right, shape[1] - 1)] = colors
    return made
