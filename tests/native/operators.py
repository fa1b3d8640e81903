"""Networks of single operators for the tests of compiled code, and what runs them: onnxruntime, and a compiler.

All branches of a network read the same frames; each is flattened, and the answer is all of them in one row, so that every
value of every operator is compared.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from everyframe.native.build import link, write_sources
from everyframe.native.compilers import command
from everyframe.native.generate import BASE_FLAGS, generate
from everyframe.native.library import Library
from everyframe.native.packed import Choose, by_default
from everyframe.native.target import runs_here, target

# N frames, C channels, T frames of a clip, H W

#: processors that code is made for and run in these tests
CPUS = [name for name in ("generic", "x86-64-v3", "x86-64-v4", "aarch64") if runs_here(name)]
#: for whole networks, whose operators are compiled as they ship in tests of their own: faster than -O3, which comes first on the
#: command line and loses
QUICK = ("-O1",)


class Sketch:
    """Collects the nodes and weights of a network that reads `frames`."""

    def __init__(self, shape: Sequence[int], seed: int = 0, opset: int = 20) -> None:
        self.shape, self.rng, self.opset = tuple(shape), np.random.default_rng(seed), opset
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.answers: list[str] = []

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def normal(self, *shape: int) -> str:
        return self.constant(self.rng.standard_normal(shape))

    def op(self, kind: str, *inputs: str, **attrs: Any) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attrs))
        return name

    def part(self, shape: Sequence[int]) -> str:
        """The first of the frames, along each axis: several networks of sizes of their own in one, which is compiled once."""
        if tuple(shape) == self.shape:
            return "frames"
        ends = [np.array(values, np.int64) for values in ([0] * len(shape), shape, range(len(shape)))]
        return self.op("Slice", "frames", *(self.constant(each, np.int64) for each in ends))

    def answer(self, tensor: str) -> None:
        """Adds a tensor to the answer."""
        self.answers.append(self.op("Reshape", tensor, self.constant([1, -1], np.int64)))

    def model(self) -> onnx.ModelProto:
        joined = helper.make_node("Concat", self.answers, ["logits"], axis=1)
        graph = helper.make_graph(
            [*self.nodes, joined], "sketch", [helper.make_tensor_value_info("frames", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)], self.weights,
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9)


def widest(shapes: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """What has room for all of them."""
    return tuple(map(max, zip(*shapes, strict=True)))


def reference(model: onnx.ModelProto, frames: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], {"frames": frames})[0]).reshape(1, -1)


def compiled(model: onnx.ModelProto, folder: Path, cpu: str, states: Sequence[Any] = (), flags: Sequence[str] = ()) -> Library:
    folder.mkdir(parents=True, exist_ok=True)
    source, _, fitting = generate(model, states, target(cpu), where="sketch")
    return Library(link(source, fitting, model, folder / f"{cpu}.so", flags))


def distance(sketch: Sketch, folder: Path, cpu: str, change: Callable[[np.ndarray], np.ndarray] = lambda x: x) -> float:
    """Relative L2 distance between compiled code and onnxruntime on noise. change: makes other frames of the noise."""
    model = sketch.model()
    frames = change(np.random.default_rng(1).standard_normal(sketch.shape, np.float32))
    wanted = reference(model, frames)
    stream = compiled(model, folder, cpu).start(threads=2)
    got = stream.step(frames)
    stream.close()
    assert got.shape == wanted.shape
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


#: a program that runs a network on noise
MAIN = """
#define EF_STATIC_ARENA
#include "sketch.c"
static float frames[EF_FRAMES * EF_CHANNELS * EF_HEIGHT * EF_WIDTH], logits[EF_ANSWER_FLOATS];
int main(void) {
    ef_stream *stream;
    uint32_t noise = 1;
    if (ef_init(NULL, 0, NULL, 0, 2, &stream)) return 1;
    for (int step = 0; step < 3; step++) {
        for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
            noise = noise * 1664525u + 1013904223u;
            frames[i] = (float)(noise >> 8) / 8388608.0f - 1.0f;
        }
        if (ef_step(stream, frames, logits)) return 1;
    }
    ef_free(stream);
    return 0;
}
"""


def sanitized(sketch: Sketch, folder: Path, cpu: str, choose: Choose = by_default) -> float:
    """In place of `distance`: the network under sanitizers of addresses and undefined behavior, which end it."""
    source, _, fitting = generate(sketch.model(), (), target(cpu), where="sketch", stem="sketch", choose=choose)
    write_sources(source, folder)
    (folder / "main.c").write_text(MAIN)
    flags = ["-g", "-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", '-DEF_EMBED="sketch.weights"']
    words = [*command(fitting), *BASE_FLAGS, *flags, "main.c", "-o", "main", "-lm", "-lpthread"]
    subprocess.run(words, cwd=folder, check=True)
    done = subprocess.run([folder / "main"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return 0.0
