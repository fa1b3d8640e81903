"""What models cost on this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from everyframe.api.given import File, paths, several, source, there
from everyframe.errors import EveryframeError
from everyframe.progress import TextProgress, silent

if TYPE_CHECKING:
    from everyframe.api.benchmarked import BenchmarkComparison, BenchmarkReport
    from everyframe.benchmarking.outcome import Benchmark, Measured


@paths
def benchmark(
    models: File | Sequence[File] = (),
    *,
    engines: Sequence[str] | None = None,
    threads: Sequence[int] = (1,),
    streams: Sequence[int] = (1,),
    frames: int | None = None,
    strides: Sequence[int] = (),
    video: File | None = None,
    profile: bool = False,
    peers: bool = False,
    table: str | None = None,
    sweep: str | None = None,
    progress: TextProgress | None = None,
) -> BenchmarkReport:
    """Times models on engines, with numbers of threads and of simultaneous streams, in turns and each in a process of its own.

    models: paths of step and clip models, of any ONNX file with inputs of fixed size, or `builtin`. engines: None: all that
    are installed, but for `reference`. frames: calls of each that count, at least: steps, or clips (100; 10 for the table of
    a paper). strides: of clip models, frames between two predictions. video: is also taken through the step and clip models stage
    by stage. profile: also what each layer takes on each engine. peers: clip networks also run on other systems that are
    installed (torch, torch.compile,
    continual-inference, ncnn), whose answers are compared with ours. table: of a paper (`s100`, `efficient`, `rt3d`, `tsm`,
    `co3d`), whose networks are made and measured, all or those named by `models`; `s100` of model files: threads are streams of
    one thread each, as a board's own tool has it. sweep: how cost grows over `size`, `frames`, `width` or `window` of networks
    of the zoo, or over `threads` or `streams` of any model: `size=112,160,224`. Latencies are in milliseconds, memory in bytes.
    What cannot be loaded is there with its reason. Raises ModelError or SourceError for a file that is not there, UsageError.

    >>> found = ef.benchmark("builtin", engines=["ort"], frames=20)
    >>> found.benchmark.rows[0].latency.calls >= 20
    True
    """
    from dataclasses import replace

    from everyframe.api import sweeping
    from everyframe.api.benchmarked import BenchmarkReport
    from everyframe.api.papers import measure
    from everyframe.benchmarking.contest import Contender, contend
    from everyframe.benchmarking.costs import costs_of
    from everyframe.benchmarking.operators import operators
    from everyframe.benchmarking.outcome import called
    from everyframe.benchmarking.papers import paper
    from everyframe.benchmarking.stages import stages
    from everyframe.benchmarking.subject import takes_clips
    from everyframe.benchmarking.sweep import Sweep
    from everyframe.errors import UsageError
    from everyframe.peers import PEERS
    from everyframe.runtime import engine as known
    from everyframe.runtime.program import Program
    from everyframe.video import resolve

    given = [models] if isinstance(models, str | os.PathLike) else list(models)
    chosen = list(known.installed() if engines is None else several("engines", engines))
    if unknown := [name for name in chosen if name not in (*known.names(), "auto")]:
        raise UsageError("There is no such engine.", expected=f"auto, {', '.join(known.names())}", got=unknown[0])
    missing = [f"{name} is not installed: {one.how}" for name, one in PEERS.items() if peers and not one.installed]
    installed = [name for name, one in PEERS.items() if peers and one.installed]
    progress = progress or silent
    if table is not None and (table != "s100" or {os.fspath(model) for model in given} <= {*paper(table).networks}):
        if tuple(threads) != (1,) or tuple(streams) != (1,):
            raise UsageError(
                "The table of a paper is measured with one thread and one stream.", got=f"threads {threads}, streams {streams}"
            )
        found = measure(
            table,
            [os.fspath(model) for model in given],
            chosen,
            installed,
            frames or 10,
            None if video is None else Path(video),
            progress,
        )
        found.notes += missing
        return BenchmarkReport(found, tuple(strides), table=table, frames=frames or 10)
    if sweep is not None and given:
        if table is not None or tuple(threads) != (1,) or tuple(streams) != (1,):
            raise UsageError("A sweep varies one thing.", got="sweep with a table, threads or streams", hint="leave them out")
        found = sweeping.sweep([os.fspath(model) for model in given], Sweep.parse(sweep), chosen, frames or 20, progress)
        return BenchmarkReport(found, frames=frames or 20)
    if not given:
        raise UsageError("Which model?", expected="MODEL..., such as builtin, or the table of a paper")
    names, frames = [there(model) for model in given], frames or 100
    clips = [name for name in names if takes_clips(name)]  # what is no model is said before the long work
    if table == "s100":
        wide = (1, 2, 4, 8) if tuple(threads) == (1,) else tuple(threads)
        contenders = [Contender(name, engine, 1, count) for name in names for engine in chosen for count in wide]
    else:
        contenders = [
            Contender(name, engine, t, s) for name in names for engine in chosen for t in threads for s in streams
        ]  # fmt: skip
    if peers:
        if not clips:
            missing.append("no peer was measured: they run clip networks, so give one beside the step network")
        contenders += [
            Contender(name, peer, t) for name in clips for peer in installed for t in threads
        ]  # fmt: skip
    clip = None if video is None else resolve(video)[0]  # one that is not there is said before the long work
    found = contend(contenders, frames, progress, compare=peers)
    found.notes += missing
    found.costs = {short: made for name, short in called(names).items() if (made := costs_of(name))}
    timed, layers = [], []
    singles = [row for row in found.measured if row.streams == 1 and row.engine not in PEERS and not found.partial]
    if clip is not None:
        for row in (row for row in singles if row.kind != "network"):
            progress(f"{clip.name} through {row.name}")
            with _noted(found, row), Program(row.model, engine=row.engine, threads=row.threads) as program:
                timed.append(replace(stages(program, clip, threads=row.threads), model=row.called))
    if profile:
        for row in singles:
            progress(f"the layers of {row.name}")
            with _noted(found, row):
                layers.append(replace(operators(Path(source(row.model)), row.engine, row.threads), model=row.called))
    found.stages, found.layers = [one.to_dict() for one in timed], [one.to_dict() for one in layers]
    return BenchmarkReport(found, tuple(strides), tuple(timed), tuple(layers), table, frames)


@contextlib.contextmanager
def _noted(found: Benchmark, row: Measured) -> Iterator[None]:
    """What one cannot do is said beside what the others did."""
    try:
        yield
    except EveryframeError as error:
        found.notes.append(f"{row.name}: " + " ".join(str(part) for part in (error.what, error.got) if part))


@paths
def compare_benchmarks(before: File, after: File) -> BenchmarkComparison:
    """Two results that `save` (or `benchmark --json`) wrote, contender by contender. Raises UsageError.

    >>> found = ef.benchmark("builtin", engines=["ort"], frames=20)
    >>> path = found.save("before.json")
    >>> ef.compare_benchmarks(path, path).changes[0].verdict
    'no difference beyond noise'
    """
    from everyframe.api.benchmarked import BenchmarkComparison
    from everyframe.benchmarking.compare import compare
    from everyframe.benchmarking.outcome import read

    return BenchmarkComparison(**vars(compare(read(Path(before)), read(Path(after)))))
