"""Models side by side on one engine: whole networks, or one layer with different zeros. Nothing goes into the
cache of compiled models.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import onnx

from everyframe.benchmarking.machine import describe
from everyframe.benchmarking.subject import given
from everyframe.benchmarking.timing import Case, race
from everyframe.errors import UsageError
from everyframe.modelfile.file import metadata_of
from everyframe.modelfile.schema import StateSpec
from everyframe.native.build import link
from everyframe.native.generate import generate
from everyframe.native.library import Library
from everyframe.native.store import place
from everyframe.native.target import target
from everyframe.runtime import engine as engines
from everyframe.runtime.states import plan

#: of timing for each model, at least three turns; and calls of each that are enough before that
SECONDS, ENOUGH = 0.3, 1000


def circumstances(engine: str) -> str:
    """Figures of one engine may be compared while this stays the same: processor, versions, and the generator of native code."""
    machine = describe("openvino")
    generator = place(onnx.ModelProto(), target("native")).stem if engine == "native" else ""
    facts = f"{engine} {machine['cpu']} {machine['cores']} {machine['packages']} {generator}"
    return f"{engine}-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"


def milliseconds(
    models: Mapping[str, onnx.ModelProto], engine: str, seconds: float = SECONDS, threads: int = 1
) -> dict[str, float]:
    """Median CPU time of one thread for one clip of noise, or one step, in turns; of several threads the median of the clock.
    models: with an input `clip`, or states and what their metadata say, and an output `logits`.

    Raises UsageError for an engine that there is not, EngineError and ModelError where it cannot run a model.
    """
    check_engine(engine)
    start = _native if engine == "native" else _other
    with ThreadPoolExecutor(engines.cores()) as pool:  # compilers are processes of their own
        runs = [*pool.map(lambda each: start(each[1], each[0], engine, threads), models.items())]
    timings = race([*map(Case, models, runs)], seconds=seconds * len(runs), enough=ENOUGH)
    return {timing.name: median(timing.cpu if threads == 1 else timing.wall) for timing in timings}


def check_engine(engine: str) -> None:
    """Raises UsageError for one that there is not."""
    if engine not in engines.ENGINES and engine not in engines.names():
        raise UsageError("This engine cannot be timed.", expected=" or ".join(engines.names()), got=engine)


def _native(model: onnx.ModelProto, name: str, _: str, threads: int) -> Callable[[], object]:
    source, _layout, fitting = generate(model, _states(model, name), target("native"), where=name)
    with tempfile.TemporaryDirectory(prefix="everyframe-") as folder:  # the system keeps the library while it is loaded
        stream = Library(link(source, fitting, model, Path(folder) / "model.so")).start(threads)
    (clip,) = _frames(model, name).values()
    return lambda: stream.step(clip)


def _other(model: onnx.ModelProto, name: str, engine: str, threads: int) -> Callable[[], object]:
    ((frames, clip),) = _frames(model, name).items()
    states = plan(_states(model, name), name)
    run = engines.load(engine, engines.Job(model, name, frames, "logits", states, threads=threads)).start()
    return lambda: run.step(clip)


def _states(model: onnx.ModelProto, name: str) -> tuple[StateSpec, ...]:
    told = metadata_of(model, name)
    return told.states if told is not None else ()


def _frames(model: onnx.ModelProto, name: str) -> dict[str, np.ndarray]:
    """Noise for all inputs but states."""
    return given(model, name, {state.input for state in _states(model, name)})
