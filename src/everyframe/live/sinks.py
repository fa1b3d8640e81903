"""Where alerts go: a sound, a program, an address on the web. Each has a thread and a short queue of its own, so that none of
them ever holds up the video; what could not be delivered is told at the end, and never silently lost.

    sink = sink_of("sound")        # or "command:notify-send {label}", "https://example.org/hook"
    sink.tell({"label": "drowsy", ...})
    sink.close()
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import wave
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from everyframe.errors import SourceError, UsageError
from everyframe.processes import kill
from everyframe.version import __version__

#: alerts that wait while an earlier one is delivered; what comes then is left out and counted
WAITING = 16
#: seconds that the end of a run waits for what is still to be delivered
PATIENCE_S = 15.0
#: seconds for one try of a webhook, and between tries
ANSWER_S, PAUSES_S = 5.0, (0.0, 1.0, 3.0)
#: seconds that a program may take for one alert
COMMAND_S = 60.0
#: programs that play a WAV file and end with it, the first that is there
PLAYERS = (("pw-play",), ("paplay",), ("aplay", "-q"), ("afplay",), ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error"))
_WAYS = "sound, sound:FILE.wav, command:WORDS, or an address (https://...)"


class Undelivered(Exception):
    """Why an alert did not arrive, in a few words."""


class Sink:
    """name: what it is called in messages. wants: of what happens to cameras (`phase`: begin and end of an event, state, gap),
    what it is told; what says no phase is an alert, which has just begun.
    """

    wants: tuple[str, ...] = ("begin",)

    def __init__(self, name: str, waiting: int = WAITING) -> None:
        self.name = name
        self._failed: deque[str] = deque(maxlen=100)
        self._missed = self._count = 0
        self._over = False
        self._queue: queue.Queue[Mapping[str, Any] | None] = queue.Queue(waiting)
        self._thread = threading.Thread(target=self._work, name=f"everyframe {name}", daemon=True)
        self._thread.start()

    def tell(self, alert: Mapping[str, Any]) -> None:
        """alert: plain values (`Alert.to_dict`, and the source). Returns at once."""
        if alert.get("phase", "begin") not in self.wants:
            return
        try:
            self._queue.put_nowait(dict(alert))
        except queue.Full:
            self._missed += 1

    def close(self, patience: float | None = None) -> None:
        """Waits for what is still on its way, for so many seconds at most, or PATIENCE_S."""
        patience = PATIENCE_S if patience is None else patience
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=patience)
        self._thread.join(patience)
        if self._thread.is_alive():
            self._over = True
            with self._queue.mutex:
                self._missed += 1 + sum(alert is not None for alert in self._queue.queue)

    @property
    def problems(self) -> list[str]:
        """What went wrong, a line each."""
        why = dict.fromkeys([*self._failed, *(["too many at once, or too slow"] if self._missed else [])])
        what = "alert" if self.wants == ("begin",) else "message"
        lost = self.lost
        return [f"{self.name}: {lost} {what}{'s' * (lost != 1)} not delivered: {'; '.join(why)}"] if lost else []

    @property
    def lost(self) -> int:
        """How many messages were not delivered."""
        return self._count + self._missed

    def deliver(self, alert: Mapping[str, Any]) -> None:
        """In the sink's own thread. Raises Undelivered."""
        raise NotImplementedError

    def _work(self) -> None:
        while not self._over and (alert := self._queue.get()) is not None:
            try:
                self.deliver(alert)
            except Exception as why:  # whatever it is: the next one may be delivered
                if self._over:  # it is among those that were missed
                    return
                self._count += 1
                self._failed.append(str(why) if isinstance(why, Undelivered) else f"{type(why).__name__}: {why}")
        self.end()

    def end(self) -> None:
        """In the sink's own thread, behind the last alert."""


class Programs(Sink):
    """Runs a program for each alert. One that is not over when the run ends is ended with all that it started."""

    _running: subprocess.Popen[str] | None = None

    def close(self, patience: float | None = None) -> None:
        super().close(patience)
        if self._thread.is_alive() and (running := self._running) is not None:
            kill(running)

    def run(self, words: Sequence[str], alert: Mapping[str, Any]) -> None:
        """Raises Undelivered."""
        text = json.dumps(alert)
        try:
            self._running = subprocess.Popen(
                words, env={**os.environ, "EVERYFRAME_ALERT": text}, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise Undelivered(error.strerror or str(error)) from None
        with self._running as running:
            try:
                _, stderr = running.communicate(text, timeout=COMMAND_S)
            except subprocess.TimeoutExpired:
                kill(running)
                raise Undelivered(f"not over after {COMMAND_S:.0f} s") from None
        if running.returncode:
            said = stderr.strip().splitlines()
            raise Undelivered(f"exit code {running.returncode}" + (f" ({said[-1]})" if said else ""))


class Sound(Programs):
    """A file, or three tones. Where no program can play them the terminal's bell rings; raises UsageError without either."""

    def __init__(self, file: str = "") -> None:
        self._player = next((words for words in PLAYERS if shutil.which(words[0])), None)
        if file and not Path(file).is_file():
            raise SourceError("There is no such sound.", where=file, expected="a WAV file")
        if self._player is None and (file or not sys.stderr.isatty()):
            raise UsageError(
                "Nothing on this system plays a sound.", where="--alert sound",
                expected="one of " + ", ".join(words[0] for words in PLAYERS), hint="on Debian: apt install alsa-utils",
            )  # fmt: skip
        self._folder = tempfile.TemporaryDirectory(prefix="everyframe-")
        self._file = Path(file) if file else Path(self._folder.name) / "alert.wav"
        if not file:
            self._file.write_bytes(tones())
        super().__init__("sound")

    def deliver(self, alert: Mapping[str, Any]) -> None:
        if self._player is None:
            print("\a", end="", file=sys.stderr, flush=True)
        else:
            self.run([*self._player, str(self._file)], alert)

    def close(self, patience: float | None = None) -> None:
        super().close(patience)
        self._folder.cleanup()


def tones(rate: int = 22_050) -> bytes:
    """A WAV file: three rising tones, a second long."""
    parts = []
    for hertz in (880.0, 1108.7, 1318.5):
        t = np.arange(round(0.25 * rate)) / rate
        fade = np.minimum(1, np.minimum(t, t[-1] - t) / 0.01)
        parts += [0.6 * fade * np.sin(2 * np.pi * hertz * t), np.zeros(round(0.08 * rate))]
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((np.concatenate(parts) * 32767).astype("<i2").tobytes())
    return file.getvalue()


class Command(Programs):
    """A program for each alert: {label}, {score}, {time}, {began} and {source} in its words are filled in; no shell looks at
    them. It reads the alert as JSON from standard input and $EVERYFRAME_ALERT. Raises UsageError for a program that is not there.
    """

    def __init__(self, words: str) -> None:
        try:
            self._words = shlex.split(words)
        except ValueError as error:
            raise UsageError("These are no words of a command.", where="--alert command", got=f"{words} ({error})") from None
        if not self._words or shutil.which(self._words[0]) is None:
            raise UsageError(
                "There is no such program.", where="--alert command", expected="a program and its arguments",
                got=words or "nothing", hint="a script needs its path, and to be executable",
            )  # fmt: skip
        super().__init__(f"command {Path(self._words[0]).name}")

    def deliver(self, alert: Mapping[str, Any]) -> None:
        values = {"label": alert["label"], "score": f"{alert['score']:.2f}", "time": f"{alert['pts_s']:.2f}",
                  "began": f"{alert['began_s']:.2f}", "source": alert.get("source", "")}  # fmt: skip
        words = self._words
        for name, value in values.items():
            words = [word.replace(f"{{{name}}}", str(value)) for word in words]
        self.run(words, alert)


class _Stays(urllib.request.HTTPRedirectHandler):
    """Follows nowhere: what is sent on is a GET without the alert, which servers answer as if all were well."""

    def redirect_request(self, *_: object) -> None:
        return None


_DIRECT = urllib.request.build_opener(_Stays)


class Webhook(Sink):
    """POSTs the alert as JSON, up to three times. Raises UsageError for what is no address of the web."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError("This is no address of a webhook.", where="--alert", expected="https://...", got=address)
        self._address = address
        super().__init__(f"webhook {parts.hostname}")  # what follows the host may be a secret

    def deliver(self, alert: Mapping[str, Any]) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": f"everyframe/{__version__}"}
        request = urllib.request.Request(self._address, json.dumps(alert).encode(), headers, method="POST")
        why = ""
        for pause in PAUSES_S:
            time.sleep(pause)
            try:
                with _DIRECT.open(request, timeout=ANSWER_S):
                    return
            except urllib.error.HTTPError as error:
                moved = " (it has moved: give the address that it has now)" if 300 <= error.code < 400 else ""
                why = f"{error.code} {error.reason}{moved}"
                if error.code < 500 and error.code != 429:  # it will not be otherwise the next time
                    break
            except OSError as error:
                why = str(getattr(error, "reason", error))
        raise Undelivered(why)


def sink_of(text: str) -> Sink:
    """By what `--alert` says. Raises UsageError, SourceError."""
    kind, _, rest = text.partition(":")
    if kind in ("http", "https"):
        return Webhook(text)
    if text == "sound" or (kind == "sound" and rest):
        return Sound(rest)
    if kind == "command":
        return Command(rest)
    raise UsageError("This is no way to raise an alert.", where="--alert", expected=_WAYS, got=text)
