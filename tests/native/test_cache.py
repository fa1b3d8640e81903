"""The cache of compiled models: made once, mended, trimmed; interrupted compilers; what `auto` makes of it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

import everyframe
import handmade
from everyframe.errors import EngineError, OutputError
from everyframe.modelfile.file import load, metadata_of
from everyframe.native import store
from everyframe.native.target import target
from everyframe.runtime import BUILTIN, auto
from running import TELLS_LOCKS, gone, started, until


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; its folder of libraries."""
    monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "native"


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return handmade.brightness_step(tmp_path / "net.onnx")


@pytest.fixture
def worth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model is worth compiling, and nothing else can run it (`test_auto.py` is about that)."""
    monkeypatch.setattr(auto, "WORTH_MS", 0.0)
    monkeypatch.setattr(auto, "_installed", lambda: False)


@pytest.fixture
def no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def compile_net(path: Path, say: Callable[[str], None] = lambda _: None, cpu: str = "native") -> store.Library:
    model = load(path)
    metadata = metadata_of(model)
    assert metadata is not None
    return store.library(model, metadata.states, target(cpu), path.name, say)


class TestLibraries:
    def test_are_compiled_once(self, cache: Path, net: Path) -> None:
        said: list[str] = []
        first, again = compile_net(net, said.append), compile_net(net, said.append)
        assert first.path == again.path and said == [f"compiling net.onnx for {target('native').name} (only the first time)"]
        other = compile_net(net, said.append, "generic")
        assert other.path != first.path or target("native") == target("generic")
        assert {file.suffix for file in cache.iterdir()} == {".so"}, "no lock is left"

    def test_damaged_ones_are_made_again(self, cache: Path, net: Path) -> None:
        path = compile_net(net).path
        data = path.read_bytes()
        path.unlink()  # a new file: this process has the old one loaded
        path.write_bytes(data[:-100])
        said: list[str] = []
        assert compile_net(net, said.append).path == path and len(said) == 1
        assert len(path.read_bytes()) == len(data)

    def test_processes_that_want_the_same_wait_for_each_other(self, cache: Path, net: Path, tmp_path: Path) -> None:
        compiled, go = tmp_path / "compiled", tmp_path / "go"
        slow = tmp_path / "slow_cc"
        wait = f"while [ ! -e {go} ] && kill -0 $PPID 2>/dev/null; do sleep 0.01; done"
        slow.write_text(f'#!/bin/sh\necho x >> {compiled}\n{wait}\nexec cc "$@"\n')
        slow.chmod(0o755)
        script = f"{TELLS_LOCKS}\nimport everyframe; everyframe.open({str(net)!r}, engine='native').stream()"
        environment = {**os.environ, "CC": str(slow)}
        with ExitStack() as stack:
            command = (sys.executable, "-c", script, tmp_path)
            running = [stack.enter_context(started(*command, env=environment)) for _ in range(3)]

            def all_want_it() -> bool:
                return len(list(tmp_path.glob("*.locks"))) == 3 or (compiled.exists() and compiled.read_text() != "x\n")

            until(all_want_it, *running)
            go.touch()
            said = [process.communicate() for process in running]
            assert [process.returncode for process in running] == [0, 0, 0], said
        assert compiled.read_text() == "x\n"
        assert [file.suffix for file in cache.iterdir()] == [".so"]

    def test_an_interrupted_compiler_leaves_nothing(self, cache: Path, net: Path, tmp_path: Path) -> None:
        """The compiler and its child run until they are killed, or see that nobody is left who could."""
        begun, ended = tmp_path / "begun", tmp_path / "ended"
        slow = tmp_path / "slow_cc"
        until_alone = f"while kill -0 $0; do sleep 0.05; done; echo > {ended}"
        slow.write_text(f"#!/bin/sh\nsh -c 'echo $$ > {begun}.part; mv {begun}.part {begun}; {until_alone}' $PPID 2>/dev/null\n")
        slow.chmod(0o755)
        script = f"import everyframe; everyframe.open({str(net)!r}, engine='native')"
        environment = {**os.environ, "CC": str(slow), "TMPDIR": str(tmp_path)}
        with started(sys.executable, "-c", script, env=environment) as process:
            until(begun.exists, process)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate()
        assert process.returncode != 0 and "KeyboardInterrupt" in said
        child = int(begun.read_text())
        until(lambda: gone(child))
        assert not ended.exists(), "it was killed"
        assert list(cache.iterdir()) == []
        assert not list(tmp_path.glob("everyframe-*")), "nor a folder of sources"

    def test_a_cache_that_cannot_be_written(self, net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").write_text("not a folder")
        monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path / "file"))
        with pytest.raises(OutputError, match=r"cache of compiled models(.|\n)*EVERYFRAME_CACHE"):
            everyframe.open(net, engine="native")


class TestTrim:
    def files(self, folder: Path, ages_days: dict[str, float]) -> None:
        folder.mkdir(parents=True)
        for name, age in ages_days.items():
            (folder / name).write_bytes(bytes(1000))
            os.utime(folder / name, (time.time() - age * 86400,) * 2)

    def left(self, folder: Path) -> set[str]:
        return {file.name for file in folder.iterdir()}

    def test_what_nobody_used_for_long_goes(self, cache: Path) -> None:
        self.files(cache, {"new.so": 1, "old.so": 31, "old.1.json": 31, ".old.so.unfinished": 31, "kept.so": 40})
        store.trim(cache, keep=cache / "kept.so")
        assert self.left(cache) == {"new.so", "kept.so"}

    def test_the_least_recently_used_go_above_the_limit(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EVERYFRAME_CACHE_GB", "2.5e-6")
        self.files(cache, {"a.so": 3, "b.so": 2, "c.so": 1, "kept.so": 9})
        store.trim(cache, keep=cache / "kept.so")
        assert self.left(cache) == {"c.so", "kept.so"}

    def test_use_counts(self, cache: Path, net: Path) -> None:
        path = compile_net(net).path
        os.utime(path, (0, 0))
        compile_net(net)
        assert path.stat().st_mtime > 0

    def test_a_library_that_runs_may_go(self, cache: Path, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with everyframe.open(net, engine="native") as program:
            run = program.start()
            monkeypatch.setenv("EVERYFRAME_CACHE_GB", "0")
            store.trim(cache, keep=cache / "other.so")
            assert self.left(cache) == set()
            assert np.isfinite(run.step(np.zeros((1, 1, 12, 16), np.float32))).all()
            assert np.isfinite(program.start().step(np.zeros((1, 1, 12, 16), np.float32))).all()


@pytest.mark.usefixtures("worth")
class TestAuto:
    def test_the_faster_one_is_remembered(self, cache: Path, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with everyframe.open(net) as program:
            assert "ms a step" in program.engine_reason
        (verdict,) = cache.glob("*.json")
        for ort, native, expected in ((1.0, 2.0, "ort"), (2.0, 1.0, "native"), (1.0, 0.99, "ort")):
            verdict.write_text(json.dumps({"ort_ms": ort, "native_ms": native}))
            monkeypatch.setattr(auto, "_race", lambda *_: pytest.fail("raced again"))
            with everyframe.open(net) as program:
                assert program.engine == expected
                assert program.engine_reason == {"ort": f"1 ms a step, native {native:.3g} ms",
                                                 "native": "1 ms a step, ort 2 ms"}[expected]  # fmt: skip

    def test_a_damaged_verdict_is_found_again(self, cache: Path, net: Path) -> None:
        everyframe.open(net)
        (verdict,) = cache.glob("*.json")
        for text in ("", "{}", "[1]", '{"ort_ms": "fast", "native_ms": 1}', "\0\1"):
            verdict.write_text(text)
            assert everyframe.open(net).engine in ("ort", "native")
            assert set(json.loads(verdict.read_text())) == {"ort_ms", "native_ms"}, text

    @pytest.mark.usefixtures("no_compiler")
    def test_without_a_compiler(self, cache: Path, net: Path) -> None:
        with everyframe.open(net) as program:
            assert program.engine == "ort"
            assert "no C compiler" in program.engine_reason and "pip install" in program.engine_reason
        with pytest.raises(EngineError, match=r"no C compiler(.|\n)*apt install gcc"):
            everyframe.open(net, engine="native")
        assert not cache.exists() or not list(cache.iterdir())

    def test_a_library_that_is_there_needs_no_compiler(
        self, cache: Path, net: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
    ) -> None:
        compile_net(net)
        request.getfixturevalue("no_compiler")
        assert "ms a step" in everyframe.open(net).engine_reason

    def test_with_a_cache_that_cannot_be_written(self, net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").write_text("not a folder")
        monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path / "file"))
        with everyframe.open(net) as program:
            assert program.engine == "ort" and "cannot be written" in program.engine_reason

    def test_what_cannot_be_compiled(self, cache: Path, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise everyframe.errors.UnsupportedOperator("Einsum cannot be compiled.")

        monkeypatch.setattr(store, "generate", refuse)
        with everyframe.open(net) as program:
            assert program.engine == "ort" and "Einsum cannot be compiled" in program.engine_reason

    def test_engines_that_disagree(self, cache: Path, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(auto, "AGREE", -1.0)
        with everyframe.open(net) as program:
            assert program.engine == "ort" and "disagree" in program.engine_reason
        assert not list(cache.glob("*.json"))


def test_small_models_are_not_compiled(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "WORTH_MS", float("inf"))
    with everyframe.open(BUILTIN) as program:
        assert program.engine == "ort" and "too little" in program.engine_reason
    assert not cache.exists()


def test_an_engine_that_was_asked_for_needs_no_reason(cache: Path) -> None:
    with everyframe.open("builtin", engine="reference") as program:
        assert (program.engine, program.engine_reason) == ("reference", "")
