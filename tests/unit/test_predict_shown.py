"""`predict --save-video` and `--beside`: the video again with what models said, and models beside each other."""

from __future__ import annotations

import csv
import io
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import handmade
from everyframe.canvas import BLANK, HUES
from everyframe.cli import main
from everyframe.cli.show.marked import MARGIN, NARROWEST
from everyframe.modelfile.schema import EventRule

RULE = EventRule(background="dark", threshold=0.9, refractory_s=0.2, rearm=0.3)


def level(i: int) -> np.ndarray:
    """Bright from the second second on; the left half a little darker, so that turning is seen."""
    picture = handmade.picture(230 if i >= 30 else 20)
    picture[:, :32] -= 15
    return picture


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a.onnx with events, b.onnx, a folder of two videos, of which one has sound."""
    folder = tmp_path_factory.mktemp("shown")
    handmade.brightness_step(folder / "a.onnx", events=RULE)
    handmade.brightness_clip(folder / "b.onnx")
    (folder / "videos").mkdir()
    handmade.write_video(folder / "videos" / "plain.mp4", 60, codec="libx264", draw=level)
    handmade.write_video(folder / "videos" / "sound.mkv", 60, codec="libx264", draw=level, audio=True)
    return folder


def predict(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main.run(["predict", *map(str, words), "--engine", "ort"])
    return int(ended.value.code or 0), *capsys.readouterr()


def frames(path: Path) -> list[tuple[Fraction, np.ndarray]]:
    with av.open(str(path)) as container:
        return [(frame.pts * frame.time_base, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def sound(path: Path) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        return [(float(packet.pts * packet.time_base), bytes(packet)) for packet in container.demux(audio=0) if packet.size]


def test_a_folder_is_written_again(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All pictures at their times with a strip that knows the event, and the packets of the sound as they were."""
    code, out, err = predict(capsys, here / "a.onnx", here / "videos", "--save-video", tmp_path / "out.mkv")
    assert code == 0 and out.count("video        ") == 2, err
    made, given = frames(tmp_path / "out.sound.mkv"), frames(here / "videos" / "sound.mkv")
    assert len(made) == 60 and all(abs(a - b) < Fraction(1, 500) for (a, _), (b, _) in zip(made, given, strict=True))
    larger = -(-NARROWEST // 64)
    for number in (10, 50):
        shown = made[number][1][: 48 * larger : larger, ::larger].astype(int)
        assert abs(shown - level(number)).mean() < 4
    strip = made[0][1][48 * larger :].reshape(-1, 3).astype(int)
    assert (abs(strip - HUES[1]).sum(1) < 40).any() and (abs(strip - BLANK).sum(1) < 12).any()
    kept = sound(tmp_path / "out.sound.mkv")
    assert kept and [data for _, data in kept] == [data for _, data in sound(here / "videos" / "sound.mkv")][: len(kept)]
    with av.open(str(tmp_path / "out.plain.mkv")) as container:
        assert not container.streams.audio


def test_the_line_of_the_head_moves(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And a limit ends the video where it ended the predictions."""
    words = ("--save-video", tmp_path / "out.mp4", "--seconds", "1.5")
    assert predict(capsys, here / "a.onnx", here / "videos" / "plain.mp4", *words)[0] == 0
    made = frames(tmp_path / "out.mp4")
    assert 1.3 <= made[-1][0] <= 1.5
    heads = [int(picture[-4].sum(1)[MARGIN:-MARGIN].argmin()) for _, picture in made[:: len(made) // 4]]
    assert heads == sorted(heads) and heads[-1] > heads[0] + 60


def test_turned_pictures_are_upright(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = handmade.turned(handmade.write_video(tmp_path / "phone.mp4", 30, codec="libx264", draw=level))
    assert predict(capsys, here / "a.onnx", path, "--save-video", tmp_path / "out.webm")[0] == 0
    picture = frames(tmp_path / "out.webm")[0][1]
    larger = -(-NARROWEST // 48)
    assert picture.shape[1] == 48 * larger
    top, bottom = (picture[rows, : 48 * larger].mean() for rows in (slice(0, 20 * larger), slice(44 * larger, 64 * larger)))
    with av.open(str(path)) as container:
        turned = next(container.decode(video=0)).rotation
    assert (top < bottom) == (turned in (-90, 270)) and abs(top - bottom) > 8


def test_models_beside_each_other(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As alone, and named: rows of the table, lines of JSON, rows of the picture and of the video."""
    video, files = here / "videos" / "plain.mp4", {kind: tmp_path / f"out.{kind}" for kind in ("csv", "png", "mp4")}
    words = ("--csv", files["csv"], "--save-timeline", files["png"], "--save-video", files["mp4"])
    code, out, err = predict(capsys, here / "a.onnx", video, "--beside", here / "b.onnx", *words, "--json")
    assert code == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    for name in ("a.onnx", "b.onnx"):
        alone = [json.loads(line) for line in predict(capsys, here / name, video, "--json")[1].splitlines()]
        assert [{"model": name, **row} for row in alone] == [row for row in rows if row["model"] == name]
    table = list(csv.DictReader(io.StringIO(files["csv"].read_text())))
    assert {row["model"] for row in table} == {"a.onnx", "b.onnx"} and "model        b.onnx" in err
    larger = -(-NARROWEST // 64)
    assert predict(capsys, here / "a.onnx", video, "--save-video", tmp_path / "one.mp4", "--max-frames", 5)[0] == 0
    one, both = (frames(path)[0][1].shape[0] for path in (tmp_path / "one.mp4", files["mp4"]))
    assert both == pytest.approx(2 * one - 48 * larger, abs=2) and files["png"].stat().st_size


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("a.onnx videos --save-video out.png", "ends in .mp4"), ("a.onnx - --save-video out.mp4", "read twice"),
        ("a.onnx videos --beside a.onnx", "says the same"), ("a.onnx videos --save-video nowhere/out.mp4", "does not exist"),
        ("a.onnx videos/plain.mp4 --save-video videos/plain.mp4", "overwrite what is read"),
    ],
)  # fmt: skip
def test_what_cannot_be(
    words: str, said: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(here)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code, _, err = predict(capsys, *words.split())
    assert code == 2 and said in err and not list(here.glob("out*"))
