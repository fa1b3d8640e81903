"""Where every frame lies: its blocks and borders, and its place in the one arena.

A frame is stored as (C / block, H + borders, W + borders, block): `block` channels side by side, so that one vector holds a
position's channels. Borders of zeros are what convolutions read as padding; nobody writes them, so frames with borders share
memory only with frames of the same form, and stay clean.

Frames that a state keeps live in pools, one for each form: a pool has as many buffers as states can hold plus those that a step
fills, so that a step always finds free ones and moving a state is moving a pointer. Everything else shares the rest of the arena
by lifetime.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from everyframe.native import ir
from everyframe.native.ir import Conv, Frame, Graph
from everyframe.native.planar import Groups, groups, planes

_ALIGN = 16  # floats: 64 bytes


@dataclass(frozen=True)
class Form:
    """How a frame of (channels, height, width) lies in memory. Borders in positions."""

    channels: int
    height: int
    width: int
    block: int
    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0
    zero: int | None = None  # bytes: what a border holds
    half: bool = False
    held: int = 0  # rows that are there at once, 0 for all (see `strips`),
    copies: int = 1  # and places for so many threads

    @property
    def size(self) -> int:
        """Bytes of a value."""
        return 1 if self.zero is not None else 2 if self.half else 4

    @property
    def blocks(self) -> int:
        return -(-self.channels // self.block)

    @property
    def row(self) -> int:
        """Values from one row to the next."""
        return (self.width + self.left + self.right) * self.block

    @property
    def plane(self) -> int:
        """Values from one block of channels to the next."""
        return (self.held or self.height + self.top + self.bottom) * self.row

    @property
    def origin(self) -> int:
        """Words of 4 bytes before position (0, 0) of channel 0, which is where a frame's pointer points."""
        return (self.top * self.row + self.left * self.block) * self.size // 4

    @property
    def floats(self) -> int:
        """Words of 4 bytes."""
        return self.copies * self.held_floats

    @property
    def held_floats(self) -> int:
        """Of one of the copies."""
        return -(-(self.blocks * self.plane * self.size) // (4 * _ALIGN)) * _ALIGN

    @property
    def bordered(self) -> bool:
        """Does it have borders that stay what they are?"""
        return not self.held and bool(self.top or self.left or self.bottom or self.right)

    def offset(self, channel: int, y: int = 0, x: int = 0) -> int:
        """Values from the frame's pointer to one of them."""
        return channel // self.block * self.plane + y * self.row + x * self.block + channel % self.block


@dataclass
class Pool:
    """Buffers of one form. start: floats from the arena's beginning."""

    form: Form
    count: int
    start: int = 0


@dataclass
class Layout:
    """forms, places: by frame number; a place is floats from the arena's beginning to the buffer, for frames with a fixed one.
    pool_of: frame number -> pool, for states and what becomes one. fresh: those frames, in the order of their pointers.
    zeros: place of a region of zeros. fills: (value, form) -> place of a frame full of it.
    """

    block: int
    forms: dict[int, Form] = field(default_factory=dict)
    places: dict[int, int] = field(default_factory=dict)
    pools: list[Pool] = field(default_factory=list)
    pool_of: dict[int, int] = field(default_factory=dict)
    fresh: list[Frame] = field(default_factory=list)
    zeros: int = 0
    zero_floats: int = 0
    fills: dict[tuple[float, Form], int] = field(default_factory=dict)
    floats: int = 0
    state_floats: int = 0
    peak_floats: int = 0  # of the part that is shared by lifetime

    def borders(self) -> list[tuple[int, int, int]]:
        """(start, words, byte) of all regions whose borders are not zeros."""
        made = [(pool.start, pool.count * pool.form.floats, pool.form) for pool in self.pools]
        made += [(place, form.floats, form) for (_, form), place in self.fills.items()]
        made += [(place, self.forms[number].floats, self.forms[number]) for number, place in self.places.items()]
        return sorted({(start, words, form.zero) for start, words, form in made if form.zero and form.bordered})


def sources(frame: Frame) -> list[Frame]:
    """The frames whose buffer a pointer to `frame` may point to."""
    if isinstance(frame.op, ir.Select):
        return [*sources(frame.op.yes), *sources(frame.op.no)]
    return [frame]


def plan(graph: Graph, block: int, borders: bool) -> Layout:
    """block: channels side by side, 1 for planes. borders: whether convolutions want zeros around their input."""
    layout = Layout(block)
    _forms(graph, layout, borders)
    _pools(graph, layout)
    _fixed(graph, layout)
    _shared(graph, layout)
    return layout


def _forms(graph: Graph, layout: Layout, borders: bool) -> None:
    alike = groups(graph)
    planar = planes(graph, alike, layout.block)
    pairs = [(op, graph.out(op)) for op in graph.ops]
    border: dict[int, tuple[int, int, int, int]] = {}
    for op, out in pairs:
        if isinstance(op, Conv) and borders:
            _want_borders(op, out, alike, border)
    for frame in {f.number: f for op, out in pairs for f in (out, *op.reads())}.values():
        root = alike.find(frame.number)
        edge = border.get(root, (0, 0, 0, 0))
        single = 4 if frame.quant else 1  # bytes are read four channels at a time
        block = min(single, layout.block) if root in planar else layout.block
        layout.forms[frame.number] = Form(*frame.shape, block, *edge, frame.quant.zero if frame.quant else None, frame.half)
    for chain in graph.chains:
        for level, held in zip(chain.levels, chain.held, strict=False):
            for number in (graph.out(conv).number for conv in level):
                layout.forms[number] = replace(layout.forms[number], top=0, bottom=0, held=held, copies=chain.copies)


def _want_borders(op: Conv, out: Frame, alike: Groups, border: dict[int, tuple[int, int, int, int]]) -> None:
    kernel = op.taps[0].weight.shape[2:]
    for frame in op.convolved():  # which may be what is added, too
        sizes = (frame.height, frame.width)
        ends = [
            max(0, (o - 1) * s + (k - 1) * d - p - (n - 1))
            for o, s, k, d, p, n in zip((out.height, out.width), op.strides, kernel, op.dilations, op.pads, sizes, strict=True)
        ]
        root = alike.find(frame.number)
        old = border.get(root, (0, 0, 0, 0))
        border[root] = tuple(map(max, old, (*op.pads, *ends)))  # type: ignore[assignment]


def _pools(graph: Graph, layout: Layout) -> None:
    kept = {f.number: f for after in graph.slot_next for f in sources(after)}
    layout.fresh = [
        graph.out(op) for op in graph.ops
        if graph.out(op).number in kept and not isinstance(op, ir.StateIn | ir.Fill | ir.Constant | ir.Select)
    ]  # fmt: skip
    index: dict[Form, int] = {}
    for frame in (*graph.slots, *layout.fresh):
        form = layout.forms[frame.number]
        if form not in index:
            index[form] = len(layout.pools)
            layout.pools.append(Pool(form, 0))
        layout.pool_of[frame.number] = index[form]
        layout.pools[index[form]].count += 1
    place = 0
    for pool in layout.pools:
        pool.start = place
        place += pool.count * pool.form.floats
    layout.floats = layout.state_floats = place


def _fixed(graph: Graph, layout: Layout) -> None:
    """Regions that are written once: zeros, and frames full of another value. A fill takes the form of what it stands in for."""
    wanted: dict[tuple[float, Form], None] = {}
    for op in graph.ops:
        for frame in op.reads():
            if isinstance(frame.op, ir.Fill):
                like = graph.out(op) if isinstance(op, ir.Select) else frame
                wanted[stored(frame.op.value, like), layout.forms[like.number]] = None
    for slot, after in zip(graph.slots, graph.slot_next, strict=True):
        form = layout.forms[slot.number]
        wanted[stored(slot.op.fill, slot), form] = None  # type: ignore[attr-defined]
        if isinstance(after.op, ir.Fill):
            wanted[stored(after.op.value, slot), form] = None
    layout.zero_floats = max((form.floats for value, form in wanted if is_zeros(value, form)), default=0)
    layout.zeros, layout.floats = layout.floats, layout.floats + layout.zero_floats
    for value, form in wanted:
        if not is_zeros(value, form):
            layout.fills[value, form], layout.floats = layout.floats, layout.floats + form.floats


def stored(value: float, like: Frame) -> float:
    """What stands in the memory of a frame full of a value that is stored like another frame."""
    return float(like.quant.byte(value)) if like.quant else value


def is_zeros(value: float, form: Form) -> bool:
    """Is such a frame nothing but zeros, its borders too?"""
    return value == 0 and not form.zero


def _shared(graph: Graph, layout: Layout) -> None:
    """Places for what lives within one step: first fit by lifetime; frames with borders share only with their like."""
    last: dict[int, int] = {}
    steps: list[tuple[int, ir.Op]] = []
    call = alone = (-1, -1)
    for i, op in enumerate(graph.ops):  # what one call computes is read and written at one time
        before, call = call, (op.batch, op.chain) if isinstance(op, Conv) else alone
        steps.append((steps[-1][0] if call == before != alone else i, op))
    for i, op in steps:
        for read in op.reads():
            for frame in sources(read):
                last[frame.number] = i
    ends = {**last, **{f.number: len(graph.ops) for frame in graph.logits for f in sources(frame)}}
    for i, op in steps:  # a choice is read later than what it chooses from
        if isinstance(op, ir.Select):
            end = ends.get(graph.out(op).number, i)
            for frame in sources(graph.out(op)):
                ends[frame.number] = max(ends.get(frame.number, 0), end)
    shares = {number: place for chain in graph.chains for number, place in chain.shares.items()}
    own = [
        (i, graph.out(op)) for i, op in steps
        if ir_is_computed(op) and graph.out(op).number not in layout.pool_of and graph.out(op).number not in shares
    ]  # fmt: skip
    base = layout.floats
    plain = [(i, ends.get(f.number, i), f) for i, f in own if not layout.forms[f.number].bordered]
    top = _first_fit(((i, e, f.number, layout.forms[f.number].floats) for i, e, f in plain), layout.places, base)
    by_form: dict[Form, list[tuple[int, int, Frame]]] = {}
    for i, f in own:
        form = layout.forms[f.number]
        if form.bordered:
            by_form.setdefault(form, []).append((i, ends.get(f.number, i), f))
    for form, frames in by_form.items():
        top = _first_fit(((i, e, f.number, form.floats) for i, e, f in frames), layout.places, top)
    layout.places |= {number: layout.places[place] for number, place in shares.items()}
    layout.peak_floats = top - base
    quantized = any(form.size == 1 for form in layout.forms.values())
    layout.floats = top + (_ALIGN if quantized else 0)  # kernels of bytes read a little further


def ir_is_computed(op: ir.Op) -> bool:
    """Does the operator write a buffer of its own in each step?"""
    return not isinstance(op, ir.StateIn | ir.Fill | ir.Constant | ir.Select)


def _first_fit(frames: Iterable[tuple[int, int, int, int]], places: dict[int, int], base: int) -> int:
    """frames: (born, last read, number, floats), by birth. Returns the end of what was used."""
    live: list[tuple[int, int, int]] = []  # (start, end, last read), by start
    top = base
    next_to_die = 0
    for born, dies, number, floats in frames:
        if next_to_die < born:
            live = [entry for entry in live if entry[2] >= born]
            next_to_die = min((entry[2] for entry in live), default=dies)
        start = base
        for begin, end, _ in live:
            if begin - start >= floats:
                break
            if end > start:
                start = end
        places[number] = start
        insort(live, (start, start + floats, dies))
        next_to_die = min(next_to_die, dies)
        top = max(top, start + floats)
    return top
