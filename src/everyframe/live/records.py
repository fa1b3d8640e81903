"""Events that are kept: a line each in a file, a row each in a database. What a full disk refuses is counted, and the next one is
tried again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from everyframe.errors import OutputError
from everyframe.files import check_writable
from everyframe.live.sinks import Sink, Undelivered

#: messages that wait while the disk is slow
WAITING = 1000


class Lines(Sink):
    """Appends a JSON object a line: events that are over, states, gaps. most: bytes after which the file becomes NAME.1, NAME.1
    becomes NAME.2, ...; `files` of them are kept. sync: each line is on the disk before the next is begun. Raises OutputError.
    """

    wants = ("end", "state", "gap")

    def __init__(self, path: Path, most: float = 100e6, files: int = 5, sync: bool = True) -> None:
        check_writable(path)
        self.path, self.most, self.files, self.sync = path, most, files, sync
        super().__init__(path.name, WAITING)

    def deliver(self, alert: Mapping[str, Any]) -> None:
        line = (json.dumps(alert) + "\n").encode()
        try:
            self._rotate(len(line))
            with self.path.open("ab", buffering=0) as file:
                begun = file.tell()
                try:
                    if file.write(line) < len(line):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    if self.sync:
                        os.fsync(file.fileno())
                except OSError:
                    with contextlib.suppress(OSError):  # never half a line
                        os.ftruncate(file.fileno(), begun)
                    raise
        except OSError as error:
            raise Undelivered(error.strerror or str(error)) from None

    def _rotate(self, more: int) -> None:
        if not self.path.exists() or self.path.stat().st_size + more <= self.most or self.path.stat().st_size == 0:
            return
        for number in range(self.files - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1)) if number + 1 < self.files else older.unlink()
        if self.files > 1:
            self.path.replace(self._numbered(1))
        else:
            self.path.unlink()

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


#: `start`, `peak`, `end` and `at` are seconds since 1970
SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
  id TEXT PRIMARY KEY, camera TEXT NOT NULL, model TEXT NOT NULL, label TEXT NOT NULL, score REAL NOT NULL,
  start REAL NOT NULL, peak REAL NOT NULL, "end" REAL, number INTEGER NOT NULL, snapshot TEXT, video TEXT
);
CREATE INDEX IF NOT EXISTS events_by_time ON events (start);
CREATE TABLE IF NOT EXISTS states (camera TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, at REAL NOT NULL);
"""
_COLUMNS = ("id", "camera", "model", "label", "score", "start", "peak", "end", "number", "snapshot", "video")


class Database(Sink):
    """SQLite, in WAL mode: others may read while it is written. Events from their beginning on. Raises OutputError."""

    wants = ("begin", "end", "state", "gap")

    def __init__(self, path: Path) -> None:
        check_writable(path)
        self.path = path
        try:
            with contextlib.closing(self._open()):
                pass
        except sqlite3.Error as error:
            raise OutputError("The database cannot be written.", where=path, got=error) from None
        super().__init__(path.name, WAITING)

    def deliver(self, alert: Mapping[str, Any]) -> None:
        try:
            with contextlib.closing(self._open()) as database, database:
                if alert["phase"] in ("state", "gap"):
                    values = [alert.get(name, "") for name in ("camera", "state", "reason", "at")]
                    database.execute("INSERT INTO states VALUES (?, ?, ?, ?)", values)
                else:
                    names = ", ".join(f'"{name}"' for name in _COLUMNS)
                    marks = ", ".join("?" * len(_COLUMNS))
                    values = [alert[name] for name in _COLUMNS]
                    database.execute(f"INSERT OR REPLACE INTO events ({names}) VALUES ({marks})", values)
        except sqlite3.Error as error:
            raise Undelivered(str(error)) from None

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=5)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.executescript(SCHEMA)
        return database
