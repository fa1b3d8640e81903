"""Published tables beside measured ones, and how cost grows: what is printed, from results made by hand. No time is asserted."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import everyframe as ef
import handmade
from everyframe.api import papers as making
from everyframe.benchmarking.altered import batched, kept
from everyframe.benchmarking.costs import costs, depth
from everyframe.benchmarking.outcome import Benchmark, Figures, Measured
from everyframe.benchmarking.papers import NAMES, Found, Variant, co3d, efficient, paper, rt3d, tsm
from everyframe.benchmarking.sweep import Sweep, fitted, picture, series, table
from everyframe.errors import UsageError
from everyframe.modelfile.session import run as run_once
from everyframe.models.cards.card import figures

MACHINE = {"cpu": "a processor", "cores": 2, "system": "Linux", "python": "3.11", "packages": {}, "date": "2026-01-01"}


def row(model: str, engine: str, ms: float, kind: str = "clip") -> Measured:
    made = Measured(
        model, engine, 1, 1, kind, turns=[ms] * 10, turns_cpu=[ms] * 10, calls_per_s=1e3 / ms, memory_peak=9, cpu_ms=ms
    )
    made.latency = Figures(ms, ms, ms, ms, ms, ms, 10)
    return made


@pytest.fixture(scope="module")
def cards() -> dict:
    return making.cards()


@pytest.fixture(params=NAMES)
def measured(request: pytest.FixtureRequest, cards: dict) -> Found:
    """Every variant of a paper on two engines: native 10 ms, steps 1 ms, OpenVINO twice that."""
    rows = []
    for variant in paper(request.param).variants:
        ms = 1.0 if variant.kind == "step" else 5.0 if variant.profile else 10.0
        rows += [row(variant.file, "native", ms, variant.kind), row(variant.file, "openvino", 2 * ms, variant.kind)]
    return Found(Benchmark(MACHINE, rows, table=request.param, cards=cards))


def test_tables_show_what_is_there(measured: Found, cards: dict) -> None:
    """With everything measured, with nothing, and never a row that is too short."""
    name = str(measured.benchmark.table)
    for found in (measured, Found(Benchmark({}, [], table=name, cards=cards)), Found(Benchmark({}, [], table=name))):
        for one in paper(name).tables(found):
            assert one.rows or not found.benchmark.rows or one.title.startswith("Stages of a frame"), one.title
            assert {len(line) for line in one.rows} <= {len(one.columns)}, one.title
            assert not [cell for line in one.rows for cell in line if re.search(r"\bNone\b|nan|inf\b", str(cell))], one.title
    for _, png in paper(name).pictures(measured).values():
        assert png.startswith(b"\x89PNG")


def test_ratios_of_continual_networks(cards: dict) -> None:
    """Table 7: ten times faster by the clip's time over the step's, where a step takes one frame; published beside it."""
    rows = [
        row(Variant(name, kind).file, "native", ms, kind)
        for name in ("x3d_m", "i3d_r50")
        for kind, ms in (("clip", 10.0), ("step", 1.0))
    ]
    lines = {line[0]: line for line in co3d.table7(Found(Benchmark(MACHINE, rows, cards=cards))).rows}
    assert lines["(Co)X3D-M"][1:5] == ["15.06x", "15.91x", "9.05x", "10.00x"]
    assert lines["(Co)I3D"][4] == "20.00x", "a step takes two frames"
    assert lines["(Co)Slow"][4] == "–"


def test_published_figures_agree_with_each_other() -> None:
    """Table 7 of Continual 3D CNNs follows from its table 1, and its table 4 adds up to what it prints."""
    by_name = {one.name: one for one in co3d.TABLE1}
    for clip, step, (_, _, flops, rates) in zip(("I3D-R50", "Slow-8x8-R50", "X3D-L", "X3D-M", "X3D-S"),
                                                ("CoI3D_8", "CoSlow_8", "CoX3D-L_16", "CoX3D-M_16", "CoX3D-S_13"), co3d.TABLE7,
                                                strict=True):  # fmt: skip
        assert by_name[clip].flops / by_name[step].flops == pytest.approx(flops, rel=0.01)
        for platform in range(4):
            found = [
                by_name[name].rates[platform] / by_name[clip].rates[platform]
                for name in by_name
                if name.startswith(step.rpartition("_")[0])
            ]
            assert any(one == pytest.approx(rates[platform], rel=0.04) for one in found), (clip, platform)
    assert sum(printed for _, _, printed, _ in co3d.TABLE4) == 4_771_632
    assert sum(formula for _, _, _, formula in co3d.TABLE4) == 5_279_664
    assert co3d.note_c().rows[0][4] == "4.71"


def test_the_zoo_is_as_published(cards: dict) -> None:
    """Parameters and MFLOPs of table 8 to the printed digits, where no reason for a difference is given; pruning rates as
    printed."""
    for one in efficient.TABLE8:
        card = cards[one.network]
        if one.name in efficient.WHY or one.name == "I3D":
            continue
        assert card["params"] / 1e6 == pytest.approx(one.params, abs=0.006), one.name
        assert card["paper_flops"] / 1e6 == pytest.approx(one.mflops, abs=1), one.name
    for _, _, profiles in rt3d.PROFILES:
        assert all(there == pytest.approx(printed, abs=0.03) for _, printed, there, _ in profiles)
    assert sum(tsm._floats(shape) for shape in tsm.BUFFERS) == 27_048


def test_a_card_shows_what_the_tables_show() -> None:
    """Published figures stand in both."""
    told = {name: {(one.what, one.on): one.value for one in known} for name, known in figures().items()}
    for row in efficient.TABLE8[:-1]:
        own = told[row.network]
        assert (own["MFLOPs", "16x112x112"], own["top-1", "Kinetics-600"]) == (row.mflops, row.kinetics), row.name
    for _, network, *published in efficient.TABLE7:
        own = {what: value for (what, _), value in told[network].items()}
        assert [own[what] for what in ("layers", "non-linearities", "skip connections")] == published, network


def test_a_network_that_the_paper_has_not() -> None:
    with pytest.raises(UsageError, match="no such network"):
        making.networks("co3d", ["c3d"])
    with pytest.raises(UsageError, match="no such table"):
        paper("other")


def test_an_interruption_keeps_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a network that cannot be made is a note, unless it is the only one."""

    def one(table: str, name: str, *_: object) -> Benchmark:
        if name == "x3d_xs":
            raise KeyboardInterrupt
        if name == "x3d_m":
            raise UsageError("It cannot be made.")
        return Benchmark(MACHINE, [row(f"{name}.clip.onnx", "ort", 1.0)])

    monkeypatch.setattr(making, "_measured", one)
    found = making.measure("co3d", ["x3d_s", "x3d_m", "x3d_xs", "x3d_l"], ["ort"], [], 1, None, print)
    assert found.partial
    assert [row.model for row in found.rows] == ["x3d_s.clip.onnx"]
    assert found.notes == ["x3d_m: It cannot be made."]
    with pytest.raises(UsageError, match="cannot be made"):
        making.measure("co3d", ["x3d_m"], ["ort"], [], 1, None, print)


def test_costs_of_a_file(tmp_path: Path) -> None:
    """Zeros cost nothing, a skip is a join of branches of unlike depth."""
    weight = np.ones((8, 8, 1, 3, 3), np.float32) * kept((8, 8, 1, 3, 3), (4, 4), 2.0, np.random.default_rng(0))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="first", pads=[0, 1, 1, 0, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="bend"),
        helper.make_node("Add", ["b", "x"], ["c"], name="skip"),
        helper.make_node("Concat", ["c", "c"], ["y"], name="no skip", axis=1),
    ]
    frames = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 8, 2, 4, 4))
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 16, 2, 4, 4))
    model = helper.make_model(
        helper.make_graph(nodes, "g", [frames], [answer], [onnx.numpy_helper.from_array(weight, "w")]),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
    )  # fmt: skip
    assert depth(model) == (1, 1, 1)
    onnx.save(model, tmp_path / "net.onnx")
    found = costs(tmp_path / "net.onnx")
    assert found["macs"] == 8 * 8 * 9 * 2 * 4 * 4 / 2
    assert found["rate"] == pytest.approx(2, abs=0.01)


class TestSweeps:
    @pytest.mark.parametrize(
        "text", ["", "size", "size=", "size=1", "size=2,2", "other=1,2", "size=1.5,2", "size=-1,2", "size=1,x", "size=1,inf"]
    )
    def test_what_is_no_sweep(self, text: str) -> None:
        with pytest.raises(UsageError):
            Sweep.parse(text)

    def test_the_exponent_of_a_known_power(self) -> None:
        rng = np.random.default_rng(0)
        found = fitted([1, 2, 4], [7 * value**1.5 * rng.normal(1, 0.02, 10) for value in (1, 2, 4)])
        assert found.power == pytest.approx(1.5, abs=0.05)
        assert found.low <= found.power <= found.high
        assert found.high - found.low < 0.2

    def test_what_is_shown(self) -> None:
        sweep = {"axis": "size", "values": {"n size 8.clip.onnx": 8.0, "n size 16.clip.onnx": 16.0}}
        rows = [row(name, "ort", value**2) for name, value in sweep["values"].items()]
        costs_ = {name: {"macs": value**3} for name, value in sweep["values"].items()}
        found = Benchmark(MACHINE, rows, costs=costs_, sweep=sweep)
        assert [*series(found)] == ["clip on ort"]
        assert table(found).notes == ["clip on ort: time grows as size^2.00 (2.00 to 2.00); multiply-adds as size^3.00"]
        assert picture(found)

    def test_streams_of_a_model(self, tmp_path: Path) -> None:
        handmade.brightness_step(tmp_path / "step.onnx")
        found = ef.benchmark(tmp_path / "step.onnx", engines=["ort"], frames=1, sweep="streams=1,2")
        assert [row[1] for row in found.tables()[0].rows] == ["1", "2"]
        assert "time grows as streams^" in found.tables()[0].notes[0]


def test_several_clips_at_once_answer_as_each_alone() -> None:
    """Whether 0 means 0 in a shape, as torch writes it where channels are shuffled, or what is there."""
    shapes = {"apart": (1, 2, 2, 3, 4, 4), "joined": (1, 4, 3, 4, 4)}
    nodes = [
        helper.make_node("Reshape", ["clip", "apart"], ["x"], allowzero=1),
        helper.make_node("Transpose", ["x"], ["turned"], perm=[0, 2, 1, 3, 4, 5]),
        helper.make_node("Reshape", ["turned", "joined"], ["y"], allowzero=1),
        helper.make_node("ReduceMean", ["y"], ["logits"], axes=[2, 3, 4], keepdims=0),
    ]
    weights = [handmade.tensor(name, shape, np.int64) for name, shape in shapes.items()]
    inputs, outputs = {"clip": (TensorProto.FLOAT, (1, 4, 3, 4, 4))}, {"logits": (TensorProto.FLOAT, (1, 4))}
    one = handmade.model(nodes, inputs, outputs, weights)
    clips = np.random.default_rng(0).random((5, 4, 3, 4, 4), np.float32)
    alone = [run_once(one, {"clip": clip[None]}, ["logits"])["logits"] for clip in clips]
    together = run_once(batched(one, 5), {"clip": clips}, ["logits"])["logits"]
    np.testing.assert_array_equal(together, np.concatenate(alone))
