"""The figures of an evaluation: laws of what is counted; labels of the data and of the model, by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everyframe.data.clips import Clip
from everyframe.errors import UsageError
from everyframe.evaluation import metrics
from everyframe.evaluation.match import match, read_map
from everyframe.evaluation.measure import Outcome, Played, rank
from everyframe.evaluation.tally import (
    MISSED,
    balanced,
    calibrations,
    class_rows,
    condition,
    confusion,
    decided,
    others,
    right_from,
    score,
    wilson,
)
from everyframe.runtime.prediction import softmax


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
        one = Played(tuple(rng.integers(0, 7, 3)), rng.random(7), at, ranks, last, last, rng.random(len(at)))
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


class TestDecisions:
    @given(outcomes(), st.sampled_from([0.0, 0.05, 0.3]))
    def test_no_more_false_alarms_than_allowed_and_none_that_could_be_had_for_free(
        self, made: list[Outcome], allowed: float
    ) -> None:
        played = [one.played["normal"] for one in made]
        found = decided(made, played, 10.0, allowed)
        if found is None:
            assert not any(len(one.at) for one in played)
            return
        assert found.wrong <= allowed and found.right + found.wrong <= 1
        first = [next((i for i, s in enumerate(one.sure) if s >= found.threshold), None) for one in played]
        right = [one.at[i] for one, i in zip(played, first, strict=True) if i is not None and one.ranks[i] == 0]
        if found.frames is not None:
            assert found.right == len(right) / len(made) and found.frames == np.median(right)
            assert found.seconds == found.frames / 10

    def test_the_time_is_that_of_the_first_sure_prediction(self) -> None:
        """Two videos that are wrong while they are unsure, and right from a score of 0.8 on."""
        one = Played(at=np.array([2, 4, 6]), ranks=np.array([1, 0, 0]), sure=np.array([0.5, 0.8, 0.9]))
        made = [Outcome(Clip(Path("x"), 0, "x"), 0, 8, {"normal": one})] * 2
        found = decided(made, [one, one], 4.0, 0.0)
        assert found is not None and (found.threshold, found.right, found.wrong) == (0.8, 1.0, 0.0)
        assert (found.frames, found.seconds, found.share) == (4, 1.0, 0.5)

    @given(st.integers(0, 2**32 - 1))
    def test_the_others_are_told_from_each_other_alone(self, seed: int) -> None:
        """Whatever the largest class scores, and however many videos of it there are, it changes nothing."""
        rng = np.random.default_rng(seed)
        scores, truths = rng.random((30, 4)), [2] * 15 + rng.permutation([0, 1, 3] * 5).tolist()

        def video(truth: int, row: np.ndarray) -> Outcome:
            return Outcome(Clip(Path("x"), 0, "x"), truth, 8, {"normal": Played(video=row, last=row if row[0] > 0.3 else None)})

        made = [video(truth, row) for truth, row in zip(truths, scores, strict=True)]
        found = others(made, tuple("abcd"))
        assert found is not None and (found.without, found.classes, found.videos) == ("c", 3, 15)
        alone = [[0, 1, 3][int(row[[0, 1, 3]].argmax())] == truth for row, truth in zip(scores[15:], truths[15:], strict=True)]
        assert found.video == pytest.approx(np.mean(alone))
        assert found.stream == pytest.approx(
            np.mean([right and row[0] > 0.3 for right, row in zip(alone, scores[15:], strict=True)])
        )
        scores[:, 2] += 5
        assert others([video(truth, row) for truth, row in zip(truths, scores, strict=True)], tuple("abcd")) == found
        assert others(made[10:], tuple("abcd")) is None, "no class has most of them"

    def test_balanced_accuracy_is_the_mean_of_recalls(self) -> None:
        counts = np.array([[90, 0, 0], [5, 5, 0], [0, 0, 0]])
        assert balanced(counts, [0] * 90 + [1] * 10) == pytest.approx((1 + 0.5) / 2)
        assert balanced(counts, [0] * 90 + [1] * 20) == pytest.approx((1 + 0.25) / 2), "silent videos count as wrong"


class TestCalibration:
    @given(st.integers(0, 2**32 - 1), st.integers(1, 80))
    def test_bins_hold_everything_once(self, seed: int, count: int) -> None:
        rng = np.random.default_rng(seed)
        sure, right = rng.integers(0, 31, count) / 30, rng.random(count) < 0.5  # on the borders of bins, too
        ece, bins = metrics.calibration(sure, right)
        expected = 0.0
        for i in range(15):
            inside = (sure > i / 15 + 1e-12) & (sure <= (i + 1) / 15 + 1e-12) | ((sure == 0) & (i == 0))
            expected += abs(sure[inside].sum() - right[inside].sum()) / count
        assert ece == pytest.approx(expected)
        assert sum(n for *_, n in bins) == count
        assert sum(share * n for _, share, n in bins) == pytest.approx(right.sum())

    def test_scores_that_keep_their_promise(self) -> None:
        assert metrics.calibration(np.full(10, 0.7), np.arange(10) < 7)[0] == pytest.approx(0)
        assert metrics.calibration(np.full(10, 0.9), np.arange(10) < 7)[0] == pytest.approx(0.2)

    @pytest.mark.parametrize("hot", [0.5, 1.0, 3.0])
    def test_the_temperature_that_was_used_is_found(self, hot: float) -> None:
        """Truths drawn from a softmax, which is then sharpened or blunted."""
        rng = np.random.default_rng(0)
        logits = rng.normal(0, 2, (4000, 5))
        truth = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
        found = metrics.temperature(softmax(logits * hot), truth)
        assert found == pytest.approx(hot, rel=0.05)

    @given(outcomes())
    def test_of_videos(self, made: list[Outcome]) -> None:
        for outcome in made:  # scores add up to one
            one = outcome.played["normal"]
            for scores in (one.video, one.last):
                if scores is not None:
                    scores /= scores.sum()
        found = calibrations(made)
        spoke = sum(one.played["normal"].last is not None for one in made)
        assert sum(n for *_, n in found["video"].bins) == len(made)
        assert (sum(n for *_, n in found["stream"].bins) if "stream" in found else 0) == spoke
        assert all(0 <= one.ece <= 1 and 0.05 <= one.temperature <= 20 for one in found.values())


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
