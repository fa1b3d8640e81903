"""Pictures of pruning: the pattern of a layer, and how the norms of its units lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np

from everyframe.canvas import BLANK, HUES, QUIET, SOFT, Canvas
from everyframe.evaluation.draw import Line, Panel, panels, percent
from everyframe.pruning.mask import Mask

KEPT, PRUNED = HUES[0], BLANK
MOST_ROWS, MOST_COLUMNS = 24, 240  # groups of output channels, and squares side by side, that are drawn
WIDTH = 900


def pattern(mask: Mask, name: str) -> bytes:
    """A PNG: a row for each group of output channels, a block for each group of input channels, a square for each kernel
    location, or plane of them (time planes side by side). Large layers are cut off.
    """
    layer = mask.layers[name]
    units = layer.kept.shape[2]
    kernel = layer.shape[2:] if units == prod(layer.shape[2:]) else (units, 1, 1)
    planes, rows, columns = (1, 1, 1, *kernel)[-3:]
    p, q = min(layer.kept.shape[0], MOST_ROWS), max(1, min(layer.kept.shape[1], MOST_COLUMNS // (planes * columns)))
    squares = layer.kept[:p, :q].reshape(p, q, planes, rows, columns).transpose(0, 3, 1, 2, 4).reshape(p, rows, q, -1)
    side = max(3, min(16, (WIDTH - 48) // (q * (squares.shape[3] + 1))))
    gap = max(1, side // 3)
    block, line = squares.shape[3] * side + gap, rows * side + gap
    canvas = Canvas(WIDTH, 92 + p * line)
    there = layer.kept.shape[:2]
    whole = "" if (p, q) == there else f"; shown are the first {p} x {q} of {there[0]} x {there[1]} groups"
    canvas.text(24, 28, canvas.fit(name, 19, WIDTH - 48), 19)
    canvas.text(24, 54, f"{mask.pattern}, {percent(mask.density(name))} of the weights left{whole}", 14, SOFT)
    for i, row, j, column in np.ndindex(*squares.shape):
        x, y = 24 + j * block + column * side, 76 + i * line + row * side
        canvas.box(x, y, x + side - 0.5, y + side - 0.5, KEPT if squares[i, row, j, column] else PRUNED)
    return canvas.png()


def norms(found: Mapping[str, Sequence[np.ndarray]]) -> bytes:
    """A PNG: which share of the units lies below a norm. found: by moment, norms in multiples of their layer's."""
    lines = []
    for hue, (moment, parts) in zip((QUIET, *HUES), found.items(), strict=False):
        values = np.sort(np.concatenate([part.ravel() for part in parts]))
        shares = np.linspace(0, 1, 201)
        lines.append(Line(moment, list(zip(np.quantile(values, shares).tolist(), shares.tolist(), strict=True)), hue, 2.4))
    title = "Share of units below a norm: a flat piece lies between two heaps"
    clipped = [Line(one.name, [(min(x, 2.0), y) for x, y in one.points], one.color, one.width) for one in lines]
    return panels([Panel(title, clipped, (0, 2), (0, 1), "norm of a unit, in multiples of its layer's", y_shown=percent)])
