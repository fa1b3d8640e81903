"""Masks: which units of which layers are kept. A value with a file format; what reads weights here takes numpy arrays."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from everyframe.errors import WeightsError
from everyframe.files import write_bytes
from everyframe.pruning.pattern import Pattern, Shape

ABOUT, KEPT = "about", "kept "  # the entries of the file: one about all, and one a layer, before its name


@dataclass(frozen=True)
class LayerMask:
    """shape: of the weight. kept: (P, Q, R), True for units that are left."""

    shape: Shape
    kept: np.ndarray


@dataclass(frozen=True)
class Mask:
    """layers: by module path, as in `named_modules()`. Layers that are not there are dense."""

    pattern: Pattern
    layers: Mapping[str, LayerMask]

    @classmethod
    def choose(cls, pattern: Pattern, weights: Mapping[str, np.ndarray], rates: Mapping[str, float]) -> Mask:
        """Prunes the share rates[layer] of its units, those with the lowest scores."""
        return cls(pattern, {
            name: LayerMask(weights[name].shape, pattern.keep(pattern.scores(weights[name]), rate))
            for name, rate in rates.items() if rate != 0
        })  # fmt: skip

    def weights(self, name: str) -> np.ndarray:
        """True for each weight of a layer that is kept."""
        layer = self.layers[name]
        return self.pattern.spread(layer.kept, layer.shape)

    def density(self, name: str | None = None) -> float:
        """The share of weights that is kept, of one layer or of all masked ones."""
        names = [name] if name is not None else list(self.layers)
        total = sum(int(np.prod(self.layers[one].shape)) for one in names)
        return sum(self._left(one) for one in names) / total if total else 1.0

    def scale(self, costs: Mapping[str, float]) -> float:
        """What is left of costs by layer that follow its weights: MACs, parameters."""
        return sum(cost * (self.density(name) if name in self.layers else 1.0) for name, cost in costs.items())

    def rates(self) -> dict[str, float]:
        """The pruned share of each layer's units."""
        return {name: 1.0 - float(layer.kept.mean()) for name, layer in self.layers.items()}

    def balance(self, name: str) -> tuple[int, int]:
        """(fewest, most) units kept in a group of a layer."""
        counts = self.layers[name].kept.sum(-1)
        return int(counts.min()), int(counts.max())

    def __or__(self, other: Mask) -> Mask:
        """Keeps what either keeps: the layers that both prune."""
        return self._with(other, self.layers.keys() & other.layers.keys(), np.logical_or)

    def __and__(self, other: Mask) -> Mask:
        """Keeps what both keep: the layers that either prunes."""
        return self._with(other, self.layers.keys() | other.layers.keys(), np.logical_and)

    def check(self, shapes: Mapping[str, Shape], where: object = None) -> None:
        """Raises WeightsError unless every layer is one of the network's. shapes: of its weights, by module path."""
        for name, layer in self.layers.items():
            if shapes.get(name) != layer.shape:
                raise WeightsError(
                    "The mask is for another network.", where=where, expected=f"{name} with a weight {layer.shape}",
                    got=shapes.get(name, "no such layer"), hint="take the mask that was made with these weights",
                )  # fmt: skip

    def save(self, path: Path) -> None:
        """Writes an .npz: the kept units of each layer, and the pattern and shapes as JSON. Raises OutputError."""
        about = {
            "scheme": self.pattern.scheme, "group": self.pattern.group,
            "shapes": {name: layer.shape for name, layer in self.layers.items()},
        }  # fmt: skip
        data = io.BytesIO()
        arrays = {KEPT + name: layer.kept for name, layer in self.layers.items()}
        np.savez_compressed(data, **{ABOUT: np.array(json.dumps(about)), **arrays})  # type: ignore[arg-type]
        write_bytes(data.getvalue(), path)

    @classmethod
    def load(cls, path: Path) -> Mask:
        """Raises WeightsError where the file is not a mask."""
        try:
            with np.load(path, allow_pickle=False) as file:
                about = json.loads(str(file[ABOUT]))
                pattern = Pattern(about["scheme"], (int(about["group"][0]), int(about["group"][1])))
                layers = {name: LayerMask(tuple(shape), file[KEPT + name]) for name, shape in about["shapes"].items()}
            if any(layer.kept.shape != pattern.units(layer.shape) for layer in layers.values()):
                raise ValueError("units and shapes disagree")
        except (OSError, KeyError, ValueError, TypeError, IndexError, AttributeError, zipfile.BadZipFile) as error:
            raise WeightsError(
                "This is not a mask.", where=path, expected="an .npz that `everyframe prune` wrote", got=error
            ) from None
        return cls(pattern, layers)

    def _left(self, name: str) -> int:
        layer = self.layers[name]
        return int((self.pattern.sizes(layer.shape) * layer.kept).sum())

    def _with(self, other: Mask, names: set[str], merge: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Mask:
        if other.pattern != self.pattern:
            raise WeightsError("The masks have different patterns.", expected=self.pattern, got=other.pattern)
        other.check({name: self.layers.get(name, layer).shape for name, layer in other.layers.items()})
        layers = {}
        for name in sorted(names):
            one, two = self.layers.get(name), other.layers.get(name)
            layers[name] = LayerMask(one.shape, merge(one.kept, two.kept)) if one and two else one or two
        return Mask(self.pattern, layers)  # type: ignore[arg-type]
