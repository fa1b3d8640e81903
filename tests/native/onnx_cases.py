"""ONNX's own tests of operators (onnx.backend.test) as branches of networks that can be compiled.

A case's float inputs become parts of `frames`: planes of it, cut to height and width for what has four or more axes, single
values for the rest. So they are there only at run time, either all of them or just the first (most networks have constant
weights).
What a case answers is cast to float32 and compared with the arrays that come with it. Many branches are one network, so that a
compiler is called a few times and not thousands.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from native.operators import Sketch

# N batch, C channels, H height, W width


@dataclass(frozen=True)
class Case:
    """feeds, answers: (name, value) of the graph's inputs and outputs. wanted: those that are tensors."""

    name: str
    model: onnx.ModelProto
    feeds: tuple[tuple[str, Any], ...]
    answers: tuple[tuple[str, Any], ...]
    rtol: float
    atol: float

    @property
    def tensors(self) -> bool:
        return all(isinstance(value, np.ndarray) for _, value in (*self.feeds, *self.answers))

    def close(self, name: str, got: np.ndarray) -> bool:
        wanted = np.asarray(dict(self.answers)[name])
        if wanted.dtype.kind not in "fiub":
            return wanted.shape == got.shape
        wanted = wanted.astype(np.float64).ravel()
        finite = wanted[np.isfinite(wanted)]
        atol = max(self.atol, 1e-5 * float(np.abs(finite).max(initial=0)))
        if wanted.size != np.size(got):
            return False
        return bool(np.allclose(np.asarray(got, np.float64).ravel(), wanted, rtol=self.rtol, atol=atol, equal_nan=True))


@cache
def cases() -> tuple[Case, ...]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    made = []
    for one in found:
        feeds, answers = one.data_sets[0]
        graph = one.model.graph
        inputs, outputs = (
            tuple(
                (value.name, np.asarray(x) if isinstance(x, np.generic) else x) for value, x in zip(values, given, strict=False)
            )
            for values, given in ((graph.input, feeds), (graph.output, answers))
        )
        made.append(Case(one.name, one.model, inputs, outputs, one.rtol, one.atol))
    return tuple(made)


@dataclass(frozen=True)
class Branch:
    """A case with the inputs that are there only at run time: as arrays of planes, (P, H, W)."""

    case: Case
    live: tuple[str, ...]

    @property
    def planes(self) -> list[np.ndarray]:
        return [_planes(value) for name, value in self.case.feeds if name in self.live]

    @property
    def opset(self) -> int:
        return self.case.model.opset_import[0].version

    @property
    def place(self) -> int:
        """Values of the largest plane."""
        return max(array.shape[1] * array.shape[2] for array in self.planes)

    @property
    def size(self) -> int:
        return sum(np.asarray(value).size for _, value in self.case.answers)


def _planes(value: np.ndarray) -> np.ndarray:
    return value.reshape(-1, *(value.shape[-2:] if value.ndim >= 4 else (1, 1)))


def branches(case: Case) -> list[Branch]:
    """With all float inputs at run time, and with the first alone, unless it is an operator's definition written out; none for a
    case that cannot be written so."""
    floats = [n for n, v in case.feeds if isinstance(v, np.ndarray) and v.dtype == np.float32 and v.size]
    plain = all(not entry.domain for entry in case.model.opset_import)
    if not floats or not plain or not case.tensors or case.model.functions:
        return []
    both = len(floats) > 1 and "_expanded" not in case.name
    return [Branch(case, tuple(names)) for names in ([floats, floats[:1]] if both else [floats])]


def joined(parts: Sequence[Branch]) -> tuple[Sketch, np.ndarray]:
    """One network of all branches, and its frames (1, P, H, W). All of one opset."""
    arrays = [array for branch in parts for array in branch.planes]
    height, width = (max(array.shape[axis] for array in arrays) for axis in (1, 2))
    frames = np.zeros((1, sum(map(len, arrays)), height, width), np.float32)
    sketch = Sketch(frames.shape, opset=parts[0].opset)
    first = 0
    for number, branch in enumerate(parts):
        names = {}
        for name, value in branch.case.feeds:
            if name in branch.live:
                planes = _planes(value)
                frames[0, first : first + len(planes), : planes.shape[1], : planes.shape[2]] = planes
                names[name] = _part(sketch, first, planes.shape, value.shape)
                first += len(planes)
            else:
                names[name] = sketch.constant(value, value.dtype)
        for tensor in branch.case.model.graph.initializer:
            names[tensor.name] = sketch.constant(numpy_helper.to_array(tensor), None)
        for node in branch.case.model.graph.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = f"{branch.case.name}.{number}.{len(sketch.nodes)}"
            names |= {out: f"b{number}.{out}" for out in node.output if out}
            copy.input[:] = [names[each] if each else "" for each in node.input]
            copy.output[:] = [names[each] if each else "" for each in node.output]
            sketch.nodes.append(copy)
        for name, value in branch.case.answers:
            cast = value.dtype != np.float32
            if value.size:
                sketch.answer(sketch.op("Cast", names[name], to=TensorProto.FLOAT) if cast else names[name])
    return sketch, frames


def _part(sketch: Sketch, first: int, planes: Sequence[int], shape: Sequence[int]) -> str:
    def ints(*values: int) -> str:
        return sketch.constant(values, np.int64)

    part = sketch.op("Slice", "frames", ints(first, 0, 0), ints(first + planes[0], planes[1], planes[2]), ints(1, 2, 3))
    return sketch.op("Reshape", part, ints(*shape))


def groups(found: Iterable[Branch], most: int = 120, values: int = 1_000_000) -> list[list[Branch]]:
    """Branches that can be one network: of one opset, pictures of like size together, about `values` of frames."""
    made: list[list[Branch]] = []
    opset = planes = place = 0
    for branch in sorted(found, key=lambda b: (b.opset, b.place)):
        planes, place = planes + sum(map(len, branch.planes)), max(place, branch.place)
        if not made or branch.opset != opset or planes * place > values or len(made[-1]) == most:
            made.append([])
            opset, planes, place = branch.opset, sum(map(len, branch.planes)), branch.place
        made[-1].append(branch)
    return made


def answers_of(parts: Sequence[Branch], row: np.ndarray) -> list[list[tuple[str, np.ndarray]]]:
    """The answers of each branch, cut out of the network's."""
    made, first = [], 0
    for branch in parts:
        made.append([])
        for name, value in branch.case.answers:
            count = prod(value.shape)
            made[-1].append((name, row[first : first + count]))
            first += count
    return made


def wrong(branch: Branch, got: Sequence[tuple[str, np.ndarray]]) -> bool:
    return not all(branch.case.close(name, value) for name, value in got)
