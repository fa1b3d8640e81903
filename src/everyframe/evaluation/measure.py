"""One video through both networks: what is kept of it is small, so that a data set may be large."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from everyframe.data.clips import Clip
from everyframe.data.decode import pictures
from everyframe.data.views import Views, cut, views
from everyframe.errors import SourceError
from everyframe.evaluation.controls import CONDITIONS
from everyframe.evaluation.models import Pair
from everyframe.recipes.training import Sampling
from everyframe.runtime.program import Program
from everyframe.runtime.stream import ClipStream
from everyframe.video.frame import Frame

SEVERAL_CROPS = ("10-crop", "30-view")


class Stopped(Exception):
    """The evaluation was ended while this video ran."""


@dataclass(frozen=True)
class Settings:
    """view: see `data.views`. sampling: which frames make a clip. flush: hold the last frame until the step network has fully
    seen it. conditions: how each video is played. seed: of the shuffled order.
    """

    view: Views = "non-overlapping"
    sampling: Sampling = field(default_factory=Sampling)
    flush: bool = False
    conditions: tuple[str, ...] = ("normal",)
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Played:
    """What the networks said about one video played in one order.

    clip_ranks: of the truth among the scores of each clip, 0 the best. video: their mean, (classes,). at: frames that had
    arrived at each prediction of the stream; ranks: of the truth in it. last: scores at the video's end, (classes,).
    average: mean of the stream's scores.
    """

    clip_ranks: tuple[int, ...] = ()
    video: np.ndarray | None = None
    at: np.ndarray = field(default_factory=lambda: np.empty(0, int))
    ranks: np.ndarray = field(default_factory=lambda: np.empty(0, int))
    last: np.ndarray | None = None
    average: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """truth: index among the model's labels. frames: as the network sees them. error: why the video could not be read."""

    clip: Clip
    truth: int
    frames: int = 0
    played: dict[str, Played] = field(default_factory=dict)
    error: str | None = None


def rank(scores: np.ndarray, truth: int) -> int:
    """How many classes come before the truth; of equal scores the lower index comes first."""
    own = scores[truth]
    return int((scores > own).sum() + (scores[:truth] == own).sum())


def measure(number: int, clip: Clip, truth: int, pair: Pair, settings: Settings, stopped: Callable[[], bool]) -> Outcome:
    """number: the video's place in the data, which with the seed decides how it is shuffled. Raises Stopped."""
    wanted = pair.preprocess
    size = wanted.crop if settings.view in SEVERAL_CROPS else None
    try:
        frames = pictures(clip, wanted if size is None else wanted.model_copy(update={"crop": None}))  # (n, H, W, C)
        size = size or (frames.shape[1], frames.shape[2])
        (middle,) = cut(frames, size, "center")  # what the stream sees
    except SourceError as error:
        return Outcome(clip, truth, error=" ".join(str(error).split()))
    played = {}
    for name in settings.conditions:
        order = CONDITIONS[name](len(frames), np.random.default_rng((settings.seed, number)))
        said = Played()
        if pair.step is not None:
            said = _stream(pair.step, middle[order], truth, settings.flush, stopped)
        if pair.clip is not None:
            clips = _clips(pair.clip, frames[order], size, settings, stopped)
            said = replace(said, clip_ranks=tuple(rank(one, truth) for one in clips), video=np.mean(clips, axis=0))
        played[name] = said
    return Outcome(clip, truth, len(frames), played)


def _clips(
    program: Program,
    frames: np.ndarray,
    size: tuple[int, int],
    settings: Settings,
    stopped: Callable[[], bool],
) -> list[np.ndarray]:
    """Scores of each clip, (classes,)."""
    length, scores = program.metadata.frames, []
    with ClipStream(program, stride=length) as stream:
        for clip in views(frames, length, size, settings.sampling, settings.view)[0]:
            if stopped():
                raise Stopped
            for picture in clip:
                prediction = stream.push_frame(Frame(picture, 0.0, 0))
            if prediction is not None:
                scores.append(prediction.scores)
    return scores


def _stream(program: Program, frames: np.ndarray, truth: int, flush: bool, stopped: Callable[[], bool]) -> Played:
    at: list[int] = []
    scores: list[np.ndarray] = []
    last: np.ndarray | None = None
    hop, delay = program.metadata.hop, program.metadata.feature_delay
    with program.stream() as stream:
        for number, picture in enumerate(frames, 1):
            if stopped():
                raise Stopped
            prediction = stream.push_frame(Frame(picture, (number - 1) / program.rate, number - 1))
            if prediction is not None:
                last = prediction.scores
                at.append(number)
                scores.append(last)
        held = -(-(len(frames) + delay) // hop) * hop - len(frames) if flush else 0
        for number in range(len(frames), len(frames) + held):
            prediction = stream.push_frame(Frame(frames[-1], number / program.rate, number))
            last = prediction.scores if prediction is not None else last
    average = np.mean(scores, axis=0) if scores else None
    return Played(at=np.array(at, int), ranks=np.array([rank(one, truth) for one in scores], int), last=last, average=average)
