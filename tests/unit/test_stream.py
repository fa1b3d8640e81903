"""`everyframe stream` and `everyframe.stream`: what is written, what is said, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import everyframe
from clips import change, clip_net
from command_line import everyframe as cli
from everyframe import modelfile
from everyframe.cli.show.models import stream_lines
from everyframe.conversion import convert
from everyframe.conversion.facts import Options
from everyframe.conversion.verify import verify
from everyframe.errors import ConversionMismatch, ModelError, OutputError, UnsupportedOperator, UsageError


def test_step_file_has_the_contract_of_the_design(tmp_path: Path) -> None:
    clip = clip_net(tmp_path / "clip.onnx", labels=("a", "b", "c", "d"))
    everyframe.convert(clip, tmp_path / "step.onnx")
    step = modelfile.load(tmp_path / "step.onnx")
    meta = modelfile.metadata_of(step)
    assert meta is not None and meta.kind == "step" and meta.hop == 1 and meta.labels == ("a", "b", "c", "d")
    inputs = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in step.graph.input}
    outputs = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in step.graph.output}
    assert inputs.pop("frames") == [1, 3, 12, 16] and outputs.pop("logits") == [1, 4]
    assert inputs == {s.input: list(s.shape) for s in meta.states}
    assert outputs == {s.output: list(s.shape) for s in meta.states}
    assert all(name.startswith("state.") and name.endswith(".in") for name in inputs)
    assert "fold" in meta.provenance.passes and meta.provenance.weights_sha256


@pytest.mark.parametrize("rate, hop", [("native", 2), ("dense", 1)])
def test_a_temporal_stride_gives_a_hop_or_a_dense_stream(tmp_path: Path, rate: str, hop: int) -> None:
    made = everyframe.convert(clip_net(tmp_path / "clip.onnx", stride=2), tmp_path / "step.onnx", rate=rate)
    assert made.metadata.hop == hop and made.difference is not None and made.difference < 1e-5


def test_the_window_may_be_longer_than_the_clip(tmp_path: Path) -> None:
    made = everyframe.convert(clip_net(tmp_path / "clip.onnx"), tmp_path / "step.onnx", window=20)
    assert made.metadata.window == 20
    assert made.metadata.delay == made.metadata.feature_delay + 19
    assert made.metadata.receptive_field == 1 + 2 + 2 + 19


def test_a_wrong_conversion_is_found_and_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = convert(modelfile.load(clip_net(tmp_path / "clip.onnx")))
    weight = next(i for i in made.step.graph.initializer if i.name.startswith("mix"))
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.001), weight.name))
    with pytest.raises(ConversionMismatch, match="nothing was written"):
        verify(made)
    # the same through the public door: whatever makes the step network wrong, no file appears
    from everyframe.conversion import step

    def broken(*args: object, **kwargs: object) -> object:
        return made

    monkeypatch.setattr(step, "_convert", broken)
    with pytest.raises(ConversionMismatch):
        step.stream(tmp_path / "clip.onnx", tmp_path / "step.onnx")
    assert not (tmp_path / "step.onnx").exists()


def test_json_and_text_say_the_same(tmp_path: Path) -> None:
    clip = clip_net(tmp_path / "clip.onnx", stride=2)
    shown = cli("stream", str(clip), "-o", str(tmp_path / "a.onnx"))
    assert shown.returncode == 0, shown.stderr
    assert "a clip every 2 frames" in shown.stdout and "--rate dense" in shown.stdout
    data = json.loads(cli("stream", str(clip), "-o", str(tmp_path / "b.onnx"), "--json").stdout)
    assert data["hop"] == 2 and data["difference"] < 1e-5
    assert data["saving_per_frame"] == pytest.approx(data["macs_per_clip"] / data["macs_per_frame"])
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_labels_from_a_file(tmp_path: Path) -> None:
    clip = clip_net(tmp_path / "clip.onnx")
    (tmp_path / "labels.txt").write_text("one\ntwo\nthree\nfour\n")
    assert cli("stream", str(clip), "-o", str(tmp_path / "s.onnx"), "--labels", str(tmp_path / "labels.txt")).returncode == 0
    meta = modelfile.metadata_of(modelfile.load(tmp_path / "s.onnx"))
    assert meta is not None and meta.labels == ("one", "two", "three", "four")
    (tmp_path / "labels.txt").write_text("one\ntwo\n")
    failed = cli("stream", str(clip), "-o", str(tmp_path / "t.onnx"), "--labels", str(tmp_path / "labels.txt"))
    assert failed.returncode == 2 and "label list does not fit" in failed.stderr and not (tmp_path / "t.onnx").exists()


REFUSED = {
    "missing": (lambda p: p, "no such model file"),
    "not onnx": (lambda p: p.write_bytes(b"\x00\x01 this is not a model") and p, "not a readable ONNX model"),
    "empty": (lambda p: p.write_bytes(b"") or p, "empty"),
    "truncated": (lambda p: p.write_bytes(clip_net(p).read_bytes()[:-2000]) and p, "ONNX model"),
    "a folder": (lambda p: p.mkdir() or p, "folder"),
    "unsupported operator": (lambda p: clip_net(p, extra="Atanh"), "no streaming rule for operator Atanh"),
    "batch of two": (lambda p: change(clip_net(p), lambda m: _dim(m, 0, 2)), "not one clip"),
    "dynamic length": (lambda p: change(clip_net(p), lambda m: _dim(m, 2, "T")), "dynamic shape"),
    "nan weights": (lambda p: change(clip_net(p), lambda m: _poison(m, "mix.weight")), "NaN or infinite"),
    "weights elsewhere": (lambda p: beside(clip_net(p)), "lie in another file(.|\n)*bad.data beside it(.|\n)*copy both files"),
    "no numbers": (lambda p: clip_net(p, extra="Log"), "on random frames it is not finite"),
}


def beside(path: Path) -> None:
    """The model without the file that holds its weights."""
    onnx.save_model(onnx.load(path), path, save_as_external_data=True, location="bad.data", size_threshold=0)
    path.with_suffix(".data").unlink()


def _dim(model: onnx.ModelProto, axis: int, value: int | str) -> None:
    dim = model.graph.input[0].type.tensor_type.shape.dim[axis]
    if isinstance(value, str):
        dim.dim_param = value
    else:
        dim.dim_value = value
        model.graph.output[0].type.tensor_type.shape.dim[axis].dim_value = value


def _poison(model: onnx.ModelProto, name: str) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    array = numpy_helper.to_array(tensor).copy()
    array.flat[3] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(array, name))


@pytest.mark.parametrize("case", REFUSED)
def test_bad_models_are_refused_by_message(tmp_path: Path, case: str) -> None:
    make, message = REFUSED[case]
    path = tmp_path / "bad.onnx"
    make(path)
    done = cli("stream", str(path), "-o", str(tmp_path / "step.onnx"))
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.search(message, done.stderr) and "Traceback" not in done.stderr
    assert not (tmp_path / "step.onnx").exists()


@pytest.mark.parametrize(
    ("told", "asked"),
    [({}, ", --labels, --task)"), ({"labels": list("abcd")}, ", --task)"), ({"task": "classify"}, ", --labels)")],
)
def test_what_is_assumed_names_the_option_that_says_it(told: dict, asked: str, tmp_path: Path) -> None:
    made = everyframe.convert(clip_net(tmp_path / "clip.onnx"), **told)
    assert stream_lines(made, tmp_path)[-1].endswith(asked)
    sure = everyframe.convert(clip_net(tmp_path / "clip.onnx"), labels=list("abcd"), task="classify")
    assert stream_lines(sure, tmp_path)[-1].endswith("(`everyframe import`)")


def test_an_unsupported_operator_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperator) as caught:
        convert(modelfile.load(clip_net(tmp_path / "c.onnx", extra="Atanh")))
    text = str(caught.value)
    assert "'odd'" in text and "Atanh" in text and " of 7" in text and caught.value.hint


def test_outputs_that_cannot_be_written(tmp_path: Path) -> None:
    clip = clip_net(tmp_path / "clip.onnx")
    for target in (tmp_path, tmp_path / "nowhere" / "step.onnx"):
        with pytest.raises(OutputError):
            everyframe.convert(clip, target)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.onnx"]


@pytest.mark.parametrize("options", [{"rate": "fast"}, {"se": "clip"}, {"taps": "some"}, {"window": 0}, {"layout": "NCHW"}])
def test_bad_options(tmp_path: Path, options: dict) -> None:
    with pytest.raises(UsageError):
        everyframe.convert(clip_net(tmp_path / "clip.onnx"), tmp_path / "step.onnx", **options)


def test_a_step_network_is_not_streamed_again(tmp_path: Path) -> None:
    everyframe.convert(clip_net(tmp_path / "clip.onnx"), tmp_path / "step.onnx")
    with pytest.raises(ModelError, match="step network already"):
        everyframe.convert(tmp_path / "step.onnx", tmp_path / "again.onnx")


def test_other_axis_orders(tmp_path: Path) -> None:
    clip = modelfile.load(clip_net(tmp_path / "clip.onnx"))
    first = clip.graph.node[0]
    clip.graph.node.insert(0, helper.make_node("Transpose", ["video"], ["clip"], "order", perm=[0, 2, 1, 3, 4]))
    assert first.input[0] == "clip"
    del clip.graph.input[:]
    clip.graph.input.append(helper.make_tensor_value_info("video", TensorProto.FLOAT, [1, 8, 3, 12, 16]))
    made = convert(clip, Options(layout="NTCHW"))
    assert verify(made) < 1e-5


def test_metadata_is_strict(tmp_path: Path) -> None:
    path = clip_net(tmp_path / "clip.onnx", labels=("a", "b", "c", "d"))

    def spoil(model: onnx.ModelProto) -> None:
        prop = next(p for p in model.metadata_props if p.key == modelfile.KEY)
        prop.value = prop.value.replace('"hop"', '"hopp"')

    change(path, spoil)
    with pytest.raises(ModelError, match="metadata is not valid") as caught:
        everyframe.convert(path, tmp_path / "step.onnx")
    assert "hopp" in str(caught.value)
