"""What a caller gives as a model: a path, the bytes of an ONNX file, or a model in memory."""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeAlias, TypeVar

from everyframe.files import at_home, paths_told

if TYPE_CHECKING:
    import onnx

    from everyframe.modelfile.file import Held
    from everyframe.recipes import DetectionRecipe, SuperResolutionRecipe

File: TypeAlias = str | os.PathLike[str]
_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")
Model: TypeAlias = "File | bytes | onnx.ModelProto"


def paths(verb: Callable[_Given, _Made]) -> Callable[_Given, _Made]:
    """Its arguments may be paths that begin with `~`, and such that cannot be used, which is told as an error of ours."""

    @functools.wraps(verb)
    def called(*given: _Given.args, **named: _Given.kwargs) -> _Made:
        found, more = [at_home(value) for value in given], {name: at_home(value) for name, value in named.items()}
        with paths_told([*found, *more.values()]):
            return verb(*found, **more)

    return called


def trained_source(model: Model) -> tuple[SuperResolutionRecipe | DetectionRecipe | None, Path | Held]:
    """The recipe, if it is the run folder of a training of a task beside recognition, and what to open. Raises as `source`."""
    from everyframe.tasks.which import trained

    if not isinstance(model, str | os.PathLike):
        return None, source(model)
    recipe = trained(model)
    return recipe, source(model if recipe is None else Path(model) / "step.onnx")


def source(model: Model) -> Path | Held:
    """What the rooms take as a path: the file (`builtin`: the one that comes with the package), or the model held in memory.

    Raises ModelError for a file that is not there and for bytes that are no ONNX file, UsageError for anything else.
    """
    if isinstance(model, str | os.PathLike):
        return _path(model)
    import onnx

    from everyframe.errors import ModelError, UsageError
    from everyframe.modelfile.file import Held

    if isinstance(model, Held):
        return model
    if isinstance(model, bytes | bytearray | memoryview):
        try:
            return Held(onnx.load_model_from_string(bytes(model)))
        except Exception as error:  # protobuf raises its own DecodeError
            got = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(
                "These bytes are not a readable ONNX model.", got=got, expected="the content of an .onnx file"
            ) from None
    if isinstance(model, onnx.ModelProto):
        return Held(model)
    raise UsageError(
        "This is not a model.", expected="a path, the bytes of an ONNX file or an onnx.ModelProto", got=type(model).__name__,
        hint="of a result give its .model",
    )  # fmt: skip


def _path(model: File) -> Path | Held:
    from everyframe.modelfile.file import Held

    if isinstance(model, Held):
        return model
    if there(model) != "builtin":
        return Path(model)
    from everyframe.runtime.program import BUILTIN

    return BUILTIN


def there(model: File) -> str:
    """The path as it was written, or `builtin`. Raises ModelError for a file that is not there."""
    path = os.fspath(model)
    if path != "builtin" and not os.path.exists(path):  # noqa: PTH110 (`Path.exists` raises for names that are too long)
        from everyframe.errors import ModelError

        raise ModelError("There is no such model file.", where=path, hint=_instead(Path(path)))
    return path


def _instead(path: Path) -> str:
    """What to do: make the file of a network of the zoo, or write the name of something that is there."""
    from everyframe.errors import EveryframeError, meant
    from everyframe.models import registry

    name = path.stem if path.suffix == ".onnx" else path.name
    try:
        registry.describe(name)
    except EveryframeError:
        known = ("builtin", *registry.names(), *(file.name for file in path.parent.glob("*.onnx")))
        otherwise = "check the path, or use `builtin`; `everyframe export` makes one"
        return meant(path.name, known, otherwise, cutoff=0.75)
    file = shlex.quote(str(path.with_name(f"{name}.onnx")))
    return f"first `everyframe export {name} -o {file}`, then give {file}; `everyframe models {name}` shows what it is"


def several(where: str, given: Iterable[str]) -> tuple[str, ...]:
    """Names or settings. Raises UsageError for a text alone, which Python would take letter by letter."""
    if isinstance(given, str):
        from everyframe.errors import UsageError

        raise UsageError("Several texts are expected.", where=where, expected="a list", got=repr(given), hint=f"[{given!r}]")
    return tuple(given)


class Kept:
    """A temporary folder that is there as long as somebody holds this: for results that are folders and have no name yet."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="everyframe-"))
        # without the warning of TemporaryDirectory: to be dropped with the result is what it is for
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
