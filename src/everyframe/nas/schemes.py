"""Pruning among the choices of a network: `scheme1`, ... of its layers, and in the second stage `rate1`, ..."""

from __future__ import annotations

from everyframe.nas.space import Values
from everyframe.recipes.pruning import SCHEMES

RATES = (0.25, 0.5, 0.75)
#: what schemes prune before the second stage asks for rates
USUAL = 0.5
ALLOWED = ("none", *SCHEMES)


def usual(engine: str) -> tuple[str, ...]:
    """Schemes to choose from where nothing else is said: others than compiled models take as long with zeros."""
    return ("none", "filter", "vanilla", "kgs", "plane") if engine == "native" else ("none",)


def pruning(values: Values, at: str | int) -> tuple[str, float]:
    """Scheme and rate of a layer, of its number; where there is no rate yet, the usual one."""
    scheme = values[f"scheme{at}"]
    return scheme, 0.0 if scheme == "none" else values.get(f"rate{at}", USUAL)
