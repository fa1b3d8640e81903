"""What is true of clips, as a model would say it: by its labels or quantities, in its order; of frames, of those that it sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from everyframe.data.truths import EachFrame, Labeled, Labels, Name, Spans, Truth, Values
from everyframe.errors import SourceError, UsageError
from everyframe.evaluation.match import Matched, match
from everyframe.runtime.prediction import name_and_unit

NOTHING = -1  # the label of a frame about which nothing is said
BACKGROUND = "background"


@dataclass(frozen=True)
class Fitted:
    """matched: labels of both sides. at: a name of the data -> its place among the model's, -1 where there is none. task: the
    model's.
    """

    task: str
    matched: Matched
    at: Mapping[Name, int]
    background: int = NOTHING

    def truth(self, one: Labeled, frames: int = 1, rate: float = 1.0) -> np.ndarray:
        """(classes,) bool; (classes,) float, NaN where it is not given; or (frames,) labels of frames that come `rate` times a
        second.
        """
        return _MAKERS[type(one.truth)](self, one.truth, frames, rate)

    def _labels(self, truth: Labels, frames: int, rate: float) -> np.ndarray:
        made = np.zeros(len(self.matched.labels), bool)
        made[[at for name in truth.there if (at := self.at[name]) >= 0]] = True
        return made

    def _values(self, truth: Values, frames: int, rate: float) -> np.ndarray:
        made = np.full(len(self.matched.labels), np.nan)
        for name, value in truth.by.items():
            if (at := self.at.get(name, -1)) >= 0:
                made[at] = value
        return made

    def _each(self, truth: EachFrame, frames: int, rate: float) -> np.ndarray:
        # annotated at the source's rate, seen at the model's
        rows = ((np.arange(frames) + 0.5) * len(truth.labels) / frames).astype(int)
        return np.array([self.at[name] for name in truth.labels], int)[rows]

    def _spans(self, truth: Spans, frames: int, rate: float) -> np.ndarray:
        made, times = np.full(frames, self.background), np.arange(frames) / rate
        for begin, end, name in truth.parts:
            made[(times >= begin) & (times < end)] = self.at[name]
        return made


_MAKERS: Mapping[type, Callable[..., np.ndarray]] = {
    Labels: Fitted._labels,
    Values: Fitted._values,
    EachFrame: Fitted._each,
    Spans: Fitted._spans,
}


def fit(
    clips: Sequence[Labeled],
    task: str,
    labels: Sequence[str] | None,
    classes: int | None,
    renamed: Mapping[str, str] | None = None,
) -> Fitted:
    """labels: the model's; None: it has none. renamed: data label -> model label. Raises UsageError where nothing fits."""
    names = {name: one for one in reversed(clips) for name in _names(one.truth)}
    words = sorted(name for name in names if isinstance(name, str))
    numbers = [name for name in names if isinstance(name, int)]
    if task == "regress":
        return _quantities(names, labels, classes, renamed)
    if numbers and words:
        raise SourceError("Some labels are numbers and some are names.", where=names[words[0]].place, got=words[0])
    if numbers:
        count = len(labels) if labels is not None else classes or max(numbers) + 1
        if odd := [number for number in numbers if number >= count]:
            raise SourceError(
                "This label is none of the model's.", where=names[odd[0]].place, expected=f"0 to {count - 1}", got=odd[0],
                hint="name the classes of numbers that begin elsewhere: --classes FILE",
            )  # fmt: skip
        own = tuple(labels) if labels is not None else tuple(f"class {i}" for i in range(count))
        return _background(Fitted(task, Matched(own, ()), {number: number for number in numbers}))
    matched = match(words, labels, classes, renamed)
    return _background(Fitted(task, matched, dict(zip(words, matched.index, strict=True))))


def _background(made: Fitted) -> Fitted:
    """Frames in no span are what the model calls background, if it does."""
    places = [i for i, label in enumerate(made.matched.labels) if label.casefold() == BACKGROUND]
    return replace(made, background=places[0]) if places else made


def _names(truth: Truth) -> list[Name]:
    if isinstance(truth, Labels):
        return list(truth.there)
    if isinstance(truth, EachFrame):
        return list(dict.fromkeys(truth.labels))
    return list(truth.by) if isinstance(truth, Values) else [name for *_, name in truth.parts]


def _quantities(
    names: Mapping[Name, Labeled], labels: Sequence[str] | None, classes: int | None, renamed: Mapping[str, str] | None
) -> Fitted:
    """By name, without units; by place where the data or the model has no names; the only one of both is the same."""
    words = [name for name in names if isinstance(name, str)]
    count = len(labels) if labels is not None else classes or len(names)
    own = tuple(labels) if labels is not None else tuple(words if len(words) == count else (f"value {i}" for i in range(count)))
    if len(names) == 1 and count == 1:
        return Fitted("regress", Matched(own, (0,)), {next(iter(names)): 0})
    if not words:
        if set(names) != set(range(count)):
            raise UsageError(
                "The data has another number of quantities a clip than the model, and no names for them.",
                expected=", ".join(own), got=len(names), hint="write a first line that names the columns",
            )  # fmt: skip
        return Fitted("regress", Matched(own, ()), {number: int(number) for number in names})
    bare = {label: name_and_unit(label)[0] for label in own}
    units = {name: name_and_unit(name)[0] for name in words}
    known = {data: bare.get(model, model) for data, model in (renamed or {}).items()}
    matched = match([known.get(name, units[name]) for name in words], tuple(bare.values()), count)
    left = tuple(name for name, at in zip(words, matched.index, strict=True) if at < 0)
    right = tuple(label for i, label in enumerate(own) if i not in matched.index)
    matched = replace(matched, labels=own, data_only=left, model_only=right)
    return Fitted("regress", matched, dict(zip(words, matched.index, strict=True)))
