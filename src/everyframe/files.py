"""Files written whole or not at all, checked before long work; and the folder for what can be made or fetched again.

A file is written to a temporary name and renamed, so that no half-written one is ever seen.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from everyframe.errors import EveryframeError, OutputError, UsageError

_HOME = re.compile(r"(?:--?[\w-]+=|[\w.]+=)?(~[^/=]*)(?=/|$)")


#: what the system says of a path that is not to be used so: too long, below a file, a folder in place of a file or the other way
#: round, closed to this user, links in a circle
_UNUSABLE = (
    errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENOENT,
    errno.EEXIST,
)  # fmt: skip
#: what is said where a disk is full
NO_SPACE = "no space is left"
#: the home of who has none, by custom
NOWHERE = Path("/nonexistent")


def at_home(given: Any) -> Any:
    """What a user gives, with `~` for the folder that it stands for: shells leave it in quotes, and behind `--csv=` and `KEY=`.

    A text, a path, or a list, tuple or dict of such; anything else, and a user who does not exist, stays as it is. Raises
    UsageError for what no system takes as a name.
    """
    if isinstance(given, str):
        if "\0" in given:
            raise UsageError("No name holds this character.", where=repr(given[:200]), got="a NUL", hint="leave it out")
        found = _HOME.match(given)
        return given if found is None else given[: found.start(1)] + os.path.expanduser(given[found.start(1) :])  # noqa: PTH111
    if isinstance(given, Path):
        return Path(at_home(str(given)))
    if type(given) in (list, tuple):
        return type(given)(map(at_home, given))
    return {key: at_home(value) for key, value in given.items()} if type(given) is dict else given


@contextlib.contextmanager
def paths_told(given: Iterable[Any] | None = None) -> Iterator[None]:
    """What the system refuses of a path becomes an error of ours that names it. Whoever looks at a path closer says more.

    given: by the user, and all that is not about these paths stays as it is: what a caller's own function raises is its own.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError):
            if not str(error).startswith("Symlink loop"):  # what `Path.resolve` says until Python 3.13
                raise
            raise EveryframeError("This path cannot be used.", got=str(error), hint="mend the link") from None
        if error.errno == errno.ENOSPC:
            raise OutputError("The output cannot be written.", where=error.filename, got=NO_SPACE) from None
        if error.errno not in _UNUSABLE or error.filename is None or not (given is None or _about(error.filename, given)):
            raise
        raise EveryframeError(
            "This path cannot be used.", where=os.fsdecode(error.filename), got=error.strerror,
            hint="check the path and its permissions",
        ) from None  # fmt: skip


def _about(name: str | bytes, given: Iterable[Any]) -> bool:
    """Whether it is one of the paths, lies below one, or above."""
    found = os.path.abspath(os.fsdecode(name))  # noqa: PTH100 (`Path.absolute` leaves `..`)
    for each in given:
        if isinstance(each, str | os.PathLike):
            path = os.path.abspath(os.fspath(each))  # noqa: PTH100
            if os.path.commonpath([path, found]) in (path, found):
                return True
        elif type(each) in (list, tuple) and _about(name, each):
            return True
    return False


def cache_folder(kind: str) -> Path:
    """$EVERYFRAME_CACHE/kind, or everyframe/kind in the platform's folder for caches. It need not exist, nor be to be made: a
    user without a home has none.
    """
    if own := os.environ.get("EVERYFRAME_CACHE"):
        return Path(at_home(own)).absolute() / kind
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = Path(at_home(base))
    return (NOWHERE if home.parts[0].startswith("~") else home) / "everyframe" / kind


def check_writable(path: str | os.PathLike[str], suffix: str = "", *, read: Iterable[str | os.PathLike[str]] = ()) -> None:
    """Raises OutputError if a file cannot be made at `path`: to be asked before long work, not after it. suffix: in which its
    name has to end. read: files that it must not take the place of."""
    path = Path(path)
    check_kept(path, *read)
    if suffix and path.suffix.lower() != suffix:
        raise OutputError("The output is of another kind.", where=path, expected=f"a name that ends in {suffix}", got=path.name)
    try:
        problem = _not_writable(path)
    except OSError as error:
        problem = error.strerror or str(error)
    if problem:
        raise OutputError(
            "The output cannot be written.",
            where=path,
            got=problem,
            hint="choose a file in a writable folder that exists",
        )


def _not_writable(path: Path) -> str | None:
    if path.is_dir():
        return "it is a folder"
    if _is_special(path):
        return None if os.access(path, os.W_OK) else "permission denied"
    if not path.parent.is_dir():
        return "its folder does not exist"
    if Path(os.path.realpath(path)).is_symlink():
        return os.strerror(errno.ELOOP)
    writable = os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))
    return None if writable else "permission denied"


def check_kept(output: Path, *read: str | os.PathLike[str]) -> None:
    """Raises OutputError where writing `output` would overwrite one of the files that are read."""
    if output.is_file() and any(output.samefile(path) for path in read if Path(path).is_file()):
        raise OutputError("This would overwrite what is read.", where=output, hint="name another file")


def check_folder(folder: Path, mark: str | None, what: str) -> None:
    """Raises OutputError where `what` cannot become this folder: a new or empty one, or one with `mark`, to be replaced."""
    problem = None
    if folder.exists() and not folder.is_dir():
        problem = "it is a file"
    elif folder.is_dir() and any(folder.iterdir()) and not (mark and (folder / mark).exists()):
        problem = "the folder is not empty" + (f" and holds no {mark}" if mark else "")
    elif not folder.parent.is_dir():
        problem = "the folder above it does not exist"
    if problem:
        raise OutputError(f"The {what} cannot be written.", where=folder, got=problem, hint="name a new folder")


@contextlib.contextmanager
def results_in(folder: Path | None) -> Iterator[None]:
    """A folder for results, made before the long work and taken away again where that fails and nothing came into it.
    Raises OutputError where no file could be written there. None: no folder is wanted.
    """
    new = [] if folder is None else [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        if folder is not None:
            make_folder(folder)
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for each in new:
                each.rmdir()
        raise


@contextlib.contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Only one process at a time works in a folder. Raises OutputError where another one does. The system frees the lock of a
    process that dies, and no file of it lies about.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(opened)
        raise OutputError(
            "Another process is working in this folder.", where=folder, hint="wait until it has ended, or name another folder"
        ) from None
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        os.close(opened)


def make_folder(folder: str | os.PathLike[str]) -> Path:
    """A folder in which files can be made, with those above it. Raises OutputError."""
    folder = Path(at_home(folder))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            "The output folder cannot be made or written.", where=folder, got=error.strerror or str(error),
            hint="choose another, in a writable folder",
        ) from None  # fmt: skip
    return folder


def make_ordinary(path: Path) -> None:
    """Gives what `tempfile` made for its owner alone the permissions of any new file or folder."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


def _is_special(path: Path) -> bool:
    """A device or a pipe, which takes what is written, but never gives its place to a file."""
    return path.exists() and not path.is_file() and not path.is_dir()


def write_bytes(data: bytes, path: str | os.PathLike[str]) -> Path:
    """Writes a whole file or nothing: a temporary name in the same folder, then a rename. A link stays one, and a device or a
    pipe what it is. Raises OutputError.
    """
    return write_together({Path(path): data})[0]


def write_together(files: Mapping[Path, bytes]) -> list[Path]:
    """Writes all files, whole, or none: each as `write_bytes` does, renamed when the last one lies there. Raises OutputError."""
    staged: dict[Path, Path] = {}
    path = Path()
    try:
        for path, data in ((at_home(path), data) for path, data in files.items()):
            if _is_special(path):
                path.write_bytes(data)
                continue
            whole = Path(os.path.realpath(path))  # `resolve` raises what is no OSError
            if whole.is_symlink():
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            handle, temporary = tempfile.mkstemp(dir=whole.parent, prefix=f".{whole.name[:40]}.")
            staged[Path(temporary)] = whole
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            make_ordinary(Path(temporary))
        for temporary_path, path in staged.items():
            temporary_path.replace(path)
    except BaseException as error:
        for temporary_path in staged:
            temporary_path.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise OutputError(
            "The output cannot be written.",
            where=path,
            got=error.strerror or str(error),
            hint="choose a folder that exists and is writable, with enough free space",
        ) from None
    return [at_home(path) for path in files]
