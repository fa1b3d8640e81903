"""What a whole stream shows a hand doing: gestures with what lies between them, or nothing but negatives."""

from __future__ import annotations

import numpy as np

from everyframe.rendering.hands.motions import GESTURES, LABELS, RATE, SWIPES, Pose, Script, settle
from everyframe.rendering.hands.negatives import any_negative, away, enter


def write_gestures(
    rng: np.random.Generator,
    seconds: float,
    view: tuple[float, float],
    size: float = 0.12,
    label: str | None = None,
    single: bool = False,
) -> Script:
    """Gesture after gesture with what lies between them, until the time is filled; single: one, then nothing."""
    script = Script(rng, (rng.uniform(-0.5, 0.5), view[1] + 0.3), view, size)
    if single:
        chosen = label or str(rng.choice(LABELS[1:]))
        script.at = script.inside(0.1)
        script.hold(rng.uniform(0.2, 0.8))
        GESTURES[chosen](script, chosen)
        if chosen in SWIPES:
            settle(script)
        script.hold(max(0.5, seconds - script.seconds))
        return script
    opening = rng.choice(["enter", "visible", "rest", "negative"], p=[0.15, 0.25, 0.4, 0.2])
    if opening == "enter":
        enter(script)
    elif opening == "negative":
        any_negative(script)
    elif opening == "rest":
        script.at = script.home.copy()
        script.hold(rng.uniform(0.05, 1.5), **script.lying)
    else:
        script.at = script.inside(0.1)
        script.hold(rng.uniform(0.05, 1.0))
    while script.seconds < seconds:
        chosen = label or str(rng.choice(LABELS[1:]))
        GESTURES[chosen](script, chosen)
        if chosen in SWIPES:
            settle(script)
        else:
            script.hold(rng.uniform(0.1, 0.9))
            if rng.random() < 0.2:
                away(script)
        if rng.random() < 0.3:
            any_negative(script)
        if rng.random() < 0.4:
            script.lie_down(rng.uniform(0.1, 1.5))
    return script


def write_tight(rng: np.random.Generator, view: tuple[float, float], size: float, label: str | None = None) -> Script:
    """One gesture, cut as clips are: it begins at once or nearly so, and soon after it the clip is over."""
    chosen = label or str(rng.choice(LABELS[1:]))
    script = Script(rng, (0.0, 0.0), view, size)
    if rng.random() < 0.6:
        script.at = script.home.copy()
        script.hold(rng.uniform(0.02, 1.0), **script.lying)
    else:
        script.at = script.inside(0.1)
        script.hold(rng.uniform(0.02, 0.5))
    GESTURES[chosen](script, chosen)
    if chosen in SWIPES and rng.random() < 0.3:
        settle(script)
    elif rng.random() < 0.4:
        script.hold(rng.uniform(0.03, 0.6))
        script.lie_down(0.1)
    script.hold(rng.uniform(0.02, 0.4))
    return script


def write_negatives(
    rng: np.random.Generator, seconds: float, view: tuple[float, float], size: float = 0.12, both: bool = False
) -> Script:
    """both: what both hands do at once may be like a gesture."""
    script = Script(rng, (rng.uniform(-0.5, 0.5), view[1] + 0.3), view, size)
    if rng.random() < 0.25:
        script.hold(seconds)  # nobody's hand at all
    elif rng.random() < 0.6:
        script.at = script.inside() if rng.random() < 0.5 else script.home.copy()
    mean_nothing(script, seconds, like=both)
    return script


def mean_nothing(script: Script, seconds: float, *, like: bool) -> None:
    """Until then, what is no gesture. like: also what would be one, of somebody else."""
    while script.seconds < seconds:
        label = str(script.rng.choice(LABELS[1:]))
        if like and script.rng.random() < 0.4:
            GESTURES[label](script, label)
        else:
            any_negative(script)


def place(script: Script, times: np.ndarray) -> Pose:
    """The hand at the times, seconds."""
    rows = np.concatenate(script.points)
    at = np.clip(times * RATE, 0, len(rows) - 1)
    x, y, scale, tilt, curl, roll, fx, fy = (np.interp(at, np.arange(len(rows)), column) for column in rows.T)
    return Pose(np.stack([x, y], 1), scale, tilt, curl, roll, np.stack([fx, fy], 1))
