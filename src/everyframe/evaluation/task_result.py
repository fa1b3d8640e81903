"""What an evaluation found of a model whose answer is not one class of several: frozen values that become JSON as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from everyframe.evaluation.result import Timing


@dataclass(frozen=True)
class Figure:
    """value: None where it is not defined. low, high: its 95 % interval over videos, where there is one."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class LabelRow:
    """A label or a quantity. count: videos (of frames: frames) of which it is true or known. figures: where -> name -> figure."""

    label: str
    count: int
    figures: Mapping[str, Mapping[str, Figure]]


@dataclass(frozen=True)
class TaskResult:
    """docs/evaluate.md explains every figure. Shares are between 0 and 1, errors in the unit of what is measured.

    conditions: how videos were played (`normal` and the controls) -> where (`clip`: the clip network, its clips averaged; `stream
    end` and `stream average`, of frames `stream`) -> figure. curve: by the tenth of each video that was seen, the main figure of
    the stream. silent: videos without a prediction of the stream. labels: of the model. rows: one a video, plain values.
    """

    task: str
    model: str
    engine: str
    data: str
    split: str
    available: Mapping[str, int]
    labels: tuple[str, ...]
    threshold: float | None
    view: str
    clip_frames: int | None
    planned: int
    videos: int
    unreadable: int
    partial: bool
    seed: int
    flush: bool
    silent: int
    timing: Timing | None
    conditions: Mapping[str, Mapping[str, Mapping[str, Figure]]]
    classes: tuple[LabelRow, ...]
    curve: tuple[tuple[float, float | None], ...]
    data_only: tuple[str, ...]
    model_only: tuple[str, ...]
    notes: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]

    def to_dict(self, *, rows: bool = False) -> dict[str, Any]:
        """Plain values for JSON. rows: with one entry a video."""
        found = asdict(self)
        if not rows:
            del found["rows"]
        return found
