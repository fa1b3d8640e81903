"""Cameras that are lost in every way come back; what a network sees of them is what a camera without losses would have shown it.

The short rounds are in the suite; `make soak` runs the long ones and holds them to their limits.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import everyframe
import handmade
from everyframe.errors import EngineError
from everyframe.live.camera import Camera, Said
from everyframe.modelfile.schema import Preprocess
from everyframe.runtime.stream import Stream
from everyframe.video import Frame, reader, supervise
from everyframe.video.supervise import Change, Gap, LiveReader
from fake_cameras import TsCamera, footprint, memory, rtsp_camera
from running import until

STALL_S = 0.5
Figure = Callable[[str], None]


class Watched:
    """A LiveReader in a thread of its own, and all that it said."""

    def __init__(self, camera: TsCamera, **options: object) -> None:
        self.said: list[Change | Gap] = []
        self.times: list[float] = []
        self.laws = True
        self.reader = LiveReader(camera.source, Preprocess(resize=(24, 32)), tell=self.said.append, **options)  # type: ignore[arg-type]
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.stop()
        self.thread.join()

    def _run(self) -> None:
        with self.reader:
            for frame in self.reader:
                self.times.append(frame.pts_s)
                captured, frames, dropped = self.reader.counts
                self.laws = self.laws and captured == frames + dropped

    def wait(self, state: str) -> float:
        """Until that is its state; seconds."""
        begun = time.monotonic()
        until(lambda: self.reader.state == state)
        return time.monotonic() - begun

    def decoder(self) -> int:
        inner = self.reader._reader
        return inner._process.pid if inner is not None else 0


def _break(camera: TsCamera, watched: Watched, how: str) -> None:
    if how in ("kill", "stop"):
        os.kill(watched.decoder(), signal.SIGKILL if how == "kill" else signal.SIGSTOP)
    else:
        camera.how = how


WAYS = {"freeze": STALL_S, "garbage": STALL_S, "fin": 0.0, "rst": 0.0, "kill": 0.0, "stop": reader.SILENCE_S}

#: in the suite
SOME = ("freeze", "fin", "kill", "stop")


def _rounds(camera: TsCamera, watched: Watched, way: str, count: int) -> tuple[list[float], list[float]]:
    """Seconds until a loss was noticed, and until there were pictures again after it was mended."""
    noticed, back = [], []
    for _ in range(count):
        watched.wait("live")
        _break(camera, watched, way)
        noticed.append(watched.wait("lost"))
        camera.how = "send"
        back.append(watched.wait("live"))
    return noticed, back


def test_every_loss_is_noticed_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Figure) -> None:
    monkeypatch.setattr(supervise, "PAUSES_S", (0.05,) * 100)
    monkeypatch.setattr(reader, "SILENCE_S", 1.0)
    before = footprint()
    with TsCamera(tmp_path) as camera, Watched(camera, stall=STALL_S, gap=0.4) as watched:
        for way in SOME:
            (noticed,), (back,) = _rounds(camera, watched, way, 1)
            figure(f"camera lost by {way}: noticed in {noticed:.2f} s, back in {back:.2f} s")
        assert watched.reader.restarts == len(SOME)
        reasons = [each.reason for each in watched.said if isinstance(each, Change) and each.state == "lost"]
        for reason, said in zip(reasons, ("sent nothing", "has ended", "SIGKILL", "not said a word"), strict=True):
            assert said in reason
        assert watched.laws and watched.times == sorted(watched.times)
        gaps = [each.seconds for each in watched.said if isinstance(each, Gap)]
        assert gaps and min(gaps) > 0.4
    assert [each.state for each in watched.said if isinstance(each, Change)][-1] == "stopped"
    until(lambda: footprint() == before)


def _beside(folder: Path, seconds: float, losses: tuple[str, ...]) -> tuple[list[float], list[float]]:
    """Frames a second of two cameras, while a third is well, and while it is lost again and again."""
    rates: list[list[float]] = []
    length = round(30 + 4 * seconds)
    with contextlib.ExitStack() as stack:
        broken, well = (stack.enter_context(TsCamera(folder, seconds=length)) for _ in range(2))
        bad = stack.enter_context(Watched(broken, stall=STALL_S))
        good = [stack.enter_context(Watched(well)) for _ in range(2)]
        for each in (bad, *good):
            each.wait("live")
        for ways in ((), losses):
            begun, before = time.monotonic(), [each.reader.captured for each in good]
            time.sleep(0 if ways else seconds)
            while ways:
                for way in ways:
                    _rounds(broken, bad, way, 1)
                if time.monotonic() - begun >= seconds:
                    break
            passed = time.monotonic() - begun
            rates.append([(each.reader.captured - one) / passed for each, one in zip(good, before, strict=True)])
        assert bad.reader.restarts >= len(losses) and all(each.reader.restarts == 0 and each.laws for each in good)
        assert not any(isinstance(said, Gap) for each in good for said in each.said)
    return rates[0], rates[1]


def test_what_one_loses_the_others_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Figure) -> None:
    monkeypatch.setattr(supervise, "PAUSES_S", (0.05,) * 100)
    monkeypatch.setattr(reader, "SILENCE_S", 1.0)
    well, beside = _beside(tmp_path, 1.0, ("freeze", "kill"))
    figure(f"two cameras: {min(well):.1f} frames a second, and {min(beside):.1f} while a third was lost twice")


def test_of_all_sources_one_has_a_spare_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what goes on after a loss; where there was none, it is ended, and the source has no other one for a while."""
    monkeypatch.setattr(supervise, "PAUSES_S", (0.05,) * 100)
    monkeypatch.setattr(supervise, "SPARE_S", 1e9)
    before = footprint()
    with TsCamera(tmp_path) as camera, Watched(camera) as one, Watched(camera) as two:
        for each in (one, two):
            each.wait("live")
            each.reader._doubt()
        spare = one.reader._spare
        assert spare is not None and two.reader._spare is None
        _break(camera, one, "kill")
        until(lambda: one.reader.restarts and one.reader.state == "live")
        assert one.decoder() == spare._process.pid
        del spare
        two.reader._doubt()
        assert two.reader._spare is not None
        monkeypatch.setattr(supervise, "SPARE_S", 0.0)
        until(lambda: two.reader._spare is None)
        two.reader._doubt()
        assert two.reader._spare is None and two.reader.restarts == 0
    until(lambda: footprint() == before)


def test_pauses_grow_and_stay_below_five_a_minute() -> None:
    assert list(supervise.PAUSES_S) == sorted(supervise.PAUSES_S)
    assert len(supervise.PAUSES_S) == 5
    least = sum(supervise.PAUSES_S) * (1 - supervise.JITTER)
    assert least + 2 * supervise.FAILED_S * (1 - supervise.JITTER) > 60
    assert 60 / (supervise.STEADY_S + supervise.PAUSES_S[0] * (1 - supervise.JITTER)) < 5


def test_one_that_fails_is_tried_on_and_a_clock_that_leaps_is_set_right(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(supervise, "PAUSES_S", (0.01,))
    monkeypatch.setattr(supervise, "FAILED_S", 0.01)
    times = [Fraction(i, 25) + (3600 if i >= 12 else 0) for i in range(250)]
    with TsCamera(tmp_path, seconds=10, times=times) as camera:
        camera.how = "fin"
        with Watched(camera, policy="every") as watched:  # else a busy machine drops all frames before the leap
            watched.wait("failed")
            camera.how = "send"
            until(lambda: len(watched.times) > 20 and "leapt ahead" in " ".join(watched.reader.notes))
            restarts = watched.reader.restarts
    states = [each.state for each in watched.said if isinstance(each, Change)]
    assert states[:2] == ["lost", "failed"] and states[-2:] == ["live", "stopped"]
    assert watched.times == sorted(watched.times) and watched.times[-1] < 20
    assert not any(isinstance(each, Gap) for each in watched.said)
    assert watched.reader.restarts == restarts, "for which it was not opened again"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[everyframe.Program]:
    path = handmade.brightness_step(
        tmp_path_factory.mktemp("live") / "step.onnx", preprocess=Preprocess(resize=(12, 16), **handmade.GRAY)
    )
    with everyframe.open(path, engine="ort", threads=1) as opened:
        yield opened


class Slow:
    """A step that takes `seconds`: the frames that it saw, and how old they were."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.frames: list[Frame] = []
        self.ages: list[float] = []

    def __call__(self, stream: Stream, frame: Frame) -> everyframe.Prediction | None:
        self.ages.append(time.monotonic() - frame.at)
        self.frames.append(frame)
        time.sleep(self.seconds)
        return stream.push_frame(frame)


def _pressed(program: everyframe.Program, camera: TsCamera, slow: Slow, enough: int) -> tuple[Camera, list[Said]]:
    said: list[Said] = []
    watched = Camera("door", camera.source, program, tell=lambda camera, each: said.append(each), step=slow, preview=0)
    watched.start()
    until(lambda: len(slow.frames) >= enough)
    assert (status := watched.status).captured == status.processed + status.dropped
    watched.stop()
    assert watched.join(10) and watched.error is None
    return watched, said


def test_who_is_too_slow_sees_the_newest_and_what_he_sees_counts(
    program: everyframe.Program, tmp_path: Path, figure: Figure
) -> None:
    """60 frames a second for a network that takes 10: it says what it would say of a video of the frames that it saw."""
    slow = Slow(0.1)
    with TsCamera(tmp_path, fps=60, seconds=12) as camera:
        watched, said = _pressed(program, camera, slow, 15)
    status = watched.status
    assert status.captured == status.processed + status.dropped and status.dropped > status.processed
    assert status.processed == len(slow.frames)
    predictions = [each for each in said if isinstance(each, everyframe.Prediction)]
    with program.stream() as stream:
        again = [found for frame in slow.frames if (found := stream.push_frame(frame)) is not None]
    assert len(again) == len(predictions) > 5
    for one, two in zip(predictions, again, strict=True):
        np.testing.assert_array_equal(one.logits, two.logits)
    figure(f"60 fps into 10: newest frame {np.percentile(slow.ages, 99) * 1e3:.0f} ms old (p99), {status.dropped} dropped")


def test_another_model_and_a_step_that_fails(
    program: everyframe.Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever listens goes on listening: numbers and times go on, and each frame is counted once."""
    monkeypatch.setattr(supervise, "PAUSES_S", (0.01,) * 9)
    said: list[Said] = []
    failing = threading.Event()

    def step(stream: Stream, frame: Frame) -> everyframe.Prediction | None:
        if failing.is_set():
            failing.clear()
            raise EngineError("The network's output is not finite.")
        return stream.push_frame(frame)

    def predictions() -> list[everyframe.Prediction]:
        return [each for each in said if isinstance(each, everyframe.Prediction)]

    with TsCamera(tmp_path) as source, everyframe.open(program.path, engine="ort", labels=("a", "b", "c")) as other:
        camera = Camera("door", source.source, program, tell=lambda camera, each: said.append(each), step=step, preview=16)
        camera.start()
        until(lambda: len(predictions()) > 3)
        assert camera.preview is not None and camera.preview.shape == (16, 21, 3)
        camera.switch(other)
        until(lambda: predictions()[-1].top[0].label in "abc")
        failing.set()
        until(lambda: any(isinstance(each, Change) and "not finite" in each.reason for each in said))
        count = len(predictions())
        until(lambda: len(predictions()) > count + 3)
        camera.stop()
        assert camera.join(10) and camera.error is None and camera.preview is None
    status = camera.status
    assert status.captured == status.processed + status.dropped and status.restarts == 1 and status.state == "stopped"
    frames = [each.frame for each in predictions()]
    assert frames == sorted(set(frames)) and {each.source for each in predictions()} == {"door"}


def test_an_rtsp_camera_that_is_killed_and_started_again(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "PAUSES_S", (0.25,) * 100)
    said: list[Change | Gap] = []
    with rtsp_camera() as (process, source):
        reader = LiveReader(source, Preprocess(resize=(24, 32)), tell=said.append, gap=0.1)
        assert next(reader).data.shape == (24, 32, 3)
        port = int(source.paths[0].split(":")[2].split("/")[0])
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        begun = time.monotonic()
    with rtsp_camera(port), reader:
        while reader.restarts == 0 or reader.state != "live":
            next(reader)
        figure(f"RTSP server killed and started again: pictures in {time.monotonic() - begun:.1f} s")
        assert any(isinstance(each, Gap) for each in said)


# -- by the hour ----------------------------------------------------------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.parametrize("way", WAYS)
def test_fifty_losses(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Figure) -> None:
    """Noticed within its limit and half a second, back within three seconds but on a busy machine, and nothing is left."""
    monkeypatch.setattr(supervise, "PAUSES_S", (supervise.PAUSES_S[0],) * 100)
    before, weight = footprint(), memory()
    with TsCamera(tmp_path, seconds=120) as camera, Watched(camera, stall=2.0) as watched:
        noticed, back = _rounds(camera, watched, way, 50)
    until(lambda: footprint() == before)
    figure(
        f"50 x {way}: noticed in {np.median(noticed):.2f} s, at most {max(noticed):.2f}; back in {np.median(back):.2f} s, "
        f"at most {max(back):.2f}; {footprint()} as before, {memory() - weight:+.1f} MB"
    )
    assert max(noticed) <= max(WAYS[way], 2.0 if way in ("freeze", "garbage") else 0.0) + 0.5
    assert np.percentile(back, 90) <= 3.0


@pytest.mark.soak
def test_a_minute_beside_one_that_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Figure) -> None:
    monkeypatch.setattr(supervise, "PAUSES_S", (supervise.PAUSES_S[0],) * 1000)
    well, beside = _beside(tmp_path, 60.0, SOME)
    figure(f"two cameras for a minute: {min(well):.2f} frames a second, and {min(beside):.2f} while a third was lost")
    assert min(beside) >= 0.95 * min(well)


@pytest.mark.soak
def test_a_minute_of_pressure(program: everyframe.Program, tmp_path: Path, figure: Figure) -> None:
    slow = Slow(0.1)
    with TsCamera(tmp_path, fps=60, seconds=90) as camera:
        weight = memory()
        watched, _ = _pressed(program, camera, slow, 600)
    slow.frames.clear()
    status = watched.status
    figure(
        f"60 fps into 10 for {len(slow.ages) / 10:.0f} s: newest frame {np.percentile(slow.ages, 99) * 1e3:.0f} ms old (p99), "
        f"{status.captured} captured = {status.processed} seen + {status.dropped} dropped, {memory() - weight:+.1f} MB"
    )
    assert np.percentile(slow.ages, 99) <= 2 / 60 + 0.1 + 0.05
