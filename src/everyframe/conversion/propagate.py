"""Facts for every tensor of a clip network, node by node; again until the heads know each other."""

from __future__ import annotations

from dataclasses import replace

from everyframe.conversion import axes as ax
from everyframe.conversion import rules
from everyframe.conversion.facts import Fact, Facts, Heads, Options, Place, common
from everyframe.conversion.inputs import layouts
from everyframe.conversion.refusals import following, unsupported
from everyframe.conversion.rules.verbatim import Verbatim
from everyframe.errors import ModelError
from everyframe.modelfile.graph import Graph, Node

LONGEST = 2**14  # frames: 9 minutes at 30 fps


def propagate(graph: Graph, options: Options, place: Place | None = None) -> Facts:
    """Facts for every tensor of the clip graph. place: says afterwards where it ended. Raises UnsupportedOperator or ModelError
    naming the node."""
    hop, heads = 1, Heads({})
    while True:  # again: heads need the hop and each other, which the wires before them decide
        facts = _propagate_once(graph, options, hop, heads, place or Place())
        timed = (fact for fact in facts.table.values() if not fact.static)
        found = common(fact.every for fact in timed if not fact.pooled), facts.align()
        if found == (hop, heads):
            return facts
        hop, heads = found


def _propagate_once(graph: Graph, options: Options, hop: int, heads: Heads, place: Place) -> Facts:
    facts = Facts(graph, options, hop, heads)
    place.facts = facts
    facts.table |= _given(graph, options, hop)
    for node in graph.averages_last():
        if facts.timed(node):
            place.node = node
            with following(node):
                made = _made(node, facts)
            home = _home(facts[facts.timed(node)[0]])
            outputs = [replace(fact, home=home) for fact in (made if isinstance(made, tuple) else (made,))]
            facts.table.update(zip(node.outputs, outputs, strict=False))
            _check_reach(node, outputs)
    place.node = None
    for name in graph.outputs:
        if name not in facts.table or facts[name].static:
            raise ModelError("An output does not depend on the clip.", where=f"output {name!r}", hint="export the network again")
    return facts


def _made(node: Node, facts: Facts) -> Fact | tuple[Fact, ...]:
    fits = Verbatim.fits(node, facts)
    if not (fits and any(facts.is_whole(name) for name in node.inputs)):
        try:
            return rules.of(node).fact(node, facts)
        except ModelError:
            if not fits:
                raise
    return Verbatim.fact(node, facts)


def _given(graph: Graph, options: Options, hop: int) -> dict[str, Fact]:
    """Facts of the inputs. Frame j of one that has n times fewer frames than another goes with frame j*n of that."""
    found = layouts(options.layout, {name: len(graph.shapes[name]) for name in graph.inputs})
    for name, layout in found.items():
        shape = graph.shapes[name]
        if (
            len(shape) != len(layout)
            or (len(found) == 1 and "T" not in layout)
            or ("N" in layout and shape[layout.index("N")] != 1)
        ):
            raise ModelError(
                "The network's input is not one clip.",
                where=f"input {name!r}",
                expected=f"{len(layout)} axes {layout} with N = 1",
                got=str(shape),
                hint="export with batch size 1; another axis order is said to `everyframe stream`, e.g. --layout NTCHW",
            )
    lengths = {name: graph.shapes[name][layout.index("T")] for name, layout in found.items() if "T" in layout}
    if not lengths:
        raise ModelError(
            "No input of the network has frames.", where=", ".join(found), expected="a clip, (1, C, T, H, W)",
            hint="say where time is, e.g. --layout NAME=NCT",
        )  # fmt: skip
    length = max(lengths.values())
    if any(length % frames for frames in lengths.values()):
        raise ModelError(
            "The inputs' numbers of frames do not fit each other.", where="graph inputs",
            expected="each a whole fraction of the longest, such as 32 and 8",
            got=", ".join(f"{name!r}: {frames}" for name, frames in lengths.items()),
            hint="export the network with other clip lengths, or resample the slower input",
        )  # fmt: skip
    made = {}
    for name, layout in found.items():
        axes, apart = ax.of_layout(layout, graph.shapes[name]), length // lengths.get(name, length)
        if name in lengths:
            made[name] = Fact(axes, lengths[name], every=1 if options.rate == "dense" else apart, spacing=apart)
        else:
            made[name] = Fact(axes, length, every=hop, spacing=hop, gate=True, static=True)
    return made


def _check_reach(node: Node, outputs: list[Fact]) -> None:
    """Refuses what would have to be remembered for minutes, before anything is built for it."""
    for fact in outputs:
        if max(fact.delay, fact.every, fact.left, fact.right) > LONGEST:
            raise unsupported(
                node, f"{node.op} reaches too far in time.", expected=f"up to {LONGEST} frames",
                got=f"a delay of {fact.delay} frames, a value every {fact.every}",
                hint="use smaller kernels, dilations and strides in time",
            )  # fmt: skip


def _home(fact: Fact) -> int | None:
    axis = ax.time_axis(fact.axes)
    return fact.home if axis is None else axis
