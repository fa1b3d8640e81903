"""The pictures of a benchmark: latencies beside each other and how they spread, growth with threads and streams, memory."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from everyframe.benchmarking.operators import Operators
from everyframe.benchmarking.outcome import Benchmark, Measured
from everyframe.benchmarking.plane import Point, plane
from everyframe.benchmarking.stages import Stages
from everyframe.benchmarking.tables import number
from everyframe.canvas import FAINT, HUES, INK, QUIET, SOFT, Canvas

WIDTH, ROW, NAMES = 900, 34, 300
#: parts of a name that are drawn
DEEP = 6
#: layers whose memory is drawn
LARGEST = 15
STAGES = {"decode": HUES[0], "preprocess": HUES[2], "step": HUES[1], "postprocess": HUES[4]}
MEMORY = {"weights": HUES[0], "states": HUES[2], "the rest": QUIET}


def pictures(found: Benchmark, stages: Sequence[Stages] = (), layers: Sequence[Operators] = ()) -> dict[str, bytes]:
    """Heading -> PNG; those for which there is something to draw."""
    rows = found.measured
    made = {}
    if pairs := ratios(found):
        made["Clip over step, for the same predictions: multiply-adds against time"] = plane(
            pairs, "fewer multiply-adds, times", "faster, times", _engines(found), diagonal=True, log_up=True
        )
    if found.table is not None or found.sweep:
        return made  # too many rows to draw each
    if rows:
        made["Latency of a call: median, and from 5 to 95 of 100 calls"] = latencies(rows)
        made["How latencies spread"] = histograms(rows)
        made["Memory"] = memory(rows)
    for name, cost in found.costs.items():
        if cost["layers"]:
            made[f"Memory of {name} by layer: the largest"] = layer_memory(cost["layers"])
    for axis in ("threads", "streams"):
        if len({getattr(row, axis) for row in rows}) > 1:
            made[f"Calls a second by {axis}"] = growth(rows, axis)
    if stages:
        made["A video, stage by stage"] = stage_bars(stages)
    for one in layers:
        made[f"{one.model} on {one.engine}, {one.threads} thread(s), layer by layer"] = flame(one)
    return made


def _engines(found: Benchmark) -> list[str]:
    """That run step networks and clip networks alike."""
    clips = {row.engine for row in found.measured if row.kind == "clip"}
    return list(dict.fromkeys(row.engine for row in found.measured if row.kind == "step" and row.engine in clips))


def ratios(found: Benchmark) -> list[Point]:
    """Each step network over each clip network on the same engine, where both say what they compute."""
    rows, engines = [row for row in found.measured if row.alone], _engines(found)
    points = []
    for step in (row for row in rows if row.kind == "step"):
        for clip in (row for row in rows if row.kind == "clip" and row.engine == step.engine and _same(row, step)):
            work = [float(found.costs.get(row.called, {}).get("macs", 0)) for row in (clip, step)]
            if all(work):
                faster = float(np.median(clip.basis) / np.median(step.basis))
                points.append(Point(work[0] / work[1], faster, step.called.partition(".")[0], engines.index(step.engine)))
    return points


def _same(clip: Measured, step: Measured) -> bool:
    """Of one network, as the names of their files say: `x3d_s.clip.onnx` and `x3d_s.step.onnx`, `clip.onnx` and `step.onnx`."""
    clip_of, step_of = (re.sub(r"(clip|step)|[^a-z0-9]", "", Path(row.model).stem.lower()) for row in (clip, step))
    return clip_of == step_of


def layer_memory(layers: Sequence[Mapping[str, Any]]) -> bytes:
    """Weights and states in MB."""
    largest = sorted(layers, key=lambda one: -(one["weights"] + one["state"]))[:LARGEST]
    parts = [{"weights": one["weights"] * 4e-6, "states": one["state"] * 4e-6} for one in largest]
    return _bars([str(one["name"]) for one in largest], parts, {name: MEMORY[name] for name in ("weights", "states")}, "MB")


def latencies(rows: Sequence[Measured]) -> bytes:
    """A bar a contender on a logarithmic axis of milliseconds."""
    spread = [(row, row.latency) for row in rows if row.latency is not None]
    low, high = min(f.p5 for _, f in spread), max(f.p95 for _, f in spread)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high * 1.0001))
    canvas, left, right = Canvas(WIDTH, 70 + ROW * len(spread)), NAMES, WIDTH - 90

    def x(ms: float) -> float:
        return left + (math.log10(ms) - first) / (last - first) * (right - left)

    bottom = 20 + ROW * len(spread)
    for power in range(first, last + 1):
        canvas.line(x(10.0**power), 14, x(10.0**power), bottom, FAINT)
        canvas.text(x(10.0**power), bottom + 16, f"{10.0**power:g} ms", 12, SOFT, "mm")
    hues, names = _hues(rows), _names(rows)
    for i, (row, figures) in enumerate(spread):
        y = 20 + ROW * i + ROW / 2
        canvas.text(left - 12, y, canvas.fit(names[row.key], 13, NAMES - 24), 13, INK, "rm")
        canvas.box(x(figures.p5), y - 6, max(x(figures.p95), x(figures.p5) + 2), y + 6, (*hues[row.engine], 110))
        canvas.line(x(figures.median), y - 10, x(figures.median), y + 10, hues[row.engine], 3)
        canvas.text(x(figures.p95) + 8, y, f"{number(figures.median)} ms", 12, SOFT)
    return canvas.png()


def histograms(rows: Sequence[Measured]) -> bytes:
    """A strip a contender, each on its own axis."""
    height = 84
    canvas = Canvas(WIDTH, 16 + height * len(rows))
    hues, names = _hues(rows), _names(rows)
    for i, row in enumerate(rows):
        edges, counts = row.histogram
        top, left, right = 12 + height * i, NAMES, WIDTH - 30
        floor, most = top + height - 30, max(counts, default=1) or 1
        canvas.text(left - 12, floor - 20, canvas.fit(names[row.key], 13, NAMES - 24), 13, INK, "rm")
        wide = (right - left) / max(len(counts), 1)
        for n, count in enumerate(counts):
            if count:
                tall = max(1.0, count / most * (height - 40))
                canvas.box(left + n * wide, floor - tall, left + (n + 1) * wide - 1, floor, hues[row.engine])
        canvas.line(left, floor, right, floor, QUIET)
        if edges:
            for at, anchor in ((0, "lm"), (len(edges) // 2, "mm"), (-1, "rm")):
                place = left + (right - left) * (edges[at] - edges[0]) / max(edges[-1] - edges[0], 1e-12)
                canvas.text(place, floor + 12, f"{number(edges[at])} ms", 11, SOFT, anchor)
    return canvas.png()


def growth(rows: Sequence[Measured], axis: str) -> bytes:
    """Calls a second against threads or streams, a line for each model, engine and the other of both; dashed: if all were as fast
    as one.
    """
    other = "streams" if axis == "threads" else "threads"
    lines: dict[tuple[str, str, int], list[tuple[int, float]]] = {}
    for row in rows:
        key = (row.called, row.engine, getattr(row, other))
        lines.setdefault(key, []).append((getattr(row, axis), row.calls_per_s or 0.0))
    lines = {key: sorted(points) for key, points in lines.items() if len(points) > 1}
    canvas, left, right, top, floor = Canvas(WIDTH, 440), 90, WIDTH - 320, 24, 380
    counts = sorted({count for points in lines.values() for count, _ in points})
    most = max((rate for points in lines.values() for _, rate in points), default=1.0) * 1.1
    x = {count: left + (right - left) * i / max(len(counts) - 1, 1) for i, count in enumerate(counts)}
    for share in np.linspace(0, 1, 5):
        y = floor - (floor - top) * float(share)
        canvas.line(left, y, right, y, FAINT)
        canvas.text(left - 10, y, number(most * float(share)), 12, SOFT, "rm")
    for count in counts:
        canvas.text(x[count], floor + 18, str(count), 13, SOFT, "mm")
    canvas.text((left + right) / 2, floor + 42, axis, 13, SOFT, "mm")
    for i, ((model, engine, held), points) in enumerate(lines.items()):
        hue = HUES[i % len(HUES)]
        places = [(x[count], floor - (floor - top) * rate / most) for count, rate in points]
        (count0, rate0) = points[0]
        ideal = [(x[count], floor - (floor - top) * min(1.0, rate0 * count / count0 / most)) for count, _ in points]
        canvas.path(ideal, (*hue, 90), 1, 5)
        canvas.path(places, hue, 2.4)
        for at in places:
            canvas.dot(*at, 4, hue)
        name = f"{model} on {engine}" + (f", {held} {other}" if held > 1 else "")
        canvas.box(right + 30, top + 26 * i + 6, right + 44, top + 26 * i + 20, hue)
        canvas.text(right + 52, top + 26 * i + 13, canvas.fit(name, 13, 255), 13)
    return canvas.png()


def memory(rows: Sequence[Measured]) -> bytes:
    """What loading and running took beside Python itself: weights, states, the rest (packed weights, buffers, the engine)."""
    parts = [
        {
            "weights": row.weights, "states": row.state * row.streams,
            "the rest": max(0, row.memory_peak - row.memory_before - row.weights - row.state * row.streams),
        }
        for row in rows
    ]  # fmt: skip
    return _bars(list(_names(rows).values()), [{k: v / 1e6 for k, v in one.items()} for one in parts], MEMORY, "MB")


def stage_bars(rows: Sequence[Stages]) -> bytes:
    return _bars(
        [f"{row.model} on {row.engine}, {row.threads} thread(s)" for row in rows], [row.parts for row in rows], STAGES, "ms"
    )


def flame(found: Operators) -> bytes:
    """Layers in their order, as wide as their time: one row a part of their names, neighbors that are alike joined."""
    paths = [re.split(r"[./]", layer.name.strip("./")) for layer in found.layers]
    deep = min(DEEP, max(map(len, paths)))
    height, tall, left, right = 30, 22, 20, WIDTH - 20
    canvas = Canvas(WIDTH, height + tall * deep + 24)
    ends = np.cumsum([0.0, *(layer.ms for layer in found.layers)]) / found.total * (right - left) + left
    canvas.text(left, 14, f"{number(found.total)} ms", 13, SOFT)
    groups = list(dict.fromkeys(path[0] for path in paths))
    for depth in range(deep):
        first = 0
        for i in range(1, len(paths) + 1):
            if i < len(paths) and paths[i][: depth + 1] == paths[first][: depth + 1]:
                continue
            if len(paths[first]) > depth:
                hue = HUES[groups.index(paths[first][0]) % len(HUES)]
                x0, x1, y = float(ends[first]), float(ends[i]), height + tall * depth
                canvas.box(x0, y, x1 - 0.5, y + tall - 1, (*hue, 200 - 110 * depth // deep))
                if x1 - x0 > 26:
                    canvas.text(x0 + 4, y + tall / 2 - 1, canvas.fit(paths[first][depth], 11, x1 - x0 - 8), 11, INK)
            first = i
    return canvas.png()


def _bars(names: Sequence[str], parts: Sequence[dict[str, float]], hues: dict[str, tuple[int, int, int]], unit: str) -> bytes:
    canvas, left, right = Canvas(WIDTH, 64 + ROW * len(names)), NAMES, WIDTH - 110
    most = max((sum(one.values()) for one in parts), default=0.0) or 1.0
    for i, (name, one) in enumerate(zip(names, parts, strict=True)):
        y, at = 14 + ROW * i + ROW / 2, float(left)
        canvas.text(left - 12, y, canvas.fit(name, 13, NAMES - 24), 13, INK, "rm")
        for part, value in one.items():
            wide = value / most * (right - left)
            canvas.box(at, y - 9, at + wide, y + 9, hues[part])
            at += wide
        canvas.text(at + 8, y, f"{number(sum(one.values()))} {unit}", 12, SOFT)
    at = float(left)
    for part, hue in hues.items():
        canvas.box(at, 30 + ROW * len(names), at + 12, 42 + ROW * len(names), hue)
        canvas.text(at + 18, 36 + ROW * len(names), part, 12, SOFT)
        at += 40 + canvas.width_of(part, 12)
    return canvas.png()


def _names(rows: Sequence[Measured]) -> dict[tuple, str]:
    """Of each contender by its key; what all have in common is not said in each row."""
    alone = all((row.threads, row.streams) == (1, 1) for row in rows)
    return {row.key: row.name.removesuffix(", 1 thread") if alone else row.name for row in rows}


def _hues(rows: Sequence[Measured]) -> dict[str, tuple[int, int, int]]:
    engines = list(dict.fromkeys(row.engine for row in rows))
    return {engine: HUES[i % len(HUES)] for i, engine in enumerate(engines)}
