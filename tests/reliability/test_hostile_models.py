"""Model files that are made to harm are refused, and nothing is opened, run or loaded because of what is in them."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, external_data_helper, helper, numpy_helper

import handmade

#: in a process of its own: what Python is asked to open, to run and to unpickle while each model is tried in every way
_TRIED = """
import json, sys, time
from pathlib import Path
seen = []
def hook(event, arguments):
    if event in ("open", "os.system", "subprocess.Popen", "pickle.find_class"):
        seen.append((event, str(arguments[0])))
import everyframe
import everyframe.api.measuring, everyframe.api.models, everyframe.conversion, everyframe.runtime.ort, everyframe.models.registry
from everyframe.errors import EveryframeError
try:
    everyframe.info(sys.argv[1])  # what is loaded when it is first needed is loaded
except EveryframeError:
    pass
sys.addaudithook(hook)
for path in sys.argv[2:]:
    for name, way in (("open", lambda p: everyframe.open(p, engine="ort").close()), ("info", everyframe.info),
                      ("convert", everyframe.convert)):
        seen.clear()
        begun, said = time.process_time(), "taken"
        try:
            way(path)
        except EveryframeError as error:
            said = str(error)
        print(json.dumps([Path(path).name, name, said, time.process_time() - begun, seen]))
"""


class Harm:
    """Runs a command where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def outside(secret: Path | str) -> bytes:
    """A step model whose weights lie in another file, as it says."""
    weights = numpy_helper.from_array(np.zeros((3, 3), np.float32), "w")
    external_data_helper.set_external_data(weights, str(secret))
    weights.data_location = TensorProto.EXTERNAL
    weights.ClearField("raw_data")
    info = helper.make_tensor_value_info
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    ends = [info("x", TensorProto.FLOAT, [1, 3, 8, 3, 3])], [info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", *ends, [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def million() -> bytes:
    """A chain of a million operators. Their bytes are written here: to make them one by one takes a minute."""
    count = 1_000_000
    nodes = np.tile(np.frombuffer(b"\n\x1a\n\x08t.......\x12\x08t.......\x22\x04Relu", np.uint8), (count, 1))
    for place in range(7):  # the digits of a node's input and output
        for at, first in ((5, 0), (15, 1)):
            nodes[:, at + place] = 48 + (np.arange(first, count + first) // 10 ** (6 - place)) % 10
    info = helper.make_tensor_value_info
    ends = [info("t0000000", TensorProto.FLOAT, [1, 3, 8, 16, 16])], [info("t1000000", TensorProto.FLOAT, None)]
    graph = nodes.tobytes() + helper.make_graph([], "g", *ends).SerializeToString()
    size = bytes(len(graph) >> shift & 127 | 128 for shift in (0, 7, 14)) + bytes([len(graph) >> 21])
    opset = helper.make_opsetid("", 17).SerializeToString()
    return b"\x08\x09\x3a" + size + graph + b"\x42" + bytes([len(opset)]) + opset


def test_hostile_files_are_refused(tmp_path: Path, figure: Callable[[str], None]) -> None:
    secret, harmed = tmp_path / "secret.bin", tmp_path / "harmed"
    secret.write_bytes(bytes(36))
    (folder := tmp_path / "models").mkdir()
    good = handmade.brightness_step(tmp_path / "good.onnx")
    (folder / "pickle.onnx").write_bytes(pickle.dumps(Harm(harmed)))
    (folder / "pickle.pt").write_bytes(pickle.dumps(Harm(harmed)))
    with zipfile.ZipFile(folder / "slip.onnx", "w") as archive:
        archive.writestr("../../harmed", "x")
    with zipfile.ZipFile(folder / "slip.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Harm(harmed)))
        archive.writestr("../../harmed", "x")
    (folder / "absolute.onnx").write_bytes(outside(secret))
    (folder / "above.onnx").write_bytes(outside("../secret.bin"))
    (folder / "linked.onnx").write_bytes(outside("link.bin"))
    (folder / "link.bin").symlink_to(secret)
    (folder / "million.onnx").write_bytes(million())
    assert len(onnx.load(folder / "million.onnx", load_external_data=False).graph.node) == 1_000_000
    models = sorted(path for path in folder.iterdir() if path.suffix != ".bin")
    before = sorted(tmp_path.rglob("*"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _TRIED, str(good), *map(str, models)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    took: dict[str, float] = {}
    for name, way, said, seconds, seen in map(json.loads, done.stdout.splitlines()):
        took[name] = max(took.get(name, 0.0), seconds)
        assert said != "taken", (name, way)
        for event, what in seen:
            assert event == "open", (name, way, event, what)
            assert "secret" not in what and "link.bin" not in what and "harmed" not in what, (name, way, what)
    assert not harmed.exists() and not (tmp_path.parent / "harmed").exists() and sorted(tmp_path.rglob("*")) == before
    slowest = max(took, key=lambda name: took[name] if name != "million.onnx" else 0.0)
    figure(
        f"hostile models, in three ways each: refused within {1e3 * took[slowest]:.0f} ms of a processor, a million operators "
        f"({(folder / 'million.onnx').stat().st_size / 1e6:.0f} MB) within {took['million.onnx']:.1f} s"
    )


def test_the_check_finds_what_is_opened(tmp_path: Path) -> None:
    """Planted: weights beside the model, which are read."""
    (tmp_path / "beside.bin").write_bytes(bytes(36))
    (tmp_path / "m.onnx").write_bytes(outside("beside.bin"))
    loaded = onnx.load(tmp_path / "m.onnx")
    assert numpy_helper.to_array(loaded.graph.initializer[0]).shape == (3, 3)
