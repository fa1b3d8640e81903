"""What convolutions and pools share: which kernel axis is time, and the attributes of the 2-D operator that remains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Facts, Window
from everyframe.conversion.refusals import unsupported
from everyframe.modelfile.graph import Node


@dataclass(frozen=True)
class Spatial:
    """Kernel geometry of one Conv or pool. time: the tensor axis that is time, None if the kernel does not see it."""

    time: int | None
    window: Window
    kernel: tuple[int, ...]  # of the remaining (spatial) axes, as are the next three
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]  # begins, then ends
    folded: bool  # the batch holds more than frames (positions, persons), or more axes than the step network keeps apart

    @classmethod
    def of(cls, node: Node, facts: Facts) -> Spatial:
        fact = facts[node.inputs[0]]
        rank = len(fact.axes)
        time = next((i for i, axis in enumerate(fact.axes) if ax.is_time_axis(axis)), None)
        if ax.time_is_mixed(fact.axes[1:]) or time == 1:
            raise unsupported(
                node,
                "An axis that is convolved or pooled holds several frames together with something else.",
                got=f"shape {fact.clip_shape}",
                hint="keep time on an axis of its own: (N, C, T, H, W)",
            )
        dims = rank - 2
        weight = facts.graph.constant(node.input(1)) if node.op == "Conv" else None
        kernel = list(node.attr("kernel_shape") or (weight.shape[2:] if weight is not None else (1,) * dims))
        strides = list(node.attr("strides") or [1] * dims)
        dilations = list(node.attr("dilations") or [1] * dims)
        pads = list(node.attr("pads") or [0] * 2 * dims)
        if node.attr("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID", "NOTSET", "VALID"):
            raise unsupported(node, "auto_pad hides how much is padded on the left.", hint="export with explicit pads")
        folded = ax.rest(fact.axes[0]) > 1 or len([axis for axis in fact.axes if not ax.is_frame_axis(axis)]) > 3
        if time is None or time == 0:
            return cls(None, Window(), tuple(kernel), tuple(strides), tuple(dilations), tuple(pads), folded)
        t = time - 2
        window = Window(kernel.pop(t), dilations.pop(t), strides.pop(t), pads.pop(t))
        pads.pop(dims + t - 1)  # the right edge: a stream has none
        return cls(time, window, tuple(kernel), tuple(strides), tuple(dilations), tuple(pads), folded)

    def step_attrs(self) -> dict[str, list[int]]:
        """ONNX attributes of the operator on (m, C, spatial...); one dummy axis if no spatial axis is left."""
        if not self.kernel:
            return {"kernel_shape": [1], "strides": [1], "dilations": [1], "pads": [0, 0]}
        return {
            "kernel_shape": list(self.kernel),
            "strides": list(self.strides),
            "dilations": list(self.dilations),
            "pads": list(self.pads),
        }

    def widen(self, kernel: np.ndarray) -> np.ndarray:
        return kernel if self.kernel else kernel[..., None]

    def inside(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of a frame between `enter` and `leave`."""
        return shape if self.kernel else (*shape, 1)

    def enter(self, step: Builder, tensor: str, axes: ax.Axes) -> str:
        """Frames with these axes as (frames * what else is in the batch, C, spatial...)."""
        if self.folded:
            shape = [ax.rest(axes[1]), *(ax.rest(axis) for axis in axes[2:] if not ax.is_frame_axis(axis))]
            return step.emit("Reshape", [tensor, step.ints([-1, *shape, *([] if self.kernel else [1])])], "enter")
        return tensor if self.kernel else step.emit("Unsqueeze", [tensor, step.ints([2])], "unsqueeze")

    def leave(self, step: Builder, tensor: str, axes: ax.Axes) -> str:
        if self.folded:
            return step.emit("Reshape", [tensor, step.ints([-1, *ax.step_shape(axes)])], "leave")
        return tensor if self.kernel else step.emit("Squeeze", [tensor, step.ints([2])], "squeeze")
