"""Choices measured for a library that is there: kept where the whole network is faster with them.

A convolution is measured beside whatever else runs, alone and with other values. So rows of the table are believed only when the
network with all of them has been faster than the one without, in turns, and says the same.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import onnx

from everyframe.modelfile.file import metadata_of
from everyframe.modelfile.noise import noise
from everyframe.modelfile.schema import StateSpec
from everyframe.native.check import check
from everyframe.native.generate import untransformed
from everyframe.native.library import Library
from everyframe.native.store import made_at
from everyframe.native.target import Target
from everyframe.native.tune import measure, program
from everyframe.native.tuned import Tables, add, own_table

#: turns of both, and seconds of processor time after which there are enough
TURNS, LEAST_TURNS, ENOUGH_S = 60, 8, 4.0
#: as for each choice: in so many of the turns the new one has to be faster
WON = 0.75


def improve(
    model: onnx.ModelProto, states: Sequence[StateSpec], target: Target, where: object, path: Path, seconds: float
) -> float | None:
    """Measures what no row of the tables knows, for so many seconds. Milliseconds of a step of the library that is at `path`
    then, if it is another one. Raises what compiling raises.
    """
    tables = Tables.found()
    layers = untransformed(model, states, target, where)
    measuring = program(layers, lambda target, geometry: tables(target, geometry, "").why != "default")
    if measuring is None:
        return None
    found = measure(measuring, layers.target, seconds, lambda _: None)
    rows = [row for row in found if row.facts["ms"] < row.facts["default_ms"]]
    if not rows:
        return None
    tried = path.with_suffix(".tried")
    try:
        made = made_at(model, states, target, where, tried, rows)
        if (metadata := metadata_of(model, where)) is not None:
            check(model, metadata, made)
        before, after = _times(Library(path), made)
        if sum(b < a for a, b in zip(before, after, strict=True)) < WON * len(before):
            return None
        add(rows, own_table())
        tried.replace(path)
    finally:
        tried.unlink(missing_ok=True)
    return round(median(after), 4)


def _times(one: Library, other: Library) -> tuple[list[float], list[float]]:
    """Milliseconds of processor time of steps, in turns, so that a slow moment hits both."""
    random = np.random.default_rng(0)
    frames = {name: noise(shape, np.float32, random) for name, shape in one.inputs}
    given = frames if len(frames) > 1 else next(iter(frames.values()))
    runs = [library.start(threads=1) for library in (one, other)]
    times: tuple[list[float], list[float]] = ([], [])
    for run in runs:
        run.step(given)
    begun = time.process_time()
    for turn in range(TURNS):
        for run, found in zip(runs, times, strict=True):
            before = time.process_time()
            run.step(given)
            found.append((time.process_time() - before) * 1e3)
        if turn + 1 >= LEAST_TURNS and time.process_time() - begun > ENOUGH_S:
            break
    return times
