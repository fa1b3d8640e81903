"""`engine="auto"`: the fastest of ONNX Runtime, generated C and, where it is installed, OpenVINO, found by a race when a model is
first run, and remembered. Where nobody waits for it, that happens in the background (see `background`).
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import onnxruntime

from everyframe.conversion.account import layers
from everyframe.errors import EngineError, EveryframeError, OutputError
from everyframe.files import write_bytes
from everyframe.modelfile import saturation
from everyframe.modelfile.file import load as load_model
from everyframe.modelfile.floats import floats
from everyframe.modelfile.walk import Walk
from everyframe.native.compilers import compiler
from everyframe.native.store import outdated, place
from everyframe.native.target import target
from everyframe.progress import status
from everyframe.runtime import background
from everyframe.runtime import engine as engines
from everyframe.runtime.background import Files
from everyframe.runtime.engine import Frames, Job, Loaded, Run
from everyframe.runtime.ort import something

#: what races, the one that is preferred where they are as good as equal first
RUNNERS = ("ort", "native", "openvino")
#: a step that takes less than this is not worth seconds of compiling
WORTH_MS = 1.0
#: what is this near to the fastest is as good: below that a race says more about the machine's other work
MARGIN = 0.97
#: largest relative distance between the answers of two engines
AGREE = 1e-3
#: multiply-adds of a step up to which exact arithmetic is asked who is right about a quantized model: seconds
JUDGED_MACS = 3e9
RACE_S = 0.3
#: a first step that takes so many times WORTH_MS needs no second one to tell
SURELY = 10
MOST_ROUNDS = 30


@dataclass(frozen=True)
class Verdict:
    """What a race found: milliseconds of processor time of a step with one thread, which other processes hardly change, of each
    engine that took part."""

    times: Mapping[str, float]

    @property
    def engine(self) -> str:
        least = min(self.times.values())
        return next(name for name in RUNNERS if MARGIN * self.times.get(name, np.inf) <= least)

    def __str__(self) -> str:
        others = [f"{name} {ms:.3g} ms" for name, ms in self.times.items() if name != self.engine]
        return ", ".join([f"{self.times[self.engine]:.3g} ms a step", *others])

    def to_dict(self) -> dict[str, float]:
        return {f"{name}_ms": ms for name, ms in self.times.items()}


def load(job: Job) -> Loaded:
    """What no other engine can run, or compile, runs on ONNX Runtime. Raises EngineError if it cannot do that either.

    Where ONNX Runtime's answers are known to be wrong on this processor, nothing is raced: generated code's are not.
    """
    frames = _noise(job)
    if frames is None:
        return engines.load("ort", job, "generated code needs fixed sizes and floats")
    files = files_of(job.model)
    job = job if background.seconds() is not None else replace(job, wait=True)
    if (known := _known(job, files)) is not None:
        return known
    ort = engines.load("ort", job)
    return _settled(job, ort, frames) or _growing(job, ort, files) or _fastest(job, ort, files, frames)


def _known(job: Job, files: Files) -> Loaded | None:
    """What an earlier run found out; where that left something to be done, it is done in the background."""
    stale = outdated(files.library, target("native"))
    verdict = None if stale and job.wait else read(files.verdict)
    if verdict is None or (verdict.engine == "native" and not files.library.exists() and not job.wait):
        return None
    try:
        loaded = engines.load(verdict.engine, job, str(verdict))
    except EveryframeError as error:
        loaded = engines.load("ort", job, _refusal(verdict.engine, error))
    if job.wait or not (stale or _unmeasured(files)) or background.tried(files)[0] >= background.TRIES:
        return loaded
    return background.begin(job, loaded, files, better) or loaded


def _settled(job: Job, ort: Loaded, frames: Frames) -> Loaded | None:
    """What needs no race: integers that only generated code computes rightly here, and what is too small to be worth one."""
    if ort.warning:
        try:
            return engines.load("native", job, "ONNX Runtime's integers would saturate on this processor")
        except EveryframeError as error:
            return replace(ort, reason=_refusal("native", error))
    if (ms := _shortest(ort.start(), frames)) < WORTH_MS:
        return replace(ort, reason=f"a step takes {ms:.2g} ms, too little to compile for")
    return None


def _growing(job: Job, ort: Loaded, files: Files) -> Loaded | None:
    """ONNX Runtime at once, and what is faster when it is ready; None where the caller waits, or nothing can be prepared."""
    if job.wait or not _compiles(files.library):
        return None
    tries, why = background.tried(files)
    if tries >= background.TRIES:
        return replace(ort, reason=f"nothing faster could be prepared in {tries} tries" + (f": {why}" if why else ""))
    now = replace(ort, reason="until code for this processor is compiled, in the background")
    return background.begin(job, now, files, better)


def _fastest(job: Job, ort: Loaded, files: Files, frames: Frames) -> Loaded:
    """The winner of a race, which is remembered."""
    alone = replace(job, threads=1)
    refusals, others, lasting = [], {}, True
    for name in ("native", *(["openvino"] if _installed() else [])):
        try:
            if not (made := engines.load(name, alone)).warning:
                others[name] = made.start()
        except EveryframeError as error:
            refusals.append(_refusal(name, error))
            lasting = lasting and not isinstance(error, OutputError)  # a full disk need not stay full
    if not others:
        return replace(ort, reason="; ".join(refusals))
    with status("comparing the engines"):
        verdict, wrong = _race(engines.load("ort", alone).start(), others, frames, job)
    refusals += wrong
    if len(verdict.times) == 1:
        return replace(ort, reason="; ".join(refusals))
    with suppress(OutputError, OSError):
        if lasting:
            files.verdict.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(json.dumps(verdict.to_dict()).encode(), files.verdict)
    return engines.load(verdict.engine, job, "; ".join([str(verdict), *refusals]))


def better(files: Files, job: Job, now: Loaded, same: bool) -> Loaded | None:
    """What runs next, by what the process in the background has found. job: without its model, which is not read again for
    generated code. same: the library is that which runs, if it is one."""
    if (verdict := read(files.verdict)) is None:
        return None
    if verdict.engine == now.engine and (same or now.engine != "native"):
        return replace(now, reason=str(verdict))
    if verdict.engine == "native":
        return engines.load("native", replace(job, where=str(files.library)), str(verdict))
    model = load_model(job.where)
    if place(model, target("native")) != files.library:  # another file by now
        return None
    return engines.load(verdict.engine, replace(job, model=model), str(verdict))


def _unmeasured(files: Files) -> bool:
    """Are there choices to be measured (see `tuned`) for a library that may be the fastest?"""
    if not background.seconds():
        return False
    with suppress(OSError, ValueError):
        return "measured_s" not in json.loads(files.verdict.read_text()) and files.library.exists()
    return False


def _noise(job: Job) -> Frames | None:
    """Frames of the model's size; None if generated code cannot take its input."""
    made = something(job.model, job.inputs)
    if made is None or any(array.dtype != np.float32 for array in made.values()):
        return None
    return made if job.more else made[job.frames]


def _refusal(name: str, error: EveryframeError) -> str:
    what = "generated code" if name == "native" else name
    return f"no {what}: " + " ".join(str(part) for part in (error.what, error.got, error.hint) if part)


def _installed() -> bool:
    """Is OpenVINO there?"""
    return importlib.util.find_spec("openvino") is not None


def files_of(model: onnx.ModelProto) -> Files:
    """A verdict lies beside the library: what is true for this model, processor, state of the generator, and what there is to
    race with."""
    library, versions = place(model, target("native")), [onnxruntime.__version__]
    with suppress(PackageNotFoundError):
        versions.append(f"openvino-{version('openvino')}")
    if not _compiles(library):
        versions.append("no-compiler")
    return Files(library, library.with_name(f"{'.'.join([library.stem, *versions])}.json"))


def _compiles(library: Path) -> bool:
    """Is there a compiler, or no need of one?"""
    try:
        compiler(target("native"))
    except EngineError:
        return library.exists()
    return True


def read(path: Path) -> Verdict | None:
    try:
        found = json.loads(path.read_text())
        times = {name: float(found[f"{name}_ms"]) for name in RUNNERS if f"{name}_ms" in found}
        return Verdict(times) if "ort" in times and len(times) > 1 else None
    except (OSError, ValueError, TypeError):
        return None


def _race(ort: Run, others: Mapping[str, Run], frames: Frames, job: Job) -> tuple[Verdict, list[str]]:
    """In turns, so that a slow moment hits all. An engine that does not answer as ONNX Runtime does, and is not right about it,
    is out; says why."""
    runs = {"ort": ort, **others}
    times: dict[str, list[float]] = {name: [] for name in runs}
    begun, judged, wrong = time.process_time(), {"ort"}, []
    for n in range(MOST_ROUNDS):
        answers: dict[str, np.ndarray] = {}
        for name, run in runs.items():
            before = time.process_time()
            answers[name] = run.step(frames)
            times[name].append((time.process_time() - before) * 1e3)
        for name in [name for name in runs if name not in judged]:
            near = _near(answers[name], answers["ort"]) and all(_near(runs[name].others[o], ort.others[o]) for o in job.others)
            if near:
                continue
            judged.add(name)
            if not _exact(answers[name], frames, n, job):
                wrong.append(f"{name} and ONNX Runtime disagree in step {n} of noise")
                del runs[name], times[name]
            begun = time.process_time()
        if len(runs) == 1 or (n >= 3 and time.process_time() - begun > RACE_S):
            break
    return Verdict({name: round(median(found), 4) for name, found in times.items()}), wrong


def _near(found: np.ndarray, wanted: np.ndarray) -> bool:
    """As much as AGREE says; what is not finite must be the same."""
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
    with np.errstate(invalid="ignore"):  # one of the two is finite
        off = np.linalg.norm(np.where(same, 0, found - wanted))
    return bool(off <= AGREE * max(float(np.linalg.norm(wanted[np.isfinite(wanted)])), 1e-3))


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
        if found[-1] > SURELY * WORTH_MS > 0:
            break
    return min(found)
