"""The event rule: properties that hold for any scores."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everyframe
from everyframe.errors import UsageError
from everyframe.modelfile.schema import EventRule
from everyframe.runtime.events import EventDetector, asked_of
from everyframe.runtime.prediction import softmax

LABELS = ("none", "a", "b")
RULES = st.builds(
    EventRule,
    background=st.just("none"),
    threshold=st.sampled_from([0.4, 0.6, 0.9]),
    hold_steps=st.integers(1, 4),
    refractory_s=st.sampled_from([0.0, 0.5, 2.0]),
    rearm=st.sampled_from([0.0, 0.5, 0.9]),
)
STREAMS = st.lists(st.lists(st.floats(-6, 6), min_size=3, max_size=3), max_size=80).map(
    lambda rows: softmax(np.array(rows).reshape(-1, 3))
)


def run(detector: EventDetector, scores: np.ndarray) -> list:
    return [(i, e) for i, row in enumerate(scores) if (e := detector.update(row, i / 10))]


@given(RULES, STREAMS)
@settings(max_examples=150, deadline=None)
def test_laws(rule: EventRule, scores: np.ndarray) -> None:
    detector = EventDetector(rule, LABELS)
    events = run(detector, scores)
    for at, event in events:
        held = scores[at - rule.hold_steps + 1 : at + 1]
        assert event.label != "none" and LABELS[event.index] == event.label
        assert len(held) == rule.hold_steps and (held[:, event.index] >= rule.threshold).all()
        assert (held.argmax(1) == event.index).all()
        assert event.score == scores[at, event.index] and event.pts_s == at / 10
    for (one, _), (two, _) in itertools.pairwise(events):
        assert two / 10 - one / 10 >= rule.refractory_s
        assert (scores[one + 1 : two + 1, 0] >= rule.rearm).any(), "re-armed in between"
    detector.reset()
    assert run(detector, scores) == events, "reset is fresh"


@given(STREAMS)
@settings(max_examples=50, deadline=None)
def test_a_higher_threshold_never_fires_earlier(scores: np.ndarray) -> None:
    first = [
        next(iter(run(EventDetector(EventRule(background="none", threshold=t), LABELS), scores)), (10**6,))[0]
        for t in (0.5, 0.7, 0.9)
    ]
    assert first == sorted(first)


def test_one_event_for_one_long_gesture() -> None:
    detector = EventDetector(EventRule(background="none", threshold=0.6, hold_steps=2, refractory_s=0.3, rearm=0.5), LABELS)
    gesture, quiet = np.array([0.1, 0.8, 0.1]), np.array([0.9, 0.05, 0.05])
    scores = np.stack([quiet] * 3 + [gesture] * 20 + [quiet] * 3 + [gesture] * 5)
    assert [(i, e.label) for i, e in run(detector, scores)] == [(4, "a"), (27, "a")]


def test_nan_is_silence_and_wrong_shapes_are_errors() -> None:
    detector = EventDetector(EventRule(background="none", threshold=0.4), LABELS)
    assert detector.update(np.array([np.nan, 0.9, 0.1]), 0.0) is None
    with pytest.raises(UsageError, match="3 scores"):
        detector.update(np.ones(4), 0.0)
    with pytest.raises(UsageError, match="background"):
        EventDetector(EventRule(background="nothing"), LABELS)


def test_a_threshold_and_a_refractory_time_that_are_asked_for_take_the_place_of_the_models() -> None:
    rule = EventRule(background="none", threshold=0.6, refractory_s=0.8)
    with everyframe.open("builtin", engine="reference") as plain:
        kept = plain.metadata
    told = kept.model_copy(update={"events": rule})
    assert asked_of(told, None, None, "x") == told
    changed = asked_of(told, 0.3, 2.0, "x").events
    assert changed == rule.model_copy(update={"threshold": 0.3, "refractory_s": 2.0}) and told.events == rule
    for wrong in ((0.0, None), (1.5, None), (None, -1.0), (None, float("nan"))):
        with pytest.raises(UsageError):
            asked_of(told, *wrong, "x")
    with pytest.raises(UsageError, match="no events"):
        asked_of(told.model_copy(update={"events": None}), None, 1.0, "x")
    with everyframe.open("builtin", engine="reference", threshold=0.31, refractory=0.1) as program:
        assert program.metadata.events is not None
        assert (program.metadata.events.threshold, program.metadata.events.refractory_s) == (0.31, 0.1)
