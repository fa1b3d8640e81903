"""Many cameras at once: each by itself, models shared; events with pictures and videos; sinks that hold nobody up.

    with Watch(settings) as watch:
        for said in watch.said():        # one dict for each thing that happens, None now and then
            ...

A dict has a `phase`. Of an event (`CameraEvent.to_dict`): `begin`, `snapshot` when that is written, `over`, and `end` when its
video is. Of a camera: `state` (camera, state, reason, at) or `gap` (camera, seconds, reason, at). What goes wrong with a camera,
a sink or the disk is said there or in `problems`, and stops nothing else.
"""

from __future__ import annotations

import copy
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from everyframe.errors import UsageError
from everyframe.live.camera import Camera, Said, Status
from everyframe.live.clips import Keeper
from everyframe.live.config import CameraSettings, Settings
from everyframe.live.events import CameraEvent, Events
from everyframe.live.records import Database, Lines
from everyframe.live.sinks import Sink, sink_of
from everyframe.modelfile.schema import Preprocess
from everyframe.runtime.events import asked_of
from everyframe.runtime.prediction import Prediction
from everyframe.runtime.program import Program
from everyframe.runtime.program import open as open_program
from everyframe.video.packets import Ring
from everyframe.video.sources import Source, camera, resolve, without_password
from everyframe.video.supervise import Change, Gap, LiveReader

#: seconds within which everything is over, and of those what cameras, videos and sinks may take
CLOSING_S = 2.6
_CAMERAS_S, _VIDEOS_S = 0.6, 1.6
#: what a ring holds beside the seconds before an event: the group of pictures that they begin in
_GROUP_S = 10.0
_SMALL = Preprocess(resize=(36, 64))


def source_of(address: str | int, settings: CameraSettings, keyframes: bool) -> Source:
    """A file is played at its own speed, over and over. A camera need not be there yet; raises SourceError for a file that is not
    there, and for a device to decode with that is not known.
    """
    if settings.hardware is not None:
        from everyframe.video.container import devices

        devices(settings.hardware)
    text = str(address)
    if text.isdecimal() or text.startswith("/dev/"):
        source = camera(int(text) if text.isdecimal() else text)
    elif "://" in text:
        source = Source("address", without_password(text), (text,))
    else:
        source = resolve(text)[0]
    options = {"rtsp_transport": settings.transport} if text.lower().startswith("rtsp") else {}
    given = tuple({**options, **settings.options}.items())
    return replace(source, options=given, hardware=settings.hardware, keyframes=keyframes)


class _Recorder:
    """Takes what comes from a camera's large stream as it is coded. Its key frames are decoded to see that it goes on."""

    def __init__(self, name: str, source: Source, ring: Ring, **options: Any) -> None:
        self.ring = ring
        self._make = lambda: LiveReader(source, _SMALL, tell=self._told, ring=ring, **options)
        self._reader: LiveReader | None = None
        self.thread = threading.Thread(target=self._run, name=f"recorder {name}", daemon=True)

    def stop(self) -> None:
        if self._reader is not None:
            self._reader.stop()

    def _run(self) -> None:
        with self._make() as self._reader:
            for _ in self._reader:
                pass

    def _told(self, said: Change | Gap) -> None:
        if isinstance(said, Change) and said.state != "live":
            self.ring.begin()


class _Eye:
    """A camera, what its predictions mean, and where that goes."""

    def __init__(self, name: str, settings: CameraSettings, program: Program, watch: Watch) -> None:
        self.name, self.settings, self.watch = name, settings, watch
        try:
            self.events = Events(name, program, settings.alert, settings.minimum)
        except UsageError as error:
            error.where = f"cameras.{name}.alert, {error.where}"
            raise
        self.ring = Ring(settings.before + settings.minimum + _GROUP_S) if settings.video else None
        options: dict[str, Any] = {"stall": settings.timeout, "gap": settings.gap}
        seen = settings.sub or settings.address
        source = source_of(seen, settings, settings.keyframes)
        recorded = source_of(settings.address, settings, keyframes=True) if settings.sub and self.ring else None
        self.recorder = _Recorder(name, recorded, self.ring, **options) if recorded and self.ring else None
        self.camera = Camera(
            name, source, program, tell=self.heard, policy=settings.policy, masks=settings.masks, region=settings.region,
            realtime=source.kind == "file", ring=None if self.recorder else self.ring, **options,
        )  # fmt: skip
        self.begun: set[str] = set()
        self.last: CameraEvent | None = None

    def start(self) -> None:
        self.camera.start()
        if self.recorder is not None:
            self.recorder.thread.start()

    def stop(self) -> None:
        self.camera.stop()
        if self.recorder is not None:
            self.recorder.stop()

    def heard(self, camera: Camera, said: Said) -> None:
        """In the camera's thread."""
        if isinstance(said, Prediction):
            for event in self.events.update(said, self.settings.is_quiet(time.localtime())):
                self.happened(event)
        elif isinstance(said, Gap):
            self.watch.say({
                "phase": "gap", "camera": self.name, "state": "gap", "seconds": round(said.seconds, 3), "at": time.time(),
                "reason": f"no pictures for {said.seconds:.1f} s: the network begins anew",
            })  # fmt: skip
        else:
            if said.state != "live":
                self.close()
            message = {"state": said.state, "reason": said.reason, "at": said.at}
            self.watch.say({"phase": "state", "camera": self.name, **message})

    def close(self) -> None:
        """What lasted is over; what comes next does not belong to it."""
        for event in self.events.close():
            self.happened(event)
        if self.ring is not None and self.recorder is None:
            self.ring.begin()

    def happened(self, event: CameraEvent) -> None:
        keeper = self.watch.keeper
        if event.end is not None:
            self.begun.discard(event.id)
            self.watch.say({"phase": "over", **event.to_dict()})
            if self.ring is None:
                self.over(event)
            else:
                keeper.end(event, self.settings.after)
            return
        if event.id not in self.begun:
            self.begun.add(event.id)
            self.last = event
            self.watch.counts[self.name, event.label] += 1
            picture = self.camera.preview if self.settings.snapshot else None
            if picture is not None:
                keeper.snapshot(event, picture, self.pictured)
            if self.ring is not None:
                since = time.monotonic() - (event.pts_s - event.began_s) - self.settings.before
                keeper.begin(event, self.ring.record(since), self.settings.masks, self.over)
        self.watch.say({"phase": "begin", **event.to_dict()})

    def pictured(self, event: CameraEvent) -> None:
        """In the keeper's thread."""
        self.watch.say({"phase": "snapshot", **event.to_dict()})

    def over(self, event: CameraEvent) -> None:
        """With its video, if there is one. Perhaps in the keeper's thread."""
        self.watch.say({"phase": "end", **event.to_dict()})


class Watch:
    """Raises what is wrong with the settings, models and sinks before any camera is opened: UsageError, ModelError, EngineError,
    OutputError, SourceError. counts: events by camera and label.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.counts: Counter[tuple[str, str]] = Counter()
        self.sinks: list[Sink] = []
        self.stopping = threading.Event()
        self._said: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._programs: dict[str, Program] = {}
        self._closed = False
        try:
            self.keeper = Keeper(settings.folder, settings.keep.days, int(settings.keep.gigabytes * (1 << 30)))
            if any(each.snapshot or each.video for each in settings.cameras.values()):
                self.keeper.prepare()
            self.eyes = {name: _Eye(name, each, self._program(each), self) for name, each in settings.cameras.items()}
            self._open_sinks()
        except BaseException:
            self._close_sinks(0.0)
            raise

    def __enter__(self) -> Watch:
        for eye in self.eyes.values():
            eye.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def statuses(self) -> list[Status]:
        return [eye.camera.status for eye in self.eyes.values()]

    @property
    def problems(self) -> list[str]:
        """What could not be written or delivered, a line each."""
        keeper = self.keeper
        found = [f"{keeper.lost} snapshots or videos not written: {keeper.failed[-1]}"] if keeper.failed else []
        return found + [problem for sink in self.sinks for problem in sink.problems]

    @property
    def lost(self) -> dict[str, int]:
        """How much each sink could not deliver."""
        return {"clips": self.keeper.lost} | {sink.name: sink.lost for sink in self.sinks}

    def stop(self) -> None:
        """From any thread or signal handler: `said` comes to its end."""
        self.stopping.set()

    def said(self, seconds: float | None = None, pause: float = 0.2) -> Iterator[dict[str, Any] | None]:
        """What happens, until `stop` or for so many seconds. Raises what a defect of ours did to a camera."""
        until = None if seconds is None else time.monotonic() + seconds
        while not self.stopping.is_set() and (until is None or time.monotonic() < until):
            try:
                yield self._said.get(timeout=pause)
            except queue.Empty:
                yield None
            for eye in self.eyes.values():
                if eye.camera.error is not None:
                    raise eye.camera.error

    def rest(self) -> Iterator[dict[str, Any]]:
        """What was said while everything was closed."""
        while not self._said.empty():
            yield self._said.get()

    def say(self, message: dict[str, Any]) -> None:
        for sink in self.sinks:
            sink.tell(message)
        self._said.put(message)

    def close(self) -> None:
        """Ends cameras, events, videos and sinks, in this order, within CLOSING_S."""
        if self._closed:
            return
        self._closed, begun = True, time.monotonic()
        for eye in self.eyes.values():
            eye.stop()
        for eye in self.eyes.values():
            eye.camera.join(max(0.05, begun + _CAMERAS_S - time.monotonic()))
            eye.close()
        self.keeper.close(max(0.1, begun + _VIDEOS_S - time.monotonic()))
        self._close_sinks(max(0.3, begun + CLOSING_S - time.monotonic()))
        for program in self._programs.values():
            program.close()

    def _close_sinks(self, seconds: float) -> None:
        if self.sinks:
            with ThreadPoolExecutor(len(self.sinks)) as pool:
                list(pool.map(lambda sink: sink.close(seconds), self.sinks))

    def _program(self, settings: CameraSettings) -> Program:
        """Weights are shared; the event rule is a camera's own."""
        name = settings.model or self.settings.model
        if name not in self._programs:
            self._programs[name] = open_program(name, engine=self.settings.engine, threads=self.settings.threads)
        program = copy.copy(self._programs[name])
        program.metadata = asked_of(program.metadata, settings.threshold, settings.refractory, program.path)
        return program

    def _open_sinks(self) -> None:
        told = self.settings.sinks
        if told.ndjson is not None:
            self.sinks.append(Lines(told.ndjson, told.megabytes * 1e6, told.files, told.sync))
        if told.sqlite is not None:
            self.sinks.append(Database(told.sqlite))
        self.sinks += map(sink_of, told.alerts)
        if told.mqtt is not None:
            from everyframe.live.mqtt import Broker

            self.sinks.append(Broker(told.mqtt, {name: eye.events.labels for name, eye in self.eyes.items()}))
