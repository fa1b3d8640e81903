"""States between steps, for those who run a step network by hand: where they begin and what goes on to the next step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from everyframe.modelfile.schema import StateSpec


def first_states(specs: Sequence[StateSpec]) -> dict[str, np.ndarray]:
    """What to feed in the first step."""
    return {spec.input: np.full(spec.shape, spec.fill, spec.dtype) for spec in specs}


def next_states(
    specs: Sequence[StateSpec], states: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What to feed in the next step. A state that only repeats another is taken from there: the graph need not give it."""
    return {spec.input: found[spec.output] if spec.copy_of is None else states[spec.copy_of] for spec in specs}
