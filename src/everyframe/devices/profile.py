"""What a device or runtime takes, as data: profiles/NAME.toml, a file of one's own or a plugin's, read strictly.

Every entry says where it is from: `source` (a public address or document) or `inferred` (why it is believed though nobody
wrote it down).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from everyframe import plugins
from everyframe.errors import ModelError, UsageError, meant
from everyframe.modelfile.schema import Strict
from everyframe.targets import advice

FOLDER = Path(__file__).with_name("profiles")


class _Sourced(Strict):
    source: str | None = Field(default=None, min_length=8)
    inferred: str | None = Field(default=None, min_length=8)

    @model_validator(mode="after")
    def _one_origin(self) -> _Sourced:
        if (self.source is None) == (self.inferred is None):
            raise ValueError("give `source`, or `inferred` with the reason, not both")
        return self

    @property
    def origin(self) -> str:
        return self.source if self.source is not None else f"inferred: {self.inferred}"


class Span(Strict):
    """Whole numbers from min to max; an end that is not given is open."""

    min: int | None = None
    max: int | None = None

    def allows(self, value: int) -> bool:
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    def __str__(self) -> str:
        if self.min is None or self.max is None:
            return f"at most {self.max}" if self.min is None else f"at least {self.min}"
        return f"{self.min} to {self.max}" if self.min != self.max else str(self.min)


class Limit(_Sourced, Span): ...


class Tensors(_Sourced):
    """ranks: axes that tensors may have. batch: first axis of inputs. types: element types of inputs, as numpy names them."""

    ranks: tuple[int, ...] | None = None
    batch: Span | None = None
    types: tuple[str, ...] | None = None


class States(_Sourced):
    """through: whether the device may hand on a state that it has not computed. entering: whether an output may be an input as it
    came.
    """

    through: bool = True
    entering: bool = True


class Entry(_Sourced):
    """Operators that are taken under the same conditions; several entries for one operator are alternatives.

    ranks: axes of the inputs that are computed. attributes: allowed values, each number of a list by itself (`kernel_shape`,
    `strides`, `group`, ...; see `nodes.Node.attribute` for those that ONNX leaves out). axes: of a reduction, as sets that may
    be reduced together. runs: on the device, or on its host.
    """

    ops: tuple[str, ...] = Field(min_length=1)
    ranks: tuple[int, ...] | None = None
    attributes: dict[str, Span | tuple[int | str, ...]] = Field(default_factory=dict)
    axes: tuple[tuple[int, ...], ...] | None = None
    runs: Literal["device", "host"] = "device"
    note: str | None = None


class Profile(Strict):
    """A target. engine: one of ours that is installed, whose own code says what it takes. host: what becomes of an operator
    that no entry lists: left to the `host`'s processor, or `refused`.
    """

    name: str
    title: str
    engine: Literal["onnxruntime", "native"] | None = None
    opset: Limit | None = None
    ir: Limit | None = None
    inputs: Tensors | None = None
    outputs: Limit | None = None
    tensors: Tensors | None = None
    states: States | None = None
    operators: tuple[Entry, ...] = ()

    def entries(self, op: str) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.operators if op in entry.ops)


def targets() -> tuple[str, ...]:
    """Names of all profiles: ours and those of other packages. Raises PluginError where two have the same name."""
    return tuple(sorted((*_built_in(), *plugins.names("devices", _taken))))


def resolve(names: Sequence[str]) -> tuple[str, ...]:
    """Targets as they were asked for, each once; `all`: every one that has a name, `*.toml`: a file. Raises UsageError."""
    found: list[str] = []
    for name in names:
        if name == "all":
            found += targets()
        elif name in _built_in() or _is_file(name) or name in targets():
            found.append(name)
        else:
            raise _unknown(name)
    return tuple(dict.fromkeys(found))


def load_profile(name: str | os.PathLike[str]) -> Profile:
    """The profile of that name, or in that file (`*.toml`).

    Raises UsageError for an unknown target or a file that is not there, ModelError for one that is no profile, PluginError for
    one of a broken package.
    """
    if _is_file(name):
        return _read(Path(name))
    return _own(str(name)) if name in _built_in() else _plugged(str(name))


def _built_in() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def _taken(name: str) -> bool:
    return name == "all" or name in _built_in()


def _is_file(name: str | os.PathLike[str]) -> bool:
    return Path(name).suffix == ".toml"


def _unknown(name: str) -> UsageError:
    known = targets()
    return UsageError(
        f"There is no target {name!r}.", expected=f"all, {', '.join(known)}", got=name,
        hint=advice(name, known, "take one of these, or write a profile and give its file: --target ./board.toml"),
    )  # fmt: skip


@cache
def _own(name: str) -> Profile:
    return _read(FOLDER / f"{name}.toml")


def _read(path: Path) -> Profile:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        got = getattr(error, "strerror", None) or "not UTF-8 text"
        hint = "check the path; docs/plugins.md shows a profile"
        raise UsageError("The profile cannot be read.", where=path, got=got, hint=hint) from None
    return parse(text, path)


def _plugged(name: str) -> Profile:
    plugin = plugins.load("devices", name, _taken)
    if plugin is None:
        raise _unknown(name)
    if not isinstance(plugin.value, str | os.PathLike):
        raise plugin.error("A device of a plugin is no file.", expected="the path of a profile in TOML", got=repr(plugin.value))
    try:
        return _read(Path(plugin.value))
    except (ModelError, UsageError) as error:
        raise plugin.error("The profile of a plugin is not valid.", got=error) from None


def parse(text: str, where: Path | str) -> Profile:
    """A profile from TOML. Raises ModelError with the key that is wrong and the closest one that exists."""
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ModelError("The profile is not TOML.", where=where, got=str(error)) from None
    try:
        return Profile.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]]
        hint = None
        if first["type"] == "extra_forbidden":
            known = _keys(place[:-1])
            hint = meant(place[-1], known, f"known here: {', '.join(known)}")
        raise ModelError("The profile is not valid.", where=f"{where}, {'.'.join(place)}", got=first["msg"], hint=hint) from None


def _keys(place: list[str]) -> list[str]:
    """The keys that exist at a place of the schema."""
    limits: dict[str, Any] = {"opset": Limit, "ir": Limit, "outputs": Limit}
    nested = {**limits, "inputs": Tensors, "tensors": Tensors, "states": States, "operators": Entry}
    return list((nested.get(place[0], Span) if place else Profile).model_fields)
