"""One video through both networks: what is kept of it is small, so that a data set may be large."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from everyframe.data.clips import Clip
from everyframe.data.decode import pictures
from everyframe.data.views import Views, array_views, cut, views
from everyframe.errors import SourceError
from everyframe.evaluation.controls import CONDITIONS
from everyframe.evaluation.models import Pair
from everyframe.modelfile.interface import one_kind
from everyframe.recipes.training import Sampling
from everyframe.runtime.play import layout
from everyframe.runtime.prediction import Prediction
from everyframe.runtime.program import Program
from everyframe.runtime.stream import ClipStream
from everyframe.video.arrays import ArrayReader
from everyframe.video.frame import Frame
from everyframe.video.sources import ARRAYS, Source

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
    average: mean of the stream's scores. sure: the winning score of each prediction of the stream.
    """

    clip_ranks: tuple[int, ...] = ()
    video: np.ndarray | None = None
    at: np.ndarray = field(default_factory=lambda: np.empty(0, int))
    ranks: np.ndarray = field(default_factory=lambda: np.empty(0, int))
    last: np.ndarray | None = None
    average: np.ndarray | None = None
    sure: np.ndarray = field(default_factory=lambda: np.empty(0))


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
    try:
        frames, middle, size = shown(clip, pair, settings.view)
    except SourceError as error:
        return Outcome(clip, truth, error=in_one_line(error))
    played = {}
    for name in settings.conditions:
        order = order_of(name, len(frames), number, settings)
        said = Played()
        if pair.step is not None:
            said = _streamed(pair.step, middle[order], truth, settings.flush, stopped)
        if pair.clip is not None:
            clips = [one.scores for one in clip_answers(pair.clip, frames[order], size, settings, stopped)]
            said = replace(said, clip_ranks=tuple(rank(one, truth) for one in clips), video=np.mean(clips, axis=0))
        played[name] = said
    return Outcome(clip, truth, len(frames), played)


def in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def order_of(condition: str, count: int, number: int, settings: Settings) -> np.ndarray:
    """Which frame is played at each place."""
    return CONDITIONS[condition](count, np.random.default_rng((settings.seed, number)))


def shown(clip: Clip, pair: Pair, view: Views) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """(frames as clips are cut of them, what the stream sees, the size of a cut). Arrays are not cut. Raises SourceError."""
    wanted = pair.preprocess
    one_kind(pair.any.interface, pair.any.path, "an evaluation takes clips, which give one")
    if clip.path.suffix.lower() in ARRAYS:
        rows = np.stack([frame.data for frame in array_of(clip, pair)])
        return rows, rows, (rows.shape[1], rows.shape[2]) if rows.dtype == np.uint8 else (0, 0)
    if pair.fps is not None:
        raise SourceError("A video says its times itself.", where=clip.path, got=f"fps {pair.fps:g}", hint="leave it out")
    if not pair.any.interface.pictures:
        raise SourceError("This model takes arrays, not pictures.", where=clip.path, expected=".npy, .npz or .csv")
    size = wanted.crop if view in SEVERAL_CROPS else None
    frames = pictures(clip, wanted if size is None else wanted.model_copy(update={"crop": None}))  # (n, H, W, C)
    size = size or (frames.shape[1], frames.shape[2])
    (middle,) = cut(frames, size, "center")
    return frames, middle, size


def array_of(clip: Clip, pair: Pair) -> ArrayReader:
    return ArrayReader(Source("array", clip.name, (str(clip.path),)), layout(pair.any), pair.fps)


def clip_answers(
    program: Program, frames: np.ndarray, size: tuple[int, int], settings: Settings, stopped: Callable[[], bool]
) -> Iterator[Prediction]:
    """What the clip network says of each clip."""
    length = program.metadata.frames
    with ClipStream(program, stride=length) as stream:
        chosen = (
            views(frames, length, size, settings.sampling, settings.view)[0] if frames.dtype == np.uint8
            else array_views(frames, length, settings.sampling, settings.view)
        )  # fmt: skip
        for clip in chosen:
            if stopped():
                raise Stopped
            for picture in clip:
                prediction = stream.push_frame(Frame(picture, 0.0, 0))
            if prediction is not None:
                yield prediction


def stream_answers(
    program: Program, frames: np.ndarray, flush: bool, stopped: Callable[[], bool]
) -> Iterator[tuple[int, Prediction]]:
    """(frames that had arrived, what the step network said then). flush: the last frame is held, so that there may be more."""
    hop, delay = program.metadata.hop, program.metadata.feature_delay
    held = -(-(len(frames) + delay) // hop) * hop - len(frames) if flush else 0
    with program.stream() as stream:
        for number in range(len(frames) + held):
            if stopped():
                raise Stopped
            picture = frames[min(number, len(frames) - 1)]
            prediction = stream.push_frame(Frame(picture, number / program.rate, number))
            if prediction is not None:
                yield number + 1, prediction


def _streamed(program: Program, frames: np.ndarray, truth: int, flush: bool, stopped: Callable[[], bool]) -> Played:
    said = [(at, one.scores) for at, one in stream_answers(program, frames, flush, stopped)]
    within = [scores for at, scores in said if at <= len(frames)]
    return Played(
        at=np.array([at for at, _ in said[: len(within)]], int),
        ranks=np.array([rank(scores, truth) for scores in within], int),
        last=said[-1][1] if said else None,
        average=np.mean(within, axis=0) if within else None,
        sure=np.array([float(np.max(scores)) for scores in within]),
    )
