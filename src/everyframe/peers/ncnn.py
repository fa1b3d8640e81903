"""ncnn, by its own converter pnnx, on the processor and in float32."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from everyframe.errors import EngineError
from everyframe.peers.network import Network, input_shape, module


def load(model: onnx.ModelProto, threads: int) -> Network:
    ncnn, shape = module("ncnn"), input_shape(model)
    net = ncnn.Net()
    net.opt.num_threads, net.opt.use_vulkan_compute = threads, False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = False
    with tempfile.TemporaryDirectory(prefix="everyframe-") as folder:
        parameters, weights = _converted(model, shape, Path(folder))
        if net.load_param(str(parameters)) or net.load_model(str(weights)):
            raise EngineError("ncnn cannot load what pnnx made of the network.", got=_not_made(parameters))

    def call(clip: np.ndarray) -> np.ndarray:
        runner: Any = net.create_extractor()
        runner.input("in0", ncnn.Mat(clip[0]).clone())  # it would read memory that is gone
        failed, logits = runner.extract("out0")
        if failed:
            raise EngineError("ncnn cannot run the network.")
        return np.array(logits)[None]

    call(np.zeros(shape, np.float32))
    return Network("clip", shape, lambda: call)


def _converted(model: onnx.ModelProto, shape: tuple[int, ...], folder: Path) -> tuple[Path, Path]:
    onnx.save(model, folder / "clip.onnx")
    arguments = [module("pnnx").EXEC_PATH, "clip.onnx", "fp16=0", f"inputshape=[{','.join(map(str, shape))}]"]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    found = folder / "clip.ncnn.param", folder / "clip.ncnn.bin"
    if done.returncode or not all(path.exists() for path in found):
        raise EngineError("pnnx cannot convert the network.", got=(done.stderr.strip() or "-").splitlines()[-1][:200])
    return found


def _not_made(parameters: Path) -> str:
    """Operators that ncnn does not know keep the names that pnnx gives them."""
    kinds = {line.split()[0] for line in parameters.read_text(encoding="utf-8").splitlines()[2:]}
    return ", ".join(sorted(kind for kind in kinds if "." in kind)) or "-"
