"""Which frames a network sees, against the plainest definition: for each tick the frame nearest in time."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.video.frame import Decoded
from everyframe.video.sampling import as_fps, sample

NTSC = Fraction(30_000, 1001)


def at(times: list[Fraction], duration: Fraction | int = 0) -> list[Decoded]:
    return [Decoded(None, pts, Fraction(duration), i) for i, pts in enumerate(times)]


def steady(rate: Fraction | int, count: int, digits: int | None = None) -> list[Decoded]:
    gap = 1 / Fraction(rate)
    times = [i * gap if digits is None else Fraction(round(i * gap, digits)) for i in range(count)]
    return at(times, gap)


def chosen(frames: list[Decoded], **how: object) -> list[int]:
    return [frame.index for frame in sample(frames, **how)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fps", "fraction"),
    [
        (29.97, NTSC), (30000 / 1001, NTSC), (23.976, Fraction(24_000, 1001)), (23.98, Fraction(24_000, 1001)),
        (59.94, Fraction(60_000, 1001)), (30, 30), (30.0, 30), (25.0, 25), (12.5, Fraction(25, 2)), (15, 15), (7.5,
        Fraction(15, 2)), (0.5, Fraction(1, 2)), (1 / 3, Fraction(1, 3)), (4.995, Fraction(999, 200)),
    ],
)  # fmt: skip
def test_a_frame_rate_is_the_fraction_that_is_meant(fps: float, fraction: Fraction) -> None:
    assert as_fps(fps) == fraction


@pytest.mark.parametrize(
    ("rate", "count", "fps", "expected"),
    [
        (30, 6, 30, [0, 1, 2, 3, 4, 5]),
        (30, 6, 15, [0, 2, 4]),
        (30, 5, 15, [0, 2, 4]),
        (10, 3, 30, [0, 0, 1, 1, 1, 2, 2, 2, 2]),  # 1/30 is nearer to 0, 2/30 to 1/10
        (25, 5, 10, [0, 2]),  # the tie at 0.1 s goes to the earlier frame
        (NTSC, 4, 29.97, [0, 1, 2, 3]),
        (60, 7, 30, [0, 2, 4, 6]),
    ],
)
def test_small_cases(rate: Fraction | int, count: int, fps: float, expected: list[int]) -> None:
    assert chosen(steady(rate, count), fps=fps) == expected


def test_no_rate_gives_every_frame_and_every_n_each_nth() -> None:
    assert chosen(steady(30, 5)) == [0, 1, 2, 3, 4]
    assert chosen(steady(30, 8), every_n=3) == [0, 3, 6]


def test_equal_rates_give_each_frame_once_even_if_timestamps_are_rounded_to_milliseconds() -> None:
    for rate in (24, 25, 30, 60, NTSC, Fraction(24_000, 1001)):
        assert chosen(steady(rate, 3000, digits=3), fps=float(rate)) == list(range(3000))


def test_ten_minutes_of_ntsc_sampled_at_30_does_not_drift() -> None:
    count = 18_000
    picked = chosen(steady(NTSC, count), fps=30)
    assert len(picked) == pytest.approx(count * 1001 / 1000, abs=1)
    assert all(
        abs(Fraction(tick, 30) - index / NTSC) <= 1 / NTSC / 2 for tick, index in enumerate(picked[::97]) for tick in [tick * 97]
    )


@settings(max_examples=200, deadline=None)
@given(
    gaps=st.lists(st.integers(1, 400), min_size=1, max_size=40),
    fps=st.sampled_from([5, 7.5, 10, 15, 24, 25, 29.97, 30, 60]),
)
def test_each_tick_gets_the_frame_nearest_in_time(gaps: list[int], fps: float) -> None:
    times = [Fraction(sum(gaps[:i]), 1000) for i in range(len(gaps) + 1)]
    picked = chosen(at(times), fps=fps)
    for tick, index in enumerate(picked):
        when = tick / as_fps(fps)
        nearest = min(range(len(times)), key=lambda i: (abs(times[i] - when), i))
        assert index == nearest
    assert len(picked) > times[-1] * as_fps(fps) - 1, "the ticks reach the last frame"


def test_a_live_source_that_stalls_is_not_filled_with_repeats() -> None:
    times = [Fraction(i, 30) for i in range(10)] + [Fraction(9) + Fraction(i, 30) for i in range(10)]
    assert chosen(at(times), fps=15, live=True) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert len(chosen(at(times), fps=15)) > 100, "a file keeps its time"


def test_a_live_frame_is_given_out_without_waiting_for_the_next() -> None:
    seen: list[int] = []

    def camera() -> object:
        for frame in steady(30, 8):
            seen.append(frame.index)
            yield frame

    for frame in sample(camera(), fps=15, live=True):  # type: ignore[arg-type]
        assert frame.index == seen[-1]


def test_no_frames_give_none() -> None:
    assert chosen([], fps=30) == []
