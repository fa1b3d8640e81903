"""The steady label: properties that hold for any logits."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import handmade
from everyframe.cli import main
from everyframe.errors import UsageError
from everyframe.runtime import Program
from everyframe.runtime.steady import RULES, Steady, SteadyRule

LABELS = ("other", "none", "a", "b", "odd")
RULE = SteadyRule(steps=3, never=("odd",), same={"other": "none"}, background="none")
STREAMS = st.lists(st.lists(st.floats(-6, 6, width=32), min_size=5, max_size=5), max_size=40).map(
    lambda rows: np.array(rows, np.float32).reshape(-1, 5)
)


@given(STREAMS)
def test_any_stream(rows: np.ndarray) -> None:
    steady = Steady(RULE, LABELS)
    answers = [steady.update(row) for row in rows]
    for n, (mean, _) in enumerate(answers):
        np.testing.assert_allclose(mean, rows[max(0, n - 2) : n + 1].mean(0), rtol=1e-4, atol=1e-5)
    shown = [1, 1, *(index for _, index in answers)]
    assert not {0, 4} & set(shown), "what is never shown"
    changes = [a != b for a, b in itertools.pairwise(shown)]
    assert not any(a and b for a, b in itertools.pairwise(changes)), "no change right behind another"
    for n, (mean, index) in enumerate(answers):
        best = int(np.argmax(mean))
        assert index == {0: 1, 4: shown[n + 1]}.get(best, best) or index == shown[n + 1] != shown[n]
    steady.reset()
    assert [index for _, index in (steady.update(row) for row in rows)] == shown[2:]


def test_every_step_counts_once() -> None:
    """Twelve steps of one label outweigh none and are forgotten after twelve others."""
    labels = ["No gesture", "Stop Sign", "Doing other things", *RULES["tsm"].never]
    steady = Steady(RULES["tsm"], labels)
    one, other = np.eye(len(labels), dtype=np.float32)[:2]
    found = [steady.update(row)[1] for row in (*[one] * 12, *[other] * 7, *[one] * 7)]
    assert found.index(1) == 12 + 6, "seven of twelve"
    assert found[-1] == 0


def test_other_labels_and_rules_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = handmade.brightness_step(tmp_path / "step.onnx")
    with pytest.raises(UsageError, match=r"does not have the labels(.|\n)*Rolling Hand"):
        Program(model, engine="ort", steady="tsm")
    with pytest.raises(UsageError, match=r"no such rule(.|\n)*tsm"):
        Program(model, engine="ort", steady="nonsense")


def test_predict_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rule = SteadyRule(steps=3, never=("medium",), same={}, background="dark")
    monkeypatch.setitem(RULES, "tsm", rule)
    model = handmade.brightness_step(tmp_path / "step.onnx", window=1)
    levels = [*[20] * 5, *[230] * 6]
    handmade.write_video(tmp_path / "v.mp4", 11, rate=10, draw=lambda i: handmade.picture(levels[i]))
    with pytest.raises(SystemExit):
        main.run(["predict", str(model), str(tmp_path / "v.mp4"), "--steady", "tsm", "--json", "--engine", "ort"])
    said = [json.loads(line)["steady"]["label"] for line in capsys.readouterr().out.splitlines()]
    assert said == [*["dark"] * 6, *["bright"] * 5]
