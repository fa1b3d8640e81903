"""Two servers for all tests: one for this machine, one that others could reach."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import handmade

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from serving.clients import Server, serving


@pytest.fixture(scope="session")
def near(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The built-in model and one of brightness, `step`, whose file tests may exchange."""
    folder = tmp_path_factory.mktemp("served")
    with serving("builtin", handmade.brightness_step(folder / "step.onnx"), "--max-upload", "100") as server:
        server.ready["folder"] = folder
        yield server


@pytest.fixture(scope="session")
def guarded() -> Iterator[Server]:
    with serving("builtin", "--host", "0.0.0.0", "--tls") as server:
        yield server
