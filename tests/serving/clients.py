"""A server in a process of its own, as a user starts it, and clients that speak to it over real sockets."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import signal
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from websockets.sync.client import ClientConnection, connect

from command_line import environment

#: seconds; a machine may be busy
PATIENCE = 60


#: certificates that are made on the spot are compared by their fingerprint
UNVERIFIED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
UNVERIFIED.check_hostname, UNVERIFIED.verify_mode = False, ssl.CERT_NONE


@dataclass
class Server:
    process: subprocess.Popen[str]
    port: int
    ready: dict[str, Any] = field(default_factory=dict)

    @property
    def token(self) -> str | None:
        return self.ready["token"]

    @property
    def tls(self) -> ssl.SSLContext | None:
        if not self.ready["addresses"][0].startswith("https"):
            return None
        return UNVERIFIED

    def memory(self) -> int:
        """Bytes that are in memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * 4096

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, *, token: bool = True
    ) -> tuple[int, Any]:
        """Status, and what was said: of JSON its value, of lines their values, else text."""
        if self.tls:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "127.0.0.1", self.port, timeout=PATIENCE, context=self.tls
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        shown = {"Authorization": f"Bearer {self.token}"} if token and self.token else {}
        with contextlib.closing(connection):
            connection.request(method, path, body, shown | (headers or {}))
            answer = connection.getresponse()
            data, kind = answer.read(), answer.headers.get("content-type", "")
        if kind.startswith("application/json"):
            return answer.status, json.loads(data)
        if kind.startswith("application/x-ndjson"):
            return answer.status, [json.loads(line) for line in data.splitlines()]
        return answer.status, data.decode(errors="replace")

    def connect(self, words: str = "", *, place: str = "/v1/stream", token: bool = True, **more: Any) -> ClientConnection:
        shown = {"Authorization": f"Bearer {self.token}"} if token and self.token else {}
        scheme = "wss" if self.tls else "ws"
        address = f"{scheme}://127.0.0.1:{self.port}{place}?{words}"
        return connect(address, ssl=self.tls, max_size=None, additional_headers=shown | more.pop("headers", {}), **more)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@contextlib.contextmanager
def serving(*arguments: str | Path) -> Iterator[Server]:
    command = [sys.executable, "-m", "everyframe", "serve", *map(str, arguments), "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
    try:
        line = process.stdout.readline() if process.stdout else ""
        ready = json.loads(line)
        yield Server(process, int(ready["addresses"][0].split("/")[2].rpartition(":")[2]), ready)
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def raw(pts_s: float, picture: np.ndarray) -> bytes:
    return struct.pack("<dHH", pts_s, picture.shape[1], picture.shape[0]) + picture.tobytes()


def jpeg(picture: np.ndarray, **options: Any) -> bytes:
    made = io.BytesIO()
    Image.fromarray(picture).save(made, "JPEG", **options)
    return made.getvalue()


def as_jpeg(pts_s: float, data: bytes) -> bytes:
    return struct.pack("<dHH", pts_s, 0, 0) + data


def said(socket: ClientConnection) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(socket.recv(PATIENCE))
    return found


def streamed(server: Server, words: str, frames: Sequence[bytes]) -> list[dict[str, Any]]:
    """What a client gets that waits for each answer."""
    with server.connect(words) as socket:
        assert said(socket)["type"] == "ready"
        answers = []
        for frame in frames:
            socket.send(frame)
            answers.append(said(socket))
        return answers


def until(what: Any, seconds: float = PATIENCE) -> Any:
    """The first true value of what()."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found
