"""The parent's end of the decode process: an iterator of frames that never hangs and never crashes with the codec."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import select
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from typing import IO, Any, Literal, Self, cast

import numpy as np

from everyframe.errors import SourceError
from everyframe.video.bounds import Bounds
from everyframe.video.ending import end
from everyframe.video.frame import Frame
from everyframe.video.masks import Polygon
from everyframe.video.packets import Coded, Ring
from everyframe.video.preprocess import Geometry
from everyframe.video.protocol import END, ERROR, FRAME, HEAD, HEADER, NOTE, PACKET, PREVIEW, THUMBNAIL, Order
from everyframe.video.sources import Source

#: seconds for which a source may not go on until it counts as dead; those of a live one, until its first picture
STALL_S: dict[str, float | None] = {"file": 60, "pictures": 60, "array": 60, "camera": 2, "address": 5, "stdin": None}
ENDING_STALL_S, OPENING_S = 30.0, 15.0
#: where only key frames are decoded, which may be ten seconds apart
KEYFRAMES_STALL_S = 15.0
#: seconds without a word of a decode process that had said something before, after which it counts as stopped
SILENCE_S = 1.75
_START = (
    "import sys; n = int(sys.argv[1]) + 2; sys.path[:] = sys.argv[2:n]; del sys.argv[1:n]; "
    "from everyframe.video.worker import main; main()"
)


class Counted:
    """An iterator of frames that says how many there were. counts: captured, frames, dropped."""

    counts: Any

    @property
    def captured(self) -> int:
        return self.counts[0]

    @property
    def frames(self) -> int:
        return self.counts[1]

    @property
    def dropped(self) -> int:
        return self.counts[2]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def close(self) -> None:
        raise NotImplementedError


class Reader(Counted):
    """Prepared frames of one source, decoded in a child process that starts at once.

        with Reader(source, preprocess) as reader:
            for frame in reader: ...

    Sampled at `preprocess.fps` or `.sample_every_n`. policy: `every` frame, or the `latest` ones while frames that
    come too late are dropped and counted (the default for cameras). thumbnails: keep small RGB pictures in
    `.thumbnails`, short side so many pixels. preview: the same of the newest picture, every preview_s
    seconds, in `.preview`. ring: takes what comes as it
    is coded. masks, region: see `masks.Masks`. stall: seconds, instead of STALL_S. bounds: of a video that a stranger
    sent. held: the process starts, which takes most of a second, but opens the source only after `begin`. doubt: called when
    half of the time is over after which a live source counts as dead.

    captured: frames that the network is to see, as the decode process counts them up to the newest one handed out. frames:
    handed out. dropped: those that came too late. So captured == frames + dropped.
    """

    def __init__(
        self,
        source: Source,
        preprocess: Any,
        *,
        policy: Literal["every", "latest"] | None = None,
        realtime: bool = False,
        buffer: int = 2,
        thumbnails: int = 0,
        preview: int = 0,
        preview_s: float = 0.2,
        ring: Ring | None = None,
        masks: tuple[Polygon, ...] = (),
        region: Polygon | None = None,
        stall: float | None = None,
        bounds: Bounds | None = None,
        held: bool = False,
        doubt: Callable[[], None] = lambda: None,
    ) -> None:
        geometry: Geometry = preprocess
        policy = policy or ("latest" if source.live or realtime else "every")
        self.source = source
        self.counts = (0, 0, 0)  # captured, frames, dropped: one value, so that another thread never sees half of a change
        self.thumbnails: list[Frame] = []
        self.preview: Frame | None = None
        self.notes: list[str] = []  # what the user should know of the source, once each
        ear, self._asking = os.pipe() if held or policy == "latest" else (-1, -1)
        self._order = Order(
            source, geometry.color, geometry.resize, geometry.crop,
            fps=getattr(preprocess, "fps", None), every_n=getattr(preprocess, "sample_every_n", None),
            policy=policy, realtime=realtime, buffer=buffer, thumbnails=thumbnails, preview=preview, preview_s=preview_s,
            packets=ring is not None, masks=masks, region=region, asked=ear, held=held, bounds=bounds,
        )  # fmt: skip
        self._ring, self._held, self._doubt = ring, held, doubt
        self._stall = stall or (
            ENDING_STALL_S if source.ends else KEYFRAMES_STALL_S if source.keyframes else STALL_S[source.kind]
        )
        self._heard = self._begun = False  # of the process, of the source
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = _start(self._order, self._log)
        except BaseException:
            _close(self._asking)
            raise
        finally:
            _close(ear)
        self._pipe: Any = self._process.stdout  # a FileIO
        _resize_pipe(self._pipe, 1 << 20)
        self._asked = policy == "every"  # nothing is to be asked for
        self._poll = select.poll()
        self._poll.register(cast(Any, self._pipe).fileno(), select.POLLIN)
        self._header = bytearray(HEADER.size)
        self._stop = weakref.finalize(self, _stop, self._process, self._log, self._asking)

    def begin(self) -> None:
        """A process that was held opens its source. Calling it again does nothing."""
        if self._held:
            self._held = False
            self._ask()

    def close(self) -> None:
        """Ends the decode process. Calling it again does nothing."""
        self._stop()

    def kill(self) -> None:
        """Ends the decode process from another thread: whoever waits for a frame gets an error."""
        with contextlib.suppress(OSError):
            self._process.kill()

    def __next__(self) -> Frame:
        if not self._stop.alive:
            raise StopIteration
        try:
            return self._next()
        except BaseException:  # also Ctrl-C: half a message may be lost, so nothing more can be read
            self.close()
            raise

    def _next(self) -> Frame:
        self.begin()
        if not self._asked:
            self._ask()
            self._asked = True
        while True:
            self._fill(memoryview(self._header))
            kind, h, w, c, index, size, captured, dropped, pts_s, at, still = HEADER.unpack(self._header)
            self._heard = True
            if kind in (FRAME, THUMBNAIL, PREVIEW):
                data = np.empty((h, w, c), np.uint8)
                self._fill(data.reshape(-1).data)
                frame, self._begun = Frame(data, pts_s, index, at), True
                if kind == THUMBNAIL:
                    self._keep(frame)
                elif kind == PREVIEW:
                    self.preview = frame
                else:
                    self.counts = (captured, self.frames + 1, dropped)
                    self._asked = self._order.policy == "every"
                    self._check_going_on(still)
                    return frame
                continue
            payload = bytearray(size)
            self._fill(memoryview(payload))
            if kind in (END, ERROR):
                self.counts = (captured, self.frames, dropped)
                if kind == ERROR:
                    raise pickle.loads(payload)
                raise StopIteration
            if kind == NOTE:
                self.notes.append(payload.decode())
            elif kind == HEAD and self._ring is not None:
                self._ring.begin(bytes(payload))
            elif kind == PACKET and self._ring is not None:
                self._ring.put(Coded.read(at, bytes(payload)))
            self._check_going_on(still, index)

    def _ask(self) -> None:
        with contextlib.suppress(OSError):  # that it has gone is found out when it is read from
            os.write(self._asking, b".")

    def _check_going_on(self, still: float, stuck: int = 1) -> None:
        """still: for how long the source has not. stuck: pictures that came meanwhile, without a later time."""
        limit = self._stall
        if limit is not None and self.source.live and not self._begun:
            limit = max(limit, OPENING_S)
        if limit is None or still <= limit:
            if limit is not None and still > limit / 2 and self.source.live and self._begun:
                self._doubt()
            return
        what, got = f"The source has sent nothing for {limit:g} s.", None
        if self.source.live and self._begun and stuck:
            what, got = f"The source's clock has stood still for {limit:g} s.", "pictures all with the same time"
        raise SourceError(what, where=self.source.where, got=got, hint="check that it is still connected")

    def _keep(self, thumbnail: Frame) -> None:
        self.thumbnails.append(thumbnail)
        if len(self.thumbnails) > 96:  # a camera may run for days
            del self.thumbnails[1::2]

    def _fill(self, view: memoryview) -> None:
        limit = SILENCE_S if self._heard and self.source.live else self._stall
        if limit is not None and not self._heard:
            limit = max(limit, OPENING_S)
        while view:
            begun = time.monotonic()
            ready = self._poll.poll(None if limit is None else limit * 500)
            if not ready and limit is not None:
                if self.source.live and self._begun:
                    self._doubt()
                ready = self._poll.poll(max(0.0, 1000 * (begun + limit - time.monotonic())))
            if not ready:
                raise SourceError(f"The decoder has not said a word for {limit:g} s.", where=self.source.where)
            got = self._pipe.readinto(view)
            if not got:
                raise self._crashed()
            view = view[got:]

    def _crashed(self) -> SourceError:
        code = self._process.wait()
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip().splitlines()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return SourceError(
            "The decoder crashed on this video.",
            where=self.source.where,
            got=f"{how} after {self.frames} frames" + (f": {said[-1]}" if said else ""),
            hint="the video is damaged or this build of FFmpeg cannot handle its codec; convert it and try again",
        )


def _start(order: Order, log: IO[bytes]) -> subprocess.Popen[bytes]:
    # A plain subprocess, not multiprocessing: it needs no __main__ guard in the caller's script and imports only video
    # modules. -P and the parent's own path: a file called numpy.py in the working folder must not be imported. Ctrl-C
    # is the parent's to handle, so the child inherits a mask that blocks it, from its first instruction on.
    command = [sys.executable, "-P", "-c", _START, str(len(sys.path)), *sys.path]
    passed = (order.asked,) if order.asked >= 0 else ()
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": log, "bufsize": 0, "pass_fds": passed}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        if order.source.kind == "stdin":
            return subprocess.Popen([*command, order.dumps()], **options)
        with tempfile.TemporaryFile() as orders:  # an argument could not hold a folder of many pictures
            orders.write(order.dumps().encode())
            orders.seek(0)
            return subprocess.Popen(command, stdin=orders, **options)
    except OSError as error:
        raise SourceError("The decode process cannot be started.", where=sys.executable, got=error.strerror) from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        os.close(descriptor)


def _stop(process: subprocess.Popen[bytes], log: IO[bytes], asking: int) -> None:
    process.kill()
    if process.stdout is not None:
        process.stdout.close()
    _close(asking)
    end(process)
    log.close()


def _resize_pipe(pipe: Any, size: int) -> None:
    with contextlib.suppress(AttributeError, OSError):  # Linux only, and only up to the user's limit
        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, size)
