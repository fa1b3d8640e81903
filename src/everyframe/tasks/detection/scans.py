"""Which scans a training sees, and which it holds out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from everyframe.data.scans.kitti import Scan, find, splits
from everyframe.errors import SourceError
from everyframe.recipes.detection import DetectionRecipe


def held_out(recipe: DetectionRecipe) -> tuple[list[Scan], list[Scan]]:
    """(for training, held out). Raises SourceError where there are none, or none with labels."""
    data, root = recipe.data, Path(recipe.data.root)
    lists = splits(root)
    if data.train in lists:
        held = find(root, data.validation) if data.validation in lists else []
        parts = find(root, data.train), held
    else:
        every = find(root)
        count = max(1, round(len(every) * data.holdout)) if len(every) > 1 else 0
        taken = {round((n + 0.5) * len(every) / count) for n in range(count)} if count else set()
        parts = [s for n, s in enumerate(every) if n not in taken], [s for n, s in enumerate(every) if n in taken]
    labeled = [[scan for scan in part if scan.labels is not None] for part in parts]
    if not labeled[0]:
        raise SourceError(
            "There is nothing to learn from.", where=root, got=f"{len(parts[0])} scans without labels",
            expected="training/label_2/NAME.txt for each training/velodyne/NAME.bin",
        )  # fmt: skip
    return labeled[0], labeled[1]


def spread(scans: Sequence[Scan], most: int | None) -> list[Scan]:
    """So many of them, evenly."""
    count = len(scans) if most is None else min(most, len(scans))
    return [scans[number * len(scans) // count] for number in range(count)]
