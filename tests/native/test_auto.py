"""`auto` between all engines: the fastest of those that answer right, what is remembered, and what is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import everyframe
import handmade
from everyframe.errors import EngineError, OutputError
from everyframe.runtime import auto

pytest.importorskip("openvino")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(auto, "WORTH_MS", 0.0)
    return tmp_path / "cache" / "native"


@pytest.fixture
def net(tmp_path: Path, cache: Path) -> Path:
    return handmade.brightness_step(tmp_path / "net.onnx")


class TestVerdict:
    @pytest.mark.parametrize(("times", "engine"), [
        ({"ort": 1.0, "native": 0.98, "openvino": 0.975}, "ort"),
        ({"ort": 1.0, "native": 0.98, "openvino": 0.96}, "native"),
        ({"ort": 1.0, "native": 0.98, "openvino": 0.9}, "openvino"),
        ({"ort": 1.0, "openvino": 0.9}, "openvino"),
        ({"ort": 1.0, "native": 2.0}, "ort"),
    ])  # fmt: skip
    def test_what_is_as_good_as_equal_does_not_displace_the_simpler_engine(self, times: dict[str, float], engine: str) -> None:
        assert auto.Verdict(times).engine == engine

    def test_no_engine_is_chosen_that_is_3_percent_slower(self) -> None:
        rng = np.random.default_rng(0)
        for _ in range(1000):
            verdict = auto.Verdict(dict(zip(auto.RUNNERS, rng.uniform(0.9, 1.1, 3).tolist(), strict=True)))
            assert auto.MARGIN * verdict.times[verdict.engine] <= min(verdict.times.values())


def test_all_three_race_and_the_next_start_knows(cache: Path, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with everyframe.open(net) as program:
        assert all(name in program.engine_reason for name in {*auto.RUNNERS} - {program.engine})
    (verdict,) = cache.glob("*.json")
    assert set(json.loads(verdict.read_text())) == {"ort_ms", "native_ms", "openvino_ms"}
    verdict.write_text(json.dumps({"ort_ms": 3.0, "native_ms": 2.0, "openvino_ms": 1.0}))
    monkeypatch.setattr(auto, "_race", lambda *_: pytest.fail("raced again"))
    with everyframe.open(net) as program:
        assert (program.engine, program.engine_reason) == ("openvino", "1 ms a step, ort 3 ms, native 2 ms")


def test_what_openvino_cannot_load_races_without_it(cache: Path, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = auto.engines.load

    def refusing(name: str, *given: Any) -> auto.engines.Loaded:
        if name == "openvino":
            raise EngineError("OpenVINO cannot load the model.", got="some words of its own")
        return whole(name, *given)

    monkeypatch.setattr(auto.engines, "load", refusing)
    with everyframe.open(net) as program:
        assert program.engine in ("ort", "native") and "no openvino: " in program.engine_reason
        assert "some words of its own" in program.engine_reason
    (verdict,) = cache.glob("*.json")
    assert set(json.loads(verdict.read_text())) == {"ort_ms", "native_ms"}


def test_what_only_a_full_disk_kept_out_is_asked_again(cache: Path, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = auto.engines.load

    def full(name: str, *given: Any) -> auto.engines.Loaded:
        if name == "native":
            raise OutputError("The cache of compiled models cannot be written.", got="no space is left")
        return whole(name, *given)

    with monkeypatch.context() as patch:
        patch.setattr(auto.engines, "load", full)
        with everyframe.open(net) as program:
            assert program.engine in ("ort", "openvino") and "no space is left" in program.engine_reason
    assert not list(cache.glob("*.json"))


def test_without_a_compiler_the_other_two_race(cache: Path, net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And where there is a compiler later, all three do."""
    with monkeypatch.context() as patch:
        patch.setenv("CC", "no-such-compiler")
        with everyframe.open(net) as program:
            assert program.engine in ("ort", "openvino") and "no generated code: There is no C compiler" in program.engine_reason
        (without,) = cache.glob("*.json")
        assert set(json.loads(without.read_text())) == {"ort_ms", "openvino_ms"}
    everyframe.open(net).close()
    (verdict,) = {*cache.glob("*.json")} - {without}
    assert "native_ms" in json.loads(verdict.read_text())


class Says:
    """An engine's run that answers with one number."""

    def __init__(self, number: float) -> None:
        self.number, self.others = number, dict[str, np.ndarray]()

    def step(self, _: Any) -> np.ndarray:
        return np.full((1, 3), self.number, np.float32)


@pytest.fixture
def job(net: Path) -> Iterator[Any]:
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auto.engines, "load", lambda name, job, *_: seen.append(job) or pytest.skip("not loaded"))
        with pytest.raises(pytest.skip.Exception):
            everyframe.open(net, engine="auto")
    yield seen[0]


def test_who_answers_otherwise_is_out(job: Any) -> None:
    verdict, wrong = auto._race(Says(1.0), {"native": Says(1.0), "openvino": Says(1.1)}, np.zeros(1), job)
    assert set(verdict.times) == {"ort", "native"} and wrong == ["openvino and ONNX Runtime disagree in step 0 of noise"]
    verdict, wrong = auto._race(Says(1.0), {"native": Says(2.0)}, np.zeros(1), job)
    assert set(verdict.times) == {"ort"} and len(wrong) == 1
