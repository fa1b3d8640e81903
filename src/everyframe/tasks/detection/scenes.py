"""What training sees: scans with the boxes in them, turned, mirrored, a little larger or smaller, as pillars and maps.

A scan depends on (seed, epoch, its number) alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from everyframe.data.scans.kitti import Scan
from everyframe.data.scans.objects import Objects
from everyframe.errors import SourceError
from everyframe.recipes.detection import Augment, Data, DetectionRecipe
from everyframe.tasks.detection.decode import Cells, encode
from everyframe.tasks.detection.metrics import CLASSES
from everyframe.tasks.detection.pillars import group


class Scenes:
    """(epoch, number) -> ((10, S, P) float32, maps), or the SourceError of a scan that cannot be read."""

    training: ClassVar = True
    unit: ClassVar = "scans"

    def __init__(self, scans: Sequence[Scan], recipe: DetectionRecipe, cells: Cells) -> None:
        self.scans, self.data, self.change = tuple(scans), recipe.data, recipe.augment
        self.grid, self.seed, self.cells = recipe.model.grid, recipe.training.seed, cells

    def __len__(self) -> int:
        return len(self.scans)

    def order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(len(self))

    def name(self, number: int) -> object:
        return self.scans[number].scan

    def __call__(self, key: tuple[int, int]) -> tuple[np.ndarray, dict[str, np.ndarray]] | SourceError:
        scene = self.scene(key)
        if isinstance(scene, SourceError):
            return scene
        points, boxes, labels, ignored = scene
        maps = encode(boxes, labels, ignored, len(self.data.classes), self.cells)
        return group(points, self.grid), vars(maps)

    def scene(self, key: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | SourceError:
        """As `known` has it, changed."""
        epoch, number = key
        rng = np.random.default_rng([self.seed, epoch, number + 1])  # a 0 is the same as nothing, and that is the order's
        try:
            points, boxes, labels, ignored = known(self.scans[number], self.data)
        except SourceError as error:
            return error
        return *changed(points, boxes, self.change, rng), labels, ignored


def known(scan: Scan, data: Data) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(points (n, 4), boxes (m, 7), numbers of their classes (m,), whether each may be found or not (m,)). Raises SourceError."""
    objects, calibration = scan.objects(), scan.calibration()
    labels, ignored = numbers(objects, data)
    there = labels >= 0
    boxes = calibration.boxes(objects.only(there))
    return scan.points(), boxes, labels[there], ignored[there]


def numbers(objects: Objects, data: Data) -> tuple[np.ndarray, np.ndarray]:
    """Of each object the class, or the one that it looks like; -1 of any other. And whether it only looks like it."""
    like = {alike: name for name, (_, alike) in CLASSES.items() if alike}
    found = [like.get(name, name) for name in objects.names]
    made = np.array([data.classes.index(name) if name in data.classes else -1 for name in found], int)
    return made, np.array([name in like for name in objects.names], bool)


def changed(points: np.ndarray, boxes: np.ndarray, how: Augment, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Both alike."""
    points, boxes = points.copy(), boxes.copy()
    if how.drop:
        points = points[rng.random(len(points)) >= rng.uniform(0, how.drop)]
    if how.flip and rng.random() < 0.5:
        points[:, 1] *= -1
        boxes[:, [1, 6]] *= -1
    angle, scale = np.radians(rng.uniform(-how.turn, how.turn)), rng.uniform(1 - how.scale, 1 + how.scale)
    shift = rng.normal(0, how.shift, 3) if how.shift else np.zeros(3)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) * scale
    points[:, :3] = points[:, :3] @ turn + shift * (1, 1, 0.25)
    boxes[:, :3] = boxes[:, :3] @ turn + shift * (1, 1, 0.25)
    boxes[:, 3:6] *= scale
    boxes[:, 6] += angle
    return points, boxes
