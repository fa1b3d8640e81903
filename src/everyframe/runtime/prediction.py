"""What a network says about the newest frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from everyframe.runtime.events import Event


@dataclass(frozen=True, slots=True)
class Top:
    label: str
    index: int
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """frame: number of the newest frame that went in, counted as the network saw them (after sampling). pts_s: its
    time in the source. scores: softmax of logits, both (classes,) float32. top: the best ones, best first. event: set
    in the step in which a motion is recognized, for models with an event rule. latency_ms: from having the frames to
    having this. source_frame: the newest frame's number in the file; source: the file. Both None for frames that were
    handed over. steady: the label to show, where the program has a rule for one; scores and logits are then means of some steps.
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

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: frame, pts_s, top [{label, index, score}], and event where there is one."""
        result: dict[str, Any] = {
            "frame": self.frame,
            "pts_s": round(self.pts_s, 6),
            "top": [{"label": t.label, "index": t.index, "score": round(t.score, 6)} for t in self.top],
        }
        if self.steady is not None:
            result["steady"] = {"label": self.steady.label, "index": self.steady.index, "score": round(self.steady.score, 6)}
        if self.event is not None:
            event = self.event
            result["event"] = {
                "label": event.label, "index": event.index, "score": round(float(event.score), 6), "pts_s":
                round(event.pts_s, 6),
            }  # fmt: skip
        return result


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, in float32."""
    powers = np.exp(logits.astype(np.float32) - np.max(logits, axis=-1, keepdims=True))
    made: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return made


def best(scores: np.ndarray, labels: Sequence[str], count: int) -> tuple[Top, ...]:
    """The `count` highest of scores (classes,), best first, the lower index first in a tie."""
    order = np.argsort(-scores, kind="stable")[:count]
    return tuple(Top(labels[i], int(i), float(scores[i])) for i in order)
