"""The server for an hour: abused, stopped and started, with figures. `make soak` runs it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import handmade

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from serving.clients import raw, said, serving
from serving.test_serving_guard import ATTACKS, abused, stopped

pytestmark = pytest.mark.soak
#: seconds
SOON, STOPPED = 5.5, 3.0


def test_abuse(figure: Callable[[str], None]) -> None:
    with serving("builtin", "--max-upload", "100") as server:
        times = []
        for _ in range(10):
            took, told = abused(server, 3)
            times.append(took)
        figure(f"{told}; of ten rounds the slowest client {max(times):.1f} s")
    assert max(times) < SOON and len(ATTACKS) >= 14


def test_start_and_stop(figure: Callable[[str], None]) -> None:
    times = [stopped() for _ in range(100)]
    figure(f"serve: SIGTERM under load, a hundred times: code 0 after at most {max(times):.2f} s")
    assert max(times) < STOPPED


def test_streams_come_and_go(figure: Callable[[str], None]) -> None:
    """A thousand streams, some of which end in the middle of a frame: memory, threads and descriptors are as they were."""
    picture = handmade.picture(99, 240, 320)
    with serving("builtin") as server:

        def used() -> tuple[int, int, int]:
            own = Path(f"/proc/{server.process.pid}")
            return server.memory(), len(list((own / "fd").iterdir())), len(list((own / "task").iterdir()))

        def visit(count: int) -> None:
            for i in range(count):
                with server.connect() as stream:
                    said(stream)
                    for k in range(3):
                        stream.send(raw(k / 12, picture))
                        if i % 3:
                            said(stream)
                time.sleep(0.05)  # the rate of one address

        visit(100)
        before = used()
        visit(1000)
        time.sleep(1)
        after = used()
    figure(f"serve: a thousand streams: memory {(after[0] - before[0]) / 1e6:+.1f} MB, descriptors {after[1] - before[1]:+d}")
    assert after[0] - before[0] < 10e6 and after[1:] == before[1:]
