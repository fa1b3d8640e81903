"""A loop over the clip's frames that an exporter wrote out, frame after frame, becomes a Scan again.

torch writes `for t in range(T): h = cell(x[:, :, t], h)` as T copies of the cell. They are found by what they are: each frame of
a tensor is picked once, and what depends on frame t, but on none after it, is the same for every t. The first copy has constants
where the others read the one before: the first states. The last lacks what would only serve a next one. Nothing is guessed: what
does not match to the last attribute stays as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from everyframe.modelfile.graph import static_shapes

Place = tuple[int, int]  # node of a cell, output of that node


def roll(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which loops are rolled up, or the model itself where there are none. Needs static shapes."""
    if all(d.HasField("dim_value") for v in model.graph.input for d in v.type.tensor_type.shape.dim):
        while made := _rolled_once(model):
            model = made
    return model


@dataclass
class _Picks:
    """Single frames of tensors of one length. index: picked tensor -> (frame, how many-th pick of it); source: picked tensor ->
    (tensor, axis) that it was picked from.
    """

    frames: int
    index: dict[str, Place] = field(default_factory=dict)
    source: dict[str, tuple[str, int]] = field(default_factory=dict)

    def add(self, source: tuple[str, int], found: list[tuple[int, str]]) -> None:
        first = len(self.index) // self.frames
        seen = [first] * self.frames
        for t, name in found:
            self.index[name], self.source[name] = (t, seen[t]), source
            seen[t] += 1


def _rolled_once(model: onnx.ModelProto) -> onnx.ModelProto | None:
    view = _View(model)
    if not view.groups:
        return None
    view.shapes = static_shapes(model)
    whole: dict[tuple[str, int], int] = {}  # what every frame is picked of, as often as any other -> frames
    for (source, axis), found in view.groups.items():
        frames = (view.shapes.get(source, ())[axis : axis + 1] or (0,))[0]
        counts = [sum(t == i for t, _ in found) for i in range(frames)]
        if frames >= 2 and counts[0] and set(counts) == {counts[0]} and len(found) == sum(counts):
            whole[source, axis] = frames
    for group, frames in whole.items():
        picks = _Picks(frames)
        picks.add(group, view.groups[group])
        others = [other for other, length in whole.items() if length == frames and other != group]
        while more := next(
            (other for other in others if other not in picks.source.values() and _meets(view, picks, other)), None
        ):
            picks.add(more, view.groups[more])
        if made := _Loop(view, picks).rolled():
            return made
    return None


def _meets(view: _View, picks: _Picks, other: tuple[str, int]) -> bool:
    """Does something that is computed from these picks read those of another tensor, too?"""
    theirs, made = {name for _, name in view.groups[other]}, set(picks.index)
    for node in view.nodes:
        if made & set(node.input):
            if theirs & set(node.input):
                return True
            made |= set(node.output)
    theirs_too = set(theirs)
    for node in view.nodes:  # or the other way round: what is computed of both, each by itself before
        if theirs_too & set(node.input):
            if made & set(node.input):
                return True
            theirs_too |= set(node.output)
    return False


class _View:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.model, self.nodes = model, [n for n in model.graph.node if n.op_type != "Constant"]
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.arrays = {t.name: t for t in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.arrays[node.output[0]] = node.attribute[0].t
        #: constants, and what is computed from them alone
        self.fixed = {*self.arrays, ""}
        for node in self.nodes:
            if self.fixed.issuperset(node.input) and not any(a.HasField("g") for a in node.attribute):
                self.fixed.update(node.output)
        self._digests: dict[str, bytes] = {}
        self.groups: dict[tuple[str, int], list[tuple[int, str]]] = {}
        self.pickers: set[str] = set()
        for node in self.nodes:
            for axis, t, name in self._picked(node):
                self.groups.setdefault((node.input[0], axis), []).append((t, name))
                self.pickers.add(name)

    def digest(self, name: str) -> bytes:
        if name not in self.arrays:
            return name.encode()
        if name not in self._digests:
            tensor = onnx.TensorProto()
            tensor.CopyFrom(self.arrays[name])
            tensor.ClearField("name")
            self._digests[name] = hashlib.sha256(tensor.SerializeToString()).digest()
        return self._digests[name]

    def ints(self, node: onnx.NodeProto, i: int) -> list[int] | None:
        name = node.input[i] if i < len(node.input) else ""
        return numpy_helper.to_array(self.arrays[name]).reshape(-1).tolist() if name in self.arrays else None

    def _picked(self, node: onnx.NodeProto) -> Iterator[tuple[int, int, str]]:
        """(axis, frame, tensor) of each single frame that this node picks."""
        attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Gather" and len(at := self.ints(node, 1) or []) == 1 and at[0] >= 0:
            yield attrs.get("axis", 0), at[0], node.output[0]
        elif node.op_type == "Slice" and len(node.input) > 3:
            starts, ends, axes = (self.ints(node, i) for i in (1, 2, 3))
            if starts and ends and axes and len(axes) == 1 and ends[0] == starts[0] + 1 >= 1 and axes[0] >= 0:
                yield axes[0], starts[0], node.output[0]
        elif node.op_type == "Split":
            sizes = attrs.get("split") or self.ints(node, 1) or [1]
            if set(sizes) == {1} and attrs.get("axis", 0) >= 0:
                yield from ((attrs.get("axis", 0), t, name) for t, name in enumerate(node.output))


class _Loop:
    def __init__(self, view: _View, picks: _Picks) -> None:
        self.view, self.picks, self.graph = view, picks, view.model.graph
        self.level: dict[str, int] = {name: t for name, (t, _) in picks.index.items()}
        self.cells: list[list[onnx.NodeProto]] = [[] for _ in range(picks.frames)]
        for node in view.nodes:
            if node.output[0] not in picks.index:
                t = max((self.level.get(name, -1) for name in node.input), default=-1)
                if t >= 0:
                    self.level |= dict.fromkeys(node.output, t)
                    self.cells[t].append(node)
        self.place: dict[str, tuple[int, Place]] = {}
        for t, cell in enumerate(self.cells[:-1]):
            for i, node in enumerate(cell):
                self._put(t, i, node)
        self.first: dict[Place, str] = {}  # state -> the constant that it begins with
        self.inner: list[onnx.TensorProto] = []  # constants of the body
        self.added: list[onnx.TensorProto] = []

    def rolled(self) -> onnx.ModelProto | None:
        """The model with a Scan in place of the copies; None if they are none."""
        last, length = self.picks.frames - 1, len(self.cells[0])
        if any(source in self.level for source, _ in self.picks.source.values()):  # one loop behind another
            return None
        if last < 2 or not length or any(len(cell) != length for cell in self.cells[:-1]):
            return None
        body = [self._meaning(1, node) for node in self.cells[1]]
        if any([self._meaning(t, node) for node in self.cells[t]] != body for t in range(2, last)):
            return None
        if not all(self._begins(node, meaning) for node, meaning in zip(self.cells[0], body, strict=True)):
            return None
        tail = self.cells[-1]
        for i, meaning in enumerate(body):
            if tail and self._meaning(last, tail[0]) == meaning:
                self._put(last, i, tail[0])
                tail = tail[1:]
        return self._written(tail)

    def _put(self, t: int, i: int, node: onnx.NodeProto) -> None:
        self.place |= {name: (t, (i, k)) for k, name in enumerate(node.output)}

    def _meaning(self, t: int, node: onnx.NodeProto) -> tuple[object, ...]:
        """What a node of cell t does, in words that do not depend on t."""
        attrs = sorted(a.SerializeToString() for a in node.attribute)
        return node.op_type, node.domain, len(node.output), attrs, [self._word(t, name) for name in node.input]

    def _word(self, t: int, name: str) -> tuple[object, ...]:
        if name in self.view.arrays:
            return "constant", self.view.digest(name)
        if name in self.picks.index:
            frame, which = self.picks.index[name]
            return "picked", frame - t, which
        if name in self.place:
            cell, place = self.place[name]
            return "made", cell - t, place
        return "outer", name

    def _begins(self, node: onnx.NodeProto, meaning: tuple[object, ...]) -> bool:
        """Is this the same node of the first cell? Then its constants are first states where others read the cell before."""
        mine = self._meaning(0, node)
        words: list[tuple[tuple[object, ...], tuple[object, ...], str]] = list(zip(mine[4], meaning[4], node.input, strict=False))  # type: ignore[call-overload]
        if mine[:4] != meaning[:4] or len(mine[4]) != len(meaning[4]):  # type: ignore[arg-type]
            return False
        for own, other, name in words:
            if other[0] == "made" and other[1] == -1:
                place: Place = other[2]  # type: ignore[assignment]
                known = self.first.setdefault(place, name)
                if name not in self.view.fixed or self.view.digest(known) != self.view.digest(name):
                    return False
            elif own != other or (own[0] in ("made", "picked") and own[1] != 0):
                return False
        return True

    def _written(self, tail: list[onnx.NodeProto]) -> onnx.ModelProto | None:
        first, scanned = next(iter(self.picks.source.values()))
        prefix, shapes, info = f"{first}/loop{scanned}", self.view.shapes, helper.make_tensor_value_info
        read = self._read(tail)
        states = sorted(self.first)
        if read is None or any(axis is not None and shapes[self._name(place)][axis] != 1 for place, axis, _ in read):
            return None
        frames = {name: f"{name}/frame" for name, (t, _) in self.picks.index.items() if t == 1}
        sources = [self.picks.source[name] for name in frames]
        nodes = [self._reshape(frame, name, shapes[name]) for name, frame in frames.items()]
        nodes += self._body({self.cells[0][i].output[k]: f"{prefix}/state{n}" for n, (i, k) in enumerate(states)})
        outputs, ends = [f"{prefix}/end{n}" for n in range(len(states))], [self._name(p) for p in states]
        axes: list[int] = []
        after: list[onnx.NodeProto] = []
        for place, axis, joined in read:
            name, frame = self._name(place), f"{prefix}/out{len(axes)}.frame"
            nodes.append(self._reshape(name, frame, tuple(size for i, size in enumerate(shapes[name]) if i != axis)))
            ends.append(frame)
            axes.append(axis or 0)
            outputs.append(joined or f"{prefix}/out{len(axes)}")
            if not joined:
                after.append(self._last(outputs[-1], place))
        inputs = [info(f"{prefix}/state{n}", TensorProto.FLOAT, shapes[self._name(p)]) for n, p in enumerate(states)]
        for frame, (source, along) in zip(frames.values(), sources, strict=True):
            inputs.append(info(frame, TensorProto.FLOAT, [size for i, size in enumerate(shapes[source]) if i != along]))
        body = helper.make_graph(nodes, prefix, inputs, [info(name, TensorProto.FLOAT, None) for name in ends], self.inner)
        scan = helper.make_node(
            "Scan", [*(self.first[p] for p in states), *(name for name, _ in sources)], outputs, name=prefix, body=body,
            num_scan_inputs=len(frames), scan_input_axes=[along for _, along in sources], scan_output_axes=axes,
        )  # fmt: skip
        whole = {name for _, _, name in read}
        return self._replaced([scan, *after], [node for node in tail if node.output[0] not in whole])

    def _name(self, place: Place) -> str:
        """The tensor at a place of the second cell, which becomes the body."""
        made: str = self.cells[1][place[0]].output[place[1]]
        return made

    def _body(self, before: dict[str, str]) -> list[onnx.NodeProto]:
        made = []
        for node in self.cells[1]:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            for i, name in enumerate(node.input):
                copy.input[i] = before.get(name, name)
            made.append(copy)
        return made

    def _last(self, frames: str, place: Place) -> onnx.NodeProto:
        output = next(name for name, at in self.place.items() if at == (self.picks.frames - 1, place))
        index = numpy_helper.from_array(np.array(self.picks.frames - 1, np.int64), f"{frames}.last")
        self.added.append(index)
        return helper.make_node("Gather", [frames, index.name], [output], name=f"{frames}.pick", axis=0)

    def _read(self, tail: Iterable[onnx.NodeProto]) -> list[tuple[Place, int | None, str]] | None:
        """What the rest of the network reads: (place, axis, tensor) joined over all frames, (place, None, "") of the last."""
        read: dict[tuple[Place, str], tuple[Place, int | None, str]] = {}
        lasts = {v.name for v in self.graph.output} & self.place.keys()
        for node in tail:
            places = [self.place[name] for name in node.input if name in self.place]
            if places and node.op_type == "Concat" and places == [(t, places[0][1]) for t in range(self.picks.frames)]:
                axis = helper.get_attribute_value(node.attribute[0]) % len(self.view.shapes[node.input[0]])
                read[places[0][1], node.output[0]] = (places[0][1], axis, node.output[0])
            else:
                lasts |= {name for name in node.input if name in self.place}
        for name in lasts:
            t, place = self.place[name]
            if t != self.picks.frames - 1:
                return None
            read[place, ""] = (place, None, "")
        return list(read.values())

    def _reshape(self, x: str, out: str, shape: tuple[int, ...]) -> onnx.NodeProto:
        self.inner.append(numpy_helper.from_array(np.array(shape, np.int64), f"{out}/shape"))
        return helper.make_node("Reshape", [x, f"{out}/shape"], [out], name=f"{out}/reshape")

    def _replaced(self, made: list[onnx.NodeProto], tail: list[onnx.NodeProto]) -> onnx.ModelProto:
        gone = self.place.keys() | set(self.picks.index)
        later = {node.output[0] for node in tail}
        model = onnx.ModelProto()
        model.CopyFrom(self.view.model)
        dropped = gone | later | {name for node in made for name in node.output}
        del model.graph.node[:], model.graph.value_info[:]
        model.graph.node.extend(n for n in self.graph.node if not dropped & set(n.output))
        model.graph.node.extend([*made, *tail])
        model.graph.initializer.extend(self.added)
        return model
