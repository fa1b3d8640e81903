"""Cameras and events for Prometheus, as text; and a server that says nothing else, on this machine only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from everyframe.errors import UsageError
from everyframe.live.camera import Status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: name, kind, what it is, and its value of a camera
_FAMILIES: tuple[tuple[str, str, str, Callable[[Status], float | None]], ...] = (
    ("camera_up", "gauge", "Whether the camera is live.", lambda s: float(s.state == "live")),
    ("camera_fps", "gauge", "Frames a second that the camera sends.", lambda s: s.fps),
    ("camera_frames_captured_total", "counter", "Frames that the network was to see.", lambda s: s.captured),
    ("camera_frames_processed_total", "counter", "Frames that it saw.", lambda s: s.processed),
    ("camera_frames_dropped_total", "counter", "Frames that came too late for it.", lambda s: s.dropped),
    ("camera_restarts_total", "counter", "How often the decode process was started again.", lambda s: s.restarts),
    ("camera_resets_total", "counter", "How often the network began anew after a gap.", lambda s: s.resets),
    ("camera_predictions_total", "counter", "What the network said.", lambda s: s.predictions),
    (
        "camera_latency_seconds",
        "gauge",
        "From a decoded picture to what it shows.",
        lambda s: s.latency_ms and s.latency_ms / 1e3,
    ),
    ("camera_picture_unchanged_seconds", "gauge", "For how long the picture is the same.", lambda s: s.still_s),
)


def text(cameras: Iterable[Status], events: Mapping[tuple[str, str], int] = {}, lost: Mapping[str, int] = {}) -> str:
    """events: how many by camera and label. lost: what sinks could not deliver."""
    statuses, lines = list(cameras), list[str]()

    def family(name: str, kind: str, told: str, rows: Iterable[tuple[Mapping[str, str], float | None]]) -> None:
        lines.extend((f"# HELP everyframe_{name} {told}", f"# TYPE everyframe_{name} {kind}"))
        for labels, value in rows:
            if value is not None:
                lines.append(f"everyframe_{name}{labeled(labels)} {value:.10g}")

    for name, kind, told, value in _FAMILIES:
        family(name, kind, told, (({"camera": s.name, "model": s.model}, value(s)) for s in statuses))
    rows = (({"camera": camera, "label": label}, float(count)) for (camera, label), count in events.items())
    family("events_total", "counter", "Events that began.", rows)
    missing = (({"sink": sink}, float(count)) for sink, count in lost.items())
    family("undelivered_total", "counter", "What a sink could not deliver.", missing)
    return "\n".join(lines) + "\n"


def labeled(labels: Mapping[str, str]) -> str:
    """`{name="value"}` as the format has it; nothing where there are none."""
    inside = ",".join(f'{key}="{_escaped(each)}"' for key, each in labels.items())
    return f"{{{inside}}}" if inside else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class MetricsServer:
    """`http://127.0.0.1:PORT/metrics`. Raises UsageError for a port that is taken."""

    def __init__(self, port: int, told: Callable[[], str]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.partition("?")[0] != "/metrics":
                    self.send_error(404)
                    return
                body = told().encode()
                self.send_response(200)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OSError as error:
            raise UsageError("The port for metrics cannot be used.", where=f"--metrics {port}", got=error.strerror) from None
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
