"""What is known about official checkpoints: published.toml as data, and the label files beside it."""

from __future__ import annotations

import functools
import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from everyframe.errors import UsageError
from everyframe.modelfile.labels import read_labels
from everyframe.modelfile.schema import Preprocess
from everyframe.models.registry import describe


@dataclass(frozen=True)
class Published:
    """One official checkpoint; the fields are explained at the top of published.toml."""

    network: str
    tag: str
    project: str
    source: str
    license: str
    num_classes: int
    url: str | None = None
    sha256: str | None = None
    sha256_prefix: str | None = None
    bytes: int | None = None
    manual: bool = False
    page: str | None = None
    file: str | None = None
    labels: str | None = None
    frames: int | None = None
    size: int | None = None
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    top1: float | None = None
    top5: float | None = None
    protocol: str | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """The name of the file in the cache. Another URL is another name: a table that moved on does not reuse old files."""
        suffix = re.search(r"(\.[A-Za-z]\w*)+$", (self.url or self.file or "").rpartition("/")[2])
        kind = suffix[0] if suffix else ".pth"
        return f"{self.network}-{self.tag}-{hashlib.sha256((self.url or '').encode()).hexdigest()[:8]}{kind}"

    def preprocessing(self, default: Preprocess) -> Preprocess:
        """What the checkpoint wants of its frames. default: the network's own, of its registry entry."""
        return Preprocess.model_validate({**default.model_dump(), **self.preprocess})

    def label_names(self) -> tuple[str, ...] | None:
        """The class names in the order of the logits; None where they are not known for sure."""
        return None if self.labels is None else read_published_labels(self.labels)


@functools.cache
def table() -> tuple[Published, ...]:
    """Everything in published.toml, in its order."""
    rows = tomllib.loads((resources.files(__package__) / "published.toml").read_text(encoding="utf-8"))["weights"]
    return tuple(Published(**row) for row in rows)


def published(network: str) -> list[Published]:
    """The official checkpoints of a network; empty if there are none."""
    return [item for item in table() if item.network == network]


def find(network: str, tag: str) -> Published:
    """One of them. Raises UsageError naming the tags that exist."""
    items = published(network)
    for item in items:
        if item.tag == tag:
            return item
    describe(network)  # a name that is no network at all has its own message
    raise UsageError(
        f"{network} has no published weights called {tag!r}." if items else f"No published weights of {network} are known.",
        got=tag,
        expected=" or ".join(item.tag for item in items) or None,
        hint="give the path of a checkpoint file instead" if not items else "choose one of them, or give the path of a file",
    )


@functools.cache
def read_published_labels(name: str) -> tuple[str, ...]:
    """The class names of a data set in the order of the logits, such as "kinetics400". Raises UsageError."""
    folder = resources.files(__package__) / "labels"
    known = sorted(file.name.removesuffix(".txt") for file in folder.iterdir() if file.name.endswith(".txt"))
    if name not in known:
        raise UsageError("There is no list of labels of this name.", got=name, expected=" or ".join(known))
    return read_labels((folder / f"{name}.txt").read_text(encoding="utf-8").splitlines())
