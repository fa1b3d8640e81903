"""Where outputs go: a file whole or not at all, links and devices stay what they are, and what is read is not overwritten."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import handmade
from everyframe.cli import main
from everyframe.errors import OutputError
from everyframe.files import check_writable, occupied, write_bytes, write_together

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.is_char_device(), reason="there is no /dev/full here")


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there/file")
    for data in (b"one", b"two"):
        write_bytes(data, tmp_path / "link")
        assert (tmp_path / "link").is_symlink() and (tmp_path / "there/file").read_bytes() == data
    assert len(list(tmp_path.rglob("*"))) == 3


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    check_writable(tmp_path / "pipe")
    writes = threading.Thread(target=write_bytes, args=(b"data", tmp_path / "pipe"))
    writes.start()
    assert (tmp_path / "pipe").read_bytes() == b"data"
    writes.join()
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_device_stays_one(tmp_path: Path) -> None:
    (tmp_path / "null").symlink_to("/dev/null")  # were it replaced, nothing but this link would suffer
    check_writable(tmp_path / "null")
    write_bytes(b"data", tmp_path / "null")
    assert (tmp_path / "null").is_symlink() and (tmp_path / "null").is_char_device()


@needs_full
def test_a_full_disk_is_said(tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to(FULL)
    with pytest.raises(OutputError, match=r"cannot be written(.|\n)*No space left"):
        write_bytes(b"data", tmp_path / "full")


@needs_full
def test_files_that_belong_together_are_written_all_or_none(tmp_path: Path) -> None:
    (tmp_path / "second").symlink_to(FULL)
    (tmp_path / "first").write_bytes(b"before")
    with pytest.raises(OutputError, match=r"second(.|\n)*No space left"):
        write_together({tmp_path / "first": b"after", tmp_path / "second": b"after"})
    assert (tmp_path / "first").read_bytes() == b"before"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["first", "second"]


def command(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "everyframe", *map(str, words)]
    return subprocess.run(call, stderr=subprocess.PIPE, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


@needs_full
@pytest.mark.parametrize("words", ["models", "predict {model} {video} --json --engine ort"])
def test_standard_output_on_a_full_disk(words: str, tmp_path: Path) -> None:
    model, video = handmade.brightness_step(tmp_path / "step.onnx"), handmade.write_video(tmp_path / "v.mkv", 30)
    with FULL.open("w") as full:
        done = command(*words.format(model=model, video=video).split(), stdout=full)
    assert (done.returncode, "no space is left" in done.stderr, "Traceback" in done.stderr) == (2, True, False)


@pytest.mark.parametrize("target", ["v.mkv", "link.csv", "step.onnx"])
def test_what_is_read_is_not_overwritten(target: str, tmp_path: Path) -> None:
    model, video = handmade.brightness_step(tmp_path / "step.onnx"), handmade.write_video(tmp_path / "v.mkv", 9)
    (tmp_path / "link.csv").symlink_to(video)
    before = video.read_bytes(), model.read_bytes()
    done = command("predict", model, video, "--csv", tmp_path / target, "--engine", "ort", stdout=subprocess.DEVNULL)
    assert done.returncode == 2 and "overwrite what is read" in done.stderr
    assert (video.read_bytes(), model.read_bytes()) == before


def test_a_folder_is_occupied_as_long_as_its_process_lives(tmp_path: Path) -> None:
    code = "import pathlib, sys, everyframe.files as f\nwith f.occupied(pathlib.Path(sys.argv[1])): print(flush=True); input()"
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        with pytest.raises(OutputError, match="Another process"), occupied(tmp_path):
            pass
        other.kill()
    with occupied(tmp_path):
        assert not list(tmp_path.iterdir())
    with occupied(tmp_path):
        pass


@pytest.mark.parametrize(
    "verb", ["quantize {} --calibrate {}", "compile {}", "check {} --target onnxruntime --fix", "teach {} --examples {}"]
)
def test_a_model_is_not_replaced_by_what_is_made_of_it(verb: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nor under another name of the same file."""
    model = handmade.brightness_step(tmp_path / "step.onnx")
    (tmp_path / "other.onnx").hardlink_to(model)
    before = model.read_bytes()
    with pytest.raises(SystemExit) as ended:
        main.run([*verb.format(model, tmp_path).split(), "-o", str(tmp_path / "other.onnx")])
    assert ended.value.code == 2 and "overwrite what is read" in capfd.readouterr().err
    assert model.read_bytes() == before


def test_standard_output_that_is_closed(tmp_path: Path) -> None:
    model, video = handmade.brightness_step(tmp_path / "step.onnx"), handmade.write_video(tmp_path / "v.mkv", 30)
    table = tmp_path / "t.csv"
    done = command("predict", model, video, "--csv", table, "--engine", "ort", preexec_fn=lambda: os.close(1))
    assert (done.returncode, table.is_file()) == (2, True)
    assert done.stderr.startswith("error: Standard output is closed, so what was printed is lost.")
    assert command("info", "nothing.onnx", preexec_fn=lambda: os.closerange(0, 3)).returncode == 2
