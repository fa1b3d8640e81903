"""everyframe predict: a model over videos, a folder or a camera.

On `Program` and its playbacks rather than on `api.predict`, which gives all predictions when the videos are over: here they are
shown as they come, with dropped frames and times, and a camera has no end.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everyframe.limits import MAX_THREADS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everyframe.cli.show.window import Window
    from everyframe.runtime import Program
    from everyframe.video import Source


def command(
    model: Annotated[str, typer.Argument(help="A step or clip model, the folder of a split one, or `builtin`.")],
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Videos, a folder, a glob in quotes, a camera number, rtsp://…, - for standard input, .npy, .npz, .csv, scans.",
        ),
    ],
    top_k: Annotated[
        int | None,
        typer.Option("--top-k", "-k", min=1, help="Labels shown per prediction. [default: 5; at a terminal all of up to 12]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per prediction: frame, pts_s, top.")] = False,
    as_csv: Annotated[
        Path | None, typer.Option("--csv", help="Write a table: a row for each video and each event.", metavar="FILE")
    ] = None,
    save_timeline: Annotated[
        Path | None, typer.Option(help="Write a picture (PNG) of the scores over time.", metavar="FILE")
    ] = None,
    save_video: Annotated[
        Path | None,
        typer.Option(help="Write the video again: below it label, score, events and a timeline; with its sound.", metavar="FILE"),
    ] = None,
    show: Annotated[
        bool,
        typer.Option("--show", help="Show it in a window, files at their own speed; without a display in a page, until Ctrl-C."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Models that enlarge: the picture or video to write, or a folder; that detect: a folder, or a file of boxes.",
            metavar="FILE",
        ),
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(help="Another model, run on the same videos and shown beside. Repeatable.", metavar="MODEL"),
    ] = None,
    stride: Annotated[
        int | None, typer.Option(min=1, help="Clip models: frames between predictions. [default: half a clip]")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="A file of labels, one a line, or JSON, instead of the model's own.", metavar="FILE")
    ] = None,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Stop each video after so many frames.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Stop each video after so many seconds of it.")] = None,
    fps: Annotated[float | None, typer.Option(help="Arrays: frames a second, if the file does not say its times.")] = None,
    realtime: Annotated[
        bool,
        typer.Option("--realtime", help="Play a file at its own speed, as a camera would: late frames are dropped."),
    ] = False,
    engine: Annotated[
        str, typer.Option(help="auto (the fastest of the next three), ort, native (generated C), openvino or reference.")
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, max=MAX_THREADS, help="Threads of the engine. [default: one per core]")
    ] = None,
    overlap: Annotated[
        bool, typer.Option("--overlap", help="Split models: stages work at the same time, each on another frame.")
    ] = False,
    steady: Annotated[
        str | None, typer.Option(help="Show one steady label: `tsm`, the rule of TSM's live demo for Jester's gestures.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="What the answer is, instead of what the model says: classify, multilabel, regress or frames."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="From which score on a label is shown (multilabel), or can be an event. [default: 0.5; the event rule's]"
        ),
    ] = None,
    refractory: Annotated[
        float | None, typer.Option(help="Seconds without another event after an event. [default: the event rule's]")
    ] = None,
    alert: Annotated[
        list[str] | None,
        typer.Option(
            help="Raise alerts: sound, sound:FILE.wav, command:WORDS, or the address of a webhook. Repeatable.", metavar="WAY"
        ),
    ] = None,
    alert_rule: Annotated[
        list[str] | None,
        typer.Option(
            help="What an alert is: labels=A,B threshold=.6 release=.4 seconds=1 share=1 quiet=10 repeat=0. [default: events]",
            metavar="KEY=VALUE",
        ),
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show where the time of a step goes, stage by stage, instead of predictions.")
    ] = False,
) -> None:
    """Recognize what happens in a video, at every frame; with a model that enlarges, write pictures and videos larger; with one
    that detects, find objects in scans.

    Example: everyframe predict builtin video.mp4 --save-timeline timeline.png
    """
    from everyframe.tasks.which import deployed, task_of

    model = deployed(model)
    if (beside_recognition := task_of(model)) is not None:
        from everyframe.cli.show import enlarged, scans

        pictures = beside_recognition == "enhance"
        apart = {"--max-frames": max_frames, "--threshold": threshold} if pictures else {"--seconds": seconds}
        enlarged.refuse(
            beside_recognition,
            {
                "--top-k": top_k, "--csv": as_csv, "--save-timeline": save_timeline, "--beside": beside, "--stride": stride,
                "--labels": labels, "--fps": fps, "--realtime": realtime, "--overlap": overlap,
                "--steady": steady, "--task": task, "--refractory": refractory, "--alert": alert,
                "--alert-rule": alert_rule, "--profile": profile, "--show": show, **apart,
            },
        )  # fmt: skip
        output = output or save_video
        if pictures:
            code = enlarged.predict(model, sources, output, seconds=seconds, engine=engine, threads=threads, as_json=as_json)
        else:
            code = scans.predict(
                model, sources, output, threshold=threshold, engine=engine, threads=threads, most=max_frames, as_json=as_json
            )
        raise typer.Exit(code)
    from everyframe.errors import UsageError
    from everyframe.files import check_kept, check_writable, write_bytes

    if output is not None:
        raise UsageError(
            "Only models that enlarge or detect write files of their own.", where="--output", got=output,
            hint="--csv, --json, --save-timeline and --save-video say what this one recognizes",
        )  # fmt: skip
    if save_timeline is not None:
        check_writable(save_timeline, ".png")
    for file in filter(None, (as_csv, save_video)):
        check_writable(file)

    import contextlib

    import everyframe
    from everyframe.cli.show.alarm import Alarm
    from everyframe.cli.show.console import as_task
    from everyframe.cli.show.live import choose
    from everyframe.cli.show.outcome import exit_code, summary, table, together
    from everyframe.cli.show.watch import watch
    from everyframe.modelfile.labels import read_labels
    from everyframe.video import resolve
    from everyframe.video.write import check_twice

    found = [video for source in sources for video in resolve(source)]  # what is not there is said before the model is opened
    models = by_name([model, *(beside or ())])
    for file in filter(None, (as_csv, save_timeline, save_video)):
        check_kept(file, *models.values(), *(path for video in found for path in video.paths))
    for video in found if save_video is not None or beside else ():
        check_twice(video, save_video)
    names = read_labels(labels) if labels is not None else None
    with contextlib.ExitStack() as opened:
        program = opened.enter_context(
            everyframe.open(
                model, engine=engine, threads=threads, labels=names, overlap=overlap, steady=steady, task=as_task(task),
                threshold=threshold, refractory=refractory, wait=profile,
            )
        )  # fmt: skip
        others = [opened.enter_context(everyframe.open(other, engine=engine, threads=threads)) for other in beside or ()]
        programs = dict(zip(models, (program, *others), strict=True))
        found = [video for source in sources for video in program.sources(source)]
        if profile:
            print_stages(program, found[0], max_frames, threads or 1, as_json)
            return
        window = opened_window(found[0].name) if show else None
        if window is not None:
            opened.callback(window.close)
        elif show:
            with_page(models, found, engine, alone=not (as_json or as_csv or save_timeline or save_video or alert or alert_rule))
            return
        playing = window is not None and found[0].kind != "array"  # at its own speed
        alarm = Alarm(program, alert or (), alert_rule or ()) if alert or alert_rule else None
        if save_video is not None and not program.interface.pictures:
            raise UsageError("Of what has no pictures no video can be written.", where="--save-video", hint="leave it out")
        widest = max(map(len, models))
        views = [
            choose(one, found, as_json=as_json, top_k=top_k, model=name if beside else None, widest=widest)
            for name, one in programs.items()
        ]
        tallies = watch(
            programs, found, views, save_timeline, save_video, alarm, window,
            stride=stride, top_k=top_k or 5, max_frames=max_frames, seconds=seconds, realtime=realtime or playing, fps=fps,
        )  # fmt: skip
        if alarm is not None:
            tallies[0].alarmed, tallies[0].undelivered = True, alarm.close()
        if as_csv is not None:
            write_bytes(table(dict(zip(models, tallies, strict=True))), as_csv)
        several = len(found) > 1
        for (name, one), tally in zip(programs.items(), tallies, strict=True):
            if several or tally.total("frames") or not tally.failed:  # else the error says all
                typer.echo((f"model        {name}\n" if beside else "") + summary(tally, one, several=several), err=as_json)
    if window is not None and window.closed:
        raise typer.Exit
    raise typer.Exit(exit_code(together(tallies), several=several))


def by_name(models: Sequence[str]) -> dict[str, str]:
    """Raises UsageError for the same model twice."""
    from everyframe.benchmarking.outcome import called
    from everyframe.errors import UsageError

    if len({*models}) < len(models):
        raise UsageError("A model beside itself says the same.", where="--beside", got=models[-1])
    return {name: model for model, name in called(models).items()}


def opened_window(title: str) -> Window | None:
    """None where there can be none; why is said."""
    from everyframe.cli.show.window import NoWindow, Window

    try:
        return Window(f"{title} - everyframe")
    except NoWindow as why:
        typer.echo(f"no window: {why}", err=True)
        return None


def with_page(models: Mapping[str, str], found: Sequence[Source], engine: str, *, alone: bool) -> None:
    """The same in a page of this machine: each model with each of the videos as a camera of the server. Until Ctrl-C."""
    import re

    import everyframe
    from everyframe.errors import UsageError

    if not alone:
        raise UsageError("Without a window, pictures are shown in a page, and nothing else is written.", where="--show",
                         hint="leave --show out, or the options that write something")  # fmt: skip
    names = {name: re.sub(r"[^\w.-]+", "_", name) for name in models}
    cameras: dict[str, str | int] = {}
    for source in found:
        if source.kind not in ("file", "camera", "address"):
            raise UsageError("A page shows videos and cameras.", where=source.name, got=source.kind, hint="leave --show out")
        for name in names.values():
            called = re.sub(r"[^\w.-]+", "_", source.name if len(models) == 1 else f"{source.name}-{name}")
            cameras[f"{called}:{name}"] = source.paths[0]
    everyframe.serve({names[name]: model for name, model in models.items()}, cameras=cameras, engine=engine, port=0)


def print_stages(program: Program, source: Source, max_frames: int | None, threads: int, as_json: bool) -> None:
    import json

    from everyframe.benchmarking.stages import stages
    from everyframe.cli.show.models import show_stages

    found = stages(program, source, max_frames or 200, threads).to_dict()
    if as_json:
        print(json.dumps(found))
    else:
        show_stages(found)
