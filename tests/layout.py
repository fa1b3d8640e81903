"""Which folder of the package may import which: the one table behind the import map in CONTRIBUTING.md and its test.

The rows stand in the order in which data passes through them, and each may import rows above it only. An import inside a function
counts like any other, and so does a string that names a module of ours (that is how things are loaded when first used).
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

PACKAGE = "everyframe"
SOURCE = Path(__file__).resolve().parents[1] / "src" / PACKAGE


@dataclass(frozen=True)
class Room:
    name: str
    may_import: tuple[str, ...]  # other rooms
    packages: tuple[str, ...]  # what is installed beside us
    belongs: str


ROOMS = (
    Room("privacy", (), (), "installed libraries that report what they are used for do not"),
    Room("errors", (), (), "the exception tree; every message a user can see starts here"),
    Room("plugins", ("errors",), (), "what other packages add by entry points"),
    Room("targets", ("errors",), (), "names of devices: which verbs take them, and what people call them"),
    Room("version", (), (), "which version this is, and names of earlier ones"),
    Room("limits", (), (), "bounds that several rooms hold what they are given to"),
    Room("processes", (), (), "programs that are ended together with what they started"),
    Room("files", ("errors",), (), "files written whole or not at all; where caches lie"),
    Room("settings", ("errors",), ("pydantic",), "what people write in TOML, made sure of, with the line where it is wrong"),
    Room("progress", (), ("rich",), "what long work says while it runs"),
    Room("canvas", (), ("PIL", "numpy"), "drawing with Pillow: one look for all pictures"),
    Room("pages", (), (), "HTML pages that hold everything: one look for all reports"),
    Room(
        "modelfile", ("errors", "version", "files"),
        ("numpy", "onnx", "onnxruntime", "pydantic"),
        "the file: metadata, split models, interface, states, sessions, folding, networks of others",
    ),
    Room(
        "conversion", ("errors", "plugins", "version", "files", "modelfile"),
        ("numpy", "onnx"), "ONNX in, ONNX out: facts on wires, one rule per operator, clip to step, verification, accounting",
    ),
    Room(
        "native", ("errors", "version", "processes", "files", "modelfile", "conversion"),
        ("numpy", "onnx"), "code generation: a step model becomes C without dependencies",
    ),
    Room("video", ("errors", "files", "modelfile"), ("av", "numpy"), "frames with timestamps from files, folders and cameras"),
    Room(
        "runtime", ("errors", "plugins", "version", "limits", "files", "progress", "modelfile", "conversion", "native", "video"),
        ("numpy", "onnx", "onnxruntime", "openvino"),
        "running models: a Program holds the weights, a Stream the state; one file per engine",
    ),
    Room(
        "live", ("errors", "settings", "version", "processes", "files", "progress", "modelfile", "video", "runtime"),
        ("PIL", "numpy", "paho", "pydantic"), "cameras that go on, events of theirs, and what the world outside is told",
    ),
    Room(
        "peers", ("errors", "modelfile"), ("continual", "numpy", "onnx", "torch"),
        "other systems that run the same networks: what we are measured against",
    ),
    Room(
        "benchmarking", ("errors", "limits", "progress", "canvas", "pages", "modelfile", "conversion", "native", "video",
         "runtime", "peers"),
        ("numpy", "onnx", "openvino", "rich"), "what models cost: timers, contests of engines in processes of their own, reports",
    ),
    Room(
        "models", ("errors", "plugins", "version", "limits", "files", "modelfile", "conversion"),
        ("numpy", "onnx", "rich", "safetensors", "torch"),
        "the zoo: one file per family of networks, checkpoints of other projects, cards, the way into clip models",
    ),
    Room(
        "recipes", ("errors", "settings", "version", "limits", "files", "modelfile"),
        ("pydantic",), "what a recipe may say: training, pruning, motions; those that come with the package",
    ),
    Room(
        "devices", ("errors", "plugins", "targets", "files", "progress", "modelfile", "conversion", "native", "video"),
        ("numpy", "onnx", "onnxruntime", "pydantic"),
        "what devices take, and rewrites that make a model fit, proven to change nothing else",
    ),
    Room(
        "quantization", ("errors", "targets", "version", "files", "progress", "canvas", "modelfile", "conversion", "native",
         "video", "runtime"),
        ("numpy", "onnx", "onnxruntime"), "integers, calibrated on videos through the states, and what they cost",
    ),
    Room(
        "splitting", ("errors", "files", "modelfile", "conversion", "video", "runtime"),
        ("numpy", "onnx"), "a step model in stages",
    ),
    Room(
        "data", ("errors", "files", "progress", "modelfile", "video", "recipes"),
        ("av", "numpy", "rich"), "labeled clips: annotations, pictures, cache, which frames; scans with boxes",
    ),
    Room(
        "teaching", ("errors", "version", "files", "progress", "modelfile", "conversion", "video", "runtime", "data"),
        ("av", "numpy", "onnx"), "a head on frozen step features from a few examples",
    ),
    Room(
        "bundles", ("errors", "targets", "version", "files", "progress", "modelfile", "conversion", "native", "video", "runtime",
         "devices", "quantization", "splitting", "teaching"),
        ("numpy", "onnx", "openvino"),
        "folders for boards' own tools: model, calibration, settings, a program to run there; a web page, with compiled code",
    ),
    Room(
        "evaluation", ("errors", "files", "progress", "canvas", "pages", "modelfile", "conversion", "video", "runtime", "recipes",
         "data", "teaching"),
        ("numpy",), "accuracy of clips, videos and streams; pictures and the report",
    ),
    Room(
        "training", ("errors", "version", "files", "progress", "modelfile", "conversion", "runtime", "models", "recipes",
         "data", "evaluation"),
        ("lightning_fabric", "numpy", "rich", "safetensors", "tensorboardX", "tomli_w", "torch"),
        "network, batches, loop, run folder, the finished models",
    ),
    Room(
        "pruning", ("errors", "files", "progress", "canvas", "modelfile", "benchmarking", "models", "recipes", "data",
         "evaluation", "training"),
        ("lightning_fabric", "numpy", "onnx", "safetensors", "torch"), "patterns, where to prune, pruning from recipe to model",
    ),
    Room(
        "nas", ("errors", "files", "progress", "canvas", "benchmarking", "recipes", "evaluation", "training", "pruning"),
        ("numpy", "onnx", "torch"),
        "networks searched: choices, what proposes them, measured layers, the log and its picture",
    ),
    Room(
        "rendering", ("errors", "limits", "files", "progress", "video", "data"),
        ("av", "numpy"), "procedural video with its truth: hands that gesture, drivers who tire; scans of streets with boxes",
    ),
    Room(
        "motions", ("errors", "files", "progress", "modelfile", "conversion", "runtime", "models", "recipes", "evaluation",
         "training", "rendering"),
        ("av", "lightning_fabric", "numpy", "onnx", "torch"), "the built-in model: objective, event rule, how good it is",
    ),
    Room(
        "tasks", ("errors", "version", "files", "progress", "canvas", "modelfile", "conversion", "native", "video", "runtime",
         "models", "recipes", "data", "evaluation", "training", "pruning", "nas"),
        ("PIL", "av", "lightning_fabric", "numpy", "onnx", "safetensors", "torch"),
        "what else than recognizing networks do, one folder a task: pictures that become larger, objects in scans",
    ),
    Room(
        "serving", ("errors", "version", "progress", "modelfile", "video", "runtime", "live", "bundles"),
        ("PIL", "cryptography", "fastapi", "numpy", "pydantic", "starlette", "uvicorn"),
        "models over HTTP: a page, videos that are sent, streams of frames; who may ask, and what it may cost",
    ),
    Room(
        "api", ("errors", "version", "files", "progress", "modelfile", "conversion", "native", "video", "runtime", "peers",
         "benchmarking", "models", "recipes", "devices", "quantization", "splitting", "bundles", "data", "evaluation",
         "teaching", "training",
         "pruning", "nas", "rendering", "motions", "tasks", "live", "serving"),
        ("numpy", "onnx"), "the Python face: one function a verb, paths or models in memory in, typed results out",
    ),
    Room(
        "cli", ("errors", "targets", "version", "limits", "files", "progress", "canvas", "modelfile", "conversion", "video",
         "runtime", "live", "benchmarking", "models", "recipes", "devices", "quantization", "bundles", "data", "evaluation",
         "training", "motions", "tasks", "serving", "api"),
        ("numpy", "rich", "typer"), "one thin file per verb: read the arguments, call `api`, show the result",
    ),
    Room("__main__", ("cli",), (), "`python -m everyframe`"),
    Room("assets", (), (), "the built-in model, its labels and its sample video; no code"),
)  # fmt: skip
BY_NAME = {room.name: room for room in ROOMS}

#: the package's own __init__ loads these when their names are first used (two at once); it may import no other room
FACADE = ("privacy", "errors", "version", "runtime", "models", "api")
#: who may go through that facade
FACADE_USERS = ("cli",)
#: rooms that build, train and export networks; all others must work without the train extra, whatever is imported
WITH_TORCH = ("peers", "models", "training", "pruning", "nas", "motions", "tasks")
#: and so must these modules of theirs, and all that they import
WITHOUT_TORCH_INSIDE = (
    "everyframe.peers",
    "everyframe.models",
    "everyframe.models.checkpoints.published",
    "everyframe.motions.evaluate",
    "everyframe.tasks.which",
    "everyframe.tasks.super_resolution.apply",
    "everyframe.tasks.super_resolution.evaluate",
    "everyframe.tasks.detection.apply",
    "everyframe.tasks.detection.evaluate",
)
#: rooms that need an extra of their own: the verb that enters them says which, where it is not installed
WITH_EXTRA = ("serving",)
#: names of rooms that are planned: nothing else may take them
RESERVED = {
    "web": "the live page, served or static",
    "cluster": "many machines",
}

#: modules that need each other, one of them inside a function: (who imports, what, as a pattern) -> why that is meant
DELIBERATE = {
    ("everyframe.models.registry", "everyframe.models.catalog"): "the zoo is entered when a name is first asked for",
    ("everyframe.runtime.engine", "everyframe.runtime.*"): "engines are loaded by name, when asked for",
}

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
    def room(self) -> str:
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


@cache
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
            # `from everyframe import modelfile` imports a module, `from everyframe.errors import …` a name
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
    room, parts = found.room, found.target.split(".")
    package = outside(found.target)
    if package is not None:
        allowed = BY_NAME[room].packages if room in BY_NAME else ()
        return None if package in allowed else _refused(room, package, allowed)
    if parts[0] != PACKAGE:
        return None
    if len(parts) == 1 or parts[1] not in BY_NAME:
        return None if room in FACADE_USERS else f"{room} may not go through `import {PACKAGE}`; name the module"
    target = parts[1]
    allowed = (*BY_NAME[room].may_import, room) if room in BY_NAME else FACADE
    return None if target in allowed else _refused(room, target, allowed)


def _refused(room: str, target: str, allowed: tuple[str, ...]) -> str:
    return f"{room} may not import {target} (allowed: {', '.join(allowed) or 'nothing'})"


def cycles(source: Path = SOURCE, *, everywhere: bool = False) -> list[list[str]]:
    """Groups of modules that need each other while they are being imported (Tarjan's strongly connected components).

    everywhere: imports inside functions, for the type checker and by name count too, but for those in DELIBERATE.
    """
    known = modules(source)
    needs: dict[str, set[str]] = {name: set() for name in known}
    for found in imports(source):
        counts = not listed(found) if everywhere else found.eager and not found.typing
        if counts and found.target in known and found.target != found.module:
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


def listed(found: Import) -> bool:
    """Whether an import that closes a circle is one of those that are known."""
    return not found.eager and any(
        found.module == importer and fnmatchcase(found.target, target) for importer, target in DELIBERATE
    )


def import_map() -> str:
    """The table as CONTRIBUTING.md shows it: what exists today."""
    present = {path.name.removesuffix(".py") for path in SOURCE.iterdir()}
    lines = ["| folder | may import | installed packages | what belongs there |", "|---|---|---|---|"]
    for room in ROOMS:
        if room.name not in present:
            continue
        name = f"`{room.name}.py`" if (SOURCE / f"{room.name}.py").exists() else f"`{room.name}/`"
        ours = ", ".join(each for each in room.may_import if each in present) or "–"
        lines.append(f"| {name} | {ours} | {', '.join(room.packages) or '–'} | {room.belongs} |")
    return "\n".join([START, "", *lines, "", END])
