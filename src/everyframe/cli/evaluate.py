"""`everyframe evaluate`: how good a motion model is, on held-out rendered video and on real clips."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[str, typer.Argument(help="A step or clip model of the motions, or `builtin`.")] = "builtin",
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of real clips: hand_gestures/, clips/ and ut_interaction/ below it, or any videos."),
    ] = None,
    baseline: Annotated[bool, typer.Option(help="Measure the optical-flow rule beside it.")] = True,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the rendered video: a minute instead of several.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure a motion model: recall and false events, accuracy with time-reversed and shuffled controls, real clips.

    Example: everyframe evaluate builtin --data clips
    """
    from everyframe.errors import SourceError, UsageError

    if data is not None and not data.is_dir():
        raise SourceError("There is no such folder of clips.", where=data, expected="a folder", hint="check the path")
    try:
        from everyframe.train.motions import evaluate
    except ImportError as error:
        raise UsageError(
            "Evaluation needs packages that are not installed.", got=error.name, hint="pip install 'everyframe[train]'"
        ) from None
    recogniser = evaluate.open_model(evaluate.BUILT_IN if model == "builtin" else Path(model))
    note = (lambda text: print(text, file=sys.stderr)) if sys.stderr.isatty() else (lambda text: None)
    sizes = {k: max(4, v // 10) for k, v in evaluate.SIZES.items()} if quick else None
    report = evaluate.evaluate(recogniser, data, sizes=sizes, baseline=baseline, note=note)
    typer.echo(json.dumps(report) if as_json else "\n\n".join(_text(name, one) for name, one in report.items()))


def _text(name: str, report: dict) -> str:
    streams, negatives, singles = report["streams"], report["negatives"], report["singles"]
    lines = [
        f"{name}: event rule {', '.join(f'{k} {v}' for k, v in report['rule'].items())}",
        f"  rendered streams     {streams['gestures']} gestures in {streams['minutes']} min: "
        f"recall {streams['recall']:.1%}, {streams['false_per_minute']:.2f} false events a minute, "
        f"F1 {streams['f1']:.3f}",
        f"  rendered negatives   {negatives['minutes']} min: {negatives['false_per_minute']:.2f} false events a minute",
        f"  single gestures      {singles['count']} clips, 8 labels: accuracy {singles['accuracy']:.1%}; "
        f"time reversed {singles['reversed_against_same_label']:.1%} "
        f"(against the reversed label {singles['reversed_against_reversed_label']:.1%}), "
        f"shuffled {singles['shuffled']:.1%}",
    ]
    for label, accuracy in singles["accuracy_by_label"].items():
        recall = streams["recall_by_label"].get(label)
        in_streams = "" if recall is None else f", recall in streams {recall:.1%}"
        lines.append(f"    {label:<26} accuracy {accuracy:.1%}{in_streams}")
    for folder, one in report.get("real", {}).items():
        lines += _folder(folder, one)
    return "\n".join(lines)


def _folder(name: str, one: dict) -> list[str]:
    if "classes" not in one:
        rate = f"{one['false_per_minute']:.2f} false events a minute {one['events']}"
        return [f"  {name:<20} {one['clips']} clips, {one['minutes']} min: {rate}"]
    lines = [
        f"  {name:<20} {one['mapped_clips']} clips of mapped classes: first event right {one['first']:.1%}, "
        f"any {one['any']:.1%}, peak {one['peak']:.1%}, silent {one['silent']:.1%}; "
        f"other classes {one['false_per_minute_on_other_classes']:.2f} false events a minute"
    ]
    for name, row in sorted(one["classes"].items()):
        mapped = row["label"] != "none"
        counts = f"first {row['first']}/{row['clips']}, peak {row['peak']}/{row['clips']}"
        counts = counts if mapped else f"silent {row['silent']}/{row['clips']}"
        lines.append(f"    {name:<20} -> {row['label']:<24} {counts}, first events {row['said']}")
    return lines
