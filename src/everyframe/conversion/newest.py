"""The newest frames of a wire in one value a step: their mean, the largest of them, or all of them side by side."""

from __future__ import annotations

from math import prod

import numpy as np

from everyframe.conversion.facts import HeadWindow
from everyframe.conversion.memory import LARGEST, Extreme, Memory, Slots
from everyframe.modelfile.graph import Node


class Newest(Memory):
    """Adds windows, of as many frames as a head takes."""

    def window_frames(self, node: Node, wire: str, window: HeadWindow) -> str:
        """The frames of a window, (frames, ...), the oldest first. Until it is full, the first stands for those before it."""
        wire = self.settled(node, wire)
        fact = self.fact(wire)
        m, ages = self.m(fact), [window.wait + i * fact.unit for i in range(window.frames)]
        found = self._aged(node, wire, ages, None, m - 1, 1)
        made = found[:1]
        for age, frame in zip(ages[1:], found[1:], strict=True):
            begins = -(-(fact.lag + age - (m - 1)) // m)  # the step in which there is a frame of this age
            if begins > 0:
                there = self.emit("GreaterOrEqual", [self.t(begins), self.ints([begins])], f"{node.label}::there")
                frame = self.emit("Where", [there, frame, made[-1]], f"{node.label}::or_first")
            made.append(frame)
        return self.emit("Concat", made[::-1], f"{node.label}::window", axis=0) if len(made) > 1 else made[0]

    def _aged(self, node: Node, wire: str, ages: list[int], fill: float | None, first: int, count: int) -> list[str]:
        """Of each age, `count` frames from that of the step's frame number `first` on; fill: for those before the beginning."""
        m = self.m(self.fact(wire))
        now = self.raw(wire) if fill is None else self.masked(wire, fill)
        if ages[-1] == 0:
            return [self._frames(self.raw(wire), first, count, 1, m, f"{node.label}::newest")]
        past = self._past(node, wire, fill, ages[-1])
        if isinstance(past, Slots):
            return [past.old(age - 1) if age else now for age in ages]
        buffer, depth = past
        starts = [depth + first - age for age in ages]
        return [self._frames(buffer, at, count, 1, depth + m, f"{node.label}::frames{i}") for i, at in enumerate(starts)]

    def window_extremes(self, node: Node, wire: str, window: HeadWindow, which: Extreme, *, newest_only: bool) -> str:
        """The largest (or smallest) of the newest frames of a window, of those that exist in the first steps: for the newest
        frame of the step, or for each."""
        wire = self.settled(node, wire)
        fact = self.fact(wire)
        m, u, fill = self.m(fact), fact.unit, 0.0 if which is LARGEST and fact.nonneg else which.fill
        first, count = (m - 1, 1) if newest_only else (0, m)
        frames = self._aged(node, wire, [window.wait + i * u for i in range(window.frames)], fill, first, count)
        return self.emit(which.op, frames, f"{node.label}::{which.op.lower()}") if len(frames) > 1 else frames[0]

    def window_means(self, node: Node, wire: str, window: HeadWindow, *, newest_only: bool) -> str:
        """The mean of the newest frames of a window, of those that exist in the first steps: for the newest frame of the step
        (a head: one value a step), or for each.

        A ring and a fresh mean each step, never a running sum, which drifts. All windows of a step are one product with a
        0/1 band matrix, and the counts come from a table indexed by the step counter.
        """
        wire, n, wait = self.settled(node, wire), window.frames, window.wait
        fact = self.fact(wire)
        m, lag, u, shape = self.m(fact), fact.lag, fact.unit, self.frame_shape(wire)
        rows = [m - 1] if newest_only else list(range(m))
        if n == 1:
            return self._frames(self.delayed(node, wire, wait), rows[0], len(rows), 1, m, f"{node.label}::newest")
        depth = (n - 1) * u + wait
        past = self._past(node, wire, 0.0, depth)
        if isinstance(past, Slots):
            ages = [wait + i * u for i in range(n)]
            frames = [past.old(age - 1) if age else self.masked(wire, 0.0) for age in ages]
            total, size = self.emit("Sum", frames, f"{node.label}::sum"), len(shape) + 1
        else:
            buffer, depth = past
            band = np.zeros((len(rows), depth + m), np.float32)
            for r, row in enumerate(rows):
                band[r, [depth + row - wait - i * u for i in range(n)]] = 1
            flat = self.emit("Reshape", [buffer, self.ints([depth + m, prod(shape)])], f"{node.label}::flat")
            total, size = self.emit("MatMul", [self.const(band, f"{node.label}.band"), flat], f"{node.label}::sum"), 2
        late = lag + wait
        last = -(-((n - 1) * u + late) // m)
        counts = [[min(n, max(0, t * m - late + r) // u + 1) for r in rows] for t in range(last + 1)]
        table = self.const((1 / np.array(counts)).astype(np.float32), f"{node.label}.share")  # (t, rows)
        share = self.emit("Gather", [table, self._row(last)], f"{node.label}::share", axis=0)  # (1, rows)
        column = (len(rows),) + (1,) * (size - 1)
        if column != (1, 1):
            share = self.emit("Reshape", [share, self.ints(list(column))], f"{node.label}::shares")
        mean = self.emit("Mul", [total, share], f"{node.label}::mean")
        return (
            mean
            if (size == len(shape) + 1 and size != 2) or len(shape) == 1
            else self.emit("Reshape", [mean, self.ints([len(rows), *shape])], node.label)
        )
