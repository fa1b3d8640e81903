"""What watching videos, measuring and listing give; the plain values of results that other rooms make."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from everyframe import evaluation
from everyframe.api.results import save_json, table
from everyframe.evaluation import report
from everyframe.files import write_bytes
from everyframe.models.cards.card import Card
from everyframe.models.cards.record import record

if TYPE_CHECKING:
    from everyframe.api.given import File
    from everyframe.runtime import Prediction

SHOWN = 50  # predictions of a table


class Predictions(Sequence["Prediction"]):
    """The predictions of a video, in order."""

    def __init__(self, found: Sequence[Prediction]) -> None:
        self._found = tuple(found)

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, at: int) -> Prediction: ...
    @overload
    def __getitem__(self, at: slice) -> Predictions: ...
    def __getitem__(self, at: int | slice) -> Prediction | Predictions:
        return Predictions(self._found[at]) if isinstance(at, slice) else self._found[at]

    def save(self, path: File) -> Path:
        """Writes one JSON object a line, as `everyframe predict --json` prints them. Raises OutputError."""
        return write_bytes("".join(json.dumps(each.to_dict()) + "\n" for each in self._found).encode(), path)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; times in seconds."""
        return {"predictions": [each.to_dict() for each in self._found]}

    def _repr_html_(self) -> str:
        step = max(1, -(-len(self) // SHOWN))  # evenly spread
        rows = [(p.frame, f"{p.pts_s:.2f}", p.top[0].label, f"{p.top[0].score:.3f}") for p in self._found[::step] if p.top]
        return table(f"{len(self)} predictions", rows, ("frame", "time s", "label", "score"))


class Evaluation(evaluation.Result):
    """Accuracy of a model on labelled videos (docs/evaluate.md explains every figure); shares are between 0 and 1."""

    def save(self, folder: File) -> Path:
        """Writes tables, pictures and a page (report.html) into a folder. Raises OutputError."""
        report.write(Path(folder), self)
        return Path(folder)

    def _repr_html_(self) -> str:
        rows = []
        for name, found in self.conditions.items():
            streamed = found.streaming.end if found.streaming else None
            scores = ("clips", found.clip), ("videos", found.video), ("stream, at the end", streamed)
            rows += [(name, what, f"{s.top1:.1%}", f"{s.top5:.1%}", s.count) for what, s in scores if s]
        return table(f"{self.model} on {self.videos} videos", rows, ("frames", "of", "top-1", "top-5", "count"))


class Networks(Sequence[Card]):
    """Networks of the zoo, by name: `entry` is what is needed to build one, `measured` what it costs."""

    def __init__(self, found: Sequence[Card]) -> None:
        self._found = tuple(found)

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, at: int) -> Card: ...
    @overload
    def __getitem__(self, at: slice) -> Networks: ...
    def __getitem__(self, at: int | slice) -> Card | Networks:
        return Networks(self._found[at]) if isinstance(at, slice) else self._found[at]

    def __iter__(self) -> Iterator[Card]:
        return iter(self._found)

    @property
    def names(self) -> list[str]:
        return [card.entry.name for card in self._found]

    def save(self, path: File) -> Path:
        """Writes it as JSON. Raises OutputError."""
        return save_json(self.to_dict(), path)

    def to_dict(self) -> dict[str, Any]:
        """name -> all that is known, as plain values for JSON."""
        return {card.entry.name: record(card) for card in self._found}

    def _repr_html_(self) -> str:
        rows = [(n, r["input"], r["parameters"], r["macs_per_clip"]) for n, r in self.to_dict().items()]
        return table(f"{len(self)} networks", rows, ("name", "C x T x H x W", "parameters", "MACs of a clip"))
