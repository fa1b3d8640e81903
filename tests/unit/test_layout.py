"""The rooms, who may import whom, and the size of what stands in them."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatchcase
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import everyframe
import layout
from everyframe import errors
from everyframe.cli.main import VERBS
from everyframe.modelfile.schema import Metadata

ROOT = layout.SOURCE.parents[1]
MODULES = layout.modules()
LONGEST = 400


def test_imports_follow_the_table() -> None:
    wrong = [f"{found.place}: {why}" for found in layout.imports() if (why := layout.violation(found))]
    assert not wrong, "\n".join(wrong)


def test_no_import_cycles() -> None:
    assert layout.cycles() == []


def test_no_circles_inside_functions() -> None:
    """Modules that need each other are one module in two files. What is listed is meant."""
    assert layout.cycles(everywhere=True) == []


@pytest.mark.parametrize("pair", layout.DELIBERATE, ids=" -> ".join)
def test_listed_circles_are_there(pair: tuple[str, str]) -> None:
    importer, target = pair
    found = [f for f in layout.imports() if f.module == importer and not f.eager and fnmatchcase(f.target, target)]
    assert found, "it is undone: take it off the list"


def present() -> set[str]:
    """Files and folders right below the package; not what only holds the bytecode of files that are gone."""
    files = [path.relative_to(layout.SOURCE) for path in layout.SOURCE.rglob("*") if path.is_file()]
    return {path.parts[0].removesuffix(".py") for path in files if "__pycache__" not in path.parts} - {"__init__", "py.typed"}


def test_every_folder_is_a_room() -> None:
    assert present() <= set(layout.BY_NAME)


def test_names_of_planned_rooms_are_free() -> None:
    assert not present() & set(layout.RESERVED), "a planned room that is built leaves RESERVED and becomes a row of ROOMS"
    assert not set(layout.BY_NAME) & set(layout.RESERVED)


def test_no_room_hides_a_function() -> None:
    """A folder and a function of the same name would take turns in being `everyframe.NAME`. `models` and `errors` are rooms."""
    rooms = set(layout.BY_NAME) - {"models", "errors"}
    assert not rooms & ({*everyframe.__all__} | {*VERBS})


def test_the_table_goes_only_downwards() -> None:
    seen: set[str] = set()
    for room in layout.ROOMS:
        assert set(room.may_import) <= seen, room.name
        seen.add(room.name)
    assert [room.name for room in layout.ROOMS if "cli" in room.may_import] == ["__main__"]
    assert {room.name for room in layout.ROOMS if "torch" in room.packages} == set(layout.WITH_TORCH)


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


class TestTheCheckItself:
    """A rule that finds nothing proves nothing: each kind of violation is planted once and must be found."""

    @pytest.fixture
    def planted(self, tmp_path: Path) -> Path:
        source = tmp_path / layout.PACKAGE
        for name, text in {
            "__init__.py": "",
            "errors.py": "",
            "conversion/__init__.py": "import onnx\nfrom everyframe.version import __version__\n",
            "conversion/lazy.py": "def f():\n    import torch\n",
            "conversion/up.py": "from everyframe.runtime import play\n",
            "conversion/relative.py": "from ..runtime.play import run\n",
            "conversion/text.py": "LOADERS = {'a': 'everyframe.runtime.play:run'}\n",
            "conversion/facade.py": "import everyframe\n",
            "conversion/typed.py": "import typing\nif typing.TYPE_CHECKING:\n    from everyframe.cli import main\n",
            "runtime/__init__.py": "from everyframe.runtime import play\n",
            "runtime/play.py": "from everyframe.runtime.stop import s\nimport numpy\n",
            "runtime/stop.py": "from everyframe.runtime.play import p\n",
            "video/__init__.py": "",
            "video/lazy.py": "def f():\n    from everyframe.video import eager\n",
            "video/eager.py": "from everyframe.video import lazy\n",
            "cli/__init__.py": "import everyframe\n",
            "cli/main.py": "",
        }.items():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return source

    def test_finds_every_kind_of_violation(self, planted: Path) -> None:
        found = {f.module: why for f in layout.imports(planted) if (why := layout.violation(f))}
        assert set(found) == {f"everyframe.conversion.{n}" for n in ("lazy", "up", "relative", "text", "facade", "typed")}
        assert "may not import torch" in found["everyframe.conversion.lazy"]
        assert "may not import cli" in found["everyframe.conversion.typed"]

    def test_finds_cycles(self, planted: Path) -> None:
        assert layout.cycles(planted) == [["everyframe.runtime.play", "everyframe.runtime.stop"]]
        assert ["everyframe.video.eager", "everyframe.video.lazy"] in layout.cycles(planted, everywhere=True)


def test_only_declared_packages_are_imported() -> None:
    """The base install has what every room without torch imports; the others also need the extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project.get("optional-dependencies", {})
    base = {_distribution(line) for line in project["dependencies"]}
    anywhere = base.union(*({_distribution(line) for line in lines} for lines in extras.values()))
    installed = packages_distributions()
    wrong = []
    for found in layout.imports():
        package = layout.outside(found.target)
        if package is None:
            continue
        names = {_distribution(name) for name in installed.get(package, [package])}
        optional = found.room in (*layout.WITH_TORCH, *layout.WITH_EXTRA) or not found.eager
        if not names & (anywhere if optional else base):
            wrong.append(f"{found.place}: {package} is not a declared dependency")
    assert not wrong, "\n".join(wrong)


def _distribution(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", name[0]).lower() if name else requirement


def test_everything_else_works_without_torch() -> None:
    """Imports each module of all rooms but four in a process in which the packages of the train extra cannot be found."""
    names = [name for name in MODULES if (name.split(".")[1] if "." in name else "__init__") not in layout.WITH_TORCH]
    # names and descriptions of the zoo are for everybody, and so is what measures the built-in model
    names += layout.WITHOUT_TORCH_INSIDE
    code = f"""
import importlib, sys
for name in ("torch", "safetensors", "onnxscript", "lightning_fabric"):
    sys.modules[name] = None
for name in {[name for name in names if name != "everyframe.__main__"]!r}:
    importlib.import_module(name)
from everyframe import models
assert models.list() and models.describe(models.list()[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
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
        depth = {n: sum(issubclass(base, errors.EveryframeError) for base in c.__mro__) - 1 for n, c in self.classes().items()}
        assert drawn == depth


def test_the_rooms_are_in_the_architecture() -> None:
    """Each in its table, and what the file's metadata may say in the list of its keys."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page[: page.index("Each may import")]
    there = [path for path in layout.SOURCE.iterdir() if path.stem in layout.BY_NAME and path.stem not in ("assets", "__main__")]
    assert not [path.name for path in there if f"`{path.name}{'/' if path.is_dir() else ''}`" not in table]
    assert not [key for key in Metadata.model_fields if f"`{key}`" not in page]
