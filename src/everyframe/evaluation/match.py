"""The labels of the data and those of the model, brought together by name."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from everyframe.errors import UsageError


@dataclass(frozen=True)
class Matched:
    """labels: the model's. index: for each label of the data its place among them, -1 where there is none.
    data_only, model_only: labels without a partner. assumed: the model has no labels; the data's order was taken.
    """

    labels: tuple[str, ...]
    index: tuple[int, ...]
    data_only: tuple[str, ...] = ()
    model_only: tuple[str, ...] = ()
    assumed: bool = False


def match(
    data: Sequence[str], model: Sequence[str] | None, classes: int | None, renamed: Mapping[str, str] | None = None
) -> Matched:
    """model: its labels, None where it has none: then the data must have as many. renamed: data label -> model label.

    A label without a namesake takes the one that differs only in case and in what is not a letter or digit. Raises
    UsageError where nothing matches.
    """
    if model is None:
        if len(data) != classes:
            raise UsageError(
                "The model has no labels, and the data has another number of them.", expected=f"{classes} labels",
                got=len(data), hint="name the model's labels: --labels FILE, one a line",
            )  # fmt: skip
        return Matched(tuple(data), tuple(range(len(data))), assumed=True)
    renamed = renamed or {}
    _check(renamed, data, model)
    exact = {label: i for i, label in enumerate(model)}
    alike: dict[str, int] = {}
    for i, label in enumerate(model):
        alike[_plain(label)] = -1 if _plain(label) in alike else i
    names = [renamed.get(label, label) for label in data]
    index = tuple(exact.get(name, alike.get(_plain(name), -1)) for name in names)
    if all(at < 0 for at in index):
        raise UsageError(
            "No label of the data is one of the model's.",
            expected=_some(model), got=_some(data),
            hint="say which is which: --label-map FILE with lines such as \"data label\" = \"model label\"",
        )  # fmt: skip
    return Matched(
        tuple(model), index,
        tuple(label for label, at in zip(data, index, strict=True) if at < 0),
        tuple(label for i, label in enumerate(model) if i not in index),
    )  # fmt: skip


def read_map(path: Path) -> dict[str, str]:
    """A TOML file of lines `"data label" = "model label"`. Raises UsageError."""
    try:
        found = tomllib.loads(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError("The label map cannot be read.", where=path, got=error) from None
    wrong = [key for key, value in found.items() if not isinstance(value, str)]
    if wrong:
        raise UsageError(
            "A label map has one name for each label.", where=f"{path}, key {wrong[0]}",
            expected='"data label" = "model label"', got=found[wrong[0]], hint="put labels with dots in quotes",
        )  # fmt: skip
    return found


def _check(renamed: Mapping[str, str], data: Sequence[str], model: Sequence[str]) -> None:
    for given, known, side in ((renamed, data, "data"), (renamed.values(), model, "model")):
        unknown = [label for label in given if label not in known]
        if unknown:
            raise UsageError(f"The label map names a label that the {side} does not have.", expected=_some(known), got=unknown[0])


def _plain(label: str) -> str:
    return "".join(letter for letter in label.casefold() if letter.isalnum())


def _some(labels: Sequence[str]) -> str:
    return ", ".join(labels[:8]) + (f" … ({len(labels)} in all)" if len(labels) > 8 else "")
