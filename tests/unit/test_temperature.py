"""The temperature of a model: what it divides, what it leaves alone, and that it is fitted to what is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everyframe
from clips import clip_net
from everyframe import modelfile
from everyframe.conversion import convert
from everyframe.evaluation import metrics
from everyframe.evaluation.result import Calibration
from everyframe.runtime.prediction import read, softmax
from everyframe.training.finish import calibrate

LABELS = tuple("abcd")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip and a step model, told temperatures as a training tells them."""
    root = tmp_path_factory.mktemp("run")
    clip = clip_net(root / "clip.onnx", labels=LABELS)
    modelfile.save(convert(modelfile.load(clip)).step, root / "step.onnx")
    calibrate(root, {"video": Calibration(0.1, 1.5, ()), "stream": Calibration(0.2, 2.5, ())})
    return root


def test_scores_are_those_of_divided_logits(folder: Path) -> None:
    frames = np.random.default_rng(0).random((12, 3, 12, 16)).astype(np.float32)
    with everyframe.open(folder / "step.onnx") as program:
        assert program.metadata.temperature == 2.5
        stream = program.stream()
        said = [p for frame in frames if (p := stream.step(frame[None])) is not None]
    assert said
    for one in said:
        np.testing.assert_allclose(one.scores, softmax(one.logits / 2.5), rtol=1e-6)
        assert one.top[0].index == int(one.logits.argmax())


def test_each_model_keeps_its_own_and_hands_it_on(folder: Path) -> None:
    clip = modelfile.load(folder / "clip.onnx")
    metadata = modelfile.metadata_of(clip)
    assert metadata is not None and metadata.temperature == 1.5
    assert convert(clip).metadata.temperature == 1.5, "a step model made of it later"


def test_probabilities_and_quantities_are_left_alone() -> None:
    given = np.array([[0.2, 0.5, 0.3]], np.float32)
    assert read(given, "classify", "probabilities", 3.0)[0] is given
    assert read(given, "regress", "logits", 3.0)[0] is given
    assert (read(given, "multilabel", "logits", 3.0)[0] < read(given, "multilabel", "logits")[0]).all()


def error(scores: np.ndarray, truth: np.ndarray) -> float:
    return metrics.calibration(scores.max(1), scores.argmax(1) == truth)[0]


def test_overconfident_scores_are_mended_by_the_temperature_that_fits() -> None:
    """Truths drawn by the softmax of logits / 3: divided by 3 they are right as often as they say."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 6, (4000, 5))
    truth = np.array(
        [rng.choice(5, p=row) for row in softmax(logits / 3).astype(float) / softmax(logits / 3).sum(1, keepdims=True)]
    )
    scores = softmax(logits)
    found = metrics.temperature(scores, truth)
    assert found == pytest.approx(3, rel=0.1)

    assert error(metrics.divided(scores, found), truth) < 0.03 < 0.1 < error(scores, truth)
    kept, held_out = metrics.calibrated(scores, truth)
    assert kept == found and held_out < 0.03


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 30), st.sampled_from([0.3, 1.0, 3.0]))
def test_a_temperature_is_claimed_only_where_it_helps(seed: int, videos: int, too_sure: float) -> None:
    """Of few videos the likeliest temperature is often one that makes scores worse: then it is 1."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (videos, 4))
    truth = np.array([rng.choice(4, p=row / row.sum()) for row in softmax(logits).astype(float)])
    scores = softmax(logits * too_sure)
    plain = error(scores, truth)
    found, held_out = metrics.calibrated(scores, truth)
    assert held_out < plain and error(metrics.divided(scores, found), truth) < plain if found != 1 else held_out == plain
