"""`everyframe compile`: a model file becomes C, and the C a library."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everyframe.errors import ConversionMismatch, ModelError, UsageError
from everyframe.files import check_writable, write_bytes
from everyframe.modelfile.file import Held, load, metadata_of
from everyframe.native.build import link, write_sources
from everyframe.native.check import check, compared
from everyframe.native.choice import Choice
from everyframe.native.compilers import compiler
from everyframe.native.emit import Source
from everyframe.native.generate import generate, untransformed
from everyframe.native.hosted import Hosted, node
from everyframe.native.library import Library
from everyframe.native.pack import Packer
from everyframe.native.target import WASM, Target, runs_here, target
from everyframe.native.tune import BUDGET_S, NAME, measure
from everyframe.native.tune import program as measuring
from everyframe.native.tuned import ROUNDINGS, Rounding, Row, Tables, add, measured, own_table, read
from everyframe.native.wasm import link_wasm

#: largest relative L2 distance of the answers where weights of 16 bits were asked for
ASKED_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Compiled:
    """memory: see `native.memory`. files: what was written. difference: largest relative distance to the reference (see
    `native.check`), None where the code cannot run here. macs: multiply-adds of a step that are really done; weights: their share
    of the model's, zeros left out. chosen: how each convolution is computed, in order (see `native.choice`); inexact: how many
    of them are transformed in a way that rounds more than they would by themselves, and halved: how many have weights of 16
    bits; rows: what was measured now, and table: where it was written.
    """

    target: Target
    memory: dict[str, Any]
    files: tuple[Path, ...]
    library: Path | None
    difference: float | None
    macs: int
    weights: float
    memory_bytes: int
    weight_bytes: int
    chosen: tuple[tuple[str, Choice], ...] = ()
    inexact: int = 0
    halved: int = 0
    rows: tuple[Row, ...] = ()
    table: Path | None = None


def compile_model(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    cpu: str = "native",
    emit_c: str | os.PathLike[str] | None = None,
    tune: float | bool = False,
    table: str | os.PathLike[str] | None = None,
    tables: bool = True,
    exact: bool = False,
    weights: str = "auto",
    progress: Callable[[str], None] | None = None,
) -> Compiled:
    """Compiles a step or clip model. output: the library to write; emit_c: a folder for the C file, its header and the weights.

    At least one of both should be given. The library is compared with a reference before it is written, where it can run.
    tune: measure how convolutions are computed best, where that is not known yet, in so many seconds (True: BUDGET_S).
    table: of measured choices; what is measured goes there, instead of into this user's own (`tuned.own_table`).
    tables: use those of the user and of the package. exact: do without Winograd's F(4x4, 3x3), whose error is about ten times
    that of other ways, and without weights of 16 bits; without it, both are used where they are faster, can be checked here and
    stay within `check.TOLERANCE` over the whole network. weights: in memory: `auto` (16 bits where a convolution waits for
    them), `fp32`, or `int16`: 16 bits wherever convolutions are made of tables (not depthwise ones).

    Raises ModelError, UnsupportedOperator, ConversionMismatch, EngineError, OutputError, UsageError.
    """
    progress = progress or (lambda _: None)
    chosen, given = target(cpu), path
    roundings = _roundings(chosen, weights, exact)
    path = Path("model.onnx") if isinstance(given, Held) else Path(given)
    if output is not None:
        check_writable(output, read=(given,))
        compiler(chosen)
    choices = _Measured(chosen, tune, table, tables)
    model = load(given)
    metadata = metadata_of(model, path)
    if metadata is None or metadata.kind == "stage":
        raise ModelError(
            "Only step and clip models with everyframe metadata can be compiled.", where=path,
            expected="a file written by `everyframe export` or `everyframe stream`",
            hint="run `everyframe stream CLIP.onnx` on it",
        )  # fmt: skip
    progress("generating C")
    stem = _stem(path)
    command = f"everyframe compile {shlex.quote(path.name)} --cpu {chosen.name}{choices.options} --emit-c DIR"

    def generated(rounding: Rounding) -> tuple[Source, Target]:
        if rounding != roundings[0]:
            progress("generating C without what is not exact enough here")
        choices.choose.rounding = rounding
        made, _, fitting = generate(
            model, metadata.states, target(cpu), where=path.name, stem=stem, command=command, choose=choices.choose
        )
        return made, fitting

    if output is None or not runs_here(chosen.name):  # nothing to compare: only what was asked for by name
        roundings = roundings[-1:]
    source, chosen = generated(roundings[0])
    if choices.more(lambda: untransformed(model, metadata.states, target(cpu), path.name), chosen, progress):
        progress("generating C with what was measured")
        source, chosen = generated(roundings[0])
    difference, library = None, None
    with tempfile.TemporaryDirectory(prefix="everyframe-") as folder:
        if output is not None:

            def built(rounding: Rounding, source: Source, chosen: Target) -> tuple[Path, float | None, Source, Target]:
                made = Path(folder) / f"model{roundings.index(rounding)}"  # a library that is loaded stays what it is
                progress(f"compiling for {chosen.name}")
                if chosen.machine == WASM:
                    link_wasm(source, chosen, made, embed=True, bgr=metadata.preprocess.color == "bgr")
                else:
                    link(source, chosen, model, made)
                words = node() if chosen.machine == WASM else None
                hosted = Hosted(words, made, None, source.facts) if words else None
                if not (runs_here(chosen.name) or (hosted is not None and hosted.known())):
                    return made, None, source, chosen
                progress("comparing with the model over a stream of pictures")
                asked = ASKED_TOLERANCE if weights == "int16" else 0.0
                return made, check(model, metadata, hosted or Library(made), tolerance=asked), source, chosen

            try:
                made, difference, source, chosen = compared(roundings, generated, built, (source, chosen))
            except ConversionMismatch as error:
                if weights != "int16":
                    raise
                raise ConversionMismatch(
                    "Weights of 16 bits are too coarse for this network, so nothing was written.", where=error.where,
                    expected=error.expected, got=error.got, hint="leave --weights int16 away",
                ) from None  # fmt: skip
            library = write_bytes(made.read_bytes(), output)
        written = []
        if emit_c is not None:
            wanted = not chosen.scalar and chosen.machine != WASM
            program = measuring(untransformed(model, metadata.states, target(cpu), path.name)) if wanted else None
            written = write_sources(source, emit_c, program.files() if program else {})
    kept = [(layer.kept, layer.macs / max(layer.kept, 1e-9)) for layer in source.layers]
    share = sum(k * n for k, n in kept) / max(1.0, sum(n for _, n in kept))
    return Compiled(
        chosen, source.facts["memory"], (*([library] if library else []), *written), library, difference, source.macs, share,
        source.facts["memory_bytes"], len(source.weights),
        tuple((layer.op.label, layer.choice) for layer in source.layers if layer.choice), source.inexact, source.halved,
        tuple(choices.rows), choices.table,
    )  # fmt: skip


def _roundings(target: Target, weights: str, exact: bool) -> Sequence[Rounding]:
    if weights not in ROUNDINGS:
        raise UsageError("There is no such kind of weights.", where="--weights", expected=", ".join(ROUNDINGS), got=weights)
    if weights == "int16" and (exact or target.scalar):
        why = "--exact" if exact else f"--cpu {target.name}, whose plain C reads weights as ONNX has them"
        raise UsageError(
            "Weights of 16 bits are not for this.", where="--weights int16", got=why, hint="leave one of the two away"
        )
    return (Rounding(),) if exact else ROUNDINGS[weights]


class _Measured:
    """Where choices come from, and what is measured now."""

    def __init__(self, target: Target, tune: float | bool, table: str | os.PathLike[str] | None, tables: bool) -> None:
        budget = None if tune is False else BUDGET_S if tune is True else tune
        self.budget, self.rows = budget, list[Row]()
        if budget is not None and not budget > 0:
            raise UsageError("There is no time to measure in.", where="the budget", expected="seconds above 0", got=budget)
        if budget is not None and not runs_here(target.name):
            raise UsageError(
                "Choices are measured on the processor that they are for.", where=f"--cpu {target.name}",
                hint=f"write the C with --emit-c DIR, run its {NAME}.c there, and hand what it writes to --table",
            )  # fmt: skip
        self.table = Path(table or own_table()) if budget is not None else None
        fresh = self.table is not None and not self.table.exists()
        if self.table is not None:
            self.table.parent.mkdir(parents=True, exist_ok=True) if not table else check_writable(self.table)
        named = None if fresh else table
        self.options = f" --table {shlex.quote(Path(table).name)}" if table else ""
        self.options += "" if tables else " --no-tune"
        self.choose = Tables.found(named) if tables else Tables(read(named) if named else ())

    def more(self, layers: Callable[[], Packer], target: Target, progress: Callable[[str], None]) -> bool:
        """Measures what is not in the tables; rows are kept one by one."""
        if self.budget is None or self.table is None:
            return False
        known = [*self.choose.given, *self.choose.others]
        made = measuring(layers(), lambda target, geometry: any(measured(row, target, geometry) for row in known))
        if made is None:
            return False
        compiler(target)
        for row in measure(made, target, self.budget, progress):
            self.rows.append(row)
            add([row], self.table)
        self.choose.given += self.rows
        return bool(self.rows)


def _stem(path: Path) -> str:
    """A name for the C files: letters, digits and underscores of the model's."""
    name = "".join(c if c.isascii() and c.isalnum() else "_" for c in path.name.removesuffix(".onnx")).strip("_")
    return name or "model"
