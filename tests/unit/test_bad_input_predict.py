"""Bad input to `predict`: each gets its own message and exit code 2, no traceback, no output file, no hang."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

import handmade
from everyframe.cli import main
from everyframe.modelfile.file import attach, load, metadata_of, save
from everyframe.modelfile.schema import KEY, Preprocess, StateSpec


class Bench:
    """A good model and a good video, to be spoilt."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = handmade.brightness_step(folder / "step.onnx")
        self.video = handmade.write_video(folder / "v.mp4", 30)

    def spoil(self, change: Callable[[onnx.ModelProto], None]) -> Path:
        made = load(self.model)
        change(made)
        return save(made, self.folder / "bad.onnx")

    def described(self, **fields: object) -> Path:
        """The model with other metadata, written without any check."""
        made = load(self.model)
        meta = metadata_of(made)
        assert meta is not None
        made.metadata_props[0].value = meta.model_copy(update=fields).model_dump_json()
        return save(made, self.folder / "bad.onnx")

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


def no_metadata(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


def typo(model: onnx.ModelProto) -> None:
    model.metadata_props[0].value = model.metadata_props[0].value.replace('"hop"', '"hopp"')


def nan(model: onnx.ModelProto) -> None:
    gains = next(t for t in model.graph.initializer if t.name == "gains")
    gains.CopyFrom(numpy_helper.from_array(np.array([1, np.nan, 2], np.float32), "gains"))


def infinite(model: onnx.ModelProto) -> None:
    gains = next(t for t in model.graph.initializer if t.name == "gains")
    gains.CopyFrom(numpy_helper.from_array(np.array([1, np.inf, 2], np.float32), "gains"))


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[-1].op_type = "Teleport"


def cut_picture(bench: Bench) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64), np.uint8)).save(bench.folder / "whole.png")
    return bench.write("c.png", (bench.folder / "whole.png").read_bytes()[:900])


def floats(bench: Bench, folder: Path | None = None) -> Path:
    if folder is not None:
        folder.mkdir(exist_ok=True)
    path = (folder or bench.folder) / "f.tif"
    Image.fromarray(np.ones((48, 64), np.float32)).save(path)
    return folder or path


def sound_only(bench: Bench) -> Path:
    with av.open(str(bench.folder / "s.mkv"), "w") as container:
        handmade.add_audio(container)
    return bench.folder / "s.mkv"


def no_frames(bench: Bench) -> Path:
    with av.open(str(bench.folder / "none.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    return bench.folder / "none.mkv"


def cut_short(bench: Bench) -> Path:
    return handmade.cut(handmade.write_video(bench.folder / "cut.mkv", 90, codec="libx264"), 0.6)


def swapped(meta_states: tuple[StateSpec, ...], **fields: object) -> tuple[StateSpec, ...]:
    return (meta_states[0].model_copy(update=fields), *meta_states[1:])


STATES = (StateSpec(input="state.x.0.in", output="state.x.0.out", shape=(1, 1, 12, 16)),)

# name -> (arguments from a bench, what the message must say, in order)
CASES: dict[str, tuple[Callable[[Bench], list], list[str]]] = {
    # the source
    "missing file": (lambda b: [b.model, "missing.mp4"], ["no such video", "missing.mp4", "camera number"]),
    "missing folder": (lambda b: [b.model, b.folder / "no" / "where"], ["no such video"]),
    "empty folder": (
        lambda b: [b.model, (b.folder / "e").mkdir() or b.folder / "e"],
        ["neither a video nor a picture"],
    ),
    "glob without a match": (
        lambda b: [b.model, b.folder / "*.avi"],
        ["neither a video nor a picture in this pattern"],
    ),
    "not a video": (lambda b: [b.model, b.write("n.mp4", "hello")], ["This is not a video", "n.mp4"]),
    "empty file": (lambda b: [b.model, b.write("n.mp4", "")], ["This is not a video", "n.mp4", "an empty file"]),
    "archive": (lambda b: [b.model, b.write("n.mp4", "PK\3\4 and more")], ["not a video", "n.mp4", "a zip archive", "unpack it"]),
    "web page": (lambda b: [b.model, b.write("n.mp4", "<!DOCTYPE html><p>404")], ["not a video", "a web page", "download"]),
    "pointer": (
        lambda b: [b.model, b.write("n.mp4", "version https://git-lfs.github.com/spec/v1\n")],
        ["Git LFS", "git lfs pull"],
    ),
    "a model as the video": (lambda b: [b.model, b.model], ["This is not a video", "step.onnx", "a model", "model comes first"]),
    "the video first": (lambda b: [b.video, b.model], ["not a readable ONNX model", "a video", "model comes first"]),
    "weights as the model": (lambda b: [b.write("w.pt", "PK\3\4"), b.video], ["ONNX", "weights", "everyframe export"]),
    "truncated mp4": (
        lambda b: [b.model, handmade.cut(b.video, 0.5)],
        ["not a video, or its beginning is missing", "cut short"],
    ),
    "truncated video": (lambda b: [b.model, cut_short(b)], ["damaged or cut short", "expected: 3.00 s", "frames, 1."]),
    "truncated picture": (lambda b: [b.model, cut_picture(b)], ["The picture is damaged, cut short, or", "c.png", "as PNG"]),
    "a TIFF of floats": (
        lambda b: [b.model, floats(b)],
        ["The picture is damaged, cut short, or", "a TIFF of floats is not read"],
    ),
    "a folder of such": (
        lambda b: [b.model, floats(b, b.folder / "frames")],
        ["The picture is damaged, cut short, or", "a TIFF of floats is not read"],
    ),
    "zero frames": (lambda b: [b.model, no_frames(b)], ["The video has no frames", "none.mkv"]),
    "sound only": (lambda b: [b.model, sound_only(b)], ["no video stream", "only audio"]),
    "no such camera": (lambda b: [b.model, "97"], ["no such camera", "/dev/video97"]),
    # the model
    "missing model": (lambda b: ["missing.onnx", b.video], ["no such model file", "missing.onnx"]),
    "folder as a model": (lambda b: [b.folder, b.video], ["a folder, not a model file"]),
    "corrupt ONNX": (
        lambda b: [b.write("c.onnx", b.model.read_bytes()[:200]), b.video],
        ["not a readable ONNX model", "c.onnx"],
    ),
    "text as a model": (lambda b: [b.write("c.onnx", "hello world"), b.video], ["ONNX model", "c.onnx"]),
    "empty model": (lambda b: [b.write("c.onnx", ""), b.video], ["ONNX model is empty"]),
    "no metadata": (
        lambda b: [b.spoil(no_metadata), b.video],
        ["no everyframe metadata", "bad.onnx", "everyframe stream CLIP.onnx"],
    ),
    "metadata with a typo": (
        lambda b: [b.spoil(typo), b.video],
        ["metadata is not valid", "key hopp", "not permitted"],
    ),
    "NaN weights": (lambda b: [b.spoil(nan), b.video], ["weights are not finite", "tensor gains", "1 of 3 values"]),
    "infinite weights": (lambda b: [b.spoil(infinite), b.video], ["weights are not finite", "tensor gains"]),
    "unknown operator": (
        lambda b: [b.spoil(unknown_operator), b.video],
        ["ONNX Runtime cannot load the model", "Teleport"],
    ),
    "a stage": (lambda b: [b.described(kind="stage"), b.video], ["one stage of a split model"]),
    "wrong channel count": (
        lambda b: [b.described(preprocess=Preprocess(resize=(12, 16))), b.video],
        ["another number of channels", "expected: 3 for color 'rgb'", "got:      1"],
    ),
    "wrong hop": (lambda b: [b.described(hop=2), b.video], ["model's hop in the graph", "expected: 2", "got:      1"]),
    "a step model said to be a clip": (
        lambda b: [b.described(kind="clip", states=()), b.video],
        ["one input beside its states"],
    ),
    "label list of the wrong length": (
        lambda b: [b.described(labels=("a", "b")), b.video],
        ["label list does not fit", "3 labels", "got:      2"],
    ),
    "an unknown state": (
        lambda b: [b.described(states=(StateSpec(input="s", output="t", shape=(1,)),)), b.video],
        ["not in the graph", "s"],
    ),
    "a state of another shape": (
        lambda b: [b.described(states=swapped(STATES, shape=(1, 1, 9, 9))), b.video],
        ["state's shape in the graph", "state.x.0.in", "(1, 1, 9, 9)", "(1, 1, 12, 16)"],
    ),
    "states that are missing": (
        lambda b: [b.described(states=STATES), b.video],
        ["one input beside its states", "state.x.1.in"],
    ),
    # the options
    "label file of the wrong length": (
        lambda b: [b.model, b.video, "--labels", b.write("l.txt", "a\nb\n")],
        ["label list does not fit", "3 labels", "got:      2"],
    ),
    "missing label file": (
        lambda b: [b.model, b.video, "--labels", "no.txt"],
        ["label file cannot be read", "no.txt", "No such file"],
    ),
    "label file with a gap": (
        lambda b: [b.model, b.video, "--labels", b.write("l.txt", "a\n\nb\n")],
        ["empty line", "line 2"],
    ),
    "label file that is no text": (
        lambda b: [b.model, b.video, "--labels", b.write("l.txt", b"\xff\xfe\x00")],
        ["cannot be read", "not UTF-8"],
    ),
    "stride for a step model": (lambda b: [b.model, b.video, "--stride", 2], ["stride is for clip models"]),
    "unknown engine": (
        lambda b: [b.model, b.video, "--engine", "warp"],
        ["no such engine", "auto, ort, reference", "warp"],
    ),
    "negative seconds": (lambda b: [b.model, b.video, "--seconds", -1], ["limit must be positive"]),
    # the output
    "timeline in no folder": (
        lambda b: [b.model, b.video, "--save-timeline", b.folder / "no" / "t.png"],
        ["cannot be written", "its folder does not exist"],
    ),
    "timeline on a folder": (
        lambda b: [b.model, b.video, "--save-timeline", (b.folder / "t.png").mkdir() or b.folder / "t.png"],
        ["cannot be written", "it is a folder"],
    ),
    "timeline that is no png": (lambda b: [b.model, b.video, "--save-timeline", b.folder / "t.jpg"], ["ends in .png"]),
    "timeline where nothing can be written": (
        lambda b: [b.model, b.video, "--save-timeline", "/proc/t.png"],
        ["cannot be written", "/proc/t.png"],
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_a_clear_message_and_exit_code_2(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, expected = CASES[name]
    monkeypatch.setattr(main, "VERBS", {"predict": "predict"})
    bench = Bench(tmp_path)
    given = [str(argument) for argument in arguments(bench)]
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(SystemExit) as end:
        main.run(["predict", *given])
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert error.startswith("error: ")
    at = 0
    for part in expected:
        assert part in error[at:], f"{part!r} is not in its place in:\n{error}"
        at = error.index(part, at)
    assert {path.name for path in tmp_path.iterdir()} == before, "nothing was left behind"


def test_a_damaged_video_is_predicted_up_to_the_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "VERBS", {"predict": "predict"})
    bench = Bench(tmp_path)
    with pytest.raises(SystemExit):
        main.run(["predict", str(bench.model), str(cut_short(bench)), "--json"])
    out, err = capsys.readouterr()
    assert 10 < len(out.splitlines()) < 18
    assert "predictions" in err and "damaged or cut short" in err


def test_no_builtin_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from everyframe.runtime import program

    monkeypatch.setattr(program, "BUILTIN", tmp_path / "motions.onnx")
    monkeypatch.setattr(main, "VERBS", {"predict": "predict"})
    with pytest.raises(SystemExit) as end:
        main.run(["predict", "builtin", "0"])
    assert end.value.code == 2
    assert "camera" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main.run(["predict", "builtin", str(handmade.write_video(tmp_path / "v.mp4", 3))])
    assert "no built-in model" in capsys.readouterr().err


def test_a_stray_metadata_key_survives_nothing(tmp_path: Path) -> None:
    """`attach` replaces, so a model never carries two descriptions."""
    bench = Bench(tmp_path)
    made = load(bench.model)
    meta = metadata_of(made)
    assert meta is not None
    assert [p.key for p in attach(made, meta).metadata_props] == [KEY]
