"""Small clip networks, (1, 3, T, H, W) -> logits, built with onnx.helper for tests of the converter's surface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from everyframe.modelfile.file import attach, save
from everyframe.modelfile.schema import Metadata, Preprocess
from handmade import model, tensor


def clip_net(path: Path, *, frames: int = 8, stride: int = 1, classes: int = 4, extra: str | None = None, **meta: Any) -> Path:
    """Conv 3x3x3 - Relu - residual (3,1,1) - mean over T, H, W - Gemm. stride: of the first convolution, in time.

    extra: an operator put behind the first Relu (for errors). meta: metadata fields; none are attached if it is empty.
    """
    rng = np.random.default_rng(3)

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(size=shape, scale=1 / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32)

    nodes = [
        helper.make_node("Conv", ["clip", "stem.weight", "stem.bias"], ["a"], "stem", kernel_shape=[3, 3, 3],
                         strides=[stride, 2, 2], pads=[1] * 6),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "mix.weight", "mix.bias"], ["c"], "mix", kernel_shape=[3, 1, 1], pads=[1, 0, 0, 1, 0, 0]),
        helper.make_node("Add", ["c", "b"], ["d"], "residual"),
        helper.make_node("ReduceMean", ["d"], ["e"], "pool", axes=[2, 3, 4], keepdims=0),
        helper.make_node("Gemm", ["e", "fc.weight", "fc.bias"], ["logits"], "fc", transB=1),
    ]  # fmt: skip
    if extra:
        nodes.insert(2, helper.make_node(extra, ["b"], ["x"], "odd"))
        nodes[3].input[0] = "x"
    constants = [
        tensor("stem.weight", weights(6, 3, 3, 3, 3)), tensor("stem.bias", weights(6)),
        tensor("mix.weight", weights(6, 6, 3, 1, 1)), tensor("mix.bias", weights(6)),
        tensor("fc.weight", weights(classes, 6)), tensor("fc.bias", weights(classes)),
    ]  # fmt: skip
    made = model(
        nodes, {"clip": (TensorProto.FLOAT, (1, 3, frames, 12, 16))}, {"logits": (TensorProto.FLOAT, (1, classes))}, constants
    )
    if meta:
        attach(made, Metadata(kind="clip", frames=frames, **({"preprocess": Preprocess(resize=(12, 16))} | meta)))
    return save(made, path)


def change(path: Path, edit: Any) -> Path:
    """Applies edit(model) to a file."""
    made = onnx.load(str(path))
    edit(made)
    path.write_bytes(made.SerializeToString())
    return path
