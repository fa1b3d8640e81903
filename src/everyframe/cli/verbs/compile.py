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
            help="native (this machine), x86-64-v3 or -v4, also with -vnni, aarch64, riscv64, riscv64-v, or generic: slow C."
        ),
    ] = "native",
    emit_c: Annotated[
        Path | None, typer.Option(help="Write the C file, its header and the weights into this folder.", metavar="DIR")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compile a model to C that needs nothing but libc, and the C to a library for `predict`.

    The library is compared with the model over a stream of pictures before it is written. It needs a C compiler (gcc or clang).

    Example: everyframe compile x3d_m.step.onnx -o x3d_m.so --emit-c x3d_m_c
    """
    import json

    from everyframe.cli.show.models import memory_lines
    from everyframe.native.compile import compile_model
    from everyframe.progress import status

    path, name = _model(model)
    if output is None and emit_c is None:
        output = Path(name).with_suffix(".so")
    with status("reading") as say:
        made = compile_model(path, output, cpu=cpu, emit_c=emit_c, progress=say)
    if as_json:
        print(json.dumps({
            "files": [str(file) for file in made.files], "cpu": made.target.name, "difference": made.difference,
            "macs": made.macs,
            "weights_kept": round(made.weights, 4), "memory_bytes": made.memory_bytes, "weight_bytes": made.weight_bytes,
            "memory": made.memory,
        }))  # fmt: skip
        return
    for file in made.files:
        print(file)
    checked = "not run here" if made.difference is None else f"differs from the model by {made.difference:.1e}"
    print(f"{made.target.name} ({made.target.note}); {checked}")
    print(f"{made.macs / 1e6:,.1f} million multiply-adds a step, {made.weights:.0%} of the weights are not zero")
    for line in memory_lines(made.memory, made.memory_bytes, made.weight_bytes):
        print(line)


def _model(model: Path) -> tuple[Path, str]:
    """The file, and the name that results are called after."""
    if str(model) != "builtin":
        return model, str(model)
    from everyframe.runtime.program import BUILTIN

    return BUILTIN, BUILTIN.name
