"""A model on an engine, ready to be called: how long it took to get there, and what a call is."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import onnx

from everyframe import peers
from everyframe.errors import ModelError
from everyframe.modelfile.file import load, metadata_of
from everyframe.modelfile.manifest import is_split
from everyframe.modelfile.noise import noise
from everyframe.native import artifact
from everyframe.native.store import place
from everyframe.native.target import target
from everyframe.runtime import engine as engines
from everyframe.runtime.program import BUILTIN, Program
from everyframe.runtime.states import StatePlan

Loaded = TypeVar("Loaded")

#: steps that a stream has been full for when answers are compared
SETTLED = 2
DTYPES = {onnx.TensorProto.FLOAT: np.float32, onnx.TensorProto.UINT8: np.uint8}


@dataclass(frozen=True)
class Subject:
    """start: a new stream; each call of what it gives is one step, or one clip. kind: `step`, `clip`, or `network` for a file
    that says nothing of itself. frames: of a call. rate: frames a second that it wants, 0 where it does not say. load_ms: from
    the file to weights in memory, without compiling, which took compile_ms (None: nothing was compiled now). weights, state:
    bytes, of one stream. answer: its logits for frames that are the same for all of its kind (None: bytes go in); of a step
    network, once its window is full.
    """

    kind: str
    engine: str
    reason: str
    frames: int
    rate: float
    load_ms: float
    compile_ms: float | None
    weights: int
    state: int
    start: Callable[[], Callable[[], object]]
    answer: Callable[[], np.ndarray | None]

    def facts(self) -> dict[str, Any]:
        """All but what it does."""
        return {name: value for name, value in vars(self).items() if name not in ("start", "answer")}


def prepare(path: str, engine: str, threads: int) -> Subject:
    """path: as `everyframe predict` takes it, or any ONNX file. Raises ModelError, EngineError, UsageError."""
    path = str(BUILTIN) if path == "builtin" else path
    if engine in peers.PEERS:
        return _peer(path, engine, threads)
    model = None if is_split(path) or artifact.is_library(path) else load(path)
    if model is not None and metadata_of(model, path) is None:
        return _foreign(model, path, engine, threads)
    program, load_ms, compile_ms = _loaded(lambda: Program(path, engine=engine, threads=threads), model, engine)
    metadata, taken = program.metadata, program.interface
    clip = metadata.kind == "clip"
    state = sum(spec.bytes for spec in metadata.states)
    frames = _together({one.name: _noise(one.shape, np.uint8 if one.folded else np.float32, path) for one in taken.inputs})

    def start() -> Callable[[], object]:
        run = program.start()
        return lambda: run.step(frames)

    def answer() -> np.ndarray | None:
        if len(taken.inputs) > 1 or taken.inputs[0].folded:
            return None
        run, shape = program.start(), taken.inputs[0].shape
        return run.step(frames) if clip else streamed(run.step, shape, metadata.delay // metadata.hop + SETTLED)

    return Subject(
        metadata.kind, program.engine, program.engine_reason, metadata.frames if clip else metadata.hop,
        program.rate, load_ms, compile_ms, _weights(model), state, start, answer,
    )  # fmt: skip


def streamed(
    step: Callable[[np.ndarray], np.ndarray | None], shape: Sequence[int | None], steps: int | None
) -> np.ndarray | None:
    """The answer to the last of so many steps; None: `SETTLED` steps from the first one that is answered."""
    rng, count, found = np.random.default_rng(1), 0, None
    while steps is None or count < steps:
        found = step(rng.standard_normal([size or 1 for size in shape], np.float32))
        count += 1
        if steps is None and found is not None:
            steps = count + SETTLED - 1
    return found


def _peer(path: str, engine: str, threads: int) -> Subject:
    """A clip network on another system."""
    model = load(path)
    network, load_ms = _timed(lambda: peers.load(engine, model, threads, path))
    frames = _noise(network.shape, np.float32, path)

    def start() -> Callable[[], object]:
        call = network.start()
        return lambda: call(frames)

    def answer() -> np.ndarray | None:
        call = network.start()
        return call(frames) if network.kind == "clip" else streamed(call, network.shape, None)

    count = 1 if network.kind == "step" else network.shape[2]
    return Subject(network.kind, engine, network.reason, count, 0.0, load_ms, None, _weights(model), 0, start, answer)


def _foreign(model: onnx.ModelProto, path: str, engine: str, threads: int) -> Subject:
    """A network that says nothing of itself: what goes in is noise, its first output is the answer."""
    made = given(model, path)
    frames, (first_input, *more) = _together(made), list(made)
    answer, *others = [value.name for value in model.graph.output]
    job = engines.Job(model, path, first_input, answer, StatePlan(()), threads, tuple(others), tuple(more))
    loaded, load_ms, compile_ms = _loaded(lambda: engines.load(engine, job), model, engine)

    def start() -> Callable[[], object]:
        run = loaded.start()
        return lambda: run.step(frames)

    def answered() -> np.ndarray | None:
        return loaded.start().step(frames)

    return Subject("network", loaded.engine, loaded.reason, 1, 0.0, load_ms, compile_ms, _weights(model), 0, start, answered)


def takes_clips(path: str) -> bool:
    """A clip network, or one of others, in a plain ONNX file. Raises ModelError."""
    if path == "builtin" or is_split(path) or artifact.is_library(path):
        return False
    metadata = metadata_of(load(path), path)
    return metadata is None or metadata.kind == "clip"


def given(model: onnx.ModelProto, where: object, without: Collection[str] = ()) -> dict[str, np.ndarray]:
    """Noise for each input of a graph but some; a batch that is left open is 1. Raises ModelError."""
    skipped = {*without, *(tensor.name for tensor in model.graph.initializer)}
    kinds = {value.name: value.type.tensor_type for value in model.graph.input if value.name not in skipped}
    if not kinds or any(kind.elem_type not in DTYPES for kind in kinds.values()):
        raise ModelError(
            "Only networks that take float32 or bytes can be timed.", where=where, got=", ".join(kinds) or "no input",
            hint="`everyframe import` says what its tensors are",
        )  # fmt: skip
    made = {}
    for name, kind in kinds.items():
        first, *sizes = [size.dim_value or None for size in kind.shape.dim] or [1]
        made[name] = _noise((first or 1, *sizes), DTYPES[kind.elem_type], f"{where}, {name}")
    return made


def _loaded(load: Callable[[], Loaded], model: onnx.ModelProto | None, engine: str) -> tuple[Loaded, float, float | None]:
    """What `load` gives, its milliseconds, and those of compiling where the engine did so now."""
    library = place(model, target("native")) if model is not None and engine in ("native", "auto") else None
    missing = library is not None and not library.exists()
    found, first_ms = _timed(load)
    if library is None or not missing or not library.exists():
        return found, first_ms, None
    found, load_ms = _timed(load)  # as from the next time on
    return found, load_ms, max(0.0, first_ms - load_ms)


def _timed(load: Callable[[], Loaded]) -> tuple[Loaded, float]:
    begun = time.perf_counter()
    return load(), (time.perf_counter() - begun) * 1e3


def _together(made: dict[str, np.ndarray]) -> engines.Frames:
    """What a step is given: an array alone, or several by name."""
    return made if len(made) > 1 else next(iter(made.values()))


def _weights(model: onnx.ModelProto | None) -> int:
    return sum(tensor.ByteSize() for tensor in model.graph.initializer) if model is not None else 0


def _noise(shape: tuple[int | None, ...], dtype: type, where: str) -> np.ndarray:
    if None in shape:
        raise ModelError(
            "The size of the network's input is open.", where=where, got=shape,
            hint="fix it: `everyframe stream --size`, or export with the size it is used with",
        )  # fmt: skip
    return noise([size or 1 for size in shape], dtype, np.random.default_rng(0))
