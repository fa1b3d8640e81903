"""Which everyframe this is: the one place that says so, and what becomes of the names of earlier ones."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

__version__ = "0.2.0"


class RenamedWarning(FutureWarning):
    """A name of an earlier version was used; it still works."""


def former(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's `__getattr__` for names of an earlier version (former -> present): they work, and warn when they are used."""

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warnings.warn(f"{module}.{name} is now called {names[name]}", RenamedWarning, stacklevel=2)
        return getattr(sys.modules[module], names[name])

    return find
