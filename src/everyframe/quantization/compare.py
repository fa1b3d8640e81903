"""A float and a quantized model side by side over one stream, layer by layer.

Both run freely, each with its own states, so that an error which a state keeps is seen again in every later step. The stream is
long and its second half shows the same videos as its first: a larger error there comes from the states, not from the pictures.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx

from everyframe.errors import EngineError
from everyframe.modelfile.ending import Ending, ending
from everyframe.modelfile.schema import BESIDE
from everyframe.progress import CountProgress, silent
from everyframe.quantization.calibrate import HUGE
from everyframe.quantization.structure import MOVES, LayerNode
from everyframe.quantization.videos import Model
from everyframe.quantization.write import counterpart
from everyframe.runtime.prediction import read, softmax, temperature
from everyframe.video.sources import Source

PARTS = 10  # of the stream, each with figures of its own
LAYER_STEPS = 200  # at most so many steps are compared in all layers; the answers in all steps
BEST_DB = 200.0  # said of equal values, whose ratio is infinite


class Tally:
    """Sums over pairs of values, from which all figures follow; one row for each part of the stream."""

    def __init__(self, limits: tuple[float, float] | None) -> None:
        self.limits = limits
        self.sums = np.zeros((PARTS, 4))  # of x*x, y*y, x*y and (x-y)^2
        self.most, self.low, self.high = 0.0, np.inf, -np.inf
        self.beyond = self.seen = 0

    def add(self, part: int, x: np.ndarray, y: np.ndarray) -> None:
        """x: float values, y: what the quantized model has instead."""
        x, y = x.ravel(), y.ravel()
        low, high = float(x.min()), float(x.max())
        if not (low > -HUGE and high < HUGE):  # fills of frames before the beginning
            real = np.abs(x) < HUGE
            x, y = x[real], y[real]
            if not x.size:
                return
            low, high = float(x.min()), float(x.max())
        self.low, self.high, self.seen = min(self.low, low), max(self.high, high), self.seen + x.size
        if self.limits and (low < self.limits[0] or high > self.limits[1]):
            self.beyond += int(((x < self.limits[0]) | (x > self.limits[1])).sum())
        d = x - y
        with np.errstate(all="ignore"):  # what overflows is said of the output
            self.sums[part] += [np.dot(x, x), np.dot(y, y), np.dot(x, y), np.dot(d, d)]
        self.most = max(self.most, float(np.abs(d).max()))

    def cosine(self) -> float:
        xx, yy, xy, _ = self.sums.sum(0)
        if xx == 0 or yy == 0:
            return float(xx == yy)
        return float(min(1.0, xy / np.sqrt(xx * yy)))

    def noise(self) -> float:
        """Energy of the error relative to that of the values."""
        xx, _, _, ee = self.sums.sum(0)
        return float(ee / xx) if xx else float(ee > 0)

    def sqnr_db(self, parts: slice = slice(None)) -> float:
        xx, _, _, ee = self.sums[parts].sum(0)
        return float(np.clip(10 * np.log10(xx / ee), -BEST_DB, BEST_DB)) if xx and ee else BEST_DB * (ee == 0)


@dataclass(frozen=True)
class Row:
    """One tensor, compared. sqnr_db: energy of the values over that of the error. drift_db: what it loses from the first
    showing of the videos to the second. low, high: of the float values here; calibrated: the range they were expected in.
    beyond: share of the values outside of it. added: noise that this layer adds to that of its inputs.
    """

    name: str
    op: str
    precision: str
    cosine: float
    sqnr_db: float
    max_error: float
    low: float
    high: float
    calibrated: tuple[float, float] | None
    beyond: float
    drift_db: float
    added: float
    parts_db: tuple[float, ...]


@dataclass(frozen=True)
class Answers:
    """cosine: of all logits taken together; worst: of one step. agreement: share of the steps with the same best label.
    kl: Kullback-Leibler divergence of the scores, mean over the steps, in nats.
    """

    cosine: float
    worst: float
    sqnr_db: float
    max_error: float
    drift_db: float
    agreement: float
    kl: float
    parts_db: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """temperature: by what the quantized model's logits are divided so that its scores come nearest to those of the float model,
    where that one's were fitted.
    """

    answers: Answers
    layers: tuple[Row, ...]
    states: tuple[Row, ...]
    steps: int
    frames: int
    videos: int
    temperature: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    model: Model,
    quantized: onnx.ModelProto,
    sources: Sequence[Source],
    *,
    layers: Sequence[LayerNode] = (),
    ranges: dict[str, tuple[float, float]] | None = None,
    frames: int = 1000,
    progress: CountProgress = silent,
) -> Comparison:
    """layers: those to be compared beside the answers. ranges: of tensors, as calibrated. frames: length of the stream,
    up to whole steps, an even number of them. Raises SourceError, EngineError.
    """
    same = counterpart(quantized)
    watched = [layer.output for layer in layers if layer.output in same]
    held = [s.output for s in model.metadata.states if s.dtype == "float32" and s.copy_of is None] if layers else []
    tallies = {x: Tally((ranges or {}).get(x)) for x in dict.fromkeys([*watched, *held])}
    one, two = model.walk(tallies), model.walk([same[x] for x in tallies], model=quantized)
    half = max(1, -(-frames // model.frames_a_step // 2))
    late = model.metadata.feature_delay // model.frames_a_step if model.metadata.kind == "step" else 0  # steps without an answer
    every = -(-2 * half // LAYER_STEPS)
    logits, agreed, divergence, worst = Tally(None), 0, 0.0, 1.0
    used: set[int] = set()
    told = ending(model.model, model.interface.logits, model.metadata)
    fitted = model.metadata.temperature
    pairs: list[tuple[np.ndarray, np.ndarray]] = []  # what the float model says, and the quantized one's logits
    for i, (video, given) in enumerate(_stream(model, sources, late, half)):
        x, y = one.step(given), two.step(given)
        used.add(video)
        progress(i + 1, late + 2 * half)
        if i < late:
            continue
        part = (i - late) * PARTS // (2 * half)
        a, b = (np.asarray(found[model.interface.logits], np.float32).reshape(1, -1) for found in (x, y))
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            whose = "quantized" if np.isfinite(a).all() else "float"
            raise EngineError(
                f"The {whose} model's output is not finite.", where=f"{model.where}, step {i}",
                hint="keep in float what is divided by values near 0: --keep-float",
            )  # fmt: skip
        logits.add(part, a, b)
        worst = min(worst, _cosine(a, b))
        agreed += int(a.argmax() == b.argmax())
        if fitted != 1 and told.scores == "logits" and told.task in ("classify", "frames"):
            pairs.append((softmax(a / np.float32(fitted)), b))
        p, q = (_chances(v, told) for v in (a, b))
        divergence += float((p * np.log(p / q)).sum())
        if (i - late) % half % every == 0:
            for name, tally in tallies.items():
                tally.add(part, x[name], y[same[name]])
    seen = 2 * half
    answers = Answers(
        logits.cosine(), worst, logits.sqnr_db(), logits.most, _drift(logits), agreed / seen, divergence / seen, _parts(logits)
    )
    noise = {name: tally.noise() for name, tally in tallies.items()}
    rows = tuple(
        _row(layer.name, layer.op, layer.quantized, tallies[layer.output], _added(layer, noise))
        for layer in layers if layer.output in tallies
    )  # fmt: skip
    states = tuple(_row(x, "state", _rounded(quantized, x), tallies[x], 0.0) for x in held)
    if pairs:
        wanted, given_logits = (np.concatenate(column) for column in zip(*pairs, strict=True))
        fitted = round(temperature(given_logits, wanted), 4)
    return Comparison(answers, rows, states, seen, seen * model.frames_a_step, len(used), fitted)


def _stream(model: Model, sources: Sequence[Source], late: int, half: int) -> Iterator[tuple[int, np.ndarray]]:
    """Inputs with the number of their video: `late` to begin with, then `half` of them twice, without a pause."""
    for count in (late, half, half):
        yield from itertools.islice(model.inputs(sources, again=True), count)


def _chances(answer: np.ndarray, told: Ending) -> np.ndarray:
    """What an answer (1, n) gives each class, or each label to be there and not to be; values as if they were logits."""
    scores = softmax(answer) if told.task in ("regress", *BESIDE) else read(answer, told.task, told.scores)[0]
    made = np.concatenate([scores, 1 - scores]) if told.task == "multilabel" else scores
    return np.asarray(made.astype(np.float64).clip(1e-12))


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / size if size else float(np.array_equal(a, b))


def _drift(tally: Tally) -> float:
    return tally.sqnr_db(slice(PARTS // 2)) - tally.sqnr_db(slice(PARTS // 2, None))


def _parts(tally: Tally) -> tuple[float, ...]:
    return tuple(round(tally.sqnr_db(slice(i, i + 1)), 2) for i in range(PARTS))


def _row(name: str, op: str, rounded: bool, tally: Tally, added: float) -> Row:
    return Row(
        name, op, "int" if rounded else "float", tally.cosine(), tally.sqnr_db(), tally.most, tally.low, tally.high, tally.limits,
        tally.beyond / max(1, tally.seen), _drift(tally), added, _parts(tally),
    )  # fmt: skip


def _rounded(quantized: onnx.ModelProto, tensor: str) -> bool:
    """What holds it lies on a grid of integers."""
    made = {x: node for node in quantized.graph.node for x in node.output}
    while tensor in made and made[tensor].op_type in MOVES:
        tensor = made[tensor].input[(MOVES[made[tensor].op_type] or (0,))[0]]
    return tensor in made and made[tensor].op_type == "DequantizeLinear"


def _added(layer: LayerNode, noise: dict[str, float]) -> float:
    return max(0.0, noise.get(layer.output, 0.0) - max((noise.get(x, 0.0) for x in layer.made_of), default=0.0))
