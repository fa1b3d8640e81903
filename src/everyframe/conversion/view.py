"""Frames as the clip's own operator wants them: clips of one frame, the frames of a step as its batch.

An operator that only carries time along does the same to such a batch as to the clip, with its own parameters. Axes of batch
and time alone are left out, so that (1, C, T, H, W) becomes (m, C, H, W); what else the batch holds (positions, persons) stays
in it.
"""

from __future__ import annotations

from dataclasses import dataclass

from everyframe.conversion import axes as ax


@dataclass(frozen=True)
class View:
    """axes: of the clip tensor. apart: its axis 0 has a place of its own behind the frames, for operators that work on it.
    whole: axes of batch and time alone keep a place, of size 1, for operators whose operands are aligned by rank.
    """

    axes: ax.Axes
    apart: bool = False
    whole: bool = False

    @property
    def kept(self) -> list[int]:
        """Clip axes that have a place behind axis 0 of the view."""
        first = 0 if self.apart else 1
        return [i for i in range(first, len(self.axes)) if i == 0 or self.whole or not ax.is_frame_axis(self.axes[i])]

    def place(self, axis: int) -> int:
        return self.kept.index(axis) + 1 if axis in self.kept else 0

    @property
    def sizes(self) -> list[int]:
        return [ax.rest(self.axes[i]) for i in self.kept]

    @property
    def plain(self) -> bool:
        """True if the step tensor lies like this already."""
        return tuple(self.sizes) == ax.step_shape(self.axes)
