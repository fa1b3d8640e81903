"""What a device or runtime takes, as data: profiles/NAME.toml, read strictly.

Every entry says where it is from: `source` (a public address or document) or `inferred` (why it is believed though nobody
wrote it down).
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from everyframe.errors import ModelError, UsageError, meant
from everyframe.modelfile.schema import Strict

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
    """through: whether the device may hand on a state that it has not computed."""

    through: bool


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
    """Names of all profiles."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def resolve(names: list[str]) -> tuple[str, ...]:
    """Targets as they were asked for, each once; `all` stands for every one. Raises UsageError."""
    known = targets()
    for name in names:
        if name != "all" and name not in known:
            raise UsageError(
                f"There is no target {name!r}.", expected=f"all, {', '.join(known)}", got=name,
                hint=meant(name, known, "take one of these, or write a profile (CONTRIBUTING.md)"),
            )  # fmt: skip
    return known if "all" in names else tuple(dict.fromkeys(names))


@cache
def load_profile(name: str) -> Profile:
    """Raises UsageError for an unknown target."""
    (name,) = resolve([name]) if name != "all" else (name,)
    path = FOLDER / f"{name}.toml"
    return parse(path.read_text(encoding="utf-8"), path)


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
