"""A benchmark as tables: for the terminal, the page and the documentation alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from everyframe.benchmarking.compare import Comparison, ratio
from everyframe.benchmarking.operators import Operators
from everyframe.benchmarking.outcome import Benchmark, Measured
from everyframe.benchmarking.report import Table
from everyframe.benchmarking.stages import Stages
from everyframe.peers import PEERS

COLUMNS = (
    "engine", "threads", "streams", "ms", "fastest is", "5 %", "95 %", "99 %", "CPU ms", "calls/s", "busy cores", "load ms",
    "compile ms", "first ms", "memory MB",
)  # fmt: skip
#: what answers of the same network may differ by, of the largest logit
AGREEMENT = 1e-3
#: layers that a table shows
TOP = 15
WHO = ("model", "engine", "threads", "streams")
FIRST = "1.00x"
KINDS = {"step": "step network", "clip": "clip network", "network": "network without metadata"}


def tables(
    found: Benchmark, strides: Sequence[int] = (), stages: Sequence[Stages] = (), layers: Sequence[Operators] = ()
) -> list[Table]:
    """A table a model, what each frame and prediction cost, memory, the stages of a video, layers. strides: of clip networks."""
    # a peer may take a clip network step by step
    models = list(dict.fromkeys((row.model, row.kind == "step") for row in found.measured))
    made = [_model([row for row in found.measured if (row.model, row.kind == "step") == model]) for model in models]
    made += [_beside(found.measured)] if any(row.difference is not None for row in found.measured) else []
    if any(row.kind in ("step", "clip") for row in found.measured):
        made.append(_per_frame(found.measured, strides))
    made += [_memory(found.measured)] if found.measured else []
    return made + ([stage_table(stages)] if stages else []) + [layer_table(one) for one in layers]


def _model(rows: Sequence[Measured]) -> Table:
    kind, frames = rows[0].kind, rows[0].frames
    each = "" if kind == "network" else f": a {kind} of {frames} frame{'s' * (frames != 1)}"
    table = Table(f"{rows[0].called}, {KINDS[kind]}{each}", COLUMNS)
    alone = [row for row in rows if row.streams == 1]
    best = min(alone or rows, key=lambda row: float(np.median(row.basis)))
    for row in rows:
        latency = row.latency
        if latency is None:
            continue
        times = "" if row.streams > 1 else FIRST if row is best else _faster(row, best)
        costs = (row.cpu_ms, row.calls_per_s, row.occupancy, row.load_ms, row.compile_ms, row.first_ms, row.memory_peak / 1e6)
        figures = [number(value) for value in (latency.p5, latency.p95, latency.p99, *costs)]
        table.rows.append([row.engine, row.threads, row.streams, number(latency.median), times, *figures])
    table.notes += [f"{row.engine}: {row.reason}" for row in rows if row.reason]
    if energy := [row for row in rows if row.joules is not None]:
        table.notes.append(
            "; ".join(f"{row.name}: {number((row.joules or 0) * 1e3)} mJ a call ({row.energy_source})" for row in energy)
        )
    return table


def _faster(row: Measured, best: Measured) -> str:
    """How many times faster the best is. Of one thread processor time counts, else the clock: for both the same."""
    if row.alone and best.alone:
        return str(ratio(row.turns_cpu, best.turns_cpu, same_run=True))
    return str(ratio(row.turns, best.turns, same_run=True))


def _beside(rows: Sequence[Measured]) -> Table:
    """Ours beside other systems, for the same prediction: a step, or a clip network run again."""
    table = Table(
        "Beside other systems: a prediction",
        ("system", "network", "threads", "ms", "CPU ms", "takes, times ours", "answers differ by"),
    )
    alone = [row for row in rows if row.streams == 1]
    for threads in dict.fromkeys(row.threads for row in alone):
        these = [row for row in alone if row.threads == threads]
        mine = [row for row in these if is_ours(row, these)]
        best = min(mine, key=lambda row: float(np.median(row.basis)), default=None)
        for row in these:
            times = "ours" if row is best else "–" if best is None or not agrees(row) else _faster(row, best)
            name = row.called if row.kind != "step" else f"{row.called}, step by step"
            cost = (row.latency.median if row.latency else None, row.cpu_ms)
            differs = "–" if row.difference is None else f"{row.difference:.0e}"
            table.rows.append([row.engine, name, threads, *map(number, cost), times, differs])
    table.notes += [
        "ours: the fastest of everyframe's step networks on its own engines (of its clip networks, where no step network "
        "was given); "
        "the same weights and frames for all",
        "the interval: so far the turns of this run allow; of the largest logit, answers differ from the first of their kind",
    ]
    return table


def is_ours(row: Measured, rows: Sequence[Measured]) -> bool:
    """A step network on an engine of everyframe's, where there is one; else generated code."""
    steps = any(one.kind == "step" and one.engine not in PEERS for one in rows)
    return row.engine not in PEERS and (row.kind == "step" if steps else row.engine == "native")


def agrees(row: Measured) -> bool:
    """Does it compute the same network as the others? Where answers were not compared, it is taken to."""
    return row.difference is None or row.difference < AGREEMENT


def _per_frame(rows: Sequence[Measured], strides: Sequence[int]) -> Table:
    """Step and clip networks side by side: what a user gets."""
    columns = ("a prediction every", "ms a prediction", "ms a frame", "frames/s", "times its own rate")
    table = Table("What a user gets, by the clock", (*WHO, *columns))
    hops = [row.frames for row in rows if row.kind == "step"]
    for row in rows:
        if row.latency is None or row.kind not in ("step", "clip"):
            continue
        every = [row.frames] if row.kind == "step" else list(strides) or sorted({min(hops, default=1), max(1, row.frames // 2)})
        for frames in every:
            rate = row.frames_per_s(frames) or 0.0
            ms, faster = row.latency.median, rate / row.rate if row.rate else None
            figures = [number(value) for value in (ms, ms / frames, rate, faster)]
            table.rows.append([*_who(row), f"{frames} frame{'s' * (frames != 1)}", *figures])
    return table


def _memory(rows: Sequence[Measured]) -> Table:
    columns = ("weights", "state a stream", "the rest", "before loading", "peak", "MB a call", "GB/s")
    table = Table("Memory, MB", (*WHO, *columns))
    for row in rows:
        own, least = row.weights + row.state * row.streams, row.weights + 2 * row.state
        sizes = (row.weights, row.state, row.memory_peak - row.memory_before - own, row.memory_before, row.memory_peak, least)
        rate = least * (row.calls_per_s or 0) / 1e9
        table.rows.append([*_who(row), *(number(size / 1e6) for size in sizes), number(rate)])
    table.notes += [
        "the rest: the engine, weights as it packs them, buffers; before loading: Python and what everyframe imports",
        "MB a call, GB/s: the least that is read and written, estimated: weights once, states twice",
    ]
    return table


def _who(row: Measured) -> list[object]:
    return [row.called, row.engine, row.threads, row.streams]


def stage_table(rows: Sequence[Stages]) -> Table:
    """Where the time of a video goes."""
    table = Table(
        f"{rows[0].video}, stage by stage: ms a frame",
        (
            *WHO[:3],
            "decode",
            "preprocess",
            "step",
            "postprocess",
            "sum",
            "predict",
            "overlap",
            "1/(preprocess + step)",
            "frames/s",
        ),
    )
    for row in rows:
        table.rows.append([
            row.model, row.engine, row.threads, *(number(value) for value in row.parts.values()), number(sum(row.parts.values())),
            number(row.whole), f"{row.overlap:.0%}", number(row.serial_fps), number(row.fps),
        ])  # fmt: skip
    table.notes.append("predict: by the clock from the first prediction to the last; decoding then has a process of its own.")
    return table


def layer_table(found: Operators, top: int = TOP) -> Table:
    """The dearest layers of a network on an engine."""
    table = Table(
        f"{found.model} on {found.engine}, {found.threads} thread(s): {number(found.total)} ms in {len(found.layers)} layers",
        ("layer", "runs as", "calls", "ms", "share", "GFLOP/s"),
    )
    dearest = sorted(found.layers, key=lambda layer: -layer.ms)
    for layer in dearest[:top]:
        rate = 2e-6 * layer.macs / layer.ms if layer.macs else None
        table.rows.append([
            layer.name, layer.kernel, layer.calls, number(layer.ms), f"{layer.ms / found.total:.1%}", number(rate)
        ])  # fmt: skip
    if rest := dearest[top:]:
        table.notes.append(f"{len(rest)} more layers take {number(sum(layer.ms for layer in rest))} ms")
    return table


def threads_table(found: Benchmark, frames: int) -> list[Table]:
    """The table of boards' own tools: threads, each with a stream of its own, share a number of inferences."""
    made = []
    for model in dict.fromkeys(row.model for row in found.measured):
        for engine in dict.fromkeys(row.engine for row in found.measured if row.model == model):
            rows = [row for row in found.measured if (row.model, row.engine) == (model, engine)]
            made.append(_threads(rows, frames))
    return made


def _threads(rows: Sequence[Measured], frames: int) -> Table:
    first = rows[0]
    of = "" if first.frames == 1 else f", {first.frames} frames each"
    table = Table(
        f"{first.called} on {first.engine}: {frames} {'steps' if first.kind == 'step' else 'inferences'}{of}",
        ("threads", "frames", "total ms", "average ms", "FPS", "total ms by the clock", "frames/s", "busy cores", "memory MB"),
    )
    for row in rows:
        if row.latency is None or not row.calls_per_s:
            continue
        table.rows.append([
            row.streams, frames, f"{row.latency.mean * frames:.2f}", f"{row.latency.mean:.2f}", f"{row.calls_per_s:.2f}",
            f"{frames / row.calls_per_s * 1e3:.2f}", number(row.calls_per_s * first.frames), number(row.occupancy),
            number(row.memory_peak / 1e6),
        ])  # fmt: skip
    table.notes += [
        "total ms: the sum of all latencies, as the tool of the RDK S100 prints it; FPS: inferences a second by the clock, "
        "of all threads together; frames/s: new frames of video",
    ]
    return table


def compare_table(found: Comparison) -> Table:
    table = Table("Before and after", ("", "before ms", "after ms", "after is faster by", "verdict"))
    for one in found.changes:
        table.rows.append([
            one.after.name, number(float(np.median(one.before.basis))), number(float(np.median(one.after.basis))), str(one.ratio),
            one.verdict,
        ])  # fmt: skip
    table.notes += [f"only in one of both: {name}" for name in found.alone] + found.notes
    return table


def number(value: float | None) -> str:
    """Three digits that count; a dash for what was not measured."""
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
