"""The command line: one verb, one file. Verbs import what they need when they run, so that `--help` is instant."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import typer

# verb -> module below everyframe.cli.verbs that defines `command` with the same signature as the verb
VERBS: dict[str, str] = {
    "demo": "demo",
    "predict": "predict",
    "watch": "watch",
    "serve": "serve",
    "stream": "stream",
    "info": "info",
    "compile": "compile",
    "check": "check",
    "quantize": "quantize",
    "split": "split",
    "bundle": "bundle",
    "models": "models",
    "export": "export",
    "import": "import_",
    "teach": "teach",
    "render": "render",
    "train": "train",
    "prune": "prune",
    "search": "search",
    "evaluate": "evaluate",
    "benchmark": "benchmark",
}

_LATER_S, _PATIENCE_S = 0.05, 2.0

app = typer.Typer(
    name="everyframe",
    help="Recognize actions and gestures in live video, at every frame.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def register() -> None:
    known = {command.name for command in app.registered_commands}  # `run` may be called again in the same process
    for verb, module in VERBS.items():
        if verb not in known:
            app.command(name=verb)(importlib.import_module(f"everyframe.cli.verbs.{module}").command)


def _version(show: bool) -> None:
    if show:
        from everyframe.version import __version__

        typer.echo(f"everyframe {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


@contextlib.contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """Ours are said to the user, without the line of code that Python prints with a warning."""
    before: Callable[..., Any] = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        from everyframe.runtime.engine import AccuracyWarning
        from everyframe.version import RenamedWarning

        if issubclass(category, (AccuracyWarning, RenamedWarning)):
            print(f"warning: {message}", file=sys.stderr)
        else:
            before(message, category, *where, **more)

    warnings.showwarning = show  # type: ignore[assignment]
    try:
        yield
    finally:
        warnings.showwarning = before


@contextlib.contextmanager
def _patient_ctrl_c() -> Iterator[None]:
    """Ctrl-C waits a little for what is just being imported: numpy and others make an ImportError of it, with a traceback."""
    asked: list[float] = []
    later: list[threading.Timer] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        asked.append(time.monotonic())
        later.clear()
        while frame is not None and asked[-1] - asked[0] < _PATIENCE_S:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                later.append(threading.Timer(_LATER_S, os.kill, (os.getpid(), number)))
                later[0].start()
                return
            frame = frame.f_back
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) != signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except ImportError:
        if asked:
            raise KeyboardInterrupt from None
        raise
    finally:
        still_asked = list(later)  # the command was over before it was heard
        for timer in still_asked:
            timer.cancel()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if still_asked:
            raise KeyboardInterrupt


class _Nowhere(io.TextIOWrapper):
    """Takes the place of a standard stream that is closed. lost: something was written."""

    lost = False

    def write(self, text: str) -> int:
        self.lost = self.lost or bool(text)
        return super().write(text)


def _fill_closed() -> None:
    """Standard streams that are closed (`>&-`) lead nowhere: files that are opened would get their numbers, and what libraries
    print would be written into them.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
        if number and getattr(sys, name) is None:
            setattr(sys, name, _Nowhere(Path(os.devnull).open("wb"), encoding="utf-8"))  # noqa: SIM115


def run(argv: list[str] | None = None) -> None:
    """Entry point: user errors go to stderr with exit code 2, Ctrl-C ends with 130; never a traceback for either."""
    from everyframe.errors import EveryframeError, OutputError
    from everyframe.files import NO_SPACE, at_home, paths_told

    _fill_closed()
    try:
        register()
        with _patient_ctrl_c(), _warnings_in_a_line(), paths_told():
            # completion is asked for under this name, and so is what is installed for it, however the program was started
            try:
                app(args=at_home(sys.argv[1:] if argv is None else argv), prog_name="everyframe")
            finally:
                sys.stdout.flush()
                if isinstance(sys.stdout, _Nowhere) and sys.stdout.lost:
                    raise OutputError(
                        "Standard output is closed, so what was printed is lost.", where="standard output",
                        hint="redirect it where it is not wanted: > /dev/null",
                    )  # fmt: skip
    except EveryframeError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.got == NO_SPACE:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what waits in stdout would fail once more
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # the reader of a pipe went away (`| head`): not our error, and stdout can no longer be flushed
        sys.stderr.close()
        sys.exit(0)
    except SystemExit:
        if type(sys.stdout).__name__ == "PacifyFlushWrapper":  # the same, where typer has met it
            sys.exit(0)
        raise
