"""What only OpenVINO can get wrong: states inside the runtime, on networks that are laid out in many ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import handmade
from engines.test_engines import job
from everyframe import modelfile
from everyframe.conversion import convert, memory
from everyframe.conversion.facts import Options
from everyframe.errors import EngineError
from everyframe.modelfile import saturation
from everyframe.modelfile.exact import Exact
from everyframe.modelfile.schema import Metadata, StateSpec
from everyframe.modelfile.states import first_states, next_states
from everyframe.runtime import BUILTIN
from everyframe.runtime import engine as engines
from everyframe.runtime.states import plan, without_copies
from helpers import relative
from laws import idioms_in_frames
from laws.idioms import STREAMS, written
from native.test_int8 import step_network

pytest.importorskip("openvino", reason="openvino is not installed: pip install 'everyframe[openvino]'")
assert idioms_in_frames  # it fills the table


def both(model: onnx.ModelProto, specs: tuple[StateSpec, ...], threads: int = 1) -> tuple[engines.Run, engines.Run, list[int]]:
    """The model on OpenVINO and on ONNX Runtime, and the shape of its frames."""
    weights = {tensor.name for tensor in model.graph.initializer} | {spec.input for spec in specs}
    (frames,) = [value for value in model.graph.input if value.name not in weights]
    made = engines.Job(model, "net.onnx", frames.name, model.graph.output[0].name, plan(specs, "net.onnx"), threads)
    shape = [dim.dim_value for dim in frames.type.tensor_type.shape.dim]
    return engines.load("openvino", made).start(), engines.load("ort", made).start(), shape


@pytest.mark.parametrize("operator", ["Identity", "Reshape", "Slice", "Split", "Relu"])
def test_what_is_assigned_outlives_the_step(operator: str) -> None:
    """A state that repeats the frames, or a view of them, while another one makes the same memory busy."""
    f32, size = TensorProto.FLOAT, (1, 4, 6, 5)
    constants = {
        "Reshape": [handmade.tensor("to", [1, 4, 6, 5], np.int64)],
        "Slice": [handmade.tensor(n, [v], np.int64) for n, v in (("from", 0), ("until", 9), ("axes", 1), ("steps", 1))],
        "Split": [handmade.tensor("parts", [4, 4], np.int64)],
    }.get(operator, [])
    source = "twice" if operator == "Split" else "frames"
    nodes = [helper.make_node("Concat", ["frames", "frames"], ["twice"], axis=1)] if operator == "Split" else []
    attributes = {"axis": 1} if operator == "Split" else {}
    outputs = ["a.out", "rest"] if operator == "Split" else ["a.out"]
    nodes += [
        helper.make_node(operator, [source, *(c.name for c in constants)], outputs, **attributes),
        helper.make_node("Concat", ["a.in", "b.in", "frames"], ["all"], axis=1),
        helper.make_node("Conv", ["all", "weight"], ["b.out"], pads=[1] * 4),
        helper.make_node("Tanh", ["b.out"], ["logits"]),
    ]
    weight = handmade.tensor("weight", np.random.default_rng(0).normal(size=(4, 12, 3, 3)) / 10)
    names = ("frames", "a.in", "b.in"), ("logits", "a.out", "b.out")
    made = handmade.model(nodes, *(dict.fromkeys(each, (f32, size)) for each in names), [weight, *constants])
    specs = tuple(StateSpec(input=f"{name}.in", output=f"{name}.out", shape=size, fill=0.5) for name in "ab")
    ours, theirs, shape = both(made, specs)
    for seed in range(6):
        frames = np.random.default_rng(seed).standard_normal(shape, np.float32)
        np.testing.assert_allclose(ours.step(frames), theirs.step(frames), rtol=1e-5, atol=1e-5)


def test_states_that_the_host_moves() -> None:
    """A model without the outputs that only repeat a state."""
    whole = job(BUILTIN)
    lean = without_copies(whole.model, whole.states)
    ours, theirs, shape = both(lean, whole.states.specs)
    for seed in range(20):
        frames = np.random.default_rng(seed).random(shape, np.float32)
        np.testing.assert_allclose(ours.step(frames), theirs.step(frames), rtol=1e-4, atol=1e-4)


def test_integers_with_states() -> None:
    """Quantized, with states that begin with something else than zeros. It rounds a value between two steps either way."""
    model, specs = step_network()
    ours, _, shape = both(model, specs)
    exact, held = Exact(model), first_states(specs)
    for seed in range(5):
        frames = np.random.default_rng(seed).standard_normal(shape, np.float32)
        wanted = exact.run({"frames": frames, **held}, ["logits", *(spec.output for spec in specs)])
        held = next_states(specs, held, wanted)
        difference = np.abs(ours.step(frames) - wanted["logits"])  # in steps
        assert difference.max() <= 1.01 and (difference < 0.01).mean() >= 0.98


def signed_network() -> tuple[onnx.ModelProto, tuple[StateSpec, ...]]:
    """`step_network` with activations whose bytes have a sign."""
    model, specs = step_network()
    for tensor in model.graph.initializer:
        value = onnx.numpy_helper.to_array(tensor)
        if value.dtype == np.uint8 and value.ndim == 0:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(int(value) - 128, np.int8), tensor.name))
    return model, specs


def test_bytes_with_a_sign_are_computed_as_floats() -> None:
    model, specs = signed_network()
    (frames,) = [value for value in model.graph.input if not value.name.startswith("state")]
    made = engines.Job(model, "net.onnx", frames.name, "logits", plan(specs, "net.onnx"), 1)
    loaded = engines.load("openvino", made)
    assert loaded.reason.startswith("in float32")
    runs, exact, held = [loaded.start() for _ in range(2)], Exact(model), first_states(specs)
    for seed in range(5):
        noise = np.random.default_rng(seed).standard_normal((1, 5, 6, 7), np.float32)
        wanted = exact.run({"frames": noise, **held}, ["logits", *(spec.output for spec in specs)])
        held = next_states(specs, held, wanted)
        for run in runs:
            difference = np.abs(run.step(noise) - wanted["logits"])
            assert difference.max() <= 1.01 and (difference < 0.01).mean() >= 0.98


def test_integers_that_are_refused_are_computed_as_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino

    monkeypatch.setattr(saturation, "here", lambda: False)  # where they would be taken
    whole, asked = openvino.Core.compile_model, []

    def refuse(self: Any, *given: Any) -> Any:
        asked.append(given)
        if len(asked) == 1:
            raise RuntimeError("Argument shapes are inconsistent")
        return whole(self, *given)

    monkeypatch.setattr(openvino.Core, "compile_model", refuse)
    model, specs = step_network()
    job = engines.Job(model, "net.onnx", "frames", "logits", plan(specs, "net.onnx"), 1)
    assert engines.load("openvino", job).reason == "in float32, since integers are refused"
    asked.clear()
    with pytest.raises(EngineError, match="cannot load"):  # a float model has no other way
        both(*float_network())


def float_network() -> tuple[onnx.ModelProto, tuple[StateSpec, ...]]:
    f32, size = TensorProto.FLOAT, (1, 4, 6, 5)
    nodes = [helper.make_node("Tanh", ["frames"], ["logits"])]
    made = handmade.model(nodes, {"frames": (f32, size)}, {"logits": (f32, size)}, [])
    return made, ()


@pytest.mark.parametrize("threads", [1, 2])
def test_any_number_of_threads_says_the_same(threads: int, tmp_path: Path) -> None:
    net = handmade.conv_step(tmp_path / "net.onnx", form="slots", counter=True)
    frames = np.random.default_rng(0).normal(size=(9, 2, 4, 5)).astype(np.float32)
    network = engines.load("openvino", replace(job(tmp_path / "net.onnx"), threads=threads))
    runs = [network.start() for _ in range(3)]
    answers = np.array([[run.step(frame[None])[0] for run in runs] for frame in frames])  # (steps, runs, classes)
    np.testing.assert_allclose(answers, np.repeat(handmade.conv_oracle(net, frames)[:, None], 3, 1), rtol=1e-5, atol=1e-6)


def test_a_state_that_is_joined_of_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin joins in place, where the input is: the next frame would overwrite it."""
    monkeypatch.setattr(memory, "_SLOT_FLOATS", 1)
    row, given, options = STREAMS["mirrored_pictures_in_the_batch"]
    made = convert(written(row, given), Options(**{"layout": "NCTHW", **options}))
    ours, theirs, shape = both(made.step, made.metadata.states)
    for seed in range(6):
        noise = np.random.default_rng(seed).standard_normal(shape, np.float32)
        np.testing.assert_allclose(ours.step(noise)[0], theirs.step(noise)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), [("x3d_xs", "step"), ("shufflenet3d_0.5x", "step"), ("shufflenet3d_0.5x", "clip")])
def test_networks_of_the_zoo(name: str, form: str, zoo_clip: Callable[..., onnx.ModelProto]) -> None:
    """One frame a step and several, clip networks, states of every form."""
    frames = 4 if name == "x3d_xs" else 16
    model = zoo_clip(name, frames, 32)
    made = convert(model).step if form == "step" else model
    metadata = modelfile.metadata_of(made) or Metadata(kind="clip", frames=frames)
    ours, theirs, shape = both(made, metadata.states)
    for seed in range(metadata.feature_delay // metadata.hop + 3):
        noise = np.random.default_rng(seed).standard_normal(shape, np.float32)
        assert relative(ours.step(noise), theirs.step(noise)) < 1e-5
