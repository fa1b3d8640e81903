"""What a program connects to and where it writes, as `strace` sees it and all its children, in an empty home."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from command_line import environment

SENDS = ("connect", "sendto", "sendmsg", "sendmmsg")
OPENS = ("open", "openat", "openat2", "creat")
MAKES = ("mkdir", "mkdirat", "mknod", "mknodat", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat")
#: -y names the folder that a relative path begins in; --seccomp-bpf stops the program at these calls only
STRACE = ("strace", "-f", "-y", "--seccomp-bpf", "-qq", "-e", "signal=none", "-e", f"trace={','.join(SENDS + OPENS + MAKES)}")

#: services of this machine that libc and libuuid ask by a socket: for names of users and of hosts (which then shows as a
#: connection), and for a number that nobody else has; with the file of the latter
LOCAL = ("/var/run/nscd/", "/run/nscd/", "/run/uuidd/")
NUMBERS = Path("/var/lib/libuuid")
#: torch makes the folder of its compiler's cache when it is loaded; nothing compiles with it, so it stays empty
EMPTY = re.compile(r"torchinductor_\w+")

_CALL = re.compile(r"\d+ +(?P<name>\w+)\((?P<rest>.*)")
_FAMILY = re.compile(r"sa_family=AF_(\w+)")
_SOCKET = re.compile(r'sun_path="([^"]*)"')
_PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)<(?P<folder>[^>]*)>, )?"(?P<path>(?:[^"\\]|\\.)*)"')
_WRITES = re.compile(r"O_(?:WRONLY|RDWR|CREAT)")


@functools.cache
def why_not() -> str | None:
    """Why nothing can be traced here; None if it can be."""
    if shutil.which("strace") is None:
        return "strace is not installed (on Debian: apt install strace)"
    done = subprocess.run([*STRACE, "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    return f"strace cannot be used here: {done.stderr.strip()}" if done.returncode else None


@dataclass(frozen=True)
class Machine:
    """An empty home, an empty folder for temporary files, and a folder that programs run in and write to."""

    root: Path

    def __post_init__(self) -> None:
        for folder in (self.home, self.temporary, self.outputs):
            folder.mkdir()

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    @property
    def outputs(self) -> Path:
        return self.root / "out"

    def run(self, *command: str | Path) -> list[str]:
        """Runs it to its end and returns what went beyond: connections, calls that write elsewhere, and what was left."""
        log = self.root / "log"
        kept = {k: v for k, v in environment().items() if k in ("PATH", "LD_LIBRARY_PATH", "CC", "PYTHONDONTWRITEBYTECODE")}
        kept |= {"HOME": str(self.home), "TMPDIR": str(self.temporary), "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*STRACE, "-o", log, *command], cwd=self.outputs, env=kept, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        with log.open(encoding="utf-8", errors="replace") as lines:
            return [*self._beyond(lines), *self._left()]

    def _beyond(self, lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            call = _CALL.match(line)
            if call is None:
                continue  # the end of a call that was shown before
            name, rest = call["name"], call["rest"]
            if name in SENDS:
                wrong = self._goes_out(rest)
            elif name in OPENS and name != "creat" and not _WRITES.search(rest):
                wrong = False
            else:
                paths = [Path(found["folder"] or self.outputs, found["path"]) for found in _PATH.finditer(rest)]
                wrong = not all(self._allowed(path) for path in paths)
            if wrong:
                yield line.strip()

    def _goes_out(self, rest: str) -> bool:
        family = _FAMILY.search(rest)
        if family is None or family[1] in ("UNSPEC", "NETLINK"):
            return False  # along a connection that was shown before; none; a question to the kernel
        socket = _SOCKET.search(rest)
        return not (family[1] == "UNIX" and socket and socket[1].startswith((*LOCAL, f"{self.temporary}/")))

    def _allowed(self, path: Path) -> bool:
        """Outputs, our own cache, temporary files, Python's bytecode, devices and the kernel's files."""
        cache = self.home / ".cache" / "everyframe"
        if path == cache or path in cache.parents or "__pycache__" in path.parts:
            return True
        places = (self.outputs, cache, self.temporary, NUMBERS, Path("/dev"), Path("/proc"))
        return any(path.is_relative_to(place) for place in places)

    def _left(self) -> Iterator[str]:
        for path in self.home.rglob("*"):
            if not self._allowed(path):
                yield f"left {path}"
        for path in self.temporary.rglob("*"):
            if not (path.is_dir() and EMPTY.fullmatch(path.name)):
                yield f"left {path}"
