"""Cameras while they are watched: a table in a terminal, a line for each thing that happens in a pipe, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from everyframe.live.watch import Watch

REFRESH_S = 0.25
#: seconds without a change after which a picture is called so
STILL_S = 10.0
_STYLES = {"live": "green", "connecting": "yellow", "lost": "yellow", "failed": "bold red", "stopped": "dim"}


class View(Protocol):
    def show(self, said: dict[str, Any] | None) -> None: ...
    def __enter__(self) -> View: ...
    def __exit__(self, *_: object) -> None: ...


def choose(watch: Watch, *, as_json: bool = False) -> View:
    if as_json:
        return JsonLines()
    if sys.stdout.isatty() and sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
        return Table(watch)
    return Lines()


class JsonLines:
    """One object a line: what a `live.watch.Watch` says."""

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def show(self, said: dict[str, Any] | None) -> None:
        if said is not None:
            print(json.dumps(said), flush=True)


class Lines(JsonLines):
    """A line for each event as it begins and when all of it is there, each state and gap."""

    def show(self, said: dict[str, Any] | None) -> None:
        if said is not None and said["phase"] not in ("snapshot", "over"):
            print(told(said), flush=True)


def told(said: dict[str, Any]) -> str:
    """2026-05-04 12:00:00  door  event  wave  0.93"""
    phase = said["phase"]
    at = said["at"] if phase in ("state", "gap") else said["end"] if phase == "end" else said["peak"]
    begin = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at))}  {said['camera']}"
    if phase == "state":
        return f"{begin}  {said['state']}" + (f"  {said['reason']}" if said["reason"] else "")
    if phase == "gap":
        return f"{begin}  gap  {said['reason']}"
    if phase == "begin":
        return f"{begin}  event  {said['label']}  {said['score']:.2f}"
    file = said["video"] or said["snapshot"]
    return f"{begin}  over  {said['label']}  {said['score']:.2f}  {said['end'] - said['start']:.1f} s" + (
        f"  {file}" if file else ""
    )


class Table:
    """A row for each camera: state, the rate that it really sends, dropped frames, its last event; what happens runs above it."""

    def __init__(self, watch: Watch, columns: int | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self.watch = watch
        self.live = Live(console=Console(width=columns), auto_refresh=False)
        self.shown_at = 0.0

    def __enter__(self) -> Table:
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.update(self.picture(), refresh=True)
        self.live.stop()

    def show(self, said: dict[str, Any] | None) -> None:
        if said is not None and said["phase"] in ("begin", "end", "gap"):
            self.live.console.print(told(said), highlight=False, markup=False, style="bold" if said["phase"] == "begin" else "")
        if time.monotonic() - self.shown_at >= REFRESH_S:
            self.shown_at = time.monotonic()
            self.live.update(self.picture(), refresh=True)

    def picture(self) -> Any:
        from rich.console import Group
        from rich.table import Table as Rows
        from rich.text import Text

        rows = Rows(box=None, padding=(0, 2, 0, 0))
        for name, how in (("camera", "left"), ("state", "left"), ("fps", "right"), ("frames", "right"), ("dropped", "right"),
                          ("ms", "right"), ("last event", "left")):  # fmt: skip
            rows.add_column(name, justify=how, no_wrap=True, header_style="dim", overflow="ellipsis")  # type: ignore[arg-type]
        for eye, status in zip(self.watch.eyes.values(), self.watch.statuses, strict=True):
            reason = status.reason.partition(" (")[0] if status.state in ("lost", "failed") else ""
            reason = f"picture unchanged for {status.still_s:.0f} s" if status.still_s > STILL_S else reason
            event = eye.last
            rows.add_row(
                Text(status.name), Text(f"{status.state}  {reason}".strip(), _STYLES[status.state]),
                "" if status.fps is None else f"{status.fps:.1f}", str(status.processed), str(status.dropped),
                "" if status.latency_ms is None else f"{status.latency_ms:.0f}",
                Text("" if event is None else f"{event.label} {event.score:.2f}  {_ago(time.time() - event.start)}"),
            )  # fmt: skip
        notes = [Text(problem, "yellow", no_wrap=True, overflow="ellipsis") for problem in self.watch.problems]
        return Group(rows, *notes, Text("Ctrl-C ends", "dim"))


def _ago(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(0, seconds):.0f} s ago"


def summary(watch: Watch) -> str:
    """What is said at the end."""
    lines = []
    width = max(map(len, watch.eyes))
    for status in watch.statuses:
        events = sum(count for (camera, _), count in watch.counts.items() if camera == status.name)
        lines.append(
            f"{status.name:<{width}}  frames {status.captured} = {status.processed} seen + {status.dropped} dropped, "
            f"restarts {status.restarts}, gaps {status.resets}, events {events}"
        )
        lines += [f"{'':<{width}}  note: {note}" for note in status.notes]
    return "\n".join([*lines, *(f"note  {problem}" for problem in watch.problems)])
