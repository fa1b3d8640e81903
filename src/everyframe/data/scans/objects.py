"""Labeled objects as KITTI writes them: in the coordinates of a camera (x to the right, y down, z ahead), a box's place being the
middle of its bottom; and the calibration that leads to the lidar's coordinates and into the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress

import numpy as np

from everyframe.errors import SourceError

#: columns of a line of a label file, behind the name; a score may follow
COLUMNS = 14
#: (width, height) of KITTI's pictures, and how close what a camera sees can be, in meters
PICTURE, CLOSEST = (1242, 375), 0.5


@dataclass(frozen=True)
class Objects:
    """names: classes; `DontCare` is a part of the picture that nobody labeled. rows: (n, 14) truncated (0..1), occluded (0..3),
    alpha, left, top, right, bottom (pixels), height, width, length, x, y, z (meters), rotation_y. scores: (n,) of what was found.
    """

    names: tuple[str, ...]
    rows: np.ndarray
    scores: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def none(cls) -> Objects:
        return cls((), np.zeros((0, COLUMNS)))

    @property
    def truncated(self) -> np.ndarray:
        return self.rows[:, 0]

    @property
    def occluded(self) -> np.ndarray:
        return self.rows[:, 1]

    @property
    def picture(self) -> np.ndarray:
        """(n, 4) left, top, right, bottom."""
        return self.rows[:, 3:7]

    @cached_property
    def upright(self) -> np.ndarray:
        """(n, 7) boxes as `overlap` takes them, in the camera's own ground plane: x, z and up, which is -y."""
        height, width, length, x, y, z, turn = self.rows[:, 7:].T
        return np.stack([x, z, height / 2 - y, length, width, height, -turn], 1)

    def only(self, wanted: np.ndarray) -> Objects:
        """wanted: (n,) of bool."""
        scores = None if self.scores is None else self.scores[wanted]
        return Objects(tuple(compress(self.names, wanted)), self.rows[wanted], scores)

    def text(self) -> str:
        """As a label file."""
        lines = []
        for number, (name, row) in enumerate(zip(self.names, self.rows, strict=True)):
            score = "" if self.scores is None else f" {self.scores[number]:.4f}"
            lines.append(f"{name} {row[0]:.2f} {row[1]:.0f} " + " ".join(f"{value:.2f}" for value in row[2:]) + score)
        return "".join(f"{line}\n" for line in lines)


def parse(lines: Sequence[str], where: object) -> Objects:
    """Of the lines of a label file. Raises SourceError with the line that is none."""
    names, rows, scores = [], [], []
    for number, line in enumerate(lines, 1):
        if not (words := line.split()):
            continue
        try:
            values = [float(word) for word in words[1:]]
        except ValueError:
            values = []
        if len(values) not in (COLUMNS, COLUMNS + 1) or not np.isfinite(values).all():
            raise SourceError(
                "This is no line of a label file.", where=f"{where}, line {number}", got=line.strip()[:80],
                expected="a class and 14 numbers, and perhaps a score, as KITTI has it",
            )  # fmt: skip
        names.append(words[0])
        rows.append(values[:COLUMNS])
        scores.append(values[COLUMNS:])
    found = np.array(rows, float).reshape(-1, COLUMNS)
    if any(scores) != all(scores):
        raise SourceError("Some lines have a score, and some none.", where=where)
    return Objects(tuple(names), found, np.array(scores)[:, 0] if scores and scores[0] else None)


@dataclass(frozen=True)
class Calibration:
    """projection: (3, 4) of the left color camera, from rectified coordinates to pixels. to_camera: (4, 4), from the lidar's
    coordinates to those. size: (width, height) of the picture.
    """

    projection: np.ndarray = field(
        default_factory=lambda: np.array([[721.54, 0, 609.56, 44.86], [0, 721.54, 172.85, 0.22], [0, 0, 1, 0.003]])
    )
    to_camera: np.ndarray = field(
        default_factory=lambda: np.array([[0, -1, 0, 0], [0, 0, -1, -0.08], [1, 0, 0, -0.27], [0, 0, 0, 1.0]])
    )
    size: tuple[int, int] = PICTURE

    def boxes(self, objects: Objects) -> np.ndarray:
        """(n, 7) in the lidar's coordinates."""
        height, width, length, x, y, z, turn = objects.rows[:, 7:].T
        back = np.linalg.inv(self.to_camera)
        place = np.stack([x, y - height / 2, z], 1) @ back[:3, :3].T + back[:3, 3]
        ahead = np.stack([np.cos(turn), np.zeros_like(turn), -np.sin(turn)], 1) @ back[:3, :3].T
        return np.column_stack([place, length, width, height, np.arctan2(ahead[:, 1], ahead[:, 0])])

    def objects(self, boxes: np.ndarray, names: Sequence[str], scores: np.ndarray | None = None) -> Objects:
        """(n, 7) boxes of the lidar's coordinates as KITTI writes them, with their place in the picture."""
        rotation, moved = self.to_camera[:3, :3], self.to_camera[:3, 3]
        place = boxes[:, :3] @ rotation.T + moved
        ahead = np.stack([np.cos(boxes[:, 6]), np.sin(boxes[:, 6]), np.zeros(len(boxes))], 1) @ rotation.T
        turn = np.arctan2(-ahead[:, 2], ahead[:, 0])
        length, width, height = boxes[:, 3:6].T
        bottom = place + np.array([0, 1, 0]) * height[:, None] / 2
        alpha = turn - np.arctan2(bottom[:, 0], bottom[:, 2])
        seen, cut = self.seen(boxes)
        rows = np.column_stack([cut, np.zeros(len(boxes)), _within_turn(alpha), seen, height, width, length, bottom, turn])
        return Objects(tuple(names), rows.reshape(-1, COLUMNS), scores)

    def seen(self, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """((n, 4) rectangles in the picture, cut off at its border; (n,) the share that is cut off). Zeros, and 1, of what lies
        outside or behind.
        """
        from everyframe.data.scans.overlap import corners, flat

        around = np.repeat(corners(flat(boxes)), 2, 1)  # (n, 8, 2)
        up = boxes[:, 2, None] + np.tile([-0.5, 0.5], 4) * boxes[:, 5, None]
        points = np.concatenate([around, up[..., None]], -1) @ self.to_camera[:3, :3].T + self.to_camera[:3, 3]
        behind = points[..., 2] < CLOSEST
        points[..., 2] = np.maximum(points[..., 2], CLOSEST)
        pixels = points @ self.projection[:, :3].T + self.projection[:, 3]
        pixels = pixels[..., :2] / pixels[..., 2:]
        whole = np.concatenate([pixels.min(1), pixels.max(1)], 1)
        width, height = self.size
        inside = np.clip(whole, 0, np.tile([width - 1, height - 1], 2))
        areas = [(each[:, 2:] - each[:, :2]).prod(1) for each in (inside, whole)]
        gone = behind.all(1) | (areas[0] <= 0)
        inside[gone] = 0
        return inside, np.where(gone, 1.0, 1 - areas[0] / np.maximum(areas[1], 1e-9))

    def text(self) -> str:
        """As a calibration file."""
        rows = {
            "P2": self.projection, "R0_rect": np.eye(3), "Tr_velo_to_cam": self.to_camera[:3],
        }  # fmt: skip
        return "".join(f"{name}: {' '.join(f'{value:.12e}' for value in array.ravel())}\n" for name, array in rows.items())


def read_calibration(text: str, where: object) -> Calibration:
    """Of a calibration file, of single scans or of sequences, which call the same things otherwise. Raises SourceError."""
    found: dict[str, list[float]] = {}
    for line in text.splitlines():
        name, *words = line.replace(":", " ").split() or [""]
        try:
            found[_CALLED.get(name, name)] = [float(word) for word in words]
        except ValueError:
            continue
    parts = []
    for name, shape in (("P2", (3, 4)), ("R0_rect", (3, 3)), ("Tr_velo_to_cam", (3, 4))):
        values = found.get(name, [])
        if len(values) != shape[0] * shape[1] or not np.isfinite(values).all():
            raise SourceError(
                "The calibration is not whole.", where=where, expected=f"{name}: {shape[0] * shape[1]} numbers",
                got=f"{len(values)} of them" if name in found else "no such line",
            )  # fmt: skip
        parts.append(np.array(values).reshape(shape))
    projection, rectified, moved = parts
    straight, lidar = np.eye(4), np.eye(4)
    straight[:3, :3], lidar[:3] = rectified, moved
    return Calibration(projection, straight @ lidar)


#: what sequences' files call it -> what those of single scans do
_CALLED = {"R_rect": "R0_rect", "Tr_velo_cam": "Tr_velo_to_cam"}


def _within_turn(angle: np.ndarray) -> np.ndarray:
    """The same direction, from -pi to pi."""
    return (angle + np.pi) % (2 * np.pi) - np.pi
