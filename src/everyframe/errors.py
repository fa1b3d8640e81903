"""Every error a user can cause, as one tree.

    EveryframeError
    ├── UnsupportedSystem      an operating system that everyframe does not run on; an ImportError, too
    ├── ModelError             an ONNX file that cannot be read, has no or bad metadata, or is not what the verb needs
    │   ├── UnsupportedOperator    a node that touches time and has no streaming rule
    │   └── ConversionMismatch     the step network disagreed with the clip network, so nothing was written
    ├── SourceError            a video, folder or camera that cannot be opened, decoded or has no frames
    ├── EngineError            an engine that is not installed or failed to run
    ├── StateError             frames of another shape than the stream was started with, a closed stream
    ├── WeightsError           a checkpoint that does not fit the network
    ├── RecipeError            a training recipe with unknown or impossible settings
    ├── TrainingStopped        a training that cannot go on: a loss that is no number, a worker that died
    ├── OutputError            an output path that cannot be written
    ├── PluginError            something of another package that cannot be loaded, or has a name that is taken
    ├── Defect                 a fault of everyframe's own
    └── UsageError             arguments that contradict each other or are out of range

Each message says what happened, where (file, node, key), what was expected, what was found and what to do next.
The command line prints it to stderr and exits with code 2; it never prints a traceback for these.
"""

from __future__ import annotations

import contextlib
import difflib
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import overload

__all__ = [
    "ConversionMismatch",
    "Defect",
    "EngineError",
    "EveryframeError",
    "ModelError",
    "OutputError",
    "PluginError",
    "RecipeError",
    "SourceError",
    "StateError",
    "TrainingStopped",
    "UnsupportedOperator",
    "UnsupportedSystem",
    "UsageError",
    "WeightsError",
]


class EveryframeError(Exception):
    """Base of all errors with a user-facing message.

    what: one sentence. where: the file, node or key it happened at. expected / got: as the words say.
    hint: the next step, in the imperative.
    """

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        expected: object = None,
        got: object = None,
        hint: str | None = None,
    ) -> None:
        self.what, self.where, self.expected, self.got, self.hint = what, where, expected, got, hint
        super().__init__(str(self))

    def __str__(self) -> str:
        rows = (("where", self.where), ("expected", self.expected), ("got", self.got), ("try", self.hint))
        return "\n".join([self.what, *(f"  {label + ':':<10}{value}" for label, value in rows if value is not None)])

    def __reduce__(self) -> tuple:
        # errors cross process borders (the decode worker), and Exception's own pickling knows only positional args
        return (_rebuild, (type(self), self.what, self.where, self.expected, self.got, self.hint))


def _rebuild(cls: type, what: str, where: object, expected: object, got: object, hint: str | None) -> EveryframeError:
    return cls(what, where=where, expected=expected, got=got, hint=hint)


class UnsupportedSystem(EveryframeError, ImportError):
    """Raised by `import everyframe` itself, so that programs which can do without it catch it as they catch its absence."""


class ModelError(EveryframeError): ...


class UnsupportedOperator(ModelError): ...


class ConversionMismatch(ModelError): ...


class SourceError(EveryframeError): ...


class EngineError(EveryframeError): ...


class StateError(EveryframeError): ...


class WeightsError(EveryframeError): ...


class RecipeError(EveryframeError): ...


class TrainingStopped(EveryframeError): ...


class OutputError(EveryframeError): ...


class PluginError(EveryframeError): ...


class Defect(EveryframeError): ...


class UsageError(EveryframeError): ...


@overload
def meant(name: str, known: Iterable[str], otherwise: str, cutoff: float = 0.6) -> str: ...


@overload
def meant(name: str, known: Iterable[str], otherwise: None = None, cutoff: float = 0.6) -> str | None: ...


def meant(name: str, known: Iterable[str], otherwise: str | None = None, cutoff: float = 0.6) -> str | None:
    """A hint for a name that does not exist: the known one that is closest to it, `otherwise` if none is close.

    cutoff: how alike they have to be, 0 to 1, as `difflib` has it.
    """
    close = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return f"did you mean {close[0]}?" if close else otherwise


def pip_install(packages: str) -> str:
    """The command that installs packages where this runs, whether or not that environment is the shell's."""
    python = Path(sys.executable)
    pip = shutil.which("pip")
    return f"{'pip' if pip and Path(pip).parent == python.parent else f'{_typed(python)} -m pip'} install {packages}"


def install_extra(name: str) -> str:
    """The command that installs what an extra of everyframe needs; in a checkout, in the versions that it is tested with."""
    if checkout := _checkout():
        return pip_install(f"-c {_typed(checkout / 'requirements.lock')} -e {_typed(checkout, f'[{name}]')}")
    return pip_install(f"'everyframe[{name}]'")


def upgrade() -> str:
    """The command that brings the newest everyframe."""
    checkout = _checkout()
    return f"git -C {_typed(checkout)} pull" if checkout else pip_install("--upgrade everyframe")


def _checkout() -> Path | None:
    above = Path(__file__).resolve().parents[2]
    return above if (above / "pyproject.toml").is_file() else None


def _typed(path: Path, behind: str = "") -> str:
    """As it is typed into a shell in the folder where the user is."""
    here = Path.cwd()
    return shlex.quote(f"{path.relative_to(here) if path.is_relative_to(here) else path}{behind}")


def first_line(error: Exception) -> str:
    """What an error of another package says, which may go on for pages; its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


#: what a statement of ours raises where it is wrong about what it is given; other libraries tell by their own errors
_SLIPS = (AttributeError, KeyError, IndexError, NameError, TypeError, AssertionError, NotImplementedError, RecursionError)
_PACKAGE = Path(__file__).resolve().parent


@contextlib.contextmanager
def following(refusal: Callable[[str], EveryframeError]) -> Iterator[None]:
    """What onnx, numpy or onnxruntime raise becomes an error of ours: `refusal`, given the type and what was said. A slip of this
    package's own code is said to be one: a `Defect`, by the same place.
    """
    try:
        yield
    except EveryframeError:
        raise
    except Exception as error:
        made = refusal(f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}")
        if isinstance(error, _SLIPS) and (at := _raised_here(error)):
            raise Defect(
                "everyframe itself failed at this network.", where=made.where, got=f"{made.got} ({at})",
                hint="please report it with the model; what is damaged in a file may also lead here: does it run in onnxruntime?",
            ) from error  # fmt: skip
        raise made from error


def _raised_here(error: Exception) -> str:
    """`file.py, line n` of this package where the error began; empty if that was in another one."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    file = Path(last.tb_frame.f_code.co_filename) if last is not None else Path()
    return f"{file.relative_to(_PACKAGE).as_posix()}, line {last.tb_lineno}" if last and file.is_relative_to(_PACKAGE) else ""
