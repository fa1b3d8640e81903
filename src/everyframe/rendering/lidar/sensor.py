"""A lidar that turns: rays, what they meet first, and what of it comes back.

Of rays that fall on a shape only those between its edges are looked at, and each object's shapes are met before others hide them,
so that the hidden share is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from everyframe.rendering.lidar.shapes import Shape, met, placed
from everyframe.rendering.lidar.street import Street


@dataclass(frozen=True)
class Lidar:
    """beams: one above another, from `low` to `high` (degrees). step: between two columns (degrees); view: how much of the
    circle, ahead. height: above the ground. far: where it ends. noise: standard deviation of distances (meters). lost: share of
    echoes that do not come back, nearby. About that of KITTI.
    """

    beams: int = 64
    step: float = 0.2
    view: float = 90.0
    low: float = -24.8
    high: float = 2.0
    height: float = 1.73
    far: float = 80.0
    noise: float = 0.02
    lost: float = 0.04

    @cached_property
    def angles(self) -> tuple[np.ndarray, np.ndarray]:
        """(elevations, azimuths), radians."""
        columns = round(self.view / self.step)
        return (
            np.radians(np.linspace(self.low, self.high, self.beams)),
            np.radians((np.arange(columns) - (columns - 1) / 2) * self.step),
        )


@dataclass(frozen=True)
class Seen:
    """points: (n, 4) x, y, z, reflectance. owners: (n,) of each point, -1 of what is not labeled. boxes: (actors, 7). hits:
    points of each actor. hidden: the share of each that others hide.
    """

    points: np.ndarray
    owners: np.ndarray
    boxes: np.ndarray
    hits: np.ndarray
    hidden: np.ndarray


def scan(street: Street, lidar: Lidar, rng: np.random.Generator) -> Seen:
    up, around = lidar.angles
    around = around + np.radians(lidar.step) * rng.uniform(-0.5, 0.5)
    up = up + np.radians(0.03) * rng.standard_normal(len(up))
    rays = np.stack(
        [
            np.cos(up)[:, None] * np.cos(around),
            np.cos(up)[:, None] * np.sin(around),
            np.broadcast_to(np.sin(up)[:, None], (len(up), len(around))),
        ]
    ).astype(np.float32)  # (3, beams, columns)
    distance, bright, owner = _ground(street, lidar, rays, rng)
    alone = np.zeros(len(street.actors))
    boxes = np.zeros((len(street.actors), 7))
    for number, actor in enumerate(street.actors):
        x, y, yaw = _seen_from(street, actor.x, actor.y, actor.yaw)
        floor = street.ground(actor.x, actor.y) - street.ground(street.x, street.y) - lidar.height
        size = actor.size
        boxes[number] = x, y, floor + (actor.low[2] + actor.high[2]) / 2, *size, (yaw + np.pi) % (2 * np.pi) - np.pi
        shapes = [placed(shape, x, y, floor, yaw) for shape in actor.shapes]
        alone[number] = _cast(shapes, number, rays, around, lidar.far, rng, (distance, bright, owner))
    turned = [_turned(street, shape, lidar) for shape in street.still]
    for shape in turned:
        _cast([shape], -1, rays, around, lidar.far, rng, (distance, bright, owner))
    hits = np.bincount(owner[owner >= 0].ravel(), minlength=len(street.actors))[: len(street.actors)]
    hidden = 1 - hits / np.maximum(alone, 1)
    points, owners = _returned(lidar, rays, distance, bright, owner, rng)
    kept = np.bincount(owners[owners >= 0], minlength=len(street.actors))[: len(street.actors)]
    return Seen(points, owners, boxes, kept, hidden)


def _seen_from(street: Street, x: float, y: float, yaw: float = 0.0) -> tuple[float, float, float]:
    cos, sin = np.cos(street.yaw), np.sin(street.yaw)
    dx, dy = x - street.x, y - street.y
    return float(dx * cos + dy * sin), float(dy * cos - dx * sin), yaw - street.yaw


def _turned(street: Street, shape: Shape, lidar: Lidar) -> Shape:
    x, y, _ = _seen_from(street, 0, 0)
    return placed(shape, x, y, -street.ground(street.x, street.y) - lidar.height, -street.yaw)


def _ground(
    street: Street, lidar: Lidar, rays: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(distance, reflectance that comes back, owner) of the ground alone."""
    cos, sin = np.cos(street.yaw), np.sin(street.yaw)
    along, across = street.slope[0] * cos + street.slope[1] * sin, street.slope[1] * cos - street.slope[0] * sin
    falls = rays[2] - along * rays[0] - across * rays[1]
    with np.errstate(divide="ignore"):
        distance = np.where(falls < -1e-4, -lidar.height / falls, np.inf)
    distance = np.where(distance < lidar.far, distance, np.inf)
    rough = rng.uniform(0.0, 0.012)
    distance = distance + rng.normal(0, rough, distance.shape)
    return distance, 0.25 * np.abs(falls) ** 0.3, np.full(distance.shape, -1)


def _cast(
    shapes: list[Shape], number: int, rays: np.ndarray, around: np.ndarray, far: float, rng: np.random.Generator,
    into: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> float:  # fmt: skip
    """What an object's shapes hide of the rest goes into the picture; how many rays it would meet alone."""
    spans = [_columns(shape, around, far) for shape in shapes]
    spans_there = [span for span in spans if span is not None]
    if not spans_there:
        return 0.0
    first, last = min(span.start for span in spans_there), max(span.stop for span in spans_there)
    own = np.full((rays.shape[1], last - first), np.inf, np.float32)
    light = np.zeros_like(own)
    for shape, span in zip(shapes, spans, strict=True):
        if span is None:
            continue
        part = slice(span.start - first, span.stop - first)
        distance, squarely = met(shape, rays[:, :, span])
        if shape.open:
            distance = np.where(rng.random(distance.shape) < shape.open, np.inf, distance)
        nearer = distance < own[:, part]
        own[:, part] = np.where(nearer, distance, own[:, part])
        light[:, part] = np.where(nearer, shape.bright * (0.4 + 0.6 * squarely), light[:, part])
    whole = slice(first, last)
    wins = (own < into[0][:, whole]) & (own < far)
    for target, value in zip(into, (own, light, np.full(own.shape, number)), strict=True):
        target[:, whole] = np.where(wins, value, target[:, whole])
    return float((own < far).sum())


def _columns(shape: Shape, around: np.ndarray, far: float) -> slice | None:
    """The columns that a shape can stand in."""
    x, y = shape.center[:2]
    away = float(np.hypot(x, y))
    if away - shape.reach > far:
        return None
    if away <= shape.reach:
        return slice(0, len(around))
    middle, half = np.arctan2(y, x), np.arcsin(min(1.0, shape.reach / away))
    if away > 1.5 * shape.reach and (middle - half > around[-1] or middle + half < around[0]):
        return None
    first, last = np.searchsorted(around, [middle - half, middle + half])
    if half > 1.2 or abs(middle) + half > np.pi:  # nearby, or around the back
        return slice(0, len(around))
    return slice(max(0, int(first) - 1), min(len(around), int(last) + 1)) if last > first else None


def _returned(
    lidar: Lidar, rays: np.ndarray, distance: np.ndarray, bright: np.ndarray, owner: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Echoes, with noise; what is dark and far gets lost."""
    there = np.isfinite(distance)
    faint = np.exp(-bright * (60.0 / np.maximum(distance, 1)) ** 2)
    there &= rng.random(distance.shape) > lidar.lost + (1 - lidar.lost) * np.where(np.isfinite(faint), faint, 1)
    away = distance[there] + rng.normal(0, lidar.noise, int(there.sum()))
    points = rays[:, there].T * away[:, None]
    light = np.clip(bright[there] + rng.normal(0, 0.03, len(away)), 0, 1)
    return np.column_stack([points, light]).astype(np.float32), owner[there]
