"""What other packages add without a fork: names in the entry points `everyframe.KIND` of installed packages.

    engines    a function load(job) -> Network                      (runtime/engine.py)
    rules      the rule of an operator; the name is the operator's  (conversion/rules)
    devices    the path of a profile in TOML                        (devices/profile.py)
    models     an Entry of the zoo                                  (models/registry.py)

Nothing is looked for until a name is not found among the built-in ones, or a list is asked for, and nothing of a plugin is
imported until its name is used: a broken one stops whoever asks for it, and nobody else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from everyframe.errors import PluginError


@dataclass(frozen=True, slots=True)
class Plugin:
    """value: what the entry point names, imported. where: the package and the entry point, for messages."""

    value: Any
    where: str
    package: str

    def error(self, what: str, *, expected: object = None, got: object = None) -> PluginError:
        """For a plugin that is not what it should be."""
        return PluginError(what, where=self.where, expected=expected, got=got, hint=_mend(self.package))


def names(kind: str, taken: Callable[[str], bool]) -> tuple[str, ...]:
    """What installed packages add of a kind, sorted; none of them is imported. taken: is this the name of a built-in one?

    Raises PluginError where two packages, or one and a built-in, have the same name.
    """
    found: dict[str, EntryPoint] = {}
    for point in _points(kind):
        if point.name in found or taken(point.name):
            other = f"package {_package(found[point.name])}" if point.name in found else "everyframe itself"
            raise PluginError(
                f"Two {kind} have the same name.", where=_where(kind, point), expected="a name of its own",
                got=f"{point.name}, which {other} has too", hint=_mend(_package(point)),
            )  # fmt: skip
        found[point.name] = point
    return tuple(sorted(found))


def load(kind: str, name: str, taken: Callable[[str], bool]) -> Plugin | None:
    """What an installed package calls `name`, imported; None if there is nothing. taken: as in `names`.

    Raises PluginError where it cannot be imported, and as `names` does.
    """
    if name not in names(kind, taken):
        return None
    (point,) = (point for point in _points(kind) if point.name == name)
    try:
        value = point.load()
    except Exception as error:  # whatever the other package raises
        raise PluginError(
            "A plugin cannot be loaded.", where=_where(kind, point), got=f"{type(error).__name__}: {error}",
            hint=_mend(_package(point)),
        ) from error  # fmt: skip
    return Plugin(value, _where(kind, point), _package(point))


def _points(kind: str) -> list[EntryPoint]:
    return sorted(entry_points(group=f"everyframe.{kind}"), key=lambda point: (point.name, _package(point)))


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "unknown"


def _where(kind: str, point: EntryPoint) -> str:
    version = f" {point.dist.version}" if point.dist is not None else ""
    return f"package {_package(point)}{version}, entry point everyframe.{kind}: {point.name} = {point.value}"


def _mend(package: str) -> str:
    return f"mend or upgrade the package, or take it away: pip uninstall {package}"
