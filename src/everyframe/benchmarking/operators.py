"""What each layer of a network takes on each engine, by the engine's own clock, under the names of the network's layers.

An engine may compute a layer in several parts, or several layers in one: what it runs is counted for the layer that it names.
"""

from __future__ import annotations

import ctypes
import json
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from everyframe.benchmarking.subject import given
from everyframe.conversion.account import layer_of, state_layer
from everyframe.errors import EngineError, install_extra
from everyframe.modelfile.file import load, metadata_of
from everyframe.modelfile.ort import create
from everyframe.modelfile.states import first_states
from everyframe.native.artifact import is_library
from everyframe.native.build import link
from everyframe.native.generate import generate
from everyframe.native.library import Library
from everyframe.native.target import target
from everyframe.native.text import Work

#: what an engine adds between layers: other orders of memory, copies
BETWEEN = "(between layers)"


@dataclass
class Layer:
    """ms: of a step or clip, the least of many. kernel: how the engine calls what it runs; several are joined by +. macs, bytes:
    multiply-adds, and weights that are read, where the engine tells.
    """

    name: str
    kernel: str
    ms: float
    calls: int = 1
    macs: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Operators:
    """layers: in the order in which they run."""

    model: str
    engine: str
    threads: int
    layers: list[Layer]

    @property
    def total(self) -> float:
        return sum(layer.ms for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "layers": [vars(layer) for layer in self.layers]}


def operators(path: Path, engine: str, threads: int = 1, steps: int = 20) -> Operators:
    """Runs a model for some steps, profiled. Raises EngineError for an engine that tells nothing, and what loading raises."""
    if engine not in _ENGINES:
        raise EngineError("This engine does not tell what its layers take.", expected=", ".join(_ENGINES), got=engine)
    if is_library(path):
        raise EngineError("The layers of a compiled model are not told:", got="give the .onnx that it was made of")
    model = load(path)
    known = _names(model, path)
    found: dict[str, Layer] = {}
    for one in _ENGINES[engine](model, path, threads, steps):
        layer = found.setdefault(name := _layer(one.name, known), Layer(name, one.kernel, 0.0, 0))
        layer.ms, layer.calls = layer.ms + one.ms, layer.calls + one.calls
        layer.macs, layer.bytes = layer.macs + one.macs, max(layer.bytes, one.bytes)
        layer.kernel = "+".join(dict.fromkeys(filter(None, [*layer.kernel.split("+"), one.kernel])))
    return Operators(path.name, engine, threads, [layer for layer in found.values() if layer.ms])


def _names(model: onnx.ModelProto, path: Path) -> dict[str, str]:
    """Nodes and tensors -> the layer of the clip network that they belong to; a state is its layer's."""
    metadata, found = metadata_of(model, path), dict[str, str]()
    states = {name: state_layer(spec) for spec in (metadata.states if metadata else ()) for name in (spec.input, spec.output)}
    for node in model.graph.node:
        layer = layer_of(node.name or node.output[0])
        found |= dict.fromkeys([node.name, *node.output], states.get(layer, layer))
    return found


def _layer(name: str, known: dict[str, str]) -> str:
    """Engines put words of their own behind a name, and names behind each other."""
    if name in known:
        return known[name]
    for end in range(len(name) - 1, 0, -1):
        if not name[end].isalnum() and name[:end] in known:
            return known[name[:end]]
    return BETWEEN


def _onnxruntime(model: onnx.ModelProto, path: Path, threads: int, steps: int) -> Iterable[Layer]:
    with tempfile.TemporaryDirectory(prefix="everyframe-") as folder:
        session = create(model, threads=threads, profile_to=Path(folder) / "profile")
        fed = _fed(model, path)
        for _ in range(steps):
            session.run(None, fed)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times: dict[str, list[float]] = {}
    kinds: dict[str, str] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time")
            times.setdefault(name, []).append(event["dur"] / 1e3)
            kinds[name] = event["args"]["op_name"]
    return [Layer(name, kinds[name], min(spent)) for name, spent in times.items()]


def _openvino(model: onnx.ModelProto, path: Path, threads: int, steps: int) -> Iterable[Layer]:
    try:
        import openvino
    except ImportError as error:
        raise EngineError("The engine openvino is not installed.", got=str(error), hint=install_extra("openvino")) from None
    settings = {
        "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": "1", "PERF_COUNT": True, "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }  # fmt: skip
    try:
        core = openvino.Core()
        request = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings).create_infer_request()
        fed, least = _fed(model, path), dict[tuple[str, str], float]()
        for _ in range(steps):
            request.infer(fed, share_inputs=True)
            for info in request.profiling_info:
                key = (info.node_name, info.exec_type)
                least[key] = min(least.get(key, np.inf), info.real_time.total_seconds() * 1e3)
    except RuntimeError as error:
        raise EngineError("OpenVINO cannot run the model.", where=path, got=str(error).splitlines()[0]) from None
    # what is only laid out otherwise has no kernel
    return [Layer(name, kind.replace("undef", "").removeprefix("unknown_f32"), ms) for (name, kind), ms in least.items()]


def _native(model: onnx.ModelProto, path: Path, threads: int, steps: int) -> Iterable[Layer]:
    return [
        Layer(work.label, work.kernel, us / 1e3, 1, work.macs, work.bytes) for work, us in kernels(model, path, threads, steps)
    ]  # fmt: skip


def kernels(model: onnx.ModelProto, path: Path, threads: int, steps: int, cpu: str = "native") -> list[tuple[Work, float]]:
    """Every call of a kernel of generated code and its least microseconds: processor time of one thread, else of the clock."""
    metadata = metadata_of(model, path)
    source, _, fitting = generate(model, metadata.states if metadata else (), target(cpu), where=path.name)
    with tempfile.TemporaryDirectory(prefix="everyframe-") as folder:
        library = Library(link(source, fitting, model, Path(folder) / "model.so", (clock(threads),)))
    stream = library.start(threads)
    times = (ctypes.c_int64 * len(source.work)).in_dll(library.code, "ef_profile")
    frames = np.random.default_rng(0).standard_normal(library.input_shape, np.float32)
    least = np.full(len(source.work), np.inf)
    for _ in range(steps):
        stream.step(frames)
        least = np.minimum(least, np.ctypeslib.as_array(times))
    stream.close()
    return [(work, float(ns) / 1e3) for work, ns in zip(source.work, least, strict=True)]


def clock(threads: int) -> str:
    """The compiler's flag for profiles."""
    return f"-DEF_PROFILE={'CLOCK_THREAD_CPUTIME_ID' if threads == 1 else 'CLOCK_MONOTONIC'}"


def _fed(model: onnx.ModelProto, path: Path) -> dict[str, np.ndarray]:
    """Noise for what goes in, and states as they are in the beginning."""
    metadata = metadata_of(model, path)
    states = first_states(metadata.states if metadata else ())
    return states | given(model, path, without=states)


_ENGINES: dict[str, Callable[[onnx.ModelProto, Path, int, int], Iterable[Layer]]] = {
    "ort": _onnxruntime, "native": _native, "openvino": _openvino,
}  # fmt: skip
