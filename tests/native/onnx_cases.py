"""ONNX's own tests of operators (onnx.backend.test) as branches of networks that can be compiled.

A case's inputs become parts of `frames`: planes of it, cut to height and width for what has four or more axes, single values for
the rest, cast to the type that they have. So they are there only at run time, all of them or just some (most networks have
constant weights).
What a case answers is cast to float32 and compared with the arrays that come with it. Many branches are one network, so that a
compiler is called a few times and not thousands.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from everyframe.native.control import renamed
from native.operators import Sketch

# N batch, C channels, H height, W width


#: numpy's types of what float32 frames can be cast to -> ONNX's
TYPES = {
    np.dtype(name): number
    for name, number in (
        ("float32", TensorProto.FLOAT), ("float64", TensorProto.DOUBLE), ("bool", TensorProto.BOOL), ("int8", TensorProto.INT8),
        ("uint8", TensorProto.UINT8), ("int16", TensorProto.INT16), ("uint16", TensorProto.UINT16), ("int32", TensorProto.INT32),
        ("uint32", TensorProto.UINT32), ("int64", TensorProto.INT64), ("uint64", TensorProto.UINT64),
    )
}  # fmt: skip


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
        rough = wanted.dtype.name == "bfloat16"  # of 8 bits, rounded at every step on the way
        wanted = wanted.astype(np.float32) if rough else wanted
        if wanted.dtype.kind not in "fiub":
            return wanted.shape == got.shape
        wanted = wanted.astype(np.float64).ravel()
        finite = wanted[np.isfinite(wanted)]
        atol = max(self.atol, (2**-7 if rough else 1e-5) * float(np.abs(finite).max(initial=0)))
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
        return [_planes(np.asarray(value, np.float32)) for name, value in self.case.feeds if name in self.live]

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


def branches(case: Case) -> Iterator[Branch]:
    """What of a case may be there only at run time: all floats, the first of them, everything; only all floats of an operator's
    definition written out. Nothing for a case that cannot be written so."""
    given, floats = _given(case)
    if given:
        ways = [floats] if "_expanded" in case.name and floats else [floats, floats[:1], [*given]]
        yield from _each(case, ways)


def others(case: Case) -> Iterator[Branch]:
    """More ways, for a case of which nothing passed: floats of more than one value, what has the first input's type, it alone."""
    given, floats = _given(case)
    if given and not ("_expanded" in case.name and floats):
        kind = next(iter(given.values())).dtype
        several = [name for name in floats if given[name].size > 1]
        yield from _each(case, [several, [name for name in given if given[name].dtype == kind], [next(iter(given))]])


def _each(case: Case, ways: Sequence[Sequence[str]]) -> list[Branch]:
    return [Branch(case, names) for names in dict.fromkeys(tuple(way) for way in ways if way)]


def _given(case: Case) -> tuple[dict[str, np.ndarray], list[str]]:
    """The inputs that frames can hold, and the names of the floats among them; none of a case that is no network of tensors."""
    if any(entry.domain for entry in case.model.opset_import) or not case.tensors or case.model.functions:
        return {}, []
    given = {name: value for name, value in case.feeds if isinstance(value, np.ndarray) and _held(value)}
    return given, [name for name, value in given.items() if value.dtype == np.float32]


def _held(value: np.ndarray) -> bool:
    """Can frames of float32 hold it?"""
    if not value.size or value.dtype not in TYPES:
        return False
    return value.dtype.kind == "f" or bool((np.abs(value.astype(np.float64)) < 1 << 24).all())


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
                if value.dtype != np.float32:
                    names[name] = sketch.op("Cast", names[name], to=TYPES[value.dtype])
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
            for attribute in copy.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    attribute.g.CopyFrom(renamed(attribute.g, lambda name, names=names: names.get(name, name), {}))  # type: ignore[misc]
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
