"""Which version of the file format something was written in, and how what a newer version says is read.

`format` is "MAJOR.MINOR". A newer minor only adds keys that may be ignored: they are kept, and written again. A newer major may
mean something else by the same keys, so nothing of it is read. Version 0.1 wrote a bare `1`, which is "1.0".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from everyframe.errors import ModelError, upgrade

MAJOR, MINOR = 1, 3
FORMAT = f"{MAJOR}.{MINOR}"
_FORM = re.compile(r"([1-9]\d{0,5})\.(0|[1-9]\d{0,5})")

M = TypeVar("M", bound=BaseModel)


def _whole(value: Any) -> Any:
    """A bare major, as version 0.1 wrote it, with its minor."""
    return f"{value}.0" if isinstance(value, int) and not isinstance(value, bool) else value


#: the key `format` of what is stored
Format = Annotated[str, BeforeValidator(_whole), Field(pattern=rf"^{_FORM.pattern}$")]


def parse_format(value: object) -> tuple[int, int] | None:
    """(major, minor) of a key `format`, or None for what is none."""
    found = _whole(value)
    match = _FORM.fullmatch(found) if isinstance(found, str) else None
    return (int(match[1]), int(match[2])) if match else None


def check_format(told: object, where: object) -> bool:
    """Is it of a newer minor than this version writes? told: the JSON that carries `format`; anything else is not looked at.

    Raises ModelError when it is of a major that this version does not know.
    """
    if not isinstance(told, dict):
        return False
    found = parse_format(told.get("format", FORMAT))
    if found is not None and found[0] > MAJOR:
        raise ModelError(
            "This was made by a newer everyframe.", where=where, expected=f"format {MAJOR}.x",
            got=f"format {found[0]}.{found[1]}{_writer(told)}", hint=upgrade(),
        )  # fmt: skip
    return found is not None and found > (MAJOR, MINOR)


def read_json(model: type[M], text: str, *, what: str, where: object, hint: str) -> M:
    """What a JSON text says, validated. The formats in it are looked at before any other key.

    Unknown keys are errors, but in a text of a newer minor: there they stay in `model_extra` of their part, and are written
    again. what, hint: of the error for a text that is not valid. Raises ModelError.
    """
    try:
        told = json.loads(text)
    except ValueError:
        told = None  # pydantic says where
    newer = [check_format(each, where) for each in _formatted(told)]
    try:
        return model.model_validate_json(text, extra="allow" if any(newer) else None)
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelError(
            what, where=f"{where}, key {'.'.join(map(str, first['loc'])) or '(root)'}", got=first["msg"],
            hint=f"it was made by a newer everyframe: {upgrade()}" if any(newer) else hint,
        ) from None  # fmt: skip


def _formatted(told: object) -> Iterator[object]:
    """What carries a format: the text itself, and the metadata of a whole model in it, which may be of another version."""
    yield told
    if isinstance(told, dict) and "metadata" in told:
        yield told["metadata"]


def _writer(told: dict[str, Any]) -> str:
    """Who wrote it, if it says so where this version does."""
    told = told["metadata"] if isinstance(told.get("metadata"), dict) else told
    provenance = told.get("provenance")
    tool = provenance.get("tool") if isinstance(provenance, dict) else None
    return f", written by {tool}" if isinstance(tool, str) else ""
