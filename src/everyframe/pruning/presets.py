"""Published profiles by name: presets.toml, and the layers of a network that a profile speaks of."""

from __future__ import annotations

import difflib
import functools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from math import prod
from typing import Any

from torch import nn

from everyframe.errors import UsageError
from everyframe.pruning.cost import CONVOLUTIONS


@dataclass(frozen=True)
class Preset:
    """The fields are explained at the top of presets.toml."""

    name: str
    network: str
    shape: tuple[int, ...]
    scheme: str
    group: tuple[int, int]
    printed: str
    measured: float
    source: str
    layers: Sequence[Mapping[str, Any]]

    def rates(self, net: nn.Module) -> dict[str, float] | None:
        """Module path -> pruned share; None for a network without these layers."""
        convs = {
            name: layer.kernel_size
            for name, layer in net.named_modules()
            if isinstance(layer, CONVOLUTIONS) and prod(layer.kernel_size) > 1
        }
        rates = {}
        for row in self.layers:
            at, kernel = row["at"], tuple(row.get("kernel", ()))
            found = [name for name, size in convs.items() if f"{name}.".startswith(f"{at}.") and kernel in ((), size)]
            if not found or len(found) != row.get("convs", len(found)):
                return None
            rates.update(dict.fromkeys(found, row["rate"]))
        return rates


@functools.cache
def table() -> tuple[Preset, ...]:
    """Everything in presets.toml, in its order."""
    rows = tomllib.loads((resources.files(__package__) / "presets.toml").read_text(encoding="utf-8"))["preset"]
    return tuple(Preset(**{**row, "shape": tuple(row["shape"]), "group": tuple(row["group"])}) for row in rows)


def find(name: str) -> Preset:
    """Raises UsageError naming the closest ones."""
    for preset in table():
        if preset.name == name:
            return preset
    names = [preset.name for preset in table()]
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names
    raise UsageError("There is no profile of this name.", got=name, expected=" or ".join(close))


def preset(name: str, net: nn.Module) -> dict[str, float]:
    """The rates of the profile called `name`. Raises UsageError where it is for another network, naming those that fit."""
    chosen = find(name)
    rates = chosen.rates(net)
    if rates is None:
        fitting = [other.name for other in table() if other.rates(net) is not None]
        raise UsageError(
            "The profile is for another network.", where=name, expected=f"a network with the layers of {chosen.network}",
            got=type(net).__name__, hint=_instead(difflib.get_close_matches(name, fitting, n=3, cutoff=0)),
        )  # fmt: skip
    return rates


def _instead(fitting: Sequence[str]) -> str:
    return f"take {' or '.join(fitting)}" if fitting else "no published profile fits it: name a FLOPs rate instead"
