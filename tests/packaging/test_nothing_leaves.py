"""Every verb and engine, traced in an empty home: no connection, and no file outside the outputs and our own cache."""

from __future__ import annotations

import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import clips
import enlarging
import handmade
import moving
from everyframe.cli.main import VERBS
from everyframe.runtime.engine import ENGINES
from traced import Machine, why_not

ASSETS = Path(__file__).resolve().parents[2] / "src" / "everyframe" / "assets"
PROGRAM = Path(sys.executable).with_name("everyframe")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

#: what runs in a base install
LINES = """
everyframe info clip.onnx
everyframe stream clip.onnx -o step.onnx
everyframe predict step.onnx video.mp4 --save-timeline timeline.png
everyframe watch cameras.toml --seconds 2
everyframe compile step.onnx --emit-c c
everyframe check step.onnx --target onnxruntime --target openvino
everyframe quantize step.onnx --calibrate video.mp4 --frames 10 -o int8.onnx
everyframe split step.onnx -o parts --stages 2
everyframe bundle step.onnx --target onnxruntime --calibrate video.mp4 -o onnxruntime
everyframe bundle step.onnx --target openvino --calibrate video.mp4 -o openvino
everyframe models
everyframe import theirs.onnx --mapping theirs.toml -o ours.onnx
everyframe teach step.onnx --examples lesson -o mine.onnx
everyframe evaluate step.onnx --data lesson --split all --workers 1 --json
everyframe benchmark step.onnx --engine ort --frames 1 --html cost.html
everyframe render drivers -o drivers --count 1 --seconds 1 --size 32
everyframe render scenes -o scenes --count 1 --beams 8
everyframe demo
"""
#: and what needs torch; decoding has a process of its own
TRAINING = """
everyframe export motionnet_0.5x -o net.onnx --frames 6 --size 32
everyframe train tiny.toml --data clips -o run --set training.epochs=1 --set data.workers=1
everyframe prune run -o pruned --rate 1.5 --set training.epochs=1
everyframe search small.toml --data pictures -o searched --evaluations 2
"""
#: several in one process, as `everyframe` runs each
MANY = """
import shlex, sys
from everyframe.cli.main import run
for line in sys.argv[1].strip().splitlines():
    try:
        run(shlex.split(line)[1:])
    except SystemExit as ended:
        if ended.code:
            sys.exit(f"{line} ended with {ended.code}")
"""
MAPPING = """
frames = { input = "clip", layout = "NCTHW" }
logits = { output = "logits", probabilities = false }
"""


CAMERAS = """
model = "step.onnx"
engine = "ort"
sinks = { ndjson = "events.ndjson", sqlite = "events.db" }
[cameras.door]
address = "video.mp4"
alert = "labels=a,b,c,d threshold=.01 seconds=0 quiet=0"
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """With clip.onnx and video.mp4."""
    made = Machine(tmp_path)
    clips.clip_net(made.outputs / "clip.onnx", labels=tuple("abcd"))
    handmade.write_video(made.outputs / "video.mp4", 12)
    return made


def test_every_verb_and_engine_has_a_line() -> None:
    assert {line.split()[1] for line in f"{LINES}{TRAINING}{SERVING}".splitlines() if line} == set(VERBS)


#: of a verb that runs until it is stopped
SERVING = "everyframe serve step.onnx --camera film=video.mp4 --port 0"
SERVE = """
import os, signal, threading
from everyframe.serving.server import Options, serve
stop = lambda *_: threading.Timer(2, os.kill, (os.getpid(), signal.SIGTERM)).start()
serve(["step.onnx"], Options(port=0, cameras=("film=video.mp4",)), stop)
"""


def test_verbs(machine: Machine) -> None:
    out = machine.outputs
    clips.clip_net(out / "theirs.onnx")
    (out / "theirs.toml").write_text(MAPPING)
    (out / "cameras.toml").write_text(CAMERAS)
    for label in "ab":
        (out / "lesson" / label).mkdir(parents=True)
        for i in range(2):
            handmade.write_video(out / "lesson" / label / f"{i}.mp4", 12 + i + 10 * (label == "a"))
    assert machine.run(sys.executable, "-c", MANY, LINES) == []
    for target in ("onnxruntime", "openvino"):  # the program for the device, which does not know everyframe
        if find_spec(target):
            assert machine.run(sys.executable, f"{target}/main.py") == []


@pytest.mark.parametrize("engine", ENGINES)
def test_engines(engine: str, machine: Machine) -> None:
    if engine == "openvino" and not find_spec(engine):
        pytest.skip("openvino is not installed")
    handmade.brightness_step(machine.outputs / "step.onnx")
    assert machine.run(PROGRAM, *shlex.split(f"predict step.onnx video.mp4 --json --engine {engine}")) == []


def test_serving(machine: Machine) -> None:
    pytest.importorskip("fastapi", reason="needs the extra `serve`")
    handmade.brightness_step(machine.outputs / "step.onnx")
    assert machine.run(sys.executable, "-c", SERVE) == []


def test_training(machine: Machine) -> None:
    pytest.importorskip("torch")
    moving.write_clips(machine.outputs / "clips")
    (machine.outputs / "tiny.toml").write_text(moving.TEXT)
    enlarging.write_pictures(machine.outputs / "pictures")
    (machine.outputs / "small.toml").write_text(enlarging.SEARCH)
    assert machine.run(sys.executable, "-c", MANY, TRAINING) == []


class TestTheCheckItself:
    """Each kind of fault is planted once, in a child of the program, and must be found."""

    @pytest.mark.parametrize(("code", "found"), [
        ("socket.socket().connect_ex(('127.0.0.1', 9))", "connect"),
        ("socket.socket(socket.AF_INET6).connect_ex(('::1', 9))", "connect"),
        ("socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))", "sendto"),
        ("socket.socket(socket.AF_UNIX).connect_ex('/run/nobody')", "connect"),
        ("Path.home().joinpath('identifier').write_text('1')", "openat"),
        ("Path.home().joinpath('.cache', 'Other').mkdir(parents=True)", "mkdir"),
        ("os.chdir(Path.home()); Path('identifier').write_text('1')", "openat"),
        ("Path('a').touch(); os.rename('a', Path.home() / 'a')", "rename"),
        ("tempfile.mkstemp()", "left"),
    ])  # fmt: skip
    def test_finds(self, code: str, found: str, tmp_path: Path) -> None:
        inner = f"import os, socket, tempfile; from pathlib import Path; {code}"
        outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}], check=True)"
        assert any(found in line for line in Machine(tmp_path).run(sys.executable, "-c", outer))

    def test_leaves_alone_what_is_allowed(self, tmp_path: Path) -> None:
        code = (
            "import tempfile, uuid; from pathlib import Path; uuid.uuid1(); Path('out.txt').write_text('1');"
            "ours = Path.home() / '.cache' / 'everyframe' / 'native'; ours.mkdir(parents=True); (ours / 'a').touch();"
            "tempfile.TemporaryFile().close(); tempfile.TemporaryDirectory().cleanup(); open('/dev/null', 'w').close()"
        )
        assert Machine(tmp_path).run(sys.executable, "-c", code) == []
