"""Where time is in a tensor's shape.

An axis is a tuple of atoms, outermost first; an atom is the batch (N), time (T) or anything else. Reshape splits and merges
atoms, Transpose moves axes; time is followed by identity, never guessed from a size. The step network keeps the frames of a
wire on axis 0 and drops N and T from the other axes, so `step_shape` says what a clip tensor becomes there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class Atom:
    size: int
    kind: str = ""  # "N", "T", "=" (one value, repeated) or "" (channels, height, width, groups ...)


Axis = tuple[Atom, ...]
Axes = tuple[Axis, ...]


class AxesError(Exception):
    """A reshape that mixes time with another axis in a way that cannot be followed. Callers add the node's name."""


def of_layout(layout: str, shape: tuple[int, ...]) -> Axes:
    """Axes of the network input, for a layout such as 'NCTHW' or 'TCHW' (where the batch counts as folded into time)."""
    batch = () if "N" in layout else (Atom(1, "N"),)
    return tuple(
        (*(batch if letter == "T" else ()), Atom(size, letter if letter in "NT" else ""))
        for letter, size in zip(layout, shape, strict=True)
    )


def shape_of(axes: Axes) -> tuple[int, ...]:
    return tuple(prod(atom.size for atom in axis) for axis in axes)


def time_axis(axes: Axes) -> int | None:
    """Index of the axis that holds time, None if time has no axis of its own any more."""
    return next((i for i, axis in enumerate(axes) if any(atom.kind == "T" for atom in axis)), None)


def is_frame_axis(axis: Axis) -> bool:
    """True for an axis made of batch and time alone: the step network has it on axis 0."""
    return bool(axis) and all(atom.kind for atom in axis)


def is_time_axis(axis: Axis) -> bool:
    """True for the axis along which frames lie (perhaps folded into the batch, but into nothing else)."""
    return is_frame_axis(axis) and any(atom.kind == "T" for atom in axis)


def time_is_mixed(axes: Axes) -> bool:
    """True if several frames lie inside an axis together with something else (a flatten over time, say)."""
    return any(any(a.kind == "T" and a.size > 1 for a in axis) and not is_frame_axis(axis) for axis in axes)


def rest(axis: Axis) -> int:
    """What a frame has of an axis: its size without batch and time."""
    return prod(atom.size for atom in axis if not atom.kind)


def changed(axis: Axis, size: int) -> Axis:
    """The axis that an operator leaves behind which made `size` of it: batch and time stay what they are."""
    kept = tuple(atom for atom in axis if atom.kind)
    return axis if rest(axis) == size else kept + ((Atom(size),) if size > 1 or not kept else ())


def without(axes: Axes, removed: set[int]) -> Axes:
    """The axes that are left when some are taken away; the first is the batch again where that has gone."""
    left = tuple(axis for i, axis in enumerate(axes) if i not in removed)
    return ((Atom(1, "N"),), *left[1:]) if left and not left[0] else left


def without_time(axes: Axes) -> Axes:
    """The axes of something that has none."""
    return tuple(tuple(atom for atom in axis if atom.kind != "T") for axis in axes)


def with_time_inside(axes: Axes) -> Axes:
    """The axes where time is one like any other."""
    return tuple(tuple(Atom(atom.size) if atom.kind == "T" else atom for atom in axis) for axis in axes)


def with_frames(axes: Axes, frames: int) -> Axes:
    return tuple(tuple(Atom(frames, "T") if atom.kind == "T" else atom for atom in axis) for axis in axes)


def reshape(axes: Axes, shape: tuple[int, ...], home: int | None = None) -> Axes:
    """The axes after a reshape to `shape`. Raises AxesError if time would be split or cut through.

    A single frame that is merged into another axis (a clip that has shrunk to one, flattened) loses its axis altogether.
    home: the axis that time had before it lost its own.
    """
    atoms = deque(atom for axis in axes for atom in axis or (Atom(1),))
    result: list[list[Atom]] = []
    for i, size in enumerate(shape):
        axis: list[Atom] = []
        # a single frame behind the batch is folded into it, as several would be, unless this axis is for it
        behind = bool(atoms) and atoms[0] == Atom(1, "T") and bool(result) and is_frame_axis(tuple(result[-1]))
        if behind and (size > 1 or (len(atoms) > len(shape) - i and atoms[1].size == 1)):
            result[-1].append(atoms.popleft())
        if size == 1:
            if atoms and atoms[0].size == 1:
                axis.append(atoms.popleft())
        else:
            need = size
            while need > 1:
                if not atoms:
                    raise AxesError(f"{shape_of(axes)} -> {shape}: sizes do not match")
                atom = atoms.popleft()
                if atom.size == 1 and atom.kind != "N":
                    continue
                if need % atom.size == 0:
                    axis.append(atom)
                    need //= atom.size
                elif atom.size % need == 0 and not atom.kind:
                    axis.append(Atom(need))
                    atoms.appendleft(Atom(atom.size // need))
                    need = 1
                else:
                    raise AxesError(f"{shape_of(axes)} -> {shape}: time is cut through or mixed with another axis")
        result.append(axis)
    return _with_time(_with_batch(tuple(map(tuple, result))), range(1, len(result)), home)


def squeeze(axes: Axes, removed: set[int]) -> Axes:
    return without(axes, removed)


def unsqueeze(axes: Axes, inserted: set[int], home: int | None = None) -> Axes:
    rest = iter(axes)
    places = range(len(axes) + len(inserted))
    return _with_time(_with_batch(tuple(() if i in inserted else next(rest) for i in places)), sorted(inserted), home)


def _with_batch(axes: Axes) -> Axes:
    """A new axis in front of all others is the batch, wherever that was before."""
    if len(axes) < 2 or axes[0]:
        return axes
    return ((Atom(1, "N"),), *(tuple(atom for atom in axis if atom.kind != "N") for axis in axes[1:]))


def _with_time(axes: Axes, places: Iterable[int], home: int | None) -> Axes:
    """Where time had lost its axis, it gets its old one again or the first free one of `places`."""
    if len(axes) < 3 or any(atom.kind == "T" for axis in axes for atom in axis):
        return axes
    free = [i for i in places if not axes[i]]
    chosen = home if home in free else next(iter(free), None)
    return tuple((Atom(1, "T"),) if i == chosen else axis for i, axis in enumerate(axes))


def step_groups(axes: Axes) -> list[list[int]]:
    """Clip axes that form the axes 1, 2, ... of the step tensor. Trailing axes are merged so that at most 3 remain
    (channel shuffle is 6-D in a clip network, 4-D here)."""
    groups = [[i] for i, axis in enumerate(axes) if not is_frame_axis(axis)]
    while len(groups) > 3:
        last = groups.pop()
        groups[-1] += last
    return groups


def step_shape(axes: Axes) -> tuple[int, ...]:
    """Shape of one frame in the step network (axis 0, the frames of a step, left out)."""
    sizes = [rest(axis) for axis in axes]
    return tuple(prod(sizes[i] for i in group) for group in step_groups(axes))


def step_axis(axes: Axes, axis: int) -> int | None:
    """Axis of the step tensor that clip axis `axis` became; None if it is a frame axis or was merged with others."""
    for i, group in enumerate(step_groups(axes)):
        if group == [axis]:
            return i + 1
    return None
