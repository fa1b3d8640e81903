"""The built-in motion model and the verbs that make and measure it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from everyframe import modelfile
from everyframe.cli.main import run
from everyframe.errors import SourceError, UsageError
from everyframe.modelfile.schema import Preprocess
from everyframe.motions import clips, evaluate, flow_rule, metrics
from everyframe.motions.export import SWAP
from everyframe.rendering.hands.motions import LABELS, Interval
from helpers import built_in_size

ASSETS = evaluate.BUILT_IN.parent
DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def test_the_built_in_model_is_small_steps_frame_by_frame_and_says_what_it_is() -> None:
    metadata = modelfile.metadata_of(modelfile.load(evaluate.BUILT_IN))
    assert metadata is not None and metadata.labels == LABELS and metadata.kind == "step"
    assert metadata.hop == 1 and metadata.feature_delay == 0 and metadata.events is not None
    assert evaluate.BUILT_IN.stat().st_size < 1_000_000
    assert metadata.provenance.weights_sha256


def test_in_a_mirror_left_is_right_and_nothing_else_changes() -> None:
    """At every frame, on noise that moves and on the sample: the mean of both looks is the same whichever comes first."""
    model = evaluate.open_model(evaluate.BUILT_IN)
    noise = np.random.default_rng(0).integers(0, 256, (30, *built_in_size()), np.uint8)
    for video in (noise, clips.read(ASSETS / "sample.mp4", model.preprocess)[:60]):
        scores = model.score(video)
        np.testing.assert_allclose(model.score(video[:, :, ::-1])[:, list(SWAP)], scores, atol=1e-5)
        assert np.abs(scores[:, list(SWAP)] - scores).max() > 0.01, "sides matter"


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


def test_a_rule_is_tuned_to_the_most_hits_that_a_limit_of_false_events_allows() -> None:
    """Of streams with a sure gesture each, unsure ones and events that are none; where nothing keeps the limit, the fewest."""
    rng = np.random.default_rng(0)
    scores, intervals = [], []
    for _ in range(20):
        score = np.full((72, len(LABELS)), 0.01)
        score[:, 0] = 1
        heights = ((12, 0.9), (36, rng.uniform(0.5, 0.8)), (60, rng.uniform(0.5, 0.65)))
        for first, height in heights:
            score[first : first + 5, 1], score[first : first + 5, 0] = height, 1 - height - 0.06
        scores.append(score)
        intervals.append([Interval(LABELS[1], at, at + 0.5, at + 0.5) for at in (1.0, 3.0)])

    def counted(limit: float) -> tuple[int, float, float]:
        rule = metrics.tune(scores, intervals, 12.0, limit)
        told = metrics.tally(scores, intervals, rule, 12.0)
        return sum(told.hits.values()), told.report()["false_per_minute"], rule.threshold

    found = [counted(limit) for limit in (0.0, 2.0, 5.0, 10.0)]
    assert all(false <= limit for (_, false, _), limit in zip(found, (0.0, 2.0, 5.0, 10.0), strict=True))
    assert [hits for hits, *_ in found] == sorted(hits for hits, *_ in found)
    assert 20 <= found[0][0] < found[-1][0] == 40 and found[0][2] > found[-1][2]
    nothing = [[] for _ in scores]
    assert metrics.tally(scores, nothing, metrics.tune(scores, nothing, 12.0, 0.0), 12.0).report()["false_per_minute"] <= 10.0


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


def test_what_counts_in_a_folder_is_its_name_or_what_the_map_says(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "a.mp4" for folder in ("Swipe-Left", "wave", "links", "pointing", "swiping_up")]
    none = ("none",)
    known = {"Swipe-Left": ("swipe_left",), "wave": ("wave",), "links": none, "pointing": none, "swiping_up": ("swipe_up",)}
    assert clips.classes(paths) == known
    assert clips.classes(paths, {"links": "swipe_left"}) == {**known, "links": ("swipe_left",)}
    assert clips.classes(paths[2:4]) == {}, "nobody makes a gesture there"
    with pytest.raises(UsageError, match="label map"):
        clips.classes(paths, {"links": "swipe"})


def test_folders_of_ones_own_are_scored_by_their_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample, cut into a clip a gesture: events are right because of the map, and were all false without it."""
    model = evaluate.open_model(evaluate.BUILT_IN)
    truth = json.loads((ASSETS / "sample.json").read_text())["intervals"]
    sample = clips.read(ASSETS / "sample.mp4", model.preprocess)
    parts = {}
    for number, one in enumerate(truth):
        path = tmp_path / "mine" / f"it is {one['label']}" / f"{number}.mp4"
        path.parent.mkdir(parents=True)
        path.touch()
        parts[path] = sample[round((one["start_s"] - 0.6) * 12) : round((one["end_s"] + 0.1) * 12)]  # cut where it ends
    monkeypatch.setattr(clips, "read", lambda path, _: parts[path])
    names = {path.parent.name: path.parent.name.removeprefix("it is ") for path in parts}
    found = evaluate.real(model, tmp_path / "mine", names, lambda _: None)["mine"]
    assert found["mapped_clips"] == 7 and found["first"] >= 5 / 7 and found["silent"] <= 2 / 7
    assert found["as_cut"]["first"] <= found["first"], "the held last frame only adds"
    assert evaluate.real(model, tmp_path / "mine", None, lambda _: None)["mine"]["false_per_minute"] > 0
    strict = evaluate.open_model(evaluate.BUILT_IN, threshold=1.0)
    assert evaluate.real(strict, tmp_path / "mine", names, lambda _: None)["mine"]["silent"] == 1.0
    with pytest.raises(SourceError, match="no videos"):
        evaluate.real(model, ASSETS.parent / "cli", None, lambda _: None)


@pytest.mark.skipif(not (DATA / "hand_gestures").is_dir(), reason="no real clips here")
def test_real_clips_are_read_at_one_rate() -> None:
    first = clips.videos(DATA / "hand_gestures" / "val")[0]
    video = clips.read(first, Preprocess(color="gray", resize=(48, 64), fps=12, mean=(0.5,), std=(0.25,)))
    assert video.shape == (24, 48, 64)
