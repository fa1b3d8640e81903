"""What several files of this folder share."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from downloads import HALF, PATIENT, Progress, Server, handler, listening


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    server = Server()
    with listening(handler(server)) as address:
        server.url = f"{address}/net-0123abcd.pth"
        try:
            yield server
        finally:
            server.go.set()
            server.stop.set()


@pytest.fixture
def impatient(server: Server, monkeypatch: pytest.MonkeyPatch) -> Progress:
    """Told of the progress, it ends the client's patience where the server has stalled at HALF, and only there: on a busy machine
    any server may be silent for a while.
    """
    connected: list[socket.socket] = []
    connect = socket.create_connection

    def remembered(*address: Any, **options: Any) -> socket.socket:
        connected.append(connect(*address, **options))
        return connected[-1]

    def progress(done: int, total: int | None) -> None:
        if done == HALF and server.done[-1] == "stall":
            assert connected[-1].gettimeout() == PATIENT["timeout_s"]
            connected[-1].settimeout(0.01)

    monkeypatch.setattr(socket, "create_connection", remembered)
    return progress
