"""Commands that errors tell to run: for this environment, from the folder where the user is."""

from __future__ import annotations

import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from everyframe import errors

ROOT = Path(errors.__file__).resolve().parents[2]
INSTALLED = "site-packages/everyframe/errors.py"


@pytest.mark.parametrize("inside", [True, False])
def test_an_extra_of_a_checkout_is_installed_from_it(inside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT if inside else tmp_path)
    *_, constraints, lock, option, what = shlex.split(errors.install_extra("train"))
    assert (constraints, option) == ("-c", "-e") and Path(lock).is_file()
    folder, _, extra = what.removesuffix("]").partition("[")
    known = tomllib.loads((Path(folder) / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert extra in known
    assert errors.upgrade().endswith(" pull")


def test_elsewhere_it_is_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "__file__", str(tmp_path / INSTALLED))
    assert shlex.split(errors.install_extra("train"))[-1] == "everyframe[train]"
    assert shlex.split(errors.upgrade())[-2:] == ["--upgrade", "everyframe"]


def test_the_environment_is_the_one_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the shell's pip is another's, or none, the interpreter is named."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shlex.split(errors.pip_install("ziglang"))[1:] == ["-m", "pip", "install", "ziglang"]
    monkeypatch.setattr(sys, "executable", str(tmp_path / "a folder/python"))
    monkeypatch.chdir(tmp_path)
    assert shlex.split(errors.pip_install("ziglang"))[0] == "a folder/python"
    (tmp_path / "pip").touch(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert errors.pip_install("ziglang") == "pip install ziglang"
