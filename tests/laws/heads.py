"""The ends of random clip networks, and in numpy what they make of single frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from laws.sketch import DoesNotFit, Sketch, Wire

HEADS = ("none", "none", "mean", "mean", "pool", "global", "time first", "two", "flatten", "squeeze", "pictures last")


@dataclass(frozen=True)
class Head:
    """The end of the clip network. `wires` are what it reads; `logits` computes in numpy what it makes of single frames."""

    kind: str
    other: int = 0  # "two": which earlier wire is the second head's

    def write(self, sketch: Sketch, x: Wire, wires: list[Wire]) -> tuple[str, tuple[int, ...], tuple[Wire, ...]]:
        """(output, its shape in the clip, the wires that are averaged or flattened)."""
        if self.kind == "none":
            return sketch.op("Neg", x.name), x.shape(), (x,)
        if x.layout != "NCTHW" and self.kind not in ("mean", "two"):
            raise DoesNotFit
        made, c, read = self._pooled(sketch, x), x.c, (x,)
        if self.kind == "two":
            other = wires[self.other % len(wires)]
            if other.layout != "NCTHW" or x.layout != "NCTHW" or other.name == x.name:
                raise DoesNotFit
            made, c, read = sketch.op("Concat", made, self._pooled(sketch, other), axis=1), c + other.c, (x, other)
        elif self.kind == "flatten":
            c *= x.h * x.w
        made = sketch.op("Gemm", made, sketch.random(c, 3, scale=1 / np.sqrt(c)), sketch.random(3, stem="bias"))
        return made, (1, 3), read

    def _pooled(self, sketch: Sketch, x: Wire) -> str:
        axes = [i for i, a in enumerate(x.layout) if a in "THW"]
        if self.kind in ("mean", "two"):
            if x.layout[0] != "N":
                raise DoesNotFit
            return sketch.reduce("ReduceMean", x.name, axes, False)
        if self.kind == "pool":
            return self._flat(sketch, sketch.op("AveragePool", x.name, kernel_shape=list(x.shape()[2:])), x)
        if self.kind == "global":
            return sketch.op("Flatten", sketch.op("GlobalAveragePool", x.name), axis=1)
        if self.kind == "time first":
            made = sketch.reduce("ReduceMean", x.name, [2], True)
            return self._flat(sketch, sketch.reduce("ReduceMean", made, [3, 4], True), x)
        if self.kind != "pictures last" and x.T != 1:
            raise DoesNotFit
        if self.kind == "flatten":
            return sketch.op("Flatten", x.name, axis=1)
        if self.kind == "squeeze":
            made = sketch.op("Squeeze", x.name, sketch.ints(2))
        else:
            made = sketch.reduce("ReduceMean", x.name, [2], False)
        weight = sketch.random(x.c, x.c, 3, 3, scale=1 / np.sqrt(9 * x.c))
        made = sketch.op("Conv", made, weight, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        return sketch.op("Flatten", sketch.op("GlobalAveragePool", made), axis=1)

    @staticmethod
    def _flat(sketch: Sketch, name: str, x: Wire) -> str:
        return sketch.op("Reshape", name, sketch.ints(1, x.c))

    def logits(self, clip: Sketch, frames: list[np.ndarray]) -> np.ndarray:
        """frames: for each wire that is read, its (mean) frame in the order of the wire's axes, N and T left out."""
        if self.kind == "none":
            return -frames[0]
        bias, weight = (clip.arrays[f"layer.{clip.weights - i}.{stem}"] for i, stem in enumerate(("bias", "weight")))
        if self.kind == "flatten":
            values = [frames[0].reshape(-1)]
        elif self.kind in ("squeeze", "pictures last"):
            values = [_conv3x3(frames[0], clip.arrays[f"layer.{clip.weights - 2}.weight"]).mean((1, 2))]
        else:
            values = [frame.reshape(len(frame), -1).mean(1) for frame in frames]
        return np.concatenate(values) @ weight + bias

    @property
    def averages(self) -> bool:
        return self.kind not in ("none", "flatten", "squeeze")


def _conv3x3(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    h, w = x.shape[1:]
    return sum(np.einsum("oc,chw->ohw", weight[:, :, i, j], padded[:, i : i + h, j : j + w]) for i in range(3) for j in range(3))
