"""Timing, machine line, tables; the benchmark programs start, and their page shows their results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from everyframe.benchmarking import Case, Table, describe, fill, one_line, race, save, timing
from everyframe.errors import OutputError, UsageError

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


class Clock:
    """In place of `time`: it stands still unless a case lets time pass."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0

    def perf_counter(self) -> float:
        return self.wall_s

    def process_time(self) -> float:
        return self.cpu_s

    def case(self, wall_s: float, cpu_s: float = 0.0) -> Case:
        def run() -> None:
            self.wall_s, self.cpu_s = self.wall_s + wall_s, self.cpu_s + cpu_s

        return Case(f"{wall_s} s", run)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(timing, "time", made)
    return made


class TestRace:
    @pytest.mark.usefixtures("clock")
    def test_takes_turns_and_does_not_count_the_first_call_of_a_turn(self) -> None:
        calls: list[str] = []
        cases = [Case(name, lambda name=name: calls.append(name)) for name in "ab"]  # type: ignore[misc]
        a, b = race(cases, seconds=0, rounds=3)
        turn = timing.MOST_CALLS + 1
        assert calls == list("a" * turn + "b" * turn) * 3
        assert a.calls == b.calls == 3 * timing.MOST_CALLS
        assert len(a.cpu) == len(a.wall)

    def test_tells_waiting_from_working(self, clock: Clock) -> None:
        (found,) = race([clock.case(0.02, 0.005)], seconds=0, rounds=2)
        assert found.figures() == {"cpu_ms": 5, "wall_ms": 20, "wall_min_ms": 20, "calls": found.calls}

    def test_a_slow_case_is_called_once_a_turn(self, clock: Clock) -> None:
        (slow,) = race([clock.case(2 * timing.TURN_S)], seconds=0, rounds=2)
        assert slow.calls == 2

    @pytest.mark.usefixtures("clock")
    def test_ends_sooner_where_calls_are_enough(self) -> None:
        """The clock stands still, so that nothing else would end it."""
        found = race([Case("a", int), Case("b", int)], seconds=1, enough=20)
        assert {timing_.calls for timing_ in found} == {-(-20 // timing.MOST_CALLS) * timing.MOST_CALLS}

    def test_goes_on_until_the_time_is_over(self, clock: Clock) -> None:
        shares: list[float] = []
        race([clock.case(0.01)], seconds=0.3, rounds=1, progress=shares.append)
        assert 0.3 <= clock.wall_s < 0.3 + (timing.MOST_CALLS + 1) * 0.01
        assert shares == sorted(shares)
        assert shares[-1] == 1

    @pytest.mark.parametrize("names", ["", "aa"])
    def test_cases_need_names_of_their_own(self, names: str) -> None:
        with pytest.raises(UsageError, match="names of their own"):
            race([Case(name, int) for name in names], seconds=0)


class TestMachine:
    def test_says_what_matters(self) -> None:
        machine = describe("no-such-package")
        assert machine["cores"] >= 1
        assert machine["packages"]["onnxruntime"]
        assert machine["packages"]["no-such-package"] is None
        line = one_line(machine)
        assert machine["cpu"] in line
        assert f"onnxruntime {machine['packages']['onnxruntime']}" in line
        assert "no-such-package" not in line
        assert "\n" not in line

    @pytest.mark.parametrize(("load", "busy"), [(0.1, False), (1.9, True), (None, False)])
    def test_says_that_others_were_busy(self, load: float | None, busy: bool) -> None:
        line = one_line(describe() | {"cores": 2, "load": load})
        assert ("busy" in line) is busy


class TestReport:
    table = Table("Title", ["engine", "ms", "ratio"], [["a", "1.5", "2.0x"], ["b", 3, "–"]], ["note"])

    def test_markdown_puts_numbers_to_the_right(self) -> None:
        assert self.table.markdown().splitlines() == [
            "**Title**", "", "| engine | ms | ratio |", "|---|---:|---:|", "| a | 1.5 | 2.0x |", "| b | 3 | – |", "", "- note",
        ]  # fmt: skip

    def test_shows(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.table.show()
        shown = capsys.readouterr().out
        assert all(word in shown for word in ("Title", "engine", "2.0x", "note"))

    def test_fill_replaces_only_what_is_between_the_markers(self) -> None:
        text = "before <!-- a -->\nold\n<!-- end of a --> after"
        filled = fill(text, "a", "new")
        assert filled == "before <!-- a -->\n\nnew\n\n<!-- end of a --> after"
        assert fill(filled, "a", "new") == filled

    @pytest.mark.parametrize("text", ["", "<!-- a -->", "<!-- end of a -->"])
    def test_fill_needs_both_markers(self, text: str) -> None:
        with pytest.raises(UsageError, match="no place"):
            fill(text, "a", "new")

    def test_save_makes_the_folder_and_says_why_it_cannot(self, tmp_path: Path) -> None:
        path = save(tmp_path / "new" / "r.json", {"µ": 1})
        assert path.read_text(encoding="utf-8") == '{\n "µ": 1\n}\n'
        with pytest.raises(OutputError, match=r"r\.json"):
            save(path / "below a file.json", {})


PROGRAMS = (
    "run",
    "x3d_step",
    "zoo_step",
    "tasks",
    "clip_networks",
    "kgs_layers",
    "native_profile",
    "predict_overhead",
    "startup",
)


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_start(name: str) -> None:
    done = subprocess.run([sys.executable, BENCHMARKS / f"{name}.py", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"python benchmarks/{name}.py" in done.stdout


def test_the_page_shows_the_results() -> None:
    done = subprocess.run([sys.executable, BENCHMARKS / "run.py", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
