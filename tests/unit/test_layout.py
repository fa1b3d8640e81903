"""The houses, who may import whom, and the size of what stands in them."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import layout
from everyframe import errors

ROOT = layout.SOURCE.parents[1]
MODULES = layout.modules()
IMPORTS = layout.imports()
LONGEST = 400


def test_imports_follow_the_table() -> None:
    wrong = [f"{found.place}: {why}" for found in IMPORTS if (why := layout.violation(found))]
    assert not wrong, "\n".join(wrong)


def test_no_import_cycles() -> None:
    assert layout.cycles() == []


def test_every_folder_is_a_house() -> None:
    present = {path.name.removesuffix(".py") for path in layout.SOURCE.iterdir() if path.suffix in ("", ".py")}
    assert present - {"__init__", "__pycache__"} <= set(layout.BY_NAME)


def test_the_table_goes_only_downwards() -> None:
    seen: set[str] = set()
    for house in layout.HOUSES:
        assert set(house.may_import) <= seen, house.name
        seen.add(house.name)
    assert [house.name for house in layout.HOUSES if "cli" in house.may_import] == ["__main__"]
    assert not any("torch" in layout.BY_NAME[name].packages for name in layout.WITHOUT_TORCH)


def test_contributing_shows_the_table() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert layout.import_map() in text, "run `make docs`"


@pytest.mark.parametrize("name", MODULES)
def test_module(name: str) -> None:
    text = MODULES[name].read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert len(text.splitlines()) <= LONGEST, f"more than {LONGEST} lines: split it"
    asserts = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert not asserts, "raise an error of errors.py instead"
    if text.strip():
        assert ast.get_docstring(tree), "a module says in its first line what it is for"


def test_folders_without_torch_stay_so() -> None:
    """Not even inside a function: they run in a base install."""
    for folder in layout.WITHOUT_TORCH_INSIDE:
        house = folder.rpartition(".")[0]
        inside = [found for found in IMPORTS if found.module.startswith(folder)]
        assert inside
        torch = [f.place for f in inside if layout.outside(f.target) in ("torch", "safetensors", "onnxscript")]
        others = [f.place for f in inside if f.target.startswith(house) and not f.target.startswith(folder)]
        assert torch + others == []


class TestTheCheckItself:
    """A rule that finds nothing proves nothing: each kind of violation is planted once and must be found."""

    @pytest.fixture
    def planted(self, tmp_path: Path) -> Path:
        source = tmp_path / layout.PACKAGE
        for name, text in {
            "__init__.py": "",
            "errors.py": "",
            "program/__init__.py": "import onnx\nfrom everyframe import __version__\n",
            "program/lazy.py": "def f():\n    import torch\n",
            "program/up.py": "from everyframe.runtime import play\n",
            "program/relative.py": "from ..runtime.play import run\n",
            "program/text.py": "LOADERS = {'a': 'everyframe.runtime.play:run'}\n",
            "program/facade.py": "import everyframe\n",
            "program/typed.py": "import typing\nif typing.TYPE_CHECKING:\n    from everyframe.cli import main\n",
            "runtime/__init__.py": "from everyframe.runtime import play\n",
            "runtime/play.py": "from everyframe.runtime.stop import s\nimport numpy\n",
            "runtime/stop.py": "from everyframe.runtime.play import p\n",
            "cli/__init__.py": "import everyframe\n",
            "cli/main.py": "",
        }.items():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return source

    def test_finds_every_kind_of_violation(self, planted: Path) -> None:
        found = {f.module: why for f in layout.imports(planted) if (why := layout.violation(f))}
        assert set(found) == {f"everyframe.program.{n}" for n in ("lazy", "up", "relative", "text", "facade", "typed")}
        assert "may not import torch" in found["everyframe.program.lazy"]
        assert "may not import cli" in found["everyframe.program.typed"]

    def test_finds_cycles(self, planted: Path) -> None:
        assert layout.cycles(planted) == [["everyframe.runtime.play", "everyframe.runtime.stop"]]


def test_only_declared_packages_are_imported() -> None:
    """The base install has what every house outside models and train imports; those two also need the extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project.get("optional-dependencies", {})
    base = {_distribution(line) for line in project["dependencies"]}
    anywhere = base.union(*({_distribution(line) for line in lines} for lines in extras.values()))
    installed = packages_distributions()
    wrong = []
    for found in IMPORTS:
        package = layout.outside(found.target)
        if package is None:
            continue
        names = {_distribution(name) for name in installed.get(package, [package])}
        optional = found.house in ("models", "train") or not found.eager
        if not names & (anywhere if optional else base):
            wrong.append(f"{found.place}: {package} is not a declared dependency")
    assert not wrong, "\n".join(wrong)


def _distribution(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", name[0]).lower() if name else requirement


def test_everything_but_models_and_train_works_without_torch() -> None:
    """Imports each module in a process in which the packages of the train extra cannot be found."""
    houses = (*layout.WITHOUT_TORCH, "cli", "__init__")
    names = [name for name in MODULES if (name.split(".")[1] if "." in name else "__init__") in houses]
    names += [name for name in MODULES if name.startswith(layout.WITHOUT_TORCH_INSIDE)]
    # names and descriptions of the zoo are for everybody
    code = f"""
import importlib, sys
for name in ("torch", "safetensors", "onnxscript"):
    sys.modules[name] = None
for name in {[*names, "everyframe.models"]!r}:
    importlib.import_module(name)
from everyframe import models
assert models.list() and models.describe(models.list()[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class TestErrorTree:
    def classes(self) -> dict[str, type]:
        return {n: c for n, c in vars(errors).items() if inspect.isclass(c) and issubclass(c, Exception)}

    def test_all_names_every_public_class(self) -> None:
        assert set(errors.__all__) == set(self.classes())
        assert errors.__all__ == sorted(errors.__all__)

    def test_all_are_ours(self) -> None:
        assert all(issubclass(c, errors.EveryframeError) for c in self.classes().values())

    def test_the_docstring_shows_the_tree_as_it_is(self) -> None:
        """Depth in the drawing is depth in the tree, and everything drawn exists."""
        drawn = {}
        for line in (errors.__doc__ or "").splitlines():
            if match := re.match(r" {4}([│├└─ ]*)([A-Z]\w+)(?:\s|$)", line):
                drawn[match[2]] = len(match[1]) // 4
        depth = {name: len(c.__mro__) - len(errors.EveryframeError.__mro__) for name, c in self.classes().items()}
        assert drawn == depth
