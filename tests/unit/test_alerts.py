"""Alerts: when a state that lasts is one, and how they reach a program, an address and a loudspeaker."""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys
import threading
import wave
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everyframe
import handmade
from everyframe.cli import main
from everyframe.errors import EveryframeError, UsageError
from everyframe.live import sinks
from everyframe.runtime import Prediction
from everyframe.runtime.alerts import GAP_S, AlertDetector, AlertRule
from everyframe.runtime.events import Alert
from running import gone, until

RATE = 10
LABELS = ("open", "half open", "lids (%)")
RULES = st.builds(
    AlertRule,
    labels=st.just(LABELS[-1:]),
    threshold=st.sampled_from([0.5, 0.8]),
    release=st.sampled_from([None, 0.2, 0.5]),
    seconds=st.sampled_from([0.0, 0.3, 1.0, 4.0]),
    share=st.sampled_from([0.25, 0.5, 1.0]),
    quiet=st.sampled_from([0.0, 0.5, 3.0]),
    repeat=st.sampled_from([0.0, 0.7]),
)
SCORES = st.lists(st.sampled_from([0.05, 0.3, 0.55, 0.9]), max_size=120)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[everyframe.Program]:
    path = handmade.brightness_step(tmp_path_factory.mktemp("alerts") / "step.onnx")
    with everyframe.open(path, engine="ort", labels=LABELS) as opened:
        yield opened


def told(program: everyframe.Program, label: str, score: float, pts_s: float) -> Prediction:
    scores = np.full(len(LABELS), (1 - score) / (len(LABELS) - 1))
    scores[LABELS.index(label)] = score
    return Prediction(0, pts_s, scores, scores, ())


def run(detector: AlertDetector, program: everyframe.Program, scores: list[float], rate: float = RATE) -> list[Alert]:
    label = LABELS[-1]
    made = (detector.update(told(program, label, score, n / rate)) for n, score in enumerate(scores))
    return [alert for alert in made if alert is not None]


def lasting(rule: AlertRule, scores: list[float]) -> list[float]:
    """Seconds of the last ones that count in which the state was there, written out frame by frame."""
    there, on = [], False
    for score in scores:
        on = score >= (rule.off if on else rule.threshold)
        there.append(on)
    frames = round(rule.seconds * RATE)
    return [sum(there[max(0, n - frames) : n]) / RATE for n in range(len(scores))]


@given(RULES, SCORES)
@settings(max_examples=150, deadline=None)
def test_laws(program: everyframe.Program, rule: AlertRule, scores: list[float]) -> None:
    detector = AlertDetector(rule, program)
    alerts = run(detector, program, scores)
    found = lasting(rule, scores)
    for alert in alerts:
        at = round(alert.pts_s * RATE)
        assert alert.score == scores[at] >= rule.off
        assert found[at] >= rule.share * rule.seconds - 1e-6
        assert alert.began_s <= alert.pts_s
    for one, two in itertools.pairwise(alerts):
        passed = two.pts_s - one.pts_s + 1e-9
        assert passed >= (rule.repeat if two.number > one.number else rule.quiet)
        if two.number == 1:  # the state was over in between
            between = range(round(one.pts_s * RATE) + 1, round(two.pts_s * RATE))
            assert any(found[n] <= rule.share * rule.seconds + 1e-6 and scores[n] < rule.threshold for n in between)
    assert rule.repeat or all(alert.number == 1 for alert in alerts)
    detector.reset()
    assert run(detector, program, scores) == alerts, "reset is fresh"


def test_a_state_that_lasts_is_one_alert_at_any_rate(program: everyframe.Program) -> None:
    for rate in (5, 12, 30):
        detector = AlertDetector(AlertRule(LABELS[-1:], seconds=2, quiet=1), program)
        seen = [0.1] * rate + [0.9] * 6 * rate + [0.1] * rate + [0.9] * 3 * rate
        assert [alert.pts_s for alert in run(detector, program, seen, rate)] == pytest.approx([3, 10], abs=1 / rate)


def test_a_share_of_a_minute(program: everyframe.Program) -> None:
    """Eyes that close for half a second every two seconds: a quarter of the time; never two seconds at once."""
    seen = ([0.9] * 5 + [0.1] * 15) * 60
    assert not run(AlertDetector(AlertRule(LABELS[-1:], seconds=2), program), program, seen)
    (alert,) = run(AlertDetector(AlertRule(LABELS[-1:], seconds=60, share=0.15, quiet=600), program), program, seen)
    assert alert.pts_s == pytest.approx(36, abs=2)  # when nine seconds have gathered, with no need to wait for the minute


def test_repeats_count_and_stalls_say_nothing(program: everyframe.Program) -> None:
    label = LABELS[-1]
    rule = AlertRule((label,), seconds=1, quiet=60, repeat=2)
    assert [a.number for a in run(AlertDetector(rule, program), program, [0.9] * 60)] == [1, 2, 3]
    detector = AlertDetector(replace(rule, seconds=GAP_S * 3), program)
    assert detector.update(told(program, label, 0.9, 0.0)) is None
    assert detector.update(told(program, label, 0.9, 100.0)) is None, "a camera that stalled for 100 s"
    assert detector.update(told(program, label, float("nan"), 100.1)) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["labels=nobody"], "no such label"), (["second=2"], "no setting of an alert"), (["seconds"], "no setting"),
        (["seconds=two"], "no number"), (["share=0"], "share"), (["share=nan"], "share"), (["quiet=-1"], "quiet"),
        (["labels=open threshold=60"], "No score"), (["release=.9 threshold=.5"], "release"), ([], "which of its labels"),
    ],
)  # fmt: skip
def test_impossible_rules_are_refused(program: everyframe.Program, words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        AlertDetector(AlertRule.read(words), program)


def test_names_of_labels(program: everyframe.Program) -> None:
    """A space is written as _, a unit left out; what is a label as it stands is that label."""
    assert AlertRule.read(["labels=a,b seconds=2", "quiet=3"]) == AlertRule(("a", "b"), seconds=2, quiet=3)
    detector = AlertDetector(AlertRule(("half_open", "lids"), threshold=0.5, seconds=0), program)
    assert detector.update(told(program, "lids (%)", 0.7, 0.0)) == Alert("lids (%)", pytest.approx(0.85), 0.0, 0.0)


# -- where alerts go ------------------------------------------------------------------------------------------------------------


class Hook:
    """A web server that answers with the next of `codes`."""

    def __init__(self, *codes: int) -> None:
        self.got: list[dict[str, Any]] = []
        left = list(codes)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(inner) -> None:
                body = inner.rfile.read(int(inner.headers["Content-Length"]))
                code = left.pop(0) if left else 204
                if code < 300:
                    self.got.append(json.loads(body))
                inner.send_response(code)
                if 300 <= code < 400:
                    inner.send_header("Location", "/elsewhere")
                inner.end_headers()

            def do_GET(inner) -> None:
                inner.send_response(200)
                inner.end_headers()

            def log_message(inner, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/hook?token=secret"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def hook() -> Iterator[Callable[..., Hook]]:
    made: list[Hook] = []
    yield lambda *codes: made.append(Hook(*codes)) or made[-1]
    for each in made:
        each.server.shutdown()
        each.server.server_close()


ALERT = {"label": "drowsy", "score": 0.91, "pts_s": 12.5, "began_s": 11.0, "number": 1, "source": "v.mp4"}


def test_a_webhook_tries_again_and_says_what_did_not_arrive(hook: Callable[..., Hook], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "PAUSES_S", (0.0, 0.01, 0.01))
    server = hook(503, 500)
    sink = sinks.sink_of(server.address)
    sink.tell(ALERT)
    sink.close()
    assert server.got == [ALERT] and not sink.problems
    for code in (403, 302):  # a redirection would lose the alert
        refused = sinks.sink_of(hook(code).address)
        refused.tell(ALERT)
        refused.close()
        (problem,) = refused.problems
        assert f"1 alert not delivered: {code}" in problem and "secret" not in problem
    nobody = sinks.sink_of("http://127.0.0.1:9/")
    nobody.tell(ALERT)
    nobody.close()
    assert "refused" in nobody.problems[0]


def test_a_slow_sink_never_holds_up_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves no program behind: what did not end in time is ended, with what it started."""
    monkeypatch.setattr(sinks, "PATIENCE_S", 0.2)
    sink = sinks.sink_of(f"command:sh -c 'sleep 60 & echo $! > {tmp_path / 'child'}; wait'")
    for _ in range(sinks.WAITING * 3):
        sink.tell(ALERT)  # returns at once: the queue is bounded
    until(lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text().endswith("\n"))
    sink.close()
    assert f"{sinks.WAITING * 3} alerts not delivered" in sink.problems[0]
    until(lambda: gone(int((tmp_path / "child").read_text())))


def test_what_was_not_delivered_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "PATIENCE_S", 0.1)
    sink = sinks.sink_of("command:sleep 60")
    for _ in range(3):
        sink.tell(ALERT)
    sink.close()
    assert sink.lost == 3


def test_a_command_gets_words_standard_input_and_environment(tmp_path: Path) -> None:
    script = 'import sys, os, json; a = json.load(sys.stdin); assert a == json.loads(os.environ["EVERYFRAME_ALERT"]); ' \
             'open(sys.argv[1], "w").write(" ".join(sys.argv[2:]))'  # fmt: skip
    sink = sinks.sink_of(
        f"command:{sys.executable} -c '{script}' {tmp_path / 'out'} {{label}} {{score}} '{{time}};rm' {{source}} {{}}"
    )
    sink.tell({**ALERT, "label": "$(id) `id` drowsy"})
    sink.close()
    assert not sink.problems
    assert (tmp_path / "out").read_text() == "$(id) `id` drowsy 0.91 12.50;rm v.mp4 {}", "no shell has looked at it"
    failing = sinks.sink_of(f"command:{sys.executable} -c 'raise SystemExit(\"no bus\")'")
    failing.tell(ALERT)
    failing.close()
    assert failing.problems == [f"command {Path(sys.executable).name}: 1 alert not delivered: exit code 1 (no bus)"]


def test_a_sound_is_played_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with wave.open(io.BytesIO(sinks.tones())) as sound:
        assert sound.getframerate() == 22_050 and 0.9 < sound.getnframes() / 22_050 < 1.1
        heard = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
        assert 0.4 < np.abs(heard).max() / 32767 < 1
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="plays a sound"):
        sinks.sink_of("sound")
    player = tmp_path / "aplay"
    player.write_text(f'#!/bin/sh\n/bin/cp "$2" {tmp_path / "played.wav"}\n')
    player.chmod(0o755)
    sink = sinks.sink_of("sound")
    sink.tell(ALERT)
    sink.close()
    assert (tmp_path / "played.wav").read_bytes() == sinks.tones() and not sink.problems


@pytest.mark.parametrize(
    "way", ["bell", "command:", "command:no_such_program_here x", "command:'", "https:///x", "sound:no.wav", "ftp://a/b"]
)
def test_ways_that_are_none_are_refused(way: str) -> None:
    with pytest.raises(EveryframeError):
        sinks.sink_of(way)


# -- the command ----------------------------------------------------------------------------------------------------------------


def test_predict_raises_alerts(
    tmp_path: Path, hook: Callable[..., Hook], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = handmade.brightness_step(tmp_path / "step.onnx")
    video = handmade.write_video(tmp_path / "v.mp4", 120, draw=lambda i: handmade.picture(230 if i >= 60 else 20, 90, 120))
    monkeypatch.setattr(main, "VERBS", {"predict": "predict"})

    def predict(*more: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main.run(["predict", str(model), str(video), "--engine", "ort", *more])
        return (int(ended.value.code or 0), *capsys.readouterr())

    server = hook()
    code, out, err = predict(
        "--alert", server.address, "--alert-rule", "labels=bright seconds=.5", "--csv", str(tmp_path / "t.csv")
    )
    assert code == 0, err
    (got,) = server.got
    assert (got["label"], got["source"], got["model"]) == ("bright", "v.mp4", "step.onnx")
    assert got["pts_s"] - got["began_s"] == pytest.approx(0.5, abs=0.11)
    assert f"{got['pts_s']:9.2f} s  ALERT  bright" in out and "alerts       1" in out
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert [(row["row"], row["label"]) for row in rows] == [("file", rows[0]["label"]), ("alert", "bright")]
    _, out, _ = predict("--json", "--alert-rule", "labels=bright seconds=.5")
    found = [json.loads(line) for line in out.splitlines()]
    assert [each["alert"]["label"] for each in found if "alert" in each] == ["bright"]
    code, _, err = predict("--alert", "bell", "--alert-rule", "labels=bright")
    assert code == 2 and "no way to raise an alert" in err
