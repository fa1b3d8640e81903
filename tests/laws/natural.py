"""Networks that have a state of their own, written down for any number of frames, and what a stream of them has to say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from everyframe.conversion.step import Conversion, Options, convert
from everyframe.conversion.verify import verify
from everyframe.modelfile.session import run
from everyframe.modelfile.walk import Walk

C, H, S = 3, 4, 2  # channels, hidden values, height and width


class Draft:
    """A network for `frames` frames of (C, S, S); its weights are the same at any length."""

    def __init__(self, frames: int, opset: int = 18) -> None:
        self.frames, self.opset, self.rng = frames, opset, np.random.default_rng(0)
        self.frames_now = frames  # of what stands behind a stride
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attrs: Any) -> Any:
        made = [f"{kind}.{len(self.nodes)}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, made, name=f"{kind}.{len(self.nodes)}", **attrs))
        return made if outputs > 1 else made[0]

    def const(self, value: Any, dtype: Any = np.float32) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), f"constant{len(self.weights)}"))
        return self.weights[-1].name

    def ints(self, *values: int) -> str:
        return self.const(values, np.int64)

    def random(self, *shape: int) -> str:
        return self.const(0.6 * self.rng.standard_normal(shape))

    def mean(self, x: str, *axes: int, keep: bool = False) -> str:
        if self.opset < 18:
            return self.op("ReduceMean", x, axes=axes, keepdims=int(keep))
        return self.op("ReduceMean", x, self.ints(*axes), keepdims=int(keep))

    def conv(self, x: str, stride: int = 1, ahead: int = 1) -> str:
        pads = [ahead, 0, 0, ahead, 0, 0]
        weight = self.random(C, C, 2 * ahead + 1, 1, 1)
        return self.op("Conv", x, weight, self.random(C), pads=pads, strides=[stride, 1, 1])

    def sequence(self, x: str) -> str:
        """(1, C, T, S, S) -> (T, 1, C)."""
        return self.op("Transpose", self.mean(x, 3, 4), perm=[2, 0, 1])

    def model(self, output: str) -> onnx.ModelProto:
        info, shape = helper.make_tensor_value_info, [1, C, self.frames, S, S]
        ends = [info(output, TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "natural", [info("clip", TensorProto.FLOAT, shape)], ends, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9)


Write = Callable[[Draft, str], str]  # (1, C, T', S, S) -> its frames in a row, (T', ...)
Read = Callable[[Draft, str], str]


def build(write: Write, frames: int, stride: int, ahead: int, opset: int, read: Read | None = None) -> onnx.ModelProto:
    draft = Draft(frames, opset)
    x = draft.conv("clip", stride, ahead) if ahead or stride > 1 else "clip"
    draft.frames_now = (frames - 1) // stride + 1
    x = write(draft, x)
    return draft.model(read(draft, x) if read else x)


def check(
    write: Write, *, frames: int = 6, stride: int = 1, ahead: int = 1, opset: int = 18, read: Read | None = None, **options: Any
) -> Conversion:
    """A stream gives what the network gives that is run once over the whole video, frame by frame, as long as it likes.

    stride: of a convolution in front, which also looks `ahead`. read: what the network makes of all frames: the last of them,
    which a stream has from the first frame on.
    """
    made = convert(build(write, frames, stride, ahead, opset, read), Options(**options))
    assert verify(made) <= 1e-5
    assert made.metadata.window == 1
    hop, steps = made.metadata.hop, 3 * frames
    video = np.random.default_rng(1).standard_normal((steps * hop, C, S, S)).astype(np.float32)
    walk = Walk(made.step)
    got = [walk.step(video[t * hop : (t + 1) * hop])["logits"].reshape(-1) for t in range(steps)]
    late = made.metadata.feature_delay // hop  # the step of the first answer
    clip = np.ascontiguousarray(np.moveaxis(np.concatenate([video, np.zeros_like(video)]), 0, 1)[None])
    (wanted,) = run(build(write, clip.shape[2], stride, ahead, opset), {"clip": clip}).values()
    wanted = wanted.reshape(clip.shape[2] // stride, -1)
    streamed = np.array(got[late :: stride // hop or 1])  # dense: at the frames that the clip network has
    assert np.abs(streamed - wanted[: len(streamed)]).max() <= 1e-5 * max(1.0, np.abs(wanted).max())
    return made
