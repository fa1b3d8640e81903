"""Choices that were measured: the program that measures, its table, and what becomes of a row."""

from __future__ import annotations

import fcntl
import json
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everyframe.errors import ModelError, OutputError, UsageError
from everyframe.native.build import link
from everyframe.native.choice import Choice, Geometry, default, space
from everyframe.native.compile import compile_model
from everyframe.native.compilers import command
from everyframe.native.emit import Source
from everyframe.native.generate import BASE_FLAGS, generate, untransformed
from everyframe.native.library import Library
from everyframe.native.locks import alone
from everyframe.native.pack import Packer
from everyframe.native.processor import Processor, here
from everyframe.native.target import Target, runs_here, target
from everyframe.native.tune import measure, program
from everyframe.native.tuned import SHIPPED, Tables, add, own_table, parse, read, shape, write
from everyframe.runtime import BUILTIN
from native.emulated import FOREIGN, emulator
from native.emulated import program as emulated
from native.operators import CPUS, QUICK, Sketch, reference
from native.test_int8 import Quantized

VECTORS = [name for name in CPUS if name not in ("generic", "x86-64-v3")]


def network() -> Sketch:
    """Convolutions: with zeros, dense in space and time (which Winograd's transforms are for), and of single positions."""
    sketch = Sketch((1, 16, 3, 9, 8))
    for kernel, kept in (((3, 3, 3), 0.4), ((1, 3, 3), 1.0), ((1, 1, 1), 1.0)):
        mask = np.repeat(sketch.rng.random((3, 16, *kernel)) < kept, 16, 0)
        weight = sketch.constant(sketch.rng.standard_normal((48, 16, *kernel)) * mask)
        sketch.answer(sketch.op("Conv", "frames", weight, sketch.normal(48), pads=[k // 2 for k in kernel] * 2))
    return sketch


def generated(sketch: Sketch, cpu: str, choose: Tables | None = None) -> tuple[Source, Target]:
    source, _, fitting = generate(sketch.model(), (), target(cpu), where="sketch", choose=choose or Tables())
    return source, fitting


def packed(sketch: Sketch, cpu: str) -> Packer:
    return untransformed(sketch.model(), (), target(cpu), "sketch")


def sparse(source: Source) -> Geometry:
    return next(layer.geometry for layer in source.layers if layer.geometry and layer.geometry.kept < 99)


@pytest.fixture(scope="module")
def row() -> str:
    """A line of the table, of the convolution with zeros."""
    source, fitting = generated(network(), "x86-64-v3")
    geometry = sparse(source)
    facts = {
        "isa": "x86-64-v3", "vector": fitting.block, "processor": here().name, "caches_kb": here().caches,
        "shape": shape(geometry),
        "kept": geometry.kept, "frames": geometry.frames, "ms": 2.0, "default_ms": 3.0, "date": "2026-11-29",
        "choice": {"slice": 7, "block": 14, "fetch": 0, "tallest": 1, "longest": 3, "tile": 0},
    }  # fmt: skip
    return json.dumps(facts)


@pytest.mark.parametrize("cpu", VECTORS)
def test_the_program_measures_every_convolution_and_its_rows_are_taken(cpu: str, tmp_path: Path) -> None:
    sketch = network()
    source, fitting = generated(sketch, cpu)
    made = program(packed(sketch, cpu))
    assert made is not None and made.cases == 3
    rows = list(measure(made, replace(fitting, flags=(*fitting.flags, *QUICK)), 2.0, lambda _: None))
    geometries = {shape(layer.geometry): layer.geometry for layer in source.layers if layer.geometry}
    assert {row.shape for row in rows} == {*geometries}
    for row in rows:
        assert row.processor == here() and row.facts["rounds"] >= 5
        assert row.choice.numbers in [choice.numbers for choice in space(fitting, geometries[row.shape])]
        assert row.facts["ms"] > 0
    write(rows, tmp_path / "table.jsonl")
    assert [row.facts for row in read(tmp_path / "table.jsonl")] == [row.facts for row in sorted(rows, key=lambda row: row.shape)]
    again, _ = generated(sketch, cpu, Tables(rows))
    assert all(layer.choice and layer.choice.why.startswith("measured on") for layer in again.layers)
    assert "measured on" in again.text
    assert program(packed(sketch, cpu), lambda _target, geometry: shape(geometry) in {row.shape for row in rows}) is None


def test_a_choice_that_gives_other_results_is_never_taken() -> None:
    """The default's answer is changed in one place before others are compared with it: all others lose."""
    sketch, cpu = network(), VECTORS[-1]
    _, fitting = generated(sketch, cpu)
    made = program(packed(sketch, cpu))
    assert made is not None
    first = "once(b, c, &c->candidates[0], 1, 1);"
    assert first in made.text
    wrong = replace(made, text=made.text.replace(first, f"{first} b->out[0][c->out_origin]++;"))
    said: list[str] = []
    rows = list(measure(wrong, replace(fitting, flags=(*fitting.flags, *QUICK)), 1.0, said.append))
    assert rows and all(row.facts["ms"] == row.facts["default_ms"] for row in rows)
    assert any("gave other results" in line for line in said)


def test_bytes_are_measured_too() -> None:
    sketch = Quantized((1, 16, 9, 8))
    made = sketch.op("Conv", sketch.grid("frames", 0.03, 128), sketch.random_weight(40, 16, 3, 3), pads=[1] * 4)
    sketch.steps(sketch.grid(made, 0.05, 100), 0.05)
    _, fitting = generated(sketch, VECTORS[-1])
    program_of = program(packed(sketch, VECTORS[-1]))
    assert program_of is not None
    assert 'tile\\": 4' in program_of.text, "transformed frames are a choice"
    said: list[str] = []
    (row,) = measure(program_of, replace(fitting, flags=(*fitting.flags, *QUICK)), 1.0, said.append)
    assert row.shape.endswith("int8") and row.isa == fitting.name and row.approximate is None
    assert not any("gave other results" in line for line in said)


@pytest.mark.skipif("aarch64" not in FOREIGN, reason="needs another processor than NEON's")
def test_a_board_measures_and_its_file_is_taken(tmp_path: Path) -> None:
    """The program under an emulator, its file handed to `--table`: the choices change, the answers do not."""
    cpu, sketch = "aarch64", network()
    run_by = emulator(cpu)
    _, fitting = generated(sketch, cpu)
    made = program(packed(sketch, cpu))
    assert made is not None
    for name, data in made.files().items():
        (tmp_path / name).write_bytes(data)
    words = [*command(fitting), *BASE_FLAGS, *QUICK, "-static", "-Wall", "-Werror", "-Wno-unused-function"]
    subprocess.run([*words, "-o", "tune", "tune.c", "-lm"], cwd=tmp_path, check=True)
    subprocess.run([*run_by, "./tune", "2"], cwd=tmp_path, check=True)
    rows = read(tmp_path / "tune.jsonl")
    assert rows and all(row.isa == cpu for row in rows)
    # an emulator's times say nothing, so what is taken are choices that are not the defaults
    told = [row.facts | {"choice": {**row.facts["choice"], "slice": 48, "fetch": 0, "tallest": 1}} for row in rows]
    board = Tables([parse(json.dumps(facts), "board") for facts in told])
    video = np.random.default_rng(1).standard_normal((1, *sketch.shape), np.float32)
    answers = []
    for choose in (Tables(), board):
        running = emulated(sketch.model(), (), cpu, tmp_path / str(len(answers)), QUICK, choose=choose)
        answers.append(running.run(video)[0])
        text = (tmp_path / str(len(answers) - 1) / "net.c").read_text()
        assert ("slices of 48" in text) == (choose is board)
    np.testing.assert_allclose(answers[1], answers[0], rtol=1e-5, atol=1e-5 * float(np.abs(answers[0]).max()))


def test_a_row_counts_where_it_was_measured_and_near_it(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sketch = network()
    source, fitting = generated(sketch, "x86-64-v3")
    geometry, own = sparse(source), parse(row, "test")
    tables, name = Tables(others=[own]), "everyframe.native.tuned.here"
    usual = default(fitting, geometry)

    def chosen(processor: Processor) -> Choice:
        monkeypatch.setattr(name, lambda: processor)
        return tables(fitting, geometry, "conv")

    there = own.processor
    assert chosen(there).numbers == (7, 14, 0, 1, 3, 0, 32)
    assert chosen(replace(there, name="its sister")).numbers == (7, 14, 0, 1, 3, 0, 32)
    first, second, third = there.caches
    assert chosen(Processor("far away", (first, second * 8, third))) == usual
    assert chosen(Processor("unknown", (0, 0, 0))) == usual
    assert Tables([own])(fitting, geometry, "conv").numbers == (7, 14, 0, 1, 3, 0, 32), (
        "a table that the user names counts anywhere"
    )
    monkeypatch.setattr(name, lambda: there)
    assert tables(fitting, replace(geometry, kept=100), "conv") == default(fitting, replace(geometry, kept=100))
    assert tables(fitting, replace(geometry, kept=geometry.kept + 3, frames=9), "conv").numbers == (7, 14, 0, 1, 3, 0, 32)
    assert tables(fitting, replace(geometry, width=geometry.width + 1), "conv").why == "default"


def test_what_was_measured_makes_libraries_anew_that_it_changes(
    row: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And no others; rows that cannot be read stop nobody."""
    monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path))
    wanted = target("x86-64-v3")
    tables = Tables.found()
    generated(network(), wanted.name, tables)
    told = json.loads(json.dumps(tables.told(wanted)))
    assert len(told["asked"]) == 3 and Tables.would_tell(told, wanted)
    own_table().parent.mkdir()
    facts = json.loads(row)
    for text, same in (
        (row, False),
        (json.dumps(facts | {"shape": facts["shape"].replace("9x8", "9x9")}), True),
        (json.dumps(facts | {"caches_kb": [1 << 20] * 3}), True),
        ("of another version\n", True),
    ):
        own_table().write_text(text)
        assert Tables.would_tell(told, wanted) == same, text


@pytest.mark.parametrize(
    ("change", "said"),
    [({"ms": None}, "NoneType"), ({"choice": {"slice": 1}}, "block"), ({"caches_kb": [1]}, "three"), ({"kept": "many"}, "many")],
)
def test_rows_that_cannot_be_read_are_named(row: str, change: dict, said: str, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("# measured\n\n" + json.dumps(json.loads(row) | change) + "\n")
    with pytest.raises(UsageError) as caught:
        read(tmp_path / "t.jsonl")
    assert "line 3" in str(caught.value) and said in str(caught.value)
    (tmp_path / "t.jsonl").write_text("no table\n")
    with pytest.raises(UsageError):
        read(tmp_path / "t.jsonl")
    with pytest.raises(ModelError):
        read(tmp_path / "none.jsonl")


@pytest.mark.skipif(not runs_here("x86-64-v3"), reason="needs AVX2")
@pytest.mark.parametrize(("change", "said"), [({"tallest": 5}, "tallest"), ({"bits": 20}, "bits 16, 32"), ({"tile": 3}, "tile")])
def test_impossible_rows_are_refused(row: str, change: dict[str, int], said: str) -> None:
    choice = {"slice": 7, "block": 14, "fetch": 0, "tallest": 0, "longest": 0, "tile": 0} | change
    with pytest.raises(UsageError) as caught:
        generated(network(), "x86-64-v3", Tables([parse(json.dumps(json.loads(row) | {"choice": choice}), "test")]))
    assert said in str(caught.value)


def test_a_table_that_cannot_be_written_any_more_is_named(row: str, tmp_path: Path) -> None:
    table = tmp_path / "gone" / "rows.jsonl"
    (tmp_path / "gone").write_text("a file where its folder was")
    with pytest.raises(OutputError) as caught:
        add([parse(row, "here")], table)
    assert str(table) in str(caught.value) and "table" in str(caught.value) and "cache" not in str(caught.value).lower()


def test_tuning_is_kept_and_not_repeated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path / "cache"))
    table = tmp_path / "table.jsonl"
    first = compile_model(BUILTIN, emit_c=tmp_path, tune=0.5, table=table)
    assert first.rows and first.table == table
    lines = table.read_text().splitlines()
    second = compile_model(BUILTIN, emit_c=tmp_path, table=table)
    assert second.chosen == first.chosen and not second.rows
    assert table.read_text().splitlines() == lines
    plain = compile_model(BUILTIN, emit_c=tmp_path, tables=False)
    assert all(choice.why == "default" for _, choice in plain.chosen)


def test_the_same_c_everywhere_without_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    texts = []
    for name, processor in (("one", here()), ("two", Processor("another", (32, 512, 0)))):
        monkeypatch.setattr("everyframe.native.tuned.here", lambda processor=processor: processor)
        monkeypatch.setenv("EVERYFRAME_CACHE", str(tmp_path / name))
        compile_model(BUILTIN, emit_c=tmp_path / name, cpu="x86-64-v3", tables=False)
        texts.append((tmp_path / name / "motions.c").read_text())
    assert texts[0] == texts[1] and "(default)" in texts[0] and "measured on" not in texts[0]


def test_tuning_for_another_processor_leads_to_the_program(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        compile_model(BUILTIN, emit_c=tmp_path, cpu="aarch64" if not runs_here("aarch64") else "x86-64-v3", tune=True)
    assert "tune.c" in str(caught.value)
    with pytest.raises(UsageError):
        compile_model(BUILTIN, emit_c=tmp_path, tune=-1.0)
    assert not [*tmp_path.iterdir()]


def test_what_ships_can_be_read_and_says_where_it_is_from() -> None:
    rows = read(SHIPPED)
    assert rows
    for row in rows:
        assert target(row.isa).block == row.vector or target(row.isa).narrow
        assert row.facts["date"] and row.facts["made_by"].startswith("everyframe ") and row.facts["rounds"] >= 5
        assert row.processor.caches[1] > 0
        if row.isa == "x86-64-v3" and "Xeon" in row.processor.name:
            assert row.facts["note"] == "timed on a larger machine"


def test_rows_change_nothing_but_the_time(tmp_path: Path, row: str) -> None:
    if not runs_here("x86-64-v3"):
        pytest.skip("needs AVX2")
    sketch = network()
    source, fitting = generated(sketch, "x86-64-v3", Tables([parse(row, "test")]))
    made = Library(link(source, fitting, sketch.model(), tmp_path / "sketch.so", QUICK))
    frames = np.random.default_rng(1).standard_normal(sketch.shape, np.float32)
    wanted = reference(sketch.model(), frames)
    np.testing.assert_allclose(made.start(2).step(frames), wanted, rtol=1e-5, atol=1e-5 * float(np.abs(wanted).max()))


def test_what_was_measured_before_an_interruption_is_kept(tmp_path: Path) -> None:
    table = tmp_path / "table.jsonl"

    def progress(line: str) -> None:
        if table.exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compile_model(BUILTIN, tmp_path / "m.so", tune=20.0, table=table, progress=progress)
    assert read(table)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["table.jsonl"]


def test_processes_that_measure_at_once_lose_no_row(row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever adds rows waits for who is at it, and reads what that one has written."""
    table, waits, flock = tmp_path / "rows.jsonl", threading.Event(), fcntl.flock
    one, two = (parse(json.dumps(json.loads(row) | {"kept": kept}), "here") for kept in (50, 100))

    def told(file: Any, how: int) -> None:
        if not how & fcntl.LOCK_NB:
            waits.set()
        flock(file, how)

    with alone(tmp_path / "rows.jsonl.lock", lambda _: None):
        monkeypatch.setattr(fcntl, "flock", told)
        other = threading.Thread(target=add, args=([two], table))
        other.start()
        waits.wait()
        write([one], table)
    other.join()
    assert [each.kept for each in read(table)] == [100, 50]
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]
