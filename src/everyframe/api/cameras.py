"""Cameras that are watched, until it is enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everyframe.api.given import File, paths
from everyframe.progress import TextProgress, silent

if TYPE_CHECKING:
    from everyframe.live.camera import Status
    from everyframe.live.events import CameraEvent


@dataclass(frozen=True)
class Watched:
    """cameras: what each was like at the end, with its counts of frames, restarts and gaps. events: how many, by camera and
    label. problems: what could not be written or delivered, a line each.
    """

    cameras: tuple[Status, ...]
    events: Mapping[tuple[str, str], int]
    problems: tuple[str, ...] = ()

    def save(self, path: File) -> Path:
        """Writes it as JSON. Raises OutputError."""
        from everyframe.api.results import save_json

        return save_json(self.to_dict(), path)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        events = [{"camera": camera, "label": label, "count": count} for (camera, label), count in self.events.items()]
        return {"cameras": [status.to_dict() for status in self.cameras], "events": events, "problems": list(self.problems)}

    def _repr_html_(self) -> str:
        from everyframe.api.results import table

        rows = [(s.name, s.state, s.captured, s.dropped, s.restarts, s.resets) for s in self.cameras]
        return table("cameras", rows, ("camera", "state", "frames", "dropped", "restarts", "gaps"))


@paths
def watch(
    cameras: File | Mapping[str, Any],
    on_event: Callable[[CameraEvent], object] | None = None,
    *,
    seconds: float | None = None,
    progress: TextProgress | None = None,
) -> Watched:
    """Watches cameras until Ctrl-C, or for so many seconds: each is opened again when it is lost, and one that is away stops none
    of the others.

    cameras: a file as `everyframe watch` takes it, or the same as a dict (docs/cameras.md explains every key). on_event: called
    in this thread with each event as it begins (`end` is None), and again when it is over and its video is written; what it
    raises ends the run and is raised here. progress: told of states and gaps. Raises UsageError, ModelError, EngineError,
    SourceError, OutputError, before any camera is opened.

    >>> door = {"address": "video.mp4", "alert": "labels=left seconds=0", "video": False}
    >>> found = ef.watch({"model": "step.onnx", "engine": "ort", "cameras": {"door": door}}, seconds=0.5)
    >>> [(camera.name, camera.captured == camera.processed + camera.dropped) for camera in found.cameras]
    [('door', True)]
    """
    from everyframe.live.config import parsed, read
    from everyframe.live.events import CameraEvent
    from everyframe.live.watch import Watch

    settings = parsed(dict(cameras)) if isinstance(cameras, Mapping) else read(cameras)
    progress = progress or silent
    names = {field.name for field in fields(CameraEvent)}

    def tell(said: Mapping[str, Any] | None) -> None:
        if said is None:
            return
        if said["phase"] in ("state", "gap"):
            progress(f"{said['camera']}: {said['state']} {said['reason']}".rstrip())
        elif on_event is not None and said["phase"] in ("begin", "end"):
            on_event(CameraEvent(**{name: value for name, value in said.items() if name in names}))

    watched = Watch(settings)
    try:
        with watched:
            for said in watched.said(seconds):
                tell(said)
    except KeyboardInterrupt:
        pass
    for said in watched.rest():
        tell(said)
    return Watched(tuple(watched.statuses), dict(watched.counts), tuple(watched.problems))
