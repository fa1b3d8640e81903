"""What long work says: to a terminal, to a log, to a caller that listens; work within work."""

from __future__ import annotations

import io
import sys

import pytest

from everyframe import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_work_within_work_changes_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that is being made says so where the quantization says what it does."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.status("outer") as outer:
        with progress.status("inner") as inner:
            assert inner == outer
        outer("again")
    with progress.status("new") as new:
        assert new != outer


def test_a_log_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """None for short work, then one each time so many seconds have passed, whatever is said in between."""
    now = 0.0
    say = progress.Log(lambda: now)
    for second in range(100):
        now = float(second)
        say(f"second {second}")
    times = [int(line.split()[1]) for line in capsys.readouterr().err.splitlines()]
    assert times == list(range(int(progress.EVERY_S), 100, int(progress.EVERY_S)))


def test_long_work_that_is_counted_says_how_long_the_rest_takes() -> None:
    """Not before it is long, and not before something is done; at an even pace what was said first is true."""
    now, said = 0.0, list[str]()
    count = progress.counted("parts", said.append, lambda: now)
    for done in range(101):
        now = 3.0 * done
        count(done, 100)
    first = next(at for at, line in enumerate(said) if "left" in line)
    assert 3 * first >= progress.EVERY_S > 3 * (first - 1)
    assert said[first] == f"parts: {first} of 100, {progress.duration(300 - 3 * first)} left"
    assert said[-1] == "parts: 100 of 100, 0 s left"


def test_short_work_says_nothing_to_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.status("begun") as say, progress.bar("videos") as count:
        say("working")
        count(1, 2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_a_caller_that_listens_is_told_instead(stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    shown, said = stream(), list[str]()
    monkeypatch.setattr(sys, "stderr", shown)
    with progress.told(said.append):
        with progress.status("first") as say, progress.bar("videos") as count:
            say("second")
            count(1, 2)
        with progress.told(None):  # who passes on nothing changes nothing
            progress.watcher()("third")  # type: ignore[misc]
    assert said == ["first", "second", "videos: 1 of 2", "third"]
    assert shown.getvalue() == ""
    assert progress.watcher() is None
