"""The built-in motion model and the verbs that make and measure it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from everyframe import modelfile
from everyframe.cli.main import run
from everyframe.modelfile.schema import Preprocess
from everyframe.motions import clips, evaluate, flow_rule, metrics
from everyframe.motions.render.motions import LABELS, Interval

ASSETS = evaluate.BUILT_IN.parent
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def test_the_built_in_model_is_small_steps_frame_by_frame_and_says_what_it_is() -> None:
    metadata = modelfile.metadata_of(modelfile.load(evaluate.BUILT_IN))
    assert metadata is not None and metadata.labels == LABELS and metadata.kind == "step"
    assert metadata.hop == 1 and metadata.feature_delay == 0 and metadata.events is not None
    assert evaluate.BUILT_IN.stat().st_size < 2_000_000
    assert metadata.provenance.weights_sha256


def test_the_sample_clip_is_recognized() -> None:
    model = evaluate.open_model(evaluate.BUILT_IN)
    truth = json.loads((ASSETS / "sample.json").read_text())
    video = clips.read(ASSETS / "sample.mp4", model.preprocess)
    total = metrics.Tally()
    intervals = [Interval(i["label"], i["start_s"], i["end_s"], i["end_s"]) for i in truth["intervals"]]
    total.add(metrics.detect(model.score(video), model.rule, 12.0), intervals, len(video) / 12.0)
    assert len(intervals) == 7 and sum(total.hits.values()) >= 6
    assert sum(total.false.values()) <= 1


def test_evaluation_has_everything_and_order_matters(tmp_path: Path) -> None:
    model = evaluate.open_model(evaluate.BUILT_IN)
    report = evaluate.evaluate(model, sizes={"streams": 8, "negatives": 4, "singles": 5}, baseline=False)[model.name]
    singles = report["singles"]
    assert singles["count"] == 40 and singles["accuracy"] > singles["shuffled"]
    assert singles["accuracy"] > singles["reversed_against_same_label"]
    assert report["streams"]["minutes"] == pytest.approx(8 * 4 / 60, abs=0.01)
    json.dumps(report)


def test_the_flow_rule_sees_plain_directions() -> None:
    y, x = np.mgrid[:48, :64]
    for label, (dx, dy) in (
        ("swipe_left", (5, 0)),
        ("swipe_right", (-5, 0)),
        ("swipe_up", (0, -4)),
        ("swipe_down", (0, 4)),
    ):
        t = np.arange(12)[:, None, None] - 6
        video = (255 * np.exp(-((x - 32 - dx * t) ** 2 + (y - 24 - dy * t) ** 2) / 40)).astype(np.uint8)
        scores = flow_rule.scores(video, 12.0)
        assert LABELS[1 + scores[:, 1:].max(0).argmax()] == label


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "nosuch"], "no such recipe"),
        (["train", "motions", "--set", "start=nosuch.safetensors", "-o", "{tmp}"], "no such checkpoint"),
        (["evaluate", "nosuch.onnx"], "no such model"),
        (["evaluate", "builtin", "--data", "nosuch"], "no such folder"),
    ],
)
def test_bad_arguments_end_with_two(arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run([a.replace("{tmp}", str(tmp_path)) for a in arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.skipif(not (DATA / "hand_gestures").is_dir(), reason="no real clips here")
def test_real_clips_are_read_at_one_rate() -> None:
    first = clips.videos(DATA / "hand_gestures" / "val")[0]
    video = clips.read(first, Preprocess(color="gray", resize=(48, 64), fps=12, mean=(0.5,), std=(0.25,)))
    assert video.shape == (24, 48, 64)
