"""What pruning a layer saves on an engine, measured: a table of single convolutions, kept on disk, and a network's time from it.

A layer is measured as a network of one convolution with random weights of which a pattern keeps the largest. The time of a whole
network is that of the dense one less what its layers save, so that what happens between layers counts once, and correctly.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from everyframe.benchmarking.variants import SECONDS, circumstances, milliseconds
from everyframe.errors import UsageError
from everyframe.files import cache_folder, write_bytes
from everyframe.models.trace import trace
from everyframe.progress import bar
from everyframe.pruning.cost import LayerCost, check
from everyframe.pruning.pattern import Pattern
from everyframe.pruning.plan import candidates

#: rates that are measured; time between them is taken as linear
RATES = (0.5, 0.7, 0.8, 0.9)
#: layers with less of the network's MACs are not worth measuring, nor pruning
SHARE = 0.01


@dataclass
class Table:
    """ms: layer (`key`) -> variant (`dense`, or pattern and rate) -> milliseconds of one thread."""

    engine: str
    path: Path
    ms: dict[str, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def open(cls, engine: str) -> Table:
        """What was measured before with this engine, processor and version; a damaged file counts as none."""
        path = cache_folder("latency") / f"{circumstances(engine)}.json"
        return cls(engine, path, _read(path))

    def measure(
        self, costs: Sequence[LayerCost], patterns: Sequence[Pattern], rates: Sequence[float] = RATES, seconds: float = SECONDS
    ) -> None:
        """Fills in what is missing, layer by layer, with a bar; what was measured stays when it is interrupted. Equal layers are
        measured once. Raises OutputError, and what the engine raises.
        """
        missing: dict[str, tuple[LayerCost, dict[str, tuple[Pattern, float] | None]]] = {}
        for cost in costs:
            fitting = [pattern for pattern in patterns if pattern.fits(cost.weight_shape)]
            wanted = {"dense": None, **{_variant(p, rate): (p, rate) for p in fitting for rate in rates}}
            known = self.ms.get(key(cost), {})
            if new := {name: variant for name, variant in wanted.items() if name not in known}:
                missing[key(cost)] = (cost, new)
        with bar(f"measuring layers on {self.engine}") as progress:
            for done, (layer, (cost, variants)) in enumerate(missing.items()):
                progress(done, len(missing))
                models = {name: network(cost, variant) for name, variant in variants.items()}
                self.ms.setdefault(layer, {}).update(milliseconds(models, self.engine, seconds))
                self._write()

    def _write(self) -> None:
        """With what other processes have measured meanwhile."""
        for layer, row in _read(self.path).items():
            self.ms[layer] = {**row, **self.ms.get(layer, {})}
        with contextlib.suppress(OSError):  # writing says better what is wrong
            self.path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(json.dumps(self.ms, indent=1).encode(), self.path)

    def saved(self, cost: LayerCost, pattern: Pattern, rate: float) -> float:
        """Milliseconds that pruning saves of the layer, below 0 where it costs time. Raises UsageError if it was not measured."""
        row = self.ms.get(key(cost), {})
        prefix = f"{pattern} "
        known = {float(name.removeprefix(prefix)): ms for name, ms in row.items() if name.startswith(prefix)}
        if rate and not known:
            raise UsageError("The layer was not measured with this pattern.", where=cost.name, got=pattern)
        at = np.array([0.0, *sorted(known)])
        return row["dense"] - float(np.interp(rate, at, [row["dense"], *(known[r] for r in at[1:])])) if rate else 0.0


@dataclass(frozen=True)
class Latency:
    """Milliseconds of a pruned network for a clip, one thread. costs: of all layers; layers: those that were measured; dense: of
    the network as it is.
    """

    table: Table
    costs: Sequence[LayerCost]
    layers: Sequence[LayerCost]
    dense: float

    def ms(self, rates: Mapping[str, float], pattern: Pattern) -> float:
        """Raises UsageError for layers that were not measured."""
        check(self.costs, rates)
        return self.dense - sum(self.table.saved(cost, pattern, rates.get(cost.name, 0.0)) for cost in self.costs)


def whole(net: nn.Module, shape: Sequence[int], engine: str, seconds: float = 10 * SECONDS) -> float:
    """Milliseconds of the network for one clip of `shape`, (1, C, T, H, W)."""
    graph, _ = trace(net, tuple(shape), seed=0)
    return milliseconds({"network": graph}, engine, seconds)["network"]


def worthwhile(costs: Sequence[LayerCost], patterns: Sequence[Pattern], target: float) -> list[LayerCost]:
    """Layers that one of the patterns would prune for a FLOPs rate of `target` (`plan.candidates`) and that cost something."""
    least = SHARE * sum(cost.macs for cost in costs)
    names = {name for pattern in patterns for name in candidates(costs, pattern, target)}
    return [cost for cost in costs if cost.name in names and cost.macs >= least]


def key(cost: LayerCost) -> str:
    """Layers with the same key take the same time."""
    given = cost.input if len(cost.stride) == 2 else cost.input[1:]  # the batch of a 2-D convolution is frames
    return json.dumps([cost.weight_shape, given, cost.stride, cost.padding, cost.dilation, cost.groups])


def network(cost: LayerCost, pruned: tuple[Pattern, float] | None) -> onnx.ModelProto:
    """The layer alone, for one clip, and the mean of its output: to bring whole feature maps out of an engine's layout would take
    longer than many a layer. A 2-D convolution of frames is one of clips whose kernel has one tap.
    """
    weight = np.random.default_rng(0).standard_normal(cost.weight_shape, np.float32)
    if pruned:
        pattern, rate = pruned
        weight *= pattern.spread(pattern.keep(pattern.scores(weight), rate), weight.shape)
    stride, padding, dilation, given = cost.stride, cost.padding, cost.dilation, cost.input
    if len(stride) == 2:
        weight = weight[:, :, None]
        stride, padding, dilation = (1, *stride), (0, *padding), (1, *dilation)
        given = (1, given[1], given[0], *given[2:])
    conv = helper.make_node(
        "Conv", ["clip", "weight"], ["made"], kernel_shape=weight.shape[2:], pads=[*padding, *padding], strides=stride,
        dilations=dilation, group=cost.groups,
    )  # fmt: skip
    mean = helper.make_node("ReduceMean", ["made", "axes"], ["logits"], keepdims=0)
    graph = helper.make_graph(
        [conv, mean], "layer", [helper.make_tensor_value_info("clip", TensorProto.FLOAT, (1, *given[1:]))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, weight.shape[0]))],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(np.array([2, 3, 4]), "axes")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _read(path: Path) -> dict[str, dict[str, float]]:
    try:
        found = json.loads(path.read_text())
        return {str(layer): {str(name): float(ms) for name, ms in row.items()} for layer, row in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _variant(pattern: Pattern, rate: float) -> str:
    return f"{pattern} {rate:g}"
