"""The files of official checkpoints, from the net into a cache.

    item = find("x3d_s", "kinetics400")          URL, size, hash, license, preprocessing, labels: see published.toml
    path = fetch(item)                           downloaded once, checked, then used without the network

Weights lie in $EVERYFRAME_CACHE/weights, or in everyframe/weights of the platform's folder for caches. A download is
written to NAME.part and renamed when it is whole and checked, so that NAME is always good; a broken one goes on where
it stopped, if the server can do that and its file is still the same (NAME.part.json remembers which file it was).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from everyframe.errors import OutputError, WeightsError
from everyframe.files import cache_folder as everyframe_cache
from everyframe.models.checkpoints.progress import bar
from everyframe.models.checkpoints.published import Published, find, published, read_published_labels

__all__ = ["Progress", "Published", "cache_folder", "fetch", "find", "published", "read_published_labels"]

Progress = Callable[[int, int | None], None]  # bytes here so far, bytes in all if known

CHUNK = 1 << 16  # bytes
TIMEOUT_S = 20.0  # without one byte from the server
ATTEMPTS = 4  # in a row that bring nothing new
PAUSE_S = 0.5  # before the second attempt; doubles up to PAUSE_MAX_S
PAUSE_MAX_S = 8.0
RETRIED = (408, 425, 429, 500, 502, 503, 504)  # HTTP states that may pass


def cache_folder() -> Path:
    """Where weights are kept: $EVERYFRAME_CACHE/weights, or everyframe/weights in the platform's folder for caches."""
    return everyframe_cache("weights")


def fetch(
    item: Published,
    *,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    timeout_s: float = TIMEOUT_S,
    attempts: int = ATTEMPTS,
    pause_s: float = PAUSE_S,
) -> Path:
    """The checkpoint's file, from the cache or else from the net.

    cache: the folder of the files (default: `cache_folder()`). progress: called with (bytes here, bytes in all or None);
    a bar on stderr by default, if that is a terminal. timeout_s: how long the server may send nothing. attempts: how many
    in a row may bring nothing new. pause_s: before the second of them; doubles each time. Size and hash are checked once,
    when the file is new.
    Raises WeightsError when the file cannot be had or is not the published one, OutputError for the cache.
    """
    folder = cache_folder() if cache is None else Path(cache)
    path = folder / item.name
    if item.manual or item.url is None:
        raise WeightsError(
            "These weights lie behind a page that only a browser can use.",
            where=item.page or item.source,
            expected=item.file,
            hint=f"{_by_hand(item)}; license: {item.license}",
        )
    if _is_whole(path, item):
        return path
    with _output(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _only_one(path.with_name(path.name + ".lock")) as alone:
        if _is_whole(path, item):  # another process was faster
            return path
        part = path.with_name(f"{path.name}.part" if alone else f"{path.name}.{os.getpid()}.part")
        with contextlib.nullcontext(progress) if progress else bar(f"weights of {item.network}") as shown:
            _Download(item, part, shown, timeout_s).run(attempts, pause_s)
        with _output(path):
            part.replace(path)
    return path


def _is_whole(path: Path, item: Published) -> bool:
    with contextlib.suppress(OSError):
        return path.is_file() and (item.bytes is None or path.stat().st_size == item.bytes)
    return False


def _by_hand(item: Published) -> str:
    return f"download {item.file or 'the file'} in a browser, then give its path: `--weights FILE`, or weights='FILE' in Python"


@contextlib.contextmanager
def _output(where: Path) -> Iterator[None]:
    """Errors of the disk as OutputError."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise OutputError(
            "The disk is full." if full else "The folder for downloaded weights cannot be written.",
            where=where,
            got=error.strerror or str(error),
            hint="free some space: the download goes on where it stopped"
            if full
            else "set EVERYFRAME_CACHE to a folder that can be written, or give the path of a checkpoint file",
        ) from None


@contextlib.contextmanager
def _only_one(lock: Path) -> Iterator[bool]:
    """Waits until no other process or thread has `lock`; False where the file system has no locks.

    The file stays after a failure and goes after a success: whoever still waits for it then finds the weights ready.
    """
    with _output(lock.parent):
        file = lock.open("ab")
    with file:
        alone = _take(file)
        yield alone
        with contextlib.suppress(OSError):
            lock.unlink()


def _take(file: IO[bytes]) -> bool:
    if sys.platform == "win32":
        import msvcrt

        while True:
            with contextlib.suppress(OSError):
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                return True
            time.sleep(0.1)
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX)  # let go of when the file is closed, also by a crash
    except OSError:
        return False
    return True


class _Interrupted(Exception):
    """The connection broke, was refused or stalled: another attempt may help."""


class _StartAgain(Exception):
    """What is in the part is not the beginning of what the server has."""


class _SameScheme(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http(s) only, and never from https down to http."""

    def redirect_request(self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not newurl.startswith(("https://",) if req.type == "https" else ("https://", "http://")):
            raise urllib.error.HTTPError(req.full_url, code, f"a redirect to {newurl}", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Download:
    """One file into `part`. `run` returns when it is whole and checked; `part` then only has to be renamed."""

    def __init__(self, item: Published, part: Path, progress: Progress, timeout_s: float) -> None:
        self.item, self.part, self.progress, self.timeout_s = item, part, progress, timeout_s
        self.url = item.url or ""
        self.beside = part.with_name(part.name + ".json")
        self.total = item.bytes
        self.opener = urllib.request.OpenerDirector()  # no file: or ftp: handlers
        for handler in (
            urllib.request.ProxyHandler,
            urllib.request.HTTPHandler,
            urllib.request.HTTPSHandler,
            urllib.request.HTTPDefaultErrorHandler,
            urllib.request.HTTPErrorProcessor,
            _SameScheme,
        ):
            self.opener.add_handler(handler())

    def run(self, attempts: int, pause_s: float) -> None:
        if not self.url.startswith(("https://", "http://")):
            self._fail("Weights are downloaded by http or https only.", got=self.url)
        most, fruitless = self._here(), 0
        while True:
            try:
                self._attempt()
                break
            except _StartAgain:
                self._forget()  # asks for the whole file next time, so this cannot go round for ever
            except _Interrupted as error:
                here = self._here()
                fruitless = 0 if here > most else fruitless + 1
                most = max(most, here)
                if fruitless >= attempts:
                    kept = f"; {here} bytes are kept for the next time" if self._known() else ""
                    self._fail(
                        "The weights could not be downloaded.",
                        got=f"{error} ({attempts} attempts without anything new{kept})",
                        hint=f"check the connection and try again, or {_by_hand(self.item)}",
                    )
                time.sleep(min(PAUSE_MAX_S, pause_s * 2 ** max(0, fruitless - 1)))
        self._check()

    def _attempt(self) -> None:
        """One request. Raises _Interrupted or _StartAgain."""
        known = self._known()
        offset = self._here() if known else 0
        if known and offset and offset == known.get("total"):
            return  # was stopped between the last byte and the renaming
        request = urllib.request.Request(self.url, headers={"User-Agent": "everyframe"})
        if offset:
            request.add_header("Range", f"bytes={offset}-")
            request.add_header("If-Range", known["validator"])
        try:
            with self.opener.open(request, timeout=self.timeout_s) as response:
                if offset and response.status == 206:
                    self._check_range(response.headers, offset, known)
                else:
                    offset = 0
                    self._begin(response.headers)
                self._receive(response, offset)
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error, offset)
        except (OSError, http.client.HTTPException) as error:  # includes URLError and TimeoutError
            cause = getattr(error, "reason", error)
            if isinstance(cause, TimeoutError):
                cause = f"the server sent nothing for {self.timeout_s:g} s"
            elif isinstance(error, urllib.error.URLError) and not self._here() and not isinstance(cause, ConnectionResetError):
                self._fail(
                    "The server of the weights cannot be reached.",
                    got=cause,
                    hint=f"connect to the internet and try again, or {_by_hand(self.item)}",
                )
            raise _Interrupted(str(cause) or type(cause).__name__) from None

    def _begin(self, headers: Any) -> None:
        """A whole file comes: empties the part and remembers which file it is."""
        if "text/html" in (headers.get("Content-Type") or ""):
            self._fail(
                "The server sent a web page instead of the weights.",
                hint=f"log in to the network if it asks for that, or {_by_hand(self.item)}",
            )
        length = headers.get("Content-Length")
        announced = int(length) if length and length.isdigit() else None
        if announced is not None and self.item.bytes is not None and announced != self.item.bytes:
            self._forget()
            self._wrong(f"{self.item.bytes} bytes", f"{announced} bytes")
        self.total = announced if announced is not None else self.item.bytes
        tag, changed = headers.get("ETag"), headers.get("Last-Modified")
        validator = tag if tag and not tag.startswith("W/") else changed  # a weak tag does not promise the same bytes
        with _output(self.part):
            self.part.write_bytes(b"")
            self.beside.write_text(json.dumps({"url": self.url, "validator": validator, "total": self.total}), encoding="utf-8")

    def _check_range(self, headers: Any, offset: int, known: dict[str, Any]) -> None:
        """What comes must be the rest of what is here, whatever the server made of If-Range."""
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("Content-Range") or "")
        validator, total = known["validator"], known.get("total")
        whole = int(found[3]) if found and found[3] != "*" else total
        changed = headers.get("ETag" if validator.startswith('"') else "Last-Modified", validator) != validator
        if not found or int(found[1]) != offset or total not in (None, whole) or changed:
            raise _StartAgain
        self.total = whole

    def _receive(self, response: Any, here: int) -> None:
        with _output(self.part):
            file = self.part.open("ab")
        with contextlib.ExitStack() as stack:
            stack.callback(_close, file)
            self.progress(here, self.total)
            while here != self.total and (data := response.read1(CHUNK)):
                with _output(self.part):
                    file.write(data)
                here += len(data)
                self.progress(here, self.total)
                if self.total is not None and here > self.total:
                    self._forget()
                    self._wrong(f"{self.total} bytes", "more")
        if self.total is not None and here < self.total:
            raise _Interrupted(f"the connection ended after {here} of {self.total} bytes")

    def _refused(self, error: urllib.error.HTTPError, offset: int) -> NoReturn:
        if error.code == 416 and offset:  # the part is longer than the file is now
            raise _StartAgain from None
        state = f"HTTP {error.code} {error.reason}"
        if error.code in RETRIED:
            raise _Interrupted(state) from None
        self._fail(
            "The server does not give out the weights.",
            got=state,
            hint=f"look for them at {self.item.source}: {_by_hand(self.item)}",
        )

    def _check(self) -> None:
        """Size and hash of the whole part. What is wrong is removed: going on with it would not make it right."""
        size = self._here()
        if self.item.bytes is not None and size != self.item.bytes:
            self._forget()
            self._wrong(f"{self.item.bytes} bytes", f"{size} bytes")
        with _output(self.part), self.part.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        expected = self.item.sha256 or self.item.sha256_prefix or ""
        if not sha256.startswith(expected.lower()):
            self._forget()
            self._wrong(f"sha256 {expected}{'' if self.item.sha256 else '...'}", f"sha256 {sha256}")
        with contextlib.suppress(OSError):
            self.beside.unlink()

    def _wrong(self, expected: str, got: str) -> NoReturn:
        self._fail(
            "The file from the server is not the published one; nothing of it was kept.",
            expected=expected,
            got=got,
            hint=f"try again; if it stays so, see {self.item.source} and {_by_hand(self.item)}",
        )

    def _fail(self, what: str, *, expected: object = None, got: object = None, hint: str | None = None) -> NoReturn:
        raise WeightsError(what, where=self.url, expected=expected, got=got, hint=hint or _by_hand(self.item)) from None

    def _here(self) -> int:
        with contextlib.suppress(OSError):
            return self.part.stat().st_size
        return 0

    def _known(self) -> dict[str, Any]:
        """What the part is a part of; empty when it cannot be gone on with."""
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(self.beside.read_text(encoding="utf-8"))
            if isinstance(known, dict) and known.get("url") == self.url and isinstance(known.get("validator"), str):
                return known
        return {}

    def _forget(self) -> None:
        for path in (self.part, self.beside):
            with contextlib.suppress(OSError):
                path.unlink()


def _close(file: IO[bytes]) -> None:
    """Closing writes what is buffered: the disk may be full then."""
    with _output(Path(file.name)):
        file.close()
