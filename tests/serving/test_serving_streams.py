"""Frames by WebSocket, to a real server: what comes back, in which order, from which state."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from typing import Any

import av
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed

import everyframe
import handmade
from everyframe.runtime import BUILTIN
from serving.clients import Server, as_jpeg, jpeg, raw, said, streamed, until

SAMPLE = BUILTIN.with_name("sample.mp4")
#: what a prediction says of the machine rather than of the frames
TIMES = ("step_ms", "ms")


def sample(seconds: float = 3.2) -> list[tuple[float, np.ndarray]]:
    """The beginning of the sample: times and pictures (h, w, 3)."""
    with av.open(str(SAMPLE)) as container:
        frames = ((float(frame.pts * frame.time_base), frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0))
        return [(time, picture[::2, ::2]) for time, picture in frames if time < seconds]


def timeless(answers: list[dict[str, Any]]) -> list[Any]:
    predictions = [{**each, "step_ms": 0} for answer in answers for each in answer["predictions"]]
    return [*predictions, *({**answer, "ms": 0, "predictions": 0} for answer in answers)]


def test_eight_clients_at_once_have_the_answers_of_one(near: Server) -> None:
    """Each its own video, frame by frame in turns: equal in every bit to what each gets alone, and to the stream in Python."""
    pictures = sample(1.6)
    videos = [
        [
            raw(time, np.roll(picture, 7 * k, axis=1)) if k % 2 else as_jpeg(time, jpeg(np.roll(picture, 7 * k, axis=1)))
            for time, picture in pictures
        ]
        for k in range(8)
    ]
    alone = [streamed(near, "scores=true", video) for video in videos]
    together: list[list[dict[str, Any]]] = [[] for _ in videos]
    with ExitStack() as held:
        sockets = [held.enter_context(near.connect("scores=true")) for _ in videos]
        assert all(said(socket)["type"] == "ready" for socket in sockets)
        for frames in zip(*videos, strict=True):
            for socket, frame in zip(sockets, frames, strict=True):
                socket.send(frame)
            for socket, answers in zip(sockets, together, strict=True):
                answers.append(said(socket))
    assert [timeless(answers) for answers in together] == [timeless(answers) for answers in alone]
    with everyframe.open("builtin", engine="ort", threads=1) as program, program.stream() as stream:
        wanted = [p for time, picture in pictures if (p := stream.push(np.roll(picture, 7, axis=1), time)) is not None]
    got = [each["scores"] for answer in together[1] for each in answer["predictions"]]
    assert got == [p.scores.astype(float).tolist() for p in wanted] and len(got) > 15


def test_a_file_sent_frame_by_frame_has_its_events(near: Server) -> None:
    """Not live: the client waits for room, nothing is dropped, and the end is answered; then the next video is a fresh one."""
    with everyframe.open("builtin", engine="ort") as program:
        wanted = [(p.event.label, round(p.pts_s, 3)) for p in program.predict(SAMPLE, seconds=7) if p.event]
    frames = [raw(time, picture) for time, picture in sample(7)]
    with near.connect("live=false") as socket:
        said(socket)
        for _ in range(2):
            answers = []
            for i, frame in enumerate(frames):
                socket.send(frame)
                if i >= 2:
                    answers.append(said(socket))
            socket.send('{"type": "end"}')
            while answers[-1]["type"] != "end":
                answers.append(said(socket))
            assert answers[-1]["dropped"] == 0
            events = [each["event"] for answer in answers for each in answer["predictions"] if "event" in each]
            assert [(event["label"], round(event["pts_s"], 3)) for event in events] == wanted and len(wanted) == 2


def test_the_oldest_frame_is_dropped_and_counted(near: Server) -> None:
    """A client that does not wait: every frame is either answered or counted, the last one is answered, in order."""
    pictures = [handmade.picture(i % 200, 480, 640) for i in range(4)]
    frames = [raw(i / 12, pictures[i % 4]) for i in range(60)]
    with near.connect() as socket:
        said(socket)
        for frame in frames:
            socket.send(frame)
        answers = [said(socket)]
        while answers[-1]["frame"] < 59:
            answers.append(said(socket))
    numbers = [answer["frame"] for answer in answers]
    assert numbers == sorted(set(numbers)) and answers[-1]["received"] == 60 == len(answers) + answers[-1]["dropped"]
    _, text = near.ask("GET", "/metrics")
    counts = [
        sum(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"everyframe_serve_frames_{name}_total{{"))
        for name in ("received", "processed", "dropped")
    ]
    assert counts[0] == counts[1] + counts[2] > 0


def test_wrong_messages_are_said_and_the_stream_goes_on(near: Server) -> None:
    picture = handmade.picture(90)
    whole = jpeg(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), progressive=True)
    scans = whole[:-2] + whole[whole.index(b"\xff\xda") : -2] * 20 + whole[-2:]
    large = jpeg(np.zeros((4000, 4000, 3), np.uint8))
    wrong = {
        "no frame": b"x",
        "no order": "{nonsense",
        "deep": "[" * 20_000,
        "another size": raw(0, picture)[:-1],
        "no time": raw(float("nan"), picture),
        "no JPEG": as_jpeg(0, b"GIF89a" * 10),
        "half a JPEG": as_jpeg(0, whole[:300]),
        "many scans": as_jpeg(0, scans),
        "too many pixels": as_jpeg(0, large),
    }
    with near.connect("model=step") as socket:
        said(socket)
        for what, message in wrong.items():
            socket.send(message)
            answer = said(socket)
            assert answer["error"]["kind"] in ("StateError", "UsageError") and not answer.get("predictions"), what
        for i in range(4):
            socket.send(raw(i / 10, picture))
            answer = said(socket)
        assert len(answer["predictions"]) == 1
        socket.send('{"type": "reset"}')
        assert said(socket)["type"] == "reset"
        socket.send(raw(9, picture))
        assert said(socket)["predictions"] == [], "the network has seen one frame only"


@pytest.mark.parametrize(
    ("words", "code"), [("model=none", 4404), ("top_k=0", 4400), ("live=perhaps", 4400), ("url=http://example.org", 4400)]
)
def test_wrong_addresses_are_closed_with_a_word(near: Server, words: str, code: int) -> None:
    with near.connect(words) as socket:
        assert said(socket)["error"]["what"]
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(10)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == code


def test_a_model_is_exchanged_without_dropping_streams(near: Server) -> None:
    """By its file, and by a request. A file that cannot be served changes nothing."""
    path = near.ready["folder"] / "step.onnx"
    kept = path.read_bytes()
    picture = handmade.picture(90)
    generation = lambda: near.ask("GET", "/v1/model?model=step")[1]["generation"]  # noqa: E731
    first = generation()
    with near.connect("model=step&scores=true") as socket:
        ready = said(socket)
        before = []
        for i in range(6):
            socket.send(raw(i / 10, picture))
            before.append(said(socket))
        path.write_bytes(b"no model")
        status, problem = near.ask("POST", "/v1/models/step/reload")
        assert status == 409 and str(path.parent) not in json.dumps(problem) and generation() == first
        handmade.brightness_step(near.ready["folder"] / "other.onnx", window=2, labels=("dark", "bright", "blue"))
        shutil.move(near.ready["folder"] / "other.onnx", path)
        until(lambda: generation() == first + 1)
        after = []
        for i in range(6, 12):
            socket.send(raw(i / 10, picture))
            after.append(said(socket))
            if after[-1]["type"] == "swapped":
                after.append(said(socket))
        assert after[0]["type"] == "swapped" and after[0]["generation"] == first + 1
        assert after[0]["changes"] == ["labels", "feature_delay"] and after[0]["model"]["labels"] != ready["model"]["labels"]
        assert [len(each["predictions"]) for each in after[1:]] == [0, 1, 1, 1, 1, 1], "a fresh state of the new model"
        assert after[-1]["dropped"] == 0 and after[-1]["received"] == 12
        path.write_bytes(kept)
        assert near.ask("POST", "/v1/models/step/reload")[0] == 200
        socket.send(raw(13 / 10, picture))
        assert said(socket)["type"] == "swapped"
    until(lambda: near.ask("GET", "/v1/model?model=step")[1]["streams"] == 0)
