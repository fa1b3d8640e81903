"""Models over HTTP, until it is enough."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from everyframe.api.given import File, Model, paths, several, source, there

if TYPE_CHECKING:
    from everyframe.serving.server import Ready


class Server:
    """One that listens, as `serve` gives it and hands it to `ready`. addresses: to be opened, with the token. models: names, each
    with the engine that runs it. cameras: names. notes: what whoever runs it should know. print shows all of it.

    `stop` ends it when what had come is answered; so does the end of a `with` block.
    """

    def __init__(self, ready: Ready, stop: Callable[[], None]) -> None:
        self.addresses: Sequence[str] = ready.addresses
        self.token, self.fingerprint = ready.token, ready.fingerprint
        self.models: Mapping[str, str] = dict(ready.models)
        self.cameras: Sequence[str] = ready.cameras
        self.notes: Sequence[str] = ready.notes
        self._text, self._stop = str(ready), stop
        self._thread: threading.Thread | None = None

    def __str__(self) -> str:
        return self._text

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        names = ("addresses", "token", "fingerprint", "cameras", "notes")
        return {
            **{name: list(value) if isinstance(value := getattr(self, name), tuple) else value for name in names},
            "models": [[name, engine] for name, engine in self.models.items()],
        }

    def stop(self) -> None:
        """From any thread; calling it again does nothing. Returns when one in the background has ended."""
        self._stop()
        if self._thread is not None:
            self._thread.join()

    @property
    def running(self) -> bool:
        """Of one in the background: whether it has not ended."""
        return self._thread is not None and self._thread.is_alive()


@paths
def serve(
    models: Model | Sequence[File] | Mapping[str, Model] = "builtin",
    *,
    cameras: Mapping[str, str | int] | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    tls: bool = False,
    cert: File | None = None,
    key: File | None = None,
    allow_hosts: Sequence[str] = (),
    allow_origins: Sequence[str] = (),
    engine: str = "auto",
    threads: int = 1,
    workers: int | None = None,
    max_streams: int = 16,
    max_upload: int = 500,
    idle: float = 60.0,
    wait: bool = True,
    ready: Callable[[Server], object] = print,
) -> Server:
    """Serves models over HTTP, as `everyframe serve` does (docs/serve.md): a page, videos by POST, frames by WebSocket, metrics.

    models: one, or several, called by their files' stems; or by name, also models in memory. cameras: of the server, by `NAME`
    or `NAME:MODEL`. host: any but this machine's own needs the token that `ready` is told. port: 0 takes a free one. tls: https,
    with a certificate made on the spot; or cert and key, files (PEM). allow_hosts: names under which it is found behind a proxy.
    allow_origins: addresses of other servers whose pages may ask. engine: as for `open`. threads: of one step. workers: steps at
    the same time (default: one per core). max_streams: that may be open. max_upload: megabytes of a video. idle: seconds without
    a frame after which a stream is closed. ready: called when it listens; prints what there is to know unless told otherwise.
    wait: return when it was stopped, in the main thread by Ctrl-C or SIGTERM; False: run in a thread of its own and return when
    it listens, so that `stop` ends it. Raises ModelError, UsageError, EngineError, SourceError (the port is taken).

    >>> with ef.serve("step.onnx", engine="ort", port=0, wait=False, ready=lambda server: None) as server:
    ...     list(server.models), server.running, server.token is None
    (['step'], True, True)
    """
    from everyframe.errors import EngineError, install_extra

    try:
        from everyframe.serving.server import Options
        from everyframe.serving.server import serve as run
    except ImportError as error:
        raise EngineError(
            "What serving needs is not installed.", where="everyframe serve", got=error.name, hint=install_extra("serve")
        ) from None
    from everyframe.serving.limits import with_options

    options = Options(
        host=host, port=port, names=several("allow_hosts", allow_hosts), origins=several("allow_origins", allow_origins), tls=tls,
        cert=None if cert is None else Path(cert), key=None if key is None else Path(key), engine=engine, threads=threads,
        workers=workers, cameras=tuple(f"{name}={address}" for name, address in (cameras or {}).items()),
        limits=with_options(max_streams, max_upload, idle),
    )  # fmt: skip
    served = _given(models)
    if wait:
        return _here(run, served, options, ready)
    return _apart(run, served, options, ready)


def _given(models: Any) -> list[str] | dict[str, Any]:
    if isinstance(models, Mapping):
        return {name: _one(model) for name, model in models.items()}
    if isinstance(models, str | os.PathLike):
        return [str(_one(models))]
    if isinstance(models, Sequence) and not isinstance(models, bytes):
        return [str(_one(model)) for model in models]
    return {"model": _one(models)}


def _one(model: Any) -> Any:
    if isinstance(model, str | os.PathLike):
        return "builtin" if there(model) == "builtin" else str(model)
    return source(model)


def _here(run: Callable[..., None], models: Any, options: Any, ready: Callable[[Server], object]) -> Server:
    made: list[Server] = []

    def told(about: Ready, stop: Callable[[], None]) -> None:
        made.append(Server(about, stop))
        ready(made[0])

    run(models, options, told)
    return made[0]


def _apart(run: Callable[..., None], models: Any, options: Any, ready: Callable[[Server], object]) -> Server:
    answer: queue.SimpleQueue[Server | BaseException] = queue.SimpleQueue()

    def work() -> None:
        try:
            run(models, options, lambda about, stop: answer.put(Server(about, stop)))
        except BaseException as error:
            answer.put(error)

    thread = threading.Thread(target=work, name="everyframe serve", daemon=True)
    thread.start()
    made = answer.get()
    if isinstance(made, BaseException):
        raise made
    made._thread = thread
    ready(made)
    return made
