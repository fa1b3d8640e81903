"""How soon `everyframe serve` answers clients that send frames as cameras do, and how many of them it serves before frames drop.

    python benchmarks/serving.py builtin --clients 1 4 8 --fps 12
    python benchmarks/serving.py x3d_s.onnx --clients 1 2 --fps 13 --coded h264

Each client sends pictures of 640 x 480, as JPEGs or as a coded video, at its own pace and waits for nothing. The time is that
from sending a frame to having its prediction; frames that give none are not counted. Clients run beside the server, on the same
processors.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import struct
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

SAMPLE = Path(__file__).resolve().parents[1] / "src" / "everyframe" / "assets" / "sample.mp4"
SIZE = (640, 480)


#: who encodes it, and how: as browsers do for a call
ENCODERS = {
    "h264": ("libx264", {"tune": "zerolatency", "preset": "veryfast", "profile": "baseline"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}),
    "vp8": ("libvpx", {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}),
}
#: bits of a pixel in each picture, and pictures from one key frame to the next, as in the page
BITS, GROUP = 0.13, 48


def pictures(fps: float, coded: str | None, count: int = 96) -> list[bytes]:
    """What stands behind the time in each message. Coded ones begin anew with a key frame."""
    with av.open(str(SAMPLE)) as container:
        frames = [frame.to_image() for frame, _ in zip(container.decode(video=0), range(count), strict=False)]
    images = [frame.resize(SIZE, Image.Resampling.BILINEAR) for frame in frames]
    if coded is None:
        made = []
        for image in images:
            file = io.BytesIO()
            image.save(file, "JPEG", quality=85)
            made.append(struct.pack("<HH", 0, 0) + file.getvalue())
        return made
    name, options = ENCODERS[coded]
    encoder = av.CodecContext.create(name, "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.gop_size = *SIZE, "yuv420p", GROUP
    encoder.framerate, encoder.time_base = Fraction(round(fps)), Fraction(1, round(fps))
    encoder.bit_rate, encoder.thread_count, encoder.options = int(BITS * SIZE[0] * SIZE[1] * fps), 1, options
    packets = []
    for number, image in enumerate([*images, None]):
        picture = None if image is None else av.VideoFrame.from_image(image).reformat(format="yuv420p")
        if picture is not None:
            picture.pts = number
        packets += encoder.encode(picture)
    return [struct.pack("<HH", 0, 1 if packet.is_keyframe else 2) + bytes(packet) for packet in packets]


class Client(threading.Thread):
    """late: seconds, of each frame with a prediction. dropped: frames."""

    def __init__(
        self, address: str, frames: list[bytes], fps: float, seconds: float, wait: float, coded: str | None = None
    ) -> None:
        super().__init__()
        self.coded = coded
        self.address, self.frames, self.fps, self.count, self.wait = address, frames, fps, int(fps * seconds), wait
        self.late: list[float] = []
        self.dropped = 0
        self._sent: list[float] = []

    def run(self) -> None:
        with connect(self.address) as socket:
            socket.recv()  # that it is ready
            if self.coded:
                socket.send(json.dumps({"type": "video", "codec": self.coded}))
                socket.recv()
            reading = threading.Thread(target=self._read, args=(socket,))
            reading.start()
            begun = time.perf_counter() + self.wait
            for i in range(self.count):
                time.sleep(max(0.0, begun + i / self.fps - time.perf_counter()))
                self._sent.append(time.perf_counter())
                socket.send(struct.pack("<d", i / self.fps) + self.frames[i % len(self.frames)])
            time.sleep(0.5)
            socket.close()
            reading.join()

    def _read(self, socket: object) -> None:
        try:
            while True:
                answer = json.loads(socket.recv())  # type: ignore[attr-defined]
                now = time.perf_counter()
                if answer["type"] == "answer":
                    self.dropped = answer["dropped"]
                    if answer["predictions"]:
                        self.late.append(now - self._sent[answer["frame"]])
        except ConnectionClosed:
            return


def cpu(process: int) -> float:
    """Seconds of processor time so far."""
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--fps", type=float, default=12)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--workers", default="1")
    parser.add_argument("--coded", choices=ENCODERS, help="instead of JPEGs")
    given = parser.parse_args()
    frames = pictures(given.fps, given.coded)
    words = ["serve", given.model, "--port", "0", "--json", "--max-streams", "1000", "--workers", given.workers]
    with subprocess.Popen([sys.executable, "-m", "everyframe", *words], stdout=subprocess.PIPE, text=True) as server:
        try:
            ready = json.loads(server.stdout.readline() if server.stdout else "")
            address = ready["addresses"][0].replace("http", "ws") + "v1/stream"
            weight, kind = np.mean([len(frame) for frame in frames]) / 1e3, given.coded or "jpeg"
            print(f"{platform.machine()}, {ready['models'][0]}, {kind}: {weight:.1f} kB a frame")
            for count in given.clients:
                apart = 1 / given.fps / count
                clients = [Client(address, frames, given.fps, given.seconds, i * apart, given.coded) for i in range(count)]
                before = cpu(server.pid)
                for client in clients:
                    client.start()
                for client in clients:
                    client.join()
                spent, sent = cpu(server.pid) - before, sum(client.count for client in clients)
                late = 1e3 * np.concatenate([client.late for client in clients])
                if not late.size:
                    sys.exit("there was no prediction yet: the model has seen too little, so give more --seconds")
                median, slow = np.percentile(late, [50, 99])
                dropped, load = sum(client.dropped for client in clients), Path("/proc/loadavg").read_text().split()[0]
                print(
                    f"{count:3} clients at {given.fps:g} fps: p50 {median:.1f} ms, p99 {slow:.1f} ms, dropped {dropped} of "
                    f"{sent}, server {1e3 * spent / sent:.1f} ms of a processor a frame (load {load})"
                )
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
