"""Rendered streams: a stream is its seed; mirrors and time reversal do to labels what they do to pictures."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from everyframe.motions.render import dataset, scene
from everyframe.motions.render.motions import GESTURES, LABELS, MIRRORED, RATE, REVERSED, SWIPES, TURNS, Interval, Script
from everyframe.motions.render.negatives import NEGATIVES

MOVES = [label for label in LABELS if label in SWIPES or label in TURNS]


def path_of(label: str, seed: int) -> np.ndarray:
    """(n, 2) image path of the gesture alone, without the way there."""
    script = Script(np.random.default_rng(seed), (0.0, 0.1))
    GESTURES[label](script, label)
    (interval,) = script.intervals
    rows = np.concatenate(script.points)[:, :2]
    return rows[round(interval.start_s * RATE) : round(interval.end_s * RATE)]


def seen_as(path: np.ndarray) -> str:
    """What a path in the image is to the user, from geometry alone: signed area against straightness."""
    steps = np.diff(path, axis=0)
    way = path[-1] - path[0]
    if np.hypot(*way) > 0.8 * np.hypot(*steps.T).sum():
        x, y = way
        return ("swipe_left" if x > 0 else "swipe_right") if abs(x) > abs(y) else ("swipe_down" if y > 0 else "swipe_up")
    middle = path - path.mean(0)
    area = (middle[:-1, 0] * steps[:, 1] - middle[:-1, 1] * steps[:, 0]).sum()  # > 0: clockwise in the image, y down
    return "circle_counterclockwise" if area > 0 else "circle_clockwise"


@pytest.mark.parametrize("label", MOVES)
def test_paths_mean_what_their_label_says_to_the_user(label: str) -> None:
    for seed in range(20):
        path = path_of(label, seed)
        assert seen_as(path) == label
        assert seen_as(path * (-1, 1)) == MIRRORED[label], "mirror"
        assert seen_as(path[::-1]) == REVERSED[label], "time reversal"


def test_wave_changes_direction_several_times() -> None:
    for seed in range(20):
        x = path_of("wave", seed)[:, 0]
        turns = (np.diff(np.sign(np.diff(x[np.abs(np.gradient(x)) > 1e-4]))) != 0).sum()
        assert turns >= 3


def test_streams_are_their_seed_and_splits_differ() -> None:
    one, two = (dataset.streams("train", 5, range(3), frames=20) for _ in range(2))
    assert (
        one.video.shape == (3, 20, 48, 64)
        and one.video.dtype == np.uint8
        and one.bits.shape == (3, 20)
        and one.hand.shape == (3, 20, 3)
    )
    np.testing.assert_array_equal(one.video, two.video)
    np.testing.assert_array_equal(one.bits, two.bits)
    np.testing.assert_array_equal(dataset.streams("train", 5, range(1, 2), frames=20).video[0], one.video[1])
    assert (dataset.streams("test", 5, range(3), frames=20).video != one.video).any()


def test_the_rendered_hand_moves_as_the_path_does() -> None:
    style = scene.Style(sparse=True, person=False, anchor="below", size=0.12)
    for label, (dx, dy) in SWIPES.items():
        script = Script(np.random.default_rng(1), (-dx * 0.3, -dy * 0.25))
        script.go((dx * 0.3, dy * 0.25), 0.5)
        style.clean = True
        video = scene.render(
            np.random.default_rng(2),
            script,
            np.arange(6) / 12,
            (48, 64),
            style,
            lambda people, arms: setattr(arms[0].look, "arm", False),
            lambda rng, shape: np.zeros(shape, np.float32),
        ).astype(float)
        y, x = np.mgrid[:48, :64]
        first, last = ([(f * g).sum() / f.sum() for g in (x, y)] for f in (video[0], video[-1]))
        moved = np.subtract(last, first)
        assert np.sign(moved[np.argmax(np.abs(moved))]) == (dx or dy), label
        assert np.argmax(np.abs(moved)) == (0 if dx else 1), label


def test_other_sizes_and_every_negative() -> None:
    stream = scene.random_stream(np.random.default_rng(0), frames=4, size=(96, 128))
    assert stream.video.shape == (4, 96, 128)
    for act, _ in NEGATIVES:
        script = Script(np.random.default_rng(3), (0.0, 0.0))
        act(script)
        assert script.seconds > 0 and not script.intervals and np.isfinite(np.concatenate(script.points)).all()


def test_targets_go_from_either_to_sure_to_either_to_none() -> None:
    bits = dataset.targets([Interval("wave", 1.0, 2.0, 3.0)], 60, 12.0)
    wave = 1 << LABELS.index("wave")
    changes = [int(bits[0]), *(int(b) for a, b in itertools.pairwise(bits) if a != b)]
    assert changes == [1, wave | 1, wave, wave | 1, 1]


def test_mirroring_twice_is_nothing() -> None:
    batch = dataset.streams("train", 0, range(4), frames=24)
    once = dataset.mirrored(batch.video, batch.bits, batch.hand)
    twice = dataset.mirrored(*once)
    for a, b in zip(twice, (batch.video, batch.bits, batch.hand), strict=True):
        np.testing.assert_array_equal(a, b)
    left, right = (np.uint8(1 << LABELS.index(label)) for label in ("swipe_left", "swipe_right"))
    assert dataset.MIRROR_BITS[left | 1] == right | 1


def test_single_streams_hold_one_gesture() -> None:
    for label in LABELS[1:]:
        batch = dataset.streams("test", 9, range(3), frames=48, label=label, negative=False, single=True)
        assert all([i.label for i in intervals] == [label] for intervals in batch.intervals)
