"""What an evaluation writes and prints: the page, tables and pictures, the command line."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluating import causal, collected, write_folder
from everyframe.cli.main import run
from everyframe.evaluation import Result, evaluate, report
from everyframe.evaluation.measure import Outcome, measure
from handmade import write_video


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    there = tmp_path_factory.mktemp("report")
    (there / "videos").mkdir()
    collection = collected(write_folder(there / "videos"))
    return evaluate(causal(there / "clip.onnx"), collection, controls=("reversed",), data="noise")


class Page(HTMLParser):
    """What a page loads, and whether its tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


class TestFiles:
    EPOCHS = tuple(
        {"epoch": i, "train": {"loss": 2 / (i + 1)}, "validation": {"loss": 2.1 / (i + 1), "top1": i / 9}, "learning_rate": 0.1}
        for i in range(9)
    )

    def test_everything_is_written(self, result: Result, tmp_path: Path) -> None:
        made = report.write(
            tmp_path / "new" / "report", result, epochs=self.EPOCHS, recipe="name = '<b>'", environment={"cpu": {"cores": 2}}
        )
        assert {path.name for path in made} == {
            "report.html", "metrics.json", "predictions.csv", "classes.csv", "confusion.png", "confusion_stream.png",
            "accuracy_over_time.png", "reliability.png", "curves.png",
        }  # fmt: skip
        by_name = {path.name: path for path in made}
        assert len(list(by_name["report.html"].parent.iterdir())) == len(made), "nothing else is left"
        for name in ("confusion.png", "curves.png", "accuracy_over_time.png", "reliability.png"):
            with Image.open(by_name[name]) as image:
                colors = image.convert("RGB").getcolors(1 << 24)
                assert image.width > 300 and colors and len(colors) > 50
        rows = list(csv.DictReader(by_name["predictions.csv"].read_text().splitlines()))
        assert len(rows) == result.videos
        assert sum(row["prediction"] == row["truth"] for row in rows) == np.trace(np.array(result.confusion))
        assert json.loads(by_name["metrics.json"].read_text()) == json.loads(json.dumps(result.to_dict()))

    def test_names_of_files_need_not_be_text(self, result: Result, tmp_path: Path) -> None:
        name = os.fsdecode(b'c\xff\n,"d.mp4')
        odd = replace(result, rows=(replace(result.rows[0], video=name), *result.rows[1:]))
        report.write(tmp_path, odd)
        with (tmp_path / "predictions.csv").open(encoding="utf-8", newline="") as file:
            assert next(csv.DictReader(file))["video"] == name.replace("\udcff", "?")

    def test_the_page_holds_everything(self, result: Result, tmp_path: Path) -> None:
        odd = replace(result, labels=("<script>alert(1)</script>", *result.labels[1:]), partial=True)
        report.write(tmp_path, odd, recipe="a = '</pre>'")
        text = (tmp_path / "report.html").read_text()
        page = Page()
        page.feed(text)
        assert page.open == []
        assert page.loads and all(where.startswith("data:image/png;base64,") for where in page.loads)
        assert "<script" not in text and "http" not in text.replace("http-equiv", "")
        assert "Partial" in text and "viewport" in text

    def test_a_training_alone(self, tmp_path: Path) -> None:
        made = report.write(tmp_path, epochs=self.EPOCHS, recipe="x")
        assert {path.name for path in made} == {"report.html", "curves.png"}

    @pytest.mark.parametrize("classes", [2, 60, 400])
    def test_matrices_of_any_size(self, classes: int) -> None:
        counts = np.random.default_rng(0).poisson(4 / classes, (classes, classes)).tolist()
        names = [f"a rather long label with number {i}" for i in range(classes)]
        assert report.draw.confusion(counts, names, "title")[:4] == b"\x89PNG"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """clip.onnx and a folder of two classes of videos."""
    made = tmp_path_factory.mktemp("command")
    causal(made / "clip.onnx")
    for label in ("up", "down"):
        (made / "videos" / label).mkdir(parents=True)
        for number in range(2):
            write_video(made / "videos" / label / f"{number}.mp4", 10 + number)
    return made


class TestCommand:
    @pytest.fixture
    def here(self, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A copy to work in."""
        monkeypatch.chdir(tmp_path)
        return Path(shutil.copytree(place, tmp_path, dirs_exist_ok=True))

    def said(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
        code = 0
        try:
            run(["evaluate", *arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    def test_tables_and_files(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = self.said(
            capsys, "clip.onnx", "--data", "videos", "--split", "all", "--reverse", "--freeze-frame", "-o", "report"
        )
        assert (code, err) == (0, "")
        for word in ("normal", "reversed", "frozen", "4 videos", "100 %", "left, right"):
            assert word in out
        assert (here / "report" / "report.html").is_file()

    def test_json(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, _ = self.said(capsys, "clip.onnx", "--data", "videos", "--json")
        found = json.loads(out)
        assert code == 0
        assert (found["videos"], found["available"], found["split"]) == (4, {"all": 4}, "all")

    def test_data_without_splits_is_measured_whole_but_for_what_a_training_saw(
        self, here: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Whatever is asked for is what is measured; the first line says why, where nothing was."""
        (here / "run").mkdir()
        shutil.copy(here / "clip.onnx", here / "run/clip.onnx")
        told = f'name = "x"\n[model]\nname = "x3d_s"\n[data]\nroot = "{here / "videos"}"\nholdout = 0.5\n'
        (here / "run/recipe.toml").write_text(told)
        (here / "other").mkdir()
        shutil.copytree(here / "videos", here / "other/videos")
        for model, data, asked, videos, word in (
            ("clip.onnx", "videos", (), 4, "no splits"), ("clip.onnx", "videos", ("--split", "validation"), 2, "validation"),
            ("run/clip.onnx", "videos", (), 2, "50% that the model's training held out"),
            ("run/clip.onnx", "other/videos", (), 4, "no splits"), ("run/clip.onnx", "videos", ("--split", "all"), 4, "all"),
        ):  # fmt: skip
            code, out, _ = self.said(capsys, model, "--data", data, *asked)
            first = " ".join(out.splitlines()[:1])
            assert code == 0
            assert word in first
            assert f"{videos} videos" in first

    def test_a_run_folder_knows_its_data(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (here / "recipe.toml").write_text('name = "x"\n[model]\nname = "x3d_s"\n[data]\nroot = "videos"\nholdout = 0.5\n')
        code, out, _ = self.said(capsys, ".", "--json")
        assert code == 0
        assert json.loads(out)["videos"] == 2

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("clip.onnx",), "--data FOLDER"),
            (("clip.onnx", "--data", "nowhere"), "no such folder"),
            (("clip.onnx", "--data", "videos", "--split", "test"), "no videos in this split"),
            (("clip.onnx", "--data", "videos", "--label-map", "no.toml"), "cannot be read"),
            (("missing.onnx", "--data", "videos"), "missing.onnx"),
            (("clip.onnx", "--data", "videos", "-o", "clip.onnx"), "cannot be made"),
            (("builtin", "--data", "videos"), "--label-map"),
        ],
    )
    def test_what_is_wrong(self, here: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str) -> None:
        before = sorted(here.iterdir())
        code, out, err = self.said(capsys, *arguments)
        assert (code, out) == (2, "")
        assert said in err
        assert sorted(here.iterdir()) == before

    def test_ctrl_c_shows_what_there_is(
        self, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        measured: Callable[..., Outcome] = measure

        done: list[int] = []

        def slow(number: int, *rest: object) -> Outcome:
            if done:
                raise KeyboardInterrupt
            done.append(number)
            return measured(number, *rest)

        monkeypatch.setattr("everyframe.evaluation.run.measure", slow)
        code, out, _ = self.said(capsys, "clip.onnx", "--data", "videos", "--workers", "1")
        assert code == 130
        assert "PARTIAL: ended after 1 of 4" in out
