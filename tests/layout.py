"""Which folder of the package may import which: the one table behind the import map in CONTRIBUTING.md and its test.

The rows stand in the order in which data passes through them. An import inside a function counts like any other, and so
does a string that names a module of ours (that is how things are loaded when first used).
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "everyframe"
SOURCE = Path(__file__).resolve().parents[1] / "src" / PACKAGE


@dataclass(frozen=True)
class House:
    name: str
    may_import: tuple[str, ...]  # other houses
    packages: tuple[str, ...]  # what is installed beside us
    belongs: str


HOUSES = (
    House("privacy", (), (), "installed libraries that report what they are used for do not"),
    House("errors", (), (), "the exception tree; every message a user can see starts here"),
    House("canvas", (), ("PIL", "numpy"), "drawing with Pillow: one look for all pictures"),
    House(
        "program", ("errors",), ("numpy", "onnx", "onnxruntime", "pydantic"),
        "ONNX in, ONNX out: the file contract, facts on wires, one rule per operator, clip to step, accounting",
    ),
    House(
        "native", ("errors", "program"), ("numpy", "onnx"),
        "code generation: a step model becomes C without dependencies",
    ),
    House("video", ("errors", "program"), ("av", "numpy"), "frames with timestamps from files, folders and cameras"),
    House(
        "runtime", ("errors", "program", "native", "video"), ("numpy", "onnx", "onnxruntime", "openvino", "rich"),
        "running models: a Program holds the weights, a Stream the state; one file per engine",
    ),
    House(
        "hardware", ("errors", "canvas", "program", "native", "video", "runtime"),
        ("numpy", "onnx", "onnxruntime", "openvino", "pydantic"),
        "models made fit for devices: what they take, rewrites proven to change nothing else, integers, stages, bundles",
    ),
    House(
        "bench", ("errors", "program", "native", "video", "runtime"),
        ("numpy", "onnx", "onnxruntime", "pydantic", "rich"), "timers, thread sweeps and reports",
    ),
    House(
        "models", ("errors", "program"),
        ("numpy", "onnx", "onnxruntime", "onnxscript", "rich", "safetensors", "torch"),
        "the zoo: one file per family of networks, checkpoints of other projects, cards, the way into clip models",
    ),
    House(
        "train", ("errors", "canvas", "program", "video", "runtime", "bench", "models"),
        ("av", "lightning_fabric", "numpy", "onnx", "onnxruntime", "pydantic", "rich", "safetensors",
         "tensorboardX", "tomli_w", "torch"),
        "recipes, data, the training loop and evaluation",
    ),
    House(
        "serve", ("errors", "program", "video", "runtime"), ("fastapi", "numpy", "uvicorn"),
        "a live page and its server",
    ),
    House(
        "cli",
        ("errors", "canvas", "program", "native", "video", "runtime", "hardware", "bench", "models", "train", "serve"),
        ("numpy", "onnx", "rich", "typer"),
        "one thin file per verb: read the arguments, call the package, print",
    ),
    House("__main__", ("cli",), (), "`python -m everyframe`"),
    House("assets", (), (), "the built-in model, its labels and its sample video; no code"),
)  # fmt: skip
BY_NAME = {house.name: house for house in HOUSES}

#: the package's own __init__ loads these when their names are first used (privacy at once); it may import no other house
FACADE = ("privacy", "errors", "program", "runtime", "models", "train")
#: who may go through that facade; everybody may read `__version__`
FACADE_USERS = ("bench", "serve", "cli")
#: must work without the train extra, whatever is imported
WITHOUT_TORCH = ("privacy", "errors", "program", "native", "video", "runtime", "hardware", "bench", "serve")
#: and so must these folders of houses that may import torch; they import nothing else of their house
WITHOUT_TORCH_INSIDE = ("everyframe.train.teach",)

START, END = "<!-- import map: made by `make docs` -->", "<!-- end of import map -->"


@dataclass(frozen=True)
class Import:
    """module: the importing module of ours. target: what is imported, with the name where that may be a module.
    eager: it runs when the module is imported. typing: it is for the type checker only.
    """

    module: str
    line: int
    target: str
    eager: bool
    typing: bool

    @property
    def house(self) -> str:
        return self.module.split(".")[1] if "." in self.module else "__init__"

    @property
    def place(self) -> str:
        return f"{self.module}, line {self.line}"


def modules(source: Path = SOURCE) -> dict[str, Path]:
    """Dotted name -> file, for every module of the package. What stands in `templates` runs elsewhere."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        if "templates" in path.parts:
            continue
        parts = [PACKAGE, *path.relative_to(source).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(source: Path = SOURCE) -> list[Import]:
    known = modules(source)
    return [found for name, path in known.items() for found in _imports(name, path, known)]


def _imports(module: str, path: Path, known: dict[str, Path]) -> Iterator[Import]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]

    def visit(node: ast.AST, eager: bool, typing: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: package.count(".") + 2 - node.level]
                base = ".".join([*parents, base] if base else parents)
            # `from everyframe.program import contract` imports a module, `from everyframe.errors import …` a name
            names = [f"{base}.{alias.name}" for alias in node.names]
            targets = [name if name in known or base == PACKAGE else base for name in names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value.partition(":")[0]  # "module" or "module:function"
            targets = [name] if name.startswith(f"{PACKAGE}.") and name in known else []
            eager = False
        else:
            targets = []
        for target in dict.fromkeys(targets):
            yield Import(module, node.lineno, target, eager, typing)  # type: ignore[attr-defined]
        inside_typing = typing or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
        inside_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, eager and not inside_typing and not inside_function, inside_typing)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), True, False)


def outside(target: str) -> str | None:
    """The installed package that an import needs, or None for the standard library and ourselves."""
    top = target.split(".")[0]
    return None if top == PACKAGE or top in sys.stdlib_module_names else top


def violation(found: Import) -> str | None:
    """Why an import is against the table, or None."""
    house, parts = found.house, found.target.split(".")
    package = outside(found.target)
    if package is not None:
        allowed = BY_NAME[house].packages if house in BY_NAME else ()
        return None if package in allowed else _refused(house, package, allowed)
    if parts[0] != PACKAGE or found.target == f"{PACKAGE}.__version__":
        return None
    if len(parts) == 1 or parts[1] not in BY_NAME:
        return None if house in FACADE_USERS else f"{house} may not go through `import {PACKAGE}`; name the module"
    target = parts[1]
    allowed = (*BY_NAME[house].may_import, house) if house in BY_NAME else FACADE
    return None if target in allowed else _refused(house, target, allowed)


def _refused(house: str, target: str, allowed: tuple[str, ...]) -> str:
    return f"{house} may not import {target} (allowed: {', '.join(allowed) or 'nothing'})"


def cycles(source: Path = SOURCE) -> list[list[str]]:
    """Groups of modules that need each other while they are being imported (Tarjan's strongly connected components)."""
    known = modules(source)
    needs: dict[str, set[str]] = {name: set() for name in known}
    for found in imports(source):
        if found.eager and not found.typing and found.target in known and found.target != found.module:
            needs[found.module].add(found.target)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def connect(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(needs[name]):
            if other not in index:
                connect(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                groups.append(sorted(group))

    for name in known:
        if name not in index:
            connect(name)
    return groups


def import_map() -> str:
    """The table as CONTRIBUTING.md shows it: what exists today."""
    present = {path.name.removesuffix(".py") for path in SOURCE.iterdir()}
    lines = ["| folder | may import | installed packages | what belongs there |", "|---|---|---|---|"]
    for house in HOUSES:
        if house.name not in present:
            continue
        name = f"`{house.name}.py`" if (SOURCE / f"{house.name}.py").exists() else f"`{house.name}/`"
        ours = ", ".join(each for each in house.may_import if each in present) or "–"
        lines.append(f"| {name} | {ours} | {', '.join(house.packages) or '–'} | {house.belongs} |")
    return "\n".join([START, "", *lines, "", END])
