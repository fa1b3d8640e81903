"""everyframe serve: models over HTTP, with a page, for this machine or for those who have the token."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from everyframe.serving.server import Ready


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
    threads: Annotated[int, typer.Option(min=1, help="Threads of one step. More is for few streams of a large model.")] = 1,
    workers: Annotated[int | None, typer.Option(min=1, help="Steps at the same time. [default: one per core]")] = None,
    max_streams: Annotated[int, typer.Option(min=1, help="Streams that may be open.")] = 16,
    max_upload: Annotated[int, typer.Option(min=1, help="Megabytes of a video.")] = 500,
    idle: Annotated[float, typer.Option(min=1, help="Seconds without a frame after which a stream is closed.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print addresses, token and models as a line of JSON.")] = False,
) -> None:
    """Serve models over HTTP: a page for cameras, videos by POST, frames by WebSocket, metrics. Ctrl-C ends it.

    Example: everyframe serve builtin step.onnx --host 0.0.0.0 --tls
    """
    from everyframe.errors import EngineError, install_extra

    try:
        from everyframe.serving.server import Options, serve
    except ImportError as error:
        raise EngineError(
            "What serving needs is not installed.", where="everyframe serve", got=error.name, hint=install_extra("serve")
        ) from None
    from everyframe.serving.limits import Limits

    limits = replace(Limits(), streams=max_streams, upload=max_upload * 1_000_000, idle_s=idle)
    options = Options(
        host=host, port=port, names=tuple(allow_host or ()), origins=tuple(allow_origin or ()), tls=tls, cert=cert,
        key=key, engine=engine, threads=threads, workers=workers, limits=limits,
        cameras=tuple(camera or ()),
    )  # fmt: skip
    serve([given(model) for model in models], options, show_json if as_json else show)


def given(model: str) -> str:
    from everyframe.api.given import source

    return model if model == "builtin" else str(source(model))


def show(ready: Ready) -> None:
    rows = [("model", f"{name} ({engine})") for name, engine in ready.models]
    rows += [("camera", name) for name in ready.cameras]
    rows += [("page", address) for address in ready.addresses]
    rows += [("certificate", f"made just now; SHA-256 {ready.fingerprint}")] if ready.fingerprint else []
    rows += [("note", note) for note in ready.notes]
    for what, text in rows:
        print(f"{what:<13}{text}")
    sys.stdout.flush()  # also into a log: somebody waits for the address


def show_json(ready: Ready) -> None:
    print(json.dumps(asdict(ready)), flush=True)
