"""Networks of a paper, made as it has them and measured on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everyframe.errors import EveryframeError, UsageError
from everyframe.progress import TextProgress

if TYPE_CHECKING:
    import onnx

    from everyframe.benchmarking.contest import Contender
    from everyframe.benchmarking.outcome import Benchmark
    from everyframe.benchmarking.papers import Variant


#: a video of hands that comes with the package
SAMPLE = Path(__file__).resolve().parents[1] / "assets" / "sample.mp4"


def networks(table: str, names: Sequence[str]) -> list[str]:
    """Those of a paper that are asked for; all, where none is named. Raises UsageError."""
    from everyframe.benchmarking.papers import paper

    known = paper(table).networks
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"The table {table} has no such network.", got=unknown[0], expected=", ".join(known))
    return list(names or known)


def cards() -> dict[str, dict[str, Any]]:
    """What the zoo knows of its networks, as the tables want it."""
    from everyframe.models.cards.card import measured
    from everyframe.models.registry import describe

    found = {}
    for name, one in measured().items():
        entry, native = describe(name), one.native
        found[name] = {
            "params": one.params, "macs": one.macs, "paper_flops": one.paper_flops, "frames": entry.frames, "size": entry.size[0],
            "hop": native.hop, "macs_per_step": native.macs_per_step, "state_floats": native.state_floats,
        }  # fmt: skip
    return found


def made(table: str, name: str, folder: Path, progress: TextProgress) -> Iterator[tuple[Variant, Path]]:
    """Writes the files of a network. Raises what `export` and `convert` raise."""
    from everyframe.api.models import convert, export
    from everyframe.benchmarking.altered import batched
    from everyframe.benchmarking.papers import paper
    from everyframe.modelfile.file import load, save

    wanted = [variant for variant in paper(table).variants if variant.network == name]
    clips: dict[int | None, Path] = {}
    for variant in wanted:
        path = folder / variant.file
        if variant.size not in clips:
            progress(f"exporting {name}")
            clips[variant.size] = clip = folder / "clip" / f"{name} {variant.size}.onnx"
            clip.parent.mkdir(exist_ok=True)
            export(name, clip, size=variant.size)
        clip = clips[variant.size]
        if variant.kind == "step":
            progress(f"converting {name}")
            convert(clip, path)
        elif variant.profile:
            save(_pruned(load(clip), variant.profile), path)
        elif variant.batch > 1:
            save(batched(load(clip), variant.batch), path)
        else:
            path.hardlink_to(clip)
        yield variant, path


def _pruned(model: onnx.ModelProto, profile: str) -> onnx.ModelProto:
    """Zeros where a published profile has them, at random within each layer."""
    from math import prod

    from everyframe.benchmarking.altered import kept, pruned
    from everyframe.pruning.presets import find

    preset = find(profile)
    rates = {}
    for tensor in model.graph.initializer:
        for row in preset.layers if len(tensor.dims) == 5 and prod(tensor.dims[2:]) > 1 else ():
            kernel = tuple(row.get("kernel", ()))
            if tensor.name.startswith(f"{row['at']}.") and kernel in ((), tuple(tensor.dims[2:])):
                rates[tensor.name] = 1 / (1 - row["rate"])
    return pruned(model, rates, lambda shape, rate, rng: kept(shape, preset.group, rate, rng))


def contenders(
    table: str, files: Sequence[tuple[Variant, Path]], engines: Sequence[str], peers: Sequence[str]
) -> list[Contender]:
    """One thread and one stream each; for the S100 as many streams as its table has threads."""
    from everyframe.benchmarking.contest import Contender
    from everyframe.benchmarking.papers.s100 import PUBLISHED

    streams = [threads for threads, *_ in PUBLISHED] if table == "s100" else [1]
    own = [Contender(str(path), engine, 1, count) for _, path in files for engine in engines for count in streams]
    plain = [path for variant, path in files if variant.kind == "clip" and not variant.profile and variant.batch == 1]
    return own + [Contender(str(path), peer) for path in plain for peer in peers]


def measure(
    table: str, names: Sequence[str], engines: Sequence[str], peers: Sequence[str], frames: int, video: Path | None,
    progress: TextProgress,
) -> Benchmark:  # fmt: skip
    """One network after another: what was measured when it is interrupted is there, and what one cannot do is a note. frames: 0
    to time nothing. Raises UsageError, and what the only network raises.
    """
    from everyframe.benchmarking.machine import describe
    from everyframe.benchmarking.outcome import Benchmark

    wanted = networks(table, names)
    whole = Benchmark(describe("openvino", "torch", "continual-inference", "ncnn"), [], table=table, cards=cards())
    for name in wanted:
        try:
            _join(whole, _measured(table, name, engines, peers, frames, video, progress))
        except KeyboardInterrupt:
            whole.partial = True
        except EveryframeError as error:
            if len(wanted) == 1:
                raise
            whole.notes.append(f"{name}: " + " ".join(str(part) for part in (error.what, error.got) if part))
        if whole.partial:
            break
    return whole


def _measured(
    table: str, name: str, engines: Sequence[str], peers: Sequence[str], frames: int, video: Path | None, progress: TextProgress
) -> Benchmark:
    from everyframe.benchmarking.contest import contend
    from everyframe.benchmarking.costs import costs
    from everyframe.benchmarking.outcome import Benchmark

    with tempfile.TemporaryDirectory(prefix="everyframe-") as folder:
        files = [*made(table, name, Path(folder), progress)]
        found = Benchmark({}, [])
        if frames:
            found = contend(contenders(table, files, engines, peers), frames, progress, compare=bool(peers))
        if table == "tsm" and frames and not found.partial:
            try:
                _stages(found, engines, video, progress)
            except KeyboardInterrupt:
                found.partial = True
            except EveryframeError as error:
                found.notes.append(f"{name}, stage by stage: {error.what}")
        found.costs = {path.name: costs(path) for variant, path in files if variant.batch == 1}
        for row in found.rows:
            row.model = Path(row.model).name
    return found


def _stages(found: Benchmark, engines: Sequence[str], video: Path | None, progress: TextProgress) -> None:
    from everyframe.benchmarking.stages import stages
    from everyframe.runtime.program import Program
    from everyframe.video import resolve

    for row in [row for row in found.measured if row.kind == "step" and row.engine in engines]:
        progress(f"a video through {row.name}")
        with Program(row.model, engine=row.engine, threads=row.threads) as program:
            found.stages.append(stages(program, resolve(video or SAMPLE)[0], threads=row.threads).to_dict())


def _join(whole: Benchmark, more: Benchmark) -> None:
    whole.rows += more.rows
    whole.notes += [note for note in more.notes if note not in whole.notes]
    whole.stages += more.stages
    whole.costs |= more.costs
    whole.partial = more.partial
    whole.machine["others"] = max(whole.machine.get("others") or 0, more.machine.get("others") or 0)
