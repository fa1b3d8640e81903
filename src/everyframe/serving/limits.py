"""What clients may cost, all of it in one table."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from everyframe.video.bounds import Bounds


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    streams: int = 16  # WebSockets with a stream of frames
    uploads: int = 2  # videos that are looked at at the same time
    connections: int = 128  # of all kinds
    connections_each: int = 64  # from one address
    requests_s: float = 20.0  # from one address, on average; four times as many at once
    messages_s: float = 240.0  # in one WebSocket, likewise

    upload: int = 500_000_000
    body: int = 65_536  # of any other request
    frame: int = 8_000_000  # one message of a WebSocket: a raw picture of 1920 x 1080 fits
    fragments: int = 256  # that one message may come in
    pixels: int = 4096 * 2304  # of a frame, and of a video's
    scans: int = 16  # of a progressive JPEG, each of which costs as much as a picture

    head_s: float = 5.0  # until a request's head is there, or a WebSocket's first message
    slow_s: float = 4.0  # in which a body must bring so many bytes a second
    slow_rate: int = 16_384
    idle_s: float = 60.0  # without a message, after which a stream is closed and its state freed
    ping_s: float = 20.0
    video_s: float = 3600.0  # of a video that was sent
    answer_s: float = 900.0  # until all of it is answered
    silent_s: float = 15.0  # of its decoder
    gap_s: float = 10.0  # between two frames of a file; a camera's may stall
    stop_s: float = 2.5  # from SIGTERM to the end

    unanswered: int = 2  # frames of a stream; then the oldest is dropped
    decoding: Bounds = field(default_factory=Bounds)


def with_options(streams: int, megabytes: int, idle_s: float) -> Limits:
    """With what a user may say of them."""
    return replace(Limits(), streams=streams, upload=megabytes * 1_000_000, idle_s=idle_s)
