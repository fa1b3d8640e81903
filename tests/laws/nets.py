"""Random clip networks: a short list of layers, a head, and how the network is to be streamed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import lcm, prod
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from everyframe.conversion import convert
from everyframe.conversion.facts import Options
from everyframe.conversion.step import Conversion
from everyframe.errors import EveryframeError
from laws.heads import HEADS, Head
from laws.layers import ROWS, Act, Branches, Conv, Linear, Poison, Pool, TimeSlice
from laws.sketch import DoesNotFit, Sketch, Wire


@dataclass(frozen=True)
class Net:
    """A random network and how it is to be streamed."""

    T: int
    c: int
    size: int  # height; the width is one more
    layers: tuple[Any, ...]
    head: Head
    rate: str = "native"
    se: str = "frame"
    taps: str = "all"
    window: int | None = None
    opset: int = 18
    naming: str = "plain"
    layout: str = "NCTHW"  # of the network's input
    slots: bool = False  # states of one frame each, as for large pictures, instead of rings

    @property
    def picture(self) -> tuple[int, int]:
        return (self.size if "H" in self.layout else 1), self.size + 1

    def _start(self, frames: int, long: bool) -> tuple[Sketch, Wire]:
        sketch = Sketch(frames, self.T, long, self.se, self.taps, self.opset, self.naming)
        x = sketch.keep(Wire("clip", self.layout, self.c, *self.picture, frames, self.T, whole=frames))
        if self.layout == "TCHW":
            made = sketch.op("Reshape", x.name, sketch.ints(1, *x.shape()))
            x = sketch.keep(replace(x, name=made, layout="NTCHW"))
        if x.layout not in ("NCTHW", "NCTW"):
            made = sketch.op("Transpose", x.name, perm=[x.axis(a) for a in "NCTHW"])
            x = sketch.keep(replace(x, name=made, layout="NCTHW"))
        return sketch, x

    def write(self, frames: int, long: bool) -> tuple[Sketch, Wire]:
        sketch, x = self._start(frames, long)
        for layer in self.layers:
            x = layer.write(sketch, x)
        return sketch, x

    def clip(self) -> tuple[onnx.ModelProto, Sketch, tuple[Wire, ...]]:
        """(clip network, how it was written, the wires that its head reads)."""
        sketch, x = self.write(self.T, False)
        output, shape, read = self.head.write(sketch, x, list(sketch.wires.values()))
        return _model(sketch, self, {output: shape}), sketch, read

    def reference(self, frames: int) -> tuple[onnx.ModelProto, dict[str, Wire]]:
        """(the network on `frames` frames, its wires, which are its outputs)."""
        sketch, _ = self.write(frames, True)
        outputs = [name for name in sketch.wires if name != "clip"] or [sketch.op("Identity", "clip")]
        return _model(sketch, self, dict.fromkeys(outputs)), sketch.wires

    @property
    def hop(self) -> int:
        sketch, _ = self.write(self.T, False)
        return lcm(*(wire.spacing for wire in sketch.wires.values()))


def _model(sketch: Sketch, net: Net, outputs: dict[str, tuple[int, ...] | None]) -> onnx.ModelProto:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        sketch.nodes, "net", [info("clip", TensorProto.FLOAT, sketch.wires["clip"].shape())],
        [info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in sketch.arrays.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", net.opset)], ir_version=9 if net.opset < 21 else 10)


LONGEST_HOP, LONGEST_DELAY, LARGEST_FRAME = 30, 120, 5000
PADLESS = (Conv, Conv, Pool, Act, Poison, TimeSlice, Branches, Linear)


@st.composite
def nets(
    draw,
    *,
    rate: str = "native",
    heads: tuple[str, ...] = HEADS,
    frames: int = 12,
    channels: tuple[int, ...] = (2, 4, 1),
    taps: tuple[str, ...] = ("all", "trained"),
    rows: tuple[Any, ...] = ROWS,
    padless: bool = False,
) -> Net:
    """Layers are drawn one after another; those that do not fit are left out. frames: the longest clip.

    padless: nothing is padded on time and nothing averaged, so that no frame before the beginning may matter.
    """
    net = Net(
        T=draw(st.integers(1, frames)),
        c=draw(st.sampled_from(channels)),
        size=draw(st.sampled_from([4, 5, 6])),
        layers=(),
        head=Head("none"),
        rate=rate,
        se=draw(st.sampled_from(["frame", "frame", "window"])),
        taps=draw(st.sampled_from(taps)),
        opset=draw(st.sampled_from([18, 18, 17, 20, 11, 12, 14, 23])),
        naming=draw(st.sampled_from(["plain", "plain", "none", "hostile"])),
        layout=draw(st.sampled_from(["NCTHW", "NCTHW", "NCTHW", "NCTHW", "NTCHW", "TCHW", "NCTW"])),
        slots=draw(st.booleans()),
    )
    for _ in range(draw(st.integers(1, 5))):
        _, x = net.write(net.T, False)
        row = draw(st.sampled_from(PADLESS if padless else rows))
        try:
            longer = replace(net, layers=(*net.layers, row.draw(draw, x, padless=padless)))
            _, end = longer.write(net.T, False)
            longer.write(net.T + longer.hop, True)
        except DoesNotFit:
            continue
        if longer.hop <= LONGEST_HOP and end.delay <= LONGEST_DELAY and prod(end.shape()) < LARGEST_FRAME:
            net = longer
    head = Head("none" if padless else draw(st.sampled_from(heads)), draw(st.integers(0, 9)))
    try:
        replace(net, head=head).clip()
    except DoesNotFit:
        head = Head("none" if "none" in heads or padless else "mean")
        try:
            replace(net, head=head).clip()
        except DoesNotFit:
            net = replace(net, layers=())
    window = draw(st.sampled_from([None, None, 1, 2, 5, net.T + 3])) if head.averages else None
    return replace(net, head=head, window=window)


def rows_of(layers: tuple[Any, ...]) -> list[str]:
    """Names of all kinds of layers, those inside others too."""
    names = []
    for layer in layers:
        names.append(type(layer).__name__)
        inner = [value for value in vars(layer).values() if isinstance(value, tuple)]
        nested = [item for value in inner for item in value]
        nested += [item for way in nested if isinstance(way, tuple) for item in way]
        nested += [getattr(layer, name) for name in ("pad", "reader") if type(layer).__name__ == "Pair"]
        names += rows_of(tuple(item for item in nested if hasattr(item, "write")))
    return names


def picture_step(net: Net, tally: Counter[str]) -> Conversion | None:
    """The step network of a drawn one, or None, counted, where there is none or it takes no pictures."""
    try:
        made = convert(net.clip()[0], Options(net.rate, net.window, net.se, net.taps, net.layout))
    except EveryframeError:
        tally["not streamed"] += 1
        return None
    if len(made.step.graph.input[0].type.tensor_type.shape.dim) != 4:
        tally["no pictures"] += 1
        return None
    return made
