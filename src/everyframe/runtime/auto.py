"""`engine="auto"`: the faster of ONNX Runtime and generated C, found by a race when a model is first run, and remembered."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime

from everyframe.conversion.account import layers
from everyframe.errors import EngineError, EveryframeError
from everyframe.files import write_bytes
from everyframe.modelfile import saturation
from everyframe.modelfile.floats import floats
from everyframe.modelfile.walk import Walk
from everyframe.native.store import place
from everyframe.native.target import target
from everyframe.progress import status
from everyframe.runtime import engine as engines
from everyframe.runtime.engine import Frames, Job, Loaded, Run
from everyframe.runtime.ort import something

#: a step that takes less than this is not worth seconds of compiling
WORTH_MS = 1.0
#: how much faster generated code must be: below that a race says more about the machine's other work
MARGIN = 0.95
#: largest relative distance between the answers of both
AGREE = 1e-3
#: multiply-adds of a step up to which exact arithmetic is asked who is right about a quantized model: seconds
JUDGED_MACS = 3e9
RACE_S = 0.3
MOST_ROUNDS = 30


@dataclass(frozen=True)
class Verdict:
    """What a race found: processor time of a step with one thread, which other processes hardly change."""

    ort_ms: float
    native_ms: float

    @property
    def engine(self) -> str:
        return "native" if self.native_ms < MARGIN * self.ort_ms else "ort"

    def __str__(self) -> str:
        own, other, loser = self.native_ms, self.ort_ms, "ort"
        if self.engine == "ort":
            own, other, loser = other, own, "native"
        return f"{own:.3g} ms a step, {loser} {other:.3g} ms"


def load(job: Job) -> Loaded:
    """What cannot be compiled runs on ONNX Runtime. Raises EngineError if it cannot do that either.

    Where ONNX Runtime's answers are known to be wrong on this processor, nothing is raced: generated code's are not.
    """
    frames = _noise(job)
    if frames is None:
        return engines.load("ort", job, "generated code needs fixed sizes and floats")
    memory = _memory(job)
    verdict = _read(memory)
    if verdict is not None:
        try:
            return engines.load(verdict.engine, job, str(verdict))
        except EveryframeError as error:
            return engines.load("ort", job, _refusal(error))
    ort = engines.load("ort", job)
    if ort.warning:
        try:
            return engines.load("native", job, "ONNX Runtime's integers would saturate on this processor")
        except EveryframeError as error:
            return replace(ort, reason=_refusal(error))
    if (ms := _shortest(ort.start(), frames)) < WORTH_MS:
        return replace(ort, reason=f"a step takes {ms:.2g} ms, too little to compile for")
    try:
        alone = replace(job, threads=1)
        native = engines.load("native", alone).start()
        with status("comparing the engines"):
            verdict = _race(engines.load("ort", alone).start(), native, frames, job)
        write_bytes(json.dumps(asdict(verdict)).encode(), memory)
        return engines.load(verdict.engine, job, str(verdict))
    except EveryframeError as error:
        return replace(ort, reason=_refusal(error))


def _noise(job: Job) -> Frames | None:
    """Frames of the model's size; None if generated code cannot take its input."""
    made = something(job.model, job.inputs)
    if made is None or any(array.dtype != np.float32 for array in made.values()):
        return None
    return made if job.more else made[job.frames]


def _refusal(error: EveryframeError) -> str:
    return "no generated code: " + " ".join(str(part) for part in (error.what, error.got, error.hint) if part)


def _memory(job: Job) -> Path:
    """Beside the library: what is true for this model, processor, state of the generator and version of onnxruntime."""
    library = place(job.model, target("native"))
    return library.with_name(f"{library.stem}.{onnxruntime.__version__}.json")


def _read(path: Path) -> Verdict | None:
    try:
        found = json.loads(path.read_text())
        return Verdict(float(found["ort_ms"]), float(found["native_ms"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _race(ort: Run, native: Run, frames: Frames, job: Job) -> Verdict:
    """In turns, so that a slow moment hits both. Raises EngineError if they differ and generated code is not right."""
    times: dict[str, list[float]] = {"ort": [], "native": []}
    begun, agree = time.perf_counter(), True
    for n in range(MOST_ROUNDS):
        answers: dict[str, np.ndarray] = {}
        for name, run in (("ort", ort), ("native", native)):
            before = time.process_time()
            answers[name] = run.step(frames)
            times[name].append((time.process_time() - before) * 1e3)
        near = _near(answers["native"], answers["ort"]) and all(_near(native.others[o], ort.others[o]) for o in job.others)
        if agree and not near:
            if not _exact(answers["native"], frames, n, job):
                raise EngineError("Generated code and ONNX Runtime disagree.", where=job.where, got=f"step {n}")
            agree, begun = False, time.perf_counter()
        if n >= 3 and time.perf_counter() - begun > RACE_S:
            break
    return Verdict(round(median(times["ort"]), 4), round(median(times["native"]), 4))


def _near(found: np.ndarray, wanted: np.ndarray) -> bool:
    return bool(np.linalg.norm(found - wanted) <= AGREE * max(float(np.linalg.norm(wanted)), 1e-3))


def _exact(found: np.ndarray, frames: Frames, step: int, job: Job) -> bool:
    """Is this what a quantized model says in this step? Where a value lies between two steps of its bytes, ONNX Runtime may round
    it either way, and each such value changes others.
    """
    macs = sum(row.macs for row in layers(floats(job.model), None))
    if not saturation.quantized(job.model) or macs * (step + 1) > JUDGED_MACS:
        return False
    walk = Walk(job.model, states=job.states.specs, how="exact")
    for _ in range(step + 1):
        exact = walk.step(frames)
    return _near(np.asarray(found, np.float64).ravel(), exact[job.logits].ravel())


def _shortest(run: Run, frames: Frames, steps: int = 3) -> float:
    """Milliseconds of processor time of the shortest step."""
    found = []
    for _ in range(steps):
        before = time.process_time()
        run.step(frames)
        found.append((time.process_time() - before) * 1e3)
    return min(found)
