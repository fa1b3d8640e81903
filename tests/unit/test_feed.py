"""Frames of one's own: whatever their rate, jitter and order, the network sees what it would see of a file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import everyframe
import handmade
from everyframe.errors import SourceError, StateError, UsageError
from everyframe.modelfile.schema import EventRule
from everyframe.runtime.handed import Pace, PaceWarning
from everyframe.runtime.program import Program


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """10 frames a second; says at which frame it is bright."""
    rule = EventRule(background="medium", threshold=0.6, refractory_s=0.1, rearm=0.3)
    path = handmade.brightness_step(tmp_path_factory.mktemp("m") / "s.onnx", window=1, events=rule)
    with everyframe.open(path, engine="ort") as opened:
        yield opened


def level(at_s: float) -> np.ndarray:
    """Brightens slowly, so that the logits tell which frame was seen."""
    return handmade.picture(int(40 * at_s) % 256)


def heard(predictions: Any) -> list[tuple[int, float]]:
    return [(p.frame, round(p.pts_s, 6)) for p in predictions]


RATES = [5, 10, 12.5, 24, 25, 29.97, 30, 50, 60]


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("start_s", [0, 1e6])
def test_push_counts_at_the_models_rate_whatever_the_sources_is(program: Program, fps: float, start_s: float) -> None:
    times = [start_s + i / fps for i in range(round(6 * fps))]
    with program.stream() as stream:
        got = [p for t in times if (p := stream.push(level(t - start_s), pts_s=t))]
    if fps >= 10:
        assert len(got) == pytest.approx(60, abs=1)
        assert all(abs(p.pts_s - start_s - p.frame / 10) <= 0.5 / fps + 1e-6 for p in got)
    else:
        assert got[-1].frame == pytest.approx(60, abs=2), "frames of a slower source are repeated"


@pytest.mark.parametrize("fps", RATES)
def test_frames_with_times_give_what_the_file_gives(program: Program, tmp_path: Path, fps: float) -> None:
    from everyframe.video.sampling import as_fps

    pictures = [level(i / fps) for i in range(30)]
    path = handmade.write_video(tmp_path / "v.mkv", pictures, rate=as_fps(fps), codec="ffv1", pix_fmt="bgr0")
    wanted = [(p.frame, round(p.pts_s, 2), p.logits.tolist()) for p in program.predict(path)]
    for ways in ({"fps": fps}, {"pts": [i / fps for i in range(30)]}):
        got = [(p.frame, round(p.pts_s, 2), p.logits.tolist()) for p in program.predict(iter(pictures), **ways)]
        assert [g[0] for g in got] == [w[0] for w in wanted]
        np.testing.assert_allclose([g[1] for g in got], [w[1] for w in wanted], atol=0.011)
        assert [g[2] for g in got] == [w[2] for w in wanted]


def test_jitter_doubled_and_missing_frames(program: Program) -> None:
    rng = np.random.default_rng(0)
    times = [i / 30 + rng.uniform(-0.01, 0.01) for i in range(300)]
    times = sorted(t for i, t in enumerate(times) if i % 17 and i not in range(100, 112))  # a gap of 0.4 s
    times = sorted(times + times[::13])
    with program.stream() as stream:
        got = [p for t in times if (p := stream.push(level(t), pts_s=t))]
    assert got[-1].frame == pytest.approx(100, abs=1)
    assert all(abs(p.pts_s - times[0] - p.frame / 10) < 0.25 for p in got)


def test_a_stall_is_skipped_and_a_clock_set_back_goes_on(program: Program) -> None:
    with program.stream() as stream:
        times = [i / 30 for i in range(30)] + [100 + i / 30 for i in range(30)] + [5 + i / 30 for i in range(30)]
        got = [p for t in times if (p := stream.push(level(0), pts_s=t))]
    assert len(got) == pytest.approx(30, abs=2)
    assert got[-1].pts_s == pytest.approx(5.95, abs=0.1)


def test_no_event_of_a_repeated_frame_is_lost(program: Program) -> None:
    """A source of 2 frames a second gives five steps a frame; the event comes in one of them."""
    with program.stream() as stream:
        got = [p for i, v in enumerate((128, 128, 250, 128, 5)) if (p := stream.push(handmade.picture(v), pts_s=i / 2))]
    assert [p.event.label for p in got if p.event] == ["bright", "dark"]


def test_bgr(program: Program, tmp_path: Path) -> None:
    blue = np.zeros((48, 64, 3), np.uint8)
    blue[..., 2] = 255
    with program.stream() as a, program.stream() as b:
        one, two = a.push(blue, 0.0), b.push(blue[..., ::-1], 0.0, bgr=True)
        assert one and two and one.logits.tolist() == two.logits.tolist()


class Capture:
    """As cv2.VideoCapture."""

    def __init__(self, frames: list[np.ndarray], fps: float) -> None:
        self.frames, self.fps = list(frames), fps

    def isOpened(self) -> bool:
        return True

    def get(self, which: int) -> float:
        return self.fps if which == 5 else 0.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        return (True, self.frames.pop(0)) if self.frames else (False, None)


def test_every_kind_of_iterator(program: Program) -> None:
    pictures = [level(i / 30) for i in range(90)]

    async def coming() -> AsyncIterator[np.ndarray]:
        for each in pictures:
            yield each

    async def collected() -> list[tuple[int, float]]:
        found = program.predict(coming(), fps=30)
        return heard([p async for p in found])  # type: ignore[attr-defined]

    wanted = heard(program.predict(iter(pictures), fps=30))
    assert [frame for frame, _ in wanted] == list(range(30))
    assert heard(program.predict(np.stack(pictures), fps=30)) == wanted
    assert heard(program.predict(pictures, pts=(Fraction(i, 30) for i in range(90)))) == wanted
    assert heard(program.predict(Capture(pictures, 30.0))) == wanted
    assert asyncio.run(collected()) == wanted
    assert heard(program.predict(pictures, fps=30, max_frames=7)) == wanted[:7]
    assert heard(program.predict(pictures, fps=30, seconds=1)) == wanted[:10]


def test_frames_that_come_one_by_one_are_timed_as_they_arrive(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [50.0]
    monkeypatch.setattr("everyframe.runtime.feed.time.monotonic", lambda: now[0])

    def camera() -> Iterator[np.ndarray]:
        for i in range(60):
            yield level(i / 30)
            now[0] += 1 / 30

    got = heard(program.predict(camera()))
    assert len(got) == 20 and got[-1][1] == pytest.approx(1.9, abs=0.05)


@pytest.mark.parametrize(("fps", "warned"), [(30, True), (10, False), (11, False), (5, True), (500, False)])
def test_push_without_times_says_that_the_clock_disagrees(fps: float, warned: bool) -> None:
    now = [0.0]
    pace = Pace(10, lambda: now[0])
    with pytest.warns(PaceWarning, match="pts_s") if warned else pytest.raises(ZeroDivisionError):
        for _ in range(5000):
            pace.beat()
            now[0] += 1 / fps
        assert warned or 1 / 0


@pytest.mark.parametrize(
    ("source", "ways", "error", "message"),
    [
        (None, {}, UsageError, "neither a video nor frames"),
        (True, {}, UsageError, "neither a video nor frames"),
        (2.5, {}, UsageError, "neither a video nor frames"),
        (b"v.mp4", {}, UsageError, "neither a video nor frames"),
        ("missing.mp4", {}, SourceError, "no such video"),
        ([level(0)], {}, UsageError, "how fast"),
        (np.zeros((3, 48, 64, 3), np.uint8), {}, UsageError, "how fast"),
        ([level(0)], {"fps": 30, "pts": [0.0]}, UsageError, "fps or pts"),
        ([level(0)], {"fps": -1}, UsageError, "frame rate"),
        ([level(0)], {"fps": "fast"}, UsageError, "frame rate"),
        ([level(0), level(0)], {"pts": [0.0]}, UsageError, "fewer times"),
        ([level(0)], {"pts": ["now"]}, StateError, "not a time"),
        ([None], {"fps": 30}, StateError, r"no frame(.|\n)*read"),
        (["a.jpg"], {"fps": 30}, StateError, "not a picture"),
        ([level(0).astype(float)], {"fps": 30}, StateError, "hold bytes"),
        ([level(0)], {"fps": 30, "stride": 2}, UsageError, "stride"),
        ([level(0)], {"fps": 30, "max_frames": 0}, UsageError, "positive"),
    ],
)
def test_what_is_wrong_is_said(program: Program, source: Any, ways: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        list(program.predict(source, **ways))


@pytest.mark.parametrize("pts", [float("nan"), float("inf"), "0.1", [0.1]])
def test_push_refuses_what_is_no_time_and_goes_on(program: Program, pts: Any) -> None:
    with program.stream() as stream:
        with pytest.raises(StateError, match="not a time"):
            stream.push(level(0), pts_s=pts)
        assert stream.push(level(0), pts_s=0.0) is not None
