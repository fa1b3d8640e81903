"""From logits at every step to one steady label: mean over steps, labels that are never shown, no change twice in a row.

    steady = Steady(RULES["tsm"], labels)
    logits, index = steady.update(logits)      # the mean of the last steps, and the label to show

Events say that something happened, once; this says what is going on, at every step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from everyframe.errors import UsageError


@dataclass(frozen=True)
class SteadyRule:
    """steps: logits are averaged over so many. never: labels for which the last one stays. same: label -> what is shown for it.
    background: shown at the beginning.
    """

    steps: int
    never: tuple[str, ...]
    same: dict[str, str]
    background: str


RULES = {
    # the live demo of TSM on Jester
    "tsm": SteadyRule(
        steps=12,
        never=(
            "Pulling Hand In", "Rolling Hand Backward", "Rolling Hand Forward", "Turning Hand Clockwise",
            "Turning Hand Counterclockwise",
        ),
        same={"Doing other things": "No gesture"},
        background="No gesture",
    ),
}  # fmt: skip


class Steady:
    """Raises UsageError for labels that are not those of the rule."""

    def __init__(self, rule: SteadyRule, labels: Sequence[str]) -> None:
        places = {label.casefold(): i for i, label in enumerate(labels)}
        missing = [name for name in (*rule.never, *rule.same, rule.background) if name.casefold() not in places]
        if missing:
            raise UsageError(
                "The model does not have the labels that the rule is about.", where="--steady", expected=", ".join(missing),
                got=f"{len(labels)} other labels" if labels else "no labels", hint="leave --steady out, or give --labels",
            )  # fmt: skip
        self._never = {places[name.casefold()] for name in rule.never}
        self._same = {places[name.casefold()]: places[shown.casefold()] for name, shown in rule.same.items()}
        self._background = places[rule.background.casefold()]
        self._logits: deque[np.ndarray] = deque(maxlen=rule.steps)
        self.reset()

    def reset(self) -> None:
        """Back to how it was made."""
        self._logits.clear()
        self._last = self._before = self._background

    def update(self, logits: np.ndarray) -> tuple[np.ndarray, int]:
        """logits: (classes,) of a step -> the mean of the last steps, so many as there are, and the label to show."""
        self._logits.append(logits)
        mean: np.ndarray = np.stack(self._logits).mean(0, dtype=np.float64).astype(np.float32)
        best = int(np.argmax(mean))
        shown = self._same.get(best, self._last if best in self._never else best)
        if shown != self._last != self._before:  # it has only just changed
            shown = self._last
        self._before, self._last = self._last, shown
        return mean, shown
