"""What people write in TOML, made sure of: whatever is wrong is refused before any work, with its line and what was meant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from everyframe.errors import EveryframeError, meant

Schema = TypeVar("Schema", bound=BaseModel)


def checked(
    schema: type[Schema],
    values: Mapping[str, Any],
    text: str,
    where: str,
    *,
    what: str,
    explained: str,
    error: type[EveryframeError],
    renamed: Mapping[str, str] | None = None,
) -> Schema:
    """values as the schema has them. text, where: the file that they were read from, for messages. what: what such a file is
    called. explained: where its keys are. renamed: sections of former versions. Raises `error`.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as refused:
        first = refused.errors()[0]
        keys = tuple(str(key) for key in first["loc"] if key not in ("function-after", "list", "str", "int"))
        unknown = first["type"] == "extra_forbidden"
        known = list(section(schema, keys[:-1]).model_fields) if unknown else []
        said = first["msg"].removeprefix("Value error, ")
        raise error(
            f"The {what} has a key that does not exist." if unknown else f"The {what} has a setting that cannot be used.",
            where=place(where, text, keys, renamed or {}),
            expected=", ".join(known) if unknown else said,
            got=None if unknown or isinstance(first.get("input"), dict) else first.get("input"),
            hint=meant(keys[-1], known, explained, cutoff=0.5) if unknown else explained,
        ) from None


def section(schema: type[BaseModel], keys: tuple[str, ...]) -> type[BaseModel]:
    """The schema of a section, also below names that people choose themselves. Raises KeyError, StopIteration."""
    rest = iter(keys)
    for key in rest:
        annotation = schema.model_fields[key].annotation
        if get_origin(annotation) is dict:
            next(rest, None)
        schema = next(kind for kind in _kinds(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel))
    return schema


def _kinds(annotation: Any) -> list[Any]:
    return [annotation, *(kind for each in get_args(annotation) for kind in _kinds(each))]


def place(where: str, text: str, keys: tuple[str, ...], renamed: Mapping[str, str]) -> str:
    """`file, line 7, key data.fps`: the line of the key, or of the closest thing that is written down."""
    names = [key for key in keys if not key.isdigit()]
    line, inside, nearest = 0, "", 0
    for number, row in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+([^\]]+)\]", row):
            inside = path = renamed.get(header[1].strip(), header[1].strip())
        elif key := re.match(r"\s*([\w.-]+)\s*=", row):
            path = f"{inside}.{key[1]}" if inside else key[1]
        else:
            continue
        parts = path.replace('"', "").split(".")
        shared = len(parts) if parts == names[: len(parts)] else 0
        if shared > nearest:
            line, nearest = number, shared
        if parts == names:
            break
    told = [where, f"line {line}" if line else "", f"key {'.'.join(names)}" if names else ""]
    return ", ".join(part for part in told if part)
