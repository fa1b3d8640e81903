"""What an evaluation found: frozen values that become JSON as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

TENTHS = tuple(i / 10 for i in range(1, 11))


@dataclass(frozen=True)
class Score:
    """Shares of `count` predictions whose truth was first, or among the first five. low, high: the 95 % interval of top1
    (Wilson), where the predictions are of different videos.
    """

    top1: float
    top5: float
    count: int
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Point:
    """The prediction that stands when so much of each video has been seen; a video without one yet counts as wrong."""

    share: float
    top1: float
    top5: float
    answered: float


@dataclass(frozen=True)
class Settled:
    """Videos that end with right predictions, and when the first of these came: median over those videos, counted from
    the video's first frame. share: of the video.
    """

    videos: int
    frames: float | None
    seconds: float | None
    share: float | None


@dataclass(frozen=True)
class Decided:
    """A live user acts on the first prediction whose score reaches a threshold: the lowest at which that is wrong in no more than
    `allowed` of the videos. right, wrong: shares of all videos that are decided so. frames, seconds: until right decisions, from
    the video's first frame, median; share: of the video.
    """

    allowed: float
    threshold: float
    right: float
    wrong: float
    frames: float | None
    seconds: float | None
    share: float | None


@dataclass(frozen=True)
class Streaming:
    """end: the prediction at each video's end; average: of the scores of all of a video's predictions. A video without one
    counts as wrong. frames: all predictions, None if there is none. silent: videos too short for a prediction (with flush:
    before their last frame was held). decided: when it could be acted on at a fixed share of false alarms.
    """

    end: Score
    average: Score
    frames: Score | None
    curve: tuple[Point, ...]
    settled: Settled
    silent: int
    decided: Decided | None = None


@dataclass(frozen=True)
class Condition:
    """clip: each clip for itself. video: scores of its clips averaged."""

    clip: Score | None
    video: Score | None
    streaming: Streaming | None


@dataclass(frozen=True)
class Figures:
    """precision: None where the class was never predicted."""

    precision: float | None
    recall: float
    f1: float


@dataclass(frozen=True)
class ClassRow:
    label: str
    count: int
    video: Figures | None
    streaming: Figures | None


@dataclass(frozen=True)
class Timing:
    """Of the step network, in frames as it sees them. rate: of those a second; assumed where the model names none."""

    hop: int
    window: int
    feature_delay_frames: int
    feature_delay_ms: float
    delay_frames: int
    delay_ms: float
    rate: float
    rate_assumed: bool


@dataclass(frozen=True)
class VideoRow:
    """One video, played normally. right_from: the frame from which all of the stream's predictions were right."""

    video: str
    truth: str
    frames: int
    clips: int = 0
    clips_right: int = 0
    prediction: str | None = None
    score: float | None = None
    truth_score: float | None = None
    stream_prediction: str | None = None
    stream_score: float | None = None
    stream_truth_score: float | None = None
    right_from: int | None = None
    error: str | None = None


@dataclass(frozen=True)
class Calibration:
    """How far scores are from the share that is right. ece: expected calibration error of the winning scores. temperature: by
    what logits would have to be divided, beside what the model's own temperature does, for these videos to be likeliest; 1
    where that helps only those that it is fitted on. best_ece: the error then, each fifth of the videos by the temperature of
    the others. bins: (mean score, share right, videos).
    """

    ece: float
    temperature: float
    bins: tuple[tuple[float, float, int], ...]
    best_ece: float = 0.0


@dataclass(frozen=True)
class Others:
    """All but the class that most videos are of: `videos` of `classes`, and the share of them that is right where that class is
    no answer, of whole videos and of the stream at their end.
    """

    without: str
    classes: int
    videos: int
    video: float | None
    stream: float | None


@dataclass(frozen=True)
class Result:
    """docs/evaluate.md explains every figure.

    available: videos of each split. most_frequent: share of the most frequent truth, what one gets for always saying it.
    part: why this split, where it was not asked for. planned: videos to measure; videos: of them measured; unreadable: that
    could not be read. partial: it was ended early. left_out: videos of labels that the model does not know. conditions:
    `normal` and the controls. confusion: one row a truth, one column a prediction, over the model's labels; a silent stream
    is in none of the columns. balanced: accuracy with each class weighing the same (mean recall), and calibration: of whole
    videos (`video`) and of the stream at their end (`stream`). others: where one class has most of the videos, what the accuracy
    is without it.
    """

    model: str
    engine: str
    data: str
    split: str
    available: dict[str, int]
    labels: tuple[str, ...]
    most_frequent: float
    view: str
    sampling: str
    clip_frames: int | None
    planned: int
    videos: int
    unreadable: int
    left_out: int
    partial: bool
    seed: int
    flush: bool
    timing: Timing | None
    conditions: dict[str, Condition]
    classes: tuple[ClassRow, ...]
    confusion: tuple[tuple[int, ...], ...] | None
    confusion_streaming: tuple[tuple[int, ...], ...] | None
    data_only: tuple[str, ...]
    model_only: tuple[str, ...]
    notes: tuple[str, ...]
    rows: tuple[VideoRow, ...]
    part: str = ""
    balanced: Mapping[str, float] = field(default_factory=dict)
    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    others: Others | None = None

    def to_dict(self, *, rows: bool = False) -> dict[str, Any]:
        """Plain values for JSON. rows: with one entry a video."""
        found = asdict(self)
        if not rows:
            del found["rows"]
        return found
