"""Generated code for another processor, compiled into a program and run by qemu; for browsers, run by node."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest

from everyframe.errors import EngineError
from everyframe.modelfile.schema import StateSpec
from everyframe.native.build import write_sources
from everyframe.native.compilers import command
from everyframe.native.generate import BASE_FLAGS, generate
from everyframe.native.packed import Choose, by_default
from everyframe.native.target import TARGETS, WASM, runs_here, target
from everyframe.native.wasm import link_wasm

DRIVER = Path(__file__).with_name("driver.c")
#: processors that only an emulator has here
FOREIGN = [name for name in ("aarch64", "riscv64", "riscv64-v", "wasm32-simd128", "wasm32-relaxed") if not runs_here(name)]
#: what qemu must be told to emulate beside the machine's baseline
_EXTRA = {"riscv64-v": ("-cpu", "rv64,v=true,vext_spec=v1.0")}


def emulator(cpu: str) -> list[str]:
    """The words that run a program made for the processor. Skips the test where something is missing."""
    kind = TARGETS[cpu].machine
    if kind == WASM:
        return _node(cpu)
    found = shutil.which(f"qemu-{kind}-static") or shutil.which(f"qemu-{kind}")
    if found is None:
        pytest.skip(f"needs qemu-{kind} (on Debian: apt install qemu-user-static)")
    try:
        words = command(target(cpu))
    except EngineError as error:
        pytest.skip(f"{error.what} {error.hint}")
    return [found, *_EXTRA.get(cpu, ()), *([] if "ziglang" not in words else ["-L", f"/usr/{kind}-linux-gnu"])]


@cache
def node(*flags: str) -> list[str]:
    """The words that run a script. Skips the test where there is none, or none that knows the flags."""
    pytest.importorskip("ziglang", reason="needs the package ziglang: pip install 'everyframe[cross]'")
    found = shutil.which("node")
    if found is None:
        pytest.skip("needs node (on Debian: apt install nodejs)")
    if flags and subprocess.run([found, *flags, "-e", "0"], capture_output=True, check=False).returncode:
        pytest.skip(f"needs a node that knows {' '.join(flags)}")
    return [found, *flags]


def _node(cpu: str) -> list[str]:
    return [*node(*(["--experimental-wasm-relaxed-simd"] if cpu == "wasm32-relaxed" else [])), str(DRIVER.with_suffix(".mjs"))]


@dataclass
class Program:
    """A network as a program for another processor; see driver.c."""

    run_by: list[str]
    path: Path
    weights: Path
    classes: int

    def start(self, frames: np.ndarray, threads: int, weights: Path | None = None) -> subprocess.CompletedProcess[bytes]:
        video = self.path.with_suffix(".frames")
        frames.astype(np.float32).tofile(video)
        with video.open("rb") as given:
            return subprocess.run(
                [*self.run_by, str(self.path), str(threads), str(weights or self.weights)],
                stdin=given, capture_output=True, check=False,
            )  # fmt: skip

    def run(self, frames: np.ndarray, threads: int = 1) -> np.ndarray:
        """frames: (steps, …) -> logits (2, steps, classes): of the frames, and of the same again after a reset."""
        done = self.start(frames, threads)
        assert done.returncode == 0, done.stderr.decode()
        return np.frombuffer(done.stdout, np.float32).reshape(2, len(frames), self.classes)


def program(
    model: onnx.ModelProto, states: Sequence[StateSpec], cpu: str, folder: Path, flags: Sequence[str] = (),
    choose: Choose = by_default,
) -> Program:  # fmt: skip
    """Compiles it. flags: more of them. The whole path of the code: zig keeps objects by the names of what they include."""
    run_by = emulator(cpu)
    source, _, fitting = generate(model, states, target(cpu), where="net", stem="net", choose=choose)
    folder.mkdir(parents=True, exist_ok=True)
    write_sources(source, folder)
    made = Program(run_by, folder / cpu, folder / "net.weights", int(str(source.facts["classes"])))
    if fitting.machine == WASM:
        link_wasm(source, fitting, made.path, extra=flags)
        return made
    link = [] if "-L" in run_by else ["-static"]
    words = [*command(fitting), *BASE_FLAGS, *flags, *link, f'-DMODEL="{folder}/net.c"', str(DRIVER), "-o", cpu, "-lm",
             "-lpthread"]  # fmt: skip
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return made
