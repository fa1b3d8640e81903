"""Compiled models: what is refused, what is the same whatever the threads, and the C interface itself."""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import everyframe
import handmade
from everyframe.cli import main
from everyframe.errors import EngineError, EveryframeError, ModelError, StateError, UnsupportedOperator, UsageError
from everyframe.modelfile.file import load, save
from everyframe.native.blob import Blob, checksum
from everyframe.native.compile import Compiled, compile_model
from everyframe.native.compilers import compiler
from everyframe.native.library import Library
from everyframe.native.target import TARGETS, runs_here, target
from everyframe.runtime import BUILTIN
from helpers import built_in_size, relative
from native.operators import CPUS, Sketch
from running import at_once

HEIGHT, WIDTH = built_in_size()
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "c" / "predict.c"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def built(folder: Path) -> Compiled:
    """The built-in model as library and as sources."""
    return compile_model(BUILTIN, folder / "motions.so", emit_c=folder / "c")


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 1, 1, HEIGHT, WIDTH)).astype(np.float32)


class TestStreams:
    def test_a_library_is_a_model(self, built: Compiled) -> None:
        frames = noise(30)
        with everyframe.open(built.library) as compiled, everyframe.open("builtin", engine="ort") as plain:
            assert compiled.labels == plain.labels
            one, two = compiled.stream(), plain.stream()
            for frame in frames:
                got, expected = one.step(frame), two.step(frame)
                assert (got is None) == (expected is None)
                if got is not None and expected is not None:
                    assert relative(got.logits, expected.logits) <= 1e-5

    def test_a_thousand_frames_do_not_drift(self, built: Compiled) -> None:
        with everyframe.open("builtin", engine="native") as compiled, everyframe.open("builtin", engine="ort") as plain:
            one, two, worst = compiled.start(), plain.start(), 0.0
            for frame in noise(1000):
                worst = max(worst, relative(one.step(frame), two.step(frame)))
            assert worst <= 1e-5

    @pytest.mark.parametrize("cpu", CPUS)
    def test_threads_change_nothing(self, cpu: str, folder: Path) -> None:
        library = Library(compile_model(BUILTIN, folder / f"{cpu}.so", cpu=cpu).library or "")
        answers = []
        for threads in (1, 2, 4):
            stream = library.start(threads)
            answers.append([stream.step(frame) for frame in noise(12)])
            stream.close()
        np.testing.assert_array_equal(answers[0], answers[1])
        np.testing.assert_array_equal(answers[0], answers[2])

    def test_streams_at_once_do_not_mix(self, built: Compiled) -> None:
        library = Library(built.library or "")
        alone = {seed: [library.start(1).step(frame) for frame in noise(1, seed)] for seed in range(3)}

        def work(seed: int) -> list[list[np.ndarray]]:
            return [[library.start(2).step(frame) for frame in noise(1, seed)] for _ in range(20)]

        for seed, runs in enumerate(at_once(work, 3)):
            for run in runs:
                np.testing.assert_array_equal(run, alone[seed])

    def test_frames_of_another_shape_are_refused(self, built: Compiled) -> None:
        stream = Library(built.library or "").start(1)
        with pytest.raises(StateError, match=rf"\(1, 1, {HEIGHT}, {WIDTH}\)(.|\n)*\(1, 1, {HEIGHT}, {WIDTH - 1}\)"):
            stream.step(np.zeros((1, 1, HEIGHT, WIDTH - 1), np.float32))


class TestRefusals:
    @pytest.mark.parametrize("keep", [0.3, 0.999])
    def test_a_truncated_library(self, built: Compiled, tmp_path: Path, keep: float) -> None:
        data = Path(built.library or "").read_bytes()
        (tmp_path / "cut.so").write_bytes(data[: int(len(data) * keep)])
        with pytest.raises(ModelError, match="not a compiled model, or it is incomplete"):
            everyframe.open(tmp_path / "cut.so")

    def test_an_altered_library(self, built: Compiled, tmp_path: Path) -> None:
        data = bytearray(Path(built.library or "").read_bytes())
        data[len(data) // 2] ^= 1
        (tmp_path / "changed.so").write_bytes(data)
        with pytest.raises(ModelError, match="damaged"):
            everyframe.open(tmp_path / "changed.so")

    def test_a_foreign_library(self, tmp_path: Path) -> None:
        foreign = next(Path(np.__file__).parent.rglob("*.so"))
        shutil.copy(foreign, tmp_path / "foreign.so")
        with pytest.raises(ModelError, match="not a compiled model"):
            everyframe.open(tmp_path / "foreign.so")

    def test_another_engine_for_a_library(self, built: Compiled) -> None:
        with pytest.raises(UsageError, match="native engine only"):
            everyframe.open(built.library, engine="ort")

    @pytest.mark.parametrize(("told", "message"), [(1 << 60, "not enough memory"), (1000, "too little memory")])
    def test_memory_that_is_not_there(self, built: Compiled, told: int, message: str) -> None:
        """More than the machine has, and less than the code needs."""
        library = Library(built.library or "")
        library.facts["memory_bytes"] = told
        with pytest.raises(EngineError, match=message):
            library.start(1)

    def test_code_for_another_processor(self, built: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("everyframe.native.library.runs_here", lambda name: False)
        with pytest.raises(EngineError, match="another processor"):
            Library(built.library or "")

    def test_an_unknown_processor_is_named_with_those_that_exist(self) -> None:
        with pytest.raises(UsageError, match=r"native, generic(.|\n)*z80"):
            target("z80")

    def test_no_compiler(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("CC", raising=False)
        with pytest.raises(EngineError, match=r"no C compiler(.|\n)*apt install gcc"):
            compile_model(BUILTIN, tmp_path / "m.so")
        with pytest.raises(EngineError, match=r"--cpu riscv64-v(.|\n)*pip install ziglang"):
            compile_model(BUILTIN, tmp_path / "m.so", cpu="riscv64-v")
        monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path / "cache"))
        with pytest.raises(EngineError, match="no C compiler"):
            everyframe.open("builtin", engine="native")
        assert list(tmp_path.iterdir()) == []

    def test_a_compiler_that_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        broken = tmp_path / "bin" / "mycc"
        broken.parent.mkdir()
        broken.write_text("#!/bin/sh\necho 'out of order' >&2\nexit 1\n")
        broken.chmod(0o755)
        monkeypatch.setenv("CC", str(broken))
        with pytest.raises(EngineError, match=r"compiler failed(.|\n)*out of order"):
            compile_model(BUILTIN, tmp_path / "m.so", cpu="generic")
        assert not (tmp_path / "m.so").exists()

    def test_a_compiler_for_another_processor(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CC", "cc -DNOTHING")
        with pytest.raises(EngineError, match=r"compiler failed(.|\n)*this code is for riscv64"):
            compile_model(BUILTIN, tmp_path / "m.so", cpu="riscv64")

    def test_operators_that_are_not_known_are_named_before_anything_is_written(self, tmp_path: Path) -> None:
        handmade.conv_step(tmp_path / "net.onnx")
        model = load(tmp_path / "net.onnx")
        model.graph.node[3].op_type, model.graph.node[5].op_type = "Det", "NonZero"
        save(model, tmp_path / "odd.onnx")
        with pytest.raises(
            UnsupportedOperator, match=rf"Det cannot be compiled(.|\n)*node 4 of {len(model.graph.node)}(.|\n)*NonZero"
        ):
            compile_model(tmp_path / "odd.onnx", tmp_path / "odd.so", emit_c=tmp_path / "c")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "odd.onnx"]

    def test_open_sizes(self, tmp_path: Path) -> None:
        handmade.conv_step(tmp_path / "net.onnx")
        model = load(tmp_path / "net.onnx")
        frames = next(i for i in model.graph.input if i.name == "frames")
        frames.type.tensor_type.shape.dim[2].dim_param = "height"
        save(model, tmp_path / "open.onnx")
        with pytest.raises(ModelError, match=r"open sizes(.|\n)*height"):
            compile_model(tmp_path / "open.onnx", tmp_path / "open.so")

    def test_a_model_without_metadata(self, tmp_path: Path) -> None:
        sketch = Sketch((1, 3, 4, 4))
        sketch.answer("frames")
        save(sketch.model(), tmp_path / "bare.onnx")
        with pytest.raises(ModelError, match="everyframe stream"):
            compile_model(tmp_path / "bare.onnx", tmp_path / "bare.so")


class TestSource:
    def test_the_same_model_gives_the_same_c(self, built: Compiled, folder: Path, tmp_path: Path) -> None:
        compile_model(BUILTIN, emit_c=tmp_path)
        for name in ("motions.c", "motions.h", "motions.weights"):
            assert (tmp_path / name).read_bytes() == (folder / "c" / name).read_bytes()

    def test_it_calls_nothing_but_libc(self, built: Compiled) -> None:
        """No allocation and no input or output at run time."""
        if shutil.which("nm") is None:
            pytest.skip("needs nm")
        listed = subprocess.run(
            ["nm", "-D", "--undefined-only", str(built.library)], capture_output=True, text=True, check=True
        ).stdout
        called = {line.split()[-1].split("@")[0] for line in listed.splitlines()}
        assert "pthread_create" in called, "the list was read"
        assert not called & {"malloc", "calloc", "realloc", "free", "printf", "fopen", "fwrite", "puts", "exit", "abort"}

    def test_it_compiles_without_warnings(self, built: Compiled, folder: Path) -> None:
        for extra in ([], ["-DEF_NO_THREADS", "-DEF_STATIC_ARENA"]):
            done = subprocess.run(
                [*compiler(target("native")), *target("native").flags, "-O0", "-std=gnu11", "-Wall", "-Wextra",
                 "-Wno-unused-function", "-c", "motions.c", "-o", "/dev/null", *extra],
                cwd=folder / "c", capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0 and done.stderr == "", done.stderr

    @pytest.mark.parametrize("cpu", ["native", "aarch64", "riscv64", "riscv64-v"])
    def test_the_ziglang_package_is_a_compiler_for_all(self, cpu: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where nothing else is installed. What is compiled for this machine also runs."""
        pytest.importorskip("ziglang")
        monkeypatch.setattr("shutil.which", lambda name: None)
        assert "ziglang" in compiler(target(cpu))
        made = compile_model(BUILTIN, tmp_path / "m.so", cpu=cpu)
        assert made.difference is None or made.difference <= 1e-5
        assert (made.difference is None) == (not runs_here(target(cpu).name))
        machine = int.from_bytes((tmp_path / "m.so").read_bytes()[18:20], "little")  # of the ELF header
        assert machine == {"x86_64": 62, "aarch64": 183, "riscv64": 243}[target(cpu).machine]

    @pytest.mark.parametrize("cpu", CPUS)
    def test_sanitizers_find_nothing(self, cpu: str, tmp_path: Path) -> None:
        """Out-of-bounds reads, misaligned loads and undefined arithmetic end the program."""
        compile_model(BUILTIN, cpu=cpu, emit_c=tmp_path / "c")
        example = build_example(
            tmp_path, TARGETS[cpu].flags, "-g", "-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"
        )
        done = subprocess.run(
            [example], input=np.random.default_rng(0).bytes(20 * HEIGHT * WIDTH), capture_output=True, check=False
        )
        assert done.returncode == 0 and not done.stderr, done.stderr.decode()
        assert len(done.stdout.splitlines()) == 20

    def test_the_c_example_says_what_python_says(self, built: Compiled, folder: Path, tmp_path: Path) -> None:
        shutil.copytree(folder / "c", tmp_path / "c")
        pictures = np.random.default_rng(3).integers(0, 256, (40, HEIGHT, WIDTH, 1), np.uint8)
        example = build_example(tmp_path, target("native").flags)
        done = subprocess.run([example], input=pictures.tobytes(), capture_output=True, check=True)
        with everyframe.open("builtin", engine="ort") as program:
            stream = program.stream()
            scale = program.metadata.preprocess
            frames = (pictures.transpose(0, 3, 1, 2) * np.float32(scale.scale) - scale.mean[0]) / scale.std[0]
            expected = [stream.step(frame[None].astype(np.float32)) for frame in frames]
        labels = [f"{p.frame} {p.top[0].label}" for p in expected if p is not None]
        assert done.stdout.decode().splitlines() == labels


def build_example(folder: Path, flags: tuple[str, ...], *extra: str) -> Path:
    """examples/c/predict.c with the sources in folder/c."""
    command = [*compiler(target("generic")), *flags, "-std=gnu11", *extra, "-Ic",
               '-DEF_EMBED="c/motions.weights"', '-DMODEL="motions.c"', str(EXAMPLE), "-o", "predict", "-lm",
               "-lpthread"]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "predict"


class TestCommand:
    def test_json_says_what_was_made(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        main.register()
        main.app(["compile", "builtin", "--cpu", "generic", "--json"], standalone_mode=False)
        told = json.loads(capsys.readouterr().out)
        assert told["files"] == ["motions.so"] and (tmp_path / "motions.so").exists()
        assert told["cpu"] == "generic" and told["difference"] <= 1e-5 and told["weights_kept"] == 1.0
        assert sum(told["memory"]["bytes"].values()) <= told["memory_bytes"]

    def test_info_says_of_the_library_what_it_says_of_the_model(
        self, built: Compiled, capsys: pytest.CaptureFixture[str]
    ) -> None:
        main.register()
        found = []
        for file in (built.library, BUILTIN):
            main.app(["info", str(file), "--json"], standalone_mode=False)
            found.append(json.loads(capsys.readouterr().out))
        library, model = found
        assert library["memory"] == model["compiled"] == built.memory
        assert (library["kind"], library["classes"], library["memory_bytes"]) == ("step", 8, built.memory_bytes)
        main.app(["info", str(built.library)], standalone_mode=False)
        assert "weights and tables, shared" in capsys.readouterr().out

    def test_sources_alone_need_no_compiler(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
        made = compile_model(BUILTIN, cpu="aarch64", emit_c=tmp_path / "c")
        assert made.library is None and made.difference is None
        names = ["motions.c", "motions.h", "motions.weights", "tune.c", "tune.tables"]
        assert sorted(p.name for p in (tmp_path / "c").iterdir()) == names


class TestInterface:
    """The C functions, called as a C program would."""

    def start(self, built: Compiled, **change: object) -> int:
        library = Library(built.library or "")
        size = library.facts["memory_bytes"]
        raw = np.zeros(size + 128, np.uint8)
        base = raw.ctypes.data + -raw.ctypes.data % 64
        given = {"memory": base, "bytes": size, "weights": None, "weight_bytes": 0, "threads": 1} | change
        if given["memory"] == "odd":
            given["memory"] = base + 4
        handle = ctypes.c_void_p()
        code = library.code.ef_init(given["memory"], given["bytes"], given["weights"], given["weight_bytes"], given["threads"],
                                    ctypes.byref(handle))  # fmt: skip
        assert (code == 0) == bool(handle.value)
        return int(code)

    def test_errors_are_codes(self, built: Compiled) -> None:
        assert self.start(built) == 0
        assert self.start(built, memory=None) == -2
        assert self.start(built, bytes=1000) == -2
        assert self.start(built, memory="odd") == -1
        assert self.start(built, threads=0) == -1
        assert self.start(built, threads=1000) == -1

    def test_weights_are_checked(self, built: Compiled, folder: Path) -> None:
        data = np.fromfile(folder / "c" / "motions.weights", np.uint8)
        raw = np.zeros(data.size + 64, np.uint8)
        start = -raw.ctypes.data % 64
        weights = raw[start : start + data.size]
        weights[:] = data
        given = {"weights": weights.ctypes.data, "weight_bytes": weights.size}
        assert self.start(built, **given) == 0
        assert self.start(built, **given | {"weight_bytes": weights.size - 4}) == -3
        for place in (0, 8, 30, 1000):  # magic, format, model, a weight
            weights[place] ^= 1
            assert self.start(built, **given) == -3, place
            weights[place] ^= 1
        assert self.start(built, **given) == 0

    def test_null_pointers(self, built: Compiled) -> None:
        library = Library(built.library or "")
        assert library.code.ef_step(None, None, None) == -1
        assert library.code.ef_reset(None) == -1
        library.code.ef_free(None)


def test_the_checksum_sees_changes_and_swaps() -> None:
    words = np.arange(1, 100, dtype=np.uint32)
    swapped = words.copy()
    swapped[[3, 70]] = swapped[[70, 3]]
    changed = words.copy()
    changed[5] += 1
    assert len({checksum(words), checksum(swapped), checksum(changed)}) == 3


def test_an_array_is_stored_once() -> None:
    blob = Blob()
    assert blob.add(np.ones(5, np.float32)) == blob.add(np.ones(5, np.float32)) != blob.add(np.ones(5, np.int32))


def test_every_error_names_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(EveryframeError, match="try:"):
        everyframe.open(tmp_path / "text.so")
