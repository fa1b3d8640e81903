"""Network cameras that tests break: MPEG-TS over TCP, in this process; RTSP by gst-rtsp-server, in one of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import handmade
from everyframe.video import Source
from running import started

#: FFmpeg looks at a stream for seconds before it says what it is; these tests send little
QUICK = (("analyzeduration", "300000"), ("probesize", "65536"))


class TsCamera:
    """Sends frames `handmade.stamped` with their numbers to whoever connects, from the first on, at its rate. `how` is what it
    does now: send, freeze, fin, rst, garbage; `clients` counts who came.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seconds: int = 15,
        fps: int = 25,
        draw: Callable[[int], np.ndarray] = handmade.stamped,
        times: Sequence[Fraction] | None = None,
    ) -> None:
        path = handmade.write_video(folder / "camera.ts", seconds * fps, rate=fps, codec="libx264", draw=draw, times=times)
        self._data, self._seconds = path.read_bytes(), seconds
        self.how, self.clients = "send", 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    @property
    def source(self) -> Source:
        address = f"tcp://127.0.0.1:{self.port}"
        return Source("address", address, (address,), options=QUICK)

    def __enter__(self) -> TsCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self.clients += 1
                self._threads = [thread for thread in self._threads if thread.is_alive()]
                self._threads.append(threading.Thread(target=self._send, args=(client,)))
                self._threads[-1].start()

    def _send(self, client: socket.socket) -> None:
        begun, sent = time.monotonic(), 0
        with contextlib.suppress(OSError), client:
            client.settimeout(5)
            while not self._over.wait(0.01):
                if self.how == "fin":
                    return
                if self.how == "rst":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                if self.how == "garbage":
                    client.sendall(np.random.default_rng(sent).bytes(4096))
                    sent += 1
                elif self.how == "send":
                    due = int(len(self._data) * (time.monotonic() - begun) / self._seconds)
                    client.sendall(self._data[sent:due])
                    sent = max(sent, due)


_RTSP = """
import sys, gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=160,height=120,framerate=25/1 "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! rtph264pay name=pay0 pt=96 )"
)
factory.set_shared(True)
server.get_mount_points().add_factory("/cam", factory)
server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
"""


@contextlib.contextmanager
def rtsp_camera(port: int = 0) -> Iterator[tuple[subprocess.Popen[str], Source]]:
    """25 frames a second at `rtsp://127.0.0.1:PORT/cam`. Skips the test where there is no gst-rtsp-server."""
    python = "/usr/bin/python3"
    asked = "import gi; gi.require_version('GstRtspServer', '1.0')"
    if not Path(python).exists() or subprocess.run([python, "-c", asked], capture_output=True, check=False).returncode:
        pytest.skip("no gst-rtsp-server (on Debian: gir1.2-gst-rtsp-server-1.0, python3-gi, gstreamer1.0-plugins-*)")
    address = f"rtsp://127.0.0.1:{port or free_port()}/cam"
    environment = {**os.environ, "GST_DEBUG": "0"}
    with started(python, "-c", _RTSP, address.split(":")[2].split("/")[0], env=environment) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process, Source("address", address, (address,), options=(("rtsp_transport", "tcp"),))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def footprint() -> dict[str, int]:
    """What this process holds: descriptors, threads, children."""
    me = Path("/proc/self")
    children = sum(len(path.read_text().split()) for path in me.glob("task/*/children"))
    return {"descriptors": len(list((me / "fd").iterdir())), "threads": threading.active_count(), "children": children}


def memory(pid: int | str = "self") -> float:
    """MB of its own that a process has in memory: what it has of files, which are shared and come and go, is left out."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssShmem"))) / 1e3


def memory_of_children(kind: str = "") -> float:
    """MB that those of this process have in memory. kind: a word of their command line."""
    pids = [pid for path in Path("/proc/self").glob("task/*/children") for pid in path.read_text().split()]
    total = 0.0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError):  # it has ended
            if kind in Path(f"/proc/{pid}/cmdline").read_text():
                total += memory(pid)
    return total


def blinking(number: int) -> np.ndarray:
    """A second of dark, half a second of light, by 25 a second."""
    return np.full((48, 64, 3), 255 if number % 37 >= 25 else 0, np.uint8)
