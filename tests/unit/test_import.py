"""Step networks of others: whatever their tensors are called and however their axes lie, they stream as they would by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import everyframe
import handmade
from everyframe import modelfile
from everyframe.cli.main import run
from everyframe.errors import ModelError
from everyframe.modelfile.importer import import_model, read_mapping
from handmade import tensor

STATES, SIZE, CLASSES = 30, (3, 6, 8), 3
LAYOUTS = {
    "NTCHW": (1, 1, 3, 6, 8), "NCTHW": (1, 3, 1, 6, 8), "NTHWC": (1, 1, 6, 8, 3), "NCHW": (1, 3, 6, 8), "HWC": (6, 8, 3),
}  # fmt: skip


def names(i: int) -> tuple[str, str]:
    """Of a state: no convention connects the two, nor one state with the next."""
    word = ("mem", "call", "Cache:", "tf/", "x.")[i % 5]
    return f"{word}{97 * i % 101}", f"out_{61 * i % 67}_{word[0]}"


def of_others(layout: str, seed: int = 0) -> onnx.ModelProto:
    """30 leaky means of each channel, each of the one before: s_i' = a_i s_i + (1 - a_i) s_(i-1), s_0 being the frame's mean."""
    rng = np.random.default_rng(seed)
    f32 = TensorProto.FLOAT
    shape = LAYOUTS[layout]
    axes = [i for i, axis in enumerate(layout) if axis != "C"]
    nodes = [helper.make_node("ReduceMean", ["image"], ["m"], axes=axes, keepdims=0),
             helper.make_node("Reshape", ["m", "row"], ["s"])]  # fmt: skip
    weights = [tensor("row", [1, 3], np.int64), tensor("head", rng.normal(size=(3, CLASSES)))]
    inputs: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    below = "s"
    for i in range(STATES):
        entering, leaving = names(i)
        weights += [tensor(f"a{i}", [0.9 - 0.02 * i]), tensor(f"b{i}", [0.1 + 0.02 * i])]
        nodes += [
            helper.make_node("Mul", [entering, f"a{i}"], [f"old{i}"]),
            helper.make_node("Mul", [below, f"b{i}"], [f"in{i}"]),
            helper.make_node("Add", [f"old{i}", f"in{i}"], [leaving]),
        ]
        inputs[entering], outputs[leaving], below = (f32, (1, 3)), (f32, (1, 3)), leaving
    nodes.append(helper.make_node("MatMul", [below, "head"], ["dense_7"]))
    order = rng.permutation(STATES)
    shuffled = {name: outputs[name] for name in (names(i)[1] for i in order)}
    return handmade.model(nodes, {"image": (f32, shape), **inputs}, {**shuffled, "dense_7": (f32, (1, CLASSES))}, weights)


def mapping(layout: str = "NTCHW", **states: str) -> str:
    rows = ",\n".join(
        f'  {{ input = "{names(i)[0]}", output = "{names(i)[1]}"{states.get(str(i), states.get("every", ""))} }}'
        for i in range(STATES)
    )
    return f"""frames = {{ input = "image", layout = "{layout}" }}
logits = {{ output = "dense_7" }}
labels = ["a", "b", "c"]
preprocess = {{ resize = [6, 8], mean = [0.5, 0.5, 0.5], std = [0.25, 0.25, 0.25] }}
states = [
{rows}
]
"""


def by_hand(model: onnx.ModelProto, layout: str, frames: np.ndarray, begin: dict[str, np.ndarray]) -> np.ndarray:
    """(T, classes) of frames (T, C, H, W)."""
    session = onnxruntime.InferenceSession(model.SerializeToString())
    states = {names(i)[0]: begin.get(names(i)[0], np.zeros((1, 3), np.float32)) for i in range(STATES)}
    rows = []
    for frame in frames:
        turned = frame.transpose(1, 2, 0) if layout.endswith("C") else frame
        got = session.run(None, {"image": turned.reshape(LAYOUTS[layout]), **states})
        found = dict(zip([o.name for o in session.get_outputs()], got, strict=True))
        states = {names(i)[0]: found[names(i)[1]] for i in range(STATES)}
        rows.append(found["dense_7"].ravel())
    return np.array(rows)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("begin", [False, True], ids=["zeros", "given"])
def test_streams_as_by_hand(layout: str, begin: bool, tmp_path: Path) -> None:
    frames = np.random.default_rng(1).standard_normal((12, *SIZE)).astype(np.float32)
    start = np.float32([[1, -2, 3]])
    np.save(tmp_path / "start.npy", start)
    given = {"3": ', begin = "start.npy"', "29": ', begin = "start.npy"'} if begin else {}
    (tmp_path / "m.toml").write_text(mapping(layout, **given))
    onnx.save(of_others(layout), str(tmp_path / "theirs.onnx"))
    run_cli("import", tmp_path / "theirs.onnx", "--mapping", tmp_path / "m.toml", "-o", tmp_path / "ours.onnx")
    wanted = by_hand(of_others(layout), layout, frames, {names(int(i))[0]: start for i in given})
    with everyframe.open(tmp_path / "ours.onnx", engine="ort") as program, program.stream() as stream:
        for turn in range(2):  # a stream that is reset begins again
            said = [stream.step(frame) for frame in frames]
            scores = np.exp(wanted) / np.exp(wanted).sum(1, keepdims=True)
            np.testing.assert_allclose([p.scores for p in said if p], scores, atol=1e-5, err_msg=f"turn {turn}")
            stream.reset()


def run_cli(*args: object) -> None:
    with pytest.raises(SystemExit) as ended:
        run([str(arg) for arg in args])
    assert ended.value.code in (0, None)


def test_every_verb_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.toml").write_text(mapping("NTHWC"))
    onnx.save(of_others("NTHWC"), str(tmp_path / "theirs.onnx"))
    video = handmade.write_video(tmp_path / "v.mp4", 20)
    ours = tmp_path / "ours.onnx"
    run_cli("import", tmp_path / "theirs.onnx", "--mapping", tmp_path / "m.toml", "-o", ours)
    assert "a step model, 30 states, 3 labels" in capsys.readouterr().out
    run_cli("info", ours)
    run_cli("predict", ours, video, "--engine", "ort", "--json")
    run_cli("check", ours, "--target", "onnxruntime")
    assert '"label": "' in capsys.readouterr().out


def test_clip_networks_too(tmp_path: Path) -> None:
    from clips import clip_net

    theirs = onnx.load(str(clip_net(tmp_path / "clip.onnx")))
    (tmp_path / "m.toml").write_text(
        'frames = { input = "clip", layout = "NCTHW" }\nlogits = { output = "logits", probabilities = false }\n'
    )
    made = import_model(theirs, read_mapping(tmp_path / "m.toml"), tmp_path)
    metadata = modelfile.metadata_of(made)
    assert metadata is not None
    assert (metadata.kind, metadata.frames, metadata.states) == ("clip", 8, ())
    clip = np.random.default_rng(0).standard_normal((1, 3, 8, 12, 16)).astype(np.float32)
    pair = [onnxruntime.InferenceSession(m.SerializeToString()) for m in (theirs, made)]
    one, other = (s.run(None, {s.get_inputs()[0].name: clip})[0] for s in pair)
    np.testing.assert_array_equal(one, other)


def test_probabilities_are_kept(tmp_path: Path) -> None:
    theirs = of_others("NCHW")
    theirs.graph.output[-1].name = "p"
    theirs.graph.node.append(helper.make_node("Softmax", ["dense_7"], ["p"], axis=1))
    text = mapping("NCHW").replace('output = "dense_7"', 'output = "p", probabilities = true')
    (tmp_path / "m.toml").write_text(text)
    made = import_model(theirs, read_mapping(tmp_path / "m.toml"), tmp_path)
    modelfile.save(made, tmp_path / "ours.onnx")
    frame = np.random.default_rng(1).standard_normal(SIZE).astype(np.float32)
    wanted = by_hand(of_others("NCHW"), "NCHW", frame[None], {})[0]
    with everyframe.open(tmp_path / "ours.onnx", engine="ort") as program, program.stream() as stream:
        said = stream.step(frame)
        assert said is not None
        np.testing.assert_allclose(said.scores, np.exp(wanted) / np.exp(wanted).sum(), atol=1e-6)


WRONG = {
    "a key": ("probabilitys = true", 'output = "dense_7"', 'output = "dense_7", probabilitys = true', "probabilities"),
    "an input": ("no such input", '"image"', '"imge"', "did you mean image?"),
    "an output": ("no such output", '"dense_7"', '"dense_8"', "did you mean dense_7?"),
    "a state left out": (
        "what these inputs are",
        f'  {{ input = "{names(0)[0]}", output = "{names(0)[1]}" }},\n',
        "",
        names(0)[0],
    ),
    "a layout": ("layout does not fit", "NTCHW", "NTHW", "5 letters"),
    "axes": ("does not take such frames", '"NTCHW"', '"NTHWC"', "3 channels"),
    "labels": ("label list does not fit", '"c"]', '"c", "d"]', "3 labels"),
    "text": ("cannot be read", "frames =", "frames", "TOML"),
}


@pytest.mark.parametrize("case", WRONG)
def test_says_what_is_wrong(case: str, tmp_path: Path) -> None:
    said, old, new, hint = WRONG[case]
    text = mapping()
    assert old in text
    (tmp_path / "m.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(ModelError) as refused:
        import_model(of_others("NTCHW"), read_mapping(tmp_path / "m.toml"), tmp_path)
    message = str(refused.value)
    assert hint in message
    assert case == "a key" or said in message


def test_pairs_that_do_not_fit(tmp_path: Path) -> None:
    """Two outputs exchanged with one of another shape: said before anything is written."""
    theirs = of_others("NTCHW")
    text = mapping().replace(names(4)[1], "swap").replace("dense_7", names(4)[1]).replace("swap", "dense_7")
    (tmp_path / "m.toml").write_text(text)
    theirs.graph.node[-1].op_type = "MatMul"
    wide = np.zeros((3, 5), np.float32)
    theirs.graph.initializer[1].CopyFrom(tensor("head", wide))
    theirs.graph.output[-1].type.tensor_type.shape.dim[1].dim_value = 5
    with pytest.raises(ModelError, match="does not come back as it went in"):
        import_model(theirs, read_mapping(tmp_path / "m.toml").model_copy(update={"labels": None}), tmp_path)
