"""Choices, what proposes networks, the search for a time, its log and its latency model, where the best network is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everyframe.errors import RecipeError, UsageError
from everyframe.nas import draw, trials
from everyframe.nas.controllers import CONTROLLERS, make
from everyframe.nas.controllers.policy import Controller as Policy
from everyframe.nas.find import find, rates_of
from everyframe.nas.parts import Checked, Latency, Table, every_part, line
from everyframe.nas.space import Space
from everyframe.nas.task import Part
from everyframe.nas.trials import Trial, best, front

TABLE = {
    "width": (16, 32, 48),
    "depth": (1, 2, 3),
    **{f"kind{at}": ("cheap", "good", "dear") for at in (1, 2, 3)},
    "scheme": ("none", "kgs"),
}
#: milliseconds and worth of a layer of each kind
MS, WORTH = {"cheap": 1.0, "good": 2.0, "dear": 6.0}, {"cheap": 0.2, "good": 1.0, "dear": 1.2}


def settle(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: "cheap" if name.startswith("kind") and int(name[4:]) > values["depth"] else value for name, value in values.items()
    }


SPACE = Space.of(TABLE, settle)


def kinds(values: Mapping[str, Any]) -> list[str]:
    return [values[f"kind{at}"] for at in range(1, values["depth"] + 1)]


def ms(values: Mapping[str, Any]) -> float:
    return sum(MS[kind] for kind in kinds(values)) * values["width"] / 16 * (0.7 if values["scheme"] == "kgs" else 1)


def judge(values: Mapping[str, Any]) -> float:
    return sum(WORTH[kind] for kind in kinds(values)) + np.log2(values["width"]) - (0.6 if values["scheme"] == "kgs" else 0)


@given(st.integers(0, 10**6))
def test_what_does_not_matter_is_settled(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = [SPACE.random(rng)]
    points += [SPACE.changed_at_random(points[0], rng, 0.3), SPACE.crossed(*points * 2, rng), SPACE.smallest(), SPACE.largest()]
    for point in points:
        assert point == SPACE.settled(point) == SPACE.point(SPACE.values(point))
    features = SPACE.features(points)
    assert features.shape == (5, 1 + 1 + 3 * 3 + 1) and features.min() >= 0 and features.max() <= 1
    different = len(set(points))
    assert len({row.tobytes() for row in features}) == different, "different networks look different"


def test_choices_are_changed_by_name_or_by_the_name_of_all_of_a_kind() -> None:
    changed = SPACE.changed({"kind": ("cheap", "dear"), "depth": (1, 3)})
    assert {choice.name: choice.values for choice in changed.choices} == {
        **TABLE, **{f"kind{at}": ("cheap", "dear") for at in (1, 2, 3)}, "depth": (1, 3)
    }  # fmt: skip
    for told in ({"kind": ("cheap",), "kind2": ("good",)}, {"kind2": ("good",), "kind": ("cheap",)}):
        kinds_ = {choice.name: choice.values for choice in SPACE.changed(told).choices if choice.name.startswith("kind")}
        assert kinds_ == {"kind1": ("cheap",), "kind2": ("good",), "kind3": ("cheap",)}, "what is said of one counts first"
    with pytest.raises(RecipeError, match=r"(?s)no such choice.*heigth.*width"):
        SPACE.changed({"heigth": (1,)})
    with pytest.raises(RecipeError, match="cannot be chosen"):
        SPACE.point({**SPACE.values(SPACE.smallest()), "width": 17})


@pytest.mark.parametrize("name", CONTROLLERS)
class TestEveryController:
    def test_proposes_different_networks_that_are_fast_enough(self, name: str) -> None:
        found, whole = find(SPACE, judge, ms, 9.0, name, 25, 0)
        assert whole and len(found) == 25 == len({trials.key(trial.values) for trial in found})
        assert all(trial.ms == pytest.approx(ms(trial.values), abs=1e-4) and trial.ms <= 9 for trial in found)
        assert all(trial.score == pytest.approx(judge(trial.values), abs=1e-5) for trial in found)

    def test_goes_the_same_way_again_without_judging_again(self, name: str) -> None:
        asked: list[int] = []

        def counted(values: Mapping[str, Any]) -> float:
            asked.append(1)
            return judge(values)

        whole, _ = find(SPACE, judge, ms, 9.0, name, 20, 3)
        again, _ = find(SPACE, counted, ms, 9.0, name, 20, 3, known=whole[:12])
        assert [(trial.values, trial.score) for trial in again] == [(trial.values, trial.score) for trial in whole]
        assert len(asked) == 8

    def test_ends_where_there_are_no_more(self, name: str) -> None:
        few = SPACE.changed({"kind": ("cheap",), "depth": (1, 2)})  # 2 depths, 3 widths, 2 schemes
        found, whole = find(few, judge, ms, 100.0, name, 50, 0)
        assert whole and len(found) == 12

    def test_ctrl_c_keeps_what_there_is(self, name: str) -> None:
        def interrupted(values: Mapping[str, Any], calls: list[int] = []) -> float:  # noqa: B006
            calls.append(1)
            if len(calls) > 5:
                raise KeyboardInterrupt
            return judge(values)

        kept: list[int] = []
        found, whole = find(SPACE, interrupted, ms, 9.0, name, 20, 1, kept=lambda now: kept.append(len(now)))
        assert not whole and len(found) == 5 and kept == [1, 2, 3, 4, 5]

    def test_ctrl_c_on_the_way_back_loses_nothing(self, name: str) -> None:
        """While what an earlier sitting found is walked through again."""
        before = find(SPACE, judge, ms, 9.0, name, 20, 3)[0][:12]
        walked: list[int] = []

        def interrupted(done: int, _: int) -> None:
            walked.append(done)
            if done == 4:
                raise KeyboardInterrupt

        kept: list[int] = []
        found, whole = find(
            SPACE, judge, ms, 9.0, name, 20, 3, known=before, kept=lambda now: kept.append(len(now)), progress=interrupted
        )
        assert not whole and not kept and walked[-1] == 4
        assert [(trial.values, trial.score) for trial in found] == [(trial.values, trial.score) for trial in before]


def test_those_that_learn_find_more_than_chance() -> None:
    """In 30 of some 250 networks that are fast enough; the mean over seeds."""
    means = {
        name: np.mean([best(find(SPACE, judge, ms, 9.0, name, 30, seed)[0]).score for seed in range(4)])
        for name in ("random", "evolution", "bayesian")
    }
    assert means["evolution"] > means["random"] and means["bayesian"] > means["random"]


def test_the_policy_says_more_often_what_was_good() -> None:
    policy = make("policy", SPACE, 0, lambda _: True, 100)
    assert isinstance(policy, Policy)
    at = [choice.name for choice in SPACE.choices].index("scheme")

    def share() -> float:
        return float(np.mean([policy.ask()[at] for _ in range(100)]))

    before = share()
    for _ in range(120):
        point = policy.ask()
        policy.tell(point, float(point[at]))
    assert 0.3 < before < 0.7 < 0.9 < share()


def test_the_policy_says_less_often_what_is_too_slow() -> None:
    policy = make("policy", SPACE, 0, lambda _: True, 100)
    for _ in range(120):
        point = policy.ask()
        policy.refuse(point, 0.5) if point[0] == 2 else policy.tell(point, 1.0)
    assert np.mean([policy.ask()[0] == 2 for _ in range(100)]) < 0.15


def test_a_time_that_no_network_has_is_refused() -> None:
    with pytest.raises(UsageError, match=r"(?s)No network of this search is so fast.*0\.7"):
        find(SPACE.changed({"scheme": ("kgs",)}), judge, ms, 0.5, "random", 5, 0)
    with pytest.raises(UsageError, match=r"(?s)no such controller.*evolution"):
        find(SPACE, judge, ms, 9.0, "genetic", 5, 0)


def trial(time: float, score: float, stage: str = trials.ARCHITECTURE) -> Trial:
    return Trial(stage, 0, {"width": 16}, time, score, "random")


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=20))
def test_the_front_is_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    made = [trial(*point) for point in points]
    kept = {(one.ms, one.score) for one in front(made)}
    assert kept == {
        (x, y) for x, y in points if not any(a <= x and b >= y and (a, b) != (x, y) for a, b in points)
    }  # fmt: skip
    assert (best(made).ms, best(made).score) in kept


def test_the_log_is_read_again_and_what_is_damaged_left_out(tmp_path: Path) -> None:
    made, _ = find(SPACE, judge, ms, 9.0, "random", 4, 0)
    path = tmp_path / "trials.jsonl"
    trials.write(made, path)
    assert trials.read(path) == made
    path.write_text(path.read_text() + '{"stage": "archit')
    assert trials.read(path) == made
    assert trials.read(tmp_path / "nothing.jsonl") == []


def test_the_picture_shows_every_trial(tmp_path: Path) -> None:
    made, _ = find(SPACE, judge, ms, 9.0, "random", 12, 0)
    picture = draw.picture([*made, trial(8.0, 7.0, trials.RATES)], 9.0, "dB", "13 networks")
    assert picture.startswith(b"\x89PNG") and len(picture) > 5000
    assert draw.picture(made[:1], 9.0, "dB", "one network").startswith(b"\x89PNG")


class Parts:
    """What `nas.parts` asks of a task."""

    space = SPACE

    def parts(self, values: Mapping[str, Any]) -> dict[Part, int]:
        found: dict[Part, int] = {}
        for kind in kinds(values):
            part = Part(f"{values['width']} {kind}", (("kind", kind),), (), 2)
            found[part] = found.get(part, 0) + 1
        return found


def test_the_latency_of_a_network_is_a_line_of_the_sum_of_its_parts(tmp_path: Path) -> None:
    rng, task = np.random.default_rng(0), Parts()
    parts = every_part(SPACE, task, 0)  # type: ignore[arg-type]
    assert {part.name for part in parts} == {f"{width} {kind}" for width in TABLE["width"] for kind in MS}
    table = Table("ort", 1, tmp_path / "parts.json", {part.name: float(rng.random()) + 0.1 for part in parts})
    sums = np.array([table.sum(task.parts(SPACE.values(SPACE.random(rng)))) for _ in range(12)])
    slope, offset = line(sums, 1.3 * sums + 0.4)
    assert (slope, offset) == (pytest.approx(1.3), pytest.approx(0.4))
    assert line(np.ones(5), np.full(5, 3.0)) == (1.0, 2.0), "equal sums have no slope"
    values = SPACE.values(SPACE.largest())
    model = Latency(table, task, slope, offset, (Checked(values, 10.0, 11.0, False), Checked(values, 10.0, 50.0, True)))  # type: ignore[arg-type]
    assert model.ms(values) == pytest.approx(1.3 * 3 * table.ms["48 dear"] + 0.4)
    assert model.error() == (pytest.approx(0.1), pytest.approx(0.1)), "of what was not fitted"
    path = tmp_path / "latency.json"
    path.write_text(json.dumps(model.to_dict()))
    again = Latency.read(path, table, task)  # type: ignore[arg-type]
    assert again == model
    assert Latency.read(path, Table("native", 1, path), task) is None  # type: ignore[arg-type]
    del table.ms["48 dear"]
    with pytest.raises(UsageError, match="not measured"):
        model.ms(values)


def test_the_second_stage_chooses_rates_alone() -> None:
    class Rated(Parts):
        def __init__(self) -> None:
            self.rates = {"rate1": (0.25, 0.5, 0.75), "rate2": (0.25, 0.5)}

        def pruned(self, values: Mapping[str, Any]) -> list[str]:
            return ["rate1"] if values["scheme"] == "kgs" else []

    values = {**SPACE.values(SPACE.largest()), "scheme": "kgs"}
    space = rates_of(Rated(), values)  # type: ignore[arg-type]
    found, whole = find(space, lambda one: -one["rate1"], lambda one: 9 - 4 * one["rate1"], 7.5, "evolution", 10, 0)
    assert whole and [one.values["rate1"] for one in found if one == best(found)] == [0.5], "of those that are fast enough"
    assert len(found) == 2 and all({**one.values, "rate1": 0}.items() >= values.items() for one in found)
