"""`everyframe evaluate`: accuracy on labeled videos, of clips and of the stream; or the events of a motion model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from everyframe.limits import MAX_THREADS

INTERRUPTED = 130
Views = Literal["non-overlapping", "middle", "10-crop", "30-view"]


def command(
    model: Annotated[
        str, typer.Argument(help="A clip or step model (.onnx or compiled), the folder of a training, or `builtin`.")
    ] = "builtin",
    data: Annotated[
        Path | None,
        typer.Option(
            help="Labeled videos: their folder, a list of spans of recordings, or a recipe (.toml). [default: of the training]"
        ),
    ] = None,
    data_format: Annotated[
        str, typer.Option("--format", help="folders, list, kinetics, jester, something, ucf101, hmdb51 or efficient3d.")
    ] = "folders",
    split: Annotated[
        str | None,
        typer.Option(help="Which part: validation, train, test, or all. [default: validation; all where there are no splits]"),
    ] = None,
    clip_list: Annotated[
        str | None,
        typer.Option(
            "--list", help="The list of that split, for formats with lists; of labels, quantities or frames.", metavar="FILE"
        ),
    ] = None,
    classes: Annotated[str | None, typer.Option(help="The data's file with the names of its classes.", metavar="FILE")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="The model's labels, one a line, instead of its own.", metavar="FILE")
    ] = None,
    label_map: Annotated[
        Path | None, typer.Option(help='Lines of "data label" = "model label", where names differ.', metavar="FILE")
    ] = None,
    views: Annotated[
        Views,
        typer.Option(help="Clips of each video; 10-crop mirrors half of them."),
    ] = "non-overlapping",
    segments: Annotated[
        bool, typer.Option("--segments", help="Clips with one frame of each of T equal parts of the video.")
    ] = False,
    short: Annotated[
        Literal["loop", "hold"] | None,
        typer.Option(help="Videos too short for a clip begin again or stand still. [default: loop]"),
    ] = None,
    rate: Annotated[
        Literal["native", "dense"], typer.Option(help="How a clip model is converted: see `everyframe stream`.")
    ] = "native",
    task: Annotated[
        str | None,
        typer.Option(help="What the answer is, instead of what the model says: classify, multilabel, regress or frames."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="From which score on a label is said (multilabel), or can be an event. [default: 0.5; the event rule's]"
        ),
    ] = None,
    refractory: Annotated[
        float | None, typer.Option(help="With --events: seconds without another after an event. [default: the event rule's]")
    ] = None,
    flush: Annotated[
        bool, typer.Option("--flush", help="At a video's end hold its last frame until the stream has fully seen it.")
    ] = False,
    reverse: Annotated[bool, typer.Option("--reverse", help="Also with the frames in reverse.")] = False,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Also with the frames shuffled.")] = False,
    freeze_frame: Annotated[
        bool, typer.Option("--freeze-frame", help="Also with one frame, the middle one, throughout.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the shuffled order.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many videos, evenly spread.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second of arrays that do not say their times.")] = None,
    engine: Annotated[
        str, typer.Option(help="auto (ort; native for a .so), ort, native (generated C), openvino or reference.")
    ] = "auto",
    threads: Annotated[int, typer.Option(min=1, max=MAX_THREADS, help="Threads of the engine for each video.")] = 1,
    workers: Annotated[int | None, typer.Option(min=1, help="Videos at once. [default: one per core]")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write tables, pictures and a page (report.html).", metavar="FOLDER"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="What labels can be read from the network's frozen features, by how many clips have labels."
        ),
    ] = False,
    beside: Annotated[
        list[str] | None, typer.Option(help="With --probe: another model, such as one trained with labels.", metavar="MODEL")
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="With --probe: of 5, 10 and 20 clips a class, so often.")] = 5,
    events: Annotated[
        bool, typer.Option("--events", help="Motion models: recall and false events, on rendered video and on clips in --data.")
    ] = False,
    baseline: Annotated[bool, typer.Option(help="With --events: measure the optical-flow rule beside it.")] = True,
    quick: Annotated[bool, typer.Option("--quick", help="With --events: a tenth of the rendered video.")] = False,
) -> None:
    """Measure a model on labeled videos: clips, whole videos, and the stream at every frame. Ctrl-C shows what is done.

    Of a model that enlarges: PSNR and SSIM on the pictures of a folder. Of one that detects: KITTI's average precision. With
    --probe: how good the features of any network are.

    Without labeled videos a motion model is measured by its events.

    Example: everyframe evaluate clip.onnx --data videos --reverse -o report
    """
    from everyframe.tasks.which import deployed, task_of

    if not events and (beside_recognition := task_of(deployed(model))) is not None:
        if beside_recognition == "enhance":
            _pictures(model, data, limit, engine, threads, output, as_json)
        else:
            _scans(model, data, split, limit, engine, threads, output, as_json)
        return
    if data is None and not events and (Path(model) / "recipe.toml").is_file():
        data = Path(model) / "recipe.toml"
    if probe:
        _features(model, data, beside or [], data_format, split, draws, seed, views, workers, output, as_json)
        return
    if events or data is None:
        _events(model, data, label_map, threshold, refractory, baseline, quick, as_json)
        return
    from everyframe import api
    from everyframe.benchmarking.machine import describe
    from everyframe.cli.show import accuracy
    from everyframe.cli.show.console import as_task
    from everyframe.evaluation.match import read_map
    from everyframe.files import results_in
    from everyframe.modelfile.labels import read_labels
    from everyframe.progress import bar

    controls = [name for name, wanted in (("reversed", reverse), ("shuffled", shuffle), ("frozen", freeze_frame)) if wanted]
    with results_in(output), bar("videos") as progress:
        found = api.evaluate(
            model, data, form=data_format, split=split, clip_list=clip_list, classes=classes,
            labels=None if labels is None else read_labels(labels), label_map=None if label_map is None else read_map(label_map),
            views=views, segments=segments, short=short, rate=rate, task=as_task(task), threshold=threshold,
            flush=flush, controls=controls, seed=seed, limit=limit, fps=fps, engine=engine, threads=threads, workers=workers,
            progress=progress,
        )  # fmt: skip
        if output is not None:
            found.save(output, environment={"command": " ".join(sys.argv), **describe()})
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
    else:
        accuracy.show_any(found, output)
    if found.partial:
        raise typer.Exit(INTERRUPTED)


def _pictures(
    model: str, data: Path | None, limit: int | None, engine: str, threads: int, output: Path | None, as_json: bool
) -> None:
    from everyframe import api
    from everyframe.cli.show import quality
    from everyframe.files import results_in
    from everyframe.progress import bar

    with results_in(output), bar("pictures") as progress:
        found = api.evaluate_pictures(
            model, data, output, limit=limit, engine="ort" if engine == "auto" else engine, threads=threads, progress=progress
        )
    quality.show(found, as_json)
    if found.partial:
        raise typer.Exit(INTERRUPTED)


def _scans(
    model: str, data: Path | None, split: str | None, limit: int | None, engine: str, threads: int, output: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    from everyframe import api
    from everyframe.cli.show import quality
    from everyframe.files import results_in
    from everyframe.progress import bar

    with results_in(output), bar("scans") as progress:
        found = api.evaluate_scans(
            model, data, output, split=split, limit=limit, engine="ort" if engine == "auto" else engine, threads=threads,
            progress=progress,
        )  # fmt: skip
    quality.show(found, as_json)
    if found.partial:
        raise typer.Exit(INTERRUPTED)


def _features(
    model: str, data: Path | None, beside: list[str], data_format: str, split: str | None, draws: int, seed: int, views: Views,
    workers: int | None, output: Path | None, as_json: bool,
) -> None:  # fmt: skip
    from everyframe import api
    from everyframe.benchmarking.machine import describe
    from everyframe.cli.show import quality
    from everyframe.errors import UsageError
    from everyframe.files import results_in
    from everyframe.progress import bar

    if data is None:
        raise UsageError("There are no labels to read from the features.", expected="labeled videos", hint="--data FOLDER")
    with results_in(output), bar("videos") as progress:
        found = api.evaluate_features(
            model, data, beside=beside, form=data_format, split=split, draws=draws, seed=seed, views=views, workers=workers,
            progress=progress,
        )  # fmt: skip
        if output is not None:
            found.save(output, environment={"command": " ".join(sys.argv), **describe()})
    quality.show(found, as_json)
    if found.missing:
        raise typer.Exit(INTERRUPTED)


def _events(
    model: str, data: Path | None, label_map: Path | None, threshold: float | None, refractory: float | None, baseline: bool,
    quick: bool, as_json: bool,
) -> None:  # fmt: skip
    from everyframe import api
    from everyframe.cli.show.events_report import text
    from everyframe.errors import ModelError
    from everyframe.evaluation.match import read_map
    from everyframe.progress import status

    names = None if label_map is None else read_map(label_map)
    try:
        with status("reading") as progress:
            found = api.evaluate_events(
                model, data, label_map=names, threshold=threshold, refractory=refractory, baseline=baseline, quick=quick,
                progress=progress,
            )  # fmt: skip
    except ModelError as error:
        error.hint = "name labeled videos for any other model: --data FOLDER" if data is None else error.hint
        raise type(error)(error.what, where=error.where, expected=error.expected, got=error.got, hint=error.hint) from None
    typer.echo(json.dumps(found.to_dict()) if as_json else "\n\n".join(text(name, one) for name, one in found.items()))
