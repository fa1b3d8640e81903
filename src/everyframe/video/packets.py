"""What a camera sends, as it is coded: taken before it is decoded, and kept for some seconds.

`Tapped` runs in the decode process. Beside the packets it sends a head, which says what coded them: a file with one key frame.
"""

from __future__ import annotations

import io
import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from everyframe.video.protocol import HEAD, NONE, PACKET, PACKET_HEADER

if TYPE_CHECKING:
    import av
    from av.video.stream import VideoStream


class Tapped:
    """Called with each packet before it is decoded."""

    def __init__(self, send: Callable[[bytes, bytes], None]) -> None:
        self.send, self.begun = send, False

    def __call__(self, stream: VideoStream, packet: av.Packet) -> None:
        data = bytes(packet)
        base = packet.time_base or Fraction(1, 90_000)
        if not self.begun:
            if not packet.is_keyframe:
                return
            self.send(HEAD, _head(stream, data, base))
            self.begun = True
        pts, dts = (NONE if value is None else value for value in (packet.pts, packet.dts))
        numbers = (pts, dts, packet.duration or 0, base.numerator, base.denominator, packet.is_keyframe)
        self.send(PACKET, PACKET_HEADER.pack(*numbers) + data)


def _head(stream: VideoStream, key: bytes, base: Fraction) -> bytes:
    """NUT changes neither the packets nor what the decoder must know before them."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="nut") as container:
        made = container.add_stream_from_template(stream)
        packet = av.Packet(key)
        packet.stream, packet.pts, packet.dts, packet.time_base, packet.is_keyframe = made, 0, 0, base, True
        container.mux(packet)
    return file.getvalue()


@dataclass(frozen=True, slots=True)
class Coded:
    """A packet. at: when it came, on the clock of `time.monotonic`."""

    at: float
    pts: int | None
    dts: int | None
    duration: int
    base: Fraction
    key: bool
    data: bytes

    @classmethod
    def read(cls, at: float, payload: bytes) -> Coded:
        pts, dts, duration, numerator, denominator, key = PACKET_HEADER.unpack_from(payload)
        pts, dts = (None if value == NONE else value for value in (pts, dts))
        return cls(at, pts, dts, duration, Fraction(numerator, denominator), bool(key), payload[PACKET_HEADER.size :])


class Recording:
    """Packets from a key frame on, until it is enough. since: from when on it is wanted. over: nothing more comes."""

    def __init__(self, head: bytes, packets: list[Coded], most: int, since: float = 0.0) -> None:
        self.head, self.packets, self.most, self.since = head, packets, most, since
        self.until = math.inf
        self.over = False
        self._bytes = sum(len(packet.data) for packet in packets)

    def stop(self) -> None:
        """It is not wanted."""
        self.over, self.packets = True, []

    def put(self, packet: Coded) -> None:
        self._bytes += len(packet.data)
        self.over = self.over or packet.at > self.until or self._bytes > self.most
        if not self.over:
            self.packets.append(packet)


class Ring:
    """The packets of the last seconds, from a key frame on: so many seconds and bytes at most, but for the newest key frame. Used
    by the thread that reads and by those that record.
    """

    def __init__(self, seconds: float, most: int = 64 << 20) -> None:
        self.seconds, self.most = seconds, most
        self.head = b""
        self.packets: deque[Coded] = deque()
        self.bytes = 0
        self._recordings: list[Recording] = []
        self._lock = threading.Lock()

    def begin(self, head: bytes = b"") -> None:
        """What is coded otherwise, or comes after a loss, does not go on with what was there."""
        with self._lock:
            self.head, self.bytes = head, 0
            self.packets.clear()
            for recording in self._recordings:
                recording.over = True
            self._recordings.clear()

    def put(self, packet: Coded) -> None:
        with self._lock:
            self.packets.append(packet)
            self.bytes += len(packet.data)
            while self._second_key_frame(packet.at - self.seconds):
                self._drop()
            for recording in self._recordings:
                recording.put(packet)
            self._recordings = [recording for recording in self._recordings if not recording.over]

    def record(self, since: float) -> Recording:
        """From the last key frame before that time on, as far as there is one; it goes on until `until`."""
        with self._lock:
            found = list(self.packets)
            keys = [n for n, packet in enumerate(found) if packet.key]
            first = max((n for n in keys if found[n].at <= since), default=keys[0] if keys else len(found))
            recording = Recording(self.head, found[first:], 2 * self.most, since)
            self._recordings.append(recording)
            return recording

    def _second_key_frame(self, begins: float) -> bool:
        """Whether what lies before the second key frame is not wanted any more."""
        second = next((packet for n, packet in enumerate(self.packets) if n and packet.key), None)
        return second is not None and (second.at <= begins or self.bytes > self.most)

    def _drop(self) -> None:
        """A group of pictures."""
        self.bytes -= len(self.packets.popleft().data)
        while self.packets and not self.packets[0].key:
            self.bytes -= len(self.packets.popleft().data)
