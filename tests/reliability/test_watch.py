"""`everyframe watch` as it runs for months: with cameras that are there and one that is not, a broker that comes and goes, and an
end at any moment.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import everyframe
import handmade
from everyframe.live.config import Mqtt
from everyframe.live.mqtt import Broker
from everyframe.modelfile.schema import Preprocess
from everyframe.video import resolve
from everyframe.video.decode import decode
from fake_cameras import TsCamera, blinking, free_port
from running import started, until

Figure = Callable[[str], None]

SETTINGS = """
model = "step.onnx"
engine = "ort"
folder = "events"
[sinks]
ndjson = "events.ndjson"
sqlite = "events.db"
[cameras.door]
address = "tcp://127.0.0.1:{port}"
options = {{analyzeduration = "300000"}}
alert = "labels=bright threshold=.6 seconds=0 quiet=0"
before = 0.5
after = 0.2
[cameras.gone]
address = "tcp://127.0.0.1:{nobody}"
alert = "labels=bright"
"""


@contextlib.contextmanager
def watched(folder: Path, *options: str) -> Iterator[tuple[Any, TsCamera]]:
    """The command, and its camera."""
    handmade.brightness_step(folder / "step.onnx", preprocess=Preprocess(resize=(12, 16), fps=10, **handmade.GRAY))
    with TsCamera(folder, draw=blinking, seconds=40) as camera:
        (folder / "cameras.toml").write_text(SETTINGS.format(port=camera.port, nobody=free_port()))
        command = (sys.executable, "-m", "everyframe", "watch", "cameras.toml", "--json", *options)
        with started(*command, cwd=folder) as process:
            yield process, camera


def lines(folder: Path, phase: str) -> list[dict[str, Any]]:
    path = folder / "events.ndjson"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [each for each in found if each["phase"] == phase]


def test_it_runs_beside_a_camera_that_is_not_there_and_ends_when_asked(tmp_path: Path, figure: Figure) -> None:
    with watched(tmp_path) as (process, _):
        until(lambda: lines(tmp_path, "end"), process)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        output, said = process.communicate()
        figure(f"SIGTERM under load: over in {time.monotonic() - begun:.2f} s")
    assert process.returncode == 0, said
    events = [json.loads(line) for line in output.splitlines()]
    begun_ids = {each["id"] for each in events if each["phase"] == "begin"}
    ended = {each["id"]: each for each in events if each["phase"] == "end"}
    assert begun_ids == set(ended) == {each["id"] for each in lines(tmp_path, "end")}
    with contextlib.closing(sqlite3.connect(tmp_path / "events.db")) as database:
        rows = database.execute('SELECT id, camera, label, "end" > start FROM events').fetchall()
        states = database.execute("SELECT camera, state FROM states").fetchall()
    cut = max(ended.values(), key=lambda each: each["start"])["id"]  # by the signal, perhaps in its first moment
    assert {row[0] for row in rows} == set(ended) and {row[1:3] for row in rows} == {("door", "bright")}
    assert all(row[3] for row in rows if row[0] != cut) and all(each["end"] >= each["start"] for each in ended.values())
    assert ("gone", "lost") in states and ("door", "lost") not in states
    first = next(iter(ended.values()))
    pictures = [frame.picture.to_ndarray(format="gray").mean() for frame in decode(resolve(tmp_path / first["video"])[0])]
    assert min(pictures) < 40 < 200 < max(pictures), "the dark before it and the light"
    assert (tmp_path / first["snapshot"]).stat().st_size > 300
    assert not list((tmp_path / "events").glob(".*")), "nothing is left half written"
    assert "door  frames" in said and "gone  frames 0" in said


def test_a_full_disk_stops_no_camera(tmp_path: Path) -> None:
    """What cannot be written is counted and told; events go on, and are written again when there is room."""
    with watched(tmp_path) as (process, _):
        until(lambda: lines(tmp_path, "end"), process)
        hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1, hard))  # nothing can be written any more
        assert process.stdout is not None
        before, begun, over = len(lines(tmp_path, "end")), 0, 0
        while over < 3:
            said = json.loads(process.stdout.readline())
            begun, over = begun + (said["phase"] == "begin"), over + (said["phase"] == "end")
        full = lines(tmp_path, "end")
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        until(lambda: len(lines(tmp_path, "end")) > len(full), process)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
    assert process.returncode == 0, said
    assert len(full) - before < over, "some of them could not be written"
    assert "not delivered" in said or "not written" in said
    with contextlib.closing(sqlite3.connect(tmp_path / "events.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert not list((tmp_path / "events").glob(".*")), "nothing is left half written"
    assert "lost" not in {each["state"] for each in lines(tmp_path, "state") if each["camera"] == "door"}


def test_what_a_callback_raises_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    handmade.brightness_step(tmp_path / "step.onnx", preprocess=Preprocess(resize=(12, 16), fps=10, **handmade.GRAY))
    handmade.write_video(tmp_path / "v.mp4", 60, draw=blinking)
    door = {"address": "v.mp4", "alert": "labels=bright threshold=.6 seconds=0", "video": False}

    def fall_over(event: Any) -> None:
        raise ZeroDivisionError(event.label)

    with pytest.raises(ZeroDivisionError, match="bright"):
        everyframe.watch({"model": "step.onnx", "engine": "ort", "cameras": {"door": door}}, fall_over)


# -- a broker --------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def broker(folder: Path, port: int, more: str = "") -> Iterator[Any]:
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        pytest.skip("no mosquitto (on Debian: apt install mosquitto)")
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n{more}")
    with started(program, "-c", str(folder / "mosquitto.conf")) as process:
        yield process


@contextlib.contextmanager
def listening(port: int) -> Iterator[dict[str, list[bytes]]]:
    """What is published there, by topic."""
    client = pytest.importorskip("paho.mqtt.client")
    got: dict[str, list[bytes]] = {}
    subscribed: list[int] = []
    listener = client.Client(client.CallbackAPIVersion.VERSION2)
    listener.reconnect_delay_set(1, 1)
    listener.on_connect = lambda *_: listener.subscribe("#")
    listener.on_subscribe = lambda *_: subscribed.append(1)
    listener.on_message = lambda _client, _data, message: got.setdefault(message.topic, []).append(message.payload)
    listener.connect_async("127.0.0.1", port)
    listener.loop_start()
    until(lambda: subscribed)
    try:
        yield got
    finally:
        listener.disconnect()
        listener.loop_stop()


#: https://www.home-assistant.io/integrations/mqtt: topics of discovery, what every entity may have, and each kind beside; what is
#: required comes first. What it does not know, it refuses or leaves out
TOPIC = re.compile(r"homeassistant/(event|binary_sensor|image)/[a-zA-Z0-9_-]+/[a-zA-Z0-9_-]+/config")
ALL = {"name", "unique_id", "device", "availability_topic", "icon", "device_class"}
KINDS: dict[str, tuple[set[str], set[str]]] = {
    "event": ({"state_topic", "event_types"}, {"button", "doorbell", "motion"}),
    "binary_sensor": ({"state_topic"}, {"motion", "connectivity"}),
    "image": ({"image_topic"}, set[str]()),
}


def as_documented(found: dict[str, dict[str, Any]]) -> None:
    for topic, told in found.items():
        match = TOPIC.fullmatch(topic)
        assert match is not None, topic
        required, classes = KINDS[match[1]]
        assert required <= set(told) <= required | ALL | ({"content_type"} if match[1] == "image" else set()), told
        assert told.get("device_class") in classes | {None}
        assert (
            set(told["device"]) <= {"identifiers", "name", "manufacturer", "model", "sw_version"}
            and told["device"]["identifiers"]
        )
    assert len({told["unique_id"] for told in found.values()}) == len(found)


def test_home_assistant_finds_cameras_and_events_through_a_broker_that_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everyframe.live.mqtt.RETRY_S", (1, 1))
    port = free_port()
    event = {"id": "x", "camera": "door", "label": "wave", "score": 0.9, "snapshot": str(tmp_path / "mosquitto.conf")}
    with contextlib.ExitStack() as first:
        first.enter_context(broker(tmp_path, port))
        with listening(port) as got:
            sink = Broker(Mqtt(host="127.0.0.1", port=port), {"door": ("wave", "swipe"), "küche": ("wave",)})
            sink.tell({"phase": "state", "camera": "door", "state": "live"})
            sink.tell({"phase": "begin", **event})
            until(lambda: b"ON" in got.get("everyframe/door/active", ()) and "everyframe/door/event" in got)
            assert json.loads(got["everyframe/door/event"][0])["event_type"] == "wave"
            found = {topic: json.loads(said[0]) for topic, said in got.items() if topic.startswith("homeassistant/")}
            as_documented(found)
            assert len(found) == 8 and {each["availability_topic"] for each in found.values()} == {"everyframe/status"}
            told = found["homeassistant/event/everyframe_door/event/config"]
            assert told["event_types"] == ["wave", "swipe"] and told["state_topic"] == "everyframe/door/event"
            assert got["everyframe/status"] == [b"online"]
    sink.tell({"phase": "over", **event})  # nobody is there
    sink.tell({"phase": "snapshot", **event})
    with broker(tmp_path, port), listening(port) as got:
        until(lambda: b"OFF" in got.get("everyframe/door/active", ()) and "everyframe/door/snapshot" in got)
        assert set(got["everyframe/door/connected"]) == {b"ON"}, "what it had forgotten"
        assert got["everyframe/door/snapshot"][0] == (tmp_path / "mosquitto.conf").read_bytes()
        sink.close()
        until(lambda: got["everyframe/status"][-1:] == [b"offline"])
        assert sink.lost == 0
    lonely = Broker(Mqtt(host="127.0.0.1", port=free_port()), {"door": ()})
    lonely.tell({"phase": "over", **event})
    lonely.close()
    assert lonely.lost and "not reached" in lonely.problems[0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves what was refused to be collected
def test_a_broker_whose_certificate_is_of_ones_own(tmp_path: Path) -> None:
    """The messages go over TLS to the broker that the file speaks for, and to no other."""
    pytest.importorskip("cryptography", reason="needs the extra `serve`")
    from everyframe.serving.certificate import self_signed

    own, other = self_signed(("localhost",)), self_signed(("localhost",))
    (tmp_path / "own.pem").write_bytes(own.chain)
    (tmp_path / "key.pem").write_bytes(own.key)
    (tmp_path / "key.pem").chmod(0o644)  # mosquitto becomes another user
    tmp_path.chmod(0o755)
    (tmp_path / "other.pem").write_bytes(other.chain)
    files = f"certfile {tmp_path / 'own.pem'}\nkeyfile {tmp_path / 'key.pem'}\nuser root\n"
    port = free_port()
    with broker(tmp_path, port, files) as process:
        trusted = Broker(Mqtt(host="localhost", port=port, ca=tmp_path / "own.pem"), {"door": ()})
        until(lambda: trusted._client.is_connected(), process)
        trusted.tell({"phase": "state", "camera": "door", "state": "live"})
        trusted.close()
        assert trusted.lost == 0 and not trusted.problems
        for ca in (None, tmp_path / "other.pem"):
            lonely = Broker(Mqtt(host="localhost", port=port, tls=True, ca=ca), {"door": ()})
            lonely.tell({"phase": "state", "camera": "door", "state": "live"})
            until(lambda lonely=lonely: lonely._refused)
            lonely.close()
            assert lonely.lost and "certificate verify failed" in lonely.problems[0]
    with pytest.raises(everyframe.errors.UsageError, match="no certificate"):
        Broker(Mqtt(host="localhost", ca=tmp_path / "mosquitto.conf"), {"door": ()})


# -- by the hour -----------------------------------------------------------------------------------------------------------------


@pytest.mark.soak
def test_twenty_ends(tmp_path: Path, figure: Figure) -> None:
    """By SIGTERM and Ctrl-C in turns, at any moment of a run: over within three seconds, and no process is left."""
    took = []
    for number in range(20):
        (folder := tmp_path / str(number)).mkdir()
        with watched(folder) as (process, _):
            until(lambda folder=folder: lines(folder, "state"), process)
            time.sleep(number / 5)
            sent = signal.SIGTERM if number % 2 else signal.SIGINT
            begun = time.monotonic()
            os.kill(process.pid, sent)
            process.communicate()
            took.append(time.monotonic() - begun)
            assert process.returncode == (0 if number % 2 else 130)
    figure(f"20 ends by SIGTERM and Ctrl-C: {np.median(took):.2f} s, at most {max(took):.2f}")
    assert max(took) <= 3
