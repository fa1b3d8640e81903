"""What decoding, preprocessing and the process between them add to the bare engine, on 10 seconds of webcam-like video.

    python benchmarks/predict_overhead.py                the built-in model and X3D-S, about a minute
    python benchmarks/predict_overhead.py --video my.mp4 --models builtin

Compared, in turns, are a whole video through `program.play` (which is what `program.predict` iterates over) and the same
number of `Stream.step` calls on frames that were prepared before. Decoding runs in a process of its own: with a core to
spare it costs work, not time, except where the engine is faster than the decoder and waits for it. So wall time is shown
with the part that was spent waiting for frames, and CPU time of this process and of the decoder. Writes
benchmarks/results/predict_overhead.json.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import networks
import numpy as np

import everyframe
from everyframe.benchmarking import Table, describe, one_line
from everyframe.runtime import Program
from everyframe.video import Reader, resolve
from everyframe.video.preprocess import normalize


@dataclass
class Run:
    """Seconds: wall, CPU of this process and of the processes it waited for, and the part of wall that was spent waiting
    for frames. predictions: how many came.
    """

    wall: float
    own: float
    children: float
    waiting: float
    predictions: int


def timed(work: Callable[[], tuple[int, float]]) -> Run:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall, own = time.perf_counter(), time.process_time()
    predictions, waiting = work()
    wall, own = time.perf_counter() - wall, time.process_time() - own
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    decoder = after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime
    return Run(wall, own, decoder, waiting, predictions)


def prepared(program: Program, video: Path) -> list[np.ndarray]:
    """What the network is given, step by step, made beforehand."""
    preprocess, hop = program.metadata.preprocess, program.metadata.hop
    (source,) = resolve(str(video))
    with Reader(source, preprocess) as reader:
        pictures = [frame.data for frame in reader]
    groups = [np.stack(pictures[i : i + hop]) for i in range(0, len(pictures) - hop + 1, hop)]
    return groups if program.interface.folded else [normalize(group, preprocess) for group in groups]


def first_frame(program: Program, video: Path) -> float:
    """Seconds until the decode process has started and delivered."""
    begun = time.perf_counter()
    with Reader(resolve(str(video))[0], program.metadata.preprocess) as reader:
        next(reader)
        return time.perf_counter() - begun


def measure(model: str, video: Path, threads: int, repeats: int) -> dict[str, Any]:
    path = model if model == "builtin" or Path(model).exists() else networks.clip_and_step(model)[1]
    program = everyframe.open(path, threads=threads, wait=True)
    steps = prepared(program, video)

    (source,) = resolve(str(video))

    def bare() -> tuple[int, float]:
        with program.stream() as stream:
            return sum(stream.step(frames) is not None for frames in steps), 0.0

    def play() -> tuple[int, float]:
        with program.play(source) as playback:
            return sum(1 for _ in playback), playback.wait_s

    bare(), play()  # not counted: caches, and the file in memory
    runs: dict[str, list[Run]] = {"bare": [], "predict": []}
    for _ in range(repeats):
        runs["bare"].append(timed(bare))
        runs["predict"].append(timed(play))
    if runs["bare"][0].predictions != runs["predict"][0].predictions:
        raise SystemExit("The two ways gave different numbers of predictions.")

    def middle(kind: str, part: str) -> float:
        return round(median(getattr(run, part) for run in runs[kind]) * 1e3 / len(steps), 4)

    seconds = median(run.wall for run in runs["predict"])
    return {
        "model": model, "steps": len(steps), "threads": threads, "repeats": repeats,
        "bare_wall_ms": middle("bare", "wall"), "predict_wall_ms": middle("predict", "wall"),
        "waiting_ms": middle("predict", "waiting"), "bare_cpu_ms": middle("bare", "own"),
        "predict_cpu_ms": middle("predict", "own"), "decoder_cpu_ms": middle("predict", "children"),
        "times_real_time": round(networks.VIDEO_SECONDS / seconds, 1),
        "first_frame_ms": round(median(first_frame(program, video) for _ in range(repeats)) * 1e3, 1),
    }  # fmt: skip


def tables(results: dict[str, Any]) -> list[Table]:
    made = Table(
        f"{networks.VIDEO_SECONDS} s of video, {results['video']}: ms a step",
        ["model", "threads", "steps", "bare", "predict", "of it waiting for frames", "bare CPU", "predict CPU",
         "decoder CPU", "times real time"],
    )  # fmt: skip
    for run in results["runs"]:
        made.rows.append([
            run["model"], run["threads"], run["steps"], *(f"{run[key]:.2f}" for key in (
                "bare_wall_ms", "predict_wall_ms", "waiting_ms", "bare_cpu_ms", "predict_cpu_ms", "decoder_cpu_ms",
            )), f"{run['times_real_time']:.1f}",
        ])  # fmt: skip
    starts = ", ".join(f"{run['first_frame_ms']:.0f} ms ({run['model']})" for run in results["runs"])
    made.notes += [
        "A step is one frame that the network sees; the decoder decodes every frame of the file. Medians.",
        f"Starting the decoder is part of the waiting, once a video: the first frame comes after {starts}.",
    ]
    made.notes.append(one_line(results["machine"]))
    return [made]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["builtin", "x3d_s"], help="builtin, a zoo name, or a file")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--video", type=Path, help="10 seconds long; default: a generated 640x480 H.264 clip at 30 fps")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="3 repeats")
    parser.add_argument("-o", "--output", type=Path, default=networks.RESULTS / "predict_overhead.json")
    args = parser.parse_args()
    video = args.video or networks.video()
    what = args.video.name if args.video else "640x480, 30 fps, H.264"
    results = {"benchmark": "predict_overhead", "machine": describe(), "video": what, "runs": []}
    for model in args.models:
        results["runs"].append(measure(model, video, args.threads, 3 if args.quick else args.repeats))
    networks.finish(tables(results), results, args.output)


if __name__ == "__main__":
    main()
