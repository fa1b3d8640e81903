"""`everyframe predict` as a user meets it: what is printed, what is written, how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import handmade
from everyframe.cli import main
from everyframe.cli.show.timeline import COLUMNS, Part, Timeline, clock, rows_of, save, tick_step
from everyframe.modelfile.schema import EventRule
from everyframe.runtime import Prediction, auto, play
from everyframe.runtime.prediction import best
from everyframe.video import Reader
from running import started

RUN = "import sys; from everyframe.cli import main; main.VERBS = {'predict': 'predict'}; main.run()"


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(handmade.brightness_step(tmp_path / "step.onnx"))


@pytest.fixture
def video(tmp_path: Path) -> str:
    return str(handmade.write_video(tmp_path / "v.mp4", 120, draw=lambda i: handmade.picture(230 if i >= 60 else 20, 90, 120)))


@pytest.fixture
def endless(tmp_path: Path) -> str:
    """A dark video of hours: played at its own speed, it does not end by itself."""
    dark = handmade.picture(20, 90, 120)
    return str(handmade.write_video(tmp_path / "a.mkv", 10, rate=Fraction(1, 3600), codec="libx264", draw=lambda _: dark))


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(main, "VERBS", {"predict": "predict"})
        code = 0
        try:
            main.run(["predict", *map(str, args)])
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


class TestOutput:
    def test_plain_lines_and_a_summary(self, predict, model: str, video: str) -> None:
        code, out, err = predict(model, video)
        assert (code, err) == (0, "")
        lines = out.splitlines()
        assert [line.split()[2:4] for line in lines[:2]] == [["top", "dark"], ["top", "bright"]]
        assert "frames       40 (3.90 s of video, sampled at 10 fps)" in lines
        assert "source       30 fps" in lines
        assert "predictions  37, the first at 0.30 s" in lines
        assert "dropped      0" in lines
        assert any(line.startswith("step         p50") for line in lines)

    def test_json_lines_and_nothing_else_on_stdout(
        self, predict, model: str, video: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(auto, "WORTH_MS", float("inf"))
        code, out, err = predict(model, video, "--json", "--top-k", 2)
        records = [json.loads(line) for line in out.splitlines()]
        assert code == 0
        assert [r["frame"] for r in records] == list(range(3, 40))
        assert all(list(r) == ["frame", "pts_s", "top", "engine"] for r in records)
        assert all([list(t) for t in r["top"]] == [["label", "index", "score"]] * 2 for r in records)
        assert records[0]["top"][0]["label"] == "dark" and records[-1]["top"][0]["label"] == "bright"
        assert {r["engine"] for r in records} == {"ort"}
        assert "predictions  37" in err and re.search(r"^engine       ort: a step takes .* too little", err, re.MULTILINE)

    def test_several_videos_name_their_source(self, predict, model: str, video: str) -> None:
        handmade.write_video(Path(video).with_name("w.mp4"), 15)
        code, out, _ = predict(model, Path(video).with_name("*.mp4"), "--json")
        records = [json.loads(line) for line in out.splitlines()]
        assert code == 0
        assert [(Path(r["source"]).name, r["frame"]) for r in records[:1] + records[-1:]] == [
            ("v.mp4", 3),
            ("w.mp4", 4),
        ]

    def test_events_are_lines_and_are_summed_up(self, predict, tmp_path: Path, video: str) -> None:
        rule = EventRule(background="medium", threshold=0.9, refractory_s=0.2, rearm=0.3)
        model = handmade.brightness_step(tmp_path / "events.onnx", events=rule)
        _, out, _ = predict(model, video)
        assert [line.split()[2:4] for line in out.splitlines() if " event " in line] == [
            ["event", "dark"],
            ["event", "bright"],
        ]
        assert out.splitlines()[-3].startswith("events       2")
        _, out, _ = predict(model, video, "--json")
        events = [record["event"] for line in out.splitlines() if "event" in (record := json.loads(line))]
        assert [e["label"] for e in events] == ["dark", "bright"]
        assert list(events[0]) == ["label", "index", "score", "pts_s"]

    def test_other_labels(self, predict, tmp_path: Path, model: str, video: str) -> None:
        (tmp_path / "labels.txt").write_text("night\nday\ndusk\n\n", encoding="utf-8")
        _, out, _ = predict(model, video, "--labels", tmp_path / "labels.txt")
        assert "night" in out and "day" in out and "bright" not in out

    def test_limits(self, predict, model: str, video: str) -> None:
        assert "frames       10 " in predict(model, video, "--max-frames", 10)[1]
        assert "frames       11 " in predict(model, video, "--seconds", 1)[1]  # the frame that was too late was read

    def test_a_video_too_short_for_a_prediction_says_how_long_it_must_be(self, predict, model: str, video: str) -> None:
        code, out, _ = predict(model, video, "--max-frames", 2)
        assert code == 0
        assert "predictions  none: the first comes after 4 frames (0.40 s)" in out

    def test_a_clip_model_with_a_stride(self, predict, tmp_path: Path, video: str) -> None:
        clip = handmade.brightness_clip(tmp_path / "clip.onnx")
        _, out, _ = predict(clip, video, "--stride", 3)
        assert "predictions  13" in out and "clip         p50" in out

    def test_realtime(self, predict, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is played at its own speed may be dropped, and is counted."""
        asked: list[bool] = []

        def reading(*source: Any, realtime: bool, **options: Any) -> Reader:
            asked.append(realtime)
            return Reader(*source, realtime=realtime, **options)

        monkeypatch.setattr(play, "Reader", reading)
        video = handmade.write_video(tmp_path / "short.mp4", 15)
        counts = []
        for options in ([], ["--realtime"]):
            out = predict(model, video, *options)[1]
            counts.append([int(n) for n in re.findall(r"^(?:frames|dropped) +(\d+)", out, re.MULTILINE)])
        assert asked == [False, True]
        assert counts[0] == [5, 0] and sum(counts[1]) == 5

    def test_reference_engine(self, predict, model: str, video: str) -> None:
        ort, reference = predict(model, video, "--json")[1], predict(model, video, "--json", "--engine", "reference")[1]
        tops = [[json.loads(line)["top"][0] for line in out.splitlines()] for out in (ort, reference)]
        assert [t["label"] for t in tops[0]] == [t["label"] for t in tops[1]]
        np.testing.assert_allclose([t["score"] for t in tops[0]], [t["score"] for t in tops[1]], atol=1e-5)

    def test_one_bad_video_does_not_keep_the_others(self, predict, model: str, video: str) -> None:
        Path(video).with_name("a.mp4").write_text("no video")
        code, out, err = predict(model, Path(video).parent)
        assert code == 2
        assert "predictions  37" in out
        assert err.count("error: This is not a video") == 1 and "a.mp4" in err

    def test_help_is_instant_and_has_an_example(self) -> None:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", RUN, "predict", "--help"], capture_output=True, text=True
        )
        assert "Example: everyframe predict" in done.stdout
        assert not {"numpy", "onnx", "onnxruntime", "av", "PIL"} & {
            line.split("|")[-1].strip() for line in done.stderr.splitlines()
        }


class TestTerminal:
    """With a real pseudo-terminal."""

    def test_the_live_view(self, model: str, video: str) -> None:
        import pty

        master, slave = pty.openpty()
        command = (sys.executable, "-c", RUN, "predict", model, video)
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
        seen = b""
        try:
            with started(*command, stdout=slave, stderr=slave, env=environment) as process:
                os.close(slave)
                with contextlib.suppress(OSError):  # the other side was closed
                    while chunk := os.read(master, 65536):
                        seen += chunk
                assert process.wait() == 0
        finally:
            os.close(master)
        text = seen.decode()
        assert "█" in text and "dark" in text and "dropped 0" in text and "Ctrl-C ends" in text
        assert "predictions" in text


class TestCtrlC:
    @pytest.mark.parametrize("extra", [[], ["--json"]])
    def test_ends_at_once_with_what_was_found(
        self, tmp_path: Path, model: str, endless: str, extra: list[str], figure: Callable[[str], None]
    ) -> None:
        picture = tmp_path / "t.png"
        command = ("predict", model, endless, "--realtime", "--save-timeline", str(picture), *extra)
        with started(sys.executable, "-c", RUN, *command) as process:
            assert process.stdout is not None
            first = process.stdout.readline()  # live, so it comes while the video runs
            begun = time.monotonic()
            os.killpg(process.pid, signal.SIGINT)  # what a terminal does: everybody in the group gets it
            out, err = process.communicate()
            figure(f"Ctrl-C ends a prediction in {time.monotonic() - begun:.2f} s (wanted below 1 s)")
        out = first + out
        assert process.returncode == 130
        assert "Traceback" not in out + err
        assert "predictions" in (err if extra else out)
        if extra:
            assert all(json.loads(line)["frame"] >= 3 for line in out.splitlines())
        assert opened(picture).shape[1] > 1000

    def test_several_videos_all_end(self, model: str, endless: str) -> None:
        for name in "bc":
            Path(endless).with_name(f"{name}.mkv").write_bytes(Path(endless).read_bytes())
        with started(sys.executable, "-c", RUN, "predict", model, str(Path(endless).parent), "--realtime", "--json") as process:
            assert process.stdout is not None
            said = process.stdout.readline()
            os.killpg(process.pid, signal.SIGINT)
            out, _ = process.communicate()
        assert process.returncode == 130
        assert "a.mkv" in said and "b.mkv" not in out


class TestTimeline:
    def prediction(self, i: int, scores: np.ndarray) -> Prediction:
        return Prediction(i, i / 30, scores, scores, best(scores, [str(k) for k in range(len(scores))], 1))

    def test_the_picture(self, predict, tmp_path: Path, model: str, video: str) -> None:
        path = tmp_path / "t.png"
        code, out, _ = predict(model, video, "--save-timeline", path)
        assert (code, f"timeline     {path}" in out) == (0, True)
        image = opened(path)
        assert image.shape == (84 + 92 + 3 * 52 + 46, 1360, 3)
        # the thumbnail strip: dark in its left half, bright in its right half
        strip = image[90:140]
        assert strip[:, 200:260].mean() < 60 and strip[:, 1000:1040].mean() > 200
        # the row of `dark` is filled at its beginning and empty at its end, that of `bright` the other way round
        rows = {name: image[176 + 52 * k + 10 : 176 + 52 * k + 40] for k, name in enumerate(["dark", "bright"])}
        tinted = {name: (row.max(2) - row.min(2) > 30).mean(0) for name, row in rows.items()}
        assert tinted["dark"][350:650].mean() > 0.9 > 0.1 > tinted["dark"][1000:1250].mean()
        assert tinted["bright"][350:650].mean() < 0.1 < 0.9 < tinted["bright"][1000:1250].mean()

    def test_one_picture_a_video(self, predict, tmp_path: Path, model: str, video: str) -> None:
        handmade.write_video(Path(video).with_name("w.mp4"), 15)
        predict(model, Path(video).with_name("*.mp4"), "--save-timeline", tmp_path / "t.png")
        assert {p.name for p in tmp_path.glob("*.png")} == {"t.v.png", "t.w.png"}

    def test_no_prediction_and_a_damaged_video_still_give_one(self, predict, tmp_path: Path, model: str, video: str) -> None:
        assert predict(model, video, "--max-frames", 2, "--save-timeline", tmp_path / "a.png")[0] == 0
        short = handmade.cut(handmade.write_video(tmp_path / "s.mkv", 90, codec="libx264"), 0.6)
        assert predict(model, short, "--save-timeline", tmp_path / "b.png")[0] == 2
        assert (tmp_path / "a.png").exists() and (tmp_path / "b.png").exists()

    def test_memory_is_bounded_and_peaks_survive(self) -> None:
        timeline, peaks = Timeline(["a", "b"]), {100, 7777, 40_001}
        for i in range(50_000):
            timeline.add(self.prediction(i, np.array([0.9, 0.1] if i in peaks else [0.1, 0.9], np.float32)))
        times, scores = timeline.table()
        assert COLUMNS / 2 - 1 <= len(times) < COLUMNS
        assert (timeline.predictions, (scores[:, 0] > 0.5).sum()) == (50_000, 3)
        near = times[scores[:, 0] > 0.5]
        np.testing.assert_allclose(near, [i / 30 for i in sorted(peaks)], atol=50_000 / 30 / len(times) + 0.1)
        assert np.all(np.diff(times) > 0)

    def test_of_many_labels_the_highest_are_drawn(self, tmp_path: Path) -> None:
        scores = np.zeros((3, 400), np.float32)
        scores[1, 350], scores[2, 20], scores[0, 7] = 0.9, 0.8, 0.3
        assert rows_of(scores, [str(i) for i in range(400)], [])[:3] == [350, 20, 7]
        assert rows_of(scores[:, :5], list("abcde"), []) == [0, 1, 2, 3, 4]
        timeline = Timeline([f"a rather long name of a class that does not fit {i}" for i in range(400)])
        for i, row in enumerate(scores):
            timeline.add(self.prediction(i, row))
        save(tmp_path / "t.png", [Part("model", timeline)], title="many" * 99, subtitle="labels")
        assert opened(tmp_path / "t.png").shape[0] == 84 + 12 * 52 + 46

    @pytest.mark.parametrize(
        ("seconds", "step", "text"),
        [(0.8, 0.1, "0.5 s"), (4, 0.5, "0.5 s"), (10, 1, "0 s"), (100, 10, "0 s"), (3600, 300, "0:00")],
    )
    def test_ticks_are_round(self, seconds: float, step: float, text: str) -> None:
        assert tick_step(seconds) == step
        assert clock(0.5 if step < 1 else 0, step) == text
        assert seconds / tick_step(seconds) <= 12

    def test_hours(self) -> None:
        assert clock(3725, 300) == "1:02:05"
        assert tick_step(100_000) >= 3600


def test_a_video_without_events_says_what_came_closest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = handmade.write_video(tmp_path / "still.mp4", 40, draw=lambda i: handmade.picture(90))
    with pytest.raises(SystemExit):
        main.run(["predict", "builtin", str(video), "--engine", "ort"])
    said = capsys.readouterr().out
    wanted = r"^events +0\nclosest +(?!none)\w+ 0\.\d\d at \d+\.\d\d s; an event needs 0\.\d+, \d+ times"
    assert re.search(wanted, said, re.MULTILINE), said
