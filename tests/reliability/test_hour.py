"""Four cameras for an hour: memory and latency at the end are those of the beginning, and so is what is said. By `make soak`."""

from __future__ import annotations

import ctypes
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

import handmade
from everyframe.live.config import parsed
from everyframe.live.watch import Watch
from everyframe.modelfile.schema import Preprocess
from everyframe.runtime import Prediction, Stream
from everyframe.video import Frame
from fake_cameras import TsCamera, blinking, memory, memory_of_children
from running import started

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]
#: frames of each camera that are looked at once more
KEPT = 600
#: of the time is left out where slopes are fitted: caches fill, the allocator settles
WARM = 1 / 3
#: a process that wakes twelve times a second and steps the built-in model once: what is the machine's of what cameras wait for.
#: It prints how many milliseconds too late it woke, and from there to the answer. A pause of the machine counts once: frames of
#: cameras are as old as they are since they arrived, and none arrives in a pause
CONTROL = """
import time
import numpy as np
from everyframe.runtime.program import open
from everyframe.video import Frame
stream, due, number = open("builtin").stream(), time.monotonic(), 0
while True:
    due = max(due + 1 / 12, time.monotonic())
    time.sleep(max(0.0, due - time.monotonic()))
    woke = time.monotonic()
    stream.push_frame(Frame(np.zeros((48, 64, 1), np.uint8), number / 12, number))
    number += 1
    print(1e3 * (woke - due), 1e3 * (time.monotonic() - woke), flush=True)
"""


class Series:
    """Rows of numbers, in memory from the beginning: what is measured is not to grow by being measured."""

    def __init__(self, most: float, columns: int = 1) -> None:
        self.table = np.full((math.ceil(most), columns), np.nan)
        self.count = 0

    def put(self, *row: float) -> None:
        self.table[self.count % len(self.table)] = row
        self.count += 1

    @property
    def rows(self) -> np.ndarray:
        """(rows, columns)"""
        return self.table[: self.count]


class Heard:
    """A camera's step, which keeps what it saw and said last, and how old each frame was when it was answered: milliseconds."""

    def __init__(self, most: float) -> None:
        self.ages = Series(most)
        self.last: deque[tuple[Stream, Frame, Prediction | None]] = deque(maxlen=KEPT)

    def __call__(self, stream: Stream, frame: Frame) -> Prediction | None:
        found = stream.push_frame(frame)
        self.ages.put(1e3 * (time.monotonic() - frame.at))
        self.last.append((stream, frame, found))
        return found

    def again(self) -> int:
        """Predictions that a fresh stream repeats, bit for bit, once it has seen as much as the network looks back."""
        stream, _, _ = self.last[-1]
        same = [each for each in self.last if each[0] is stream]
        metadata, compared = stream.program.metadata, 0
        with stream.program.stream() as fresh:
            for number, (_, frame, found) in enumerate(same):
                repeated = fresh.push_frame(frame)
                if number >= max(metadata.receptive_field or 0, metadata.frames) and found is not None:
                    assert repeated is not None and np.isfinite(repeated.logits).all()
                    np.testing.assert_array_equal(repeated.logits, found.logits)
                    compared += 1
        return compared


def listen(lines: Iterable[str], series: Series) -> None:
    for line in lines:
        series.put(*map(float, line.split()))


def _growth(at: np.ndarray, weight: np.ndarray) -> float:
    """MB an hour of what is held: the least of each of 40 spans, since a clip that is written comes and goes."""
    spans = np.array_split(np.column_stack((at / 3600, weight)), min(40, len(at)))
    least = [(span[:, 0].mean(), span[:, 1].min()) for span in spans]
    return float(np.polyfit(*np.transpose(least), 1)[0])


def test_an_hour_of_four_cameras(tmp_path: Path, figure: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two with events, snapshots and videos, two with the built-in model. EVERYFRAME_SOAK_S: how long (3600)."""
    monkeypatch.chdir(tmp_path)
    seconds = float(os.environ.get("EVERYFRAME_SOAK_S", "3600"))
    handmade.brightness_step(tmp_path / "step.onnx", preprocess=Preprocess(resize=(12, 16), fps=10, **handmade.GRAY))
    bright = {"alert": "labels=bright threshold=.6 seconds=0 quiet=0", "before": 0.5, "after": 0.5}
    weights, alone = Series(seconds, 4), Series(seconds * 15, 2)
    with (
        TsCamera(tmp_path, draw=blinking, seconds=round(seconds) + 60) as camera,
        started(sys.executable, "-c", CONTROL) as control,
    ):
        threading.Thread(target=listen, args=(control.stdout, alone), daemon=True).start()
        address = {"address": f"tcp://127.0.0.1:{camera.port}", "options": {"analyzeduration": "300000"}}
        cameras = {f"c{n}": {**address, **(bright if n < 2 else {"model": "builtin"})} for n in range(4)}
        with Watch(parsed({"model": "step.onnx", "engine": "ort", "cameras": cameras})) as watch:
            heard = [Heard(seconds * 15) for _ in watch.eyes]
            for eye, step in zip(watch.eyes.values(), heard, strict=True):
                eye.camera.step = step
            ctypes.CDLL(None).malloc_trim(0)  # what the film took, in which growth would hide
            begun = time.monotonic()
            for _ in watch.said(seconds, pause=1.0):
                now = time.monotonic() - begun
                if not weights.count or now - weights.rows[-1, 0] > 2:
                    weights.put(now, memory(), memory_of_children("video.worker"), os.getloadavg()[0])
        statuses, counts = watch.statuses, watch.counts
    table = weights.rows
    if log := os.environ.get("EVERYFRAME_SOAK_LOG"):
        np.savetxt(log, table, "%.3f", header="seconds, MB here, MB of the decoders, load")
    late = table[table[:, 0] > seconds * WARM]
    slope, children = (_growth(late[:, 0], late[:, column]) for column in (1, 2))
    here, theirs = late[:, 1].mean(), late[:, 2].mean()
    compared = [each.again() for each in heard]
    figure(
        f"4 cameras for {seconds:.0f} s: {slope:+.2f} MB an hour here (of {here:.0f}), {children:+.2f} in their decoders "
        f"(of {theirs:.0f}); {sum(s.dropped for s in statuses)} of {sum(s.captured for s in statuses)} frames dropped, "
        f"{sum(counts.values())} events, {sum(s.restarts for s in statuses)} restarts; {sum(compared)} predictions repeated"
    )
    waited = {f"{name}: answered after": each.ages.rows for name, each in zip(watch.eyes, heard, strict=True)}
    if alone.count > 1:
        waited |= {"a process alone: woken too late by": alone.rows[:, :1], "its step:": alone.rows[:, 1:]}
    for what, ms in waited.items():
        first, then = (np.percentile(half, 99) for half in np.array_split(ms, 2))
        figure(f"  {what} {first:.1f} ms (p99) in the first half, then {then:.1f} ({then / first - 1:+.0%})")
    loads = [half.mean() for half in np.array_split(table[:, 3], 2)]
    figure(f"  load {loads[0]:.1f}, then {loads[1]:.1f}")
    assert all(s.captured == s.processed + s.dropped for s in statuses)
    assert min(compared) > 0
    assert max(slope, children) <= 1.0 or seconds < 1800, "an allocator is still settling in a short run"
