"""Two servers for all tests: one for this machine, one that others could reach."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import handmade
from everyframe.runtime import BUILTIN

pytest.importorskip("fastapi", reason="needs the extra `serve`")

from serving.clients import Server, serving


@pytest.fixture(scope="session")
def near(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The built-in model and one of brightness, `step`, whose file tests may exchange. ONNX Runtime, as what their answers are
    compared with: on a busy machine `auto` may find generated code worth it, whose last bits are others."""
    folder = tmp_path_factory.mktemp("served")
    with serving("builtin", handmade.brightness_step(folder / "step.onnx"), "--max-upload", "100", "--engine", "ort") as server:
        server.ready["folder"] = folder
        yield server


@pytest.fixture(scope="session")
def guarded() -> Iterator[Server]:
    """With a camera that films the sample, over and over, and one that is not there."""
    film = BUILTIN.with_name("sample.mp4")
    cameras = ("--camera", f"film={film}", "--camera", "gone=rtsp://user:secret@127.0.0.1:9/x")
    with serving("builtin", "--host", "0.0.0.0", "--tls", *cameras) as server:
        yield server
