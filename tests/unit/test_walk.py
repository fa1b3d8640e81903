"""A model run step by step: what goes in and comes out of every kind of model, what is refused, and where sessions are made."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import handmade
import layout
from everyframe import modelfile
from everyframe.cli import main
from everyframe.errors import EngineError, ModelError, StateError
from everyframe.modelfile import ort
from everyframe.modelfile.schema import StateSpec
from everyframe.modelfile.walk import How, Walk

HOWS: tuple[How, ...] = ("fast", "plain", "exact")
STEPS = 9


def video(steps: int = STEPS) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((steps, 2, 4, 5), np.float32)


def without_outputs_that_repeat(model: onnx.ModelProto) -> onnx.ModelProto:
    metadata = modelfile.metadata_of(model)
    assert metadata is not None
    gone = {spec.output for spec in metadata.states if spec.copy_of is not None}
    lean = onnx.ModelProto()
    lean.CopyFrom(model)
    for values in (lean.graph.output, lean.graph.node):
        for i in reversed(range(len(values))):
            if (values[i].name if values is lean.graph.output else lean.graph.node[i].output[0]) in gone:
                del values[i]
    return lean


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("form", ["ring", "slots", "moved by the host"])
def test_a_stream_is_what_the_weights_say(form: str, how: How, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    net = handmade.conv_step(path, form="ring" if form == "ring" else "slots", taps=4, counter=True)
    model = modelfile.load(path)
    walk = Walk(model if form != "moved by the host" else without_outputs_that_repeat(model), how=how)
    assert walk.frames == ("frames",) and walk.answers == ("logits",)
    for _ in range(2):  # `reset` forgets everything
        got = np.concatenate([walk.step(frame[None])["logits"] for frame in video()])
        np.testing.assert_allclose(got, handmade.conv_oracle(net, video()), rtol=2e-5, atol=1e-5)
        assert walk.steps == STEPS
        walk.reset()


@pytest.mark.parametrize("how", HOWS)
def test_what_is_watched(how: How, tmp_path: Path) -> None:
    """Wires, inputs, states before the step, and outputs that the graph does not have because they only repeat a state."""
    handmade.conv_step(tmp_path / "net.onnx", form="slots", taps=4)
    model = without_outputs_that_repeat(modelfile.load(tmp_path / "net.onnx"))
    before = model.SerializeToString()
    walk, frames = Walk(model, ["act", "frames", "state.x.1.in", "state.x.2.out"], how=how), video()
    for t in range(STEPS):
        found = walk.step(frames[t : t + 1])
        assert set(found) == {"logits", *walk.watched}
        assert found["act"].shape == (1, 3, 4, 5) and found["act"].min() >= 0
        np.testing.assert_array_equal(found["frames"], frames[t : t + 1])
        for name in ("state.x.1.in", "state.x.2.out"):  # the frame two steps ago; it moves on into slot 2
            np.testing.assert_array_equal(found[name][0], frames[t - 2] if t >= 2 else np.zeros((2, 4, 5)))
        np.testing.assert_array_equal(walk.states["state.x.2.in"], found["state.x.2.out"])
    assert model.SerializeToString() == before


def test_networks_of_others_and_clips(tmp_path: Path) -> None:
    """Without metadata nothing is remembered, unless `states` says so; several inputs go by name."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Mul", ["a", "b"], ["product"])], "two",
        [info("a", TensorProto.FLOAT, [2]), info("b", TensorProto.FLOAT, [2])],
        [info("sum", TensorProto.FLOAT, [2]), info("product", TensorProto.FLOAT, [2])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    two = np.array([2, 3], np.float32)
    found = Walk(model).step({"a": two, "b": two})
    assert found["sum"].tolist() == [4, 6] and found["product"].tolist() == [4, 9]
    adding = Walk(model, states=[StateSpec(input="b", output="sum", shape=(2,), fill=1.0)])
    assert [adding.step(two)["product"].tolist() for _ in range(3)] == [[2, 3], [6, 12], [10, 21]]
    clip = Walk(modelfile.load(handmade.brightness_clip(tmp_path / "clip.onnx")))
    assert clip.step(np.full((1, 1, 4, 12, 16), 0.75, np.float32))["logits"].tolist() == [[-5, 5, 0]]


def test_what_is_refused(tmp_path: Path) -> None:
    handmade.conv_step(tmp_path / "net.onnx")
    model = modelfile.load(tmp_path / "net.onnx")
    for how in HOWS:
        with pytest.raises(ModelError, match=r"no such tensor(.|\n)*mena(.|\n)*did you mean mean\?"):
            Walk(model, ["mena"], how=how)
    walk = Walk(model)
    with pytest.raises(StateError, match=r"step 0(.|\n)*expected: frames(.|\n)*got: +picture"):
        walk.step({"picture": video(1)})
    walk.step(video(1))
    with pytest.raises(EngineError, match="step 1"):
        walk.step(video(1)[..., :3])
    walk.step(video(1))  # as if the wrong one had never come
    assert walk.steps == 2


# -- sessions ---------------------------------------------------------------------------------------------------------------


def test_sessions_are_made_in_one_place() -> None:
    """All others would have to know what onnxruntime gets wrong; programs of a bundle run without everyframe."""
    call = re.compile(r"InferenceSession\(|SessionOptions\(")
    made = {name for name, path in layout.modules().items() if call.search(path.read_text(encoding="utf-8"))}
    assert made == {"everyframe.modelfile.ort"}


@pytest.fixture
def padded() -> onnx.ModelProto:
    """Zeros in front of a max pool: of pictures that are negative everywhere the answer is 0."""
    return handmade.model(
        [helper.make_node("Pad", ["x", "pads", "zero"], ["padded"]),
         helper.make_node("MaxPool", ["padded"], ["y"], kernel_shape=[2, 2], strides=[2, 2])],
        {"x": (TensorProto.FLOAT, (1, 1, 2, 2))}, {"y": (TensorProto.FLOAT, (1, 1, 2, 2))},
        [handmade.tensor("pads", [0, 0, 1, 1, 0, 0, 1, 1], np.int64), handmade.tensor("zero", 0.0)],
    )  # fmt: skip


BELOW = np.full((1, 1, 2, 2), -1, np.float32)


def test_zeros_in_front_of_a_max_pool_stay_zeros(padded: onnx.ModelProto) -> None:
    """onnxruntime takes them for the pool's own padding; planted: it is wrong with all of its optimizers."""
    for optimized in (True, False):
        assert not ort.create(padded, optimized=optimized).run(None, {"x": BELOW})[0].any()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ort, "WRONG", ())
        assert (ort.create(padded).run(None, {"x": BELOW})[0] == -1).all(), "onnxruntime does it right: the workaround can go"


def test_and_in_the_program_of_a_bundle(padded: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(padded, tmp_path / "model.onnx")
    program = runpy.run_path(str(layout.SOURCE / "bundles" / "templates" / "device_onnxruntime.py"))
    assert not program["Device"](str(tmp_path / "model.onnx"), ["x"], ["y"]).run({"x": BELOW})["y"].any()


# -- a model whose host moves the states, where events are measured ---------------------------------------------------------


@pytest.mark.slow
def test_events_of_a_model_whose_host_moves_the_states(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = tmp_path / "hs.onnx"
    with pytest.raises(SystemExit) as done:
        main.run(["check", "builtin", "--target", "rdk-s100", "--fix", "--host-state", "-o", str(moved)])
    assert not done.value.code
    graph = modelfile.load(moved).graph
    metadata = modelfile.metadata_of(modelfile.load(moved))
    assert metadata is not None
    assert {spec.output for spec in metadata.states if spec.copy_of} - {value.name for value in graph.output}
    capsys.readouterr()

    from everyframe.motions import evaluate

    sizes = {"streams": 3, "negatives": 2, "singles": 1}
    reports = []
    for path in (evaluate.BUILT_IN, moved):
        model = evaluate.open_model(path)
        report = evaluate.evaluate(model, sizes=sizes, baseline=False)[model.name]
        reports.append(json.dumps(report))
    assert reports[0] == reports[1]
