"""Networks in bytes (QDQ) for the tests of compiled code, and exact arithmetic that they are compared with.

Answers are divided by the step of their scale: what is stored as a byte is the same byte, everywhere.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from everyframe.modelfile.exact import Exact
from everyframe.native.build import link
from everyframe.native.generate import generate
from everyframe.native.library import Library
from everyframe.native.target import runs_here, target
from native.operators import CPUS, Sketch

ALL_CPUS = [*CPUS, *(name for name in ("x86-64-v3-vnni", "x86-64-v4-vnni") if runs_here(name))]


class Quantized(Sketch):
    """A sketch with quantization."""

    def grid(self, tensor: str, scale: float, zero: int, kind: Any = np.uint8) -> str:
        """A QuantizeLinear and its DequantizeLinear."""
        numbers = self.constant(scale), self.constant(zero, kind)
        return self.op("DequantizeLinear", self.op("QuantizeLinear", tensor, *numbers), *numbers)

    def weight(self, integers: np.ndarray, scale: Any, axis: int = 0) -> str:
        return self.op("DequantizeLinear", self.constant(integers, integers.dtype), self.constant(scale), axis=axis)

    def random_weight(self, *shape: int, bits: int = 8, per_channel: bool = True, zero: np.ndarray | None = None) -> str:
        most = 2 ** (bits - 1) - 1
        integers = self.rng.integers(-most, most + 1, shape).astype(np.int8)
        integers = integers if zero is None else np.where(zero, np.int8(0), integers)
        scale = self.rng.uniform(0.5, 1.5, shape[0] if per_channel else ()) / most / np.sqrt(np.prod(shape[1:]))
        return self.weight(integers, scale)

    def steps(self, tensor: str, scale: float) -> None:
        """Adds a tensor to the answer, in steps."""
        self.answer(self.op("Mul", tensor, self.constant(1 / scale)))


def agree(sketch: Sketch, folder: Path, cpu: str, frames: np.ndarray | None = None) -> None:
    """Compiled code says what exact arithmetic says, of `frames` or noise."""
    model = sketch.model()
    frames = noise(sketch) if frames is None else frames
    folder.mkdir(parents=True, exist_ok=True)
    source, _, fitting = generate(model, (), target(cpu), where="sketch")
    stream = Library(link(source, fitting, model, folder / f"{cpu}.so")).start(threads=2)
    got = stream.step(frames)
    stream.close()
    compare(got, exactly(model, frames))


def noise(sketch: Sketch) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(sketch.shape, np.float32)


def exactly(model: onnx.ModelProto, frames: np.ndarray) -> np.ndarray:
    return _exactly(model.SerializeToString(deterministic=True), frames.tobytes(), frames.shape)


@cache
def _exactly(model: bytes, frames: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Once, whatever the processor."""
    read = np.frombuffer(frames, np.float32).reshape(shape)
    return Exact(onnx.ModelProto.FromString(model)).run({"frames": read}, ["logits"])["logits"]


def compare(got: np.ndarray, wanted: np.ndarray) -> None:
    """In steps: floats may be a little off, a byte that differs is off by one."""
    np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=0.01)
