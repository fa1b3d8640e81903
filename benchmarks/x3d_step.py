"""X3D at every frame: the step network on everyframe's engine beside clip networks and other ways to stream.

    python benchmarks/x3d_step.py                        X3D-S and X3D-M, 1 and 2 threads, about 3 minutes
    python benchmarks/x3d_step.py --models x3d_s --quick

Before anything is timed, all that stream must agree with everyframe's engine to 1e-4, and the clip engines with each
other. Times are milliseconds a prediction. Writes benchmarks/results/x3d_step.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
from pathlib import Path
from typing import Any

import networks
import numpy as np

import everyframe
from everyframe import modelfile, peers
from everyframe.benchmarking import Case, Table, describe, one_line, race

AGREEMENT = 1e-4  # largest difference relative to the largest logit
FRAMES_COMPARED = 4
OURS = "step network, everyframe (ort)"
NATIVE = "everyframe's native engine (a C compiler)"
EXTRAS = {"openvino": "OpenVINO", "continual": "continual-inference"}


class EveryframeStep:
    def __init__(self, path: Path, threads: int, engine: str = "ort") -> None:
        self.name = OURS if engine == "ort" else f"step network, everyframe ({engine})"
        self.stream = everyframe.open(path, engine=engine, threads=threads, wait=True).stream()

    def step(self, frames: np.ndarray) -> np.ndarray | None:
        prediction = self.stream.step(frames)
        return None if prediction is None else prediction.logits


class Continual:
    name = "continual-inference (torch)"

    def __init__(self, clip: Path, threads: int) -> None:
        self.step = peers.load("continual-inference", modelfile.load(clip), threads, clip).start()


def measure(model: str, threads: int, seconds: float, left_out: list[str]) -> dict[str, Any]:
    """All engines of one network with one number of threads."""
    from peers import onnx_engines  # of benchmarks/

    clip_path, step_path = networks.clip_and_step(model)
    entry = everyframe.models.describe(model)
    clips: list[Any] = [onnx_engines.OrtClip(clip_path, threads)]
    steps: list[Any] = [EveryframeStep(step_path, threads), onnx_engines.OrtHostLoop(step_path, threads)]
    if NATIVE not in left_out:
        steps.append(EveryframeStep(step_path, threads, "native"))
    if EXTRAS["openvino"] not in left_out:
        clips.append(onnx_engines.OpenVinoClip(clip_path, threads))
        steps += [onnx_engines.OpenVinoBound(step_path, threads), onnx_engines.OpenVinoStateful(step_path, threads)]
    if EXTRAS["continual"] not in left_out:
        steps.append(Continual(clip_path, threads))

    rng = np.random.default_rng(1)
    frame = rng.standard_normal((1, 3, *entry.size), np.float32)
    clip = rng.standard_normal((1, 3, entry.frames, *entry.size), np.float32)
    agreement = agree(steps, entry.size, everyframe.open(step_path, engine="ort").metadata.delay)
    agreement |= {other.name: compare(other, other.step(clip), clips[0].step(clip)) for other in clips[1:]}
    # bound now, not when called: a case keeps its own engine
    cases = [Case(one.name, lambda run=one.step: run(clip)) for one in clips]  # type: ignore[misc]
    cases += [Case(one.name, lambda run=one.step: run(frame)) for one in steps]  # type: ignore[misc]
    rows = [{"engine": timing.name, **timing.figures()} for timing in race(cases, seconds)]
    return {
        "model": model, "frames": entry.frames, "size": list(entry.size), "threads": threads, "agreement": agreement,
        "rows": rows,
    }  # fmt: skip


def agree(steps: list[Any], size: tuple[int, int], delay: int) -> dict[str, float]:
    """Streams one random video through all engines and compares the predictions once their windows are full."""
    rng = np.random.default_rng(2)
    worst = {one.name: 0.0 for one in steps[1:]}
    for n in range(delay + FRAMES_COMPARED):
        frame = rng.standard_normal((1, 3, *size), np.float32)
        expected, *answers = [one.step(frame) for one in steps]
        if n >= delay:
            for one, answer in zip(steps[1:], answers, strict=True):
                worst[one.name] = max(worst[one.name], compare(one, answer, expected))
    return worst


def compare(engine: Any, answer: np.ndarray | None, expected: np.ndarray) -> float:
    """Largest difference relative to the largest logit. Ends the program where it is too large."""
    difference = np.inf if answer is None else float(np.abs(answer - expected).max() / np.abs(expected).max())
    if not difference <= AGREEMENT:
        raise SystemExit(f"{engine.name} does not compute the same network: difference {difference:.1e}")
    return float(f"{difference:.1e}")


def table(run: dict[str, Any]) -> Table:
    """One network at one number of threads. The ratio is best clip engine / this one."""
    basis = "cpu_ms" if run["threads"] == 1 else "wall_min_ms"
    best = min(row[basis] for row in run["rows"] if row["engine"].startswith("clip"))
    s = "" if run["threads"] == 1 else "s"
    made = Table(
        f"{run['model']}, {run['frames']} x {run['size'][0]}, {run['threads']} thread{s}: ms a prediction",
        ["engine", "CPU", "wall", "wall min", "best clip / this"],
    )
    for row in run["rows"]:
        figures = [f"{row[key]:.1f}" for key in ("cpu_ms", "wall_ms", "wall_min_ms")]
        made.rows.append([row["engine"], *figures, f"{best / row[basis]:.1f}x"])
    return made


def tables(results: dict[str, Any]) -> list[Table]:
    made = [table(run) for run in results["runs"]]
    notes = made[-1].notes
    notes.append("CPU and wall are medians. Ratios: CPU time with one thread, least wall time with more.")
    worst = max((value for run in results["runs"] for value in run["agreement"].values()), default=0.0)
    notes.append(f"Largest difference between engines that compute the same: {worst:.1e} of the largest logit.")
    if results["left_out"]:
        notes.append(f"Left out, not installed: {', '.join(results['left_out'])} (pip install 'everyframe[bench]').")
    notes.append(one_line(results["machine"]))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["x3d_s", "x3d_m"], help="names of the zoo's X3D networks")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--seconds", type=float, default=30.0, help="of timing for each network and number of threads")
    parser.add_argument("--quick", action="store_true", help="5 seconds instead")
    parser.add_argument("-o", "--output", type=Path, default=networks.RESULTS / "x3d_step.json")
    args = parser.parse_args()
    left_out = [shown for package, shown in EXTRAS.items() if importlib.util.find_spec(package) is None]
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        left_out.append(NATIVE)
    results: dict[str, Any] = {
        "benchmark": "x3d_step", "machine": describe("openvino", "continual-inference", "torch"), "left_out": left_out,
        "runs": [],
    }  # fmt: skip
    for model in args.models:
        for threads in args.threads:
            run = measure(model, threads, 5.0 if args.quick else args.seconds, left_out)
            results["runs"].append(run)
            print(f"{model}, {threads} thread(s): {sum(row['calls'] for row in run['rows'])} calls", flush=True)
    networks.finish(tables(results), results, args.output)


if __name__ == "__main__":
    main()
