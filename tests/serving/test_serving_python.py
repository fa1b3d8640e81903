"""`everyframe.serve` is the verb: in a thread, in the main thread, with models in memory, and with what it refuses."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from pathlib import Path
from typing import Any

import onnx
import pytest
from websockets.sync.client import connect

import everyframe
import handmade
from everyframe.errors import ModelError, SourceError
from fake_cameras import footprint
from running import until
from serving.clients import PATIENCE


def ask(server: Any, path: str) -> Any:
    host, port = server.addresses[0].split("/")[2].rsplit(":", 1)
    with contextlib.closing(http.client.HTTPConnection(host, int(port))) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return json.loads(answer.read())


def test_in_the_background(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = handmade.brightness_step(tmp_path / "step.onnx")
    before = footprint()
    models = {"here": onnx.load(path), "there": path}
    handmade.write_video(tmp_path / "v.mp4", 30)
    cameras = {"film:there": str(tmp_path / "v.mp4")}
    with everyframe.serve(models, cameras=cameras, engine="ort", port=0, wait=False) as server:
        assert [model["name"] for model in ask(server, "/v1/models")["models"]] == ["here", "there"] == list(server.models)
        assert [camera["model"] for camera in ask(server, "/v1/cameras")["cameras"]] == ["there"]
        assert server.running and server.token is None
        assert f"page         {server.addresses[0]}" in capsys.readouterr().out
    assert not server.running
    server.stop()
    until(lambda: all(count <= before[what] for what, count in footprint().items()))


def test_who_listens_to_a_camera_is_told_of_another_model(tmp_path: Path) -> None:
    path = handmade.brightness_step(tmp_path / "step.onnx")
    cameras = {"film": str(handmade.write_video(tmp_path / "v.mp4", 30))}
    quiet = {"engine": "ort", "port": 0, "wait": False, "ready": lambda _: None}
    with everyframe.serve(path, cameras=cameras, **quiet) as server:
        place = server.addresses[0].split("/")[2]
        with connect(f"ws://{place}/v1/cameras/film?pictures=false") as camera:
            camera.recv(PATIENCE)
            handmade.brightness_step(path, labels=("night", "day", "dusk"))
            kinds = []
            while "swapped" not in kinds or kinds[-1] != "prediction":
                message = json.loads(camera.recv(PATIENCE))
                kinds.append(message["type"])
                if kinds[-1] == "swapped":
                    assert message["changes"] == ["labels"] and message["model"]["labels"] == ["night", "day", "dusk"]


def test_it_waits_where_it_is_not_told_otherwise(tmp_path: Path) -> None:
    """Whoever is told that it listens can end it, from any thread."""
    path = handmade.brightness_step(tmp_path / "step.onnx")
    told: list[Any] = []

    def ready(server: Any) -> None:
        told.append(server)
        threading.Thread(target=lambda: (ask(server, "/healthz"), server.stop())).start()

    assert everyframe.serve(path, engine="ort", port=0, ready=ready) is told[0]


def test_what_is_wrong_is_raised_where_it_was_called(tmp_path: Path) -> None:
    path = handmade.brightness_step(tmp_path / "step.onnx")
    with pytest.raises(ModelError, match="no such model"):
        everyframe.serve(tmp_path / "other.onnx", wait=False)
    with everyframe.serve(path, engine="ort", port=0, wait=False) as server:
        port = int(server.addresses[0].rsplit(":", 1)[1].strip("/"))
        with pytest.raises(SourceError, match="cannot listen"):
            everyframe.serve(path, engine="ort", port=port, wait=False)
