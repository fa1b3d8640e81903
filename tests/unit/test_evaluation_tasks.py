"""Figures of models that say more than one class: as their fields define them, and as they come of lists, clips and streams."""

from __future__ import annotations

import contextlib
import csv
import json
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import everyframe
from clips import change, clip_net
from evaluating import LABELS, T, causal, write_folder
from everyframe.cli.main import run
from everyframe.data.clips import Clip
from everyframe.data.formats.truths import read
from everyframe.data.truths import EachFrame, Labeled, Labels, Spans, Truth, Values
from everyframe.errors import EveryframeError, SourceError, UsageError
from everyframe.evaluation import Pair, metrics, open_pair, tasks
from everyframe.evaluation.fit import fit
from everyframe.evaluation.measure import Settings
from everyframe.evaluation.task_tally import TASKS


class TestDefinitions:
    @given(st.integers(0, 2**32 - 1), st.integers(1, 40))
    def test_average_precision_is_the_sum_over_thresholds(self, seed: int, count: int) -> None:
        """Each distinct score as a threshold, counted directly; few levels, so that ties are many."""
        rng = np.random.default_rng(seed)
        truth, scores = rng.random(count) < 0.4, rng.integers(0, 6, count) / 5
        found = metrics.average_precision(truth, scores)
        if not truth.any():
            assert found is None
            return
        area = before = 0.0
        for least in sorted(set(scores), reverse=True):
            said = scores >= least
            recall, precision = (truth & said).sum() / truth.sum(), (truth & said).sum() / said.sum()
            area, before = area + (recall - before) * precision, recall
        assert found == pytest.approx(area)

    def test_worked_out_by_hand(self) -> None:
        assert metrics.average_precision(np.array([0, 0, 1, 1], bool), np.array([0.1, 0.4, 0.35, 0.8])) == pytest.approx(
            0.8333333
        )
        assert metrics.average_precision(np.ones(3, bool), np.zeros(3)) == 1
        assert metrics.average_precision(np.array([1, 0], bool), np.zeros(2)) == 0.5  # a tie is no order

    @given(st.integers(0, 2**32 - 1))
    def test_f1_of_micro_and_macro(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        truth, said = rng.random((9, 4)) < 0.3, rng.random((9, 4)) < 0.5
        macro, micro = metrics.f1_scores(metrics.counts(truth, said))
        if truth.any() or said.any():
            assert micro == pytest.approx(2 * (truth & said).sum() / (truth.sum() + said.sum()))
        each = [2 * (t & s).sum() / (t.sum() + s.sum()) for t, s in zip(truth.T, said.T, strict=True) if t.any() or s.any()]
        assert macro == (pytest.approx(np.mean(each)) if each else None)

    def test_errors_and_their_intervals(self) -> None:
        rng = np.random.default_rng(4)
        truth = rng.normal(70, 12, 60)
        said = truth + rng.normal(0, 3, 60)
        assert metrics.mae(truth, said) == pytest.approx(np.mean(np.abs(truth - said)))
        assert metrics.rmse(truth, said) ** 2 == pytest.approx(np.mean((truth - said) ** 2))
        r = metrics.pearson(truth, said)
        assert r == pytest.approx(np.corrcoef(truth, said)[0, 1])
        low, high = metrics.fisher(0.5, 28) or (0, 0)  # tanh(atanh 0.5 -+ 1.96 / 5)
        assert (low, high) == (pytest.approx(0.1559, abs=1e-3), pytest.approx(0.7365, abs=1e-3))
        assert metrics.pearson(truth, np.ones(60)) is None and metrics.fisher(0.9, 3) is None
        interval = metrics.bootstrap(lambda rows: metrics.mae(*rows.T), np.stack([truth, said], 1))
        spread = np.abs(truth - said).std() / np.sqrt(60)  # of a mean of so many
        assert interval is not None
        np.testing.assert_allclose(interval, metrics.mae(truth, said) + 1.96 * spread * np.array([-1, 1]), atol=0.35 * spread)

    def test_the_published_example_of_segments(self) -> None:
        """Worked out by hand: one segment found with a third, one whole, one split in two, the background in none."""
        truth = metrics.segments([0] * 3 + [1] * 6 + [2] * 4 + [1] * 2, frozenset({0}))
        said = metrics.segments([0] * 3 + [1] * 2 + [0] * 4 + [2] * 4 + [1] * 1 + [2] * 1, frozenset({0}))
        assert truth == [(1, 3, 9), (2, 9, 13), (1, 13, 15)]
        assert said == [(1, 3, 5), (2, 9, 13), (1, 13, 14), (2, 14, 15)]
        assert metrics.edit_score(truth, said) == 0.75
        assert [metrics.overlapping(truth, said, least) for least in metrics.OVERLAPS] == [(3, 1, 0), (3, 1, 0), (2, 2, 1)]

    @given(st.lists(st.integers(0, 3), min_size=1, max_size=30))
    def test_a_truth_is_like_itself(self, labels: list[int]) -> None:
        own = metrics.segments(labels)
        assert [label for label, begin, end in own for _ in range(begin, end)] == labels
        assert metrics.edit_score(own, own) == 1
        assert metrics.overlapping(own, own, 0.5) == (len(own), 0, 0)
        assert metrics.edit_score(own, []) == metrics.edit_score([], own) == 0

    @given(st.integers(0, 2**32 - 1))
    def test_edits_are_a_distance(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        a, b, c = (metrics.segments(rng.integers(0, 3, rng.integers(1, 9))) for _ in range(3))

        def edits(one: list, other: list) -> float:
            return (1 - metrics.edit_score(one, other)) * max(len(one), len(other))

        assert edits(a, b) == pytest.approx(edits(b, a))
        assert edits(a, c) <= edits(a, b) + edits(b, c) + 1e-9


WORDS = st.sampled_from(
    ["a", "b", "path", "labels", "start", "end", "label", "segment", "x", "split", "1", "0.5", "x;y", "", "nan"]
)
VALUES = st.recursive(
    WORDS | st.none() | st.booleans() | st.floats() | st.integers(-2, 4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=6,
)  # fmt: skip


class TestLists:
    @pytest.fixture
    def clips(self, tmp_path: Path) -> Path:
        for name in ("a.mp4", "b c.mp4"):
            (tmp_path / name).write_bytes(b"")
        (tmp_path / "a.txt").write_text("x\nx\ny\n\n")
        return tmp_path

    @pytest.mark.parametrize(
        ("task", "text", "expected"),
        [
            ("multilabel", "path,labels\na.mp4,wave;clap\n", Labels(("wave", "clap"))),
            ("multilabel", 'a.mp4,"wave, clap"\n', Labels(("wave", "clap"))),
            ("multilabel", "a.mp4 wave clap\n", Labels(("wave", "clap"))),
            ("multilabel", "video,wave,clap,split\na,1,0,val\n", Labels(("wave",))),
            ("multilabel", "a.mp4 1 3\n", Labels((1, 3))),
            ("multilabel", "path,label\na.mp4,wave\na.mp4,clap\n", Labels(("wave", "clap"))),
            ("multilabel", "path,labels\na.mp4,\n", Labels(())),
            ("multilabel", '{"a.mp4": ["wave", "clap"]}', Labels(("wave", "clap"))),
            ("multilabel", '[{"video": "a", "labels": ["wave"], "split": "test"}]', Labels(("wave",))),
            ("multilabel", '{"a": {"wave": 1, "clap": 0}}', Labels(("wave",))),
            ("regress", "a.mp4,71.5\n", Values({0: 71.5})),
            ("regress", "path,angle,note\na.mp4,3,sunny\n", Values({"angle": 3.0})),
            ("regress", '{"a.mp4": {"angle": 3, "speed": null}}', Values({"angle": 3.0})),
            ("regress", '{"a.mp4": [3, 4]}', Values({0: 3.0, 1: 4.0})),
            ("frames", "path,start,end,label\na.mp4,0,1,x\na.mp4,1,2.5,y\n", Spans(((0.0, 1.0, "x"), (1.0, 2.5, "y")))),
            ("frames", "a.mp4 0 1 x\n", Spans(((0.0, 1.0, "x"),))),
            ("frames", "path,file\na.mp4,a.txt\n", EachFrame(("x", "x", "y"))),
            ("frames", "a.mp4 a.txt\n", EachFrame(("x", "x", "y"))),
            ("frames", '{"a.mp4": [{"segment": [0, 1], "label": "x"}]}', Spans(((0.0, 1.0, "x"),))),
            ("frames", '{"database": {"a": {"subset": "val", "annotations": [{"segment": [0, 1], "label": "x"}]}}}',
             Spans(((0.0, 1.0, "x"),))),
        ],
    )  # fmt: skip
    def test_what_is_read(self, clips: Path, task: str, text: str, expected: Truth) -> None:
        path = clips / f"list.{'json' if text[0] in '{[' else 'csv'}"
        path.write_text(text)
        (found,) = read(path, clips, task).clips
        assert (found.clip.path, found.truth) == (clips / "a.mp4", expected)

    @pytest.mark.parametrize(
        ("task", "text"),
        [
            ("multilabel", "path,wave,clap\na.mp4,1,maybe\n"), ("multilabel", '{"a": {"wave": 7}}'), ("multilabel", "[3]"),
            ("regress", "a.mp4,warm\n"), ("regress", '{"a": "warm"}'), ("regress", '{"a": NaN}'), ("regress", "a.mp4\n"),
            ("frames", "a.mp4,2,1,x\n"), ("frames", "a.mp4,none.txt\n"), ("frames", '{"a": 3}'),
            ("frames", '{"a": [{"label": "x"}]}'), ("frames", "elsewhere.mp4,0,1,x\n"), ("multilabel", ""), ("regress", "{"),
        ],
    )  # fmt: skip
    def test_what_is_not_understood_is_named(self, clips: Path, task: str, text: str) -> None:
        path = clips / f"list.{'json' if text[:1] in ('{', '[') else 'csv'}"
        path.write_text(text)
        with pytest.raises(SourceError, match="list"):
            read(path, clips, task)

    def test_a_folder_of_label_files(self, clips: Path) -> None:
        (clips / "groundTruth").mkdir()
        (clips / "groundTruth/a.txt").write_text("0\n1\n")
        (clips / "mapping.txt").write_text("0 rest\n1 wave\n")
        (found,) = read(clips / "groundTruth", clips, "frames", clips / "mapping.txt").clips
        assert found.truth == EachFrame(("rest", "wave"))
        (clips / "groundTruth/a.txt").write_text("0\n\n1\n")  # whose frame would the last one be?
        with pytest.raises(SourceError, match="line 2"):
            read(clips / "groundTruth", clips, "frames")
        (clips / "groundTruth/a.txt").write_text("")
        with pytest.raises(SourceError, match="empty"):
            read(clips / "groundTruth", clips, "frames")

    @settings(max_examples=150)
    @given(st.sampled_from(sorted(TASKS)), VALUES | st.lists(st.lists(WORDS, min_size=1, max_size=5), max_size=4), st.booleans())
    def test_whatever_a_list_says_it_is_read_or_refused(self, task: str, value: object, as_table: bool) -> None:
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / "a.mp4").write_bytes(b"")
            path = Path(place) / ("list.csv" if as_table else "list.json")
            rows = value if isinstance(value, list) else [value]
            cells = ([str(cell) for cell in row] if isinstance(row, list) else [str(row)] for row in rows)
            path.write_text("\n".join(",".join(row) for row in cells) if as_table else json.dumps(value))
            with contextlib.suppress(EveryframeError):
                found = read(path, Path(place), task).clips
                fitted = fit(found, task, ("x", "y"), 2)
                assert all(len(fitted.truth(one, 5, 2.0)) == (5 if task == "frames" else 2) for one in found)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    there = tmp_path_factory.mktemp("models")
    named = {"regress": {"labels": tuple(f"{label} (m)" for label in LABELS)}}
    made = {task: causal(there / f"{task}.onnx", task=task, scores="logits", **named.get(task, {})) for task in TASKS}
    change(made["frames"], framed)
    return {task: open_pair(path) for task, path in made.items()}


def framed(model: onnx.ModelProto) -> None:
    """The mean over places alone, and a classifier of each frame: logits (1, classes, T)."""
    pool, last = model.graph.node[-2:]
    (axes,) = [attribute for attribute in pool.attribute if attribute.name == "axes"]
    axes.ints[:] = [3, 4]
    (weight,) = [tensor for tensor in model.graph.initializer if tensor.name == "fc.weight"]
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight)[..., None], "fc.weight"))
    last.CopyFrom(helper.make_node("Conv", list(last.input), list(last.output), "fc"))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, len(LABELS), T)))


def said(pair: Pair, folder: Path, names: list[str]) -> np.ndarray:
    """(videos, classes): what the stream's last prediction says, by prediction itself."""
    assert pair.step is not None
    return np.array([predicted(pair, folder / name)[-1].scores for name in names])


def predicted(pair: Pair, folder: Path) -> list[everyframe.Prediction]:
    """Of the step network, over pictures that are handed over: no process decodes them."""
    assert pair.step is not None
    return list(pair.step.predict([np.asarray(Image.open(file)) for file in sorted(folder.iterdir())]))


NAMES = [f"{label}{number}" for label in LABELS for number in range(3)]


class TestModels:
    def test_any_of_several(self, pairs: dict[str, Pair], folder: Path, tmp_path: Path) -> None:
        truth = np.random.default_rng(0).random((12, 4)) < 0.4
        rows = {
            name: [label for label, there in zip(LABELS, row, strict=True) if there]
            for name, row in zip(NAMES, truth, strict=True)
        }
        (tmp_path / "list.json").write_text(json.dumps(rows))
        found = tasks.evaluate(pairs["multilabel"], read(tmp_path / "list.json", folder, "multilabel"))
        scores = said(pairs["multilabel"], folder, NAMES)
        end = found.conditions["normal"]["stream end"]
        assert end["mAP"].value == pytest.approx(metrics.mean_precision(truth, scores))
        there = scores >= 0.5
        assert end["micro F1"].value == pytest.approx(2 * (truth & there).sum() / (truth.sum() + there.sum()))
        assert [row.count for row in found.classes] == truth.sum(0).tolist()
        for i, row in enumerate(found.classes):
            assert row.figures["stream end"]["AP"].value == pytest.approx(metrics.average_precision(truth[:, i], scores[:, i]))
        assert found.curve[-1][1] == end["mAP"].value, "the video's end is all of it"
        assert found.rows[0]["stream end"] == "; ".join(np.array(LABELS)[there[0]])
        again = tasks.evaluate(pairs["multilabel"], read(tmp_path / "list.json", folder, "multilabel"), workers=3)
        assert again == found

    def test_quantities(self, pairs: dict[str, Pair], folder: Path, tmp_path: Path) -> None:
        """By name, without the units of the model's labels; one video has no number for one of them."""
        truth = np.random.default_rng(1).normal(size=(12, 2))
        lines = [f"{name},{a:.6f},{b:.6f}" for name, (a, b) in zip(NAMES, truth, strict=True)]
        lines[3] = f"{NAMES[3]},,{truth[3, 1]:.6f}"
        (tmp_path / "list.csv").write_text("\n".join(["clip,up,left", *lines]))
        found = tasks.evaluate(pairs["regress"], read(tmp_path / "list.csv", folder, "regress"))
        values = said(pairs["regress"], folder, NAMES)
        up, left = (next(row for row in found.classes if row.label == f"{name} (m)") for name in ("up", "left"))
        assert (up.count, left.count, len(found.classes)) == (11, 12, 2)
        error = np.delete(values[:, LABELS.index("up")] - truth[:, 0], 3)
        assert up.figures["stream end"]["RMSE"].value == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-4)
        r = left.figures["stream end"]["r"]
        assert r.value == pytest.approx(np.corrcoef(values[:, LABELS.index("left")], truth[:, 1])[0, 1], abs=1e-4)
        assert r.low is not None and r.high is not None and r.low < (r.value or 0) < r.high
        assert found.model_only == ("down (m)", "right (m)")

    def test_numbers_without_names_are_as_many_as_the_model_says(
        self, pairs: dict[str, Pair], folder: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "list.csv").write_text("up0,1.5\nup1,2.5\n")
        with pytest.raises(UsageError, match=r"(?s)another number of quantities.*up \(m\)"):
            tasks.evaluate(pairs["regress"], read(tmp_path / "list.csv", folder, "regress"))
        (tmp_path / "list.csv").write_text("up0,1,2,x,3,4\nup1,1,2,y,3,4\n")  # whose number is the fourth?
        with pytest.raises(UsageError, match="another number of quantities"):
            tasks.evaluate(pairs["regress"], read(tmp_path / "list.csv", folder, "regress"))
        (tmp_path / "list.csv").write_text("up0,1,2,3,4\nup1,1,2,3,4\n")
        found = tasks.evaluate(pairs["regress"], read(tmp_path / "list.csv", folder, "regress"))
        assert [row.count for row in found.classes] == [2] * 4 and found.rows[0]["truth up (m)"] == 4

    def test_labels_of_frames(self, pairs: dict[str, Pair], folder: Path, tmp_path: Path) -> None:
        """The network is causal, so that its stream says of each frame what a clip that begins with the video does."""
        pair, rng = pairs["frames"], np.random.default_rng(2)
        assert pair.step is not None and pair.clip is not None
        (tmp_path / "groundTruth").mkdir()
        right = total = 0
        for name in NAMES:
            predictions = predicted(pair, folder / name)
            labels = rng.integers(0, 4, len(predictions))
            (tmp_path / f"groundTruth/{name}.txt").write_text("\n".join(LABELS[i] for i in labels))
            right += sum(one.top[0].index == label for one, label in zip(predictions, labels, strict=True))
            total += len(labels)
        found = tasks.evaluate(
            pair, read(tmp_path / "groundTruth", folder, "frames"), settings=Settings(conditions=("normal", "reversed"))
        )
        accuracy = found.conditions["normal"]["stream"]["accuracy"]
        assert accuracy.value == pytest.approx(right / total) and accuracy.low is not None
        short = [row for row in found.rows if row["frames"] <= T]
        assert len(short) > 2 and all(row["clip accuracy"] == row["stream accuracy"] for row in short)
        assert sum(row.count for row in found.classes) == total

    def test_frames_that_come_late_are_put_where_they_belong(self, folder: Path, tmp_path: Path) -> None:
        """A network that looks ahead: with its last frame held, the stream answers all; else the last ones are wrong."""
        pair = open_pair(
            change(clip_net(tmp_path / "clip.onnx", frames=T, labels=LABELS, task="frames", scores="logits"), framed)
        )
        assert pair.step is not None
        delay = pair.step.metadata.feature_delay
        assert delay > 0
        whole = [one.top[0].index for one in predicted(pair, folder / "up1")]  # of the frames before the last `delay`
        held = [*sorted((folder / "up1").iterdir()), *[sorted((folder / "up1").iterdir())[-1]] * delay]
        (tmp_path / "held").mkdir()
        for number, file in enumerate(held):
            (tmp_path / f"held/{number:03d}.png").write_bytes(file.read_bytes())
        labels = [one.top[0].index for one in predicted(pair, tmp_path / "held")]
        assert labels[: len(whole)] == whole and len(labels) == len(whole) + delay
        (tmp_path / "list.json").write_text(json.dumps({"up1": [LABELS[i] for i in labels]}))
        data = read(tmp_path / "list.json", folder, "frames")
        flushed, cut = (tasks.evaluate(pair, data, settings=Settings(flush=flush)) for flush in (True, False))
        assert flushed.conditions["normal"]["stream"]["accuracy"].value == 1
        assert cut.conditions["normal"]["stream"]["accuracy"].value == pytest.approx(len(whole) / len(labels))

    def test_spans_are_seconds_of_the_video(self, tmp_path: Path) -> None:
        fitted = fit([Labeled(Clip(Path("x"), -1, "x"), Spans(((0.5, 1.0, "wave"),)), "x")], "frames", ("background", "wave"), 2)
        one = Labeled(Clip(Path("x"), -1, "x"), Spans(((0.5, 1.0, "wave"),)), "x")
        assert fitted.truth(one, 8, 4.0).tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
        each = Labeled(Clip(Path("x"), -1, "x"), EachFrame(("wave",) * 4 + ("background",) * 12), "x")
        fitted = fit([each], "frames", ("background", "wave"), 2)
        assert fitted.truth(each, 8, 4.0).tolist() == [1, 1, 0, 0, 0, 0, 0, 0], "annotated at twice the rate"

    @pytest.mark.parametrize("task", ["multilabel", "regress", "frames"])
    def test_everything_is_written_and_printed(
        self, pairs: dict[str, Pair], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str
    ) -> None:
        values = {"multilabel": ["up"], "regress": {"up": 1.5}, "frames": [{"start": 0, "end": 0.4, "label": "up"}]}[task]
        (tmp_path / "list.json").write_text(json.dumps(dict.fromkeys(NAMES[:4], values)))
        model = pairs[task].clip
        assert model is not None
        with contextlib.suppress(SystemExit):
            run(
                [
                    "evaluate",
                    model.path,
                    "--data",
                    str(folder),
                    "--list",
                    str(tmp_path / "list.json"),
                    "-o",
                    str(tmp_path / "out"),
                ]
            )
        out, err = capsys.readouterr()
        assert err == "" and "stream" in out and task in out
        written = {path.name for path in (tmp_path / "out").iterdir()}
        assert {"report.html", "metrics.json", "predictions.csv", "classes.csv"} <= written
        rows = list(csv.DictReader((tmp_path / "out/predictions.csv").read_text().splitlines()))
        assert [row["video"] for row in rows] == NAMES[:4]
        known = everyframe.evaluate(model.path, folder, clip_list=str(tmp_path / "list.json"))
        assert json.loads((tmp_path / "out/metrics.json").read_text()) == json.loads(json.dumps(known.to_dict()))
        assert "stream" in known._repr_html_()

    @pytest.mark.parametrize("task", ["multilabel", "regress"])
    def test_data_of_another_task_is_refused(self, pairs: dict[str, Pair], folder: Path, tmp_path: Path, task: str) -> None:
        model = pairs[task].clip
        assert model is not None
        with pytest.raises(UsageError, match=f"(?s)not what the model answers.*{task}"):
            everyframe.evaluate(model.path, folder)
        (tmp_path / "list.csv").write_text("path,start,end,label\nup0,0,1,up\n")
        with pytest.raises(EveryframeError):
            everyframe.evaluate(model.path, folder, clip_list=str(tmp_path / "list.csv"))
        with pytest.raises(UsageError, match="no videos in this split"):
            (tmp_path / "list.json").write_text(json.dumps({"up0": ["up"] if task == "multilabel" else {"up": 1}}))
            everyframe.evaluate(model.path, folder, clip_list=str(tmp_path / "list.json"), split="test")
