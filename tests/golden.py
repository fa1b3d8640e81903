"""Reference outputs of the original implementations, rebuilt from seeds (see golden/README.md beside the cases)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from helpers import fill_state, shared_dir

TOLERANCE = 1e-5  # relative L2; a BatchNorm with another eps shows as 7e-5, a conv flipped in time as 4e-3


@dataclass(frozen=True)
class Case:
    """spec: what is known about the case. expected: empty where only keys and counts are published."""

    spec: dict[str, Any]

    @property
    def keys(self) -> list[str]:
        return [key for key, *_ in self.spec["state_dict"]]

    def weights(self) -> dict[str, np.ndarray]:
        shapes = {key: shape for key, shape, *_ in self.spec["state_dict"]}
        return fill_state(shapes, self.spec["fill"]["seed"], self.spec["fill"]["gain"])

    def inputs(self) -> list[np.ndarray]:
        return [make_input(given["shape"], given["seed"]) for given in self.spec["inputs"]]

    def expected(self) -> dict[str, np.ndarray]:
        path = shared_dir() / "golden" / "cases" / f"{self.spec['name']}.npz"
        return dict(np.load(path)) if path.is_file() else {}


def make_input(shape: list[int], seed: int) -> np.ndarray:
    """4 x 4 coarse blocks plus noise, so that global pooling does not average the input away."""
    rng = np.random.default_rng(seed)
    *lead, height, width = shape
    coarse = rng.standard_normal((*lead, 4, 4))
    rows, columns = (np.arange(n) * 4 // n for n in (height, width))
    return np.asarray(coarse[..., rows, :][..., columns] + 0.5 * rng.standard_normal(shape), np.float32)


@cache
def case(name: str) -> Case:
    """Skips the test where the cases are not there."""
    return Case(json.loads((shared_dir() / "golden" / "cases" / f"{name}.json").read_text()))
