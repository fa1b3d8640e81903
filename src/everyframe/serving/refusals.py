"""What is wrong with a request: an error as everyframe words it, with the status of HTTP that fits."""

from __future__ import annotations

from typing import Any

from everyframe.errors import EveryframeError, ModelError, OutputError, SourceError, StateError, UsageError

#: the first that fits; anything else is a fault on this side
_STATUS: tuple[tuple[type[EveryframeError], int], ...] = (
    (UsageError, 400), (SourceError, 422), (StateError, 422), (ModelError, 409), (OutputError, 507),
)  # fmt: skip


class Refused(Exception):
    """error: what is said. status: of HTTP. more: headers."""

    def __init__(self, status: int, error: EveryframeError, more: dict[str, str] | None = None) -> None:
        super().__init__(str(error))
        self.status, self.error, self.more = status, error, more or {}


def refuse(
    status: int, what: str, *, where: object = None, expected: object = None, got: object = None, hint: str | None = None,
    again_s: int | None = None,
) -> Refused:  # fmt: skip
    """again_s: seconds after which it may be tried again."""
    error = UsageError(what, where=where, expected=expected, got=got, hint=hint)
    return Refused(status, error, {} if again_s is None else {"Retry-After": str(again_s)})


def status_of(error: EveryframeError) -> int:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def words(error: EveryframeError, where: str | None = None) -> dict[str, Any]:
    """The error as JSON. where: to be said in place of a path of this machine."""
    text = lambda value: None if value is None else str(value)  # noqa: E731
    return {
        "kind": type(error).__name__, "what": error.what, "where": where or text(error.where), "expected": text(error.expected),
        "got": text(error.got), "hint": text(error.hint),
    }  # fmt: skip
