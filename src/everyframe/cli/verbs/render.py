"""`everyframe render`: labeled clips that nobody had to film, and scans of streets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    kind: Annotated[
        str,
        typer.Argument(help="drivers (awake, or tired in four ways), motions (of hands), or scenes (streets seen by a lidar)."),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder to write, or to continue. [default: KIND]", metavar="DIR")
    ] = None,
    count: Annotated[int, typer.Option(help="Clips of each label, or recordings; of scenes scans, or sequences.")] = 100,
    minutes: Annotated[
        float,
        typer.Option(
            help="Recordings of so many minutes, with a list of spans, instead of clips; of scenes sequences.", metavar="M"
        ),
    ] = 0.0,
    seconds: Annotated[float, typer.Option(help="Of a clip.")] = 3.0,
    fps: Annotated[float | None, typer.Option(help="Pictures or scans a second. [default: 15; scans 10]")] = None,
    size: Annotated[int, typer.Option(help="Height and width of the pictures.")] = 112,
    sunglasses: Annotated[float, typer.Option(help="Share of the drivers who wear them.", metavar="SHARE")] = 0.3,
    beams: Annotated[int, typer.Option(help="Scenes: beams of the lidar, one above another.")] = 64,
    seed: Annotated[int, typer.Option(help="Another number, other people and streets.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Render labeled clips for training, or long recordings for evaluation, where nothing could be filmed; or scans of streets.

    Ctrl-C leaves what is done; the same command goes on from there.

    Example: everyframe render drivers -o clips --count 200
    """
    import json

    from everyframe import api
    from everyframe.progress import bar

    with bar("rendering") as progress:
        made = api.render(
            kind, output or Path(kind), count=count, minutes=minutes, seconds=seconds, fps=fps, size=size,
            sunglasses=sunglasses, beams=beams, seed=seed, progress=progress,
        )  # fmt: skip
    if as_json:
        print(json.dumps(made.to_dict()))
        return
    was = f", {made.videos - made.made} of them before" if made.made < made.videos else ""
    many = "s" * (made.videos != 1)
    if kind == "scenes":
        what, data = f"sequence{many}" if minutes else f"scan{many}, in KITTI's layout,", made.folder
        following = "train detection"
    else:
        what = f"recording{many} with spans.csv" if minutes else f"clip{many} of {len(made.labels)} labels"
        data, following = made.folder / "spans.csv" if minutes else made.folder, "evaluate MODEL" if minutes else "train"
    print(f"{made.videos} {what} in {made.folder}{was}: {', '.join(made.labels)}")
    print(f"next: everyframe {following} --data {data}")
