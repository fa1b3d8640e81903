"""A server that is stopped in the middle: steps are held until the test lets them go, so that each race happens."""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

import everyframe
import handmade
from everyframe.serving.stepper import Stepper
from everyframe.serving.uploads import STOPPING
from everyframe.video import reader
from serving.clients import PATIENCE, raw, said, until

FRAMES = 12


@dataclass
class Held:
    """A server in this process. begun: steps that were begun; those behind `free` wait for `go`."""

    free: int = 0
    begun: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)
    server: Any = None

    def step(self, turn: Callable[[], Any]) -> Any:
        with self.changed:
            self.begun += 1
            self.changed.notify_all()
            assert self.changed.wait_for(lambda mine=self.begun: mine <= self.free, PATIENCE)
        return turn()

    def go(self, free: int = FRAMES) -> None:
        with self.changed:
            self.free = free
            self.changed.notify_all()

    def until_begun(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.begun >= count, PATIENCE)

    @property
    def address(self) -> str:
        place: str = self.server.addresses[0].split("/")[2]
        return place

    def ask(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.address, timeout=PATIENCE)

    @contextlib.contextmanager
    def stopping(self) -> Iterator[None]:
        """It was told to stop, and refuses what is new; at the end of the block it has ended."""
        end = threading.Thread(target=self.server.stop)
        end.start()

        def told() -> bool:
            with contextlib.closing(self.ask()) as connection:
                connection.request("GET", "/readyz")
                return connection.getresponse().status == 503

        until(told)
        yield
        end.join(PATIENCE)
        assert not self.server.running


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Held]:
    made, submit = Held(), Stepper.submit

    def slowly(self: Stepper, program: Any, turn: Callable[[], Any]) -> Future[Any]:
        return submit(self, program, lambda: made.step(turn))

    monkeypatch.setattr(Stepper, "submit", slowly)
    model = handmade.brightness_step(tmp_path / "step.onnx", window=2)
    with everyframe.serve(model, engine="ort", port=0, workers=2, wait=False, ready=lambda _: None) as made.server:
        yield made
        made.go(10**9)


@dataclass
class Asked:
    """A video that was sent, by a client that reads all of the answer."""

    held: Held
    path: Path
    status: int = 0
    lines: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        handmade.write_video(self.path, FRAMES, rate=10)  # that of the network
        self.thread = threading.Thread(target=self._ask)
        self.thread.start()

    def _ask(self) -> None:
        with contextlib.closing(self.held.ask()) as connection:
            connection.request("POST", "/v1/predict", self.path.read_bytes())
            answer = connection.getresponse()
            self.status = answer.status
            self.lines = [json.loads(line) for line in answer.read().splitlines()]  # IncompleteRead where it is cut off

    def check(self, *, predictions: int) -> None:
        """Its last line says that the server stopped, and how many came before. The first step gives none."""
        self.thread.join(PATIENCE)
        assert self.status == 200 and self.lines, "no whole answer came"
        *found, end = self.lines
        assert end["type"] == "end" and end["reason"] == STOPPING and not end["complete"] and "error" not in end
        assert end["predictions"] == len(found) == predictions


@pytest.mark.parametrize("step", [1, FRAMES], ids=["first", "last"])
def test_a_video_in_a_step(held: Held, tmp_path: Path, step: int) -> None:
    held.go(step - 1)
    asked = Asked(held, tmp_path / "v.mp4")
    held.until_begun(step)
    with held.stopping():
        held.go()
        asked.check(predictions=step - 1)


@pytest.mark.parametrize("step", [1, 4])
def test_a_video_in_a_step_that_does_not_end(held: Held, tmp_path: Path, step: int) -> None:
    """Its answer has what was found before."""
    held.go(step - 1)
    asked = Asked(held, tmp_path / "v.mp4")
    held.until_begun(step)
    with held.stopping():
        asked.check(predictions=max(0, step - 2))


def test_a_video_whose_decoder_says_nothing(held: Held, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, start = queue.SimpleQueue[Any](), reader._start

    def stopped(*order: Any) -> Any:
        process = start(*order)
        process.send_signal(signal.SIGSTOP)
        begun.put(process)
        return process

    monkeypatch.setattr(reader, "_start", stopped)
    asked = Asked(held, tmp_path / "v.mp4")
    process = begun.get(timeout=PATIENCE)
    with held.stopping():
        asked.check(predictions=0)
    assert process.wait(PATIENCE) == -signal.SIGKILL


def test_a_video_that_has_not_come(held: Held, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused, and nothing of it stays."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with contextlib.closing(held.ask()) as connection:
        connection.putrequest("POST", "/v1/predict")
        connection.putheader("Content-Length", "1000000")
        connection.endheaders(b"x" * 1000)
        until(lambda: list(tmp_path.glob("everyframe-upload-*")))
        with held.stopping():
            answer = connection.getresponse()
            assert answer.status == 503 and json.loads(answer.read())["error"]["what"] == "The server is stopping."
    assert not list(tmp_path.glob("everyframe-upload-*"))


def begun(stream: ClientConnection, held: Held) -> None:
    """Two frames have come, of which the first is in its step."""
    assert said(stream)["type"] == "ready"
    for i in range(2):
        stream.send(raw(i / 10, handmade.picture(80)))
    held.until_begun(1)


def rest(stream: ClientConnection) -> list[Any]:
    found = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            found.append(said(stream))
    return found


def test_a_frame_that_waits_is_answered(held: Held) -> None:
    with connect(f"ws://{held.address}/v1/stream") as stream:
        begun(stream, held)
        with held.stopping():
            held.go()
            first, second, closing = rest(stream)
        assert [first["frame"], second["frame"]] == [0, 1] and second["predictions"]
        assert closing["type"] == "closing" and stream.close_code == 1001
        assert [closing[each] for each in ("received", "processed", "dropped", "unanswered")] == [2, 2, 0, []]


def test_frames_whose_steps_do_not_end_are_named(held: Held) -> None:
    with connect(f"ws://{held.address}/v1/stream") as stream:
        begun(stream, held)
        with held.stopping():
            (closing,) = rest(stream)
        assert closing["error"]["what"] == "The server is stopping." and stream.close_code == 1001
        assert [closing[each] for each in ("received", "processed", "dropped", "unanswered")] == [2, 0, 0, [0, 1]]
