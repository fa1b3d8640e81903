"""Scans and sequences in KITTI's folders, as `data.scans.kitti` reads them, and poses/0000.txt beside a sequence: where the lidar
was in each of its scans, as a 3 x 4 matrix into the coordinates of the first. `rendered.json` says what was asked for; what is
there already stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from everyframe.data.scans import points
from everyframe.data.scans.objects import COLUMNS, Calibration, Objects
from everyframe.errors import UsageError
from everyframe.files import make_folder, write_bytes
from everyframe.limits import MAX_SEED
from everyframe.progress import CountProgress
from everyframe.rendering.folder import SPLITS, Rendered, claim
from everyframe.rendering.lidar.actors import ACTORS
from everyframe.rendering.lidar.sensor import Lidar, Seen, scan
from everyframe.rendering.lidar.street import Street, street

KIND = "scenes"
#: points from which on an object is labeled, and how far away; what has fewer is a part of the picture that nobody labeled
LEAST, FARTHEST = 5, 70.0
#: the share that others hide -> KITTI's levels: visible, partly, largely hidden, and unknown
_HIDDEN = (0.25, 0.6, 0.9)
#: KITTI's columns of what nobody labeled, but for its place in the picture
_NOBODY = (-1, -1, -10, 0, 0, 0, 0, -1, -1, -1, -1000, -1000, -1000, -10)
_LIMITS = {"count": (1, 100_000), "minutes": (0, 10), "fps": (1, 20), "beams": (8, 128), "seed": (0, MAX_SEED)}
#: steps that everybody moves in, between two scans
_SUBSTEPS = 2


@dataclass(frozen=True)
class Wanted:
    """count: scans, or sequences. minutes: of a sequence; 0: single scans. fps: scans a second of a sequence. beams: of the
    lidar. seed: another number, other streets. Raises UsageError.
    """

    count: int = 100
    minutes: float = 0.0
    fps: float = 10.0
    beams: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise UsageError("This cannot be rendered.", where=name, expected=f"{low} to {high}", got=getattr(self, name))

    @property
    def scans(self) -> int:
        """Of a sequence; 0: single ones are wanted."""
        return max(1, round(self.minutes * 60 * self.fps)) if self.minutes else 0


def write(wanted: Wanted, folder: Path, progress: CountProgress) -> Rendered:
    """Renders what is not there yet. Raises OutputError for a folder with anything else in it."""
    claim(folder, {"kind": KIND, **{key: value for key, value in asdict(wanted).items() if key != "count"}})
    root, lidar = folder / "training", Lidar(beams=wanted.beams)
    for name in ("velodyne", "label_02" if wanted.scans else "label_2", "calib", *(("poses",) if wanted.scans else ())):
        make_folder(root / name)
    made, total = 0, wanted.count * max(1, wanted.scans)
    try:
        for number in range(wanted.count):
            progress(number * max(1, wanted.scans), total)
            rng = np.random.default_rng([wanted.seed, number])
            if wanted.scans:
                told = lambda done, number=number: progress(number * wanted.scans + done, total)  # noqa: E731
                made += _sequence(wanted, root, number, lidar, rng, told)
            else:
                made += _single(root, number, lidar, rng)
    finally:
        _lists(folder, wanted)
    progress(total, total)
    return Rendered(folder, tuple(ACTORS), wanted.count, made)


def _single(root: Path, number: int, lidar: Lidar, rng: np.random.Generator) -> bool:
    file = root / "velodyne" / f"{number:06d}.bin"
    if file.exists():
        return False
    place, calibration = street(rng), Calibration()
    seen = scan(place, lidar, rng)
    write_bytes(labeled(place, seen, calibration)[0].text().encode(), root / "label_2" / f"{number:06d}.txt")
    write_bytes(calibration.text().encode(), root / "calib" / f"{number:06d}.txt")
    points.write(seen.points, file)  # the last, which says that this one is done
    return True


def _sequence(wanted: Wanted, root: Path, number: int, lidar: Lidar, rng: np.random.Generator, told) -> bool:  # type: ignore[no-untyped-def]
    labels = root / "label_02" / f"{number:04d}.txt"
    if labels.exists():
        return False
    place, calibration, lines, poses = street(rng), Calibration(), list[str](), list[str]()
    begin = place.x, place.y, place.yaw
    for frame in range(wanted.scans):
        told(frame)
        seen = scan(place, lidar, rng)
        folder = make_folder(root / "velodyne" / f"{number:04d}")
        points.write(seen.points, folder / f"{frame:06d}.bin")
        objects, tracks = labeled(place, seen, calibration)
        lines += [f"{frame} {track} {line}" for track, line in zip(tracks, objects.text().splitlines(), strict=True)]
        poses.append(" ".join(f"{value:.6e}" for value in _pose(place, begin).ravel()))
        for _ in range(_SUBSTEPS):
            place.move(1 / wanted.fps / _SUBSTEPS)
    write_bytes("".join(f"{line}\n" for line in poses).encode(), root / "poses" / f"{number:04d}.txt")
    write_bytes(calibration.text().encode(), root / "calib" / f"{number:04d}.txt")
    write_bytes("".join(f"{line}\n" for line in lines).encode(), labels)
    return True


def labeled(place: Street, seen: Seen, calibration: Calibration) -> tuple[Objects, list[int]]:
    """What KITTI's people would have labeled, and the number of each in the street; -1 of what nobody did."""
    names = [actor.name for actor in place.actors]
    whole = calibration.objects(seen.boxes, names)
    whole.rows[:, 1] = np.searchsorted(_HIDDEN, seen.hidden, side="right")
    visible = (seen.hits > 0) & (whole.truncated < 1)
    near = np.hypot(seen.boxes[:, 0], seen.boxes[:, 1]) < FARTHEST
    known = visible & near & (seen.hits >= LEAST)
    good, rest = whole.only(known), whole.only(visible & ~known)
    nobody = np.tile(np.array(_NOBODY, float), (len(rest), 1))
    nobody[:, 3:7] = rest.picture
    made = Objects((*good.names, *["DontCare"] * len(rest)), np.concatenate([good.rows, nobody]).reshape(-1, COLUMNS))
    return made, [*np.flatnonzero(known).tolist(), *[-1] * len(rest)]


def _pose(place: Street, begin: Sequence[float]) -> np.ndarray:
    """(3, 4): from the lidar's coordinates to those of the first scan."""
    x, y, yaw = begin
    dx, dy, turned = place.x - x, place.y - y, place.yaw - yaw
    cos, sin = np.cos(turned), np.sin(turned)
    climbed = place.ground(place.x, place.y) - place.ground(x, y)
    ahead, aside = dx * np.cos(yaw) + dy * np.sin(yaw), dy * np.cos(yaw) - dx * np.sin(yaw)
    return np.array([[cos, -sin, 0, ahead], [sin, cos, 0, aside], [0, 0, 1, climbed]])


def _lists(folder: Path, wanted: Wanted) -> None:
    """ImageSets of what is there: seven, one and a half, and one and a half of ten."""
    kept = "label_02/*.txt" if wanted.scans else "velodyne/*.bin"
    done = [path.stem for path in (folder / "training").glob(kept)]
    make_folder(folder / "ImageSets")
    for split in dict.fromkeys(SPLITS):
        names = sorted(name for name in done if SPLITS[int(name) * 13 % len(SPLITS)] == split)
        write_bytes("".join(f"{name}\n" for name in names).encode(), folder / "ImageSets" / f"{split}.txt")
