"""`predict` on several videos, and the view of one: what stands where, at any width."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, Group

import handmade
from everyframe.cli import main
from everyframe.cli.show.console import middle
from everyframe.cli.show.files import Files
from everyframe.cli.show.live import Bars, _placed
from everyframe.cli.show.outcome import COLUMNS, LISTED, Outcome, names
from everyframe.cli.show.watch import targets
from everyframe.errors import SourceError
from everyframe.modelfile.schema import EventRule
from everyframe.runtime import Prediction
from everyframe.runtime.events import Event
from everyframe.runtime.prediction import best
from everyframe.video import Source

Run = Callable[..., tuple[int, str, str]]
RULE = EventRule(background="medium", threshold=0.9, refractory_s=0.2, rearm=0.3)


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(main, "VERBS", {"predict": "predict"})
        with pytest.raises(SystemExit) as end:
            main.run(["predict", *map(str, args), "--engine", "ort"])
        return int(end.value.code or 0), *capsys.readouterr()

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As people have them: of every kind one, and a model with an event rule beside it."""
    here = tmp_path / "videos"
    (here / "below").mkdir(parents=True)
    handmade.brightness_step(tmp_path / "step.onnx", events=RULE)
    handmade.write_video(here / "v10.mp4", 60, draw=lambda i: handmade.picture(230 if i >= 30 else 20))
    handmade.write_video(here / "v2.mp4", 30, draw=lambda _: handmade.picture(128))
    handmade.write_video(here / "short.mp4", 3)
    handmade.cut(handmade.write_video(here / "cut.mkv", 90, codec="libx264", draw=lambda _: handmade.picture(20)), 0.6)
    for name in ("broken one.mp4", "broken two.mp4"):
        (here / name).write_text("no video")
    for name in ("._v2.mp4", ".hidden.mp4", "notes.txt", "below/in_a_folder.mp4"):
        (here / name).write_text("not to be looked at")
    return here


def lines(out: str) -> dict[str, str]:
    """What is said of each file, by its name."""
    return dict(re.split(r" {2,}", line, maxsplit=1) for line in out.split("files   ")[0].splitlines())


class TestFolder:
    def test_a_line_a_file_in_order_and_a_summary(self, predict: Run, folder: Path) -> None:
        code, out, err = predict(folder.parent / "step.onnx", folder)
        said = lines(out)
        assert code == 2
        assert list(said) == ["broken one.mp4", "broken two.mp4", "cut.mkv", "short.mp4", "v2.mp4", "v10.mp4"]
        assert re.fullmatch(r"dark +0\.\d\d s +1\.00 +1 event  error: The video is damaged or cut short", said["cut.mkv"])
        assert said["broken one.mp4"].startswith("error: This is not a video") and said["short.mp4"].startswith("too short")
        assert re.fullmatch(r"(dark|bright) +\d\.\d\d s +1\.00 +2 events", said["v10.mp4"])
        assert "0 events" in said["v2.mp4"]
        assert "files        6, 3 failed" in out and "events       3" in out and "(v10.mp4)" in out
        assert err.count("error: This is not a video") == 1 and re.search("also: +broken two.mp4", err)

    def test_the_columns_are_aligned(self, predict: Run, folder: Path) -> None:
        rows = [line for line in predict(folder.parent / "step.onnx", folder)[1].splitlines() if re.search(r"\d events?\b", line)]
        assert len({re.search(r" s +\d\.\d\d +\d+ event", row).span() for row in rows}) == 1  # type: ignore[union-attr]

    def test_files_as_a_shell_gives_them(self, predict: Run, folder: Path) -> None:
        code, out, err = predict(folder.parent / "step.onnx", folder / "v10.mp4", folder / "v2.mp4")
        assert (code, err, list(lines(out))) == (0, "", ["v10.mp4", "v2.mp4"])
        assert "files        2, none failed" in out

    def test_a_table(self, predict: Run, folder: Path, tmp_path: Path) -> None:
        predict(folder.parent / "step.onnx", folder, "--csv", tmp_path / "t.csv")
        with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert tuple(rows[0]) == COLUMNS
        files = {Path(row["file"]).name: row for row in rows if row["row"] == "file"}
        events = [(Path(row["file"]).name, row["label"], row["time_s"]) for row in rows if row["row"] == "event"]
        assert list(files) == ["broken one.mp4", "broken two.mp4", "cut.mkv", "short.mp4", "v2.mp4", "v10.mp4"]
        assert [(name, label) for name, label, _ in events] == [("cut.mkv", "dark"), ("v10.mp4", "dark"), ("v10.mp4", "bright")]
        assert files["v10.mp4"]["events"] == "2" and float(files["v10.mp4"]["seconds"]) == pytest.approx(1.9, abs=0.1)
        assert files["short.mp4"]["label"] == "" and files["cut.mkv"]["error"].startswith("The video is damaged or cut short.")

    def test_pictures_of_files_with_one_name(self, predict: Run, tmp_path: Path) -> None:
        model = handmade.brightness_step(tmp_path / "step.onnx")
        for place in ("front", "side"):
            (tmp_path / place).mkdir()
            handmade.write_video(tmp_path / place / "clip.mp4", 6)
        code, out, _ = predict(model, *sorted(tmp_path.glob("*/clip.mp4")), "--save-timeline", tmp_path / "out.png")
        assert code == 0
        assert {path.name for path in tmp_path.glob("*.png")} == {"out.front_clip.mp4.png", "out.side_clip.mp4.png"}
        assert all(path.name in out for path in tmp_path.glob("*.png"))

    def test_a_table_that_cannot_be_written_is_said_first(self, predict: Run, folder: Path) -> None:
        code, out, err = predict(folder.parent / "step.onnx", folder, "--csv", folder)
        assert (code, out) == (2, "") and "cannot be written" in err


def outcome(name: str, scores: list[float], events: list[tuple[str, float]] = [], **fields: Any) -> Outcome:  # noqa: B006
    program: Any = SimpleNamespace(labels_for=lambda _: ("none", "wave", "a label with a rather long name"))
    found = Outcome(Source("file", name, (f"/videos/{name}",)), name, "none", **fields)
    array = np.array(scores, np.float32)
    for label, time_s in events or [("", 1.0)]:
        event = Event(label, 0, 0.9, time_s) if label else None
        found.add(Prediction(0, time_s, array, array, best(array, program.labels_for(3), 3), event), program)
    return found


class TestLines:
    def test_the_best_label_is_one_that_had_an_event(self) -> None:
        assert outcome("a.mp4", [0.7, 0.1, 0.2]).best == ("a label with a rather long name", pytest.approx(0.2), 1.0)
        assert outcome("a.mp4", [0.1, 0.2, 0.7], [("wave", 2.0)]).best == ("wave", pytest.approx(0.2), 2.0)

    @pytest.mark.parametrize("columns", [60, 72, 80, 100, 140, 200])
    def test_lines_fit_the_terminal(self, columns: int) -> None:
        found = [
            outcome("2024-11-14T22:57:44 front door, camera 3.mp4", [0.1, 0.2, 0.7], [("wave", 3599.0)] * 120),
            outcome("短い動画のとても長いファイル名、玄関のカメラで撮影されたもの.mp4", [0.1, 0.8, 0.1]),
            outcome("c.mp4", [0.0, 0.1, 0.9], error=SourceError("The decoder crashed on this video, and said a lot about it.")),
        ]
        program: Any = SimpleNamespace(
            labels=("none", "wave", "a label with a rather long name"),
            metadata=SimpleNamespace(events=RULE), ending=SimpleNamespace(task="classify"),
        )  # fmt: skip
        view = Files(program, [each.source for each in found], columns)
        shown = [view.line(each) for each in found]
        assert all(cell_len(line) <= columns for line in shown), shown
        assert shown[0].startswith("2024-1") and ".mp4 " in shown[0] and "120 events" in shown[0]
        assert "error: The decoder" in shown[2]

    def test_quantities_are_no_labels(self) -> None:
        file, *values = outcome("a.mp4", [-7.0, 30.0, 0.25], quantities=True).rows()
        assert not {"label", "score", "time_s"} & set(file)
        assert [(row["row"], row["label"], row["score"]) for row in values][:2] == [
            ("value", "none", "-7.0000"),
            ("value", "wave", "30.0000"),
        ]

    @given(st.lists(st.sampled_from(["a.mp4", "a.mkv", "x/a.mp4", "x_a.mp4", "y/b.mp4", "b", "a.mp4-2"]), min_size=1))
    def test_no_picture_overwrites_another(self, names: list[str]) -> None:
        found = targets(Path("out.png"), names)
        assert len(set(found)) == len(names)
        assert all(path.parent == Path() and path.suffix == ".png" for path in found)

    def test_names_are_paths_below_the_common_folder_and_can_be_printed(self) -> None:
        sources = [Source("file", Path(path).name, (path,)) for path in ("/a/b/x.mp4", "/a/c/x.mp4", "/a/b/\x1b[2J.mp4")]
        assert names(sources) == ["b/x.mp4", "c/x.mp4", "b/?[2J.mp4"]
        assert names([*sources[:1], Source("camera", "/dev/video0", ("/dev/video0",))]) == ["x.mp4", "/dev/video0"]

    @pytest.mark.parametrize("width", range(1, 12))
    def test_middle(self, width: int) -> None:
        for text in ("", "a.mp4", "abcdefghij", "動画動画動画動画"):
            short = middle(text, width)
            assert cell_len(short) <= width and (short == text) == (cell_len(text) <= width)
        assert middle("a long name.mp4", 9) == "a lo….mp4"


class TestView:
    """Two pictures of one view with different scores."""

    def pictures(self, labels: list[str], columns: int, *scores: np.ndarray, top_k: int | None = None) -> list[list[str]]:
        program: Any = SimpleNamespace(labels_for=lambda _: tuple(labels))
        playback: Any = SimpleNamespace(source=SimpleNamespace(name="camera " * 20), dropped=3, frames=9)
        view, console = Bars(program, top_k, columns), Console(width=columns)
        view.arrivals = deque([(0.0, 0), (1.0, 30)])
        made = []
        for row in scores:
            prediction = Prediction(1, 2.0, row, row, best(row, labels, 5))
            with console.capture() as said:
                console.print(Group(view.picture(prediction, playback)))
            made.append(said.get().splitlines())
        return made

    @pytest.mark.parametrize("columns", [60, 80, 120, 200])
    @pytest.mark.parametrize("classes", [3, 12, 400])
    def test_rows_stay_in_place(self, columns: int, classes: int) -> None:
        rng = np.random.default_rng(columns)
        labels = [f"label {i}, " + "長い" * (i % 40) + "!" for i in range(classes)]
        first = rng.dirichlet(np.full(classes, 0.2)).astype(np.float32)
        second = first.copy()
        leaders = np.argsort(-first)[:3]
        second[leaders] = first[leaders[::-1]]  # the same labels lead, in another order
        one, two = self.pictures(labels, columns, first, second)
        assert len(one) == len(two) == 2 + (classes if classes <= 12 else 5)
        assert all(cell_len(line) <= columns for line in one + two)
        heads = [[re.split(r"█|  0\.|  1\.", line)[0].rstrip() for line in picture[1:-1]] for picture in (one, two)]
        assert heads[0] == heads[1] and one != two
        assert all(re.search(r"  \d\.\d\d$", line) for line in one[1:-1])

    def test_who_comes_takes_the_place_of_who_went(self) -> None:
        scores = np.array([0.5, 0.3, 0.1, 0.05, 0.04, 0.01])
        rows = _placed([], scores, 3)
        assert rows == [0, 1, 2]
        scores[[1, 4]] = 0.02, 0.6
        assert _placed(rows, scores, 3) == [0, 4, 2]
        assert _placed([5, 3], np.zeros(2), 3) == [0, 1]

    def test_top_k_is_the_number_of_rows(self) -> None:
        (picture,) = self.pictures(list("abcdefgh"), 80, np.linspace(0, 1, 8, dtype=np.float32), top_k=2)
        assert [line.split()[0] for line in picture[1:-1]] == ["h", "g"]


def test_of_many_events_some_are_listed(predict: Run, tmp_path: Path) -> None:
    model = handmade.brightness_step(tmp_path / "step.onnx", events=RULE.model_copy(update={"refractory_s": 0.0, "rearm": 0.0}))
    for name in "ab":
        handmade.write_video(tmp_path / f"{name}.mp4", 180, draw=lambda i: handmade.picture(230 if i // 12 % 2 else 20))
    out = predict(model, tmp_path / "*.mp4")[1]
    count = int(re.search(r"events +(\d+)", out.split("engine")[1])[1])  # type: ignore[index]
    assert count > LISTED and f"and {count - LISTED} more: --csv FILE" in out
