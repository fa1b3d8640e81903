"""Evaluation on labeled videos: what clips, videos and streams say, counted; views; controls."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import everyframe
from clips import clip_net
from evaluating import LABELS, T, causal, collected, write_folder
from everyframe.data.clips import Clip, Collection, folder_clip
from everyframe.data.decode import pictures
from everyframe.errors import ModelError, SourceError, UsageError
from everyframe.evaluation import Pair, Result, evaluate, open_pair
from everyframe.evaluation.controls import CONDITIONS
from everyframe.evaluation.measure import Played, Settings, measure, rank
from everyframe.modelfile.file import attach, save
from everyframe.modelfile.schema import Metadata, Preprocess
from helpers import quick_export, randomise


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("videos"))


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
