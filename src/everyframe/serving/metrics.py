"""Counters in the text format of Prometheus."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

from everyframe.live.metrics import labeled

#: upper edges of histograms, seconds
EDGES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
#: name -> kind, help; what is not listed here cannot be counted
KNOWN: Mapping[str, tuple[str, str]] = {
    "requests_total": ("counter", "Requests, by route and status."),
    "refused_total": ("counter", "Requests and connections that were refused, by reason."),
    "frames_received_total": ("counter", "Frames that clients sent."),
    "received_bytes_total": ("counter", "Bytes of those frames."),
    "frames_processed_total": ("counter", "Frames that were answered."),
    "frames_dropped_total": ("counter", "Frames that came while two others were unanswered."),
    "predictions_total": ("counter", "Steps that gave a prediction."),
    "events_total": ("counter", "Events, by label."),
    "uploads_total": ("counter", "Videos that were sent, by how they ended."),
    "answer_seconds": ("histogram", "From a frame's arrival to its answer."),
    "step_seconds": ("histogram", "From having the frames of a step to its prediction."),
    "streams": ("gauge", "Streams that are open."),
    "steps_waiting": ("gauge", "Steps that are due and not begun."),
    "model_generation": ("gauge", "How often the model was loaded."),
    "model_loaded_timestamp_seconds": ("gauge", "When the model was loaded."),
}
Labels = tuple[tuple[str, str], ...]


class Metrics:
    """To be counted from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, dict[Labels, float]] = {}
        self._times: dict[str, dict[Labels, list[float]]] = {}  # of each edge, then all, then their sum

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        key = tuple(labels.items())
        with self._lock:
            values = self._values.setdefault(name, {})
            values[key] = values.get(key, 0) + by

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        key = tuple(labels.items())
        with self._lock:
            row = self._times.setdefault(name, {}).setdefault(key, [0.0] * (len(EDGES) + 2))
            for i, edge in enumerate(EDGES):
                row[i] += seconds <= edge
            row[-2] += 1
            row[-1] += seconds

    def text(self, now: Iterable[tuple[str, Mapping[str, str], float]] = ()) -> str:
        """now: values that are looked up rather than counted: name, labels, value."""
        with self._lock:
            values = {name: dict(rows) for name, rows in self._values.items()}
            times = {name: {key: list(row) for key, row in rows.items()} for name, rows in self._times.items()}
        for name, labels, value in now:
            values.setdefault(name, {})[tuple(labels.items())] = value
        lines = []
        for name, (kind, words) in KNOWN.items():
            rows = [_line(name, key, value) for key, value in values.get(name, {}).items()]
            for key, row in times.get(name, {}).items():
                rows += [_line(f"{name}_bucket", (*key, ("le", f"{edge:g}")), n) for edge, n in zip(EDGES, row, strict=False)]
                rows += [_line(f"{name}_bucket", (*key, ("le", "+Inf")), row[-2])]
                rows += [_line(f"{name}_count", key, row[-2]), _line(f"{name}_sum", key, row[-1])]
            if rows:
                lines += [f"# HELP everyframe_serve_{name} {words}", f"# TYPE everyframe_serve_{name} {kind}", *rows]
        return "\n".join([*lines, ""])


def _line(name: str, labels: Sequence[tuple[str, str]], value: float) -> str:
    return f"everyframe_serve_{name}{labeled(dict(labels))} {value:.12g}"
