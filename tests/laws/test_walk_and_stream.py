"""The law for who steps a model: `Walk` and `Program.stream()` say the same of every kind of model that the tools write."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import everyframe
import handmade
from everyframe import modelfile
from everyframe.devices.rewrites import host_state
from everyframe.modelfile import manifest, walk
from everyframe.modelfile.manifest import Parts
from everyframe.modelfile.schema import Preprocess
from everyframe.modelfile.walk import Walk
from everyframe.quantization.calibrate import calibrate
from everyframe.quantization.conventions import convention
from everyframe.quantization.scales import scale_for
from everyframe.quantization.write import write
from everyframe.runtime.engine import AccuracyWarning
from everyframe.splitting import cut, label
from laws.layers import Poison
from laws.nets import Net, nets
from laws.streaming import convert_net, difference
from laws.tally import Tally
from quantizing import given_model, noise

HEADS = ("mean", "pool", "global", "two", "time first")


def moved_by_the_host(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto | None:
    return host_state.apply(model)


def quantized(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    given, parts = given_model(model)
    to = convention("cpu")
    found = calibrate(given, parts, noise(given))
    scales = {group: scale_for(*limits, to) for group, limits in found.ranges.items()}
    return write(parts, given.metadata, scales, to, given.interface.logits)


def taking_bytes(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """It normalizes by itself."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    frames = next(value for value in made.graph.input if value.name == "frames")
    hop, channels, height, width = (dim.dim_value for dim in frames.type.tensor_type.shape.dim)
    frames.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.UINT8, (hop, height, width, channels)))
    frames.name = "bytes"
    made.graph.initializer.append(handmade.tensor("bytes.scale", [1 / 255]))
    for node in (
        helper.make_node("Mul", ["bytes.turned", "bytes.scale"], ["frames"]),
        helper.make_node("Transpose", ["bytes.floats"], ["bytes.turned"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["bytes"], ["bytes.floats"], to=TensorProto.FLOAT),
    ):
        made.graph.node.insert(0, node)
    return made


def split(model: onnx.ModelProto, folder: Path) -> Parts:
    flow = cut.open_step(modelfile.save(model, folder / "whole.onnx"))
    cut.write(cut.cut(flow, label.at_states(flow)), folder / "parts")
    found = manifest.read(folder / "parts")
    return Parts(found, manifest.read_parts(folder / "parts", found))


def as_it_is(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    return model


def in_turn(*steps: Callable) -> Callable:
    def apply(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto | Parts | None:
        made: onnx.ModelProto | Parts | None = model
        for step in steps:
            made = step(made, folder) if made is not None else None
        return made

    return apply


KINDS = {
    "as converted": as_it_is,
    "moved by the host": moved_by_the_host,
    "quantized": quantized,
    "takes bytes": taking_bytes,
    "split": split,
    "moved by the host, takes bytes": in_turn(moved_by_the_host, taking_bytes),
    "moved by the host, split": in_turn(moved_by_the_host, split),
    "quantized, split": in_turn(quantized, split),
    "moved by the host, quantized": in_turn(moved_by_the_host, quantized),
}


def inputs(walk_frames: str, shape: tuple[int, ...], steps: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    if walk_frames == "bytes":
        return [rng.integers(0, 256, shape, np.uint8) for _ in range(steps)]
    return [rng.standard_normal(shape, np.float32) for _ in range(steps)]


def both(made: onnx.ModelProto | Parts, folder: Path) -> tuple[list[np.ndarray], list[np.ndarray], int]:
    """Logits of each step that predicts: of the walk, of the stream; and how many states the graph does not hand on."""
    path = folder / "parts" if isinstance(made, Parts) else modelfile.save(made, folder / "model.onnx")
    steps = Walk(made, threads=1)
    outline = made.manifest.outline() if isinstance(made, Parts) else made
    missing = {spec.output for spec in steps.specs} - {value.name for value in outline.graph.output}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        program = everyframe.open(path, engine="ort", threads=1)
    with program, program.stream() as stream:
        late = program.metadata.feature_delay // stream.hop
        shape = program.interface.shape
        walked, streamed = [], []
        for frames in inputs(program.interface.frames, tuple(size or 1 for size in shape), late + 6):
            (logits,) = (steps.step(frames)[name] for name in steps.answers)
            walked.append(logits.ravel())
            if (prediction := stream.step(frames)) is not None:
                streamed.append(prediction.logits)
    return walked[late:], streamed, len(missing)


@pytest.mark.slow
def test_walk_and_stream_say_the_same(tmp_path: Path) -> None:
    """In every bit: it is the same arithmetic, with other ways to feed it."""
    seen: Counter[str] = Counter()
    moved: Counter[str] = Counter()  # states that the graph does not hand on

    def law(net: Net, count: Counter) -> None:
        if any(isinstance(layer, Poison) for layer in net.layers):
            count["divides"] += 1  # by black pictures, and by what is rounded to 0
            return
        for form, slots in (("", False), ("slots, ", True)):
            conversion = convert_net(replace(net, slots=slots))
            model = modelfile.attach(conversion.step, conversion.metadata)
            if len(model.graph.input[0].type.tensor_type.shape.dim) != 4:
                count["no pictures"] += 1
                return
            for kind, change in KINDS.items():
                if (made := change(model, tmp_path)) is None:
                    continue  # nothing to move
                walked, streamed, missing = both(made, tmp_path)
                assert len(walked) > 0
                np.testing.assert_array_equal(walked, streamed, err_msg=form + kind)
                seen[form + kind] += 1
                moved[form + kind] += missing

    tally = Tally().over(nets(heads=HEADS, channels=(3,)), 20, law)
    assert min(seen[form + kind] for kind in KINDS for form in ("", "slots, ")) >= 6, (seen, tally.counts)
    assert moved["moved by the host"] > 0 and moved["slots, moved by the host, quantized"] > 0 and not moved["as converted"]


def test_a_walk_that_forgets_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a host that feeds a state that is only repeated with what it was before."""
    handmade.brightness_step(tmp_path / "net.onnx", preprocess=Preprocess(resize=(12, 16)))
    model = modelfile.load(tmp_path / "net.onnx")
    walked, streamed, _ = both(model, tmp_path)
    np.testing.assert_array_equal(walked, streamed)
    monkeypatch.setattr(
        walk, "next_states",
        lambda specs, held, found: {s.input: found[s.output] if s.copy_of is None else held[s.input] for s in specs},
    )  # fmt: skip
    walked, streamed, _ = both(model, tmp_path)
    assert difference(np.stack(walked), np.stack(streamed)) > 0.01
