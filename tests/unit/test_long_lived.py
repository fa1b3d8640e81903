"""Files live long: those of earlier versions open and answer as they did, those of later ones are read or refused knowingly."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from pydantic import ValidationError

import handmade
from everyframe.cli import main
from everyframe.conversion.step import convert
from everyframe.errors import ModelError, upgrade
from everyframe.modelfile import manifest
from everyframe.modelfile.file import attach, load, metadata_of, save
from everyframe.modelfile.format import FORMAT, MAJOR, MINOR, check_format, parse_format
from everyframe.modelfile.schema import KEY, Metadata, Preprocess
from everyframe.native import artifact

CORPUS = Path(__file__).parents[1] / "corpus"
sys.path.insert(0, str(CORPUS))
import write as corpus  # noqa: E402

FILES = sorted(path for version in CORPUS.glob("[0-9]*") for path in version.iterdir() if path.name != corpus.ANSWERS)
NEWER = f"{MAJOR}.{MINOR + 1}"
#: what there is to do with each kind of file
TAKING = (
    *(f"info {name} --json" for name in ("clip.onnx", "hop.onnx", "quantized.onnx", "slots.onnx", "SPLIT")),
    *(f"predict {name} VIDEO --engine ort" for name in ("hop.onnx", "quantized.onnx", "slots.onnx", "SPLIT")),
    "stream clip.onnx -o OUT.onnx", "check clip.onnx --target tensorrt", "check step.onnx --target native",
    "compile quantized.onnx --emit-c OUT", "compile slots.onnx --emit-c OUT", "split slots.onnx -o OUT",
    "quantize step.onnx --calibrate VIDEO --frames 20 -o OUT.onnx",
    "bundle slots.onnx --target onnxruntime --calibrate VIDEO --samples 3 -o OUT",
)  # fmt: skip
Change = Callable[[dict[str, Any]], object]


class TestCorpus:
    @pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
    def test_opens_and_answers(self, path: Path) -> None:
        """Integers may be rounded to their neighbors by another release of ONNX Runtime, floats in their last digits."""
        wanted = np.array(json.loads((path.parent / corpus.ANSWERS).read_text())[path.name])
        near = 0.02 if path.stem == "quantized" else 1e-4
        np.testing.assert_allclose(corpus.answers(path), wanted, rtol=0, atol=near * np.abs(wanted).max())

    def test_holds_every_kind(self) -> None:
        found = [metadata_of(load(path)) for path in FILES if path.suffix == ".onnx"]
        states = [spec for metadata in found if metadata for spec in metadata.states]
        assert {metadata.kind for metadata in found if metadata} == {"clip", "step"}
        assert any(spec.copy_of for spec in states) and any(spec.frames > 1 for spec in states)
        assert any(spec.dtype == "int64" for spec in states)
        assert any(metadata.events for metadata in found if metadata) and any(m.provenance.pruned for m in found if m)
        assert any(manifest.is_split(path) for path in FILES)
        assert all((path.parent / corpus.ANSWERS).exists() for path in FILES)

    @pytest.mark.parametrize("version", sorted(path.name for path in CORPUS.glob("[0-9]*")))
    @pytest.mark.parametrize("words", TAKING)
    def test_every_verb_takes_them(self, words: str, version: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        here = {path.name.replace("split", "SPLIT"): path for path in FILES if path.parent.name == version}
        given = [str(here.get(word, word.replace("OUT", f"{tmp_path}/out"))) for word in words.split()]
        if "VIDEO" in given:
            video = handmade.write_video(tmp_path / "video.mp4", 40)
            given = [str(video) if word == "VIDEO" else word for word in given]
        code = 0
        try:
            main.run(given)
        except SystemExit as end:
            code = int(end.code or 0)
        assert code == 0, capsys.readouterr().err
        assert "OUT" not in words or list(tmp_path.glob("out*"))

    def test_is_small(self) -> None:
        assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 300_000


def told(path: Path, change: Change, to: Path) -> Path:
    """A copy of a model whose metadata another version would have written."""
    model = onnx.load(str(path))
    (prop,) = (prop for prop in model.metadata_props if prop.key == KEY)
    found = json.loads(prop.value)
    change(found)
    prop.value = json.dumps(found)
    to.write_bytes(model.SerializeToString())
    return to


def stored(path: Path) -> dict[str, Any]:
    return {prop.key: json.loads(prop.value) for prop in onnx.load(str(path)).metadata_props if prop.key == KEY}[KEY]


@pytest.fixture
def step(tmp_path: Path) -> Path:
    return handmade.brightness_step(tmp_path / "step.onnx")


def _of_tomorrow(found: dict[str, Any]) -> None:
    found.update(format=NEWER, weather="rain")
    found["preprocess"]["gamma"] = {"of": 2.2}
    found["states"][0]["place"] = ["left"]
    found["provenance"]["author"] = "somebody"


class TestNewerMinor:
    def test_unknown_keys_are_kept_through_load_and_save(self, step: Path, tmp_path: Path) -> None:
        later = told(step, _of_tomorrow, tmp_path / "later.onnx")
        model = load(later)
        metadata = metadata_of(model)
        assert metadata is not None
        save(attach(model, metadata.model_copy(update={"labels": ("x", "y", "z")})), tmp_path / "again.onnx")
        wanted = stored(later) | {"labels": ["x", "y", "z"]}
        assert stored(tmp_path / "again.onnx") == wanted
        assert wanted["states"][0]["place"] == ["left"]

    def test_it_runs_as_if_they_were_not_there(self, step: Path, tmp_path: Path) -> None:
        assert corpus.answers(told(step, _of_tomorrow, tmp_path / "later.onnx")) == corpus.answers(step)

    def test_a_clip_model_converts(self, tmp_path: Path) -> None:
        clip = corpus.clip_net(tmp_path / "clip.onnx", labels=tuple("abcd"))
        later = told(clip, lambda found: found.update(format=NEWER, weather="rain"), tmp_path / "later.onnx")
        metadata = convert(load(later)).metadata
        assert metadata.model_extra == {"weather": "rain"} and metadata.format == NEWER

    @pytest.mark.parametrize("how", [1, FORMAT])
    @pytest.mark.parametrize(
        "change", [lambda found: found.update(weather="rain"), lambda found: found["preprocess"].update(tint="rgb")]
    )
    def test_the_own_minor_refuses_them(self, how: object, change: Change, step: Path, tmp_path: Path) -> None:
        def both(found: dict[str, Any]) -> None:
            found["format"] = how
            change(found)

        with pytest.raises(ModelError, match="metadata is not valid") as caught:
            metadata_of(load(told(step, both, tmp_path / "typo.onnx")))
        assert "Extra inputs" in str(caught.value) and "again" in str(caught.value)

    def test_python_refuses_them(self) -> None:
        with pytest.raises(ValidationError):
            Preprocess(tint="rgb")  # type: ignore[call-arg]
        with pytest.raises(ValidationError):
            Metadata(format=NEWER, kind="clip", frames=2, weather="rain")  # type: ignore[call-arg]

    def test_what_it_cannot_read_says_upgrade(self, step: Path, tmp_path: Path) -> None:
        later = told(step, lambda found: found.update(format=NEWER, kind="poem"), tmp_path / "later.onnx")
        with pytest.raises(ModelError, match="key kind") as caught:
            metadata_of(load(later))
        assert caught.value.hint is not None and upgrade() in caught.value.hint


class TestNewerMajor:
    def test_a_model_says_who_made_it_before_anything_else(self, step: Path, tmp_path: Path) -> None:
        def change(found: dict[str, Any]) -> None:
            found.clear()
            found.update(format="7.2", provenance={"tool": "everyframe 9.1"}, everything="is different")

        later = told(step, change, tmp_path / "later.onnx")
        model = onnx.load(str(later))
        del model.graph.node[:]  # it would also be refused for that
        later.write_bytes(model.SerializeToString())
        with pytest.raises(ModelError, match="made by a newer everyframe") as caught:
            load(later)
        error = caught.value
        assert error.where == later and error.got == "format 7.2, written by everyframe 9.1"
        assert error.hint is not None and upgrade() in error.hint

    def test_a_compiled_model(self, step: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        library = tmp_path / "lib"
        library.write_bytes(b"\x7fELF")
        facts = dict.fromkeys(artifact._NEEDED, 1)
        assert artifact.read(artifact.write(library, facts, load(step), tmp_path / "own.so"))["format"] == FORMAT
        for how, fits in ((1, True), (NEWER, True), ("2.0", False), (2, False)):
            monkeypatch.setattr(artifact, "FORMAT", how)
            path = artifact.write(library, facts, load(step), tmp_path / "other.so")
            if fits:
                artifact.read(path)
                continue
            with pytest.raises(ModelError, match="newer everyframe"):
                artifact.read(path)


class TestManifest:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return Path(shutil.copytree(CORPUS / "0.1" / "split", tmp_path / "split"))

    def change(self, folder: Path, change: Change) -> None:
        file = folder / manifest.NAME
        found = json.loads(file.read_text())
        change(found)
        file.write_text(json.dumps(found))

    def test_a_newer_minor_is_kept(self, folder: Path) -> None:
        def change(found: dict[str, Any]) -> None:
            found.update(format=NEWER, weather="rain")
            found["parts"][0]["inputs"][0]["layout"] = "NHWC"

        self.change(folder, change)
        again = json.loads(manifest.read(folder).model_dump_json())
        assert again["weather"] == "rain" and again["parts"][0]["inputs"][0]["layout"] == "NHWC"
        assert len(corpus.answers(folder)) == corpus.STEPS

    def test_so_is_that_of_its_metadata(self, folder: Path) -> None:
        self.change(folder, lambda found: found["metadata"].update(format=NEWER, weather="rain"))
        assert manifest.read(folder).metadata.model_extra == {"weather": "rain"}

    @pytest.mark.parametrize("change", [lambda m: m.update(format=2), lambda m: m["metadata"].update(format="2.0")])
    def test_a_newer_major_is_refused(self, change: Change, folder: Path) -> None:
        self.change(folder, change)
        with pytest.raises(ModelError, match="newer everyframe"):
            manifest.read(folder)


@pytest.mark.parametrize("told", ["0.1", "1", "one", "1.0.0", "01.0", "-1.0", True, 1.0, None, [1], "1." + "9" * 5000])
def test_what_is_no_format(told: object) -> None:
    assert parse_format(told) is None
    with pytest.raises(ValidationError):
        Metadata(format=told, kind="clip", frames=2)  # type: ignore[arg-type]
    assert not check_format({"format": told}, "a file")


def test_versions_are_numbers() -> None:
    """1.10 comes after 1.9, and what says nothing is of the first."""
    assert parse_format("1.10") > parse_format("1.9") > parse_format(1) == (1, 0)  # type: ignore[operator]
    assert not check_format({}, "a file") and check_format({"format": f"{MAJOR}.{MINOR + 10}"}, "a file")
