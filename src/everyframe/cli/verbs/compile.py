"""`everyframe compile`: a model becomes C without dependencies, and a library."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[Path, typer.Argument(help="A step or clip model (ONNX), or builtin.", metavar="MODEL.onnx")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="The library to write. [default: MODEL.so, nothing with --emit-c]", metavar="MODEL.so"
        ),
    ] = None,
    cpu: Annotated[
        str,
        typer.Option(
            help="native (this machine), x86-64-v3 or -v4, also with -vnni, aarch64, riscv64, riscv64-v, wasm32-simd128 or "
            "-relaxed, or generic: slow C."
        ),
    ] = "native",
    emit_c: Annotated[
        Path | None, typer.Option(help="Write the C file, its header and the weights into this folder.", metavar="DIR")
    ] = None,
    tune: Annotated[
        bool | None,
        typer.Option(
            "--tune/--no-tune",
            show_default=False,
            help="Measure how each convolution is computed best here, where that is not known yet; or use no measurements "
            "at all, not even those that come with everyframe: the same C on every machine.",
        ),
    ] = None,
    budget: Annotated[float | None, typer.Option(help="Seconds to measure in. [default: 60]", metavar="SECONDS")] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            help="Measured choices that come first, as tune.c of --emit-c writes them; with --tune, where they are written.",
            metavar="FILE",
        ),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Do without Winograd's F(4x4, 3x3) and weights of 16 bits, which round more."),
    ] = False,
    weights: Annotated[
        str,
        typer.Option(
            help="In memory: auto (16 bits where a layer waits for its weights, if the answers stay within 1e-4), fp32, or "
            "int16: 16 bits in all convolutions but depthwise ones."
        ),
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compile a model to C that needs nothing but libc, and the C to a library for `predict`.

    The library is compared with the model over a stream of pictures before it is written. It needs a C compiler (gcc or clang).

    Example: everyframe compile x3d_m.step.onnx -o x3d_m.so --emit-c x3d_m_c
    """
    import json

    from everyframe import api
    from everyframe.cli.show.console import named
    from everyframe.cli.show.models import choice_lines, memory_lines
    from everyframe.errors import UsageError
    from everyframe.progress import status

    if budget is not None and not tune:
        raise UsageError("A budget is for measuring.", where="--budget", hint="add --tune")
    if output is None and emit_c is None:
        output = named(model).with_suffix(".wasm" if cpu.startswith("wasm") else ".so")
    with status("reading") as progress:
        made = api.compile(
            model, output, cpu=cpu, emit_c=emit_c, tune=(True if budget is None else budget) if tune else False, table=table,
            tables=tune is not False, exact=exact, weights=weights, progress=progress,
        )  # fmt: skip
    if as_json:
        print(json.dumps(made.to_dict()))
        return
    for file in made.files:
        print(file)
    checked = "not run here" if made.difference is None else f"differs from the model by {made.difference:.1e}"
    print(f"{made.target.name} ({made.target.note}); {checked}")
    print(f"{made.macs / 1e6:,.1f} million multiply-adds a step, {made.weights:.0%} of those with all weights")
    for line in choice_lines(made):
        print(line)
    for line in memory_lines(made.memory, made.memory_bytes, made.weight_bytes):
        print(line)
