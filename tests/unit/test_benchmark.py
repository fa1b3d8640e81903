"""`everyframe benchmark`: figures of contenders in processes of their own, intervals, reports. No time is asserted."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import everyframe as ef
import handmade
from everyframe import errors
from everyframe.benchmarking.compare import ratio
from everyframe.benchmarking.energy import Meter
from everyframe.benchmarking.noise import Watch
from everyframe.benchmarking.operators import BETWEEN, operators
from everyframe.benchmarking.outcome import Measured, called, read
from everyframe.benchmarking.tables import layer_table
from everyframe.cli import main
from everyframe.conversion.account import layer_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("benchmark")
    handmade.brightness_step(made / "step.onnx")
    handmade.brightness_clip(made / "clip.onnx")
    handmade.write_video(made / "video.mp4", 40)
    foreign(made / "foreign.onnx", (None, 3, 8, 8))
    return made


@pytest.fixture(scope="module")
def report(folder: Path) -> Any:
    models = [folder / name for name in ("step.onnx", "clip.onnx", "foreign.onnx")]
    return ef.benchmark(models, engines=["ort"], frames=12, strides=[1, 3], video=folder / "video.mp4")


def foreign(path: Path, shape: tuple[int | None, ...]) -> Path:
    """A network of others, without metadata, whose batch is open."""
    frames = helper.make_tensor_value_info("x", TensorProto.FLOAT, [size or "n" for size in shape])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [frames], [answer])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_what_is_measured(report: Any) -> None:
    step, clip, network = report.benchmark.rows
    assert [row.kind for row in report.benchmark.rows] == ["step", "clip", "network"]
    assert (step.frames, clip.frames, network.frames) == (1, 4, 1)
    for row in report.benchmark.rows:
        assert row.latency.calls >= 12
        assert len(row.turns) == len(row.turns_cpu) == 10
        assert row.latency.least <= row.latency.p5 <= row.latency.median <= row.latency.p95 <= row.latency.p99
        assert sum(row.histogram[1]) <= row.latency.calls
        assert row.memory_peak > row.memory_before > 0
        assert row.calls_per_s > 0
    assert clip.frames_per_s(3) == pytest.approx(3 * clip.calls_per_s)
    assert step.state == 3 * 12 * 16 * 4  # the frames before the newest one


def test_what_is_shown(report: Any) -> None:
    tables = {table.title: table for table in report.tables()}
    assert [str(cell) for row in tables["What a user gets, by the clock"].rows for cell in row if "frame" in str(cell)] == [
        "1 frame", "1 frame", "3 frames",
    ]  # fmt: skip
    stages = next(table for title, table in tables.items() if "stage by stage" in title)
    assert [row[0] for row in stages.rows] == ["step.onnx", "clip.onnx"]
    assert all(set(table.columns) for table in tables.values())


@pytest.mark.parametrize("engine", ["ort", "native", "openvino"])
def test_layers_have_the_networks_names(engine: str, tmp_path: Path) -> None:
    """Each engine's own words are gone, and what it tells is counted for layers of the clip network."""
    if engine == "openvino":
        pytest.importorskip("openvino")
    path = tmp_path / "step.onnx"
    handmade.conv_step(path)
    found = operators(path, engine, steps=3)
    names = {layer.name for layer in found.layers} - {BETWEEN}
    assert names
    layers = {layer_of(node.name or node.output[0]) for node in onnx.load(path).graph.node} | {"x"}  # whose state it is
    assert names <= layers
    assert sum(layer.ms for layer in found.layers) == pytest.approx(found.total)
    assert layer_table(found).rows


def test_files(report: Any, tmp_path: Path) -> None:
    again = read(report.save(tmp_path / "found.json"))
    assert again.to_dict() == json.loads(json.dumps(report.to_dict()))
    rows = list(csv.DictReader(report.save_csv(tmp_path / "found.csv").read_text().splitlines()))
    assert [row["model"].rpartition("/")[2] for row in rows] == ["step.onnx", "clip.onnx", "foreign.onnx"]
    assert float(rows[0]["median_ms"]) == report.benchmark.rows[0].latency.median
    page = report.save_page(tmp_path / "found.html").read_text()
    assert page.count("<img") == 6, "four of all, and memory by layer of the two that have weights or states"
    assert "http" not in page, "it needs no other file"


def test_a_result_is_no_faster_than_itself(report: Any, tmp_path: Path) -> None:
    path = report.save(tmp_path / "found.json")
    found = ef.compare_benchmarks(path, path)
    assert [one.verdict for one in found.changes] == ["no difference beyond noise"] * 3
    assert (found.alone, found.notes[: -len(report.benchmark.notes) * 2 or None]) == ([], [])


def test_a_result_that_is_twice_as_fast(report: Any, tmp_path: Path) -> None:
    values = report.to_dict()
    values["rows"][0].update(turns_cpu=[value / 2 for value in values["rows"][0]["turns_cpu"]], turns=[])
    values["rows"][1]["engine"] = "openvino"
    values["machine"] = {**values["machine"], "cpu": "another"}
    (tmp_path / "new.json").write_text(json.dumps(values))
    found = ef.compare_benchmarks(report.save(tmp_path / "old.json"), tmp_path / "new.json")
    assert found.changes[0].ratio.value == pytest.approx(2)
    assert len(found.alone) == 2
    assert found.notes[0].startswith("cpu differs")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "other"}', '{"format": "everyframe-benchmark-1", "rows": 3}'])
def test_files_that_are_no_results(text: str, tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text(text)
    with pytest.raises(errors.UsageError):
        ef.compare_benchmarks(tmp_path / "found.json", tmp_path / "found.json")


class TestRatios:
    """Of turns drawn from known distributions."""

    rng = np.random.default_rng(0)

    def test_noise_is_not_called_a_difference(self) -> None:
        wrong = sum(
            ratio(self.rng.normal(10, 1, 10), self.rng.normal(10, 1, 10), same_run=same).certain
            for same in (False, True)
            for _ in range(100)
        )
        assert wrong <= 30, "of 200: an interval of 95 %, from ten turns"

    def test_the_interval_holds_the_true_ratio(self) -> None:
        found = [ratio(self.rng.normal(20, 1, 10), self.rng.normal(10, 0.5, 10), same_run=False) for _ in range(100)]
        assert sum(one.low <= 2 <= one.high for one in found) >= 85
        assert all(one.certain for one in found)

    def test_a_slow_minute_that_hits_both_is_no_noise(self) -> None:
        slow = np.repeat([1.0, 4.0], 5)
        both = ratio(12 * slow, 10 * slow, same_run=True)
        assert (both.value, both.certain) == (pytest.approx(1.2), True)


def test_what_cannot_be_measured_says_why(folder: Path, tmp_path: Path) -> None:
    foreign(tmp_path / "open.onnx", (1, 3, None, None))
    found = ef.benchmark([folder / "step.onnx", tmp_path / "open.onnx"], engines=["ort"], frames=1)
    assert [bool(row.skipped) for row in found.benchmark.rows] == [False, True]
    assert "size of the network's input is open" in found.benchmark.rows[1].skipped
    assert "size" in found.save_page(tmp_path / "page.html").read_text()


def ended(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str]:
    """The exit code, and what was said on standard error."""
    with pytest.raises(SystemExit) as done:
        main.run(["benchmark", *arguments])
    return done.value.code, capsys.readouterr().err


def test_nothing_could_be_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foreign(tmp_path / "open.onnx", (1, 3, None, None))
    code, said = ended(capsys, str(tmp_path / "open.onnx"), "--engine", "ort")
    assert code == 1
    assert said.startswith("not measured: open.onnx on ort, 1 thread: The size")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--engine", "tensorflow"], "There is no such engine"),
        (["--threads", "two"], "not numbers"),
        (["--threads", "0"], "1 to 256"),
        (["--streams", "99999"], "1 to 256"),
        (["--json", "/no/such/folder/x.json"], "cannot be written"),
        (["--compare", "a.json", "b.json"], "compared"),
        (["--table", "co3d"], "no such network"),
        (["--sweep", "size=8"], "no sweep"),
        (["--sweep", "size=8,16"], "step.onnx"),
        (["--sweep", "streams=1,2", "--threads", "2"], "varies one thing"),
    ],
)
def test_wrong_options(options: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, message = ended(capsys, str(folder / "step.onnx"), *options)
    assert code == 2
    assert said in message


def test_more_threads_than_cores_are_warned_of(folder: Path) -> None:
    found = ef.benchmark(folder / "step.onnx", engines=["ort"], threads=[64], frames=1)
    assert any("64 threads share" in note for note in found.benchmark.notes)


def test_a_video_that_is_too_short_for_stages(folder: Path) -> None:
    """The network takes steps, and has not seen enough for two predictions."""
    late = handmade.brightness_step(folder / "late.onnx", feature_delay=39, delay=42, receptive_field=43)
    found = ef.benchmark(late, engines=["ort"], frames=1, video=folder / "video.mp4")
    assert not found.stages
    assert any("too short to be timed" in note for note in found.benchmark.notes)


def test_a_video_that_is_not_there_is_said_first(folder: Path) -> None:
    with pytest.raises(errors.SourceError):
        ef.benchmark(folder / "step.onnx", engines=["ort"], video=folder / "none.mp4")


def test_the_table_of_boards(folder: Path) -> None:
    found = ef.benchmark(folder / "clip.onnx", engines=["ort"], threads=[1, 2], frames=20, table="s100")
    (table,) = found.tables()
    assert list(table.columns[:5]) == ["threads", "frames", "total ms", "average ms", "FPS"]
    for row in table.rows:
        assert float(row[2]) == pytest.approx(20 * float(row[3]), abs=0.2)
    assert [row[0] for row in table.rows] == [1, 2]


def test_an_interruption_shows_what_there_is(folder: Path) -> None:
    """Ctrl-C in the third turn, which comes while the second contender has its own."""

    def tell(text: str) -> None:
        if text.startswith("turn 3 of 10: clip"):
            raise KeyboardInterrupt

    found = ef.benchmark([folder / "step.onnx", folder / "clip.onnx"], engines=["ort"], frames=1, progress=tell).benchmark
    assert found.partial
    assert [len(row.turns) for row in found.rows] == [3, 2]
    assert all(row.latency is not None for row in found.rows)


class TestWhatTheMachineTells:
    def test_energy_of_processors(self, tmp_path: Path) -> None:
        """Packages count, not their parts, and a counter that began again."""
        for name, before in (("intel-rapl:0", 900), ("intel-rapl:1", 100), ("intel-rapl:0:0", 5)):
            (tmp_path / "powercap" / name).mkdir(parents=True)
            (tmp_path / "powercap" / name / "energy_uj").write_text(f"{before}\n")
            (tmp_path / "powercap" / name / "max_energy_range_uj").write_text("1000\n")
        meter = Meter(tmp_path)
        meter.start()
        (tmp_path / "powercap/intel-rapl:0/energy_uj").write_text("50")
        (tmp_path / "powercap/intel-rapl:1/energy_uj").write_text("300")
        assert (meter.source, meter.joules()) == ("RAPL", pytest.approx((150 + 200) / 1e6))

    def test_energy_of_boards(self, tmp_path: Path) -> None:
        (tmp_path / "hwmon/hwmon0").mkdir(parents=True)
        (tmp_path / "hwmon/hwmon0/power1_input").write_text("2000000")  # microwatts
        times = iter((10.0, 13.0))
        meter = Meter(tmp_path, lambda: next(times))
        meter.start()
        (tmp_path / "hwmon/hwmon0/power1_input").write_text("4000000")
        assert (meter.source, meter.joules()) == ("power sensors", pytest.approx(9.0))

    def test_no_energy(self, tmp_path: Path) -> None:
        meter = Meter(tmp_path)
        meter.start()
        assert (meter.source, meter.joules()) == (None, None)

    def test_a_machine_with_other_work(self, tmp_path: Path) -> None:
        stat = tmp_path / "stat"
        stat.write_text("cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 2\n")
        watch = Watch(2, stat, tmp_path)
        stat.write_text("cpu  5100 0 100 5800 0 0 0 0 0 0\ncpu0 1 2\n")
        assert "other work had" in watch.warnings()[0]
        assert watch.others == pytest.approx(0.5, abs=0.05)

    def test_a_hot_and_slow_one(self, tmp_path: Path) -> None:
        (tmp_path / "cpu0/thermal_throttle").mkdir(parents=True)
        (tmp_path / "cpu0/cpufreq").mkdir()
        count = tmp_path / "cpu0/thermal_throttle/package_throttle_count"
        count.write_text("3")
        (tmp_path / "cpu0/cpufreq/scaling_cur_freq").write_text("1000")
        (tmp_path / "cpu0/cpufreq/cpuinfo_max_freq").write_text("2000")
        watch = Watch(1, tmp_path / "none", tmp_path)
        count.write_text("4")
        hot, slow = watch.warnings()
        assert "throttled" in hot
        assert "50%" in slow


def test_a_contender_that_dies_is_told() -> None:
    """Its last words, and nobody else ends with it."""
    from everyframe.benchmarking.contest import _started

    with _started() as process:
        process._child.kill()
        row = Measured("m", "ort", 1, 1)
        assert process._ask({}, row) is None
    assert row.skipped == "ended by SIGKILL"


@pytest.mark.parametrize(
    ("models", "names"),
    [
        (["runs/a/step.onnx", "builtin"], ["step.onnx", "builtin"]),
        (["runs/a/step.onnx", "/b/step.onnx", "builtin"], ["a/step.onnx", "b/step.onnx", "builtin"]),
        (["x/a/s.onnx", "y/a/s.onnx", "y/b/s.onnx"], ["x/a/s.onnx", "y/a/s.onnx", "y/b/s.onnx"]),
    ],
)
def test_files_that_are_called_alike_are_told_apart(models: list[str], names: list[str]) -> None:
    assert list(called(models).values()) == names
    assert Measured(models[0], "ort", 1, 1).called == Path(models[0]).name
