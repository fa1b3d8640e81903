"""Models that enlarge on every engine: what torch computes, for pictures and video, at a size that the file was not made for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from everyframe.errors import EngineError
from everyframe.recipes.super_resolution import ModelSection
from everyframe.runtime.engine import ENGINES
from everyframe.tasks.super_resolution.enhance import Enhancer
from everyframe.tasks.super_resolution.export import export
from everyframe.tasks.super_resolution.network import Network

#: of values up to 255
TOLERANCE = 5e-3


@pytest.fixture(scope="module", params=[(2, 0.5), (3, 0.0)], ids=["video x2", "x3"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Path]:
    scale, shift = request.param
    torch.manual_seed(0)
    net = Network(ModelSection(scale=scale, channels=8, depth=2, wide=16, shift=shift, size=(16, 20)))
    torch.nn.init.normal_(net.last.narrow, std=0.02)
    return net, export(net, tmp_path_factory.mktemp(f"x{scale}"))


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_enlarge_as_torch_does(case: tuple[Network, Path], engine: str) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    net, file = case
    video = np.random.default_rng(1).integers(0, 256, (3, 13, 22)).astype(np.uint8)
    x = torch.from_numpy(video).float() / 255
    wanted = (net(x[None, None])[0, 0] if net.shifted else net(x[:, None])[:, 0]).detach().numpy() * 255
    with Enhancer(file, engine=engine, threads=1) as enhancer:
        stream = enhancer.stream((13, 22))
        found = np.stack([stream.gray(frame) for frame in video])
        assert stream.program.engine == engine
    assert np.abs(found - wanted).max() < TOLERANCE


def test_an_unknown_engine_is_refused(case: tuple[Network, Path]) -> None:
    with pytest.raises(EngineError, match="no such engine"), Enhancer(case[1], engine="abacus") as enhancer:
        enhancer.stream((8, 8))
