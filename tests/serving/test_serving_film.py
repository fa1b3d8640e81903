"""A coded video by WebSocket: what each picture shows, and what happens where one is missing, damaged or far too large."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from everyframe.video.bounds import Bounds
from everyframe.video.coded import Decoder
from serving.clients import Server, as_jpeg, jpeg, raw, said, streamed, until
from serving.test_serving_streams import sample, timeless

H264 = {"tune": "zerolatency", "preset": "ultrafast", "profile": "baseline"}
VPX = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
#: as clients call it -> who encodes it, and how
ENCODERS = {"h264": ("libx264", H264), "vp8": ("libvpx", VPX), "vp9": ("libvpx-vp9", VPX)}
Packets = list[tuple[bool, bytes]]


def film(pictures: Sequence[np.ndarray], codec: str = "h264", group: int = 8) -> Packets:
    """Each picture, and whether it is a key frame."""
    name, options = ENCODERS[codec]
    context: Any = av.CodecContext.create(name, "w")
    context.height, context.width = pictures[0].shape[:2]
    context.pix_fmt, context.time_base, context.framerate, context.gop_size = "yuv420p", Fraction(1, 25), 25, group
    context.bit_rate, context.thread_count = 150_000, 1
    context.options = options
    packets: Packets = []
    for number, picture in enumerate([*pictures, None]):
        frame = None if picture is None else av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        if frame is not None:
            frame.pts = number
        packets += [(packet.is_keyframe, bytes(packet)) for packet in context.encode(frame)]
    return packets


def as_coded(time: float, key: bool, data: bytes) -> bytes:
    return struct.pack("<dHH", time, 0, 1 if key else 2) + data


def begun(socket: Any, codec: str = "h264") -> None:
    assert codec in said(socket)["codecs"]
    socket.send(json.dumps({"type": "video", "codec": codec}))
    assert said(socket)["codec"] == codec


def sent(server: Server, codec: str, messages: Sequence[bytes], words: str = "scores=true") -> list[dict[str, Any]]:
    with server.connect(words) as socket:
        begun(socket, codec)
        answers = []
        for message in messages:
            socket.send(message)
            answers.append(said(socket))
        return answers


@pytest.mark.parametrize("codec", ENCODERS)
def test_a_coded_video_has_the_answers_of_its_pictures(near: Server, codec: str, figure: Callable[[str], None]) -> None:
    """Bit for bit those of what its decoder makes of it, sent raw: a picture is neither late nor out of its place."""
    pictures = sample(1.6)
    packets = film([picture for _, picture in pictures], codec)
    times = [time for time, _ in pictures]
    with Decoder(codec, Bounds()) as decoder:
        decoded = [decoder.decode(number, data) for number, (_, data) in enumerate(packets)]
    assert [number for found in decoded for number, _ in found] == list(range(len(times)))
    wanted = streamed(near, "scores=true", [raw(time, found[0][1]) for time, found in zip(times, decoded, strict=True)])
    got = sent(near, codec, [as_coded(time, *packet) for time, packet in zip(times, packets, strict=True)])
    assert timeless(got) == timeless(wanted) and sum(len(answer["predictions"]) for answer in got) > 15
    bytes_coded = sum(len(data) for _, data in packets)
    bytes_jpeg = sum(len(as_jpeg(time, jpeg(picture, quality=85))) for time, picture in pictures)
    figure(f"{codec}: {bytes_coded / len(packets):,.0f} bytes a picture, JPEG {bytes_jpeg / len(packets):,.0f}")


def test_a_missing_picture_is_told_and_mended_by_a_key_frame(near: Server) -> None:
    pictures = sample(1.2)
    packets = film([picture for _, picture in pictures])
    messages = [as_coded(time, *packet) for (time, _), packet in zip(pictures, packets, strict=True)]
    damaged = as_coded(pictures[4][0], False, bytes(range(256)) * 8)
    with near.connect() as socket:
        begun(socket)
        asked = []
        for number, message in enumerate(messages):
            socket.send(damaged if number == 4 else message)
            answer = said(socket)
            asked.append(answer.get("key", False))
            assert ("error" in answer) == answer.get("key", False)
    keys = [number for number, (key, _) in enumerate(packets) if key]
    assert keys[:2] == [0, 8] and asked == [4 <= number < 8 for number in range(len(messages))]


def test_a_flood_of_pictures_is_dropped_and_the_rest_is_right(near: Server) -> None:
    """A client that does not wait: everything is counted, no picture is decoded without those that it needs, and it goes on."""
    pictures = sample(1.6)
    packets = film([picture for _, picture in pictures])
    with near.connect() as socket:
        begun(socket)
        for (time, _), packet in zip(pictures, packets, strict=True):
            socket.send(as_coded(time, *packet))
        answers = [said(socket)]
        while answers[-1]["frame"] < len(packets) - 1:
            answers.append(said(socket))
        assert answers[-1]["dropped"] + len(answers) == answers[-1]["received"] == len(packets)
        keys = {number for number, (key, _) in enumerate(packets) if key}
        before = -1
        for answer in answers:
            assert ("error" in answer) == (answer["frame"] not in keys and answer["frame"] != before + 1)
            before = -2 if "error" in answer else answer["frame"]
        socket.send(as_coded(9.0, *packets[0]))
        assert "error" not in said(socket)


def test_a_small_packet_of_a_huge_picture_is_refused(near: Server, figure: Callable[[str], None]) -> None:
    """As are bytes that are nothing at all; the server goes on, and its processes end with their streams."""
    huge = film([np.zeros((4608, 8192, 3), np.uint8)])[0][1]
    children = lambda: Path(f"/proc/{near.process.pid}/task/{near.process.pid}/children").read_text().split()  # noqa: E731
    before, weight = len(children()), near.memory()
    answers = sent(near, "h264", [as_coded(0.0, True, huge), *(as_coded(n / 9, True, bytes([n]) * 999) for n in range(1, 9))])
    assert all("error" in answer for answer in answers)
    figure(f"a coded picture of 8192 x 4608 in {len(huge):,} bytes: {(near.memory() - weight) / 1e6:+.1f} MB in the server")
    until(lambda: len(children()) <= before)


OTHERS = ({"type": "video", "codec": "hevc"}, {"type": "video", "codec": "../../x"}, {"type": "video"})


@pytest.mark.parametrize("order", OTHERS)
def test_other_codecs_are_not_taken(near: Server, order: dict[str, str]) -> None:
    with near.connect() as socket:
        said(socket)
        socket.send(json.dumps(order))
        assert said(socket)["error"]["expected"] in ("h264, vp9, vp8", 'a frame, or {"type": "reset", "end" or "video"}')
        socket.send(raw(0.0, np.zeros((48, 64, 3), np.uint8)))
        assert said(socket)["type"] == "answer"


def test_without_an_order_a_coded_picture_is_an_error(near: Server) -> None:
    with near.connect() as socket:
        said(socket)
        socket.send(as_coded(0.0, True, film(sample(0.2)[0][1][None])[0][1]))
        assert "error" in said(socket)
