"""The Makefile's set-up, with a stand-in for Python that writes down what it is asked to do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from lock import ROOT

#: "-c" is the question for the version; "-m venv" makes .venv/bin/python, a copy of itself
STAND_IN = """#!/bin/sh
case "$1 $2" in
"-c "*) exit 0 ;;
--version*) echo "Python 3.11.0" ;;
"-m venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python && printf '#!/bin/sh\\necho ran "$@"\\n' > .venv/bin/everyframe &&
  chmod +x .venv/bin/everyframe ;;
*) echo "python $*" ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "a clone"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    (folder / "stand-in").write_text(STAND_IN)
    (folder / "stand-in").chmod(0o755)
    return folder


def _plain() -> dict[str, str]:
    """The environment without what a `make` around the tests puts into it."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = _plain()
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=kept | {"PYTHON": "./stand-in"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def installs(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return re.findall(r"^python -m pip install .* (-e .*)$", done.stdout, re.MULTILINE)


def test_demo_installs_the_base_only_and_once(clone: Path) -> None:
    first = make(clone, "demo", "ARGS=--output out")
    assert installs(first) == ["-e ."]
    assert first.stdout.endswith("ran demo --output out\n")
    assert installs(make(clone, "demo")) == []


def test_test_lints_and_tests(clone: Path) -> None:
    done = make(clone, "test")
    assert installs(done) == ["-e .[train,cross,openvino,serve,dev]"]
    modules = re.findall(r"^python -m (\w+)", done.stdout, re.MULTILINE)
    assert modules == ["pip", "ruff", "ruff", "pytest"]  # rules, format; types are a test
    assert installs(make(clone, "test")) == []
    assert installs(make(clone, "demo")) == [], "it has all that the demo needs"


def test_continuous_integration_runs_the_tests(clone: Path) -> None:
    done = subprocess.run(
        ["bash", clone / ".ci" / "run"], cwd="/", env=_plain() | {"PYTHON": "./stand-in"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1].startswith("python -m pytest"), "its closing line is the last one"


def test_installs_again_when_the_pins_change_or_the_folder_moves(clone: Path) -> None:
    make(clone, "demo")
    later = time.time() + 10
    os.utime(clone / "requirements.lock", (later, later))
    assert installs(make(clone, "demo")) == ["-e ."]
    moved = clone.rename(clone.with_name("elsewhere"))
    for stamp in (moved / ".venv").glob(".*"):
        os.utime(stamp, (later + 10, later + 10))
    assert installs(make(moved, "demo")) == ["-e ."]


@pytest.mark.parametrize("python", ["no-such-python", "false"])
def test_says_which_python_it_needs(clone: Path, python: str) -> None:
    done = make(clone, "demo", f"PYTHON={python}")
    assert done.returncode == 2
    assert "everyframe needs Python 3.11 or newer" in done.stderr
    assert "make demo PYTHON=" in done.stderr
    assert not (clone / ".venv").exists()


def test_a_failed_environment_is_not_kept(clone: Path) -> None:
    half_made = '"-m venv") mkdir -p .venv/bin; touch .venv/bin/python; exit 1;'
    (clone / "stand-in").write_text(STAND_IN.replace('"-m venv")', half_made))
    done = make(clone, "demo")
    assert done.returncode == 2
    assert "cannot make a virtual environment" in done.stderr
    assert not (clone / ".venv").exists()


def test_help_lists_every_target(clone: Path) -> None:
    text = (clone / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert targets
    listed = re.findall(r"^  make ([\w-]+)", make(clone).stdout, re.MULTILINE)
    assert sorted(listed) == sorted(targets[1].split())
