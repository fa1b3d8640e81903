"""Pieces of a clip network that do not depend on its length: what `lengthen` writes in place of constants and ranges."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from everyframe.conversion.counting import Numbers
from everyframe.conversion.facts import Facts
from everyframe.conversion.memory import SMALLEST, Extreme
from everyframe.conversion.rules import reduce

END = np.iinfo(np.int64).max


class Writer:
    """facts: of the network at the clip's own length. body: where constants are put."""

    def __init__(self, facts: Facts, body: onnx.ModelProto) -> None:
        self.facts, self.body, self.count = facts, body, 0

    def const(self, values: object, dtype: type = np.int64) -> str:
        self.count += 1
        name = f"lengthened.{self.count}"
        self.body.graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def as_long(self, frame: np.ndarray | str, like: str, time: int) -> tuple[str, list[onnx.NodeProto]]:
        """A constant frame, or a tensor with one, repeated as often as tensor `like` has frames."""
        self.count += 1
        name = f"{like}.like{self.count}"
        if isinstance(frame, str):
            shape = [size if i != time else 1 for i, size in enumerate(self.facts.graph.shapes[frame])]
        else:
            shape, frame = list(frame.shape), self.const(frame, frame.dtype.type)
        parts = [self.const(shape[:time]), f"{name}.frames", self.const(shape[time + 1 :])]
        return name, [
            helper.make_node("Shape", [like], [f"{name}.shape"]),
            self.sliced(f"{name}.shape", f"{name}.frames", [time], [time + 1], [0], [1]),
            helper.make_node("Concat", parts, [f"{name}.full"], axis=0),
            helper.make_node("Expand", [frame, f"{name}.full"], [name]),
        ]

    def counted(self, counted: Numbers, like: str, time: int, rank: int) -> tuple[str, list[onnx.NodeProto]]:
        """The numbers of the frames of tensor `like`."""
        ones, nodes = self.as_long(np.ones((1,) * rank, np.float32), like, time)
        nodes += [
            helper.make_node("CumSum", [ones, self.const(time)], [f"{ones}.sum"]),
            helper.make_node("Add", [f"{ones}.sum", self.const(counted.start - 1, np.float32)], [f"{ones}.from"]),
            helper.make_node("Mul", [f"{ones}.from", self.const(counted.of, np.float32)], [f"{ones}.numbers"]),
        ]
        if not counted.shares:
            return f"{ones}.numbers", nodes
        return f"{ones}.shares", [*nodes, helper.make_node("Reciprocal", [f"{ones}.numbers"], [f"{ones}.shares"])]

    def causal(self, kind: reduce.Kind, x: str, out: str, n: int, time: int, rank: int) -> list[onnx.NodeProto]:
        """The mean (or extreme) of the last n frames that exist: a pool on (1, everything else, T) that counts no padding."""
        last = [i for i in range(rank) if i != time] + [time]
        smallest = kind.time == SMALLEST
        flip = "Neg" if smallest else "Identity"
        attrs: dict[str, Any] = {} if isinstance(kind.time, Extreme) else {"count_include_pad": 0}
        pool = "MaxPool" if isinstance(kind.time, Extreme) else "AveragePool"
        return [
            helper.make_node(flip, [x], [f"{out}.flipped"]),
            helper.make_node("Transpose", [f"{out}.flipped"], [f"{out}.last"], perm=last),
            helper.make_node("Shape", [f"{out}.last"], [f"{out}.shape"]),
            self.sliced(f"{out}.shape", f"{out}.frames", [-1], [END], [0], [1]),
            helper.make_node("Concat", [self.const([1, -1]), f"{out}.frames"], [f"{out}.flat_shape"], axis=0),
            helper.make_node("Reshape", [f"{out}.last", f"{out}.flat_shape"], [f"{out}.flat"]),
            helper.make_node(pool, [f"{out}.flat"], [f"{out}.pooled"], kernel_shape=[n], pads=[n - 1, 0], **attrs),
            helper.make_node("Reshape", [f"{out}.pooled", f"{out}.shape"], [f"{out}.apart"]),
            helper.make_node("Transpose", [f"{out}.apart"], [f"{out}.back"], perm=[last.index(i) for i in range(rank)]),
            helper.make_node(flip, [f"{out}.back"], [out]),
        ]

    def sliced(self, x: str, out: str, starts: list[int], ends: list[int], axes: list[int], steps: list[int]) -> onnx.NodeProto:
        """A Slice in the model's own opset: its ranges became inputs in opset 10."""
        if self.facts.graph.opset >= 10:
            return helper.make_node("Slice", [x, *map(self.const, (starts, ends, axes, steps))], [out])
        return helper.make_node("Slice", [x], [out], starts=starts, ends=ends, axes=axes)
