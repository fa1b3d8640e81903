"""What `watch` is made of, each part by itself: masks, settings, events, records, pictures that are kept, metrics."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import everyframe
import handmade
from everyframe.cli import main
from everyframe.errors import UsageError
from everyframe.live import clips, config, metrics
from everyframe.live.camera import Status
from everyframe.live.events import LONGEST_S, CameraEvent, Events
from everyframe.live.records import Database, Lines
from everyframe.modelfile.schema import Preprocess
from everyframe.runtime import Prediction
from everyframe.runtime.alerts import AlertRule
from everyframe.video import Reader, remux, resolve
from everyframe.video.decode import decode
from everyframe.video.masks import Masks, covered
from everyframe.video.packets import Coded, Recording, Ring
from everyframe.video.protocol import Order
from everyframe.video.remux import save
from everyframe.video.sources import Source, without_password

SHARES = st.floats(0, 1, width=32)
POLYGONS = st.lists(st.tuples(SHARES, SHARES), min_size=3, max_size=6).map(tuple)


def test_a_device_to_decode_with_that_is_not_known_is_refused_before_any_camera_is_opened(tmp_path: Path) -> None:
    handmade.brightness_step(tmp_path / "step.onnx")
    door = {"address": "rtsp://127.0.0.1:9/x", "hardware": "abacus", "video": False, "snapshot": False, "alert": "labels=bright"}
    with pytest.raises(everyframe.errors.SourceError, match=r"no such device(.|\n)*auto"):
        everyframe.watch({"model": str(tmp_path / "step.onnx"), "engine": "ort", "cameras": {"door": door}})


class TestMasks:
    @given(POLYGONS, st.integers(1, 40), st.integers(1, 40))
    def test_what_lies_inside_is_covered(self, polygon: Any, height: int, width: int) -> None:
        """Every pixel whose middle lies inside by the rule of odd crossings, and every one that holds a corner."""
        found = covered(polygon, height, width)
        rows, columns = np.mgrid[:height, :width] + 0.5
        inside = np.zeros((height, width), bool)
        points = [(x * width, y * height) for x, y in polygon]
        for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
            if y0 != y1:
                inside ^= ((y0 <= rows) != (y1 <= rows)) & (columns > x0 + (rows - y0) * (x1 - x0) / (y1 - y0))
        assert found[inside].all()
        # between two pixels, or nearer to that than rounding of shares, a corner is of neither
        whole = [(x, y) for x, y in points if all(1e-8 < each % 1 < 1 - 1e-8 for each in (x, y))]
        assert all(found[int(y), int(x)] for x, y in whole)

    def test_a_mask_is_black_and_a_region_is_cut(self) -> None:
        picture = np.full((10, 20, 3), 200, np.uint8)
        half = ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0))
        made = Masks([half])(picture)
        assert (made[:, :10] == 200).all() and not made[:, 10:].any()
        assert Masks(region=half)(picture).shape == (10, 10, 3)
        assert (picture == 200).all(), "the decoder goes on with it"

    def test_before_anything_is_computed_stored_or_shown(self, tmp_path: Path) -> None:
        white = [np.full((48, 64, 3), 255, np.uint8)] * 12
        path = handmade.write_video(tmp_path / "v.mp4", white, codec="libx264")
        left = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
        ring = Ring(60)
        options = {"policy": "latest", "realtime": True, "buffer": 99, "preview": 24, "thumbnails": 24}
        with Reader(resolve(path)[0], Preprocess(), masks=(left,), ring=ring, **options) as frames:
            seen = [frame.data for frame in frames]
        assert frames.preview is not None and frames.thumbnails
        for data in (*seen, frames.preview.data, frames.thumbnails[0].data):
            assert not data[:, : data.shape[1] // 2 - 1].any() and (data[:, data.shape[1] // 2 + 1 :] > 250).all()
        recording = ring.record(0)
        stored = decoded(save(recording, tmp_path / "masked", (left,)))
        assert len(stored) == 12 and max(picture[:, :28].max() for picture, _ in stored) < 30
        recording.since = recording.packets[5].at
        late = [pts for _, pts in decoded(save(recording, tmp_path / "late", (left,)))]
        assert late == pytest.approx(np.arange(len(late)) / 30, abs=2e-3) and 7 <= len(late) < 12
        again = decoded(save(recording, tmp_path / "plain"))
        assert [pts for _, pts in again] == pytest.approx(np.arange(12) / 30, abs=2e-3)
        for (one, _), (two, _) in zip(decoded(path), again, strict=True):
            np.testing.assert_array_equal(one, two, "nothing was coded again")


def test_nothing_stands_for_what_lies_between_key_frames(tmp_path: Path) -> None:
    """Also of a file that is played as a camera: each is seen once, none counts as too late."""
    path = handmade.write_video(tmp_path / "v.mp4", 30, codec="libx264", rate=5)  # every eighth is one
    source = replace(resolve(path)[0], keyframes=True)
    with Reader(source, Preprocess(fps=10), policy="every") as frames:
        assert [frame.pts_s for frame in frames] == pytest.approx([0, 1.6, 3.2, 4.8])
    assert frames.captured == 4


def test_a_rule_of_a_label_that_is_not_there_is_found_at_its_camera(tmp_path: Path) -> None:
    (tmp_path / "cameras.toml").write_text(f'folder = "{tmp_path}"\n[cameras.door]\naddress = 0\nalert = "labels=nobody"\n')
    with pytest.raises(UsageError, match=r"no such label(.|\n)*cameras\.door\.alert"):
        everyframe.watch(tmp_path / "cameras.toml", print)


def decoded(path: Path) -> list[tuple[np.ndarray, float]]:
    return [(frame.picture.to_ndarray(format="rgb24"), float(frame.pts)) for frame in decode(resolve(path)[0])]


def test_an_order_survives_its_text() -> None:
    order = Order(
        Source("address", "a", ("b",), options=(("c", "d"),)), resize=(2, 3), masks=(((0.0, 0.5), (1.0, 0.0), (1.0, 1.0)),)
    )
    assert Order.loads(order.dumps()) == order


def test_passwords_are_never_shown() -> None:
    assert without_password("rtsp://me:se@cret@host:554/a?token=x&b=1") == "rtsp://me:***@host:554/a?token=***&b=1"
    assert without_password("rtsp://host/user:x@y") == "rtsp://host/user:x@y"


class TestRing:
    @given(st.lists(st.booleans(), max_size=80), st.integers(1, 30))
    def test_it_begins_with_a_key_frame_and_holds_what_is_asked(self, keys: list[bool], seconds: int) -> None:
        ring = Ring(seconds)
        packets = [Coded(float(n), n, n, 1, handmade.Fraction(1), key, b"x") for n, key in enumerate([True, *keys])]
        for packet in packets:
            ring.put(packet)
        held = list(ring.packets)
        assert held[0].key and held == packets[len(packets) - len(held) :] and ring.bytes == len(held)
        begins = packets[-1].at - seconds
        assert held[0].at <= max(begins, 0) or sum(packet.key for packet in held) == 1
        assert not any(packet.key and packet.at <= begins for packet in held[1:]), "no group that nobody wants"
        found = ring.record(begins).packets
        assert found and found[0].key and found[-1] == packets[-1]

    def test_what_is_being_written_is_finished(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ctrl-C and SIGTERM reach the process that writes, too."""
        told = "import os, signal; [os.kill(os.getpid(), n) for n in (signal.SIGINT, signal.SIGTERM)]; "
        monkeypatch.setattr(remux, "_START", told + remux._START)
        ring = Ring(60)
        path = handmade.write_video(tmp_path / "v.mp4", 12, codec="libx264")
        with Reader(resolve(path)[0], Preprocess(), ring=ring) as frames:
            assert len(list(frames)) == 12
        assert len(decoded(save(ring.record(0), tmp_path / "again"))) == 12

    def test_a_recording_goes_on_until_it_is_enough(self) -> None:
        ring = Ring(2)
        put = lambda n: ring.put(Coded(float(n), n, n, 1, handmade.Fraction(1), n % 2 == 0, b"x"))  # noqa: E731
        put(0), put(1)
        recording = ring.record(1)
        put(2), put(3)
        recording.until = 4.0
        put(4), put(5), put(6)
        assert [packet.pts for packet in recording.packets] == [0, 1, 2, 3, 4] and recording.over
        other = ring.record(6)
        ring.begin(b"head")
        assert other.over and not ring.packets


GOOD = 'model = "builtin"\n[cameras.door]\naddress = "rtsp://host/a"\n'


class TestSettings:
    def test_the_example_is_one(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        monkeypatch.setenv("DOOR_PASSWORD", "secret")
        with pytest.raises(SystemExit):
            main.run(["watch", "--example"])
        (tmp_path / "cameras.toml").write_text(capsys.readouterr().out)
        settings = config.read(tmp_path / "cameras.toml")
        assert settings.cameras["door"].address == "rtsp://user:secret@192.168.1.20/stream1"
        assert settings.cameras["desk"].address == 0

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (
                GOOD + "adress = 1\n",
                r"does not exist(.|\n)*line 4, key cameras\.door\.adress(.|\n)*did you mean address",
            ),
            (GOOD + "timeout = -1\n", r"cannot be used(.|\n)*line 4, key cameras\.door\.timeout(.|\n)*greater than 0"),
            (GOOD + "masks = [[0.5, 0, 0.4, 1]]\n", r"line 4, key cameras\.door\.masks(.|\n)*left < right"),
            (GOOD + "region = [[0, 0], [1, 2], [1, 1]]\n", r"line 4(.|\n)*from 0 to 1"),
            (GOOD + 'quiet = ["25:00-07:00"]\n', r"line 4(.|\n)*hours such as"),
            (GOOD + 'alert = "second=2"\n', r"line 4(.|\n)*no setting of an alert"),
            (GOOD + 'transport = "carrier pigeon"\n', r"line 4(.|\n)*'tcp', 'udp'"),
            (GOOD + "[sinks.mqtt]\nprot = 1\n", r"(host|prot)"),
            (GOOD + "[keep]\ndays = 0\n", r"line 5, key keep\.days"),
            ("", r"key cameras(.|\n)*required"),
            ("[cameras]\n", r"cameras"),
            ('[cameras."a b"]\naddress = 1\n', r"letters, digits"),
            ('[cameras.a]\naddress = "rtsp://x:$NOT_SET@y"\n', r"line 2(.|\n)*NOT_SET"),
            ("a = ", r"not valid TOML"),
        ],
    )
    def test_what_is_wrong_is_said_with_its_line(self, text: str, said: str, tmp_path: Path) -> None:
        (tmp_path / "cameras.toml").write_text(text)
        with pytest.raises(UsageError, match=said):
            config.read(tmp_path / "cameras.toml")

    def test_no_file(self, capsys: pytest.CaptureFixture[str]) -> None:
        for arguments in (["watch", "missing.toml"], ["watch"]):
            with pytest.raises(SystemExit) as ended:
                main.run(arguments)
            assert ended.value.code == 2
            assert "--example" in capsys.readouterr().err

    def test_quiet_hours(self) -> None:
        camera = config.CameraSettings(address=0, quiet=("22:00-07:00", "12:30-13:00"))
        quiet = [h for h in range(24) for m in (0, 45) if camera.is_quiet(time.struct_time((2026, 1, 1, h, m, 0, 0, 1, 0)))]
        assert quiet == [h for h in range(24) for m in (0, 45) if h >= 22 or h < 7 or (h, m) == (12, 45)]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[everyframe.Program]:
    path = handmade.brightness_step(tmp_path_factory.mktemp("watch") / "step.onnx")
    with everyframe.open(path, engine="ort") as opened:
        yield opened


def said(scores: list[float], rate: float = 10.0) -> list[Prediction]:
    """Of `dark`, `bright` and `medium`: so much for bright."""
    return [Prediction(n, n / rate, row := np.array([1 - s, s, 0.0], np.float32), row, ()) for n, s in enumerate(scores)]


class TestEvents:
    RULE = AlertRule(("bright",), threshold=0.6, release=0.4, seconds=0.2, quiet=0)

    def run(self, program: everyframe.Program, scores: list[float], **more: Any) -> list[CameraEvent]:
        events = Events("door", program, self.RULE, **more)
        found: list[CameraEvent] = []
        for prediction in said(scores):
            found += events.update(prediction)
        return [*found, *events.close()]

    @given(scores=st.lists(st.sampled_from([0.1, 0.5, 0.7, 0.95]), max_size=60), minimum=st.sampled_from([0.0, 0.5]))
    def test_laws(self, program: everyframe.Program, scores: list[float], minimum: float) -> None:
        """Each event is told as it begins and when it is over; it lasts, and its score is the highest that it had."""
        found = self.run(program, scores, minimum=minimum)
        assert [event.id for event in found[::2]] == [event.id for event in found[1::2]]
        for event in found[::2]:
            assert event.label == "bright" and event.start <= event.peak + 1e-6 and event.end is not None
            assert event.pts_s - event.began_s <= LONGEST_S
            first = round(event.began_s * 10)
            rest = scores[first:]
            length = next((n for n, score in enumerate(rest) if score < 0.4), len(rest))
            assert event.score == pytest.approx(max(rest[:length])) and event.score >= 0.6
            assert first == 0 or scores[first - 1] < 0.4
            assert length / 10 >= minimum

    def test_a_score_that_trembles_is_one(self, program: everyframe.Program) -> None:
        assert len(self.run(program, [0.1, 0.7, 0.5] + [0.7, 0.45] * 10 + [0.1] * 5)) == 2

    def test_none_begins_in_quiet_hours(self, program: everyframe.Program) -> None:
        events = Events("door", program, self.RULE)
        assert not [event for prediction in said([0.9] * 20) for event in events.update(prediction, quiet=True)]

    def test_the_models_rule(self) -> None:
        from everyframe.runtime import BUILTIN

        with everyframe.open(BUILTIN, engine="ort") as program:
            events = Events("door", program)
            assert "wave" in events.labels and program.metadata.events.background not in events.labels
            sample = BUILTIN.parent / "sample.mp4"
            moments, spans = [], []
            for prediction in program.predict(sample):
                moments += [prediction.event] if prediction.event else []
                spans += [event for event in events.update(prediction) if event.end is None]
        assert [(span.label, span.pts_s) for span in spans] == [(moment.label, moment.pts_s) for moment in moments]
        assert all(span.began_s < span.pts_s for span in spans)


EVENT = CameraEvent("20260504T120000-door-wave-0", "door", "m", "wave", 0.9, 1.0, 2.0, 3.0)


def message(phase: str = "end", **more: Any) -> dict[str, Any]:
    return {"phase": phase, **EVENT.to_dict(), **more}


class TestRecords:
    def test_lines_and_their_rotation(self, tmp_path: Path) -> None:
        path = tmp_path / "events.ndjson"
        sink = Lines(path, most=3 * len(json.dumps(message())), files=3)
        for number in range(10):
            sink.tell(message(number=number))
        sink.tell(message("begin"))
        sink.close()
        kept = [path.with_name(f"events.ndjson{suffix}") for suffix in (".2", ".1", "")]
        numbers = [json.loads(line)["number"] for each in kept for line in each.read_text().splitlines()]
        assert numbers == list(range(10))[-len(numbers) :] and len(numbers) >= 5
        assert not sink.problems and len(list(tmp_path.iterdir())) == 3

    def test_a_database_others_read(self, tmp_path: Path) -> None:
        sink = Database(tmp_path / "events.db")
        sink.tell(message("begin", end=None))
        sink.tell(message())
        sink.tell({"phase": "state", "camera": "door", "state": "lost", "reason": "gone", "at": 5.0})
        sink.close()
        with sqlite3.connect(tmp_path / "events.db") as database:
            assert database.execute('SELECT label, score, "end" FROM events').fetchall() == [("wave", 0.9, 3.0)]
            assert database.execute("SELECT * FROM states").fetchall() == [("door", "lost", "gone", 5.0)]
            assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        database.close()
        assert not sink.problems

    def test_a_full_disk_is_counted_and_leaves_no_half_line(self, tmp_path: Path) -> None:
        """A limit on the size of files refuses what is beyond, as a full disk does: also half of a line."""
        path = tmp_path / "events.ndjson"
        size, limits = len(json.dumps(message())) + 1, resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        sink = Lines(path)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2 * size + size // 2, limits[1]))
            for _ in range(4):
                sink.tell(message())
            while sink.lost < 2:
                time.sleep(0.01)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, before)
        sink.tell(message())  # there is room again
        sink.close()
        assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == [EVENT.id] * 3
        assert sink.lost == 2 and "2 messages not delivered" in sink.problems[0]


class TestKeeper:
    def test_by_days_and_by_bytes_the_oldest_first_and_only_ours(self, tmp_path: Path) -> None:
        keeper = clips.Keeper(tmp_path, days=10, most=250)
        for day in range(1, 13):
            path = tmp_path / f"2026050{day % 10}T120000-door-wave-{day}.jpg"
            path.write_bytes(b"x" * 100)
            os.utime(path, (time.time() - day * 86_400 + 60,) * 2)
        (tmp_path / "holiday.jpg").write_bytes(b"x" * 1000)
        keeper.prepare()
        keeper.close(1)
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "20260501T120000-door-wave-1.jpg", "20260502T120000-door-wave-2.jpg", "holiday.jpg",
        ]  # fmt: skip

    def test_a_folder_of_many_files_is_looked_through_without_remembering_them(self, tmp_path: Path) -> None:
        """Memory would grow with every event as long as files are kept; and too much may be more than is remembered."""
        for n in range(1500):
            (tmp_path / f"20260501T120000-door-wave-{n}.jpg").write_bytes(b"x" * 10)
            os.utime(tmp_path / f"20260501T120000-door-wave-{n}.jpg", (time.time() - 1500 + n,) * 2)
        keeper = clips.Keeper(tmp_path)
        tracemalloc.start()
        keeper.tidy()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 150_000 and len(list(tmp_path.iterdir())) == 1500
        keeper.most = 7000
        keeper.tidy()
        keeper.close(1)
        assert {path.name for path in tmp_path.iterdir()} == {f"20260501T120000-door-wave-{n}.jpg" for n in range(800, 1500)}

    def test_what_cannot_be_written_is_said(self, tmp_path: Path) -> None:
        keeper = clips.Keeper(tmp_path / "missing")
        keeper.snapshot(EVENT, np.zeros((4, 4, 3), np.uint8), lambda event: pytest.fail("it is not there"))
        keeper.close(2)
        assert keeper.lost == len(keeper.failed) == 1 and EVENT.id in keeper.failed[0]

    def test_videos_for_which_no_time_is_left_are_said_each_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """While the disk is busy with one, three more wait for it."""
        begun, go = threading.Event(), threading.Event()
        monkeypatch.setattr(clips, "save", lambda _, path, *__: (begun.set(), go.wait(10), path)[-1])
        keeper, told = clips.Keeper(tmp_path), []
        events = [replace(EVENT, id=f"{EVENT.id}{n}") for n in range(4)]
        for event in events:
            keeper.begin(event, Recording(b"", [Coded(0.0, 0, 0, 1, Fraction(1, 10), True, b"x")], 99), (), told.append)
        keeper.end(events[0], -10)
        assert begun.wait(10)
        keeper.close(0.0)
        assert keeper.lost == 3 and "no time was left" in keeper.failed[-1]
        go.set()
        keeper._thread.join(10)
        assert [event.id for event in told] == [event.id for event in events] and keeper.lost == 3


def test_metrics_are_what_prometheus_reads(figure: Callable[[str], None]) -> None:
    status = Status('a"b', "s", "m\\n", "live", "", 0.0, 25.0, 10, 7, 3, 2, 1, 5, 12.0, 0.0, ())
    text = metrics.text([status], {('a"b', "wave"): 3}, {"mqtt": 1})
    parser = pytest.importorskip("prometheus_client.parser")
    found = {sample.name: sample for family in parser.text_string_to_metric_families(text) for sample in family.samples}
    assert found["everyframe_camera_frames_dropped_total"].value == 3
    assert found["everyframe_events_total"].labels == {"camera": 'a"b', "label": "wave"}
    assert found["everyframe_undelivered_total"].value == 1
    assert found["everyframe_camera_latency_seconds"].value == 0.012
