"""Models that find objects in scans on every engine: what torch computes, with each kind of block, activation and enlargement;
of a scan, of noise in which slots say different things of one cell, and of nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from everyframe.errors import EngineError
from everyframe.modelfile.schema import Grid
from everyframe.recipes.detection import ModelSection
from everyframe.runtime.engine import ENGINES
from everyframe.tasks.detection.detector import BOXES, Detector
from everyframe.tasks.detection.export import export
from everyframe.tasks.detection.network import Network
from everyframe.tasks.detection.pillars import group, shape

TOLERANCE = 1e-4
GRID = Grid(low=(0, -8, -2), high=(16, 8, 2), cell=1.0, slots=60, points=3)
SHAPES = {
    "plain": {"block": "plain", "activation": "relu", "up": "transposed"},
    "separable": {"block": "separable", "activation": "hard_swish", "up": "nearest", "kernel": 5},
    "residual": {"block": "residual", "activation": "silu", "up": "transposed", "strides": (1, 2, 2)},
}


@pytest.fixture(scope="module", params=SHAPES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Path]:
    torch.manual_seed(0)
    settings = {"widths": (6, 8, 8), "depths": (1, 1, 0), "strides": (2, 2, 2), **SHAPES[request.param]}
    net = Network(ModelSection(grid=GRID, features=5, neck=4, head=7, **settings), 2)
    return net, export(net, ("Car", "Cyclist"), tmp_path_factory.mktemp(request.param))


def inputs() -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform((-2, -9, -2), (18, 9, 2), (300, 3)), rng.random(300)]).astype(np.float32)
    yield group(points, GRID)
    yield rng.normal(0, 20, shape(GRID)).astype(np.float32)
    yield group(points[:0], GRID)


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_find_what_torch_does(case: tuple[Network, Path], engine: str) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    net, file = case
    with Detector(file, engine=engine, threads=1) as detector:
        assert detector.program.engine == engine
        run = detector.program.start()
        for frames in inputs():
            with torch.no_grad():
                wanted = [each[0].numpy() for each in net(torch.from_numpy(frames)[None])]
            found = [run.step(frames[None])[0], run.others[BOXES][0]]
            for one, other in zip(wanted, found, strict=True):
                assert np.abs(one - other).max() < TOLERANCE * max(1.0, np.abs(one).max())


@pytest.mark.parametrize("case", ["plain"], indirect=True)
def test_an_answer_that_is_no_number_is_said(case: tuple[Network, Path], tmp_path: Path) -> None:
    model = onnx.load(case[1])
    for tensor in model.graph.initializer:
        if tensor.name.endswith(".weight"):  # each is finite, what they compute is not
            values = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(1e25), tensor.name))
    onnx.save(model, tmp_path / "broken.onnx")
    with Detector(tmp_path / "broken.onnx", engine="ort") as detector, pytest.raises(EngineError, match="not finite"):
        detector.detect(np.ones((3, 4), np.float32))
