"""What a network's answer is: found in its graph, kept in the file, and read accordingly; several outputs and arrays as input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import everyframe
from everyframe.cli.show.timeline import Timeline
from everyframe.conversion.facts import Options
from everyframe.conversion.step import convert
from everyframe.conversion.verify import verify
from everyframe.errors import ModelError, UsageError
from everyframe.modelfile.ending import ending
from everyframe.modelfile.file import Held, save
from everyframe.modelfile.session import run
from everyframe.runtime.prediction import name_and_unit, read
from handmade import model, tensor

T, C, S, CLASSES = 6, 3, 4, 5
RNG = np.random.default_rng(3)
WEIGHTS = [
    tensor("w", RNG.standard_normal((8, C, 3, 1, 1))), tensor("line", RNG.standard_normal((8, CLASSES))),
    tensor("point", RNG.standard_normal((CLASSES, 8, 1, 1, 1))), tensor("front", [0], np.int64),
]  # fmt: skip
STEM = [helper.make_node("Conv", ["clip", "w"], ["x"], pads=[1, 0, 0, 1, 0, 0]), helper.make_node("Relu", ["x"], ["r"])]
POOLED = [
    helper.make_node("ReduceMean", ["r"], ["mean"], axes=[2, 3, 4], keepdims=0),
    helper.make_node("MatMul", ["mean", "line"], ["raw"]),
]
FRAMED = [
    helper.make_node("Conv", ["r", "point"], ["p"]),
    helper.make_node("ReduceMean", ["p"], ["each"], axes=[3, 4], keepdims=0),
]  # (1, classes, T)


def net(nodes: list[onnx.NodeProto], **outputs: tuple[int, ...]) -> onnx.ModelProto:
    f32 = TensorProto.FLOAT
    shapes = {name: (f32, shape) for name, shape in outputs.items()}
    used = {name for node in nodes for name in node.input}
    return model(nodes, {"clip": (f32, (1, C, T, S, S))}, shapes, [w for w in WEIGHTS if w.name in used])


def ends_in(*operators: str) -> onnx.ModelProto:
    nodes, name = [*STEM, *POOLED], "raw"
    for i, op in enumerate(operators):
        nodes.append(helper.make_node(op, [name], [f"out{i}"]))
        name = f"out{i}"
    return net(nodes, **{name: (1, CLASSES)})


def averaged() -> onnx.ModelProto:
    """As a test-time head: a softmax at each place and frame, then their mean."""
    nodes = [
        *STEM, helper.make_node("Conv", ["r", "point"], ["p"]), helper.make_node("Softmax", ["p"], ["soft"], axis=1),
        helper.make_node("ReduceMean", ["soft"], ["out"], axes=[2, 3, 4], keepdims=0),
    ]  # fmt: skip
    return net(nodes, out=(1, CLASSES))


def said(clip: onnx.ModelProto, frames: np.ndarray, **options: object) -> everyframe.Prediction:
    """The last prediction of its step model over frames (n, C, H, W)."""
    with everyframe.open(Held(convert(clip).step), engine="ort", threads=1, **options) as program, program.stream() as stream:
        predictions = [stream.step(frame[None]) for frame in frames]
    assert predictions[-1] is not None
    return predictions[-1]


def video(frames: int = 20) -> np.ndarray:
    """The same frame again and again: then the stream and the clip see the same."""
    return np.repeat(np.random.default_rng(5).standard_normal((1, C, S, S)).astype(np.float32), frames, axis=0)


@pytest.mark.parametrize(
    ("clip", "task", "scores"),
    [
        (ends_in("Identity"), "classify", "logits"),
        (ends_in("Softmax"), "classify", "probabilities"),
        (ends_in("Softmax", "Identity"), "classify", "probabilities"),
        (ends_in("Sigmoid"), "multilabel", "probabilities"),
        (ends_in("Softmax", "Relu"), "classify", "logits"),  # no carrier: nothing is claimed
        (averaged(), "classify", "probabilities"),
    ],
)  # fmt: skip
def test_the_last_operators_tell_also_of_the_step_model(clip: onnx.ModelProto, task: str, scores: str) -> None:
    made = convert(clip)
    assert (made.metadata.task, made.metadata.scores) == (task, scores)
    assert ("the output is classify, logits" in made.assumed) == (scores == "logits")
    untold = made.metadata.model_copy(update={"task": None, "scores": None})  # as files of 1.0 are
    again = ending(made.step, "logits", untold)
    assert (again.task, again.scores) == (task, scores)


@pytest.mark.parametrize("clip", [ends_in("Softmax"), averaged()])
def test_probabilities_are_not_softmaxed_again(clip: onnx.ModelProto) -> None:
    frames = video()
    answer = said(clip, frames)
    assert answer.scores.sum() == pytest.approx(1, abs=1e-5)
    again = read(answer.logits, "classify", "logits")[0]
    np.testing.assert_allclose(again, answer.scores, atol=1e-5)  # who softmaxes the logits gets the scores


def to_one(shape: tuple[int, ...], keep: int, *axes: int) -> onnx.ModelProto:
    """The mean of everything, or of every frame, as one value in any number of axes."""
    return net([*STEM, helper.make_node("ReduceMean", ["r"], ["out"], axes=list(axes), keepdims=keep)], out=shape)


@pytest.mark.parametrize(
    "clip",
    [
        to_one((), 0, 0, 1, 2, 3, 4),
        to_one((1,), 0, 1, 2, 3, 4),
        to_one((1, 1, 1, 1, 1), 1, 1, 2, 3, 4),
        to_one((1, T), 0, 1, 3, 4),
    ],
    ids=["scalar", "1", "1x1x1x1x1", "one a frame"],
)
def test_one_value_is_a_quantity(clip: onnx.ModelProto) -> None:
    """As a class it would always be sure."""
    made = convert(clip)
    assert (made.metadata.task, "the output is regress, logits" in made.assumed) == ("regress", True)
    value = said(clip, video()).values[0].value
    assert np.isfinite(value) and value not in (0, 1)


@pytest.mark.parametrize(
    ("nodes", "kind", "shape"),
    [
        ([("ArgMax", ["raw"], {"axis": 1})], TensorProto.INT64, (1, 1)),
        ([("ArgMax", ["raw"], {"axis": 1}), ("Cast", ["out0"], {"to": TensorProto.FLOAT})], TensorProto.FLOAT, (1, 1)),
        ([("Greater", ["raw", "zero"], {})], TensorProto.BOOL, (1, CLASSES)),
        ([("TopK", ["raw", "two"], {})], TensorProto.FLOAT, (1, 2)),
    ],
    ids=["ArgMax", "ArgMax as a float", "Greater", "TopK"],
)
def test_what_was_made_of_scores_is_none(nodes: list, kind: int, shape: tuple[int, ...]) -> None:
    """It can be a further output: numbers, yes and no are compared like the rest."""
    made = [
        helper.make_node(op, given, [f"out{i}", f"at{i}"][: 1 + (op == "TopK")], **how)
        for i, (op, given, how) in enumerate(nodes)
    ]
    name, f32 = f"out{len(nodes) - 1}", TensorProto.FLOAT
    used = {x for node in [*STEM, *POOLED, *made] for x in node.input}
    weights = [w for w in [*WEIGHTS, tensor("zero", 0.0), tensor("two", [2], np.int64)] if w.name in used]
    alone, scores = {name: (kind, shape)}, {"raw": (f32, (1, CLASSES))}
    with pytest.raises(ModelError, match=f"not scores(.|\\n)*{nodes[0][0]}"):
        convert(model([*STEM, *POOLED, *made], {"clip": (f32, (1, C, T, S, S))}, alone, weights))
    both = convert(model([*STEM, *POOLED, *made], {"clip": (f32, (1, C, T, S, S))}, scores | alone, weights))
    assert verify(both) < 1e-5


def test_the_scores_are_those_of_the_network() -> None:
    raw, soft = (said(ends_in(op), video()) for op in ("Identity", "Softmax"))
    np.testing.assert_allclose(raw.scores, soft.scores, atol=1e-5)


def test_any_of_several_shows_what_reaches_the_threshold() -> None:
    answer = said(ends_in("Sigmoid"), video(), threshold=0.4)
    assert {top.index for top in answer.top} == set(np.flatnonzero(answer.scores >= 0.4).tolist())
    told = said(ends_in("Identity"), video(), task="multilabel", threshold=0.4)
    np.testing.assert_allclose(told.scores, answer.scores, atol=1e-5)


def test_quantities_stay_as_they_are_and_have_units() -> None:
    labels = ["angle (deg)", "speed [m/s]", "c", "d", "e"]
    answer = said(ends_in("Identity"), video(), task="regress", labels=labels)
    np.testing.assert_array_equal(answer.scores, answer.logits)
    assert [(v.name, v.unit) for v in answer.values][:3] == [("angle", "deg"), ("speed", "m/s"), ("c", None)]
    assert "top" not in answer.to_dict() and answer.to_dict()["values"][0]["unit"] == "deg"
    assert name_and_unit("plain") == ("plain", None)


def test_several_outputs_are_converted_verified_and_given_by_name() -> None:
    clip = net([*STEM, *POOLED, *FRAMED], raw=(1, CLASSES), each=(1, CLASSES, T))
    made = convert(clip)
    assert verify(made) < 1e-5
    (other,) = made.metadata.outputs
    assert (other.name, other.task, other.shape, other.every, other.delay) == ("each", "frames", (1, CLASSES), 1, 1)
    frames = np.random.default_rng(8).standard_normal((12, C, S, S)).astype(np.float32)
    wanted = run(clip, {"clip": frames[None, :T].swapaxes(1, 2)}, ["each"])["each"][0].T  # (T, classes)
    for engine in ("ort", "reference"):
        with everyframe.open(Held(made.step), engine=engine, threads=1) as program, program.stream() as stream:
            answers = [answer.outputs["each"] for frame in frames if (answer := stream.step(frame[None])) is not None]
        soft = read(wanted, "frames", "logits")[0]
        np.testing.assert_allclose(np.concatenate(answers)[: T - 1], soft[: T - 1], atol=1e-5)  # but for the right edge


def test_a_head_that_is_asked_for_is_the_main_one() -> None:
    clip = net([*STEM, *POOLED, *FRAMED], raw=(1, CLASSES), each=(1, CLASSES, T))
    alone = convert(clip, heads=["each"])
    assert verify(alone) < 1e-5 and alone.metadata.task == "frames" and not alone.metadata.outputs
    both = convert(clip, heads=["each", "raw"])
    assert verify(both) < 1e-5 and [spec.name for spec in both.metadata.outputs] == ["raw"]
    with pytest.raises(UsageError, match="no such output"):
        convert(clip, heads=["eech"])


def test_of_stages_that_refine_each_other_the_last_answers() -> None:
    """(stages, N, classes, T), as MS-TCN gives them: not maps of so many classes."""
    nodes = [
        *STEM, *FRAMED, helper.make_node("Tanh", ["each"], ["second"]),
        helper.make_node("Unsqueeze", ["each", "front"], ["one"]), helper.make_node("Unsqueeze", ["second", "front"], ["two"]),
        helper.make_node("Concat", ["one", "two", "one", "two"], ["stages"], axis=0),
    ]  # fmt: skip
    stacked = net(nodes, stages=(4, 1, CLASSES, T))
    made = convert(stacked)
    assert verify(made) < 1e-5 and any("4 stages" in note for note in made.notes)
    last = convert(net(nodes[:-3], second=(1, CLASSES, T)))
    assert (made.metadata.task, made.metadata.feature_delay) == (last.metadata.task, last.metadata.feature_delay)
    frames = np.random.default_rng(8).standard_normal((12, C, S, S)).astype(np.float32)
    said = []
    for each in (made, last):
        with everyframe.open(Held(each.step), engine="ort", threads=1) as program, program.stream() as stream:
            said.append([answer.logits for frame in frames if (answer := stream.step(frame[None])) is not None])
    np.testing.assert_allclose(said[0], said[1], atol=1e-6)


def test_stages_are_predicted_and_evaluated(tmp_path: Path) -> None:
    """From features to figures in MS-TCN's folders: each frame has the label that the last stage gives it in the whole video."""
    length, rng = 40, np.random.default_rng(5)
    weights = {"one": (CLASSES, 7, 3), "two": (CLASSES, CLASSES, 5)}
    nodes = [
        helper.make_node("Conv", ["clip", "one"], ["first"], pads=[1, 1]),
        helper.make_node("Softmax", ["first"], ["said"], axis=1),
        helper.make_node("Conv", ["said", "two"], ["second"], pads=[2, 2]),
        *(helper.make_node("Unsqueeze", [name, "front"], [f"{name}.stage"]) for name in ("first", "second")),
        helper.make_node("Concat", ["first.stage", "second.stage"], ["stages"], axis=0),
    ]  # fmt: skip
    shapes = {"clip": (TensorProto.FLOAT, (1, 7, length))}, {"stages": (TensorProto.FLOAT, (2, 1, CLASSES, length))}
    tensors = [tensor(name, rng.standard_normal(shape)) for name, shape in weights.items()] + [tensor("front", [0], np.int64)]
    clip = model(nodes, *shapes, tensors)
    names = [f"step {i}" for i in range(CLASSES)]
    made = everyframe.convert(clip, tmp_path / "step.onnx", layout="NCT", labels=names)
    for folder in ("features", "groundTruth"):
        (tmp_path / folder).mkdir()
    for number in range(2):
        features = rng.standard_normal((7, length)).astype(np.float32)
        whole = run(clip, {"clip": features[None]}, ["stages"])["stages"][-1, 0].argmax(0)
        np.save(tmp_path / f"features/{number}.npy", features)
        (tmp_path / f"groundTruth/{number}.txt").write_text("\n".join(names[label] for label in whole))
        found = everyframe.predict(tmp_path / "step.onnx", tmp_path / f"features/{number}.npy", engine="ort")
        assert len(set(whole)) > 2 and [one.top[0].index for one in found] == whole[: length - made.metadata.delay].tolist()
    report = everyframe.evaluate(tmp_path / "step.onnx", tmp_path)
    accuracy = report.conditions["normal"]["stream"]["accuracy"].value
    assert accuracy == pytest.approx(1 - made.metadata.delay / length) and report.videos == 2


def test_arrays_go_in_as_they_are(tmp_path: Path) -> None:
    weights = [tensor("w1", RNG.standard_normal((8, 7, 3))), WEIGHTS[1]]
    nodes = [
        helper.make_node("Conv", ["clip", "w1"], ["x"], pads=[1, 1]), helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("ReduceMean", ["r"], ["mean"], axes=[2], keepdims=0),
        helper.make_node("MatMul", ["mean", "line"], ["raw"]),
    ]  # fmt: skip
    f32 = TensorProto.FLOAT
    clip = model(
        nodes,
        {"clip": (f32, (1, 7, T))},
        {"raw": (f32, (1, CLASSES))},
        weights,
    )
    made = convert(clip, Options(layout="NCT"))
    assert made.metadata.axes == "C" and verify(made) < 1e-5
    with everyframe.open(Held(made.step), engine="ort", threads=1) as program, program.stream() as stream:
        rows = np.random.default_rng(1).standard_normal((10, 7)).astype(np.float32)
        pushed = [stream.push(row) for row in rows]
        stream.reset()
        stepped = [stream.step(row[None]) for row in rows]
    assert pushed[-1] is not None and stepped[-1] is not None
    np.testing.assert_array_equal(pushed[-1].scores, stepped[-1].scores)


@pytest.mark.parametrize("how", ["compiled", "native", "openvino", "split", "overlap"])
def test_whatever_runs_it_gives_all_outputs(tmp_path: Path, how: str) -> None:
    """Compiled, on other engines, split, in stages that work at the same time: the predictions are those of the whole model."""
    if how == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed: pip install 'everyframe[openvino]'")
    clip = net([*STEM, *POOLED, *FRAMED], raw=(1, CLASSES), each=(1, CLASSES, T))
    step = save(convert(clip).step, tmp_path / "step.onnx")
    if how == "compiled":
        everyframe.compile(step, tmp_path / "two.so")
    elif how in ("split", "overlap"):
        everyframe.split(step, tmp_path / "parts")
    model = {"compiled": tmp_path / "two.so", "split": tmp_path / "parts", "overlap": tmp_path / "parts"}.get(how, step)
    engine = how if how in ("native", "openvino") else "auto"
    frames = np.random.default_rng(8).standard_normal((12, C, S, S)).astype(np.float32)
    np.save(tmp_path / "frames.npy", frames.swapaxes(0, 1))

    def answers(path: Path, **options: object) -> list[everyframe.Prediction]:
        with everyframe.open(path, threads=1, **options) as program:
            return list(program.predict(tmp_path / "frames.npy"))

    got, wanted = answers(model, engine=engine, overlap=how == "overlap"), answers(step, engine="reference")
    assert [one.frame for one in got] == [one.frame for one in wanted]
    assert [set(one.outputs) for one in got] == [{"each"}] * len(got)
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(one.outputs["each"], other.outputs["each"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("engine", ["ort", "native", "openvino"])
def test_a_step_that_answers_several_frames_does_so_on_every_engine(engine: str) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed: pip install 'everyframe[openvino]'")
    twice = [
        *STEM, helper.make_node("Resize", ["r", "", "twice"], ["rr"], mode="nearest", coordinate_transformation_mode="asymmetric",
                                nearest_mode="floor"),
        helper.make_node("Conv", ["rr", "point"], ["p"]),
        helper.make_node("ReduceMean", ["p"], ["each"], axes=[3, 4], keepdims=0),
    ]  # fmt: skip
    f32, weights = TensorProto.FLOAT, [w for w in WEIGHTS if w.name in ("w", "point")]
    weights.append(tensor("twice", [1, 1, 2, 1, 1]))
    clip = model(twice, {"clip": (f32, (1, C, T, S, S))}, {"each": (f32, (1, CLASSES, 2 * T))}, weights)
    step, frames = convert(clip).step, np.random.default_rng(4).standard_normal((9, C, S, S)).astype(np.float32)
    answers = []
    for name in (engine, "reference"):
        with everyframe.open(Held(step), engine=name, threads=1) as program, program.stream() as stream:
            answers.append(np.array([one.frames for frame in frames if (one := stream.step(frame[None])) is not None]))
    assert answers[0].shape[1:] == (2, CLASSES)
    np.testing.assert_allclose(*answers, rtol=1e-4, atol=1e-5)


def test_the_timeline_draws_quantities_between_their_extremes() -> None:
    timeline = Timeline()
    for frames in (4, 8, 12):
        timeline.add(said(ends_in("Identity"), np.random.default_rng(2).standard_normal((frames, C, S, S)), task="regress"))
    _, rows = timeline.table()
    np.testing.assert_allclose([rows.min(0), rows.max(0)], [[0] * CLASSES, [1] * CLASSES], atol=1e-6)
