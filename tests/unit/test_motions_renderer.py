"""Rendered streams: a stream is its seed; mirrors and time reversal do to labels what they do to pictures."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from everyframe.motions import metrics
from everyframe.rendering import camera
from everyframe.rendering.hands import actors, dataset, scene
from everyframe.rendering.hands.motions import GESTURES, LABELS, MIRRORED, RATE, REVERSED, SWIPES, TURNS, Interval, Script, swipe
from everyframe.rendering.hands.negatives import NEGATIVES
from everyframe.rendering.hands.performance import place, write_negatives, write_tight

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


def kinds(label: str, size: float) -> dict[str, list[Interval]]:
    """What a gesture is like in 80 scripts of a hand of that size."""
    found: dict[str, list[Interval]] = {}
    for seed in range(80):
        script = Script(np.random.default_rng(seed), (0.0, 0.1), size=size)
        GESTURES[label](script, label)
        found.setdefault(script.intervals[0].factors["kind"], []).append(script.intervals[0])
    return found


def test_near_hands_flick_and_shake_and_far_ones_are_seen_to_move_as_a_whole() -> None:
    for label, near in (
        ("swipe_up", {"stroke", "flick"}),
        ("wave", {"arm", "wrist", "shake"}),
        ("circle_clockwise", {"hand", "fingers"}),
    ):
        assert set(kinds(label, 0.15)) == near
        assert len(kinds(label, 0.06)) == 1
    strokes, flicks = (kinds("swipe_left", 0.1)[kind] for kind in ("stroke", "flick"))
    lengths = [one.factors["amplitude"] for one in strokes]
    assert min(lengths) < 0.2 and max(lengths) > 0.6, "small and large ones"
    assert all(0.14 < one.end_s - one.start_s < 0.36 for one in flicks)
    assert all(one.start_s < one.ready_s < one.end_s for one in strokes + flicks)


def test_a_flick_turns_a_hand_across_it_and_shortens_one_along_it() -> None:
    def fingers(forward: tuple[float, float]) -> list[np.ndarray]:
        """Where the middle of the hand's ink lies before and after a flick to the right."""
        y, x = np.mgrid[-1:1:81j, -1:1:81j].astype(np.float32)
        found = []
        for flick in (-0.8, 0.8):
            way = np.array([[forward[0] + flick, forward[1]]])
            way /= max(1.0, float(np.hypot(*way[0])))
            still = np.zeros(1)
            ink = actors.hand(x[None], y[None], actors.Look(), np.zeros((1, 2)), way, np.full(1, 0.3), still, still)[0] < 0
            found.append(np.array([x[ink].mean(), y[ink].mean()]))
        return found

    for forward in ((0.0, -1.0), (1.0, 0.0)):  # up, and to the right
        before, after = fingers(forward)
        assert after[0] - before[0] > 0.05 and abs(after[1] - before[1]) < 0.05, forward


def test_a_clip_cut_tight_holds_its_last_frame() -> None:
    held = 0
    for seed in range(40):
        stream = scene.random_stream(np.random.default_rng(seed), frames=40, negative=False)
        if stream.intervals and stream.intervals[0].factors["tight"]:
            last = np.flatnonzero((stream.video != stream.video[-1]).any((1, 2)))[-1] + 1
            over = stream.intervals[0].end_s * stream.fps
            assert last >= min(len(stream.video) - 1, over - 1), "not before the gesture is over"
            assert (stream.hand[last:] == stream.hand[-1]).all()
            held += last < len(stream.video) - 1
    assert held > 3
    script = write_tight(np.random.default_rng(0), (0.667, 0.5), 0.1, "wave")
    assert [one.label for one in script.intervals] == ["wave"]


@pytest.mark.parametrize("fps", [8.0, 12.0, 60.0])
def test_a_camera_shows_what_it_took_in_order_and_not_what_is_to_come(fps: float) -> None:
    times = np.arange(60) / 12
    for seed in range(10):
        seen = camera.shown(np.random.default_rng(seed), times, fps)
        assert (np.diff(seen) >= 0).all()
        assert (seen <= times + 1.2 / fps).all() and (seen >= times - 6 / fps - 1 / 12).all()
        if fps < 12:
            assert (np.diff(seen) == 0).any(), "doubled"


def test_exposure_follows_a_change_and_comes_to_rest() -> None:
    video = np.full((60, 4, 4), 0.2, np.float32)
    video[20:] = 0.6
    bright = (video * camera.pumping(np.random.default_rng(0), video)).mean((1, 2))
    assert bright[19] == pytest.approx(0.2) and bright[20] > 0.4 and bright[59] < 0.45
    assert (np.diff(bright[20:]) <= 1e-6).all()


def test_both_hands_do_the_same_mirrored() -> None:
    rng = np.random.default_rng(0)
    script = Script(rng, (0.1, 0.1))
    script.go((0.3, 0.2), 0.5, flick=np.array([0.5, 0.2]))
    one = scene.Arm(rng, scene.Style(), script, None, 4 / 3)
    other = one.mirrored(0.4)
    times = np.arange(6) / 12
    a, b = (place(arm.script, times) for arm in (one, other))
    np.testing.assert_allclose(a.at * (-1, 1) + (0.4, 0), b.at)
    np.testing.assert_allclose(a.flick * (-1, 1), b.flick)
    assert one.look.left != other.look.left


def test_recall_is_told_for_each_range_of_a_factor() -> None:
    total = metrics.Tally()
    small, large = (Interval("swipe_up", 0.0, 0.2, 0.25, {"amplitude": way, "kind": "stroke"}) for way in (0.2, 0.9))
    total.told = [(small, False), (small, True), (large, True)]
    assert total.by("amplitude") == {"< 0.25": [1, 2], ">= 0.8": [1, 1]}
    assert total.by("amplitude", "duration") == {"< 0.25 | < 0.3": [1, 2], ">= 0.8 | < 0.3": [1, 1]}
    assert total.by("kind") == {"stroke": [2, 3]} and total.by("camera") == {}
    batch = dataset.streams("test", 0, range(12), frames=48, negative=False)
    known = [metrics.factors(one) for intervals in batch.intervals for one in intervals]
    assert known and all({"amplitude", "duration", *metrics.FACTORS} <= one.keys() for one in known)


def pace(script: Script, begin: float, end: float) -> float:
    """The greatest speed between two times, frame heights a second."""
    path = np.concatenate(script.points)[round(begin * RATE) : round(end * RATE), :2]
    return float(np.hypot(*np.diff(path, axis=0).T).max() * RATE)


def test_how_quick_a_hand_is_does_not_tell_a_stroke_from_the_way_there() -> None:
    strokes, approaches = [], []
    for seed in range(120):
        script = Script(np.random.default_rng(seed), (0.0, 0.0), size=0.12)
        script.lie_down(0.3)
        rested = script.seconds
        swipe(script, "swipe_left")
        (one,) = script.intervals
        strokes.append(pace(script, one.start_s, one.end_s))
        if one.start_s > rested + 0.1:  # some begin where they lie
            approaches.append(pace(script, rested, one.start_s))
    quicker = np.mean(np.array(approaches) > np.median(strokes))
    assert 0.4 < quicker < 0.85, "neither always slower nor always quicker"


def test_only_hands_that_are_near_enough_gesture_and_nothing_that_is_rendered_for_nothing_is_a_gesture() -> None:
    rng = np.random.default_rng(0)
    mine, others = ([scene.Style.random(rng, negative).size for _ in range(200)] for negative in (False, True))
    assert min(mine) >= scene.SMALL > min(others)
    streams = [scene.random_stream(np.random.default_rng(seed), frames=3, negative=True) for seed in range(12)]
    assert not any(stream.intervals for stream in streams)
    script = write_negatives(np.random.default_rng(3), 20, (0.667, 0.5), both=True)
    assert script.intervals, "both hands at once may do what one must not"
