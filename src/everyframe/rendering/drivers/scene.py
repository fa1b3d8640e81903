"""A driver in a car, seen by the camera of its dashboard: (frames, height, width) uint8 with its truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from everyframe.rendering import backgrounds, camera
from everyframe.rendering.drivers import acts, face


@dataclass
class Clip:
    video: np.ndarray  # (n, H, W) uint8
    fps: float
    spans: list[acts.Span]
    glasses: str


def _cabin(rng: np.random.Generator, times: np.ndarray, size: tuple[int, int], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What is behind: a seat, and a window that the world goes by."""
    n, (h, w) = len(times), size
    texel = (h * 3 // 2, w * 3 // 2)
    inside = backgrounds.sample(backgrounds.any_background(rng, texel), x, y) * np.float32(rng.uniform(0.2, 0.8))
    canvas = np.broadcast_to(inside, (n, h, w)).astype(np.float32)
    world, speed = backgrounds.any_background(rng, texel), rng.uniform(-0.8, 0.8) * rng.choice([0.0, 1.0], p=[0.25, 0.75])
    side, wide = rng.choice([-1, 1]), rng.uniform(0.12, 0.35)
    frame = (np.abs(x - side * (w / h / 2 - wide / 2)) < wide / 2) & (y < rng.uniform(-0.1, 0.25)) & (y > -0.42)
    moving = backgrounds.sample(world, x[None] + (speed * times).astype(np.float32)[:, None, None], np.broadcast_to(y, (n, h, w)))
    np.copyto(canvas, np.clip(moving * np.float32(rng.uniform(0.5, 1.6)), 0, 1), where=frame[None])
    seat = np.float32(rng.uniform(0.03, 0.6))
    rest = (np.abs(x - 0.1 * side) < 0.2) & (np.abs(y + 0.18) < 0.2)
    canvas[:, rest] = seat
    return canvas


def _passing(rng: np.random.Generator, times: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Shadows of trees and bridges that pass over everything, (n, H, W) or 1."""
    if rng.random() < 0.5:
        return np.ones((1, 1, 1), np.float32)
    pace, sharp = rng.uniform(0.3, 2.0), rng.uniform(1, 6)
    wave = np.sin(2 * np.pi * pace * times[:, None, None] + 4 * x[None] + rng.uniform(0, 6))
    return (1 - rng.uniform(0.1, 0.5) / (1 + np.exp(-sharp * wave))).astype(np.float32)


def render(rng: np.random.Generator, script: acts.Script, times: np.ndarray, size: tuple[int, int], glasses: str) -> np.ndarray:
    """(n, H, W) uint8 of a script at the given times, seconds. glasses: one of `face.GLASSES`."""
    h, w = size
    y, x = np.mgrid[:h, :w].astype(np.float32)
    x, y = (x + 0.5) / h - np.float32(w / h / 2), (y + 0.5) / h - np.float32(0.5)
    canvas = _cabin(rng, times, size, x, y)
    look, pose = face.Look.random(rng, glasses), script.pose(times)
    pose.x, pose.y = pose.x + rng.normal(0, 0.05), pose.y + rng.uniform(-0.1, 0.08)
    road = rng.choice([0.0, rng.uniform(0.002, 0.008)])
    shake = road * camera.smooth_walk(rng, len(times), rng.uniform(1, 3))
    pose.x, pose.y = pose.x + shake[:, 0], pose.y + shake[:, 1]
    face.paint(face.Painter(canvas, x, y, 1.0 / h * rng.uniform(0.9, 1.6)), look, pose)
    return camera.expose(rng, np.clip(canvas * _passing(rng, times, x), 0, 1))


def _glasses(rng: np.random.Generator, sunglasses: float) -> str:
    return str(rng.choice(["sun", "clear", "none"], p=[sunglasses, (1 - sunglasses) * 0.3, (1 - sunglasses) * 0.7]))


def clip(
    rng: np.random.Generator, label: str, seconds: float = 3.0, fps: float = 15.0, size: tuple[int, int] = (112, 112),
    sunglasses: float = 0.3,
) -> Clip:  # fmt: skip
    """One label of `acts.LABELS`. sunglasses: share of the drivers who wear them. Raises KeyError."""
    script, glasses = acts.write(rng, label, seconds), _glasses(rng, sunglasses)
    times = np.arange(round(seconds * fps)) / fps
    return Clip(render(rng, script, times, size, glasses), fps, script.spans, glasses)


def drive(
    rng: np.random.Generator, seconds: float, fps: float = 15.0, size: tuple[int, int] = (112, 112), sunglasses: float = 0.3
) -> Clip:
    """A long recording: how tired the driver is lies between not at all and very."""
    script, glasses = acts.write_long(rng, seconds, float(rng.random())), _glasses(rng, sunglasses)
    times = np.arange(round(seconds * fps)) / fps
    return Clip(render(rng, script, times, size, glasses), fps, script.spans, glasses)
