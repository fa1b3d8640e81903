"""everyframe teach: gestures of one's own from a few examples of each, on top of a model that exists."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everyframe.api.outcomes import Taught

BAR = 20


def command(
    model: Annotated[
        str, typer.Argument(help="A step or clip model, or `builtin`. A folder alone holds examples, for `builtin`.")
    ] = "builtin",
    examples: Annotated[
        list[Path] | None,
        typer.Option(
            help="A folder with a folder of clips for each gesture; `none` holds background. Or a list of spans of long "
            "recordings (file,start,end,label; .eaf). May be given again.",
            metavar="FOLDER|LIST",
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The step model to write.", metavar="MINE.onnx")] = Path(
        "mine.onnx"
    ),
    background: Annotated[
        list[str] | None,
        typer.Option(help="A video, folder or glob in which nobody makes a gesture. May be given again.", metavar="VIDEO"),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(min=1, help="Feature frames that the head averages; fewer suit short gestures. [default: the model's own]"),
    ] = None,
    camera: Annotated[
        str | None,
        typer.Option(
            help="Record examples from this source first: a camera number, or anything that `predict` takes.", metavar="SOURCE"
        ),
    ] = None,
    gesture: Annotated[list[str] | None, typer.Option(help="Name of a gesture to record. May be given again.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Examples to record of each gesture.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.3, help="Length of a recorded example.")] = 2.5,
    countdown: Annotated[int, typer.Option(min=0, help="Seconds before each recording.")] = 3,
    pause: Annotated[float, typer.Option(min=0, help="Seconds of background recorded at the end; 0: none.")] = 10.0,
    record_to: Annotated[
        Path | None,
        typer.Option(help="Where recorded clips are kept. [default: MINE-examples]", metavar="DIR"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Teach a model new gestures from about five examples of each, in seconds. Needs no torch.

    Example: everyframe teach --camera 0 --gesture thumbs_up --gesture point -o mine.onnx
    """
    import json

    from everyframe.api import teach
    from everyframe.errors import UsageError
    from everyframe.files import check_writable
    from everyframe.progress import status

    check_writable(output)
    folders = list(examples or [])
    if camera is not None:
        folders.append(record_to or output.with_name(f"{output.stem}-examples"))
        how = {"count": count, "seconds": seconds, "countdown": countdown, "pause": pause}
        _record(camera, folders[-1], gesture or (), how)
    elif gesture or record_to:
        raise UsageError("There is nothing to record from.", expected="--camera SOURCE beside --gesture and --record-to",
                         hint="--camera 0")  # fmt: skip
    if not folders and Path(model).is_dir():  # examples, of the built-in model
        model, folders = "builtin", [Path(model)]
    if not folders:
        raise UsageError(
            "There are no examples.", expected="--examples FOLDER, or --camera SOURCE to record them",
            hint="everyframe teach --camera 0 --gesture thumbs_up --gesture point",
        )  # fmt: skip
    with status("reading") as progress:
        taught = teach(model, folders, output, background=background or (), window=window, progress=progress)
    for problem in taught.broken:
        print(f"left out: {problem}", file=sys.stderr)
    if as_json:
        typer.echo(json.dumps(taught.to_dict()))
    else:
        _show(taught)


def _record(camera: str, folder: Path, gestures: Sequence[str], how: dict[str, Any]) -> None:
    """Guided recording; Ctrl-C keeps what is there and says how to go on."""
    from everyframe.api import record

    progress = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    try:
        made = record(camera, folder, gestures=gestures, **how, progress=progress)
    except KeyboardInterrupt:
        progress(f"kept in {folder}: {len(list(folder.glob('*/*.mp4')))} clips; next: everyframe teach --examples {folder}")
        raise
    progress(f"recorded {len(made.clips)} clips in {folder}")


def _show(taught: Taught) -> None:
    from rich.table import Table
    from rich.text import Text

    from everyframe.cli.show.console import console

    out = console()
    learned = taught.learned
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in (("gesture", "left"), ("examples", "right"), ("told right when left out", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for label, row in learned.told.items():
        right, count = row[label], taught.counts[label]
        bar = "█" * round(BAR * right / count)
        table.add_row(Text(label), str(count), Text(f"{bar:<{BAR}} {right} of {count}"))
    out.print(table)
    outcome, rule = learned.outcome, learned.rule
    quiet = f", {outcome.quiet_false} of them in {taught.background_s:.0f} s of background" if taught.background_s else ""
    strange = outcome.strange_a_minute
    read = [f"{mean.wire} over {mean.window}" for mean in taught.means] or [f"what {taught.layer} read over {taught.window}"]
    means = f"means of {', '.join(read)} frames"
    lines = [
        *(f"{label} is taken for {other} {times} of {taught.counts[label]} times" for label, other, times in _mistakes(taught)),
        f"accuracy     {learned.accuracy:.0%} of {sum(taught.counts.values())} examples, each left out in turn; "
        f"chance {1 / len(learned.labels):.0%}",
        f"events       {outcome.hits} of {outcome.examples} left-out examples raise the right event first; "
        f"{outcome.false} false events{quiet}",
        *(
            []
            if strange is None
            else [f"untaught     {strange:.1f} events a minute on a gesture that was not taught, as each is left out as a whole"]
        ),
        f"event rule   threshold {rule.threshold:g} for {rule.hold_steps} steps, silent for {rule.refractory_s:g} s, "
        f"until {rule.background} is back at {rule.rearm:g}",
        f"features     {taught.width}: {means}",
        *(f"note         {note}" for note in taught.notes),
        f"wrote {taught.path} in {taught.seconds:.1f} s",
        f"next         everyframe predict {taught.path} 0        (your own camera; or a video file)",
    ]
    for line in lines:
        out.print(line, markup=False, soft_wrap=True)


def _mistakes(taught: Taught) -> list[tuple[str, str, int]]:
    """(gesture, what it is taken for, how often), what happens more than once, most frequent first."""
    found = [(a, b, n) for a, row in taught.learned.told.items() for b, n in row.items() if a != b and n > 1]
    return sorted(found, key=lambda mistake: -mistake[2])
