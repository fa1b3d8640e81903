"""A conversion that is wrong in one place is not written: the comparison with the clip network finds each kind of mistake.

Planted are those that real converters made: a tap that reads the frame before, a state that is not begun anew, padding on the
other side, weights that are taken for each other, a channel that is shifted the other way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import handmade
from everyframe.cli import main
from everyframe.conversion import stream
from everyframe.conversion.builder import Builder
from everyframe.conversion.emitter import Emitter
from everyframe.conversion.memory import Memory
from everyframe.conversion.rules.spatial import Spatial
from everyframe.devices.prove import prove_step
from everyframe.errors import ConversionMismatch


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two convolutions over time with bias, the second one padded on the left alone; then the mean of all frames."""
    rng = np.random.default_rng(3)
    weights = {"w1": (4, 2, 3, 3, 3), "b1": (4,), "w2": (4, 4, 3, 1, 1), "b2": (4,), "head": (4, 5)}
    conv = [
        helper.make_node("Conv", ["frames", "w1", "b1"], ["c1"], name="conv1", pads=[1, 1, 1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="conv2", pads=[2, 0, 0, 0, 0, 0]),
        helper.make_node("Relu", ["c2"], ["r2"], name="relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["mean"], name="mean"),
        helper.make_node("Flatten", ["mean"], ["flat"], name="flat"),
        helper.make_node("MatMul", ["flat", "head"], ["logits"], name="head"),
    ]
    made = handmade.model(
        conv,
        {"frames": (TensorProto.FLOAT, (1, 2, 8, 6, 6))},
        {"logits": (TensorProto.FLOAT, (1, 5))},
        [handmade.tensor(name, rng.normal(size=shape)) for name, shape in weights.items()],
    )
    path = tmp_path_factory.mktemp("clip") / "clip.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def _delayed(monkeypatch: pytest.MonkeyPatch) -> None:
    taps: Callable[..., list[str]] = Memory.taps

    def late(self: Memory, *args: Any, **more: Any) -> list[str]:
        found = taps(self, *args, **more)
        return [found[0], *found[:-1]]

    monkeypatch.setattr(Memory, "taps", late)


def _not_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came before the first frame is not taken out of the memory."""
    monkeypatch.setattr(Memory, "masked", lambda self, wire, fill: self.raw(wire))


def _padded_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    of = Spatial.of

    def other(node: Any, facts: Any) -> Spatial:
        found = of(node, facts)
        window = found.window
        return replace(found, window=replace(window, pad=(window.taps - 1) * window.dilation - window.pad))

    monkeypatch.setattr(Spatial, "of", other)


def _swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two channels of a convolution, as after a wrong transposition."""
    weight = Builder.weight

    def other(self: Builder, name: str) -> np.ndarray:
        found = weight(self, name)
        return found[[1, 0, *range(2, len(found))]] if found.ndim == 5 else found

    monkeypatch.setattr(Builder, "weight", other)


def _time_turned(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = Builder.weight
    monkeypatch.setattr(Builder, "weight", lambda self, name: w[:, :, ::-1] if (w := weight(self, name)).ndim == 5 else w)


def _slightly_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousandth of one weight of many: far below what a picture of predictions would show."""
    const = Emitter.const

    def other(self: Emitter, array: np.ndarray, name: str) -> str:
        if name.startswith("conv2") and name.endswith("weight"):
            array = array.copy()
            array.reshape(-1)[np.argmax(np.abs(array))] *= 1.001
        return const(self, array, name)

    monkeypatch.setattr(Emitter, "const", other)


#: of a file that cannot be made
EXIT = 2
PLANTED = (_delayed, _not_begun_anew, _padded_behind, _swapped, _time_turned, _slightly_off)


def test_without_a_mistake_it_is_written(clip: Path, tmp_path: Path) -> None:
    made = stream(str(clip), tmp_path / "step.onnx")
    assert made.difference is not None and made.difference < 1e-5 and (tmp_path / "step.onnx").exists()


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__.strip("_"))
def test_a_planted_mistake_is_found(
    clip: Path, tmp_path: Path, plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch,
    figure: Callable[[str], None], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """By Python and on the command line; and nothing is left behind."""
    plant(monkeypatch)
    with pytest.raises(ConversionMismatch, match="nothing was written") as caught:
        stream(str(clip), tmp_path / "step.onnx")
    figure(f"planted: {plant.__name__.strip('_').replace('_', ' ')}: off by {caught.value.got}, {caught.value.expected}")
    with pytest.raises(SystemExit) as done:
        main.run(["stream", str(clip), "-o", str(tmp_path / "step.onnx")])
    assert done.value.code == EXIT and "nothing was written" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_step_network_that_was_changed_afterwards_is_found(clip: Path) -> None:
    """By the comparison that `check --fix` makes: two weights of the file exchanged, and a tap that reads the frame before."""
    made = stream(str(clip), None)
    prove_step(made)
    good = made.step.SerializeToString()
    weight = max(
        (each for each in made.step.graph.initializer if each.data_type == TensorProto.FLOAT), key=lambda w: len(w.raw_data)
    )
    values = np.frombuffer(weight.raw_data, np.float32).copy()
    values[[0, 1]] = values[[1, 0]]
    weight.raw_data = values.tobytes()
    with pytest.raises(ConversionMismatch):
        prove_step(made)
    made.step.ParseFromString(good)
    frames = next(node for node in made.step.graph.node if node.op_type == "Concat" and len(node.input) == 3)
    frames.input[2] = frames.input[1]
    with pytest.raises(ConversionMismatch):
        prove_step(made)
