"""The written file on the engines that run it, against exact arithmetic: a mistake is planted and named."""

from __future__ import annotations

import dataclasses
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everyframe.cli import main
from everyframe.errors import EngineError
from everyframe.quantization import engines as measured
from everyframe.quantization.engines import Ran, line, off, warnings
from everyframe.quantization.quantize import Quantized, quantize
from everyframe.runtime import Program, auto
from everyframe.runtime import engine as engines
from quantizing import write_folder

INSTALLED = ["ort", "native", *(["openvino"] if find_spec("openvino") else [])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("engines"))


def written(folder: Path, tmp_path: Path, names: list[str] | None = None, **options: Any) -> Quantized:
    return quantize(folder / "step.onnx", folder / "videos", tmp_path / "a.onnx", frames=60, engines=names, **options)


def test_every_engine_that_runs_it(folder: Path, tmp_path: Path) -> None:
    found = written(folder, tmp_path)
    ran = {each.engine: each for each in found.engines if not each.refused}
    assert list(ran) == INSTALLED
    assert all(each.steps == 60 and each.agreement >= 0.95 and each.distance < 0.05 for each in ran.values())
    assert ran["native"].distance < 1e-5 and ran["native"].agreement == 1
    assert not any("exact arithmetic" in text for text in found.warnings)
    assert [each["engine"] for each in found.to_dict()["engines"]] == list(measured.ENGINES)


def test_an_engine_that_answers_otherwise_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tenth answer of one is another engine's, turned round."""
    whole = engines.load

    class Spoilt:
        def __init__(self, session: Any) -> None:
            self.run, self.count = session.start(), 0

        def start(self) -> Any:
            return self

        def step(self, frames: np.ndarray) -> np.ndarray:
            self.count += 1
            answer: np.ndarray = self.run.step(frames)
            return -answer if self.count % 10 == 0 else answer

    def load(name: str, *given: Any) -> engines.Loaded:
        loaded = whole(name, *given)
        return engines.Loaded(Spoilt(loaded.session), name) if name == "ort" else loaded  # type: ignore[arg-type]

    monkeypatch.setattr(measured.engines, "load", load)
    found = written(folder, tmp_path, ["ort", "native"])
    (said,) = [text for text in found.warnings if "exact arithmetic" in text]
    assert said.startswith("ort answers otherwise than exact arithmetic in 10% of the steps")
    assert said.endswith("run this file with --engine native")
    assert [each.agreement for each in found.engines] == [0.9, 1.0]


def test_an_engine_that_does_not_run_it_is_in_the_figures_only(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str, *_: Any) -> None:
        raise EngineError(f"The engine {name} is not installed.")

    monkeypatch.setattr(measured.engines, "load", load)
    found = written(folder, tmp_path, ["native"])
    assert [each.refused for each in found.engines] == ["The engine native is not installed."]
    assert line(found.engines, "steps") == "" and found.warnings == ()


def test_nothing_is_run_where_nothing_is_written(folder: Path) -> None:
    assert quantize(folder / "step.onnx", folder / "one", frames=20).engines == ()


def test_the_margins() -> None:
    """Two labels and a twentieth of the steps, or more than rounding to integers itself moves the answers."""
    good = Ran("native", 90, 1.0, 0.001)
    for agreement, distance, wanted in (
        (0.989, 0.02, False), (0.96, 0.02, False), (0.94, 0.02, True), (1.0, 0.04, False), (1.0, 0.06, True), (1.0, np.nan, True),
    ):  # fmt: skip
        other = Ran("openvino", 90, agreement, distance)
        assert (other in off([good, other], noise=0.05)) == wanted, (agreement, distance)
    few = [Ran("native", 4, 1.0, 0.0), Ran("ort", 4, 0.75, 0.01)]
    assert off(few, 0.05) == [], "one step of four may be one in which two labels are as likely"
    assert off([Ran("native", refused="no compiler"), Ran("ort", 90, 0.5, 0.01)], 0.05) == [], "all that there are"
    (alone,) = warnings([Ran("ort", 90, 1.0, 0.5)], 0.05, "steps")
    assert alone.endswith("no engine here computes this file as it is")
    assert line([good], "steps") == "against exact arithmetic in 90 steps: native 100.0% of the labels, distance 0.10%"


def test_the_command_line_says_it(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["quantize", str(folder / "clip.onnx"), "--calibrate", str(folder / "one"), "--frames", "40"]
    with pytest.raises(SystemExit):
        main.run([*arguments, "-o", str(tmp_path / "a.onnx"), "--overflow-fix", "first", "--no-float-differences"])
    said = capsys.readouterr().out
    assert "against exact arithmetic in 5 clips: ort" in said and "; native 100.0% of the labels, distance 0.00%" in said
    bits = {line.split()[0]: line.split()[3] for line in said.splitlines() if line.split()[1:2] in (["Conv+Relu"], ["Gemm"])}
    assert bits["stem"].startswith("7") and bits["fc"] == "8"
    with pytest.raises(SystemExit):
        main.run([*arguments, "-o", str(tmp_path / "b.onnx"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert {"overflow_fix", "weight_bits", "differences", "engines"} <= set(found)


@pytest.mark.parametrize("spoilt", ["ort", "native"])
def test_auto_asks_exact_arithmetic_who_is_right(
    spoilt: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a quantized model that both engines answer otherwise by a hundredth."""
    written(folder, tmp_path, [], overflow_fix="none" if spoilt == "ort" else "all")
    whole = engines.load

    class Off:
        def __init__(self, session: Any) -> None:
            self.session = session

        def start(self) -> Any:
            run = self.session.start()
            step = run.step
            run.step = lambda frames: step(frames) * 1.01
            return run

    def load(name: str, *given: Any) -> engines.Loaded:
        loaded = whole(name, *given)
        return dataclasses.replace(loaded, session=Off(loaded.session)) if name == spoilt else loaded

    monkeypatch.setattr(auto.engines, "load", load)
    monkeypatch.setattr(auto, "WORTH_MS", 0.0)
    program = Program(tmp_path / "a.onnx")
    if spoilt == "ort":
        assert "ms a step" in program.engine_reason
    else:
        assert program.engine == "ort" and "disagree" in program.engine_reason
    program.close()
