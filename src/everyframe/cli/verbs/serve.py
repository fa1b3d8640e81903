"""everyframe serve: models over HTTP, with a page, for this machine or for those who have the token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everyframe.limits import MAX_THREADS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everyframe.api.served import Server


def command(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL...", help="Step or clip models, or `builtin`, called by their files' stems."),
    ],
    camera: Annotated[
        list[str] | None,
        typer.Option(help="A camera of the server: NAME=ADDRESS, or NAME:MODEL=ADDRESS. Repeatable.", metavar="NAME=ADDRESS"),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this machine's own needs a token, which is printed.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    tls: Annotated[bool, typer.Option("--tls", help="https, with a certificate made on the spot.")] = False,
    cert: Annotated[Path | None, typer.Option(help="https, with a certificate of your own (PEM).", metavar="FILE")] = None,
    key: Annotated[Path | None, typer.Option(help="Its key, where that is in another file.", metavar="FILE")] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Name under which it is found behind a proxy. Repeatable.", metavar="NAME")
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="Address of another server whose pages may ask. Repeatable.", metavar="URL")
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, ort, native, openvino or reference, as in predict.")] = "auto",
    threads: Annotated[
        int, typer.Option(min=1, max=MAX_THREADS, help="Threads of one step. More is for few streams of a large model.")
    ] = 1,
    workers: Annotated[int | None, typer.Option(min=1, help="Steps at the same time. [default: one per core]")] = None,
    max_streams: Annotated[int, typer.Option(min=1, help="Streams that may be open.")] = 16,
    max_upload: Annotated[int, typer.Option(min=1, help="Megabytes of a video.")] = 500,
    idle: Annotated[float, typer.Option(min=1, help="Seconds without a frame after which a stream is closed.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print addresses, token and models as a line of JSON.")] = False,
) -> None:
    """Serve models over HTTP: a page for cameras, videos by POST, frames by WebSocket, metrics. Ctrl-C ends it.

    Example: everyframe serve builtin step.onnx --host 0.0.0.0 --tls
    """
    import everyframe
    from everyframe.api.given import there

    everyframe.serve(
        [there(model) for model in models], cameras=named(camera or ()), host=host, port=port, tls=tls, cert=cert, key=key,
        allow_hosts=allow_host or (), allow_origins=allow_origin or (), engine=engine, threads=threads, workers=workers,
        max_streams=max_streams, max_upload=max_upload, idle=idle, ready=show_json if as_json else show,
    )  # fmt: skip


def named(cameras: Sequence[str]) -> dict[str, str]:
    """Raises UsageError for the same name twice."""
    made: dict[str, str] = {}
    for text in cameras:
        name, _, address = text.partition("=")
        if name in made:
            from everyframe.errors import UsageError

            raise UsageError("Two cameras have the same name.", where="--camera", got=name)
        made[name] = address
    return made


def show(server: Server) -> None:
    print(server, flush=True)  # also into a log: somebody waits for the address


def show_json(server: Server) -> None:
    print(json.dumps(server.to_dict()), flush=True)
