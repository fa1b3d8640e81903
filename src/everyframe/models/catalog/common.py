"""Numbers that several parts of the catalog use."""

from __future__ import annotations

from everyframe.errors import UsageError
from everyframe.modelfile.schema import Preprocess

KINETICS_400, KINETICS_600, UCF_101, JESTER = 400, 600, 101, 27

Stats = tuple[tuple[float, ...], tuple[float, ...]]

# mean and standard deviation of pixels 0..1 in R, G, B
IMAGENET: Stats = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
KINETICS_TORCHVISION: Stats = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
PYTORCHVIDEO: Stats = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
ZERO_TO_ONE: Stats = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
MINUS_ONE_TO_ONE: Stats = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def check_width(name: str, width: float, limits: tuple[float, float], published: tuple[float, ...] = ()) -> None:
    """Raises UsageError for a width multiplier that the family is not made for."""
    least, most = limits
    if not least <= width <= most:
        raise UsageError(
            "This width multiplier is out of range.", where=name, expected=f"{least:g} to {most:g}", got=width,
            hint=f"the published widths are {', '.join(map(str, published))}" if published else None,
        )  # fmt: skip


def crop(size: int, short: int | tuple[int, int], stats: Stats, **more: object) -> Preprocess:
    """Short side to `short` (or resize to height x width), center crop of `size`, minus mean, over standard deviation."""
    fields = {"resize": short, "crop": (size, size), "mean": stats[0], "std": stats[1], **more}
    return Preprocess.model_validate(fields)
