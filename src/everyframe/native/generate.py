"""ONNX model -> C source: trace, fuse, lay out, emit."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import onnx

from everyframe.modelfile.file import metadata_of
from everyframe.modelfile.fold import fold
from everyframe.modelfile.schema import StateSpec
from everyframe.native.blob import Blob
from everyframe.native.choice import direct
from everyframe.native.emit import Emitter, Source
from everyframe.native.fuse import fuse
from everyframe.native.ir import Conv, Graph
from everyframe.native.layout import Layout, plan
from everyframe.native.memory import account
from everyframe.native.pack import Packer
from everyframe.native.packed import Choose, by_default
from everyframe.native.planar import mark
from everyframe.native.strips import better_so, in_strips
from everyframe.native.target import Target
from everyframe.native.together import together
from everyframe.native.trace import trace
from everyframe.native.winograd import rewrite


def digest(model: onnx.ModelProto) -> str:
    """sha256 of the model, which names it in the cache and ties code, weights and model together."""
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def generate(
    model: onnx.ModelProto,
    states: Sequence[StateSpec],
    target: Target,
    *,
    where: object = "model",
    stem: str = "model",
    command: str = "",
    choose: Choose = by_default,
) -> tuple[Source, Layout, Target]:
    """The C file of a model. Raises ModelError and UnsupportedOperator; nothing is written.

    Also returns the target that was chosen: one with narrower blocks where that skips more zeros.
    command: how the file is made again, for its header. stem: its name without the ending. choose: how convolutions are computed.
    """
    from everyframe.version import __version__

    key = digest(model)
    graph, layout, target = planned(model, states, target, where, choose)
    memory = account(graph, layout, target)
    notes = [
        f"{stem}.c: the network {where} as C, made by everyframe {__version__} for {target.name}. Do not edit.",
        f"Make it again with:  {command or 'everyframe compile MODEL.onnx --emit-c DIR'}",
        f"Model:               sha256 {key}",
        f"Compile it with:     cc {' '.join((*target.flags, *BASE_FLAGS))} -c {stem}.c  (link with -lm -lpthread)",
        "Define EF_NO_THREADS to do without threads, EF_STATIC_ARENA for memory in the data section,",
        "EF_EMBED='\"FILE.weights\"' for the weights in the data section.",
        "",
        "Letters: C channels, H height, W width, k taps (frames that a convolution reads), VL channels in a vector.",
        "",
        "Arena, in bytes:",
        *(f"    {size:>12,}  {what}" for what, size in memory["bytes"].items()),
    ]
    source = Emitter(graph, layout, target, int(key[:16], 16), choose).emit(notes, stem, metadata_of(model, where))
    source.facts["memory"] = memory
    return source, layout, target


def planned(
    model: onnx.ModelProto, states: Sequence[StateSpec], target: Target, where: object, choose: Choose = by_default,
    strips: bool = True,
) -> tuple[Graph, Layout, Target]:  # fmt: skip
    """What code would be made of, and for what target. strips: also of some rows at a time. Raises ModelError and
    UnsupportedOperator."""
    graph = fuse(trace(model if states else _folded(model), states, where))
    target = _fitting(graph, target)
    if not target.scalar:
        few = {id(op) for op in mark(graph, target.block).ops if isinstance(op, Conv) and op.planar}
        graph = together(rewrite(graph, target, choose, few | (better_so(graph) if strips else set())))
        graph = mark(graph, target.block)  # what is transformed comes in blocks
        graph = in_strips(graph, target) if strips else graph
    return graph, plan(graph, target.block, borders=not target.scalar), target


def untransformed(model: onnx.ModelProto, states: Sequence[StateSpec], target: Target, where: object) -> Packer:
    """The convolutions as they are, for measuring what else they could be; matched, not packed. Raises as `planned`."""
    graph, layout, target = planned(model, states, target, where, direct, strips=False)
    return Packer(graph, layout, target, Blob()).match()


def _fitting(graph: Graph, target: Target) -> Target:
    """The target, or its narrow form if zeros in the weights save clearly more there."""
    weights = [tap.weight for op in graph.ops if isinstance(op, Conv) and not op.depthwise for tap in op.taps]
    zeros = sum(w.size - np.count_nonzero(w) for w in weights)
    if target.narrow is None or zeros < _SPARSE * sum(w.size for w in weights):
        return target
    saved = [
        Packer(graph, plan(graph, candidate.block, borders=True), candidate, Blob()).saved()
        for candidate in (target, target.narrow)
    ]
    return target.narrow if saved[1] * _NARROW_COSTS < saved[0] else target


#: below this share of zeros nobody looks for them
_SPARSE = 0.2
#: how much more zeros must save with narrow blocks. Dense convolutions take 1.08 times as long with them where wide vectors are
#: worked through in halves (Zen 4), and twice as long where they are not
_NARROW_COSTS = 1.3


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """A clip network as exporters leave it, without the nodes that only compute shapes. A step network has none of them."""
    clip = any(len(value.type.tensor_type.shape.dim) == 5 for value in model.graph.input[:1])
    return fold(model) if clip else model


#: besides the target's: sums may be contracted to fused multiply-adds, tables of integers lie among the floats
BASE_FLAGS = ("-std=gnu11", "-ffp-contract=fast", "-fno-strict-aliasing", "-fno-math-errno")
