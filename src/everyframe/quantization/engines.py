"""The finished file on the engines that will run it, against exact arithmetic.

The comparison of both models says what the integers cost. It does not say that every runtime computes them: kernels saturate,
multiply before they round, or leave rounding out. So each engine that can run the file here is asked about some steps.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from everyframe.conversion.account import layers
from everyframe.errors import EveryframeError, SourceError
from everyframe.progress import TextProgress, silent
from everyframe.quantization.videos import Model
from everyframe.runtime import engine as engines
from everyframe.runtime.states import plan
from everyframe.video.sources import Source

ENGINES = ("ort", "native", "openvino")
STEPS = 96  # at most
MACS = 10e9  # of all steps together; float64 takes one or two seconds for each 1e9
VIDEOS = 3  # that the steps are taken from, the first ones of each
#: an engine is off if it has another label than exact arithmetic in so many more steps than the best one; in a single step two
#: labels may be as likely
MORE_STEPS, MORE_SHARE = 2, 0.05
#: or if it moves the answers further than rounding to integers does, and by so much at all
MORE_DISTANCE = 0.02


@dataclass(frozen=True)
class Ran:
    """agreement: share of the steps with the label of exact arithmetic. distance: between both logits, all steps taken together,
    relative to the exact ones. note: how it computes, where that is not the usual way. refused: why it does not run the file.
    """

    engine: str
    steps: int = 0
    agreement: float = 0.0
    distance: float = 0.0
    note: str = ""
    refused: str = ""


def measure(
    model: Model,
    finished: onnx.ModelProto,
    sources: Sequence[Source],
    frames: int,
    names: Sequence[str] = ENGINES,
    progress: TextProgress = silent,
) -> tuple[Ran, ...]:
    """model: the float one. frames: at most so many. Raises EngineError where the file itself cannot be computed, SourceError."""
    inputs = list(_inputs(model, sources, _count(model, frames)))
    progress(f"exact arithmetic: {len(inputs)} {model.runs}")
    exact = _exact(model, finished, inputs)
    found = []
    for name in names:
        progress(f"running it on {name}")
        found.append(_ran(name, model, finished, inputs, exact))
    return tuple(found)


def off(found: Sequence[Ran], noise: float) -> list[Ran]:
    """Engines that are further from exact arithmetic than can be explained. noise: distance between the answers of the exact
    integers and of the float model, relative.
    """
    ran = [each for each in found if not each.refused]
    best = max((each.agreement for each in ran), default=0.0)
    return [
        each for each in ran
        if best - each.agreement >= max(MORE_SHARE, MORE_STEPS / each.steps) or not each.distance <= max(noise, MORE_DISTANCE)
    ]  # fmt: skip


def warnings(found: Sequence[Ran], noise: float, runs: str) -> list[str]:
    bad = off(found, noise)
    good = [each for each in found if not each.refused and each not in bad]
    best = max(good, key=lambda each: (each.agreement, -each.distance), default=None)
    advice = f"run this file with --engine {best.engine}" if best is not None else "no engine here computes this file as it is"
    return [
        f"{each.engine} answers otherwise than exact arithmetic in {1 - each.agreement:.0%} of the {runs} (distance "
        f"{each.distance:.1%}; rounding to integers itself {noise:.1%}): {advice}"
        for each in bad
    ]


def line(found: Sequence[Ran], runs: str) -> str:
    """What is said of all of them."""
    ran = [each for each in found if not each.refused]
    if not ran:
        return ""
    parts = (f"{each.engine} {each.agreement:.1%} of the labels, distance {each.distance:.2%}" for each in ran)
    return f"against exact arithmetic in {ran[0].steps} {runs}: {'; '.join(parts)}"


def _count(model: Model, frames: int) -> int:
    macs = sum(row.macs for row in layers(model.model, model.metadata))
    return int(np.clip(min(MACS / max(macs, 1), frames / model.frames_a_step), 1, STEPS))


def _inputs(model: Model, sources: Sequence[Source], count: int) -> Iterator[np.ndarray]:
    some = [sources[i * len(sources) // VIDEOS] for i in range(VIDEOS)] if len(sources) > VIDEOS else list(sources)
    left = count
    for k, source in enumerate(some):
        wanted = -(-left // (len(some) - k))
        with contextlib.suppress(SourceError):  # this one is too short or cannot be read; so are not all
            for _, frames in itertools.islice(model.inputs([source], again=False), wanted):
                left -= 1
                yield frames
    if left == count:
        yield from (frames for _, frames in itertools.islice(model.inputs(sources), count))


def _exact(model: Model, finished: onnx.ModelProto, inputs: Sequence[np.ndarray]) -> np.ndarray:
    walk = model.walk(model=finished, how="exact")
    return np.stack([walk.step(frames)[model.interface.logits].ravel() for frames in inputs])


def _ran(name: str, model: Model, finished: onnx.ModelProto, inputs: Sequence[np.ndarray], exact: np.ndarray) -> Ran:
    job = engines.Job(
        finished, model.where, model.interface.frames, model.interface.logits, plan(model.metadata.states, model.where)
    )
    try:
        loaded = engines.load(name, job)
        run = loaded.start()
        found = np.stack([np.asarray(run.step(frames), np.float64).ravel() for frames in inputs])
    except EveryframeError as error:
        return Ran(name, refused=" ".join(str(part) for part in (error.what, error.got) if part))
    same = found.argmax(1) == exact.argmax(1)
    distance = np.linalg.norm(found - exact) / max(float(np.linalg.norm(exact)), 1e-30)
    note = loaded.warning or loaded.reason
    return Ran(name, len(inputs), float(same.mean()), float(distance), note)
