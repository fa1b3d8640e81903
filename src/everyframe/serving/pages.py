"""The page of `bundle --target web`, served: its frames come here, or the model goes there."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from everyframe.bundles.inline import filled
from everyframe.bundles.job import Job
from everyframe.bundles.targets import TARGETS
from everyframe.bundles.web import PAGES, files, opened
from everyframe.progress import silent
from everyframe.runtime import BUILTIN
from everyframe.serving.shelf import Served, Shelf
from everyframe.version import __version__

SAMPLE = BUILTIN.with_name("sample.mp4")
#: what the page needs beside, to be served
OWN = Path(__file__).with_name("page")
#: what a browser runs of a model by itself
FILES = ("model.json", "model.weights", "relaxed.wasm", "simd128.wasm")
TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".json": "application/json", ".mp4": "video/mp4", ".wasm": "application/wasm",
}  # fmt: skip
_OLD = "This page needs JavaScript, and a browser from 2023 or later."


def type_of(name: str) -> str:
    return TYPES.get(Path(name).suffix, "application/octet-stream")


def page(shelf: Shelf) -> Mapping[str, bytes]:
    """Path -> bytes of what anybody may see: it says nothing of the models."""
    files = (path for folder in (PAGES, OWN) for path in folder.iterdir() if path.suffix in (".js", ".css"))
    made = {f"/{path.name}": path.read_bytes() for path in files}
    sample = SAMPLE.exists() and "builtin" in shelf.models
    words = {"title": "everyframe", "version": __version__, "without": _OLD, "sample": SAMPLE.name if sample else ""}
    text = filled((PAGES / "index.html").read_text(encoding="utf-8"), words)
    made["/"] = text.replace("<body ", '<body data-served="true" ', 1).encode()
    if sample:
        made[f"/{SAMPLE.name}"] = SAMPLE.read_bytes()
    return made


class Browsers:
    """What browsers run of each model, made when first asked for: that takes a compiler, and seconds to a minute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[str, tuple[int, Mapping[str, bytes]]] = {}

    def get(self, served: Served, name: str) -> bytes:
        """Blocks: for a thread. Raises EveryframeError where it cannot be made."""
        with self._lock:
            edition = served.edition
            generation, made = self._made.get(served.name, (0, {}))
            if generation != edition.generation:
                job = Job(edition.program.path, Path(), "web", TARGETS["web"], 0, silent)
                made, _ = files(job, opened(job), False)
                self._made[served.name] = (edition.generation, made)
            return made[name]
