"""What a network says about the newest frame."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from everyframe.errors import EngineError
from everyframe.modelfile.schema import Scores, Task

if TYPE_CHECKING:
    from everyframe.runtime.events import Alert, Event

#: from which score on a label of several that may be there at the same time is shown
THRESHOLD = 0.5
_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Top:
    label: str
    index: int
    score: float


@dataclass(frozen=True, slots=True)
class Value:
    """A quantity: `angle (deg)` among the labels is the name angle in the unit deg."""

    name: str
    index: int
    value: float
    unit: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """frame: number of the newest frame that went in, counted as the network saw them (after sampling). pts_s: its
    time in the source. task: what the network's answer is (`modelfile.schema.Task`). scores: of the classes, (classes,)
    float32: probabilities, softmax of one of several and sigmoid of any of several; the quantities themselves of a regression.
    logits: what they are made of; of a network that says probabilities, their logarithms. top: the best classes, best first; of
    any of several those above the program's threshold, which may be none. values: the quantities of a regression.
    frames: (m, classes), the scores of the m frames that a step answered one by one, oldest first; None for one answer a step.
    outputs: what the network says beside, by name, frames first; read as its own task says.
    event: set in the step in which a motion is recognized, for models with an event rule. latency_ms: from having the frames to
    having this. source_frame: the newest frame's number in the file; source: the file. Both None for frames that were
    handed over. steady: the label to show, where the program has a rule for one; scores and logits are then means of some steps.
    alert: set where somebody looks for one (`runtime.alerts`) and it is raised now.
    """

    frame: int
    pts_s: float
    scores: np.ndarray
    logits: np.ndarray
    top: tuple[Top, ...]
    event: Event | None = None
    latency_ms: float = 0.0
    source_frame: int | None = None
    source: str | None = None
    steady: Top | None = None
    task: Task = "classify"
    values: tuple[Value, ...] = ()
    frames: np.ndarray | None = None
    outputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    alert: Alert | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: frame, pts_s, top [{label, index, score}] or, of a regression, values [{name, value, unit}],
        and event, frames and outputs where there are any.
        """
        result: dict[str, Any] = {"frame": self.frame, "pts_s": round(self.pts_s, 6)}
        if self.task == "regress":
            result["values"] = [
                {"name": v.name, "index": v.index, "value": v.value} | ({"unit": v.unit} if v.unit else {}) for v in self.values
            ]
        else:
            result["top"] = [{"label": t.label, "index": t.index, "score": round(t.score, 6)} for t in self.top]
        if self.steady is not None:
            result["steady"] = {"label": self.steady.label, "index": self.steady.index, "score": round(self.steady.score, 6)}
        if self.event is not None:
            event = self.event
            result["event"] = {
                "label": event.label, "index": event.index, "score": round(float(event.score), 6), "pts_s":
                round(event.pts_s, 6),
            }  # fmt: skip
        if self.alert is not None:
            result["alert"] = self.alert.to_dict()
        if self.frames is not None:
            result["frames"] = np.round(self.frames.astype(float), 6).tolist()
        if self.outputs:
            result["outputs"] = {name: np.round(values.astype(float), 6).tolist() for name, values in self.outputs.items()}
        return result


def not_finite(values: np.ndarray, what: str, where: str, pictures: bool) -> EngineError:
    """pictures: what goes in is always finite."""
    cause = "a state that grows without end, a division by 0" if pictures else "NaN in the frames"
    return EngineError(
        "The network's output is not finite.", where=where,
        got=f"{int((~np.isfinite(values)).sum())} of {values.size} {what} are NaN or infinite",
        hint=f"look for {cause}; after that the stream's memory is spoilt: reset it",
    )  # fmt: skip


def softmax(logits: np.ndarray, axis: int = -1) -> np.ndarray:
    """In float32."""
    powers = np.exp(logits.astype(np.float32) - np.max(logits, axis=axis, keepdims=True))
    made: np.ndarray = powers / powers.sum(axis=axis, keepdims=True)
    return made


def sigmoid(logits: np.ndarray, axis: int = -1) -> np.ndarray:
    """In float32; no logit is too large for it."""
    made: np.ndarray = 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float32)))
    return made


def _same(values: np.ndarray, axis: int = -1) -> np.ndarray:
    return values


def _log(scores: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(np.maximum(scores, _LEAST)))


def _log_odds(scores: np.ndarray) -> np.ndarray:
    return np.asarray(_log(scores) - _log(1 - scores))


#: of logits: what makes probabilities of them. Of probabilities: what makes logits of them
_SCORES: Mapping[Task, Callable[..., np.ndarray]] = MappingProxyType(
    {"classify": softmax, "frames": softmax, "multilabel": sigmoid, "regress": _same, "enhance": _same, "detect": sigmoid}
)
_LOGITS: Mapping[Task, Callable[[np.ndarray], np.ndarray]] = MappingProxyType(
    {"classify": _log, "frames": _log, "multilabel": _log_odds, "regress": _same, "enhance": _same, "detect": _log_odds}
)


def read(answer: np.ndarray, task: Task, said: Scores, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """(scores, logits) of what a network answered, (n, classes) or maps (n, classes, H, W). said: what the network gives.
    temperature: what logits are divided by to become scores; of quantities and of probabilities nothing is.
    """
    if said == "probabilities":
        return answer, _LOGITS[task](answer)
    divided = answer if temperature == 1 or task == "regress" else answer / np.float32(temperature)
    return _SCORES[task](divided, axis=1 if answer.ndim > 2 else -1), answer


def temperature(logits: np.ndarray, wanted: np.ndarray) -> float:
    """By what logits (n, classes) are to be divided so that their softmax is nearest to the chances that are wanted of it, in the
    same shape: the least cross-entropy, between 1/20 and 20. It is convex in 1/T, so a search by thirds finds it.
    """
    logits = logits.astype(np.float64)

    def surprise(inverse: float) -> float:
        scaled = logits * inverse
        top = scaled.max(axis=1)
        total = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        return float((total - (wanted * scaled).sum(axis=1)).mean())

    low, high = 1 / 20, 20.0
    for _ in range(80):
        third = (high - low) / 3
        if surprise(low + third) <= surprise(high - third):
            high -= third
        else:
            low += third
    return 2 / (low + high)


def best(scores: np.ndarray, labels: Sequence[str], count: int, least: float | None = None) -> tuple[Top, ...]:
    """The `count` highest of scores (classes,), best first, the lower index first in a tie. least: only those that reach it."""
    order = np.argsort(-scores, kind="stable")[:count]
    return tuple(Top(labels[i], int(i), float(scores[i])) for i in order if least is None or scores[i] >= least)


def shares(scores: np.ndarray) -> np.ndarray:
    """(classes,): of maps (classes, H, W) the mean over all places."""
    return scores if scores.ndim == 1 else np.asarray(scores.reshape(len(scores), -1).mean(axis=1))


def quantities(values: np.ndarray, labels: Sequence[str]) -> tuple[Value, ...]:
    """values: (classes,). Names and units as the labels have them."""
    return tuple(Value(name, i, float(values[i]), unit) for i, (name, unit) in enumerate(map(name_and_unit, labels)))


def name_and_unit(label: str) -> tuple[str, str | None]:
    """`angle (deg)` -> (angle, deg)."""
    match = re.fullmatch(r"(.+?)\s*[(\[](.+?)[)\]]", label)
    return (match[1], match[2]) if match else (label, None)
