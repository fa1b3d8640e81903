"""From the command's options to the end of the process."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import secrets
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from everyframe.errors import SourceError, UsageError
from everyframe.runtime import Program
from everyframe.runtime.engine import cores
from everyframe.serving.app import application
from everyframe.serving.cameras import cameras
from everyframe.serving.certificate import addresses, context, self_signed
from everyframe.serving.gate import Policy
from everyframe.serving.limits import Limits
from everyframe.serving.pages import page
from everyframe.serving.shelf import Shelf
from everyframe.serving.state import State
from everyframe.serving.stepper import Stepper
from everyframe.serving.wire import protocols

#: seconds for what is said where there is no more time to wait for answers
LAST_WORDS_S = 0.5
#: what anybody may ask
OPEN = ("/healthz", "/readyz")
OPENLY = "without --tls, what is sent can be read on its way, and browsers give the page no camera"


@dataclass(frozen=True, slots=True)
class Options:
    """host, port: where to listen; port 0 is a free one. names, origins: see `gate.Policy`. tls: with a certificate made on the
    spot; or cert and key, files. threads: of an engine; workers: steps at the same time (default: one per core).
    cameras: see `cameras.cameras`.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    names: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    tls: bool = False
    cert: Path | None = None
    key: Path | None = None
    engine: str = "auto"
    threads: int = 1
    workers: int | None = None
    cameras: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Ready:
    """What a user needs to know of a server that listens, as a text too. addresses: ready to be opened, with the token, which is
    stored nowhere. models: name and engine. fingerprint: SHA-256 of a certificate that was made on the spot.
    """

    addresses: tuple[str, ...]
    models: tuple[tuple[str, str], ...]
    token: str | None = None
    fingerprint: str | None = None
    cameras: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        rows = [("model", f"{name} ({engine})") for name, engine in self.models]
        rows += [("camera", name) for name in self.cameras]
        rows += [("page", address) for address in self.addresses]
        rows += [("certificate", f"made just now; SHA-256 {self.fingerprint}")] if self.fingerprint else []
        rows += [("note", note) for note in self.notes]
        return "\n".join(f"{what:<13}{text}" for what, text in rows)


def serve(
    models: Sequence[str] | Mapping[str, Any], options: Options, ready: Callable[[Ready, Callable[[], None]], None]
) -> None:
    """Serves until it is stopped, and returns when what had come is answered. In the main thread SIGTERM and Ctrl-C stop it.

    models: see `shelf.Shelf`. ready: called when the port is open and the models are loaded, with what a user needs to know, and
    with what stops it, from any thread.
    Raises ModelError, UsageError, SourceError (the port is taken).
    """
    if options.key is not None and options.cert is None:
        raise UsageError("A key needs its certificate.", where="--key", expected="--cert FILE", got="none")
    # before models are loaded: a port that is taken is said at once
    with _listening(options) as listener:
        tls, fingerprint = _tls(options)
        shelf = Shelf(models, partial(Program, engine=options.engine, threads=options.threads, wait=False))
        near = _is_loopback(options.host) and not options.names
        policy = Policy(
            None if near else secrets.token_urlsafe(32), frozenset(map(str.lower, (*options.names, *(() if near else _names())))),
            frozenset(map(str.lower, options.origins)), frozenset({*OPEN, *page(shelf)}),
        )  # fmt: skip
        stepper = Stepper(options.workers or cores())
        state = State(shelf, stepper, policy, options.limits, cameras(options.cameras, shelf, stepper))
        scheme, port = "https" if tls else "http", listener.getsockname()[1]
        behind = f"#token={policy.token}" if policy.token else ""
        places = (f"[{host}]" if ":" in host else host for host in _hosts(options))
        told = Ready(
            tuple(f"{scheme}://{place}:{port}/{behind}" for place in places),
            tuple((served.name, served.program.engine) for served in shelf.models.values()), policy.token, fingerprint,
            tuple(state.cameras), () if near or tls or options.names else (OPENLY,),
        )  # fmt: skip
        asyncio.run(_run(state, tls, listener, partial(ready, told)))


async def _run(
    state: State, tls: ssl.SSLContext | None, listener: socket.socket, ready: Callable[[Callable[[], None]], None]
) -> None:
    limits = state.limits
    http, ws = protocols(limits)
    config = uvicorn.Config(
        application(state), http=http, ws=ws, ws_max_size=limits.frame, ws_per_message_deflate=False,
        ws_ping_interval=limits.ping_s, ws_ping_timeout=limits.ping_s, lifespan="on", log_level="error", access_log=False,
        proxy_headers=False, server_header=False, timeout_graceful_shutdown=1, h11_max_incomplete_event_size=16_384,
        ssl_context_factory=None if tls is None else lambda *_: tls,
    )  # fmt: skip
    server = _Server(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ():
        loop.add_signal_handler(number, state.stop)

    def stop() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and so it has stopped
            loop.call_soon_threadsafe(state.stop)

    ready(stop)
    leaving = asyncio.create_task(_leave(server, state))
    await server.serve(sockets=[listener])
    leaving.cancel()


async def _leave(server: uvicorn.Server, state: State) -> None:
    """Requests and streams say their last words first, and clients hear them: uvicorn closes connections at once, and what a
    client had sent meanwhile would take its answers with it.
    """
    await state.stopped.wait()
    clock, work = asyncio.get_running_loop().time, server.server_state
    until = clock() + state.limits.stop_s / 2 + LAST_WORDS_S
    while (work.tasks or any(getattr(each, "close_sent", False) for each in work.connections)) and clock() < until:
        await asyncio.sleep(0.02)
    if clock() >= until:  # clients that do not read
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # what is canceled is no trouble
        for task in work.tasks:
            task.cancel()
        for connection in list(work.connections):
            connection.transport.abort()
    server.should_exit = True


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn would end by the signal; to stop is what was asked for."""
        yield


def _tls(options: Options) -> tuple[ssl.SSLContext | None, str | None]:
    """With the fingerprint of a certificate that is made now."""
    if options.cert is not None:
        return context(options.cert, options.key), None
    if not options.tls:
        return None, None
    made = self_signed(tuple(dict.fromkeys(("localhost", "127.0.0.1", "::1", *_names(), *options.names, *addresses()))))
    return made.context(), made.fingerprint


@contextlib.contextmanager
def _listening(options: Options) -> Iterator[socket.socket]:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        both = options.host == "::" and socket.has_dualstack_ipv6()
        listener = socket.create_server(address[:2], family=family, backlog=128, dualstack_ipv6=both)
    except (OSError, OverflowError) as error:
        raise SourceError(
            "The server cannot listen there.", where=f"{options.host}:{options.port}",
            got=getattr(error, "strerror", None) or str(error), hint="choose another --port, or stop the program that has it",
        ) from None  # fmt: skip
    with listener:
        yield listener


def _names() -> tuple[str, str]:
    name = socket.gethostname()
    return name, f"{name}.local"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hosts(options: Options) -> tuple[str, ...]:
    """Under which a person finds it."""
    if options.host in ("0.0.0.0", "::"):
        return tuple(each for each in addresses() if ":" not in each or options.host == "::") or ("localhost",)
    return (options.host,)
