"""How one convolution is computed: what can be chosen for it, and what the choice depends on. All choices give the same results.

What is best depends on sizes, zeros and caches, so a choice is the target's default, or what was measured.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from itertools import product

from everyframe.errors import UsageError
from everyframe.native.target import Target

#: what numbers can be; the space that is worth measuring is much smaller
ALLOWED: dict[str, range | tuple[int, ...]] = {
    "slice": range(1, (1 << 20) + 1),
    "block": range(1, (1 << 20) + 1),
    "fetch": (0, 1),
    "tallest": range(9),
    "longest": range(65),
    "tile": (0, 2, 4),
    "bits": (16, 32),
}


@dataclass(frozen=True)
class Choice:
    """slice: entries that are worked through before the next positions; sums wait in the output meanwhile. block: positions of
    the output over which all groups pass before the next. fetch: does the first group ask for what the next run of positions
    reads? tallest: vectors of output channels in a group, 0 for as many as the zeros suggest. longest: positions side by side,
    0 for as many as fit into registers. tile: 2 or 4 for Winograd's F(2x2, 3x3) or F(4x4, 3x3), see `winograd`; the
    others are then those of its product. bits: of a weight in memory: 32, a float, or 16, a whole number that a scale for
    each entry of a group belongs to (see `halved`).

    why: where it comes from, for the comment in the C. Convolutions of bytes have no slices, never fetch, and of Winograd's tiles
    only 4, which is exact.
    """

    slice: int = 512
    block: int = 196
    fetch: int = 1
    tallest: int = 0
    longest: int = 0
    tile: int = 0
    bits: int = 32
    why: str = "default"

    def possible(self, where: object) -> Choice:
        """Raises UsageError for numbers that no target's kernels can have."""
        for name, allowed in ALLOWED.items():
            if (got := getattr(self, name)) not in allowed:
                span = f"{allowed[0]} .. {allowed[-1]}" if isinstance(allowed, range) else ", ".join(map(str, allowed))
                raise UsageError("A choice for a convolution is out of range.", where=where, expected=f"{name} {span}", got=got)
        return self

    def check(self, target: Target, where: object) -> Choice:
        """Raises UsageError for numbers that the target's kernels cannot have."""
        self.possible(where)
        heights = [0, *(height for height, _ in target.runs)]
        if self.tallest not in heights:
            raise UsageError(
                f"{target.name} has no kernels of this height.", where=where, expected=f"tallest {', '.join(map(str, heights))}",
                got=self.tallest, hint="take choices only for the processors that they were measured for",
            )  # fmt: skip
        return self

    def runs(self, tiles: tuple[tuple[int, int], ...]) -> dict[int, int]:
        """Of `Target.runs` or `tiles`: height -> longest run of positions."""
        return {height: min(most, self.longest or most) for height, most in tiles}

    @property
    def numbers(self) -> tuple[int, ...]:
        return astuple(self)[:-1]

    def __str__(self) -> str:
        parts = [f"Winograd F({self.tile}x{self.tile}, 3x3)"] if self.tile else []
        parts += [f"slices of {self.slice}", f"blocks of {self.block}", "fetching" if self.fetch else "no fetching"]
        parts += [f"groups of {self.tallest} vectors"] if self.tallest else []
        parts += [f"runs of {self.longest}"] if self.longest else []
        parts += [f"weights of {self.bits} bits"] if self.bits < 32 else []
        return f"{', '.join(parts)} ({self.why})"


@dataclass(frozen=True)
class Geometry:
    """What a choice depends on. sources: frames that are read; channels_in: of all of them, as the weights have them; height,
    width: of the output; kept: percent of the weights that are not left out. int8: 1 for convolutions of bytes. frames: of the
    output that it makes in one step. kernels: percent of the kernels in space (of one output, input and frame) that are not left
    out as a whole; zeros within others do not survive `winograd`. states: 1 if states may keep some of its sources, which are
    as many frames of another form where it is transformed."""

    int8: int
    sources: int
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    channels_in: int
    channels_out: int
    height: int
    width: int
    kept: int
    frames: int = 1
    kernels: int = 100
    states: int = 1


def default(target: Target, geometry: Geometry, approximate: bool = False) -> Choice:
    """What a convolution gets that nothing is known about: Winograd's transform where it was the faster one on every processor
    that was measured, and no state has to hold transformed frames, which are four times as large. approximate: F(4x4, 3x3) may
    be among the answers."""
    g = geometry
    wide = min(g.height, g.width) >= 14 and min(g.channels_in // g.sources, g.channels_out) >= 32
    least, time = _BYTES[target.saturates] if g.int8 else (_WIDE, 0)
    tile = 4 if (approximate or g.int8) and min(g.height, g.width) >= least else 2
    worthwhile = g.kernels * (time or _TRANSFORMED[tile]) <= g.kept
    small = g.frames > 1 or g.sources == 1 or not g.states  # no state grows
    if target.product and tile in transformable(target, g) and worthwhile and wide and small:
        return Choice(1 if g.int8 else target.product, 1, 0, tile=tile)
    return direct(target, geometry)


#: from which height and width on F(4x4, 3x3) was the faster one: at 14 a sixth of its tiles lies outside, and more of the weights
#: are read for each
_WIDE = 28
#: time of a transformed kernel, relative to its own with no weight left out: of 9 multiplications 4 with F(2x2, 3x3), 2.25 with
#: F(4x4, 3x3), and a third more for the transforms, and less where zeros within kernels leave a third of a direct one's time
_TRANSFORMED = {2: 0.6, 4: 0.25}
#: both for bytes: without instructions for their products these take three times as many, which transformed ones do not need
_BYTES = {False: (28, 0.7), True: (14, 0.45)}


def transformable(target: Target, geometry: Geometry) -> tuple[int, ...]:
    """The tiles of `winograd` that are worth a thought. Sums of bytes may still be too large."""
    g = geometry
    if (g.kernel_h, g.kernel_w, g.stride_h, g.stride_w) != (3, 3, 1, 1) or min(g.height, g.width) < 2:
        return ()
    return (2, 4) if not g.int8 else (4,) if target.product else ()


def waits(geometry: Geometry) -> bool:
    """Does a convolution of floats wait for its weights more than it computes with them?"""
    return not geometry.int8 and _positions(geometry) <= _FEW and _weight_bytes(geometry) >= _MANY


def _positions(geometry: Geometry) -> int:
    """That share what is read of the weights."""
    return geometry.height * geometry.width * geometry.frames


def _weight_bytes(geometry: Geometry) -> float:
    g = geometry
    return 4 * g.channels_in * g.channels_out * g.kernel_h * g.kernel_w * g.kept / 100


#: positions with which a weight is multiplied while the next is on its way from memory. 2048 -> 512 channels on Zen 4, AVX-512,
#: take .63 of the time with weights of 16 bits for one position, .74 for 2, .91 for 4 and 1.04 for 8
_FEW = 4
#: bytes of weights that no cache near the processor keeps from one step to the next
_MANY = 1 << 20


def direct(target: Target, geometry: Geometry, label: str = "") -> Choice:
    """The default of what is not transformed."""
    if geometry.int8:
        return Choice(1, 392, 0)
    in_space = geometry.kernel_h * geometry.kernel_w > 1
    better = target.space if in_space else target.time if geometry.sources > 1 else None
    return Choice(*(better or (target.slice, 196, 1)))


_SLICES = (48, 96, 144, 288, 512, 1024)
_BLOCKS = (56, 196, 784)
_BLOCKS_INT8 = (196, 392, 784)
_PRODUCTS = (96, 256, 768)


def space(target: Target, geometry: Geometry) -> list[Choice]:
    """What is measured for a convolution, the default first. Choices that come to the same are in it once. Ones and zeros stand
    for weights, and ones alone for those of transformed kernels: where the default transforms kernels with zeros, nothing is."""
    usual, first = direct(target, geometry), default(target, geometry)
    whole = geometry.kept >= geometry.kernels - 1
    if first.tile and not whole:
        return [first]
    entries = geometry.channels_in * geometry.kernel_h * geometry.kernel_w * geometry.kept / 100
    positions = geometry.height * geometry.width
    slices = (usual.slice,) if geometry.int8 else (usual.slice, *_SLICES)
    blocks = (usual.block, *(_BLOCKS_INT8 if geometry.int8 else _BLOCKS))
    tiles = target.tiles if geometry.int8 else target.runs
    heights = (0, *[height for height, most in tiles if most > 1][:-1]) if positions > 1 else (0,)
    made: dict[tuple, Choice] = {}
    for cut, block, fetch, tallest in product(
        slices, blocks, (usual.fetch,) if geometry.int8 else (usual.fetch, 1 - usual.fetch), heights
    ):
        effect = max(1, round(entries / cut)), max(1, min(block, positions) // geometry.width), fetch, tallest
        made.setdefault(effect, replace(usual, slice=cut, block=block, fetch=fetch, tallest=tallest))
    products = [
        Choice(cut, 1, 0, tallest, tile=tile)
        for tile, cut, tallest in product(transformable(target, geometry), (1,) if geometry.int8 else _PRODUCTS, heights)
        if whole and not (cut > _PRODUCTS[0] and cut > geometry.channels_in)
    ]  # fmt: skip
    few = not geometry.int8 and _positions(geometry) <= 4 * _FEW
    small = [replace(choice, bits=16) for choice in made.values() if few]
    return [first, *(choice for choice in (*made.values(), *products, *small) if choice != first)]
