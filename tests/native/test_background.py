"""What is prepared in the background of a first run: who starts it, what it leaves, and what streams make of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import everyframe
import handmade
from clips import clip_net
from everyframe.modelfile.file import load, metadata_of
from everyframe.native import improve, store, tuned
from everyframe.native.library import Library
from everyframe.native.processor import here
from everyframe.native.target import target
from everyframe.runtime import auto, background, preparing
from running import gone, started, until

#: the process, on machines of tests that have no idle moment: it does not step back, every model is worth it, and native wins
WILLING = """
import sys; sys.path[:] = sys.argv[5:]
from everyframe.runtime import auto, preparing
preparing._step_back = lambda: None
auto.WORTH_MS = 0.0
auto._race = lambda *_: (auto.Verdict({"ort": 2.0, "native": 1.0}), [])
preparing.main(*sys.argv[1:5])
"""
#: `everyframe` with such a process
WILLING_COMMAND = f"""
import sys
from everyframe.cli import main
from everyframe.runtime import auto, background
auto.WORTH_MS, auto._installed, background._START = 0.0, lambda: False, {WILLING!r}
main.run(sys.argv[1:])
"""
#: one that dies
DYING = "import sys"
FRAME = (1, 3, 12, 16)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EVERYFRAME_BACKGROUND", "0")
    monkeypatch.setattr(auto, "WORTH_MS", 0.0)
    monkeypatch.setattr(auto, "_installed", lambda: False)
    monkeypatch.setattr(background, "LOOK_S", 0.02)
    monkeypatch.setattr(background, "_START", WILLING)
    return tmp_path / "cache" / "native"


@pytest.fixture
def net(tmp_path: Path, cache: Path) -> Path:
    return handmade.brightness_step(tmp_path / "net.onnx")


@pytest.fixture
def slow_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Compiles when `go` is there, and says in `compiled` that it was called."""
    script, go = tmp_path / "slow_cc", tmp_path / "go"
    wait = f"while [ ! -e {go} ] && kill -0 $PPID 2>/dev/null; do sleep 0.01; done"
    script.write_text(f'#!/bin/sh\necho $$ >> {tmp_path / "compiled"}\n{wait}\nexec cc "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    yield go
    go.touch()


def frames(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).standard_normal((count, *FRAME)).astype(np.float32))


def files(net: Path) -> background.Files:
    return auto.files_of(load(net))


def waiting() -> list[background._Waiting]:
    return [thread for thread in threading.enumerate() if isinstance(thread, background._Waiting)]


class TestAFirstRun:
    def test_starts_at_once_goes_on_with_what_is_faster_and_is_remembered(
        self, tmp_path: Path, cache: Path, slow_compiler: Path
    ) -> None:
        net = tmp_path / "step.onnx"
        everyframe.convert(clip_net(tmp_path / "clip.onnx", labels=("a", "b", "c", "d")), net)
        with everyframe.open(net, threads=1) as program:
            run = program.start()
            assert program.engine == "ort" and "in the background" in program.engine_reason
            first = [run.step(each) for each in frames(5)]
            slow_compiler.touch()
            until(lambda: program.engine == "native")
            steps = program._session.steps
            assert program.engine_reason == "1 ms a step, ort 2 ms; ort until that was ready"
            beside = [run.step(each) for each in frames(steps + 3)]
            assert run.using.engine == program.start().using.engine == "native"
        with everyframe.open(net, threads=1, engine="native") as native:
            run = native.start()
            for said, each in zip([*first, *beside], [*frames(5), *frames(steps + 3)], strict=True):
                np.testing.assert_allclose(said, run.step(each), rtol=1e-4, atol=1e-5)
        until(lambda: not files(net).lock.exists())
        assert {path.suffix for path in files(net).library.parent.iterdir()} == {".so", ".json"}, "no lock, no count of tries"
        assert json.loads(files(net).verdict.read_text()) == {"ort_ms": 2.0, "native_ms": 1.0}
        with everyframe.open(net) as program:
            assert program.engine == "native"

    def test_of_several_at_once_starts_one_process_and_all_profit(self, net: Path, tmp_path: Path, slow_compiler: Path) -> None:
        programs = [everyframe.open(net) for _ in range(3)]
        until((tmp_path / "compiled").exists)
        slow_compiler.touch()
        for program in programs:
            until(lambda program=program: program.engine == "native")
            program.close()
        assert len((tmp_path / "compiled").read_text().split()) == 1

    def test_of_a_clip_network_moves_at_its_next_clip(self, tmp_path: Path, cache: Path) -> None:
        net = clip_net(tmp_path / "clip.onnx", labels=("a", "b", "c", "d"))
        clip = np.random.default_rng(0).standard_normal((1, 3, 8, 12, 16)).astype(np.float32)
        with everyframe.open(net, threads=1) as program:
            run = program.start()
            wanted = run.step(clip)
            until(lambda: program.engine == "native")
            np.testing.assert_allclose(run.step(clip), wanted, rtol=1e-4, atol=1e-5)
            assert run.using.engine == "native"

    @pytest.mark.parametrize("how", ["wait", "off", "in memory"])
    def test_waits_where_it_is_asked_to(self, net: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(background, "begin", lambda *_: pytest.fail("began"))
        monkeypatch.setattr(auto, "_race", lambda *_: (auto.Verdict({"ort": 2.0, "native": 1.0}), []))
        if how == "off":
            monkeypatch.setenv(background.SETTING, "off")
        given = load(net) if how == "in memory" else net
        assert everyframe.open(given, wait=how == "wait").engine == "native"

    def test_with_a_cache_that_cannot_be_written(self, net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").write_text("not a folder")
        monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path / "file"))
        with everyframe.open(net) as program:
            assert program.engine == "ort" and "cannot be written" in program.engine_reason

    def test_a_library_that_would_be_made_otherwise_now_runs_meanwhile(
        self, net: Path, monkeypatch: pytest.MonkeyPatch, slow_compiler: Path
    ) -> None:
        slow_compiler.touch()
        monkeypatch.setattr(auto, "_race", lambda *_: (auto.Verdict({"ort": 2.0, "native": 1.0}), []))
        everyframe.open(net, wait=True).close()
        slow_compiler.unlink()
        monkeypatch.setattr(auto, "outdated", lambda *_: True)
        before = files(net).library.stat().st_ino
        with everyframe.open(net) as program:
            assert program.engine == "native", "at once"
        slow_compiler.touch()
        until(lambda: not files(net).lock.exists())
        assert files(net).library.stat().st_ino == before, "the process saw that it is as it should be"


def test_ctrl_c_ends_a_run_and_not_what_it_has_begun(net: Path, tmp_path: Path, slow_compiler: Path) -> None:
    """As from a terminal, which sends it to all that run in the foreground."""
    begun = tmp_path / "compiled"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = (sys.executable, "-c", WILLING_COMMAND, "predict", net, "-")
    with started(*command, env=environment, stdin=subprocess.PIPE) as run:
        until(lambda: begun.exists() and begun.read_text(), run)
        compiler = int(begun.read_text())
        background_process = int(Path(f"/proc/{compiler}/stat").read_text().rpartition(")")[2].split()[1])
        os.killpg(run.pid, signal.SIGINT)
        said = run.communicate()
        assert run.returncode == 130 and "Traceback" not in said[1], said
    assert not gone(compiler) and not gone(background_process)
    slow_compiler.touch()
    until(lambda: not files(net).lock.exists())
    until(lambda: gone(compiler) and gone(background_process))
    assert {path.suffix for path in files(net).library.parent.iterdir()} == {".so", ".json"}, "no lock, no half of a library"
    assert everyframe.open(net).engine == "native"


class TestWhatIsLeftToDo:
    @pytest.fixture
    def began(self, net: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The engines that ran while something began. All that is known: native is the fastest."""
        monkeypatch.setattr(auto, "_race", lambda *_: (auto.Verdict({"ort": 2.0, "native": 1.0}), []))
        everyframe.open(net, wait=True).close()
        found: list[str] = []
        monkeypatch.setattr(background, "begin", lambda job, first, *_: found.append(first.engine) or first)
        return found

    def test_nothing_where_nothing_is_to_be_measured(self, net: Path, began: list[str]) -> None:
        assert everyframe.open(net).engine == "native" and began == []

    def test_measuring_once(self, net: Path, began: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(background.SETTING, "20")
        assert everyframe.open(net).engine == "native" and began == ["native"]
        monkeypatch.setattr(preparing, "improve", lambda *_: 0.5)
        preparing.prepare(str(net), files(net))
        assert json.loads(files(net).verdict.read_text()) == {"ort_ms": 2.0, "native_ms": 0.5, "measured_s": 20.0}
        assert everyframe.open(net).engine == "native" and began == ["native"]

    def test_a_library_that_is_gone(self, net: Path, began: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        files(net).library.unlink()
        assert everyframe.open(net).engine == "ort" and began == ["ort"]


class TestInVain:
    def test_it_is_tried_three_times_a_day(self, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(background, "_START", DYING)
        for n in range(background.TRIES):
            with everyframe.open(net) as program:
                assert "in the background" in program.engine_reason
                until(lambda: not waiting())
            assert background.tried(files(net)) == (n + 1, "")
        monkeypatch.setattr(background, "begin", lambda *_: pytest.fail("began"))
        with everyframe.open(net) as program:
            assert program.engine == "ort" and program.engine_reason == "nothing faster could be prepared in 3 tries"
        os.utime(files(net).tries, (0, 0))
        assert background.tried(files(net)) == (0, "")

    def test_what_cannot_be_compiled_is_said_in_the_end(self, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise everyframe.errors.UnsupportedOperator("Einsum cannot be compiled.")

        monkeypatch.setattr(store, "generate", refuse)
        files(net).library.parent.mkdir(parents=True)
        background.tell(files(net), background.TRIES, "")
        preparing.prepare(str(net), files(net))
        with everyframe.open(net) as program:
            assert "3 tries" in program.engine_reason and "Einsum cannot be compiled" in program.engine_reason

    def test_a_process_that_is_told_to_end_ends_its_compiler(self, net: Path, tmp_path: Path, slow_compiler: Path) -> None:
        with everyframe.open(net):
            until(lambda: (tmp_path / "compiled").exists() and (tmp_path / "compiled").read_text())
            (thread,) = waiting()
            compiler = int((tmp_path / "compiled").read_text())
            os.kill(thread.process.pid, signal.SIGTERM)
            until(lambda: gone(compiler) and not files(net).lock.exists())
        assert [path.suffix for path in files(net).library.parent.iterdir()] == [".tries"]


def test_the_process_stands_behind_all_others() -> None:
    """Read from outside: on a busy machine, such a process hardly comes to say anything itself."""
    script = "import signal; from everyframe.runtime.preparing import _step_back; _step_back(); signal.pause()"
    with started(sys.executable, "-c", script) as process:
        until(lambda: Path(f"/proc/{process.pid}/oom_score_adj").read_text().strip() == "1000", process)
        assert os.sched_getscheduler(process.pid) == os.SCHED_IDLE and os.getpriority(os.PRIO_PROCESS, process.pid) == 19


@pytest.mark.parametrize(("said", "wanted"), [
    ("", background.MEASURED_S), ("off", None), ("Off", None), ("0", 0.0), ("7.5", 7.5), ("-3", 0.0), ("1e9", background.MOST_S),
    ("nan", background.MEASURED_S), ("soon", background.MEASURED_S),
])  # fmt: skip
def test_the_setting(said: str, wanted: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(background.SETTING, said)
    assert background.seconds() == wanted


class TestOnBatteries:
    @pytest.fixture
    def supply(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A laptop's: its charger, and its battery, which discharges."""
        monkeypatch.setattr(background, "POWER", tmp_path / "power")
        monkeypatch.delenv(background.SETTING)
        for name, facts in {"AC": {"type": "Mains", "online": "0"}, "BAT0": {"type": "Battery", "status": "Discharging"}}.items():
            (tmp_path / "power" / name).mkdir(parents=True)
            for what, said in facts.items():
                (tmp_path / "power" / name / what).write_text(f"{said}\n")
        return tmp_path / "power" / "BAT0"

    @pytest.mark.parametrize(("change", "wanted"), [
        ({}, 0.0), ({"status": "Charging"}, background.MEASURED_S), ({"status": "Full"}, background.MEASURED_S),
        ({"type": "UPS"}, background.MEASURED_S), ({"scope": "Device"}, background.MEASURED_S), ({"scope": "System"}, 0.0),
    ], ids=str)  # fmt: skip
    def test_nothing_is_measured(self, cache: Path, supply: Path, change: dict[str, str], wanted: float) -> None:
        for what, said in change.items():
            (supply / what).write_text(f"{said}\n")
        assert background.seconds() == wanted

    def test_unless_it_is_asked_for(self, cache: Path, supply: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(background.SETTING, "7")
        assert background.seconds() == 7.0

    def test_a_later_run_begins_with_it(self, net: Path, supply: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(auto, "_race", lambda *_: (auto.Verdict({"ort": 2.0, "native": 1.0}), []))
        monkeypatch.setattr(preparing, "improve", lambda *_: pytest.fail("measured"))
        files(net).library.parent.mkdir(parents=True)
        preparing.prepare(str(net), files(net))
        began: list[str] = []
        monkeypatch.setattr(background, "begin", lambda job, first, *_: began.append(first.engine) or first)
        assert everyframe.open(net).engine == "native" and began == []
        (supply / "status").write_text("Charging\n")
        assert everyframe.open(net).engine == "native" and began == ["native"]


class TestImprove:
    @pytest.fixture
    def found(self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
        """A library, and a row that was measured for it."""
        net = handmade.conv_step(tmp_path / "conv.onnx") and tmp_path / "conv.onnx"
        self.net, self.model = net, load(net)
        self.states = metadata_of(self.model).states
        library = store.library(self.model, self.states, target("native"), "conv", lambda _: None)
        (_, geometry, numbers), *_ = library.facts["tables"]["asked"]
        choice = dict(zip(tuned.NUMBERS, numbers, strict=True)) | {"block": 7}
        facts = {
            "isa": tuned.isa(target("native"), tuned.Geometry(*geometry)), "vector": target("native").block,
            "processor": here().name, "caches_kb": here().caches, "shape": tuned.shape(tuned.Geometry(*geometry)),
            "kept": geometry[10], "kernels": geometry[12], "frames": geometry[11], "choice": choice, "ms": 1.0, "default_ms": 2.0,
        }  # fmt: skip
        monkeypatch.setattr(improve, "measure", lambda *_: iter([tuned.parse(json.dumps(facts), "here")]))
        monkeypatch.setattr(improve, "program", lambda *_: object())
        return library

    def improved(self, library: Library) -> float | None:
        return improve.improve(self.model, self.states, target("native"), "conv", library.path, 1.0)

    def test_rows_that_make_the_network_faster_are_kept(self, found: Library, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(improve, "_times", lambda *_: ([2.0] * 8, [1.5] * 8))
        assert self.improved(found) == 1.5
        (row,) = tuned.read(tuned.own_table())
        assert row.choice.block == 7
        made = Library(found.path)
        assert 7 in [numbers[1] for _, _, numbers in made.facts["tables"]["asked"]]
        assert not store.outdated(found.path, target("native")), "it is what would be made now"
        assert {path.suffix for path in found.path.parent.iterdir()} == {".so"}
        x = np.ones(made.input_shape, np.float32)
        np.testing.assert_allclose(made.start(1).step(x), found.start(1).step(x), rtol=1e-5)
        assert made.code._handle != found.code._handle, "not the one that was loaded before"

    @pytest.mark.parametrize("after", [[2.1] * 8, [1.9] * 5 + [2.1] * 3])
    def test_others_are_not(self, found: Library, after: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
        before = found.path.read_bytes()
        monkeypatch.setattr(improve, "_times", lambda *_: ([2.0] * 8, after))
        assert self.improved(found) is None
        assert found.path.read_bytes() == before and not tuned.own_table().exists()
        assert {path.suffix for path in found.path.parent.iterdir()} == {".so"}
