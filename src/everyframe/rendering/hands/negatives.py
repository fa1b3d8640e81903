"""What a hand does that must be recognized as nothing. Each is `act(script)`; it ends where the hand happens to be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from everyframe.rendering.hands.motions import RATE, Script, between


def away(script: Script) -> None:
    """Out of view."""
    script.go(
        (script.at[0] + script.rng.normal(0, 0.2), script.view[1] + 0.4),
        between(script.rng, 0.2, 1.2),
        bow=script.rng.normal(0, 0.2),
    )
    script.hold(script.rng.uniform(0.3, 1.5))


def enter(script: Script) -> None:
    """Comes in, at any pace, stops, stays. The most common thing hands do."""
    rng, (wide, high) = script.rng, script.view
    side = rng.choice(["below", "left", "right", "here"], p=[0.45, 0.2, 0.2, 0.15])
    outside = {
        "below": (rng.uniform(-0.5, 0.5), high + 0.3),
        "left": (-wide - 0.3, rng.uniform(-0.2, 0.4)),
        "right": (wide + 0.3, rng.uniform(-0.2, 0.4)),
        "here": tuple(script.at),
    }[side]
    if side != "here":
        script.at = np.array(outside)  # it was never seen, so it may begin anywhere
    script.approach(script.inside(0.15), curl=rng.choice([0.0, 0.3, 1.0]))
    script.hold(rng.uniform(0.3, 1.6))


def rest(script: Script) -> None:
    script.hold(script.rng.uniform(0.5, 2.5), tremor=script.rng.choice([0.001, 0.005, 0.012]))


def drift(script: Script) -> None:
    """The way of a swipe at less than half of its speed."""
    target = script.inside()
    distance = float(np.hypot(*(target - script.at)))
    script.go(target, max(0.9, distance / (script.quick * script.rng.uniform(0.2, 0.55))), bow=script.rng.normal(0, 0.2))


def fist(script: Script) -> None:
    """Opens and closes."""
    for _ in range(script.rng.integers(1, 4)):
        script.go(script.at + script.rng.normal(0, 0.01, 2), script.rng.uniform(0.2, 0.6), curl=float(script.curl < 0.5))
        script.hold(script.rng.uniform(0.05, 0.4))


def point(script: Script) -> None:
    """To a place and back, slowly or with a jab."""
    home = script.at.copy()
    script.go(
        script.at + script.rng.normal(0, min(0.09, 0.75 * script.size), 2),
        script.rng.uniform(0.2, 0.5),
        scale=script.rng.uniform(0.8, 1.2),
        curl=0.6,
    )
    script.hold(script.rng.uniform(0.2, 0.8))
    script.go(home, script.rng.uniform(0.3, 0.7), scale=1.0, curl=0.0)


def push_pull(script: Script) -> None:
    """Towards the camera or away from it: the size changes, the place hardly."""
    for _ in range(script.rng.integers(1, 3)):
        script.go(
            script.at + script.rng.normal(0, 0.04, 2),
            script.rng.uniform(0.25, 0.8),
            scale=script.rng.choice([0.6, 0.75, 1.0, 1.4, 1.8]),
        )
        script.hold(script.rng.uniform(0.1, 0.5))


def partial(script: Script) -> None:
    """A stroke that is given up: short."""
    angle = script.rng.choice([0, 0.5, 1, 1.5]) * np.pi + script.rng.normal(0, 0.3)
    step = np.array([np.cos(angle), np.sin(angle)]) * script.rng.uniform(0.03, max(0.06, 0.7 * script.size))
    script.go(np.clip(script.at + step, -0.6, 0.6), script.rng.uniform(0.15, 0.5))
    script.hold(script.rng.uniform(0.1, 0.8))


def oscillate(script: Script) -> None:
    """Scratching, typing, stirring, fidgeting: quick, small, along any direction."""
    n = round(script.rng.uniform(0.6, 2.0) * RATE)
    t = np.arange(n) / RATE
    angle = script.rng.uniform(0, np.pi)
    size = script.rng.uniform(0.03, 0.2) * script.size
    if abs(np.sin(angle)) > 0.8:
        size *= script.rng.uniform(1, 3)  # up and down may be larger: it is not how one waves
    swing = size * np.sin(
        2 * np.pi * script.rng.uniform(1.5, 6) * t + script.rng.normal(0, 0.4) * np.cumsum(script.rng.normal(0, 0.3, n))
    )
    gate = np.sin(2 * np.pi * script.rng.uniform(0.3, 1.2) * t) > -0.4
    script.add(script.at + (swing * gate)[:, None] * np.array([np.cos(angle), np.sin(angle)]))


def to_face(script: Script) -> None:
    """Scratches, drinks, adjusts glasses: up to where heads are, busy there, down again."""
    rng = script.rng
    script.go(
        (rng.normal(0, 0.12), rng.uniform(-0.25, 0.05)),
        between(rng, 0.2, 1.1),
        bow=rng.normal(0, 0.2),
        curl=rng.choice([0.2, 0.7, 1.0]),
    )
    oscillate(script)
    script.go(
        (rng.normal(0, 0.25), script.view[1] + rng.uniform(-0.1, 0.3)),
        between(rng, 0.25, 1.2),
        bow=rng.normal(0, 0.2),
        curl=0.2,
    )


def signing(script: Script) -> None:
    """Talking hands: one way-point after another without rest, in every direction, changing shape."""
    rng = script.rng
    center = script.inside(0.25)
    radius = float(np.clip(rng.uniform(0.5, 2.3) * script.size, 0.04, 0.28))
    for _ in range(rng.integers(3, 9)):
        target = center + rng.normal(0, 1, 2) * radius * (1, 0.8)
        distance = float(np.hypot(*(target - script.at)))
        script.go(
            target,
            max(0.14, distance / rng.uniform(0.4, 1.9)),
            bow=rng.normal(0, 0.4),
            tilt=rng.normal(0, 0.5),
            curl=rng.random(),
            scale=float(np.clip(script.scale + rng.normal(0, 0.1), 0.75, 1.3)),
        )
        if rng.random() < 0.25:
            script.hold(rng.uniform(0.05, 0.3))


def raise_and_lower(script: Script) -> None:
    """Up from below, a moment, down again: neither a swipe up nor down."""
    rng = script.rng
    script.at = np.array([rng.uniform(-0.5, 0.5), script.view[1] + 0.25])
    script.approach((script.at[0] + rng.normal(0, 0.1), rng.uniform(-0.25, 0.25)))
    script.hold(rng.uniform(0.15, 1.2))
    script.approach((script.at[0] + rng.normal(0, 0.15), script.view[1] + 0.3))
    script.hold(rng.uniform(0.2, 0.8))


def show(script: Script) -> None:
    """Up from where the hand rests, a sign or two with the fingers, towards the camera or not, and down to rest again."""
    rng = script.rng
    if rng.random() < 0.7:
        script.lie_down(rng.uniform(0.05, 0.8))
    script.approach(script.inside(0.2), curl=rng.choice([0.0, 0.5, 1.0]))
    script.hold(rng.uniform(0.05, 0.7))
    for _ in range(rng.integers(0, 3)):
        (fist, point, push_pull)[rng.integers(3)](script)
    script.hold(rng.uniform(0.05, 0.8))
    script.lie_down(rng.uniform(0.05, 0.8))


def reach(script: Script) -> None:
    """For a thing somewhere: there at the pace of a stroke, the hand closes on it, and it comes back or stays with it."""
    rng = script.rng
    begin = script.at.copy()
    script.approach(np.clip(script.inside(0.0) * (1.3, 1.2), -0.75, 0.6), 0.9, curl=0.2)
    script.go(script.at + rng.normal(0, 0.01, 2), rng.uniform(0.15, 0.5), curl=1.0)
    script.hold(rng.uniform(0.05, 0.6))
    if rng.random() < 0.7:
        script.approach(begin + rng.normal(0, 0.06, 2))


# share of each among negatives
NEGATIVES: tuple[tuple[Callable[[Script], None], float], ...] = (
    (away, 2),
    (enter, 5),
    (rest, 2),
    (drift, 3),
    (fist, 2),
    (point, 2),
    (push_pull, 2),
    (partial, 2),
    (oscillate, 3),
    (to_face, 3),
    (signing, 5),
    (raise_and_lower, 3),
    (show, 5),
    (reach, 3),
)


def any_negative(script: Script) -> None:
    """One of them, by share."""
    weights = np.array([weight for _, weight in NEGATIVES], float)
    NEGATIVES[script.rng.choice(len(NEGATIVES), p=weights / weights.sum())][0](script)
