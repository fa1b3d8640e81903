"""How many cameras of 15 frames a second this machine serves before frames drop: one more after another, until that happens.

    python benchmarks/cameras.py builtin
    python benchmarks/cameras.py x3d_s.onnx --add 2

Each camera is a film of 640 x 480 (H.264), played at its own speed, over and over, by a decode process of its own; one program
steps them all, one thread a step. Printed beside: what decoding and all else take of a processor, how much of the processors was
left to it at all, and the memory of each further camera.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image

import everyframe
from everyframe.live.camera import Camera
from everyframe.video.sources import resolve

SAMPLE = Path(__file__).resolve().parents[1] / "src" / "everyframe" / "assets" / "sample.mp4"
SIZE, FPS = (640, 480), 15
TICKS = os.sysconf("SC_CLK_TCK")


def film(path: Path, seconds: float = 20.0, times: int = 30) -> Path:
    """So long that none has to be begun again while cameras are counted: the same packets over and over."""
    with av.open(str(SAMPLE)) as container, av.open(str(path), "w") as made:
        stream = made.add_stream("libx264", rate=FPS)
        stream.width, stream.height = SIZE
        stream.codec_context.options = {"tune": "zerolatency", "preset": "veryfast", "g": str(2 * FPS)}
        packets = []
        for frame in container.decode(video=0):
            number = len(packets)
            if number < FPS * seconds and frame.time is not None and frame.time >= number / FPS:
                picture = av.VideoFrame.from_image(frame.to_image().resize(SIZE, Image.Resampling.BILINEAR))
                picture.pts, picture.time_base = number, Fraction(1, FPS)
                packets += stream.encode(picture)
        packets += stream.encode(None)
        for number in range(times * len(packets)):
            known = packets[number % len(packets)]
            packet = av.Packet(bytes(known))
            packet.stream, packet.is_keyframe = stream, known.is_keyframe
            packet.pts, packet.dts, packet.duration, packet.time_base = number, number, 1, Fraction(1, FPS)
            made.mux(packet)
    return path


def cpu(process: int | str) -> float:
    """Seconds of processor time so far."""
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS


def all_cpu() -> tuple[float, float]:
    """Seconds that this process's processors worked, and all there were."""
    mine = {f"cpu{n}" for n in os.sched_getaffinity(0)}
    rows = [line.split() for line in Path("/proc/stat").read_text().splitlines() if line.split()[0] in mine]
    return sum(sum(map(int, row[1:9])) - int(row[4]) - int(row[5]) for row in rows) / TICKS, sum(
        sum(map(int, row[1:9])) for row in rows
    ) / TICKS


def shared_memory(process: int | str) -> float:
    """MB, what several have in common divided among them."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1e3


class Looked:
    """What cameras have done and cost so far."""

    def __init__(self, cameras: list[Camera]) -> None:
        readers = [camera._reader._reader for camera in cameras if camera._reader is not None]
        processes = [reader._process.pid for reader in readers if reader is not None]
        statuses = [camera.status for camera in cameras]
        self.at = time.monotonic()
        self.captured, self.dropped = sum(s.captured for s in statuses), sum(s.dropped for s in statuses)
        ended = os.times()  # a film that is over is played by another process
        self.decoding = sum(map(cpu, processes)) + ended.children_user + ended.children_system
        self.rest = cpu("self")
        self.busy, self.whole = all_cpu()
        self.memory = shared_memory("self") + sum(map(shared_memory, processes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--add", type=int, default=4, help="cameras at a time")
    parser.add_argument("--most", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--share", type=float, default=0.02, help="of frames that may drop, or not be decoded in time")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, everyframe.open(given.model, threads=1, wait=True) as program:
        source = replace(resolve(film(Path(folder) / "film.mp4"))[0], kind="file")
        processors = len(os.sched_getaffinity(0))
        print(f"{platform.machine()}, {processors} processors, {given.model} ({program.engine}), {SIZE}, {FPS} fps")
        cameras: list[Camera] = []
        memory: list[float] = []
        try:
            while len(cameras) < given.most:
                for _ in range(1 if not cameras else given.add - (len(cameras) == 1)):
                    cameras.append(Camera(f"camera {len(cameras)}", source, program, preview=0, realtime=True))
                    cameras[-1].start()
                while any(camera.status.captured < FPS for camera in cameras):
                    time.sleep(0.1)
                one = Looked(cameras)
                time.sleep(given.seconds)
                two = Looked(cameras)
                wall, count = two.at - one.at, len(cameras)
                dropped = two.dropped - one.dropped
                rate = float(program.metadata.preprocess.fps or FPS)
                due = wall * rate * count  # of which one a camera may lie on either side of a look
                late = max(0.0, due - count - (two.captured - one.captured))
                memory.append(two.memory)
                decoding, rest = two.decoding - one.decoding, two.rest - one.rest
                load = os.getloadavg()[0]
                others = (two.busy - one.busy - decoding - rest) / (two.whole - one.whole)
                each = f"of a processor each {decoding / wall / count:.1%} for decoding, {rest / wall / count:.1%} for all else"
                print(
                    f"{count:3} cameras: of {due:.0f} frames {dropped} dropped, {late:.0f} not decoded in time; {each}; others "
                    f"took {others:.0%} of the processors (load {load:.1f}); {two.memory:.0f} MB",
                    flush=True,
                )
                if dropped + late > given.share * due:
                    break
        finally:
            for camera in cameras:
                camera.stop()
            for camera in cameras:
                camera.join(5)
        if len(memory) > 1:
            print(f"{(memory[-1] - memory[0]) / (len(cameras) - 1):.1f} MB for each further camera")


if __name__ == "__main__":
    sys.exit(main())
