"""Labels read from frozen features: what a classifier sees, the two that read it, how they are counted, and the files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

import everyframe as ef
from clips import change
from command_line import everyframe
from evaluating import LABELS, T, causal, picture
from everyframe.data.clips import Clip
from everyframe.data.decode import pictures
from everyframe.errors import ModelError, UsageError
from everyframe.evaluation.features import network
from everyframe.evaluation.measure import Settings, clip_answers
from everyframe.evaluation.probe import Features, drawn, interval, linear, neighbors, probe
from everyframe.runtime.program import Program
from handmade import write_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return causal(tmp_path_factory.mktemp("model") / "clip.onnx")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3)):
        for number, label in enumerate(LABELS):
            (root / split / label).mkdir(parents=True)
            for i in range(count):
                write_video(root / split / label / f"{i}.mp4", [picture(rng, number, 18, 20, 3) for _ in range(T)])
    return root


def separable(rng: np.random.Generator, classes: int, each: int, spread: float) -> Features:
    centers = 4 * np.linalg.qr(np.random.default_rng(9).standard_normal((12, 12)))[0][:classes]  # far apart, in all features
    labels = np.repeat(np.arange(classes), each)
    train, test = (centers[labels] + spread * rng.standard_normal((len(labels), 12)) for _ in range(2))
    return Features(train, labels, test, labels, classes)


class TestFeatures:
    def test_the_classifier_on_them_is_the_network(self, clip: Path, data: Path) -> None:
        model = onnx.load(clip)
        weight, bias = (
            next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == f"fc.{name}")
            for name in ("weight", "bias")
        )
        video = Clip(data / "val" / "up" / "0.mp4", 0, "0")
        features = network(clip).read(video, lambda: False)
        with Program(clip, engine="ort", task="regress") as program:
            frames = pictures(video, program.metadata.preprocess)
            said = [one.scores for one in clip_answers(program, frames, frames.shape[1:3], Settings(), lambda: False)]
        weight = weight.reshape(len(weight), -1)
        assert np.allclose(features @ (weight if len(weight) == len(features) else weight.T) + bias, np.mean(said, 0), atol=1e-4)

    def test_the_steps_of_a_causal_network_have_them_too(self, clip: Path, data: Path, tmp_path: Path) -> None:
        ef.convert(clip, tmp_path / "step.onnx")
        one, other = network(clip), network(tmp_path / "step.onnx")
        assert one.width == other.width
        assert other.read(Clip(data / "val" / "up" / "0.mp4", 0, "0"), lambda: False).shape == (one.width,)

    def test_what_has_no_classifier_is_refused(self, clip: Path, tmp_path: Path) -> None:
        path = tmp_path / "clip.onnx"
        path.write_bytes(clip.read_bytes())

        def without(model: onnx.ModelProto) -> None:
            mean = next(node for node in model.graph.node if node.op_type == "Gemm")
            mean.op_type = "Identity"
            del mean.input[1:], mean.attribute[:]
            model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 6

        with pytest.raises(ModelError):
            network(change(path, without))


class TestClassifiers:
    @given(st.integers(2, 5), st.integers(2, 8), st.integers(0, 99))
    @settings(max_examples=12, deadline=None)
    def test_what_lies_apart_is_told_apart_whatever_labels_are_called(self, classes: int, each: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        found, other = separable(rng, classes, each, 0.2), rng.permutation(classes)
        for classify in (linear, neighbors):
            for name in (np.arange(classes), other):
                said, _ = classify(found.train, name[found.train_labels], found.test, classes)
                assert np.array_equal(said, name[found.test_labels])

    def test_noise_says_nothing(self) -> None:
        rng = np.random.default_rng(0)
        labels = np.repeat(np.arange(4), 50)
        noise = Features(rng.standard_normal((200, 8)), labels, rng.standard_normal((200, 8)), labels, 4)
        for row in probe(noise, "noise", (5, None), 5, 0):
            assert 0.15 < row.top1 < 0.35 and row.low <= row.top1 <= row.high

    def test_neighbors_are_those_of_a_walk_over_all(self) -> None:
        rng = np.random.default_rng(1)
        found = separable(rng, 4, 9, 3.0)
        said, k = neighbors(found.train, found.train_labels, found.test, 4)
        mean, told = found.train.mean(0), []
        for row in found.test - mean:
            cosine = [float(row @ (one - mean) / np.linalg.norm(row) / np.linalg.norm(one - mean)) for one in found.train]
            nearest = sorted(range(len(cosine)), key=lambda i: -cosine[i])[: int(k)]
            votes = [sum(1 - 1e-3 * p for p, i in enumerate(nearest) if found.train_labels[i] == c) for c in range(4)]
            told.append(int(np.argmax(votes)))
        assert told == said.tolist()

    def test_neither_unit_nor_origin_of_features_changes_the_answers(self) -> None:
        found = separable(np.random.default_rng(2), 3, 12, 2.0)
        for classify in (linear, neighbors):
            plain, _ = classify(found.train, found.train_labels, found.test, 3)
            moved, _ = classify(1e3 * (found.train + 5), found.train_labels, 1e3 * (found.test + 5), 3)
            assert np.array_equal(plain, moved)

    def test_one_clip_is_enough_to_say_its_label(self) -> None:
        one = np.ones((1, 4))
        assert [classify(one, np.array([1]), one, 2)[0].tolist() for classify in (linear, neighbors)] == [[1], [1]]


class TestCounting:
    def test_a_draw_has_so_many_of_each_class(self) -> None:
        labels = np.array([0] * 3 + [1] * 9 + [2] * 20)
        taken = drawn(labels, 5, np.random.default_rng(0))
        assert np.bincount(labels[taken]).tolist() == [3, 5, 5] and len(set(taken.tolist())) == 13
        assert len(drawn(labels, None, np.random.default_rng(0))) == 32

    def test_networks_learn_from_the_same_clips_and_again_the_same(self) -> None:
        rng = np.random.default_rng(3)
        found = separable(rng, 3, 12, 2.0)
        one, other = probe(found, "a", (2, 5, None, 12), 3, 7), probe(found, "a", (2, 5, None, 12), 3, 7)
        assert one == other
        assert [(row.classifier, row.clips, row.draws) for row in one] == [
            (name, clips, draws) for name in ("linear", "neighbors") for clips, draws in ((2, 3), (5, 3), (None, 1))
        ]  # 12 of each are all

    def test_the_interval_of_a_coin_is_the_binomial_one(self) -> None:
        right = np.arange(100)[None] < 50
        low, high = interval(right, np.random.default_rng(0))
        assert low == pytest.approx(0.40, abs=0.02) and high == pytest.approx(0.60, abs=0.02)


class TestVerb:
    def test_files_and_figures(self, clip: Path, data: Path, tmp_path: Path) -> None:
        words = ["evaluate", str(clip), "--probe", "--data", str(data), "--draws", "2", "-o", str(tmp_path / "out"), "--json"]
        done = everyframe(*words)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert (found["train"], found["test"], found["missing"]) == (24, 12, 0)
        whole = [row for row in found["rows"] if row["clips"] is None]
        assert {row["classifier"] for row in whole} == {"linear", "neighbors"}
        assert max(row["top1"] for row in whole) > 0.5  # chance is a quarter; brightness tells
        assert "random weights" in found["notes"][0]  # and why there are none
        assert json.loads((tmp_path / "out" / "metrics.json").read_text())["rows"] == found["rows"]
        rows = list(csv.reader((tmp_path / "out" / "probe.csv").read_text().splitlines()))
        assert len(rows) == 1 + len(found["rows"])
        assert (tmp_path / "out" / "probe.png").stat().st_size > 1000 and (tmp_path / "out" / "report.html").is_file()

    def test_beside_another(self, clip: Path, data: Path) -> None:
        found = ef.evaluate_features(clip, data, beside=[clip], clips=[None], workers=2)
        one, other = ([row.top1 for row in found.rows if row.network == name] for name in found.width)
        assert one == other and len(found.width) == 2

    def test_a_broken_video_is_skipped_and_said(self, clip: Path, data: Path, tmp_path: Path) -> None:
        for label in LABELS:
            for split in ("train", "val"):
                there = tmp_path / split / label
                there.mkdir(parents=True, exist_ok=True)
                (there / "0.mp4").symlink_to(data / split / label / "0.mp4")
        (tmp_path / "train" / "up" / "1.mp4").write_bytes(b"no video")
        found = ef.evaluate_features(clip, tmp_path, clips=[None])
        assert found.train == 4 and len(found.skipped) == 1 and "1.mp4" in found.skipped[0]

    def test_what_it_needs_is_said(self, clip: Path, data: Path) -> None:
        with pytest.raises(UsageError, match="nothing to learn"):
            ef.evaluate_features(clip, data, draws=0)
        with pytest.raises(UsageError, match="learn from tells nothing"):
            ef.evaluate_features(clip, data, split="train")
        done = everyframe("evaluate", str(clip), "--probe")
        assert done.returncode == 2 and "--data FOLDER" in done.stderr

    def test_ctrl_c_keeps_the_networks_that_are_done(self, clip: Path, data: Path) -> None:
        def stop(done: int, _: int) -> None:
            if done > 40:  # in the second of two networks, 36 videos each
                raise KeyboardInterrupt

        found = ef.evaluate_features(clip, data, beside=[clip], clips=[None], progress=stop)
        assert (found.planned, found.missing, len(found.width)) == (2, 1, 1)
        with pytest.raises(KeyboardInterrupt):
            ef.evaluate_features(clip, data, clips=[None], progress=lambda done, _: stop(99, 0))
