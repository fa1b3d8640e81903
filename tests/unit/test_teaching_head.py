"""The parts of teaching: the head and what leaving out means, moments of an example, the event rule."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from everyframe.modelfile.schema import EventRule
from everyframe.runtime.events import EventDetector
from everyframe.teaching.head import Rows, folds, leave_out
from everyframe.teaching.moments import Span, before, gesture, span
from everyframe.teaching.rule import STRANGE, Stream, events, outcome, tune


class TestTheHead:
    @staticmethod
    def rows(seed: int = 0, examples: int = 6, classes: int = 3, width: int = 10, apart: float = 2.0) -> Rows:
        rng = np.random.default_rng(seed)
        center = apart * rng.normal(size=(classes, width))
        label = np.repeat(np.arange(classes), examples * 4)
        features = center[label] + rng.normal(size=(len(label), width))
        return Rows(features, label, np.ones(len(label)), np.arange(len(label)) // 4, classes)

    def test_the_solution_is_where_the_slope_of_the_loss_vanishes(self) -> None:
        """Written out on the features themselves, not in the coordinates in which it was found."""
        rows = self.rows()
        head = rows.head(rows.fit(0.01))
        z = rows.coordinates @ rows.basis  # standardised features
        weight = (head.weight * rows.scale).T  # (F, K) on them
        logits = z @ weight + (head.bias + head.weight @ rows.mean)
        powers = np.exp(logits - logits.max(1, keepdims=True))
        error = (powers / powers.sum(1, keepdims=True) - np.eye(3)[rows.label]) / len(z)
        assert np.abs(z.T @ error + 0.01 * weight).max() < 3e-4
        assert np.abs(error.sum(0)).max() < 3e-4

    def test_weights_count_as_repetitions(self) -> None:
        rows = self.rows()
        features = rows.coordinates @ rows.basis * rows.scale + rows.mean
        twice = np.r_[np.arange(len(features)), np.flatnonzero(rows.label == 1)]
        ones = Rows(features[twice], rows.label[twice], np.ones(len(twice)), rows.group[twice], 3)
        weighted = Rows(features, rows.label, np.where(rows.label == 1, 2.0, 1.0), rows.group, 3)
        a, b = (one.head(one.fit(0.01)).logits(features) for one in (ones, weighted))
        np.testing.assert_allclose(a, b, atol=0.02)

    def test_left_out_means_left_out(self) -> None:
        """An example under a wrong name is told by that name if it is learned from, and by its own when it is left out."""
        rows = self.rows(width=40)
        rows.label[rows.group == 0] = 2  # really class 0
        penalty, unseen = leave_out(rows, [(n,) for n in range(18)], penalties=(1e-4,))
        features = rows.coordinates @ rows.basis * rows.scale + rows.mean
        own = features[rows.group == 0]
        assert (rows.head(rows.fit(penalty)).logits(own).argmax(1) == 2).all()
        assert (unseen[0].logits(own).argmax(1) == 0).all()

    def test_what_is_left_out_cannot_change_its_head(self) -> None:
        """The same whatever stands there, up to the scale of the features."""
        rows = self.rows()
        _, before_ = leave_out(rows, [(4,)], penalties=(0.01,))
        rows.coordinates[rows.group == 4] = 1e3
        rows.label[rows.group == 4] = 2
        _, after = leave_out(rows, [(4,)], penalties=(0.01,))
        np.testing.assert_allclose(before_[4].weight, after[4].weight, atol=2e-2 * np.abs(before_[4].weight).max())

    def test_many_examples_are_left_out_in_folds_with_a_share_of_every_label(self) -> None:
        labels = [0] * 30 + [1] * 50 + [2] * 20
        made = folds(range(100), labels, most=10)
        assert sorted(group for fold in made for group in fold) == list(range(100))
        assert {tuple(sum(labels[g] == k for g in fold) for k in range(3)) for fold in made} == {(3, 5, 2)}
        assert folds(range(3), [0, 1, 1]) == [(0,), (1,), (2,)], "few are left out one by one"


class TestTheRejection:
    def test_what_was_taught_is_familiar_and_what_lies_far_off_is_background(self) -> None:
        """In every direction, and however sure the classifier alone is."""
        rows = TestTheHead.rows(apart=3.0)
        head = rows.head(rows.fit(0.01), rows.familiar())
        assert head.familiar is not None
        gestures = rows.features[rows.label > 0]
        assert np.mean(head.familiar.beyond(gestures) == 0) >= 0.95
        rng = np.random.default_rng(1)
        far = gestures.mean(0) + 50 * rng.normal(size=(200, gestures.shape[1]))
        assert (rows.head(rows.fit(0.01)).logits(far).argmax(1) > 0).any(), "the classifier alone takes some for gestures"
        assert (head.logits(far).argmax(1) == 0).all()

    def test_the_limit_is_that_of_examples_left_out(self) -> None:
        """Written out: each example against means without it."""
        rows = TestTheHead.rows(examples=3)
        found = rows.familiar()
        kept, distances = rows.label > 0, []
        for group in np.unique(rows.group[kept]):
            others = kept & (rows.group != group)
            means = [rows.features[others & (rows.label == k)].mean(0) for k in (1, 2)]
            z = [(rows.features[rows.group == group] - mean) / found.spread for mean in means]
            distances += np.square(z).mean(-1).min(0).tolist()
        assert np.isclose(found.limit, np.sort(distances)[int(np.ceil(0.95 * len(distances))) - 1])

    def test_a_gesture_left_out_is_not_familiar(self) -> None:
        rows = TestTheHead.rows(apart=6.0)
        own = rows.features[rows.label == 2]
        left = np.unique(rows.group[rows.label == 2]).tolist()
        assert (rows.familiar(left).beyond(own) > 0).all()


class TestMoments:
    def test_quiet_parts_are_found(self) -> None:
        pictures = np.zeros((40, 8, 8, 1), np.uint8)
        for t in range(12, 28):
            pictures[t, :, t % 8] = 200
        found = span(pictures)
        assert abs(found.first - 11) <= 2 and abs(found.last - 28) <= 2
        seen = np.arange(40)
        assert before(found, seen).max() < 12
        assert 18 <= gesture(found, seen, 8).min() <= 21 and gesture(found, seen, 8).max() <= 34

    def test_a_still_or_short_example_is_all_gesture(self) -> None:
        assert span(np.zeros((10, 4, 4, 1), np.uint8)) == Span(0, 9, 10)
        assert span(np.zeros((3, 4, 4, 1), np.uint8)) == Span(0, 2, 3)
        assert len(gesture(Span(0, 9, 10), np.array([30]), 1)) == 1, "never no moment at all"


class TestTheRule:
    def test_hits_and_false_events_are_counted(self) -> None:
        quiet, loud = np.tile([0.9, 0.05, 0.05], (20, 1)), np.tile([0.05, 0.9, 0.05], (5, 1))
        streams = [Stream(np.r_[quiet, loud], 1), Stream(np.r_[quiet, loud], 2), Stream(np.r_[quiet, loud], 0)]
        rule, _ = tune(streams[:1], ("none", "a", "b"), "none", 0.1)
        found = outcome(streams, rule, ("none", "a", "b"), 0.1)
        assert (found.hits, found.examples, found.false, found.quiet_false) == (1, 2, 2, 1)

    def test_a_threshold_between_noise_and_gesture_is_chosen(self) -> None:
        def flat(score: float) -> np.ndarray:
            return np.r_[np.tile([1.0, 0.0], (10, 1)), np.tile([1 - score, score], (5, 1))]

        streams = [Stream(flat(0.75), 1)] * 5 + [Stream(flat(0.62), 0)] * 5
        rule, found = tune(streams, ("none", "a"), "none", 0.1)
        assert rule.threshold == 0.75 and (found.hits, found.false) == (5, 0)

    @given(st.integers(0, 10_000))
    @settings(max_examples=25, deadline=None)
    def test_events_are_those_of_the_detector(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        scores = rng.dirichlet([0.4] * 3, 60)
        rule = EventRule(background="none", threshold=0.5, hold_steps=int(rng.integers(1, 3)), refractory_s=0.3, rearm=0.4)
        detector = EventDetector(rule, ("none", "a", "b"))
        expected = [event.index for i, row in enumerate(scores) if (event := detector.update(row, i * 0.1))]
        assert events(Stream(scores, 0), rule, ("none", "a", "b"), 0.1) == expected

    def test_events_on_gestures_that_were_not_taught_raise_the_threshold(self) -> None:
        """Right answers at 0.75; strangers reach 0.72, more often than is allowed."""

        def flat(score: float) -> np.ndarray:
            return np.r_[np.tile([1.0, 0.0], (10, 1)), np.tile([1 - score, score], (5, 1))]

        taught, strangers = [Stream(flat(0.75), 1)] * 5, [Stream(flat(0.72), STRANGE)] * 5
        alone, _ = tune(taught, ("none", "a"), "none", 0.1)
        rule, found = tune([*taught, *strangers], ("none", "a"), "none", 0.1)
        assert alone.threshold == rule.threshold == 0.75 and found.strange_a_minute == 0
        rule, found = tune([*taught, *[Stream(flat(0.9), STRANGE)] * 40], ("none", "a"), "none", 0.1)
        assert found.hits == found.strange_false == 0, "nothing tells them apart, so nothing is told"
