"""A small model with videos, and models whose videos are arrays: for the tests of calibration and quantization."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

import everyframe
import handmade
from clips import clip_net
from everyframe.modelfile.exact import Exact
from everyframe.modelfile.file import attach, metadata_of, save
from everyframe.modelfile.interface import Input, Interface
from everyframe.modelfile.schema import Metadata, Preprocess, StateSpec
from everyframe.modelfile.states import first_states, next_states
from everyframe.quantization.structure import Structure, prepared, structure
from everyframe.quantization.videos import Model

LENGTHS = (25, 40, 33)  # frames of the videos


def write_folder(folder: Path) -> Path:
    """clip.onnx, step.onnx (one hop a step), videos/ in which something moves, and one/ with one of them."""
    clip_net(folder / "clip.onnx", labels=tuple("abcd"), preprocess=Preprocess(resize=(12, 16), mean=(0.4,) * 3, std=(0.2,) * 3))
    everyframe.convert(folder / "clip.onnx", folder / "step.onnx")
    (folder / "videos").mkdir()
    rng = np.random.default_rng(0)
    for number, length in enumerate(LENGTHS):
        pictures = [np.full((24, 32, 3), 60 * number, np.uint8) for _ in range(length)]
        for t, picture in enumerate(pictures):
            picture[t % 12 : t % 12 + 12, t % 20 : t % 20 + 12] = rng.integers(0, 256, 3)
        handmade.write_video(folder / "videos" / f"{number}.mp4", pictures, rate=10)
    (folder / "one").mkdir()
    shutil.copy(folder / "videos" / "1.mp4", folder / "one")
    return folder


def motion(path: Path, *, gain: float = 6.0, minus: bool = True, function: str = "Tanh", still: bool = True) -> Path:
    """Two taps, one for this frame and one for the last, are added (or subtracted), and a function reads the sum.

    still: opposite taps, which cancel where nothing moves. Without: two taps of one sign.
    """
    f32, size, rng = TensorProto.FLOAT, (1, 1, 12, 16), np.random.default_rng(0)
    sign = (1 if minus else -1) if still else (-1 if minus else 1)
    taps = np.array([[1.0], [0.7]])[..., None, None] * gain
    weights = {"now": taps, "then": sign * taps, "w": rng.normal(size=(6, 2, 3, 3)) / 3, "b": rng.normal(size=6) / 9,
               "v": rng.normal(size=(6, 3))}  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["frames", "now"], ["tap1"], "look::tap1"),
        helper.make_node("Conv", ["state.x.in", "then"], ["tap0"], "look::tap0"),
        helper.make_node("Sub" if minus else "Add", ["tap1", "tap0"], ["sum"], "look::sum"),
        helper.make_node(function, ["sum"], ["seen"], "function"),
        helper.make_node("Conv", ["seen", "w", "b"], ["y"], "conv", pads=[1] * 4),
        helper.make_node("Relu", ["y"], ["z"], "relu"),
        helper.make_node("GlobalAveragePool", ["z"], ["mean"], "mean"),
        helper.make_node("Flatten", ["mean"], ["flat"], "flat"),
        helper.make_node("MatMul", ["flat", "v"], ["logits"], "head"),
        helper.make_node("Identity", ["frames"], ["state.x.out"], "keep"),
    ]
    made = handmade.model(
        nodes, {"frames": (f32, size), "state.x.in": (f32, size)}, {"logits": (f32, (1, 3)), "state.x.out": (f32, size)},
        [handmade.tensor(name, value) for name, value in weights.items()],
    )  # fmt: skip
    state = StateSpec(input="state.x.in", output="state.x.out", shape=size)
    gray = Preprocess(resize=(12, 16), color="gray", mean=(0.4,), std=(0.2,))
    save(attach(made, Metadata(kind="step", frames=4, states=(state,), preprocess=gray)), path)
    return path


class Given(Model):
    """A model whose videos are arrays."""

    def inputs(self, sources: Sequence[Any], again: bool = False) -> Iterator[tuple[int, np.ndarray]]:
        while True:
            for number, video in enumerate(sources):
                for frames in video:
                    yield number, frames
            if not again:
                return


def given_model(model: onnx.ModelProto) -> tuple[Given, Structure]:
    """Of a model in memory, and its structure."""
    metadata = metadata_of(model)
    assert metadata is not None
    typed = prepared(model, "net")
    states = {spec.input for spec in metadata.states}
    frames = next(value.name for value in typed.graph.input if value.name not in states)
    taken = Interface((Input(frames, (), (), preprocess=metadata.preprocess),), "logits", None)
    return Given(typed, metadata, taken, "net"), structure(typed, metadata, frames)


def noise(model: Model, steps: int = 12, videos: int = 2, seed: int = 0) -> list[Any]:
    value = next(v for v in model.model.graph.input if v.name == model.interface.frames)
    shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return list(np.random.default_rng(seed).standard_normal((videos, steps, *shape), np.float32))


class ExactWalk:
    """As `Walk`, in exact arithmetic: the same on every processor."""

    def __init__(self, model: onnx.ModelProto, metadata: Metadata, watched: Sequence[str] = (), frames: str = "frames") -> None:
        self._exact, self._states, self._frames = Exact(model), metadata.states, frames
        self._watched = tuple(dict.fromkeys((*watched, "logits")))
        self._held = first_states(self._states)

    def step(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        heads = [spec.output for spec in self._states if spec.copy_of is None]
        found = self._exact.run({self._frames: frames, **self._held}, [*self._watched, *heads])
        self._held = next_states(self._states, self._held, found)
        return found
