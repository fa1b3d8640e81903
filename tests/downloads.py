"""A server of checkpoints on this machine, which misbehaves in every known way."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from everyframe.models.checkpoints.fetch import Published, fetch

CONTENT = bytes(range(256)) * 1024  # 256 KiB
HALF = len(CONTENT) // 2
OTHER = CONTENT[::-1]
PATIENT: dict[str, Any] = {"timeout_s": 600, "attempts": 3, "pause_s": 0.01}
Progress = Callable[[int, int | None], None]


@dataclass
class Server:
    """Serves `content`. plan: what to do with the first requests, as (action, argument); later ones are answered in full.

    ("cut", n): n bytes of what is due, then the connection ends. ("stall", n): n bytes, then nothing. ("hold", n): n bytes, the
    others when `go` is set.
    ("status", code). ("cut unannounced", n): as "cut", in an answer without a length. ("say", headers): more headers.
    ("range", text): with this Content-Range. careless: it does not look at If-Range.
    """

    url: str = ""
    content: bytes = CONTENT
    etag: str | None = '"1"'
    ranges: bool = True
    careless: bool = False
    plan: list[tuple[str, Any]] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)  # the Range header of each request
    done: list[str] = field(default_factory=list)  # the action of each request
    served: int = 0  # bytes
    go: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)


def handler(server: Server) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None: ...

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            server.asked.append(wanted)
            action, argument = server.plan.pop(0) if server.plan else ("all", None)
            server.done.append(action)
            if action == "status":
                return self.send_error(argument)
            start, same = 0, server.careless or self.headers.get("If-Range") == server.etag
            if wanted and server.ranges and same:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(server.content):
                return self.send_error(416)
            body = server.content[start:]
            self.send_response(206 if start else 200)
            if start:
                true = f"bytes {start}-{len(server.content) - 1}/{len(server.content)}"
                self.send_header("Content-Range", argument if action == "range" else true)
            if action != "cut unannounced":
                self.send_header("Content-Length", str(len(body)))
            if server.etag:
                self.send_header("ETag", server.etag)
            for name, value in (argument if action == "say" else {}).items():
                self.send_header(name, value)
            self.end_headers()
            due = body[:argument] if action in ("cut", "stall", "cut unannounced") else body
            with contextlib.suppress(OSError):
                server.served += len(due)  # before the client can have it all and look
                first = argument if action == "hold" else len(due)
                self.wfile.write(due[:first])
                if action == "stall":
                    server.stop.wait()
                elif action == "hold":
                    server.go.wait()
                    self.wfile.write(due[first:])
            return None

    return Handler


class Listening(http.server.ThreadingHTTPServer):
    daemon_threads = False  # they have ended when it is closed


@contextlib.contextmanager
def listening(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server on this machine."""
    with Listening(("127.0.0.1", 0), handler) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{made.server_port}"
        finally:
            made.shutdown()
            thread.join()


def item(url: str | None, content: bytes | None = CONTENT, **more: Any) -> Published:
    known: dict[str, Any] = {"network": "x3d_s", "tag": "test", "project": "tests", "source": "https://example.org/zoo"}
    if content is not None:
        known |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    return Published(**known | {"license": "none", "num_classes": 2, "url": url} | more)


def get(server: Server, cache: Path, content: bytes | None = CONTENT, **more: Any) -> Path:
    return fetch(item(server.url, content, **more), cache=cache, **PATIENT)


def get_telling(server: Server, cache: Path, progress: Progress) -> Path:
    return fetch(item(server.url), cache=cache, progress=progress, **PATIENT)


def files(cache: Path) -> list[str]:
    """What is in the cache besides the lock."""
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock") if cache.exists() else []
