"""Code for other processors, run by qemu: operators, networks, resets, threads, and weights that are refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import handmade
from engines.test_halves import SIZE, before, half_of, numbers
from everyframe.conversion import convert
from everyframe.conversion.half import MOST
from everyframe.modelfile.file import load, metadata_of
from everyframe.modelfile.session import session
from everyframe.runtime import BUILTIN
from helpers import built_in_size, relative
from native import test_operators, test_operators_by_value, test_planar
from native.emulated import FOREIGN, Program, program
from native.operators import Sketch, reference

CLOSE = 1e-5


def stream_of(model: onnx.ModelProto, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames of noise, one row a step, and what onnxruntime says of them."""
    metadata = metadata_of(model)
    assert metadata is not None
    plain = session(model, optimize=False)
    held = {spec.input: np.full(spec.shape, spec.fill, spec.dtype) for spec in metadata.states}
    (frames,) = [value for value in plain.get_inputs() if value.name not in held]
    video = np.random.default_rng(0).standard_normal((steps, *frames.shape), np.float32)
    answers = []
    for step in video:
        logits, *new = plain.run(["logits", *(spec.output for spec in metadata.states)], {frames.name: step, **held})
        held = {spec.input: value for spec, value in zip(metadata.states, new, strict=True)}
        answers.append(np.asarray(logits).ravel())
    return video, np.stack(answers)


def built(model: onnx.ModelProto, cpu: str, folder: Path, *flags: str) -> Program:
    metadata = metadata_of(model)
    assert metadata is not None
    return program(model, metadata.states, cpu, folder, flags or ("-O1",))


def agrees(model: onnx.ModelProto, cpu: str, folder: Path, steps: int, threads: int = 2, *flags: str) -> Program:
    made = built(model, cpu, folder, *flags)
    video, expected = stream_of(model, steps)
    first, again = made.run(video, threads)
    assert relative(first, expected) <= CLOSE
    np.testing.assert_array_equal(again, first, "after a reset")
    return made


@pytest.mark.slow
@pytest.mark.parametrize("cpu", FOREIGN)
def test_the_built_in_model(cpu: str, tmp_path: Path) -> None:
    """As it is compiled for users, with all optimizations; with threads and without; with damaged weights."""
    made = agrees(load(BUILTIN), cpu, tmp_path, 4, 1, "-DNDEBUG")
    video = np.random.default_rng(0).standard_normal((2, 1, 1, *built_in_size()))
    np.testing.assert_array_equal(made.run(video, threads=3), made.run(video, threads=1))
    data = made.weights.read_bytes()
    for damaged in (data[:-64], data[:1000] + bytes([data[1000] ^ 1]) + data[1001:], b"X" + data[1:]):
        (tmp_path / "damaged").write_bytes(damaged)
        done = made.start(np.zeros(0), 1, tmp_path / "damaged")
        assert (done.returncode, done.stdout) == (3, b"")


@pytest.mark.parametrize("cpu", FOREIGN)
@pytest.mark.parametrize("form", ["ring", "slots"])
def test_states_over_many_steps(form: str, cpu: str, tmp_path: Path) -> None:
    handmade.conv_step(tmp_path / "net.onnx", form=form, taps=6, fill=-3.0, counter=True, hop=2 if form == "ring" else 1)
    agrees(load(tmp_path / "net.onnx"), cpu, tmp_path, 30)


@pytest.mark.parametrize("cpu", FOREIGN)
def test_states_of_halves(cpu: str, tmp_path: Path) -> None:
    """Numbers of every size are rounded as numpy does."""
    made = built(half_of(before()), cpu, tmp_path)
    given = numbers(3 * SIZE[0] * SIZE[1]).reshape(1, 1, 3, *SIZE)
    found, _ = made.run(np.concatenate([given, np.zeros_like(given)]), 1)
    np.testing.assert_array_equal(found[1], np.clip(given.ravel(), -MOST, MOST).astype(np.float16))


@pytest.mark.slow
@pytest.mark.parametrize("cpu", [cpu for cpu in FOREIGN if cpu != "riscv64"])
def test_networks_of_the_zoo(cpu: str, tmp_path: Path, zoo_clip: Callable[..., onnx.ModelProto]) -> None:
    """Depthwise convolutions, squeeze-and-excite and pruned weights; and several frames a step."""
    from native.test_compiled_zoo import Case, clip_model

    pruned, hop = (convert(clip_model(Case(*case, 32), zoo_clip)).step for case in (("x3d_s", 13), ("mobilenet3d_v2_0.2x", 16)))
    assert prune(pruned) > 50
    agrees(pruned, cpu, tmp_path / "pruned", 3)
    agrees(hop, cpu, tmp_path / "hop", 2)


def prune(model: onnx.ModelProto) -> int:
    """Half of the input channels of every group of 16 filters become zero. Returns how many weights were changed."""
    rng, changed = np.random.default_rng(0), 0
    for tensor in model.graph.initializer:
        weight = numpy_helper.to_array(tensor).copy()
        if weight.ndim == 4 and min(weight.shape[:2]) >= 16:
            for first in range(0, len(weight), 16):
                weight[first : first + 16, rng.random(weight.shape[1]) < 0.5] = 0
            tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
            changed += 1
    return changed


#: scalar code is that of `generic`, which test_operators runs
EVERY = (*test_operators.ALL, *test_operators_by_value.ALL, test_planar.test_planes_say_what_onnxruntime_says)
OPERATORS = [(cpu, test) for cpu in ("aarch64", "riscv64-v") for test in EVERY] + [
    (cpu, test)
    for cpu in ("riscv64", "wasm32-simd128", "wasm32-relaxed")
    for test in (test_operators.test_elementwise, test_operators.test_convolutions_over_time)
]


@pytest.mark.slow
@pytest.mark.parametrize(("cpu", "test"), OPERATORS, ids=lambda given: getattr(given, "__name__", given))
def test_operators_elsewhere(
    cpu: str, test: Callable[[str, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every value of every operator, as in test_operators and as it ships."""
    if cpu not in FOREIGN:
        pytest.skip("test_operators runs it")

    def distance(sketch: Sketch, folder: Path, cpu: str, change: Callable[[np.ndarray], np.ndarray] = lambda x: x) -> float:
        frames = change(np.random.default_rng(1).standard_normal(sketch.shape, np.float32))
        model = sketch.model()
        return relative(program(model, (), cpu, folder).run(frames[None], threads=2)[0], reference(model, frames))

    monkeypatch.setattr(sys.modules[test.__module__], "distance", distance)
    test(cpu, tmp_path)
