"""The Python face: every function's example runs; a path, bytes and a model in memory are the same model; results."""

from __future__ import annotations

import doctest
import gc
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import everyframe as ef
import handmade
import moving
from clips import clip_net
from everyframe import api
from everyframe.errors import ModelError, OutputError, UsageError
from everyframe.modelfile.file import Held, load
from everyframe.version import RenamedWarning

LABELS = ("still", "left", "right")
WITH_TORCH = ("export", "train", "prune", "search")
FUNCTIONS = [name for name in api.__all__ if name != "stream"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the examples speak of: clip.onnx, step.onnx, video.mp4, clips/ with a folder for each label, moving/ to train on."""
    folder = tmp_path_factory.mktemp("api")
    clip_net(folder / "clip.onnx", classes=3, labels=LABELS)
    ef.convert(folder / "clip.onnx", folder / "step.onnx")
    handmade.write_video(folder / "video.mp4", frames=24)
    for label in LABELS[:2]:
        (folder / "clips" / label).mkdir(parents=True)
        for number in range(2):
            handmade.write_video(folder / "clips" / label / f"{number}.mp4", frames=24 + 4 * number)
    moving.write_clips(folder / "moving")
    (folder / "recipe.toml").write_text(moving.TEXT)
    return folder


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    return place


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_example_runs(name: str, here: Path) -> None:
    if name in WITH_TORCH:
        pytest.importorskip("torch")
    found = [t for t in doctest.DocTestFinder().find(getattr(ef, name), name, globs={"ef": ef}) if t.examples]
    assert found, "a public function shows how it is used"
    said: list[str] = []
    for example in found:
        result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
        assert not result.failed, "".join(said)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_signature_is_that_of_its_kind(name: str) -> None:
    """Documented, fully typed, with the errors that it raises."""
    function = getattr(ef, name)
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())
    assert re.search(r"Raises\s+\w+Error", function.__doc__)
    output = signature.parameters.get("output")
    assert output is None or output.default is None


def test_the_package_shows_them() -> None:
    assert set(FUNCTIONS) <= set(ef.__all__) <= set(dir(ef))
    assert all(getattr(ef, name) is getattr(api, name) for name in FUNCTIONS)
    code = "import pydoc, everyframe; print(pydoc.plain(pydoc.render_doc(everyframe)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"    {name}(" in done.stdout for name in FUNCTIONS)


def test_the_page_has_them_all() -> None:
    """The table of docs/python.md names every function with its first arguments and its result, as they are."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)\((.*?)\)` \| `(\w+)`(?:, `(\w+)`)?(?:, `(\w+)`)? \|", page, re.MULTILINE)
    assert sorted(name for name, *_ in rows) == FUNCTIONS
    for name, arguments, *results in rows:
        signature = inspect.signature(getattr(ef, name))
        first = arguments.split(", ")
        assert list(signature.parameters)[: len(first)] == first
        assert " | ".join(filter(None, results)) == signature.return_annotation.removesuffix(" | None")


def test_importing_it_is_light() -> None:
    code = "import sys, everyframe, everyframe.api; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "onnx", "onnxruntime", "torch", "rich"} & set(done.stdout.split())


def test_the_former_name_warns_and_works(here: Path) -> None:
    with pytest.warns(RenamedWarning, match="convert"):
        assert ef.stream("clip.onnx").metadata.labels == LABELS


#: a function of a model alone, and what of its result must not depend on how the model was given
SAME: dict[str, Callable[[Any], Any]] = {
    "convert": lambda model: ef.convert(model).step.SerializeToString(),
    "info": lambda model: {**ef.info(model), "file": None},
    "check": lambda model: ef.check(model, "rdk-x5").to_dict(),
    "fix": lambda model: ef.fix(model, "rdk-x5").model.SerializeToString(),
    "quantize": lambda model: ef.quantize(model, "video.mp4", frames=16).model.SerializeToString(),
    "evaluate": lambda model: {**ef.evaluate(model, "clips", split="all", workers=1).to_dict(), "model": None},
    "teach": lambda model: {**ef.teach(model, "clips").to_dict(), "seconds": None},
    "split": lambda model: ef.split(ef.convert(model).model).to_dict(),
}


@pytest.mark.parametrize("name", SAME)
def test_a_path_bytes_and_a_model_are_the_same(name: str, here: Path) -> None:
    data = Path("clip.onnx").read_bytes()
    model = onnx.load_model_from_string(data)
    expected = SAME[name]("clip.onnx")
    assert SAME[name](Path("clip.onnx")) == SAME[name](data) == SAME[name](model) == expected
    assert model.SerializeToString() == onnx.load_model_from_string(data).SerializeToString(), "it is the caller's"


def test_a_room_may_change_what_it_loads(here: Path) -> None:
    model = onnx.load("clip.onnx")
    load(Held(model)).graph.ClearField("node")
    assert model.graph.node


#: a function that can write what it gives
WRITES: dict[str, Callable[[Any], Any]] = {
    "convert": lambda output: ef.convert("clip.onnx", output),
    "fix": lambda output: ef.fix("clip.onnx", "rdk-x5", output),
    "quantize": lambda output: ef.quantize("step.onnx", "video.mp4", output, frames=16),
    "predict": lambda output: ef.predict("step.onnx", "video.mp4", output, engine="ort"),
}


@pytest.mark.parametrize("name", WRITES)
def test_what_is_saved_is_what_is_written(name: str, here: Path, tmp_path: Path) -> None:
    before = sorted(here.iterdir())
    kept = WRITES[name](None)
    assert sorted(here.iterdir()) == before, "without an output nothing is written"
    WRITES[name](tmp_path / "written.onnx")
    assert kept.save(tmp_path / "saved.onnx").read_bytes() == (tmp_path / "written.onnx").read_bytes()
    with pytest.raises(OutputError):
        WRITES[name](tmp_path / "nowhere" / "out.onnx")


MAPPING = {"frames": {"input": "clip", "layout": "NCTHW"}, "logits": {"output": "logits"}, "labels": list(LABELS)}

#: results to look at
RESULTS: dict[str, Callable[[], Any]] = {
    "convert": lambda: ef.convert("clip.onnx"),
    "info": lambda: ef.info("step.onnx"),
    "check": lambda: ef.check("clip.onnx", "rdk-x5"),
    "fix": lambda: ef.fix("clip.onnx", "rdk-x5"),
    "quantize": lambda: ef.quantize("step.onnx", "video.mp4", frames=16),
    "split": lambda: ef.split("step.onnx"),
    "record": lambda: ef.record("video.mp4", gestures=["wave"], count=1, seconds=0.5, countdown=0, pause=0),
    "compile": lambda: ef.compile("step.onnx"),
    "predict": lambda: ef.predict("step.onnx", "video.mp4", engine="ort"),
    "evaluate": lambda: ef.evaluate("clip.onnx", "clips", split="all", workers=1),
    "bundle": lambda: ef.bundle(Path("step.onnx").read_bytes(), "onnxruntime", "video.mp4", samples=2),
    "teach": lambda: ef.teach("step.onnx", "clips"),
    "import_model": lambda: ef.import_model("clip.onnx", MAPPING),
    "list_models": lambda: ef.list_models("tsm_*"),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_plain_values_and_tables(name: str, here: Path, tmp_path: Path) -> None:
    found = RESULTS[name]()
    plain = found.to_dict()
    assert json.loads(json.dumps(plain)).keys() == plain.keys()
    html = found._repr_html_()
    assert html.startswith("<table>")
    assert html.count("<table>") == html.count("</table>")
    assert found.save(tmp_path / "saved").exists()


def test_a_split_and_a_library_are_opened_again(here: Path, tmp_path: Path) -> None:
    expected = [p.scores for p in ef.predict("step.onnx", "video.mp4", engine="ort")]
    data = Path("step.onnx").read_bytes()
    for saved in (ef.split(data).save(tmp_path / "parts"), ef.compile(data).save(tmp_path / "step.so")):
        found = [p.scores for p in ef.predict(saved, "video.mp4")]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        assert ef.info(saved)["kind"] in ("split", "step")


def test_a_bundle_without_a_folder_goes_with_its_result(here: Path, tmp_path: Path) -> None:
    made = ef.bundle("step.onnx", "onnxruntime", "video.mp4", samples=2)
    kept = made.path
    saved = made.save(tmp_path / "board")
    assert made.save(tmp_path / "board") == saved, "an older bundle is replaced"
    assert {file.name for file in saved.iterdir()} == {file.name for file in kept.iterdir()} == set(made.files)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(OutputError, match="not empty"):
        made.save(tmp_path / "other")
    del made
    gc.collect()
    assert not kept.exists()
    assert saved.exists()


def test_what_was_recorded_is_taught_from(here: Path, tmp_path: Path) -> None:
    handmade.write_video(tmp_path / "camera.mp4", frames=60, rate=10)
    said: list[str] = []
    made = ef.record(
        str(tmp_path / "camera.mp4"), gestures=["a", "b"], count=2, seconds=0.5, countdown=0, pause=1, progress=said.append
    )
    assert "gesture 'b', example 2 of 2: go" in said
    assert ef.teach("step.onnx", made.folder).learned.labels == ("none", "a", "b")
    saved, kept = made.save(tmp_path / "clips"), made.folder
    assert sorted(p.name for p in saved.iterdir()) == ["a", "b", "none"]
    with pytest.raises(OutputError, match="not empty"):
        made.save(tmp_path)
    del made
    gc.collect()
    assert not kept.exists()
    again = ef.record(str(tmp_path / "camera.mp4"), saved, gestures=["a"], count=1, seconds=0.5, countdown=0, pause=0)
    assert [str(clip.relative_to(saved)) for clip in again.clips] == ["a/003.mp4"], "numbered on"


def test_what_stages_are_given_is_kept(here: Path, tmp_path: Path) -> None:
    made = ef.split("step.onnx", tmp_path / "parts", dump=["video.mp4"], samples=3)
    assert made.samples == made.to_dict()["samples"] == 3
    kept = {path.parent.parent.name for path in (tmp_path / "parts" / "calibration").rglob("*.npy")}
    assert kept == {Path(part.file).stem for part in made.manifest.stages}
    with pytest.raises(UsageError, match="beside the parts"):
        ef.split("step.onnx", dump="video.mp4")


def test_events_of_the_built_in_model(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from everyframe.motions import evaluate

    monkeypatch.setattr(evaluate, "SIZES", {"streams": 1, "negatives": 1, "singles": 1})
    said: list[str] = []
    found = ef.evaluate_events(output=tmp_path / "events.json", baseline=False, progress=said.append)
    (figures,) = found.to_dict().values()
    assert figures["singles"]["count"] == 8
    assert json.loads((tmp_path / "events.json").read_text()) == found
    assert "motions.onnx: rendered streams: 0 of 1" in said
    assert "<td>" in found._repr_html_()
    (held,) = ef.evaluate_events(Path(evaluate.BUILT_IN).read_bytes(), baseline=False).values()
    assert held == figures


@pytest.mark.slow
def test_a_network_is_trained_and_pruned(here: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    said: list[str] = []
    run = ef.train("moving", tmp_path / "run", recipe="recipe.toml", settings=["training.epochs=1"], progress=said.append)
    assert run is not None
    assert any(text.startswith("epoch 1 of 1, step 1 of") for text in said)
    assert "writing the clip and the step model" in said
    said.clear()
    less = ef.prune(run.path, rate=1.5, settings=["training.epochs=1"], progress=said.append)
    assert less is not None
    assert any(text.startswith("epoch 1 of 1, step 1 of") for text in said)
    for made in (run, less):
        assert made.ended
        assert made.model.graph.node
        assert json.dumps(made.to_dict())
        assert "<td>" in made._repr_html_()
    saved = less.save(tmp_path / "pruned")
    assert {file.name for file in saved.iterdir()} == {file.name for file in less.path.iterdir()}
    assert less.to_dict()["macs_left"] < less.to_dict()["macs"]
    with pytest.raises(UsageError, match="resume goes on"):
        ef.train("moving", tmp_path / "run", resume=True)


#: arguments that take several texts
SEVERAL: dict[str, Callable[[str], Any]] = {
    "labels": lambda text: ef.open("step.onnx", labels=text),
    "at": lambda text: ef.split("step.onnx", at=text),
    "keep_float": lambda text: ef.quantize("step.onnx", "video.mp4", keep_float=text),
    "controls": lambda text: ef.evaluate("step.onnx", "clips", split="all", controls=text),
    "gestures": lambda text: ef.record("video.mp4", gestures=text),
    "settings": lambda text: ef.train("moving", recipe="recipe.toml", settings=text),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_one_text_is_not_several(name: str, here: Path) -> None:
    if name == "settings":
        pytest.importorskip("torch")
    with pytest.raises(UsageError, match=rf"Several texts[^$]*{name}[^$]*\['abc'\]"):
        SEVERAL[name]("abc")


def test_a_camera_needs_an_end(here: Path) -> None:
    with pytest.raises(UsageError, match="has no end"):
        ef.predict("step.onnx", "rtsp://nowhere/live")


def test_names_of_others_are_escaped() -> None:
    from everyframe.api.results import table

    assert "<script>" not in table("<script>", [("<script>",)], ("<script>",))


@pytest.mark.parametrize("function", ["open", "convert", "info"])
class TestWhatIsNoModel:
    def test_bytes(self, function: str) -> None:
        with pytest.raises(ModelError, match="bytes are not a readable ONNX model"):
            getattr(ef, function)(b"not a model")

    def test_empty(self, function: str) -> None:
        with pytest.raises(ModelError, match="empty"):
            getattr(ef, function)(onnx.ModelProto())

    def test_another_object(self, function: str) -> None:
        with pytest.raises(UsageError, match=r"This is not a model[^$]*expected[^$]*got: *int"):
            getattr(ef, function)(3)


def test_a_model_in_memory_predicts_as_its_file(here: Path) -> None:
    data = Path("step.onnx").read_bytes()
    for engine in ("ort", "reference"):
        scores = []
        for given in ("step.onnx", data, onnx.load_model_from_string(data)):
            with ef.open(given, engine=engine) as program:
                scores.append([p.scores.tolist() for p in program.predict("video.mp4")])
        assert scores[0]
        assert scores[0] == scores[1] == scores[2]
