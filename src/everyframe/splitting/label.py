"""Which part each node of a step graph belongs to: cut at every state, behind named nodes, or anywhere in their order.

A labeling is a number for each node that never falls along a tensor, so that parts can run one after another. At states it
follows from the graph: what reads a state comes after what the state remembers. A ring is written and read in a cycle through
its state; a cycle is one vertex, and a vertex with a state begins a new level. A level that multiplies nothing joins the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

import onnx

from everyframe.conversion.work import is_auxiliary
from everyframe.errors import UsageError
from everyframe.modelfile.manifest import Port
from everyframe.modelfile.schema import Metadata

#: what only moves numbers, chooses between them or says how they are stored
_MOVES = {
    "Cast", "Concat", "DequantizeLinear", "Expand", "Gather", "Identity", "Pad", "QuantizeLinear", "Reshape", "Slice", "Split",
    "Squeeze", "Transpose", "Unsqueeze", "Where",
}  # fmt: skip
#: number of the stage; 0 for what the host does before it, 1 for the stage itself
Label = tuple[int, int]


class Flow:
    """A step graph to be cut.

    integers: what a DequantizeLinear makes -> that node. Every part that reads one has its own, so that integers are what goes
    from part to part. nodes: all others, and those whose result is an output.
    """

    def __init__(self, model: onnx.ModelProto, metadata: Metadata) -> None:
        self.model, self.metadata = model, metadata
        outputs = [value.name for value in model.graph.output]
        #: the tensors that are no states
        (self.frames,) = {port.name for port in self.inputs()} - {spec.input for spec in metadata.states}
        beside = {spec.output for spec in metadata.states} | {spec.name for spec in metadata.outputs}
        self.logits = next(name for name in outputs if name not in beside)
        self.integers = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
        self.nodes = [node for node in model.graph.node if node.output[0] not in self.integers or node.output[0] in outputs]
        self.maker = {name: i for i, node in enumerate(self.nodes) for name in node.output if name}
        self.reads = [[name for name in map(self.carried, node.input) if name] for node in self.nodes]
        self.readers: dict[str, list[int]] = {}
        for i, names in enumerate(self.reads):
            for name in names:
                self.readers.setdefault(name, []).append(i)
        #: nodes that count steps: they read nothing but counters and constants
        counters = {spec.input for spec in metadata.states if spec.dtype == "int64"}
        clock = set(counters)
        self.clock: set[int] = set()
        weights = {tensor.name for tensor in model.graph.initializer}
        for i, names in enumerate(self.reads):
            moving = [name for name in names if name not in weights]
            if moving and clock.issuperset(moving):
                self.clock.add(i)
                clock.update(self.nodes[i].output)

    def inputs(self) -> list[Port]:
        """The frames and the states."""
        weights = {tensor.name for tensor in self.model.graph.initializer}
        found = []
        for value in self.model.graph.input:
            if value.name not in weights:
                kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
                shape = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
                found.append(Port(name=value.name, shape=shape, dtype=kind.name))
        return found

    def carried(self, name: str) -> str:
        """The tensor that goes from part to part where `name` is read."""
        node = self.integers.get(name)
        return node.input[0] if node is not None else name

    def before(self, i: int) -> list[int]:
        """The nodes whose results node i reads in the same step."""
        return [self.maker[name] for name in self.reads[i] if name in self.maker]

    def after(self, i: int) -> list[int]:
        return [reader for name in self.nodes[i].output for reader in self.readers.get(name, ())]

    def multiplies(self, i: int) -> bool:
        node = self.nodes[i]
        return node.op_type in ("Conv", "ConvTranspose") or (
            node.op_type in ("Gemm", "MatMul") and not is_auxiliary(node.input[0])
        )


def at_states(flow: Flow) -> list[Label]:
    """A stage between any two states, and what the host does around them: it keeps them, and rearranges what they hold."""
    level = _late(flow, _levels(flow))
    working = sorted({level[i] for i in range(len(level)) if flow.multiplies(i)})
    stage = [sum(w < one for w in working) for one in level]  # a level that multiplies nothing: that of the next that does
    host = _host(flow, stage)
    return [(stage[i], 0 if i in host or stage[i] == len(working) else 1) for i in range(len(stage))]


def behind(flow: Flow, names: Iterable[str]) -> list[Label]:
    """Cut behind the nodes, or tensors, that are named. Raises UsageError for one that is not there."""
    places = {node.name: i for i, node in enumerate(flow.nodes) if node.name}
    places |= flow.maker
    places |= {name: flow.maker[node.input[0]] for name, node in flow.integers.items() if node.input[0] in flow.maker}
    for name in names:
        if name not in places:
            close = [other for other in places if name.lower() in other.lower()][:5]
            raise UsageError(
                "There is no such node or tensor in the model.", where="--at", got=name,
                expected=", ".join(close) if close else "a node's or a tensor's name",
                hint="`everyframe info` lists layers; any ONNX viewer shows the names",
            )  # fmt: skip
    cuts = {places[name] for name in names}
    label = [0] * len(flow.nodes)
    for i in range(len(flow.nodes)):
        label[i] = max((label[j] + (j in cuts) for j in flow.before(i)), default=0)
    return [(number, 1) for number in _dense(_late(flow, label, cuts))]


def in_order(flow: Flow, ends: Sequence[int]) -> list[Label]:
    """Cut in the order of the nodes: stage k ends before node ends[k]."""
    return [(number, 1) for number in _dense(_late(flow, [sum(end <= i for end in ends) for i in range(len(flow.nodes))]))]


def _levels(flow: Flow) -> list[int]:
    """Longest path to each node, in states that begin a level: float states that repeat no other."""
    count, states = len(flow.nodes), flow.metadata.states
    weight = [0] * count + [int(spec.dtype != "int64" and spec.copy_of is None) for spec in states]
    ahead: list[list[int]] = [flow.after(i) for i in range(count)]
    for s, spec in enumerate(states, start=count):
        ahead.append(flow.readers.get(spec.input, []))
        if (maker := flow.maker.get(spec.output)) is not None:
            ahead[maker] = [*ahead[maker], s]
    group = _cycles(ahead)
    gain = [0] * (max(group) + 1)
    for vertex, number in enumerate(group):
        gain[number] = max(gain[number], weight[vertex])
    level = list(gain)
    # groups are numbered against the arrows
    for vertex in sorted(range(len(group)), key=lambda v: -group[v]):
        for other in ahead[vertex]:
            if group[other] != group[vertex]:
                level[group[other]] = max(level[group[other]], level[group[vertex]] + gain[group[other]])
    return [level[number] for number in group[:count]]


def _cycles(ahead: list[list[int]]) -> list[int]:
    """The number of each vertex's cycle (strongly connected component, Tarjan); a number is higher than those it leads to."""
    number = [-1] * len(ahead)
    index = [-1] * len(ahead)
    low = [0] * len(ahead)
    stack: list[int] = []
    found = made = 0
    for root in range(len(ahead)):
        if index[root] >= 0:
            continue
        path = [(root, iter(ahead[root]))]
        index[root] = low[root] = found
        found += 1
        stack.append(root)
        while path:
            vertex, rest = path[-1]
            for other in rest:
                if index[other] < 0:
                    index[other] = low[other] = found
                    found += 1
                    stack.append(other)
                    path.append((other, iter(ahead[other])))
                    break
                if number[other] < 0:
                    low[vertex] = min(low[vertex], index[other])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[vertex])
                if low[vertex] == index[vertex]:
                    while number[vertex] < 0:
                        number[stack.pop()] = made
                    made += 1
    return number


def _late(flow: Flow, level: list[int], fixed: Set[int] = frozenset()) -> list[int]:
    """Nodes that only move numbers go to where they are read, the counter's to the first node that asks it."""
    level = list(level)
    kept = {spec.output: flow.readers.get(spec.input, []) for spec in flow.metadata.states}
    for i in reversed(range(len(level))):
        later = [j for name in flow.nodes[i].output for j in kept.get(name, ()) if level[j] >= level[i]]
        readers = [level[j] for j in (*flow.after(i), *later)]
        if readers and i not in fixed and (i in flow.clock or _moves(flow, i)):
            level[i] = min(readers)
    asked = [level[j] for i in flow.clock for j in flow.after(i) if j not in flow.clock]
    if not fixed & flow.clock:
        for i in flow.clock:
            level[i] = min(asked, default=max(level))
    return level


def _moves(flow: Flow, i: int) -> bool:
    """Rounding stays with the computation that it rounds: an accelerator does both at once."""
    kind = flow.nodes[i].op_type
    return kind in _MOVES and (kind != "QuantizeLinear" or all(flow.nodes[j].op_type in _MOVES for j in flow.before(i)))


def _host(flow: Flow, stage: list[int]) -> set[int]:
    """What stands before everything that computes in its stage, and is tied to a state or to the counter."""
    movers: set[int] = set()
    for i, node in enumerate(flow.nodes):
        if i in flow.clock or (node.op_type in _MOVES and all(j in movers for j in flow.before(i) if stage[j] == stage[i])):
            movers.add(i)
    held = {spec.input for spec in flow.metadata.states} | {spec.output for spec in flow.metadata.states}
    tied = {i for i in movers if i in flow.clock or held & {*flow.reads[i], *flow.nodes[i].output}}
    while True:
        near = {j for i in tied for j in (*flow.before(i), *flow.after(i)) if j in movers and stage[j] == stage[i]} - tied
        if not near:
            return tied
        tied |= near


def _dense(numbers: list[int]) -> list[int]:
    order = {number: k for k, number in enumerate(sorted(set(numbers)))}
    return [order[number] for number in numbers]
