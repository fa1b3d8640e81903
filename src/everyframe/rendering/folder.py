"""Labeled clips, and long recordings with spans, as everything that reads labeled clips takes them:

    FOLDER/train/LABEL/0001.mp4, FOLDER/val/..., FOLDER/test/...      clips: seven, one and a half, and one and a half of ten
    FOLDER/0001.mp4, FOLDER/spans.csv                                 recordings
    FOLDER/rendered.json                                              what they were asked for

What is there already stays, so a run that was interrupted goes on where it was.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np

from everyframe.errors import OutputError, UsageError, meant
from everyframe.files import make_folder, write_bytes
from everyframe.limits import MAX_SEED
from everyframe.progress import CountProgress
from everyframe.rendering import drivers, hands
from everyframe.rendering.drivers import scene as driving
from everyframe.rendering.hands import scene as gesturing
from everyframe.video.encode import Encoder

MARK, SPANS = "rendered.json", "spans.csv"
#: of every twenty clips of a label; people are drawn anew for each, so nobody is in two
SPLITS = ("train",) * 14 + ("val",) * 3 + ("test",) * 3


_LIMITS = {
    "count": (1, 100_000), "minutes": (0, 60), "seconds": (1, 30), "fps": (5, 60), "size": (32, 512), "sunglasses": (0, 1),
    "seed": (0, MAX_SEED),
}  # fmt: skip


class Spanned(Protocol):
    @property
    def label(self) -> str: ...
    @property
    def start_s(self) -> float: ...
    @property
    def end_s(self) -> float: ...


@dataclass(frozen=True)
class Wanted:
    """kind: of `KINDS`. count: clips of each label, or recordings. minutes: of a recording; 0: clips. seconds: of a clip. fps:
    pictures a second. size: height and width, even. sunglasses: share of the drivers who wear them. seed: another number, other
    people. Raises UsageError."""

    kind: str
    count: int = 100
    minutes: float = 0.0
    seconds: float = 3.0
    fps: float = 15.0
    size: int = 112
    sunglasses: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            about = {name: kind.about for name, kind in KINDS.items()} | {"scenes": "streets as a lidar sees them"}
            hint = meant(self.kind, list(about), "; ".join(f"{name}: {told}" for name, told in about.items()))
            raise UsageError("Nothing of this kind is rendered.", expected=" or ".join(about), got=self.kind, hint=hint)
        for name, (low, high) in _LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise UsageError("This cannot be rendered.", where=name, expected=f"{low} to {high}", got=getattr(self, name))
        if self.size % 2:
            why = "an even number: the colors of video are halved"
            raise UsageError("This cannot be rendered.", where="size", expected=why, got=self.size)


#: (generator, label or None for a recording, what is wanted) -> (n, H, W) uint8, spans
Draw = Callable[[np.random.Generator, str | None, Wanted], tuple[np.ndarray, Sequence[Spanned]]]


def _driver(rng: np.random.Generator, label: str | None, wanted: Wanted) -> tuple[np.ndarray, Sequence[Spanned]]:
    size = (wanted.size, wanted.size)
    if label is None:
        made = driving.drive(rng, 60 * wanted.minutes, wanted.fps, size, wanted.sunglasses)
    else:
        made = driving.clip(rng, label, wanted.seconds, wanted.fps, size, wanted.sunglasses)
    return made.video, made.spans


def _hand(rng: np.random.Generator, label: str | None, wanted: Wanted) -> tuple[np.ndarray, Sequence[Spanned]]:
    frames = round(wanted.fps * (60 * wanted.minutes if label is None else wanted.seconds))
    gesture = label not in (None, "none")
    made = gesturing.random_stream(
        rng, frames, wanted.fps, (wanted.size, wanted.size), label if gesture else None, label == "none", gesture
    )
    return made.video, made.intervals


@dataclass(frozen=True)
class Kind:
    labels: tuple[str, ...]
    draw: Draw
    about: str


KINDS: Mapping[str, Kind] = {
    "drivers": Kind(drivers.LABELS, _driver, "faces behind a wheel: awake, or tired in four ways"),
    "motions": Kind(hands.LABELS, _hand, "hands: the gestures of the built-in model, and what is none"),
}


@dataclass(frozen=True)
class Rendered:
    """folder: with all that was made. labels: of its clips or spans. videos: how many there are. made: of those, now."""

    folder: Path
    labels: tuple[str, ...]
    videos: int
    made: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"folder": str(self.folder), "labels": list(self.labels), "videos": self.videos, "made": self.made}


def write(wanted: Wanted, folder: Path, progress: CountProgress) -> Rendered:
    """Renders what is not there yet. Raises OutputError for a folder with anything else in it."""
    claim(folder, {key: value for key, value in asdict(wanted).items() if key != "count"})
    kind = KINDS[wanted.kind]
    jobs: list[tuple[Path, partial]] = []
    for number in range(wanted.count):
        for place, label in enumerate((None,) if wanted.minutes else kind.labels):
            path = folder / f"{number + 1:04d}.mp4"
            if label is not None:
                path = folder / SPLITS[number * 13 % len(SPLITS)] / label / path.name
            jobs.append((path, partial(kind.draw, np.random.default_rng([wanted.seed, place, number]), label, wanted)))
    made, rows = 0, _rows(folder / SPANS) if wanted.minutes else []
    for done, (path, draw) in enumerate(jobs):
        progress(done, len(jobs))
        if path.exists():
            continue
        video, spans = draw()
        make_folder(path.parent)
        if wanted.minutes:  # before the video, which says that this one is done
            rows = [row for row in rows if row[0] != path.name]
            rows += [(path.name, f"{span.start_s:.2f}", f"{span.end_s:.2f}", span.label) for span in spans]
            _keep(rows, folder / SPANS)
        write_bytes(encoded(video, wanted.fps), path)
        made += 1
    progress(len(jobs), len(jobs))
    return Rendered(folder, kind.labels, len(jobs), made)


def claim(folder: Path, settings: Mapping[str, Any]) -> None:
    """Makes the folder one of these settings, or raises OutputError."""
    mark = folder / MARK
    if folder.is_dir() and any(folder.iterdir()):
        try:
            there = json.loads(mark.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise OutputError(
                "The folder holds something else.", where=folder, hint="name another folder",
                expected="a new folder, an empty one, or one that is to be continued",
            ) from None  # fmt: skip
        if there != settings:
            unlike = ", ".join(f"{key} {there.get(key)}" for key in settings if there.get(key) != settings[key])
            hint = "name another folder, or ask for the same"
            raise OutputError("The folder holds clips of other settings.", where=folder, got=unlike, hint=hint)
        return
    make_folder(folder)
    write_bytes(f"{json.dumps(settings)}\n".encode(), mark)


def _rows(path: Path) -> list[tuple[str, ...]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


def _keep(rows: Sequence[Sequence[str]], path: Path) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("file", "start", "end", "label"), *rows])
    write_bytes(text.getvalue().encode(), path)


def encoded(video: np.ndarray, fps: float) -> bytes:
    """(n, H, W) uint8 gray as an .mp4."""
    file, rate = io.BytesIO(), Fraction(fps).limit_denominator(1000)
    with av.open(file, "w", format="mp4") as output:
        encoder = Encoder(output, ".mp4", video.shape[1], video.shape[2], rate)
        for number, picture in enumerate(video):
            encoder.add(np.repeat(picture[..., None], 3, axis=2), number / rate)
        encoder.close()
    return file.getvalue()
