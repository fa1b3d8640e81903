"""Networks of the other tasks on every engine: objects in scans, and pictures that become larger.

    python benchmarks/tasks.py                             about 2 minutes
    python benchmarks/tasks.py --networks detector --quick

Each network is the one of its recipe with random weights, exported as a training exports it: a detector sees a rendered street,
the others noise. All engines must agree to 1e-4 before anything is timed. Times are milliseconds a scan or picture, CPU time with
one thread. Writes benchmarks/results/tasks.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import numpy as np

from everyframe import modelfile
from everyframe.benchmarking import Case, Table, describe, one_line, race
from everyframe.modelfile.interface import interface, metadata_or_raise
from everyframe.runtime import engine as engines
from everyframe.runtime.states import plan

AGREEMENT = 1e-4  # relative, L2
ENGINES = ("ort", "openvino", "native")


Maker = Callable[[Path], tuple[Path, np.ndarray]]


def detector(**settings: Any) -> Maker:
    """Exports a network of the recipe to a folder: (model file, what it is shown), one scan."""

    def made(folder: Path) -> tuple[Path, np.ndarray]:
        import torch

        from everyframe.recipes.detection import ModelSection
        from everyframe.rendering.lidar.sensor import Lidar, scan
        from everyframe.rendering.lidar.street import street
        from everyframe.tasks.detection.export import export
        from everyframe.tasks.detection.network import Network
        from everyframe.tasks.detection.pillars import group

        torch.manual_seed(networks.SEED)
        chosen, rng = ModelSection(**settings), np.random.default_rng(1)
        points = scan(street(rng), Lidar(), rng).points
        return export(Network(chosen, 3), ("Car", "Pedestrian", "Cyclist"), folder), group(points, chosen.grid)[None]

    return made


def enlarging(**settings: Any) -> Maker:
    """The same of a network that enlarges pictures."""

    def made(folder: Path) -> tuple[Path, np.ndarray]:
        import torch

        from everyframe.recipes.super_resolution import ModelSection
        from everyframe.tasks.super_resolution.export import export
        from everyframe.tasks.super_resolution.network import Network

        torch.manual_seed(networks.SEED)
        chosen = ModelSection(**settings)
        net = Network(chosen)
        net.last.narrow.data.normal_()  # it begins at zero, and generated code leaves zeros out
        return export(net, folder), np.random.default_rng(1).random((1, 1, *chosen.size), np.float32)

    return made


_720P: dict[str, Any] = {"scale": 2, "size": (360, 640)}
NETWORKS: dict[str, Maker] = {
    "detector": detector(),
    "detector, half the channels": detector(features=12, widths=(16, 32, 48), neck=16, head=24),
    "super-resolution x2, 16 channels, 3 deep": enlarging(**_720P, depth=3),
    "the same, last = 2": enlarging(**_720P, depth=3, last=2),
    "super-resolution x2, 8 channels, 5 deep": enlarging(**_720P, channels=8),
    "super-resolution x2, separable": enlarging(**_720P, blocks=("separable3",) * 5),
    "super-resolution x3, 16 channels, 5 deep": enlarging(scale=3),
    "super-resolution x4, 16 channels, 5 deep": enlarging(scale=4),
}


class Engine:
    def __init__(self, name: str, path: Path, threads: int) -> None:
        model = modelfile.load(path)
        metadata = metadata_or_raise(model, path)
        found = interface(model, metadata, path)
        job = engines.Job(model, str(path), found.frames, found.logits, plan(metadata.states, path), threads)
        self.name, self.step = name, engines.load(name, job).start().step


def measure(network: str, threads: int, seconds: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path, shown = NETWORKS[network](Path(folder))
        names = [name for name in ENGINES if name != "openvino" or importlib.util.find_spec("openvino")]
        runs = [Engine(name, path, threads) for name in names]
    wanted, *answers = [one.step(shown).copy() for one in runs]
    distances = [float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted)) for got in answers]
    if not max(distances, default=0.0) <= AGREEMENT:
        raise SystemExit(f"{network}: the engines do not agree: {distances}")
    cases = [Case(one.name, lambda run=one.step: run(shown)) for one in runs]  # type: ignore[misc]
    rows = {timing.name: timing.figures() for timing in race(cases, seconds)}
    facts = {"network": network, "shape": list(shown.shape), "threads": threads}
    return {**facts, "distance": max(distances, default=0.0), "rows": rows}


def tables(results: dict[str, Any]) -> list[Table]:
    made = Table(
        "Networks of other tasks: ms a scan or picture",
        ["network", "input", "threads", "onnxruntime", "OpenVINO", "native", "best other / native"],
    )
    for run in results["runs"]:
        basis = "cpu_ms" if run["threads"] == 1 else "wall_min_ms"
        times = {name: row[basis] for name, row in run["rows"].items()}
        native = times.pop("native")
        shown = [f"{times[name]:.2f}" if name in times else "" for name in ("ort", "openvino")]
        size = " x ".join(str(n) for n in run["shape"][1:] if n > 1)
        made.rows.append([run["network"], size, run["threads"], *shown, f"{native:.2f}", f"{min(times.values()) / native:.2f}x"])
    made.notes.append("Medians of CPU time with one thread, least wall time with more.")
    made.notes.append(one_line(results["machine"]))
    return [made]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--seconds", type=float, default=15.0, help="of timing for each network and number of threads")
    parser.add_argument("--quick", action="store_true", help="2 seconds instead")
    parser.add_argument("-o", "--output", type=Path, default=networks.RESULTS / "tasks.json")
    args = parser.parse_args()
    results: dict[str, Any] = {"benchmark": "tasks", "machine": describe("openvino", "torch"), "runs": []}
    for name in args.networks:
        for threads in args.threads:
            run = measure(name, threads, 2.0 if args.quick else args.seconds)
            results["runs"].append(run)
            print(f"{name}, {threads}: { {n: row['cpu_ms'] for n, row in run['rows'].items()} }", flush=True)
    networks.finish(tables(results), results, args.output)


if __name__ == "__main__":
    main()
