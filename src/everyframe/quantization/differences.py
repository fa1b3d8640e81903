"""Differences of large values, which bytes round too coarsely.

Where nothing moves, a difference of frames is next to nothing, and its operands are not: each is rounded in steps of its own
range, and what is left of the sum is rounding. A function that resolves small values, such as tanh, makes large ones of that.
Where a value lies exactly between two steps, as in a still picture, the last bit of a runtime decides. Such sums are found by
measurement, on the calibration's videos: much of the result is smaller than the rounding error of its operands, while these
are not, and what reads it has much finer steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from everyframe.quantization.calibrate import HUGE
from everyframe.quantization.scales import Scale
from everyframe.quantization.structure import COMPUTES, Structure, arrays
from everyframe.quantization.videos import Model
from everyframe.quantization.write import counterpart
from everyframe.video.sources import Source

SUMS = frozenset({"Add", "Sub", "Sum"})
#: what makes one value of one value, other operands being constants
FUNCTIONS = frozenset({
    "Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Add", "Sub", "Mul", "Div",
})  # fmt: skip
FAR = 8  # an operand is large from so many times the rounding error of the sum on
CANCELLED = 0.25  # share of the values from which on a sum is a difference of large values; sums that are none have a few percent
COARSE = 4.0  # rounding error that arrives behind a sum, over the one made there: two bits; twice is usual
WORTH = 0.7  # of the measured error that may be left for float to be worth it: 3 dB
STEPS = 48  # measured, at most


@dataclass(frozen=True)
class Difference:
    """name: the sum. behind: the last of the functions that read it alone, or itself. nodes: what is computed in float to mend
    it, in order of computation. share: of its values that are smaller than the rounding error, of large operands. coarse: the
    rounding error of the operands and the sum behind it, over the one that is made there. error: as measured there; mended: the
    same with these nodes in float. kept: they are in float.
    """

    name: str
    behind: str
    nodes: tuple[str, ...]
    share: float
    coarse: float
    error: float
    mended: float = 0.0
    kept: bool = False

    def __str__(self) -> str:
        found = (
            f"{self.name} is a difference of large values: {self.share:.0%} of its values are smaller than the rounding error of "
            f"its operands, and {self.behind} would resolve them {self.coarse:.0f} times finer"
        )
        return f"{found}; {'in float' if self.kept else 'better in float'}: {', '.join(self.nodes)}"


@dataclass(frozen=True)
class _Sum:
    """A tree of sums. leaves: what it adds. error: of all rounding in it. last: the tensor behind its functions, own: the error
    of rounding that.
    """

    name: str
    behind: str
    nodes: tuple[str, ...]
    leaves: tuple[str, ...]
    result: str
    last: str
    error: float
    own: float


def differences(
    model: Model,
    parts: Structure,
    scales: Mapping[str, Scale],
    made: Callable[[Sequence[str]], onnx.ModelProto],
    sources: Sequence[Source],
    steps: int,
) -> list[Difference]:
    """made: the quantized model with nodes of these names in float. Those that float mends, and those alone."""
    sums = list(_sums(parts, scales))
    if not sums:
        return []
    coarse = [found for found in _measured(model, made(()), sums, sources, steps) if found.coarse >= COARSE]
    if not coarse:
        return []
    names = {found.name for found in coarse}
    again = made(tuple(dict.fromkeys(name for found in coarse for name in found.nodes)))
    after = {d.name: d.error for d in _measured(model, again, [s for s in sums if s.name in names], sources, steps)}
    mended = [replace(found, mended=after[found.name]) for found in coarse]
    return [found for found in mended if found.mended <= WORTH * found.error]


def _sums(parts: Structure, scales: Mapping[str, Scale]) -> Iterable[_Sum]:
    graph, chosen, constants = parts.model.graph, set(parts.nodes), set(arrays(parts.model))
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    made = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto | None]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for value in graph.output:
        readers.setdefault(value.name, []).append(None)

    def step(tensor: str) -> float:
        scale = scales.get(parts.share.get(tensor, ""))
        return scale.scale if scale else 0.0

    def is_sum(node: onnx.NodeProto | None) -> bool:
        return node is not None and node.op_type in SUMS and node.name in chosen and not constants & set(node.input)

    def alone(tensor: str) -> onnx.NodeProto | None:
        """Who reads it, if nobody else does."""
        found = readers.get(tensor, [])
        return found[0] if len(found) == 1 else None

    for root in graph.node:
        if not is_sum(root) or is_sum(alone(root.output[0])):
            continue
        nodes, leaves, rounded, open_ = [root], [], [root.output[0]], list(root.input)
        while open_:
            tensor = open_.pop()
            source = made.get(tensor)
            own = source is not None and alone(tensor) is not None and source.name in chosen and source.op_type in COMPUTES
            rounded.append(tensor)
            if source is not None and own:
                nodes.append(source)
            if own and source is not None and is_sum(source):
                open_ += source.input
            else:
                leaves.append(tensor)
        last, functions = root.output[0], []
        while (reader := alone(last)) is not None and _is_function(reader, last, constants) and reader.name in chosen:
            functions.append(reader)
            last = reader.output[0]
        error, own_error = np.sqrt(sum(step(x) ** 2 for x in rounded) / 12), step(last) / np.sqrt(12)
        if own_error > 0 and sum(step(x) > 0 for x in leaves) > 1:
            order = {node.name: i for i, node in enumerate(graph.node)}
            names = sorted((node.name for node in (*nodes, *functions)), key=order.__getitem__)
            behind = functions[-1].name if functions else root.name
            yield _Sum(root.name, behind, tuple(names), tuple(leaves), root.output[0], last, float(error), float(own_error))


def _is_function(node: onnx.NodeProto, tensor: str, constants: set[str]) -> bool:
    return node.op_type in FUNCTIONS and all(name == tensor or name in constants or not name for name in node.input)


def _measured(
    model: Model, quantized: onnx.ModelProto, sums: Sequence[_Sum], sources: Sequence[Source], steps: int
) -> list[Difference]:
    """Those that are differences of large values, however coarse."""
    same = counterpart(quantized)
    watched = dict.fromkeys(x for each in sums for x in (*each.leaves, each.result, each.last))
    one = model.walk(watched)
    two = model.walk([same.get(each.last, each.last) for each in sums], model=quantized)
    late = model.metadata.feature_delay // model.frames_a_step if model.metadata.kind == "step" else 0
    counts = np.zeros((len(sums), 2))  # of values: small ones of large operands, all
    moments = np.zeros((len(sums), 2, 3))  # of the small ones before and behind the functions: how many, their sum, of squares
    errors = np.zeros(len(sums))
    for i, (_, frames) in enumerate(itertools.islice(model.inputs(sources, again=True), late + steps)):
        x, y = one.step(frames), two.step(frames)
        if i < late:
            continue
        for k, each in enumerate(sums):
            result, last = x[each.result], x[each.last]
            largest = np.max([np.abs(np.broadcast_to(x[leaf], result.shape)) for leaf in each.leaves], axis=0)
            real = largest < HUGE
            small = (np.abs(result) <= each.error) & (largest >= FAR * each.error) & real
            counts[k] += small.sum(), real.sum()
            for which, values in enumerate((result[small], last[small])):
                values = values.astype(np.float64)
                moments[k, which] += values.size, values.sum(), np.square(values).sum()
            off = (y[same.get(each.last, each.last)] - last)[np.abs(last) < HUGE].astype(np.float64)
            errors[k] += np.square(off).mean() if off.size else 0.0
    shares = counts[:, 0] / np.maximum(counts[:, 1], 1)
    return [
        Difference(each.name, each.behind, each.nodes, float(share), each.error * _slope(*spread) / each.own, float(error))
        for each, share, spread, error in zip(sums, shares, moments, np.sqrt(errors / steps), strict=True) if share >= CANCELLED
    ]  # fmt: skip


def _slope(before: np.ndarray, behind: np.ndarray) -> float:
    """Of the functions at small values: how far those spread behind them over how far before. 1 where all are the same."""
    one, two = (squares / max(count, 1) - (total / max(count, 1)) ** 2 for count, total, squares in (before, behind))
    return float(np.sqrt(max(two, 0.0) / one)) if one > 0 else 1.0
