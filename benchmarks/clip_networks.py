"""Whole clip networks, dense and pruned, on the native engine beside dense OpenVINO.

    python benchmarks/clip_networks.py                                about 12 minutes
    python benchmarks/clip_networks.py --models c3d --threads 1 --quick

Pruned networks have random weights with zeros in patterns, layer by layer as RT3D's published profiles say. Convolutions are
computed as with `everyframe compile`, by the tables of measured choices. The engines must agree to 1e-4 before anything is timed:
dense with OpenVINO, pruned with onnxruntime. Times are milliseconds a clip.
Writes benchmarks/results/clip_networks.json, after each network.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networks
import numpy as np
import onnx

import everyframe
from everyframe.benchmarking import Case, Table, describe, one_line, race, save
from everyframe.benchmarking.altered import pruned
from everyframe.native.build import link
from everyframe.native.generate import generate
from everyframe.native.library import Library, LibraryStream
from everyframe.native.target import target
from everyframe.native.tuned import ROUNDINGS, Tables
from everyframe.pruning.pattern import Pattern

PATTERNS = (Pattern("kgs", (16, 4)), Pattern("plane", (16, 1)))
AGREEMENT = 1e-4  # relative, L2
#: pruned share of the weights whose names match, by network and rate of its multiply-adds
PROFILES: dict[str, dict[str, dict[str, float]]] = {
    "c3d": {
        "2.53x": {r"conv2a|conv3b": 0.85, r"conv3a": 0.80},
        "3.57x": {r"conv2a|conv3b": 0.85, r"conv3a|conv4b": 0.80},
    },
    "r2plus1d_18": {
        "2.56x": {r"layer1\..*conv": 0.80, r"layer2\..*conv": 0.70},
        "3.20x": {r"layer1\..*conv": 0.90, r"layer2\..*conv": 0.80},
    },
    "r3d_18": {},
    "x3d_m": {},
}


def rates(model: onnx.ModelProto, profile: dict[str, float]) -> dict[str, float]:
    """Weight name -> how many times fewer of its weights stay."""
    names = [tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 5]
    return {name: 1 / (1 - share) for pattern, share in profile.items() for name in names if re.search(rf"(?:{pattern})", name)}


def random(pattern: Pattern) -> Callable[[tuple[int, ...], float, np.random.Generator], np.ndarray]:
    """Masks that leave 1 / rate of the pattern's units."""

    def mask(shape: tuple[int, ...], rate: float, rng: np.random.Generator) -> np.ndarray:
        return pattern.spread(pattern.keep(rng.random(pattern.units(shape)), 1 - 1 / rate), shape)

    return mask


def native(model: onnx.ModelProto, threads: int) -> tuple[LibraryStream, int]:
    """The compiled network and its multiply-adds."""
    tables = Tables.found()
    tables.rounding = ROUNDINGS["auto"][0]
    source, _, fitting = generate(model, (), target("native"), choose=tables)
    with tempfile.TemporaryDirectory() as folder:
        return Library(link(source, fitting, model, Path(folder) / "model.so")).start(threads), source.macs


def measure(name: str, threads: int, seconds: float) -> dict[str, Any]:
    from peers.onnx_engines import OpenVinoClip, ort_session

    path = networks.clip(name)
    entry, dense = everyframe.models.describe(name), onnx.load(path)
    clip = np.random.default_rng(1).standard_normal((1, 3, entry.frames, *entry.size), np.float32)
    peer = OpenVinoClip(path, threads)
    ours: dict[str, Any] = {}
    macs = {}
    variants: dict[str, onnx.ModelProto] = {"dense": dense}
    for profile, shares in PROFILES.get(name, {}).items():
        variants |= {f"{profile}, {pattern}": pruned(dense, rates(dense, shares), random(pattern)) for pattern in PATTERNS}
    for profile, model in variants.items():
        ours[profile], macs[profile] = native(model, threads)
        expected = peer.step(clip)
        if model is not dense:
            expected = ort_session(model.SerializeToString(), threads).run(None, {"clip": clip})[0]
        distance = float(np.linalg.norm(ours[profile].step(clip) - expected) / np.linalg.norm(expected))
        if not distance <= AGREEMENT:
            raise SystemExit(f"{name}, {profile}: the engines do not agree: {distance:.1e}")
    cases = [Case("OpenVINO, dense", lambda: peer.step(clip))]
    cases += [Case(f"native, {profile}", lambda run=one.step: run(clip)) for profile, one in ours.items()]  # type: ignore[misc]
    rows = {timing.name: timing.figures() for timing in race(cases, seconds)}
    return {"model": name, "threads": threads, "gmacs": {p: round(m / 1e9, 3) for p, m in macs.items()}, "rows": rows}


def tables(results: dict[str, Any]) -> list[Table]:
    made = Table(
        "Clip networks: ms a clip",
        ["network", "threads", "weights", "multiply-adds, G", "dense OpenVINO", "native", "speed-up"],
    )
    for run in results["runs"]:
        basis = "cpu_ms" if run["threads"] == 1 else "wall_min_ms"
        dense = run["rows"]["OpenVINO, dense"][basis]
        for profile, gmacs in run["gmacs"].items():
            ms = run["rows"][f"native, {profile}"][basis]
            made.rows.append(
                [run["model"], run["threads"], profile, f"{gmacs:.2f}", f"{dense:.1f}", f"{ms:.1f}", f"{dense / ms:.2f}x"]
            )
    made.notes.append("Medians of CPU time with one thread, least wall time with two. Pruned networks beside dense OpenVINO.")
    made.notes.append("Multiply-adds without the weights that are zero.")
    made.notes.append(one_line(results["machine"]))
    return [made]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(PROFILES))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--seconds", type=float, default=40.0, help="of timing for each network and number of threads")
    parser.add_argument("--quick", action="store_true", help="the least that makes a median")
    parser.add_argument("-o", "--output", type=Path, default=networks.RESULTS / "clip_networks.json")
    args = parser.parse_args()
    results: dict[str, Any] = {"benchmark": "clip_networks", "machine": describe("openvino"), "runs": []}
    for name in args.models:
        for threads in args.threads:
            run = measure(name, threads, 1.0 if args.quick else args.seconds)
            results["runs"].append(run)
            save(args.output, results)
            print(f"{name}, {threads}: { {n: (r['cpu_ms'], r['wall_min_ms']) for n, r in run['rows'].items()} }", flush=True)
    networks.finish(tables(results), results, args.output)


if __name__ == "__main__":
    main()
