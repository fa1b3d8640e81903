"""Evaluation on labeled videos: what clips, videos and streams say, counted; controls; the files it writes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from PIL import Image

import everyframe
from clips import change, clip_net
from everyframe.cli.main import run
from everyframe.data.clips import Clip, Collection, folder_clip
from everyframe.data.decode import pictures
from everyframe.errors import ModelError, SourceError, UsageError
from everyframe.evaluation import Pair, Result, evaluate, open_pair, report
from everyframe.evaluation.controls import CONDITIONS
from everyframe.evaluation.match import match, read_map
from everyframe.evaluation.measure import Outcome, Played, Settings, measure, rank
from everyframe.evaluation.tally import MISSED, class_rows, condition, confusion, right_from, score, wilson
from everyframe.modelfile.file import attach, save
from everyframe.modelfile.schema import Metadata, Preprocess
from handmade import write_video
from helpers import quick_export, randomise

LABELS = ("down", "left", "right", "up")
T = 8


def picture(rng: np.random.Generator, label: int, *shape: int) -> np.ndarray:
    """Noise, the brighter the higher the label, uint8."""
    return rng.integers(0, 150, shape, dtype=np.uint8) + np.uint8(30 * label)


def causal(path: Path, **meta: object) -> Path:
    """The clip network of `clips.clip_net` with all padding of time on the left, so that its streams see what its clips
    see, and a classifier fitted to `picture`; not a good one.
    """

    def shift(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            for attribute in node.attribute:
                if attribute.name == "pads":
                    before, *space, after, third, fourth = list(attribute.ints)
                    attribute.ints[:] = [before + after, *space, 0, third, fourth]

    def fit(model: onnx.ModelProto) -> None:
        rng = np.random.default_rng(1)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        clips = [picture(rng, i % 4, 1, 3, T, 12, 16).astype(np.float32) / 255 for i in range(24)]
        logits = np.concatenate([session.run(None, {"clip": clip})[0] for clip in clips])
        known = np.c_[logits, np.ones(len(logits))]
        by = np.linalg.lstsq(known, 10 * np.eye(4)[np.arange(24) % 4], rcond=None)[0].T  # (4, 5)
        for tensor in model.graph.initializer:
            if tensor.name.startswith("fc."):
                value = by[:, :4] @ numpy_helper.to_array(tensor) + (by[:, 4] if "bias" in tensor.name else 0)
                tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float32), tensor.name))

    return change(change(clip_net(path, frames=T, labels=LABELS, **meta), shift), fit)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of pictures, one a video, three of each label, of 5 to 24 frames; `down0` has exactly a clip's."""
    root = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    for number, count in enumerate((T, 17, 24, 11, 5, 16, 20, 9, 13, 24, 8, 12)):
        where = root / f"{LABELS[number // 3]}{number % 3}"
        where.mkdir()
        for frame in range(1, count + 1):
            Image.fromarray(picture(rng, (number // 3 + (frame > 8)) % 4, 18, 20, 3)).save(where / f"{frame:03d}.png")
    return root


def collected(root: Path, labels: tuple[str, ...] = LABELS) -> Collection:
    found = [folder_clip(path, labels.index(path.name[:-1]), path.name) for path in sorted(root.iterdir())]
    return Collection(labels, {"validation": tuple(found)})


@pytest.fixture(scope="module")
def collection(folder: Path) -> Collection:
    return collected(folder)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return open_pair(causal(tmp_path_factory.mktemp("model") / "clip.onnx"))


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A step takes two frames and answers late."""
    return open_pair(clip_net(tmp_path_factory.mktemp("late") / "clip.onnx", frames=T, stride=2, labels=LABELS))


@pytest.fixture(scope="module")
def result(pair: Pair, collection: Collection) -> Result:
    return evaluate(pair, collection, controls=("reversed", "shuffled", "frozen"), data="noise")


def played(pair: Pair, clip: Clip, **settings: object) -> dict[str, Played]:
    return measure(0, clip, 0, pair, Settings(**settings), lambda: False).played  # type: ignore[arg-type]


class TestOneVideo:
    def test_a_causal_stream_ends_with_what_the_clip_says(self, pair: Pair, collection: Collection) -> None:
        one = played(pair, collection.splits["validation"][0])["normal"]
        assert one.at.tolist() == list(range(1, T + 1))
        np.testing.assert_allclose(one.last, one.video, rtol=1e-4)

    @pytest.mark.parametrize("number", [0, 2, 4])
    def test_the_networks_see_what_predict_sees(self, pair: Pair, folder: Path, collection: Collection, number: int) -> None:
        clip = collection.splits["validation"][number]
        one = played(pair, clip)["normal"]
        assert pair.step is not None and pair.clip is not None
        said = list(pair.step.predict(clip.path))
        assert one.at.tolist() == [each.frame + 1 for each in said]
        assert one.ranks.tolist() == [rank(each.scores, 0) for each in said]
        np.testing.assert_array_equal(one.last, said[-1].scores)
        whole = [each.scores for each in pair.clip.predict(clip.path, stride=T)]
        if pictures(clip, pair.preprocess).shape[0] % T == 0:
            np.testing.assert_array_equal(one.video, np.mean(whole, axis=0))

    def test_controls_play_the_same_frames_in_another_order(self, pair: Pair, folder: Path, tmp_path: Path) -> None:
        source = sorted((folder / "left1").iterdir())
        for number, file in enumerate(reversed(source), 1):
            (tmp_path / f"{number:03d}.png").write_bytes(file.read_bytes())
        there, back = folder_clip(folder / "left1", 0, "there"), folder_clip(tmp_path, 0, "back")
        one, other = (played(pair, clip, conditions=("normal", "reversed")) for clip in (there, back))
        for name, twice in (("normal", "reversed"), ("reversed", "normal")):
            np.testing.assert_array_equal(one[name].last, other[twice].last)
            np.testing.assert_array_equal(one[name].ranks, other[twice].ranks)

    @given(st.integers(1, 60), st.integers(0, 5))
    def test_orders(self, n: int, seed: int) -> None:
        orders = {name: order(n, np.random.default_rng((seed, 3))) for name, order in CONDITIONS.items()}
        assert (orders["reversed"][orders["reversed"]] == orders["normal"]).all()
        assert (np.sort(orders["shuffled"]) == orders["normal"]).all()
        assert (orders["shuffled"] == CONDITIONS["shuffled"](n, np.random.default_rng((seed, 3)))).all()
        assert len(set(orders["frozen"])) == 1

    def test_a_video_too_short_is_silent_unless_flushed(self, late: Pair, folder: Path, tmp_path: Path) -> None:
        assert late.step is not None
        delay, hop = late.step.metadata.feature_delay, late.step.metadata.hop
        assert delay > 0 and hop == 2
        for number in range(1, delay + 1):
            (tmp_path / f"{number:03d}.png").write_bytes((folder / "up0" / f"{number:03d}.png").read_bytes())
        clip = folder_clip(tmp_path, 0, "short")
        silent, flushed = played(late, clip)["normal"], played(late, clip, flush=True)["normal"]
        assert silent.last is None and flushed.average is None and not len(silent.at) and not len(flushed.at)
        # as if the video had stood still at its end
        for number in range(delay + 1, -(-(2 * delay) // hop) * hop + 1):
            (tmp_path / f"{number:03d}.png").write_bytes((tmp_path / f"{delay:03d}.png").read_bytes())
        still = played(late, folder_clip(tmp_path, 0, "still"))["normal"]
        np.testing.assert_array_equal(flushed.last, still.last)


class TestViews:
    @pytest.mark.parametrize(("view", "count"), [("middle", 1), ("10-crop", 10), ("30-view", 30)])
    def test_the_stream_sees_the_center_whatever_the_clips_see(
        self, tmp_path: Path, collection: Collection, view: str, count: int
    ) -> None:
        pair = open_pair(causal(tmp_path / "clip.onnx", preprocess=Preprocess(resize=18, crop=(12, 16))))
        clip = collection.splits["validation"][2]
        one, other = (played(pair, clip, view=name)["normal"] for name in (view, "non-overlapping"))
        assert len(one.clip_ranks) == count
        np.testing.assert_array_equal(one.last, other.last)
        np.testing.assert_array_equal(one.ranks, other.ranks)

    def test_several_crops_need_a_crop(self, pair: Pair, collection: Collection) -> None:
        with pytest.raises(UsageError, match="crops nothing"):
            evaluate(pair, collection, view="10-crop")

    def test_a_crop_that_does_not_fit_is_the_videos_fault(self, tmp_path: Path, collection: Collection) -> None:
        path = causal(tmp_path / "clip.onnx", preprocess=Preprocess(resize=10, crop=(12, 16)))
        with pytest.raises(SourceError, match="None of the videos"):
            evaluate(path, collection, view="30-view")


class TestResult:
    def test_counts_add_up(self, result: Result) -> None:
        for counts in (result.confusion, result.confusion_streaming):
            assert np.array(counts).sum(1).tolist() == [row.count for row in result.classes] == [3] * 4
        normal = result.conditions["normal"]
        assert normal.video and normal.streaming and normal.streaming.frames
        assert normal.video.top1 == np.trace(np.array(result.confusion)) / result.videos
        assert normal.streaming.end.top1 == np.trace(np.array(result.confusion_streaming)) / result.videos
        assert normal.streaming.end.top1 == normal.streaming.curve[-1].top1, "the video's end is all of it"
        assert normal.streaming.settled.videos == round(normal.streaming.end.top1 * result.videos)
        assert sum(row.frames for row in result.rows) == normal.streaming.frames.count
        assert not result.partial and result.unreadable == 0 and list(result.conditions) == [
            "normal", "reversed", "shuffled", "frozen",
        ]  # fmt: skip

    @pytest.mark.parametrize("workers", [1, 3])
    def test_workers_change_nothing(self, pair: Pair, collection: Collection, result: Result, workers: int) -> None:
        again = evaluate(pair, collection, controls=("reversed", "shuffled", "frozen"), data="noise", workers=workers)
        assert again == result

    def test_the_seed_changes_the_shuffle_alone(self, pair: Pair, collection: Collection, result: Result) -> None:
        again = evaluate(pair, collection, controls=("shuffled",), seed=1)
        assert again.conditions["normal"] == result.conditions["normal"]
        assert again.conditions["shuffled"] != result.conditions["shuffled"]

    def test_the_order_of_labels_changes_nothing(self, pair: Pair, folder: Path, result: Result) -> None:
        again = evaluate(pair, collected(folder, ("up", "right", "down", "left")), controls=("reversed", "shuffled", "frozen"))
        assert again.conditions == result.conditions

    def test_is_json(self, result: Result) -> None:
        assert json.loads(json.dumps(result.to_dict(rows=True)))["rows"][0]["video"] == "down0"

    def test_a_step_model_alone(self, tmp_path: Path, collection: Collection, result: Result) -> None:
        everyframe.convert(causal(tmp_path / "clip.onnx"), tmp_path / "step.onnx")
        alone = evaluate(tmp_path / "step.onnx", collection)
        assert alone.conditions["normal"].streaming == result.conditions["normal"].streaming
        assert alone.conditions["normal"].clip is None and "no clip network" in " ".join(alone.notes)
        both = evaluate(tmp_path, collection)
        assert both.conditions["normal"] == result.conditions["normal"], "a run folder has both"

    def test_every_engine_counts_alike(self, tmp_path: Path, collection: Collection, result: Result) -> None:
        again = evaluate(causal(tmp_path / "clip.onnx"), collection, engine="reference", limit=4)
        assert [row.prediction for row in again.rows] == [row.prediction for row in result.rows][::3]

    @pytest.mark.slow
    def test_a_network_of_the_zoo(self, tmp_path: Path, collection: Collection) -> None:
        net = randomise(everyframe.models.create("shufflenet3d_0.25x", 4, frames=T, size=32), 0)
        meta = Metadata(kind="clip", frames=T, labels=LABELS, preprocess=Preprocess(resize=40, crop=(32, 32)))
        save(attach(quick_export(net, T, 32), meta), tmp_path / "clip.onnx")
        found = evaluate(tmp_path / "clip.onnx", collection, view="30-view", limit=3, flush=True)
        normal = found.conditions["normal"]
        assert normal.clip and normal.clip.count == 90 and normal.streaming and normal.streaming.end.count == 3
        assert found.timing and found.timing.hop > 1 and found.timing.rate_assumed

    def test_what_is_measured_until_ctrl_c_is_kept(self, pair: Pair, collection: Collection, result: Result) -> None:
        def interrupt(done: int, total: int) -> None:
            if done == 3:
                raise KeyboardInterrupt

        part = evaluate(pair, collection, workers=1, progress=interrupt)
        assert part.partial and part.planned == 12 and part.videos == 3
        assert [row for row in result.rows if row in part.rows] == list(part.rows)

    def test_nothing_measured_is_no_result(self, pair: Pair, collection: Collection) -> None:
        def interrupt(done: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            evaluate(pair, collection, progress=interrupt)

    def test_a_broken_video_is_named_and_does_not_count(self, pair: Pair, collection: Collection, tmp_path: Path) -> None:
        (tmp_path / "broken.mp4").write_text("no video")
        broken = Clip(tmp_path / "broken.mp4", 0, "broken")
        clips = collection.splits["validation"]
        found = evaluate(pair, replace(collection, splits={"validation": (*clips[:2], broken)}))
        assert (found.videos, found.unreadable) == (2, 1)
        assert found.rows[2].error and "broken.mp4" in found.rows[2].error
        with pytest.raises(SourceError, match=r"broken\.mp4"):
            evaluate(pair, replace(collection, splits={"validation": (broken,)}))

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"split": "test"}, "no videos in this split"),
            ({"view": "all"}, "no such view"),
            ({"controls": ("sideways",)}, "no such control"),
            ({"labels": ("a", "b", "c", "d")}, "No label of the data"),
        ],
    )
    def test_wrong_arguments(self, pair: Pair, collection: Collection, options: dict, said: str) -> None:
        with pytest.raises(UsageError, match=said):
            evaluate(pair, collection, **options)

    def test_a_folder_without_models(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="no model in this folder"):
            open_pair(tmp_path)


@st.composite
def outcomes(draw: st.DrawFn) -> list[Outcome]:
    """Videos of 7 classes with random scores; some streams are silent."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    made = []
    for _ in range(draw(st.integers(1, 12))):
        truth, frames = int(rng.integers(7)), int(rng.integers(1, 30))
        at = np.arange(int(rng.integers(1, 35)), frames + 1, int(rng.integers(1, 4)))
        ranks = rng.integers(0, 7, len(at))
        last = rng.random(7) if len(at) else None
        one = Played(tuple(rng.integers(0, 7, 3)), rng.random(7), at, ranks, last, last)
        made.append(Outcome(Clip(Path("x"), truth, "x"), truth, frames, {"normal": one}))
    return made


class TestFigures:
    @given(outcomes())
    def test_laws(self, made: list[Outcome]) -> None:
        found = condition(made, "normal", 10.0, streamed=True)
        assert found.clip and found.video and found.streaming
        frames = found.streaming.frames
        assert (frames.count if frames else 0) == sum(len(one.played["normal"].at) for one in made)
        streaming = found.streaming
        for one in (found.clip, found.video, streaming.end, frames or streaming.end, streaming.average, *streaming.curve):
            assert 0 <= one.top1 <= one.top5 <= 1
        answered = [point.answered for point in streaming.curve]
        assert answered == sorted(answered)
        assert round(answered[-1] * len(made)) == len(made) - streaming.silent
        assert found.video.low is not None and found.video.high is not None
        assert found.video.low <= found.video.top1 <= found.video.high
        counts = [confusion(made, 7, streaming=which) for which in (False, True)]
        assert counts[0] is not None and counts[0].sum() == len(made)
        assert (0 if counts[1] is None else counts[1].sum()) == len(made) - streaming.silent
        rows = class_rows(made, "abcdefg", *counts)
        assert sum(row.count for row in rows) == len(made)
        recalled = sum(row.video.recall * row.count for row in rows if row.video)
        assert recalled / len(made) == pytest.approx(found.video.top1)

    @pytest.mark.parametrize(
        ("ranks", "expected"), [([0, 0], 3), ([1, 0], 5), ([0, 1, 0, 0], 7), ([0, 1], None), ([], None)], ids=str
    )
    def test_right_from(self, ranks: list[int], expected: int | None) -> None:
        assert right_from(Played(at=3 + 2 * np.arange(len(ranks)), ranks=np.array(ranks, int))) == expected

    def test_equal_scores_go_to_the_lower_index(self) -> None:
        assert [rank(np.array([0.4, 0.2, 0.4]), i) for i in range(3)] == [0, 2, 1]

    def test_the_interval_is_wilsons(self) -> None:
        """Wilson's formula for 8 of 10, worked out by hand."""
        np.testing.assert_allclose(wilson(8, 10), (0.4902, 0.9433), atol=1e-4)
        assert wilson(0, 5)[0] == 0 and wilson(5, 5)[1] == 1

    def test_what_was_not_said_is_wrong(self) -> None:
        found = score([0, MISSED, 3, 5])
        assert found and (found.top1, found.top5) == (0.25, 0.5)


class TestLabels:
    def test_by_name_then_by_letters(self) -> None:
        found = match(("Air Drumming", "swim", "run"), ("run", "air_drumming", "sleep"), 3)
        assert found.index == (1, -1, 0)
        assert (found.data_only, found.model_only) == (("swim",), ("sleep",))

    def test_alike_labels_are_not_guessed(self) -> None:
        assert match(("A B", "c"), ("a_b", "a-b", "c"), 3).index == (-1, 2)

    def test_a_map(self, tmp_path: Path) -> None:
        (tmp_path / "map.toml").write_text('"swiping up" = "up"\n"lifting" = "up"\n')
        found = match(("swiping up", "lifting"), ("down", "up"), 2, read_map(tmp_path / "map.toml"))
        assert found.index == (1, 1)

    @pytest.mark.parametrize(
        ("text", "said"), [("a = 1", "one name for each"), ("a = ", "cannot be read"), ('z = "up"', "data does not have")]
    )
    def test_a_wrong_map(self, tmp_path: Path, text: str, said: str) -> None:
        (tmp_path / "map.toml").write_text(text)
        with pytest.raises(UsageError, match=said):
            match(("a", "up"), ("up", "down"), 2, read_map(tmp_path / "map.toml"))

    def test_a_model_without_labels(self) -> None:
        found = match(("x", "y"), None, 2)
        assert found.assumed and found.index == (0, 1)
        with pytest.raises(UsageError, match="another number"):
            match(("x", "y"), None, 3)


class Page(HTMLParser):
    """What a page loads, and whether its tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


class TestFiles:
    EPOCHS = tuple(
        {"epoch": i, "train": {"loss": 2 / (i + 1)}, "validation": {"loss": 2.1 / (i + 1), "top1": i / 9}, "learning_rate": 0.1}
        for i in range(9)
    )

    def test_everything_is_written(self, result: Result, tmp_path: Path) -> None:
        made = report.write(
            tmp_path / "new" / "report", result, epochs=self.EPOCHS, recipe="name = '<b>'", environment={"cpu": {"cores": 2}}
        )
        assert {path.name for path in made} == {
            "report.html", "metrics.json", "predictions.csv", "classes.csv", "confusion.png", "confusion_stream.png",
            "accuracy_over_time.png", "curves.png",
        }  # fmt: skip
        by_name = {path.name: path for path in made}
        assert len(list(by_name["report.html"].parent.iterdir())) == len(made), "nothing else is left"
        for name in ("confusion.png", "curves.png", "accuracy_over_time.png"):
            with Image.open(by_name[name]) as image:
                colors = image.convert("RGB").getcolors(1 << 24)
                assert image.width > 300 and colors and len(colors) > 50
        rows = list(csv.DictReader(by_name["predictions.csv"].read_text().splitlines()))
        assert len(rows) == result.videos
        assert sum(row["prediction"] == row["truth"] for row in rows) == np.trace(np.array(result.confusion))
        assert json.loads(by_name["metrics.json"].read_text()) == json.loads(json.dumps(result.to_dict()))

    def test_the_page_holds_everything(self, result: Result, tmp_path: Path) -> None:
        odd = replace(result, labels=("<script>alert(1)</script>", *result.labels[1:]), partial=True)
        report.write(tmp_path, odd, recipe="a = '</pre>'")
        text = (tmp_path / "report.html").read_text()
        page = Page()
        page.feed(text)
        assert page.open == []
        assert page.loads and all(where.startswith("data:image/png;base64,") for where in page.loads)
        assert "<script" not in text and "http" not in text.replace("http-equiv", "")
        assert "Partial" in text and "viewport" in text

    def test_a_training_alone(self, tmp_path: Path) -> None:
        made = report.write(tmp_path, epochs=self.EPOCHS, recipe="x")
        assert {path.name for path in made} == {"report.html", "curves.png"}

    @pytest.mark.parametrize("classes", [2, 60, 400])
    def test_matrices_of_any_size(self, classes: int) -> None:
        counts = np.random.default_rng(0).poisson(4 / classes, (classes, classes)).tolist()
        names = [f"a rather long label with number {i}" for i in range(classes)]
        assert report.draw.confusion(counts, names, "title")[:4] == b"\x89PNG"


class TestCommand:
    @pytest.fixture
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """clip.onnx and a folder of two classes of videos."""
        monkeypatch.chdir(tmp_path)
        causal(tmp_path / "clip.onnx")
        for label in ("up", "down"):
            (tmp_path / "videos" / label).mkdir(parents=True)
            for number in range(2):
                write_video(tmp_path / "videos" / label / f"{number}.mp4", 10 + number)
        return tmp_path

    def said(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
        code = 0
        try:
            run(["evaluate", *arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    def test_tables_and_files(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = self.said(
            capsys, "clip.onnx", "--data", "videos", "--split", "all", "--reverse", "--freeze-frame", "-o", "report"
        )
        assert (code, err) == (0, "")
        for word in ("normal", "reversed", "frozen", "4 videos", "100 %", "left, right"):
            assert word in out
        assert (here / "report" / "report.html").is_file()

    def test_json(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, _ = self.said(capsys, "clip.onnx", "--data", "videos", "--json")
        found = json.loads(out)
        assert code == 0
        assert (found["videos"], found["available"]) == (2, {"train": 2, "validation": 2})

    def test_a_run_folder_knows_its_data(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (here / "recipe.toml").write_text('name = "x"\n[model]\nname = "x3d_s"\n[data]\nroot = "videos"\nholdout = 0.5\n')
        code, out, _ = self.said(capsys, ".", "--json")
        assert code == 0
        assert json.loads(out)["videos"] == 2

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("clip.onnx",), "--data FOLDER"),
            (("clip.onnx", "--data", "nowhere"), "no such folder"),
            (("clip.onnx", "--data", "videos", "--split", "test"), "no videos in this split"),
            (("clip.onnx", "--data", "videos", "--label-map", "no.toml"), "cannot be read"),
            (("missing.onnx", "--data", "videos"), "missing.onnx"),
            (("clip.onnx", "--data", "videos", "-o", "clip.onnx"), "cannot be made"),
            (("builtin", "--data", "videos"), "--label-map"),
        ],
    )
    def test_what_is_wrong(self, here: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str) -> None:
        before = sorted(here.iterdir())
        code, out, err = self.said(capsys, *arguments)
        assert (code, out) == (2, "")
        assert said in err
        assert sorted(here.iterdir()) == before

    def test_ctrl_c_shows_what_there_is(
        self, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        measured: Callable[..., Outcome] = measure

        done: list[int] = []

        def slow(number: int, *rest: object) -> Outcome:
            if done:
                raise KeyboardInterrupt
            done.append(number)
            return measured(number, *rest)

        monkeypatch.setattr("everyframe.evaluation.run.measure", slow)
        code, out, _ = self.said(capsys, "clip.onnx", "--data", "videos", "--workers", "1")
        assert code == 130
        assert "PARTIAL: ended after 1 of 2" in out
