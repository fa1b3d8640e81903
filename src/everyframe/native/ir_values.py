"""Operators on single values whose places are data, or that meet as rows of matrices; the others are in `ir`."""

from __future__ import annotations

from dataclasses import dataclass

from everyframe.native.ir import Frame, Op


@dataclass(eq=False)
class Product(Op):
    """(M, 1, N) of frames (M, 1, K) and (N, 1, K): out[m, n] = sum over k of a[m, k] * b[n, k]."""

    a: Frame = None  # type: ignore[assignment]
    b: Frame = None  # type: ignore[assignment]

    def reads(self) -> list[Frame]:
        return [self.a, self.b]


@dataclass(eq=False)
class Pick(Op):
    """Values of `source` (n, 1, 1) whose places are known only at run time: out = source[index], 0 where that lies outside.
    index: of any shape, whole numbers."""

    source: Frame = None  # type: ignore[assignment]
    index: Frame = None  # type: ignore[assignment]

    def reads(self) -> list[Frame]:
        return [self.source, self.index]


@dataclass(eq=False)
class Put(Op):
    """`base` (n, 1, 1) with values put to places known only at run time, one after another: out[index] = values, or what `kind`
    makes of both. index, values: (m, 1, 1). kind: 'set', 'add', 'mul', 'max' or 'min'. What lies outside is left out."""

    base: Frame = None  # type: ignore[assignment]
    index: Frame = None  # type: ignore[assignment]
    values: Frame = None  # type: ignore[assignment]
    kind: str = "set"

    def reads(self) -> list[Frame]:
        return [self.base, self.index, self.values]


@dataclass(eq=False)
class PutRows(Op):
    """As `Put`, of all channels of a position at a time: `base` (C, ...), or `value` everywhere, with the m positions of `values`
    (C, ...) put, one after another, to the positions that index (m, 1, 1) has. Positions are numbered row by row; what lies
    outside is left out, and so are positions of `base` behind the last one of the result."""

    base: Frame | None = None
    value: float = 0.0
    index: Frame = None  # type: ignore[assignment]
    values: Frame = None  # type: ignore[assignment]
    kind: str = "set"

    def reads(self) -> list[Frame]:
        return [self.index, self.values, *([self.base] if self.base else [])]


@dataclass(eq=False)
class Rank(Op):
    """(C, 1, K): places of the K largest (or smallest) of each row of `source` (C, 1, W), the first one of equals first."""

    source: Frame = None  # type: ignore[assignment]
    largest: bool = True

    def reads(self) -> list[Frame]:
        return [self.source]
