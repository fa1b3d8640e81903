"""Stages of the same duration: where to cut in the order of the nodes, from times measured on this machine.

A node's time when the network runs node by node gives a first guess; an optimized network's differ, so the stages are run as they
will be, and the times of their nodes corrected by what each stage really took.
"""

from __future__ import annotations

import json
import tempfile
from bisect import bisect_left
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import median

import numpy as np

from everyframe.errors import UsageError
from everyframe.modelfile.noise import noise
from everyframe.modelfile.ort import create
from everyframe.runtime.pipeline import PipelineSession, SerialRun
from everyframe.splitting.cut import cut
from everyframe.splitting.label import Flow, Label, in_order

STEPS = 8
ROUNDS = 4


def even(flow: Flow, stages: int, where: object) -> list[Label]:
    """Labels with the most even times found. Raises UsageError where there are fewer nodes than stages."""
    if stages > len(flow.nodes):
        raise UsageError("There are more stages than nodes.", where=where, expected=f"up to {len(flow.nodes)}", got=stages)
    cost = _node_times(flow)
    found: list[tuple[float, list[int]]] = []
    for _ in range(ROUNDS):
        ends = places(cost, stages)
        took = _stage_times(flow, ends)
        found.append((max(took), ends))
        borders = [0, *ends, len(cost)]
        for (begin, end), real in zip(pairwise(borders), took, strict=True):
            share = real / max(sum(cost[begin:end]), 1e-12)
            cost[begin:end] = [value * share for value in cost[begin:end]]
    return in_order(flow, min(found)[1])


def places(cost: list[float], stages: int) -> list[int]:
    """The node before which each stage but the last ends; every stage has a node."""
    total = list(accumulate(cost))
    ends = [bisect_left(total, total[-1] * k / stages) + 1 for k in range(1, stages)]
    for k in range(len(ends)):
        ends[k] = min(max(ends[k], (ends[k - 1] if k else 0) + 1), len(cost) - (stages - 1 - k))
    return ends


def _node_times(flow: Flow) -> list[float]:
    """Seconds of each node, node by node; one that was not found takes nothing."""
    with tempfile.TemporaryDirectory() as folder:
        named = type(flow.model)()
        named.CopyFrom(flow.model)
        for node in named.graph.node:
            node.name = node.output[0]
        session = create(named, optimized=False, threads=1, profile_to=Path(folder) / "profile")
        rng = np.random.default_rng(0)
        feeds = {port.name: noise(port.shape, port.dtype, rng) for port in flow.inputs()}
        for _ in range(STEPS):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times: dict[str, list[float]] = {}
    for event in events:
        name, _, what = event.get("name", "").rpartition("_kernel_time")
        if event.get("cat") == "Node" and not what and name:
            times.setdefault(name, []).append(event["dur"] / 1e6)
    return [median(times.get(node.output[0], [0.0])) for node in flow.nodes]


def _stage_times(flow: Flow, ends: list[int]) -> list[float]:
    """Seconds of each stage, with one thread."""
    made = cut(flow, in_order(flow, ends))
    run = SerialRun(PipelineSession(made.manifest, made.models, threads=1))
    frames = noise(made.manifest.frames.shape, made.manifest.frames.dtype, np.random.default_rng(0))
    times: list[list[float]] = [[] for _ in made.manifest.parts]
    for _ in range(STEPS + 1):
        run.step(frames)
        for taken, part in zip(times, made.manifest.parts, strict=True):
            taken.append(run.spent[part.file])
    return [median(taken[1:]) for taken in times]
