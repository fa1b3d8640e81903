"""The zoo's step networks on everyframe's engines beside OpenVINO, one network after another.

    python benchmarks/zoo_step.py                          one network a family, about 8 minutes
    python benchmarks/zoo_step.py --models r3d_18 --quick

Each network at its published clip shape with random weights. All engines must agree to 1e-4 on a few steps before anything is
timed. Times are milliseconds a step, CPU time with one thread. Writes benchmarks/results/zoo_step.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import networks
import numpy as np
from x3d_step import AGREEMENT, EveryframeStep

import everyframe
from everyframe import modelfile
from everyframe.benchmarking import Case, Table, describe, one_line, race
from everyframe.conversion import convert
from everyframe.errors import EngineError

ONE_A_FAMILY = (
    "x3d_s", "x3d_m", "slow_r50", "i3d_r50", "c2d_r50", "slowfast_r50_4x16", "r2plus1d_r50", "csn_r101", "r3d_18", "mc3_18",
    "r2plus1d_18", "c3d", "c3d_bn", "i3d", "tsm_resnet50", "tsm_mobilenet_v2_online", "squeezenet3d", "mobilenet3d_1.0x",
    "mobilenet3d_v2_1.0x", "shufflenet3d_1.0x", "shufflenet3d_v2_1.0x", "resnet3d_18", "early3d_mobilenet_1.0x",
)  # fmt: skip
STEPS_COMPARED = 4


def measure(model: str, threads: int, seconds: float, openvino: bool) -> dict[str, Any]:
    from peers import onnx_engines as peers

    entry = everyframe.models.describe(model)
    with tempfile.TemporaryDirectory() as folder:
        clip, step = Path(folder) / "clip.onnx", Path(folder) / "step.onnx"
        everyframe.export(model, clip, seed=networks.SEED)
        made = convert(modelfile.load(clip))  # verified by the tests, not here
        modelfile.save(made.step, step)
        engines: list[Any] = [EveryframeStep(step, threads)]
        try:
            engines.append(EveryframeStep(step, threads, engine="native"))
        except EngineError as error:
            print(f"{model}: {error.what}", flush=True)
        hop = made.metadata.hop
        frames = np.random.default_rng(1).standard_normal((hop, entry.preprocess.channels, *entry.size), np.float32)
        for peer in (peers.OpenVinoBound, peers.OpenVinoStateful) if openvino else ():
            try:
                peer(step, threads).step(frames)
            except RuntimeError as error:  # its own errors are nothing more
                print(f"{model}: {peer.name} cannot run it: {str(error).strip().splitlines()[-1]}", flush=True)
            else:
                engines.append(peer(step, threads))
    for _ in range(made.metadata.feature_delay // hop + STEPS_COMPARED):
        expected, *answers = [one.step(frames) for one in engines]
        for one, answer in zip(engines[1:], answers, strict=True):
            if expected is not None and np.abs(answer - expected).max() > AGREEMENT * np.abs(expected).max():
                raise SystemExit(f"{model}: {one.name} does not compute the same network")
    cases = [Case(one.name, lambda run=one.step: run(frames)) for one in engines]  # type: ignore[misc]
    rows = [{"engine": timing.name, **timing.figures()} for timing in race(cases, seconds)]
    return {"model": model, "hop": hop, "threads": threads, "rows": rows}


def tables(results: dict[str, Any]) -> list[Table]:
    threads = results["runs"][0]["threads"]
    basis = "cpu_ms" if threads == 1 else "wall_min_ms"
    made = Table(
        f"Steps of the zoo, {threads} thread{'s' * (threads > 1)}: ms a step",
        ["network", "frames a step", "onnxruntime", "OpenVINO", "native", "best other / native"],
    )
    for run in results["runs"]:
        times = {row["engine"]: row[basis] for row in run["rows"]}
        ort = times["step network, everyframe (ort)"]
        native = times.get("step network, everyframe (native)")
        other = min((time for name, time in times.items() if "OpenVINO" in name), default=None)
        best = min(time for time in (ort, other) if time is not None)
        made.rows.append(
            [
                run["model"],
                run["hop"],
                f"{ort:.2f}",
                f"{other:.2f}" if other else "",
                f"{native:.2f}" if native else "",
                f"{best / native:.2f}x" if native else "",
            ]
        )
    made.notes.append("OpenVINO: the better of states in bound buffers and make_stateful. Medians of CPU time with one thread.")
    made.notes.append(one_line(results["machine"]))
    return [made]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(ONE_A_FAMILY))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=8.0, help="of timing for each network")
    parser.add_argument("--quick", action="store_true", help="2 seconds instead")
    parser.add_argument("-o", "--output", type=Path, default=networks.RESULTS / "zoo_step.json")
    args = parser.parse_args()
    openvino = importlib.util.find_spec("openvino") is not None
    results: dict[str, Any] = {"benchmark": "zoo_step", "machine": describe("openvino", "torch"), "runs": []}
    for model in args.models:
        results["runs"].append(measure(model, args.threads, 2.0 if args.quick else args.seconds, openvino))
        print(f"{model}: {[(row['engine'][-20:], row['cpu_ms']) for row in results['runs'][-1]['rows']]}", flush=True)
    networks.finish(tables(results), results, args.output)


if __name__ == "__main__":
    main()
