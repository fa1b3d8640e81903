"""The parts of teaching: the head and what leaving out means, moments of an example, the event rule."""

from __future__ import annotations

import numpy as np

from everyframe.teaching.head import Rows, leave_one_out
from everyframe.teaching.moments import Span, before, gesture, span
from everyframe.teaching.rule import Stream, outcome, tune


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
        penalty, unseen = leave_one_out(rows, range(18), penalties=(1e-4,))
        features = rows.coordinates @ rows.basis * rows.scale + rows.mean
        own = features[rows.group == 0]
        assert (rows.head(rows.fit(penalty)).logits(own).argmax(1) == 2).all()
        assert (unseen[0].logits(own).argmax(1) == 0).all()

    def test_what_is_left_out_cannot_change_its_head(self) -> None:
        """The same whatever stands there, up to the scale of the features."""
        rows = self.rows()
        _, before_ = leave_one_out(rows, [4], penalties=(0.01,))
        rows.coordinates[rows.group == 4] = 1e3
        rows.label[rows.group == 4] = 2
        _, after = leave_one_out(rows, [4], penalties=(0.01,))
        np.testing.assert_allclose(before_[4].weight, after[4].weight, atol=2e-2 * np.abs(before_[4].weight).max())


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
        assert rule.threshold == 0.7 and (found.hits, found.false) == (5, 0)
