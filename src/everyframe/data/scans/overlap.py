"""How much two boxes have in common, exactly: on the ground, where they are turned rectangles, and in space, where they stand
upright.

The common part of two convex polygons has as corners those of each that lie in the other, and the points where their sides cross;
sorted by their angle about their middle they give its area.
"""

from __future__ import annotations

import numpy as np

#: how far outside, in meters, a corner still counts as on the border: equal boxes have all of theirs there
_NEAR = 1e-7
#: sides that differ by less than this angle do not cross: where they lie on each other, their corners do. Times the length of a
#: side it is less than what counts as near
_PARALLEL = 1e-9


def corners(boxes: np.ndarray) -> np.ndarray:
    """(n, 5) x, y, length, width, yaw -> (n, 4, 2), counterclockwise."""
    half = np.array([(0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5)])
    local = boxes[:, None, 2:4] * half  # (n, 4, 2)
    cos, sin = np.cos(boxes[:, 4, None]), np.sin(boxes[:, 4, None])
    turned = np.stack([local[..., 0] * cos - local[..., 1] * sin, local[..., 0] * sin + local[..., 1] * cos], -1)
    return turned + boxes[:, None, :2]


def flat(boxes: np.ndarray) -> np.ndarray:
    """(n, 7) -> (n, 5): their rectangles on the ground."""
    return boxes[:, [0, 1, 3, 4, 6]]


def common_areas(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, 5) and (m, 5) -> (n, m), square meters."""
    found = np.zeros((len(a), len(b)))
    apart = np.linalg.norm(a[:, None, :2] - b[None, :, :2], axis=-1)
    reach = np.hypot(a[:, 2], a[:, 3])[:, None] / 2 + np.hypot(b[:, 2], b[:, 3])[None] / 2
    first, second = np.nonzero(apart < reach)
    if len(first):
        found[first, second] = _areas(corners(a)[first], corners(b)[second])
    return found


def ground(a: np.ndarray, b: np.ndarray, share: str = "union") -> np.ndarray:
    """(n, 7) and (m, 7) -> (n, m): the common part on the ground as a share of the union, or of the first alone."""
    common = common_areas(flat(a), flat(b))
    return _shares(common, a[:, 3] * a[:, 4], b[:, 3] * b[:, 4], share)


def space(a: np.ndarray, b: np.ndarray, share: str = "union") -> np.ndarray:
    """(n, 7) and (m, 7) -> (n, m): the same of their volumes."""
    (low_a, high_a), (low_b, high_b) = ((each[:, 2] - each[:, 5] / 2, each[:, 2] + each[:, 5] / 2) for each in (a, b))
    tall = np.minimum(high_a[:, None], high_b[None]) - np.maximum(low_a[:, None], low_b[None])
    common = common_areas(flat(a), flat(b)) * np.maximum(tall, 0)
    return _shares(common, a[:, 3:6].prod(1), b[:, 3:6].prod(1), share)


def picture(a: np.ndarray, b: np.ndarray, share: str = "union") -> np.ndarray:
    """(n, 4) and (m, 4) left, top, right, bottom -> (n, m): the same of upright rectangles in a picture."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.maximum(high - low, 0).prod(-1)
    return _shares(common, (a[:, 2:] - a[:, :2]).prod(1), (b[:, 2:] - b[:, :2]).prod(1), share)


def without_doubles(boxes: np.ndarray, scores: np.ndarray, most: float) -> np.ndarray:
    """Numbers of the boxes that stay, best first: of two that share more than `most` on the ground the better one does."""
    order = np.argsort(-scores, kind="stable")
    shared = ground(boxes[order], boxes[order]) > most
    kept = np.ones(len(order), bool)
    for number in range(len(order)):
        if kept[number]:
            kept[number + 1 :] &= ~shared[number, number + 1 :]
    return order[kept]


def _shares(common: np.ndarray, a: np.ndarray, b: np.ndarray, share: str) -> np.ndarray:
    whole = a[:, None] + b[None] - common if share == "union" else np.broadcast_to(a[:, None], common.shape)
    return np.divide(common, whole, out=np.zeros_like(common), where=whole > 0)


def _areas(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, 4, 2) twice, counterclockwise -> (n,)."""
    points = np.concatenate([a, b, _crossings(a, b)], 1)  # (n, 24, 2)
    valid = np.concatenate([_inside(a, b), _inside(b, a), np.isfinite(points[:, 8:]).all(-1)], 1)
    count = valid.sum(1)
    points = np.where(valid[..., None], points, 0)
    middle = points.sum(1) / np.maximum(count, 1)[:, None]
    around = points - middle[:, None]
    angle = np.where(valid, np.arctan2(around[..., 1], around[..., 0]), np.inf)
    order = np.argsort(angle, 1)
    around = np.take_along_axis(around, order[..., None], 1)
    # what is not there repeats the first corner, and adds nothing
    there = np.arange(24)[None] < count[:, None]
    around = np.where(there[..., None], around, around[:, :1])
    following = np.roll(around, -1, 1)
    areas = 0.5 * (around[..., 0] * following[..., 1] - around[..., 1] * following[..., 0]).sum(1)
    return np.where(count >= 3, np.maximum(areas, 0), 0)


def _inside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """(n, p, 2) and (n, 4, 2) counterclockwise -> (n, p)."""
    side = np.roll(polygon, -1, 1) - polygon
    length = np.maximum(np.linalg.norm(side, axis=-1), 1e-12)
    to = points[:, :, None] - polygon[:, None]
    return ((side[:, None, :, 0] * to[..., 1] - side[:, None, :, 1] * to[..., 0]) / length[:, None] >= -_NEAR).all(-1)


def _crossings(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where sides of both cross: (n, 16, 2), NaN where they do not."""
    p, q = a[:, :, None], b[:, None]  # (n, 4, 1, 2), (n, 1, 4, 2)
    r, s = np.roll(a, -1, 1)[:, :, None] - p, np.roll(b, -1, 1)[:, None] - q
    across = r[..., 0] * s[..., 1] - r[..., 1] * s[..., 0]
    to = q - p
    level = np.abs(across) < _PARALLEL * np.linalg.norm(r, axis=-1) * np.linalg.norm(s, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (to[..., 0] * s[..., 1] - to[..., 1] * s[..., 0]) / across
        u = (to[..., 0] * r[..., 1] - to[..., 1] * r[..., 0]) / across
        met = ~level & (t >= 0) & (t <= 1) & (u >= 0) & (u <= 1)
        points = np.where(met[..., None], p + t[..., None] * r, np.nan)
    return points.reshape(len(a), 16, 2)
