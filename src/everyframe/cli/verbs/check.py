"""`everyframe check`: does a model fit a device, and what mends it if not?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everyframe.targets import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everyframe.api.fitted import Checked, Fit


def command(
    model: Annotated[Path, typer.Argument(help="A clip or step model, or any other ONNX file, or builtin.", metavar="MODEL")],
    target: Annotated[
        list[str], typer.Option("--target", "-t", help=f"{listed('check')}, a profile (.toml), or all; may be repeated.")
    ],
    fix: Annotated[bool, typer.Option("--fix", help="Write a model that fits, compared with this one.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="With --fix: the file to write.", metavar="OUT")] = None,
    host_state: Annotated[
        bool, typer.Option("--host-state", help="With --fix: the device gives only new states, the host moves the old ones.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Compare a model with what a device takes: operators, axes, attributes, opset, states.

    Exit code 1 if something does not fit (with --fix: still does not).

    Example: everyframe check clip.onnx --target rdk-s100 --fix -o s100.onnx
    """
    import json

    from everyframe.api.fitting import check_each
    from everyframe.api.fitting import fix as write
    from everyframe.cli.show.console import console
    from everyframe.devices.profile import resolve
    from everyframe.progress import status

    _agree(target, fix, output, host_state)
    names = resolve(target)
    fixed: Fit | None = None
    found: Sequence[Checked]
    with status("reading") as progress:
        if fix:
            found = [fixed := write(model, names[0], output, host_state=host_state, progress=progress)]
        else:
            found = check_each(model, names)
    if as_json:
        rows = [each.to_dict() for each in found]
        print(json.dumps({"file": str(model), "targets": rows, **({"fixed": rows[0].pop("fixed")} if fixed else {})}))
    else:
        out = console()
        for each in found:
            _show(out, each)
        if len(found) > 1:
            _summary(out, found)
        if fixed:
            _show_fixed(out, fixed)
    raise typer.Exit(0 if all(each.fits for each in found) else 1)


def _agree(target: list[str], fix: bool, output: Path | None, host_state: bool) -> None:
    """Raises UsageError for options that contradict each other."""
    from everyframe.errors import UsageError

    if fix and output is None:
        raise UsageError("--fix writes a file.", expected="-o OUT.onnx", hint="say where with -o")
    if not fix and (output is not None or host_state):
        given = "-o" if output is not None else "--host-state"
        raise UsageError(f"{given} is for --fix.", hint="add --fix, or leave it out")
    if fix and (len(target) > 1 or "all" in target):
        raise UsageError("A model is fixed for one target at a time.", got=", ".join(target), expected="one --target")


def _show(out: Any, found: Checked) -> None:
    from everyframe.devices import load_profile

    plan = found.plan
    out.print(f"{load_profile(found.target).title}: {plan.verdict}", markup=False)
    if plan.before.host:
        out.print(f"  left to the host's processor: {_counts(plan.before.host)}", markup=False, soft_wrap=True)
    if plan.before.findings:
        _table(out, plan.before.findings)
    new = [finding for finding in plan.after.findings if finding.key not in {f.key for f in plan.before.findings}]
    if new:
        out.print(f"  after {', '.join(applied.rewrite for applied in plan.applied)} there would remain:", markup=False)
        _table(out, new)
    for note in plan.notes:
        out.print(f"  not possible: {note}", markup=False, soft_wrap=True)


def _table(out: Any, findings: Any) -> None:
    """One line for findings that differ in their node only, with the origins below."""
    from rich.table import Table
    from rich.text import Text

    groups: dict[tuple, list] = {}
    for finding in findings:
        groups.setdefault((finding.op, finding.why, finding.mend, finding.origin), []).append(finding)
    origins = list(dict.fromkeys(origin for *_, origin in groups))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2))
    for title in ("node", "what does not fit", "mended by", ""):
        table.add_column(title, overflow="fold")
    for (op, why, mend, origin), found in groups.items():
        first = found[0]
        node = " ".join(part for part in (op, first.node, f"({first.place})" if first.place else "") if part) or "the model"
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        table.add_row(*(Text(cell) for cell in (node + more, why, mend or "nothing", f"[{origins.index(origin) + 1}]")))
    out.print(table, markup=False)
    for number, origin in enumerate(origins, 1):
        out.print(f"  [{number}] {origin}", markup=False, soft_wrap=True)


def _summary(out: Any, found: Sequence[Checked]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title="\nsummary", title_justify="left")
    for title in ("target", "verdict", "findings", "remain", "on the host", "rewrites"):
        table.add_column(title, justify="right" if title in ("findings", "remain", "on the host") else "left")
    for each in found:
        plan = each.plan
        rewrites = ", ".join(applied.rewrite for applied in plan.applied)
        numbers = len(plan.before.findings), len(plan.after.findings), sum(plan.after.host.values())
        table.add_row(each.target, plan.verdict, *map(str, numbers), rewrites)
    out.print(table)


def _show_fixed(out: Any, fixed: Fit) -> None:
    for applied in fixed.plan.applied:
        out.print(f"  {applied.rewrite}: {applied.detail}", markup=False, soft_wrap=True)
    for proof in fixed.proofs:
        out.print(f"  same answers on {proof.on}: largest relative difference {proof.difference:.1e}", markup=False)
    if fixed.plan.after.host:
        out.print(f"  left to the host's processor: {_counts(fixed.plan.after.host)}", markup=False, soft_wrap=True)
    remain = len(fixed.plan.after.findings)
    out.print(f"wrote {fixed.path}" + (f"; {remain} findings remain" if remain else ", which fits"), markup=False)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{op} {n}" for op, n in counts.items())
