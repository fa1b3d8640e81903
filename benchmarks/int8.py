"""Quantized networks: native code beside OpenVINO and onnxruntime on the same file, and the float network.

    python benchmarks/int8.py                                all of them, about 20 minutes, most of it quantizing
    python benchmarks/int8.py --models tsm_mobilenet_v2 --quick

onnxruntime's static quantizer (QDQ, per channel, 8 bits) writes the files, calibrated with noise: speed does not depend on it.
"KGS" is C3D with kernel groups of 16 x 4 zeroed at the published rates of the 3.57x profile. Times are milliseconds a clip or a
step, CPU time with one thread. Writes benchmarks/results/int8.json.
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networks
import numpy as np
import onnx

import everyframe
from everyframe import modelfile
from everyframe.benchmarking import Case, Table, describe, one_line, race
from everyframe.modelfile.session import session
from everyframe.native.store import library
from everyframe.native.target import target

#: largest difference between engines of one quantized file, relative to the answer: roundings differ and add up
AGREEMENT = 0.2
STEPS, KEPT = 24, 3  # of the calibration of a step network


@dataclass(frozen=True)
class Network:
    name: str
    model: str
    form: str = "clip"
    rates: tuple[tuple[str, float], ...] = ()  # share of the kernel groups that are zero, by part of the weight's name


NETWORKS = {
    network.name: network
    for network in (
        Network("c3d", "c3d"),
        Network("c3d, KGS 3.57x", "c3d", rates=(("conv2a", 0.85), ("conv3a", 0.80), ("conv3b", 0.85), ("conv4b", 0.80))),
        Network("r3d_18", "r3d_18"),
        Network("tsm_mobilenet_v2", "tsm_mobilenet_v2", "step"),
        Network("x3d_s", "x3d_s", "step"),
    )
}


class Noise:
    """Calibration data: noise; for a step network the last steps of a stream of noise, states and all."""

    def __init__(self, model: onnx.ModelProto) -> None:
        metadata = modelfile.metadata_of(model)
        states = metadata.states if metadata else ()
        rng, held = np.random.default_rng(0), {spec.input: np.full(spec.shape, spec.fill, spec.dtype) for spec in states}
        frames = next(value for value in model.graph.input if value.name not in held)
        shape = [dim.dim_value for dim in frames.type.tensor_type.shape.dim]
        runtime = session(model) if states else None
        self.rest: list[dict[str, np.ndarray]] = []
        for _ in range(STEPS if states else 1):
            self.rest.append({frames.name: rng.standard_normal(shape, np.float32), **held})
            if runtime:
                found = runtime.run([spec.output for spec in states], self.rest[-1])
                held = {spec.input: np.asarray(value) for spec, value in zip(states, found, strict=True)}
        self.rest = self.rest[-KEPT:]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self.rest.pop() if self.rest else None


def files(network: Network) -> tuple[Path, Path]:
    """(float, quantized) model files, made once."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    clip, step = (
        networks.clip_and_step(network.model) if network.form == "step" else (networks.CACHE / f"{network.model}.onnx",) * 2
    )
    key = hashlib.sha256(repr(network).encode()).hexdigest()[:8]
    plain, quantized = (clip.parent / f"{network.model}.{key}.{kind}.onnx" for kind in ("float", "int8"))
    if not quantized.exists():
        plain.parent.mkdir(parents=True, exist_ok=True)
        if network.form == "clip":
            everyframe.export(network.model, plain, seed=networks.SEED)
        model = onnx.load(step if network.form == "step" else plain)
        prune(model, network.rates)
        onnx.save(model, plain)
        quantize_static(plain, quantized, Noise(model), quant_format=QuantFormat.QDQ, per_channel=True,
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)  # fmt: skip
    return plain, quantized


def prune(model: onnx.ModelProto, rates: tuple[tuple[str, float], ...]) -> None:
    """Zeros groups of 16 output and 4 input channels at single kernel places, as kernel-group sparsity does."""
    rng = np.random.default_rng(1)
    for tensor in model.graph.initializer:
        rate = next((rate for part, rate in rates if part in tensor.name and len(tensor.dims) == 5), 0.0)
        if rate:
            weight = onnx.numpy_helper.to_array(tensor)
            keep = rng.random((weight.shape[0] // 16, weight.shape[1] // 4, *weight.shape[2:])) >= rate
            weight = weight * keep.repeat(16, 0).repeat(4, 1).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(weight, tensor.name))


class Native:
    def __init__(self, path: Path, threads: int, name: str) -> None:
        model = modelfile.load(path)
        metadata = modelfile.metadata_of(model, path)
        self.library = library(model, metadata.states, target("native"), path.name, print)  # type: ignore[union-attr]
        self.name, self.stream = name, self.library.start(threads)

    def step(self, frames: np.ndarray) -> np.ndarray:
        return self.stream.step(frames)


def peers(path: Path, form: str, threads: int) -> list[Any]:
    from peers import onnx_engines as engines

    kinds = {
        "clip": (engines.OpenVinoClip, engines.OrtClip),
        "step": (engines.OpenVinoSwapped, engines.OpenVinoStateful, engines.OrtHostLoop),
    }
    made = []
    for kind in kinds[form]:
        try:
            made.append(kind(path, threads))
        except RuntimeError as error:
            print(f"{path.name}: {kind.name} cannot load it: {str(error).strip().splitlines()[-1]}", flush=True)
    return made


def measure(network: Network, threads: int, seconds: float) -> dict[str, Any]:
    plain, quantized = files(network)
    engines = [
        Native(quantized, threads, "native, int8"),
        Native(plain, threads, "native, float"),
        *peers(quantized, network.form, threads),
    ]
    frames = np.random.default_rng(1).standard_normal(engines[0].library.input_shape, np.float32)
    for _ in range(1 if network.form == "clip" else 20):
        answers = {one.name: one.step(frames).ravel() for one in engines}
    wanted, differences = answers["native, int8"], {}
    for name, answer in answers.items():
        differences[name] = float(f"{np.linalg.norm(answer - wanted) / max(np.linalg.norm(wanted), 1e-9):.1e}")
        if name != "native, float" and not differences[name] <= AGREEMENT:
            print(f"{network.name}: {name} differs by {differences[name]}", flush=True)
    cases = [Case(one.name, lambda run=one.step: run(frames)) for one in engines]  # type: ignore[misc]
    rows = [{"engine": timing.name, **timing.figures()} for timing in race(cases, seconds)]
    return {"network": network.name, "form": network.form, "threads": threads, "differences": differences, "rows": rows}


def tables(results: dict[str, Any]) -> list[Table]:
    threads = results["runs"][0]["threads"]
    basis = "cpu_ms" if threads == 1 else "wall_min_ms"
    made = Table(
        f"Quantized networks, {threads} thread{'s' * (threads > 1)}: ms a clip or step",
        ["network", "", "native, float", "onnxruntime int8", "OpenVINO int8", "native int8", "OpenVINO / native"],
    )
    dense: dict[str, float] = {}
    for run in results["runs"]:
        times = {row["engine"]: row[basis] for row in run["rows"]}
        openvino = min((time for name, time in times.items() if "OpenVINO" in name), default=None)
        ort = min(time for name, time in times.items() if "onnxruntime" in name)
        native = times["native, int8"]
        if openvino:
            dense.setdefault(run["network"].split(",")[0], openvino)
        shown = [f"{time:.2f}" if time else "" for time in (times["native, float"], ort, openvino, native)]
        ratio = dense.get(run["network"].split(",")[0])
        made.rows.append([run["network"], run["form"], *shown, f"{ratio / native:.2f}x" if ratio else ""])
    made.notes.append(
        "One QDQ file for all int8 engines. The last column compares with the dense network where zeros make a network smaller. "
        "OpenVINO's steps: the better of states in two buffers and make_stateful."
    )
    made.notes.append(one_line(results["machine"]))
    return [made]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(NETWORKS), choices=list(NETWORKS), metavar="NAME")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=12.0, help="of timing for each network")
    parser.add_argument("--quick", action="store_true", help="3 seconds instead")
    parser.add_argument("-o", "--output", type=Path, default=networks.RESULTS / "int8.json")
    args = parser.parse_args()
    results: dict[str, Any] = {"benchmark": "int8", "machine": describe("openvino", "torch"), "runs": []}
    for name in args.models:
        results["runs"].append(measure(NETWORKS[name], args.threads, 3.0 if args.quick else args.seconds))
        run = results["runs"][-1]
        print(f"{name}: {[(row['engine'], row['cpu_ms']) for row in run['rows']]} {run['differences']}", flush=True)
    networks.finish(tables(results), results, args.output)


if __name__ == "__main__":
    main()
