"""What is true of clips beside one class: several labels, quantities, a label for each frame; as annotations write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from everyframe.data.clips import Clip

#: a class by its name, or by its number among the model's
Name = str | int


@dataclass(frozen=True)
class Labels:
    """All that are there; every other label of the model is known to be missing."""

    there: tuple[Name, ...]


@dataclass(frozen=True)
class Values:
    """Quantities by their name, or by their place where they have none."""

    by: Mapping[Name, float]


@dataclass(frozen=True)
class EachFrame:
    """The label of each frame of the source, oldest first."""

    labels: tuple[Name, ...]


@dataclass(frozen=True)
class Spans:
    """(begin, end, label) in seconds; what is in none is background."""

    parts: tuple[tuple[float, float, Name], ...]


Truth = Labels | Values | EachFrame | Spans


@dataclass(frozen=True)
class Labeled:
    """place: file and line, for messages. split: None where the annotation says nothing of splits."""

    clip: Clip
    truth: Truth
    place: str
    split: str | None = None
