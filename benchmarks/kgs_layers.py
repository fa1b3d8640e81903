"""Single convolutions with kernel-group sparsity: what zeros save, beside the best dense engine.

    python benchmarks/kgs_layers.py                          about a quarter of an hour
    python benchmarks/kgs_layers.py --layers c3d.4b --quick

Every layer is a network of one convolution. Only the convolution counts: OpenVINO's and our own profilers leave out what brings
data into an engine's layout; onnxruntime's convolution takes them as they come. The figure is the speed-up over the fastest dense
peer, divided by the pruning rate: 1 means that no time is lost to sparsity. The engines must agree before anything is timed.
Writes benchmarks/results/kgs_layers.json, after each layer.
"""

from __future__ import annotations

import argparse
import ctypes
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import networks
import numpy as np
import onnx
from machine_limits import limits
from onnx import TensorProto, helper, numpy_helper

from everyframe.benchmarking import Table, describe, one_line, save
from everyframe.benchmarking.altered import kept
from everyframe.benchmarking.operators import clock
from everyframe.native.build import link
from everyframe.native.generate import generate
from everyframe.native.library import Library
from everyframe.native.target import target


@dataclass(frozen=True)
class Conv:
    """kernel (k, H, W) with `same` padding; T frames of size x size."""

    name: str
    cin: int
    cout: int
    kernel: tuple[int, int, int]
    frames: int
    size: int


LAYERS = (
    Conv("c3d.2a", 64, 128, (3, 3, 3), 16, 56),
    Conv("c3d.3b", 256, 256, (3, 3, 3), 8, 28),
    Conv("c3d.4b", 512, 512, (3, 3, 3), 4, 14),
    Conv("c3d.5a", 512, 512, (3, 3, 3), 2, 7),
    Conv("r3d.layer1", 64, 64, (3, 3, 3), 16, 56),
    Conv("r3d.layer3", 256, 256, (3, 3, 3), 4, 14),
    Conv("r2plus1d.layer1, in space", 64, 144, (1, 3, 3), 16, 56),
    Conv("r2plus1d.layer1, in time", 144, 64, (3, 1, 1), 16, 56),
    Conv("r2plus1d.layer3, in space", 256, 576, (1, 3, 3), 4, 14),
    Conv("r2plus1d.layer3, in time", 576, 256, (3, 1, 1), 4, 14),
    Conv("r2plus1d.layer4, in space", 512, 1152, (1, 3, 3), 2, 7),
    Conv("x3d.res4, expansion", 96, 216, (1, 1, 1), 16, 14),
)
RATES = (1.0, 2.0, 3.0, 4.0, 8.0)
#: group sizes beside 16 x 4, at one rate
OTHERS = (("16 x 1", (16, 1), False), ("8 x 4", (8, 4), False), ("4 x 4", (4, 4), False), ("16 x 4, whole groups", (16, 4), True))
OTHER_RATE = 3.0
AGREEMENT = 1e-5


#: nodes of OpenVINO that only bring data into another layout
MOVES = ("Reorder", "Reshape", "Parameter", "Result", "Convert", "Transpose")


def clock_of(threads: int) -> Callable[[], float]:
    return time.process_time if threads == 1 else time.perf_counter


def network(layer: Conv, mask: np.ndarray | None = None) -> onnx.ModelProto:
    """One convolution of a clip, zeros where the mask says so."""
    weight = np.random.default_rng(0).standard_normal((layer.cout, layer.cin, *layer.kernel)).astype(np.float32)
    weight *= 1 if mask is None else mask
    pads = [k // 2 for k in layer.kernel] * 2
    shape = (1, layer.cin, layer.frames, layer.size, layer.size)
    node = helper.make_node("Conv", ["clip", "weight"], ["logits"], name="conv", kernel_shape=layer.kernel, pads=pads)
    graph = helper.make_graph(
        [node], "layer", [helper.make_tensor_value_info("clip", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, layer.cout, *shape[2:]))],
        [numpy_helper.from_array(weight, "weight")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


class Native:
    """Milliseconds in the convolution's calls of one run, transforms included; `macs` really done."""

    def __init__(self, model: onnx.ModelProto, threads: int) -> None:
        source, _, fitting = generate(model, (), target("native"), where="layer")
        with tempfile.TemporaryDirectory() as folder:
            self.library = Library(link(source, fitting, model, Path(folder) / "model.so", (clock(threads),)))
        self.stream = self.library.start(threads)
        self.convs = [i for i, work in enumerate(source.work) if work.kernel in ("conv", "tile", "untile")]
        self.macs = sum(source.work[i].macs for i in self.convs)
        times = (ctypes.c_int64 * len(source.work)).in_dll(self.library.code, "ef_profile")
        self.times = np.frombuffer(times, np.int64)

    def answer(self, clip: np.ndarray) -> np.ndarray:
        return self.stream.step(clip)

    def __call__(self, clip: np.ndarray) -> float:
        self.stream.step(clip)
        return float(self.times[self.convs].sum()) / 1e6


class OpenVino:
    """With one thread: its CPU time, shared out by the clock that its profiler uses."""

    def __init__(self, model: onnx.ModelProto, threads: int) -> None:
        import openvino
        from peers.onnx_engines import openvino_settings

        core = openvino.Core()
        settings = {**openvino_settings(threads), "PERF_COUNT": True}
        self.clock = clock_of(threads)
        self.request = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings).create_infer_request()

    def answer(self, clip: np.ndarray) -> np.ndarray:
        return self.request.infer([clip], share_inputs=True)[0]

    def __call__(self, clip: np.ndarray) -> float:
        begun = self.clock()
        self.request.infer([clip], share_inputs=True, share_outputs=True)
        whole = self.clock() - begun
        nodes = [(i.node_type, i.real_time.total_seconds()) for i in self.request.profiling_info]
        convs, both = sum(t for kind, t in nodes if kind not in MOVES), sum(t for _, t in nodes)
        return 1e3 * (whole * convs / both if self.clock is time.process_time else convs)


class Ort:
    def __init__(self, model: onnx.ModelProto, threads: int) -> None:
        from peers.onnx_engines import ort_session

        self.clock = clock_of(threads)
        self.session = ort_session(model.SerializeToString(), threads)

    def answer(self, clip: np.ndarray) -> np.ndarray:
        return self.session.run(None, {"clip": clip})[0]

    def __call__(self, clip: np.ndarray) -> float:
        begun = self.clock()
        self.answer(clip)
        return (self.clock() - begun) * 1e3


def interleaved(engines: dict[str, Callable[[np.ndarray], float]], clip: np.ndarray, seconds: float) -> dict[str, list[float]]:
    """Milliseconds of every run; the first of a turn brings back the caches and does not count."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds or len(next(iter(times.values()))) < 6:
        for name, run in engines.items():
            run(clip)
            times[name] += [run(clip), run(clip)]
    return times


def measure(layer: Conv, threads: int, seconds: float, rates: list[float], others: bool) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    shape = (layer.cout, layer.cin, *layer.kernel)
    cases = [("16 x 4", rate, kept(shape, (16, 4), rate, rng)) for rate in rates]
    if others:
        cases += [(name, OTHER_RATE, kept(shape, group, OTHER_RATE, rng, whole)) for name, group, whole in OTHERS]
    dense = network(layer)
    peers: dict[str, Any] = {"OpenVINO": OpenVino(dense, threads), "onnxruntime": Ort(dense, threads)}
    clip = rng.standard_normal((1, layer.cin, layer.frames, layer.size, layer.size), np.float32)
    ours = {}
    for name, rate, mask in cases:
        model = network(layer, mask)
        ours[f"{name} / {rate:g}"] = Native(model, threads)
        wanted, got = (one.answer(clip).ravel() for one in (Ort(model, threads), ours[f"{name} / {rate:g}"]))
        if not np.linalg.norm(wanted - got) <= AGREEMENT * np.linalg.norm(wanted):
            raise SystemExit(f"{layer.name}, {name} at {rate:g}x: the engines do not agree")
    times = interleaved({**peers, **ours}, clip, seconds)
    machine = limits(threads)
    figure = (lambda t: median(t)) if threads == 1 else (lambda t: float(np.percentile(t, 15)))
    dense_ms = {name: figure(times[name]) for name in peers}
    rows = []
    for (name, rate, mask), native in zip(cases, ours.values(), strict=True):
        ms = figure(times[f"{name} / {rate:g}"])
        true_rate = mask.size / int(mask.sum())
        rows.append(
            {
                "layer": layer.name, "groups": name, "rate": round(true_rate, 3), "threads": threads, "peers_ms": dense_ms,
                "ms": ms,
                "gflops": 2e-6 * native.macs / ms, "peak": machine.gflops,
                "floor_ms": max(2e-6 * native.macs / machine.gflops, 4e-6 * int(mask.sum()) / machine.gbytes),
                "speedup": min(dense_ms.values()) / ms, "of_rate": min(dense_ms.values()) / ms / true_rate,
            }
        )  # fmt: skip
    return rows


def tables(results: dict[str, Any]) -> list[Table]:
    rows = results["rows"]
    threads = rows[0]["threads"]
    made = Table(
        f"Layers with kernel groups of 16 x 4, {threads} thread{'s' * (threads > 1)}: speed-up over the best dense peer / rate",
        ["layer", "dense OpenVINO ms", "onnxruntime ms", *(f"{r:g}x" for r in RATES), "3x: ms", "floor ms", "GFLOP/s", "of peak"],
    )
    others = Table(f"Other groups at {OTHER_RATE:g}x: the same ratio", ["layer", *(name for name, _, _ in OTHERS)])
    for layer in dict.fromkeys(row["layer"] for row in rows):
        mine = [row for row in rows if row["layer"] == layer]
        by_rate = {min(RATES, key=lambda r: abs(r - row["rate"])): row for row in mine if row["groups"] == "16 x 4"}
        shown = by_rate.get(OTHER_RATE) or next(iter(by_rate.values()))
        made.rows.append(
            [layer, *(f"{shown['peers_ms'][n]:.2f}" for n in ("OpenVINO", "onnxruntime")),
             *(f"{by_rate[r]['of_rate']:.2f}" if r in by_rate else "" for r in RATES),
             f"{shown['ms']:.2f}", f"{shown['floor_ms']:.2f}", f"{shown['gflops']:.0f}", f"{shown['gflops'] / shown['peak']:.0%}"]
        )  # fmt: skip
        by_group = {row["groups"]: f"{row['of_rate']:.2f}" for row in mine}
        if len(by_group) > 1:
            others.rows.append([layer, *(by_group[name] for name, _, _ in OTHERS)])
    made.notes.append(
        "Floor: the multiply-adds that are left at the peak rate, or the weights at the rate of memory. Padding, which is "
        "skipped, counts as work, so a small picture can pass floor and peak."
    )
    last = others if others.rows else made
    last.notes.append(one_line(results["machine"]))
    return [made, others] if others.rows else [made]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", nargs="+", default=[layer.name for layer in LAYERS])
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES))
    parser.add_argument("--others", action=argparse.BooleanOptionalAction, default=True, help="groups of other sizes too")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=12.0, help="of timing for each layer")
    parser.add_argument("--quick", action="store_true", help="2 seconds, 3x only, no other groups")
    parser.add_argument("-o", "--output", type=Path, default=networks.RESULTS / "kgs_layers.json")
    args = parser.parse_args()
    results: dict[str, Any] = {"benchmark": "kgs_layers", "machine": describe("openvino"), "rows": []}
    for layer in LAYERS:
        if layer.name not in args.layers:
            continue
        rates = [OTHER_RATE] if args.quick else args.rates
        made = measure(layer, args.threads, 2.0 if args.quick else args.seconds, rates, args.others and not args.quick)
        results["rows"] += made
        save(args.output, results)
        shown = ", ".join(f"{row['groups']} {row['rate']:.1f}x {row['of_rate']:.2f} ({row['gflops']:.0f})" for row in made)
        print(f"{layer.name}: {', '.join(f'{n} {t:.2f}' for n, t in made[0]['peers_ms'].items())}; {shown}", flush=True)
    networks.finish(tables(results), results, args.output)


if __name__ == "__main__":
    main()
