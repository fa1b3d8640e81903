"""Small step and clip networks written by hand with onnx.helper, and small videos, for tests of the runtime.

T frames, N new frames a step (hop), C channels, H W.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from everyframe.modelfile.file import attach, save
from everyframe.modelfile.schema import Metadata, OutputSpec, Preprocess, StateSpec

GRAY = {"color": "gray", "mean": (0.0,), "std": (1.0,)}


def tensor(name: str, value: Any, dtype: type = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value, dtype), name)


def model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, tuple]],
    outputs: dict[str, tuple[int, tuple]],
    weights: Sequence[onnx.TensorProto],
) -> onnx.ModelProto:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "handmade",
        [info(n, t, s) for n, (t, s) in inputs.items()],
        [info(n, t, s) for n, (t, s) in outputs.items()],
        weights,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    onnx.checker.check_model(made)
    return made


def conv_step(
    path: Path, *, form: str = "ring", taps: int = 3, hop: int = 1, counter: bool = False, others: bool = False, **meta: Any
) -> dict[str, Any]:
    """A temporal convolution with `taps` taps (2 channels in, 3 out, 1x1 in space), ReLU, mean over space, 4 classes.

    form: ring (one state, Concat and Slice) or slots (taps-1 states that repeat each other; hop 1). others: also the maps
    (hop, 3, H, W) of `conv_maps` and their means (hop, 3). counter: an int64
    state `t` doubles the logits from step 2 on. Returns the weights for `conv_oracle`.
    """
    rng = np.random.default_rng(7)
    w = rng.normal(size=(3, taps, 2)).astype(np.float32)  # out, tap, in; the last tap meets the newest frame
    head = rng.normal(size=(3, 4)).astype(np.float32)
    size = (2, 4, 5)  # C, H, W
    f32, i64, past = TensorProto.FLOAT, TensorProto.INT64, taps - 1
    nodes, weights = [], [tensor(f"w{k}", w[:, k, :, None, None]) for k in range(taps)]
    inputs: dict[str, tuple[int, tuple]] = {"frames": (f32, (hop, *size))}
    outputs: dict[str, tuple[int, tuple]] = {"logits": (f32, (1, 4))}
    states: list[StateSpec] = []
    if form == "ring":
        inputs["state.x.in"], outputs["state.x.out"] = (f32, (past, *size)), (f32, (past, *size))
        states.append(
            StateSpec(input="state.x.in", output="state.x.out", shape=(past, *size), frames=past, fill=meta.get("fill", 0.0))
        )
        weights += [tensor(f"at{k}", [k], np.int64) for k in range(taps + hop)] + [tensor("axis", [0], np.int64)]
        nodes.append(helper.make_node("Concat", ["state.x.in", "frames"], ["line"], axis=0))  # (past + N, C, H, W)
        nodes += [helper.make_node("Slice", ["line", f"at{k}", f"at{k + hop}", "axis"], [f"tap{k}"]) for k in range(taps)]
        nodes.append(helper.make_node("Slice", ["line", f"at{hop}", f"at{hop + past}", "axis"], ["state.x.out"]))
    else:
        for k in range(past):  # slot 0 is the newest of the past
            name, before = f"state.x.{k}", f"state.x.{k - 1}.in" if k else None
            inputs[f"{name}.in"], outputs[f"{name}.out"] = (f32, (1, *size)), (f32, (1, *size))
            states.append(
                StateSpec(
                    input=f"{name}.in",
                    output=f"{name}.out",
                    shape=(1, *size),
                    fill=meta.get("fill", 0.0),
                    copy_of=before,
                )
            )
            nodes.append(helper.make_node("Identity", [before or "frames"], [f"{name}.out"]))
            nodes.append(helper.make_node("Identity", [f"{name}.in"], [f"tap{past - 1 - k}"]))
        nodes.append(helper.make_node("Identity", ["frames"], [f"tap{past}"]))
    nodes += [helper.make_node("Conv", [f"tap{k}", f"w{k}"], [f"part{k}"]) for k in range(taps)]
    nodes.append(helper.make_node("Sum", [f"part{k}" for k in range(taps)], ["sum"]))
    nodes.append(helper.make_node("Relu", ["sum"], ["act"]))
    nodes.append(helper.make_node("ReduceMean", ["act"], ["mean"], axes=[0, 2, 3], keepdims=0))  # (3,)
    nodes.append(helper.make_node("Unsqueeze", ["mean", "zero"], ["row"]))
    nodes.append(helper.make_node("MatMul", ["row", "head"], ["logits" if not counter else "raw"]))
    weights += [tensor("head", head), tensor("zero", [0], np.int64)]
    if counter:
        inputs["state.t.in"], outputs["state.t.out"] = (i64, (1,)), (i64, (1,))
        states.append(StateSpec(input="state.t.in", output="state.t.out", shape=(1,), dtype="int64"))
        weights += [
            tensor("one", [1], np.int64),
            tensor("most", [9], np.int64),
            tensor("two", [2], np.int64),
            tensor("double", [2.0]),
        ]
        nodes += [
            helper.make_node("Add", ["state.t.in", "one"], ["t1"]),
            helper.make_node("Min", ["t1", "most"], ["state.t.out"]),
            helper.make_node("GreaterOrEqual", ["state.t.in", "two"], ["late"]),
            helper.make_node("Mul", ["raw", "double"], ["twice"]),
            helper.make_node("Where", ["late", "twice", "raw"], ["logits"]),
        ]
    if others:
        nodes += [
            helper.make_node("Identity", ["act"], ["maps"]),
            helper.make_node("ReduceMean", ["maps"], ["means"], axes=[2, 3], keepdims=0),
        ]
        outputs |= {"maps": (f32, (hop, 3, *size[1:])), "means": (f32, (hop, 3))}
        meta["outputs"] = tuple(OutputSpec(name=name, shape=outputs[name][1], task="regress") for name in ("maps", "means"))
    meta.pop("fill", None)
    fields = {
        "kind": "step", "frames": 8, "hop": hop, "states": tuple(states), "labels": tuple("abcd"),
        "preprocess": Preprocess(mean=(0.0, 0.0, 0.0)), **meta,
    }  # fmt: skip
    made = model(nodes, inputs, outputs, weights)
    # two channels are no picture, so tests of engines only go round the preprocessing
    save(attach(made, Metadata(**fields)), path)
    return {"w": w, "head": head, "taps": taps, "hop": hop, "counter": counter}


def conv_oracle(net: dict[str, Any], video: np.ndarray, fill: float = 0.0) -> np.ndarray:
    """What the network says about video (T, C, H, W), computed at once: (steps, 4)."""
    rows = conv_maps(net, video, fill).mean((2, 3)) @ net["head"]
    steps = rows.reshape(-1, net["hop"], 4)
    # the mean over a step's frames is taken before the head, which is linear
    out = steps.mean(1)
    if net["counter"]:
        out[2:] *= 2
    return out


def conv_maps(net: dict[str, Any], video: np.ndarray, fill: float = 0.0) -> np.ndarray:
    """Its feature maps of each frame, (T, 3, H, W)."""
    w, taps = net["w"], net["taps"]
    padded = np.concatenate([np.full((taps - 1, *video.shape[1:]), fill, np.float32), video])
    sums = [sum(np.einsum("oc,chw->ohw", w[:, k], padded[t + k]) for k in range(taps)) for t in range(len(video))]
    return np.maximum(np.array(sums), 0)


def brightness_nodes(frames: str, axes: list[int], logits: str) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    nodes = [
        helper.make_node("ReduceMean", [frames], ["mean"], axes=axes, keepdims=0),
        helper.make_node("Sub", ["mean", "half"], ["centered"]),
        helper.make_node("Mul", ["centered", "gains"], ["flat"]),
        helper.make_node("Unsqueeze", ["flat", "zero"], [logits]),
    ]
    return nodes, [tensor("half", [0.5]), tensor("gains", [-20.0, 20.0, 0.0]), tensor("zero", [0], np.int64)]


def brightness_step(path: Path, *, window: int = 4, hop: int = 1, size: tuple[int, int] = (12, 16), **meta: Any) -> Path:
    """Says `dark`, `bright` or `medium` from the mean of the last `window` steps' frames, kept in slots."""
    preprocess = meta.pop("preprocess", None) or Preprocess(resize=size, fps=10, **GRAY)
    c, (h, w), f32 = preprocess.channels, size, TensorProto.FLOAT
    inputs: dict[str, tuple[int, tuple]] = {"frames": (f32, (hop, c, h, w))}
    outputs: dict[str, tuple[int, tuple]] = {"logits": (f32, (1, 3))}
    states, nodes = [], []
    for k in range(window - 1):
        name, before = f"state.x.{k}", f"state.x.{k - 1}.in" if k else None
        inputs[f"{name}.in"], outputs[f"{name}.out"] = (f32, (hop, c, h, w)), (f32, (hop, c, h, w))
        states.append(StateSpec(input=f"{name}.in", output=f"{name}.out", shape=(hop, c, h, w), copy_of=before))
        nodes.append(helper.make_node("Identity", [before or "frames"], [f"{name}.out"]))
    nodes.append(helper.make_node("Concat", [*(f"state.x.{k}.in" for k in range(window - 1)), "frames"], ["all"], axis=0))
    tail, weights = brightness_nodes("all", [0, 1, 2, 3], "logits")
    fields = {
        "kind": "step", "frames": window * hop, "hop": hop, "states": tuple(states), "feature_delay": (window - 1) *
        hop, "labels": ("dark", "bright", "medium"), "preprocess": preprocess, **meta,
    }  # fmt: skip
    save(attach(model(nodes + tail, inputs, outputs, weights), Metadata(**fields)), path)
    return path


def brightness_clip(path: Path, *, frames: int = 4, size: tuple[int, int] = (12, 16), **meta: Any) -> Path:
    """The clip network of `brightness_step`: (1, C, T, H, W)."""
    preprocess = meta.pop("preprocess", None) or Preprocess(resize=size, fps=10, **GRAY)
    tail, weights = brightness_nodes("clip", [0, 1, 2, 3, 4], "logits")
    f32 = TensorProto.FLOAT
    made = model(tail, {"clip": (f32, (1, preprocess.channels, frames, *size))}, {"logits": (f32, (1, 3))}, weights)
    fields = {
        "kind": "clip",
        "frames": frames,
        "labels": ("dark", "bright", "medium"),
        "preprocess": preprocess,
        **meta,
    }
    save(attach(made, Metadata(**fields)), path)
    return path


def picture(level: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def stamped(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A picture that shows its number: the low 8 bits as a row of black and white blocks."""
    frame = np.zeros((height, width, 3), np.uint8)
    for bit in range(8):
        if index >> bit & 1:
            frame[:, bit * width // 8 : (bit + 1) * width // 8] = 255
    return frame


def number_of(frame: np.ndarray) -> int:
    """Reads `stamped` back."""
    means = [block.mean() for block in np.array_split(frame[..., 0], 8, axis=1)]
    return sum((mean > 128) << bit for bit, mean in enumerate(means))


def write_video(
    path: Path,
    frames: int | Sequence[np.ndarray] = 30,
    *,
    rate: Fraction | int = 30,
    codec: str = "mpeg4",
    times: Sequence[Fraction] | None = None,
    draw: Callable[[int], np.ndarray] = stamped,
    options: dict[str, str] | None = None,
    audio: bool = False,
    pix_fmt: str = "yuv420p",
) -> Path:
    """times: seconds per frame for a variable rate (default: index / rate). frames: pictures, or how many to draw."""
    pictures = [draw(i) for i in range(frames)] if isinstance(frames, int) else list(frames)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.options = {"g": "10"}
        base = Fraction(1, 90_000) if times else 1 / Fraction(rate)
        if times:
            stream.codec_context.time_base = base
        if audio:
            add_audio(container)
        for i, array in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            frame.pts, frame.time_base = (round(times[i] / base) if times else i), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def add_audio(container: av.container.OutputContainer, seconds: float = 0.5) -> None:
    stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
    sound = av.AudioFrame.from_ndarray(np.zeros((1, int(8000 * seconds)), np.int16), format="s16", layout="mono")
    sound.sample_rate, sound.pts = 8000, 0
    container.mux(stream.encode(sound))
    container.mux(stream.encode())


_FIXED = 1 << 16  # 1.0 in a display matrix


def turned(path: Path) -> Path:
    """The same .mp4, shown turned by a quarter, as phones write it: the pixels stay."""
    upright = struct.pack(">9i", _FIXED, 0, 0, 0, _FIXED, 0, 0, 0, 1 << 30)
    data = path.read_bytes()
    at = data.index(upright, data.index(b"tkhd"))
    path.write_bytes(data[:at] + struct.pack(">9i", 0, _FIXED, 0, -_FIXED, 0, 0, 0, 0, 1 << 30) + data[at + len(upright) :])
    return path


def cut(path: Path, share: float) -> Path:
    """The same file without its end."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path
