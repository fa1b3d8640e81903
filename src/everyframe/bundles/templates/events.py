"""From scores at every prediction to single events, by the model's own rule (`events` in model.json). Numpy only."""

import numpy as np


class Events:
    """An event when a label other than the background leads with `threshold` or more for `hold_steps` predictions in a row;
    then none for `refractory_s`, and none before the background's score has been `rearm` or more again.
    """

    def __init__(self, rule, labels):
        self.rule, self.background = rule, labels.index(rule["background"])
        self.armed, self.last, self.leader, self.streak = True, None, -1, 0

    def __call__(self, scores, seconds):
        """The number of the label that happened, or None. scores: (classes,), which sum to 1. seconds: of the newest frame."""
        rule = self.rule
        if scores[self.background] >= rule["rearm"]:
            self.armed = True
        leader = int(np.argmax(scores)) if np.isfinite(scores).all() else -1
        if leader < 0 or leader == self.background or scores[leader] < rule["threshold"]:
            self.leader, self.streak = -1, 0
            return None
        self.streak = self.streak + 1 if leader == self.leader else 1
        self.leader = leader
        resting = self.last is not None and seconds - self.last < rule["refractory_s"]
        if self.streak < rule["hold_steps"] or not self.armed or resting:
            return None
        self.armed, self.last = False, seconds
        return leader
