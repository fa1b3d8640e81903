"""What several test files share: where the golden cases lie, and random weights that leave nothing at zero."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everyframe.modelfile.file import load, metadata_of
from everyframe.runtime import BUILTIN


def shared_dir() -> Path:
    """The folder with golden/cases: EVERYFRAME_SHARED, or `shared` beside the checkout. Skips the test without it."""
    path = Path(os.environ.get("EVERYFRAME_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not (path / "golden" / "cases").is_dir():
        pytest.skip(f"no golden cases in {path}; set EVERYFRAME_SHARED to the folder that has golden/cases")
    return path


def built_in_size() -> tuple[int, int]:
    """Height and width of what the built-in model sees."""
    metadata = metadata_of(load(BUILTIN))
    assert metadata is not None and isinstance(metadata.preprocess.resize, tuple)
    return metadata.preprocess.resize


def fill_state(shapes: Mapping[str, Iterable[int]], seed: int, gain: float = 1.0) -> dict[str, np.ndarray]:
    """Random weights by the rule "fill-v1": keys in sorted order, all from one generator, drawn in float64.

    BatchNorm: mean N(0, 0.1), variance and scale U(0.5, 1.5). Other tensors of 2 axes or more:
    N(0, gain / sqrt(fan in)). Other vectors (all biases): N(0, 0.1).
    """
    rng = np.random.default_rng(seed)
    state: dict[str, np.ndarray] = {}
    for key in sorted(shapes):
        shape = tuple(shapes[key])
        layer, _, leaf = key.rpartition(".")
        if leaf == "num_batches_tracked":
            state[key] = np.zeros(shape, np.int64)
            continue
        if leaf == "running_var" or (leaf == "weight" and f"{layer}.running_mean" in shapes):
            value = 0.5 + rng.random(shape)
        elif len(shape) >= 2:
            value = gain / np.sqrt(np.prod(shape[1:])) * rng.standard_normal(shape)
        else:
            value = 0.1 * rng.standard_normal(shape)
        state[key] = np.asarray(value, np.float32)
    return state


def randomise(module: Any, seed: int, gain: float = 1.0) -> Any:
    """Fills a torch module in place by `fill_state`, so that no bias, mean or scale is trivial; returns it."""
    import torch

    own = module.state_dict()
    state = fill_state({key: value.shape for key, value in own.items()}, seed, gain)
    module.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    return module


def relative(got: Any, expected: Any) -> float:
    """|got - expected| / |expected|, in L2."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def quick_export(net: Any, frames: int, size: int, channels: int = 3) -> Any:
    """The clip model by torch's older exporter, many times faster than the one that `everyframe export` uses.

    Good for covering many networks; it writes other graphs (Identity, Constant and Shape chains), which conversion folds.
    """
    import io
    import warnings

    import onnx
    import torch

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and says so
        clip = torch.randn(1, channels, frames, size, size)
        names = {"input_names": ["clip"], "output_names": ["logits"]}
        torch.onnx.export(net, (clip,), buffer, dynamo=False, opset_version=17, **names)
    return onnx.load_from_string(buffer.getvalue())
