"""Cards: every network has one, and its costs are what torch counts."""

from __future__ import annotations

import pytest

from everyframe import models
from everyframe.models.cards import card as cards

NAMES = models.list()


@pytest.mark.parametrize("name", NAMES)
def test_costs_are_what_torch_counts(name: str) -> None:
    pytest.importorskip("torch")
    from everyframe.models.cards.measure import costs

    measured = cards.card(name).measured
    assert measured is not None, "run `make zoo`"
    assert costs(models.describe(name)) == (measured.params, measured.macs, measured.paper_flops)


@pytest.mark.parametrize("name", NAMES)
def test_what_streaming_makes_of_it_adds_up(name: str) -> None:
    measured = cards.card(name).measured
    assert measured is not None
    native, dense = measured.native, measured.dense
    # a step may compute the frame that a clip drops at its right edge: C3D with batch norm makes 15 of 16 frames
    assert native.macs_per_step <= measured.macs * 1.15
    assert native.hop <= models.describe(name).frames
    assert native.feature_delay <= native.delay
    assert native.receptive_field is None or native.delay <= native.receptive_field, "None: all frames since the reset"
    if dense is not None:
        assert dense.hop == 1
        assert dense.state_floats >= native.state_floats
        assert dense.macs_per_frame >= native.macs_per_frame * 0.99, "more predictions are not cheaper"
        assert dense.receptive_field == native.receptive_field


@pytest.mark.parametrize("name", NAMES)
def test_golden_differences_are_within_tolerance(name: str) -> None:
    measured = cards.card(name).measured
    assert measured is not None and (measured.golden is None or 0 < measured.golden[1] <= 1e-5)


def test_table_and_figures_name_networks_that_exist() -> None:
    assert set(cards.measured()) == set(NAMES)
    assert set(cards.figures()) <= set(NAMES)
    for rows in cards.figures().values():
        assert len({(row.what, row.on, row.source) for row in rows}) == len(rows), "a figure stands there once"


def test_writing_the_table_and_reading_it_gives_the_same() -> None:
    assert cards.parse(cards.dump(cards.measured())) == cards.measured()


def test_a_width_that_is_not_in_the_table_has_a_card_without_measurements() -> None:
    found = cards.card("shufflenet3d_0.7x")
    assert found.measured is None and found.figures == () and found.entry.frames == 16
