"""Systems without POSIX file locks are told so at once, in one sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from command_line import environment

#: a Python that has no fcntl, as on Windows
WITHOUT = "import sys; sys.modules['fcntl'] = None\n"


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=False)


@pytest.mark.parametrize(
    "statement",
    ["import everyframe", "import everyframe.video", "from everyframe.cli.main import run", "import everyframe.errors"],
)
def test_a_system_without_locks_is_refused_by_the_import(statement: str) -> None:
    done = python(f"{WITHOUT}{statement}")
    assert done.returncode == 1
    assert "everyframe.errors.UnsupportedSystem: everyframe does not run on this operating system" in done.stderr
    assert "expected: Linux or macOS" in done.stderr
    assert "try:      use Linux or macOS" in done.stderr
    assert "ModuleNotFoundError" not in done.stderr, "the reason hides behind another error"


@pytest.mark.parametrize("program", ["everyframe", "everyframe.exe", "everyframe-script.py", "-m"])
def test_the_command_says_one_sentence(program: str, tmp_path: Path) -> None:
    """As launchers of different installers are called, and as a module; a program of another name keeps the exception."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    script = tmp_path / program
    script.write_text("from everyframe.cli.main import run\nrun()\n")
    arguments = ["-m", "everyframe"] if program == "-m" else [str(script)]
    done = subprocess.run(
        [sys.executable, *arguments, "--help"], capture_output=True, text=True, check=False,
        env=environment(PYTHONPATH=str(tmp_path)),
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: everyframe does not run on this operating system")
    assert "Traceback" not in done.stderr


def test_programs_that_can_do_without_catch_it_as_an_import_error() -> None:
    done = python(f"{WITHOUT}try:\n    import everyframe\nexcept ImportError as error:\n    print(type(error).__name__)")
    assert (done.stdout, done.stderr) == ("UnsupportedSystem\n", "")


def test_the_stand_in_is_what_makes_the_difference() -> None:
    assert python("import everyframe").returncode == 0
