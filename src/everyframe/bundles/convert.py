"""Formats of runtimes, by their own converters: OpenVINO as a library, the others as commands where they are installed."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx

from everyframe.bundles.job import Job
from everyframe.errors import install_extra
from everyframe.modelfile.file import save

LIMIT_S = 1800


def run(job: Job, model: onnx.ModelProto, compiled: str, command: str) -> list[str]:
    """Makes `compiled` in the job's folder if that is possible here. Returns what was not, and why."""
    if job.target_name == "openvino":
        return _openvino(job.fresh, model, compiled)
    if not command:
        return []
    tool, *arguments = shlex.split(command)
    found = shutil.which(tool)
    _bare(model, job.fresh / f"{job.name}.onnx")
    if found is None:
        return [f"{tool} is not installed here: run the command in the folder"]
    with tempfile.TemporaryDirectory() as beside:
        _bare(model, Path(beside) / f"{job.name}.onnx")
        try:
            done = subprocess.run(
                [found, *arguments], cwd=beside, capture_output=True, text=True, timeout=LIMIT_S, check=False
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return [f"{tool} did not end within {LIMIT_S} s"]
        if not (Path(beside) / compiled).exists():
            lines = (done.stderr + done.stdout).strip().splitlines() or ["it said nothing"]
            return [f"{tool} could not convert the model: {lines[-1].strip()}"]
        for file in Path(beside).glob(job.target.keeps.format(name=job.name)):
            shutil.move(file, job.fresh / file.name)
    return []


def _openvino(fresh: Path, model: onnx.ModelProto, compiled: str) -> list[str]:
    if find_spec("openvino") is None:
        return [f"openvino is not installed here: {install_extra('openvino')}"]
    import openvino

    with tempfile.TemporaryDirectory() as beside:
        _bare(model, Path(beside) / "model.onnx")
        openvino.save_model(openvino.convert_model(Path(beside) / "model.onnx"), fresh / compiled)
    return []


def _bare(model: onnx.ModelProto, path: Path) -> None:
    """Without metadata: converters name files after the model, and some stumble over keys that they do not know."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    save(bare, path)


def compare(folder: Path, logits: np.ndarray) -> tuple[float | None, str | None]:
    """Runs the folder's own program on its own video: the cosine of its logits and these, or why it could not be run."""
    with tempfile.TemporaryDirectory() as beside:
        kept = Path(beside) / "logits.npy"
        done = subprocess.run(
            [sys.executable, "-B", "main.py", "--save", str(kept)], cwd=folder, capture_output=True, text=True, timeout=LIMIT_S,
            check=False,
        )  # fmt: skip
        if not kept.exists():
            lines = done.stderr.strip().splitlines() or ["it said nothing"]
            return None, f"the converted model was not run here: {lines[-1]}"
        found = np.load(kept)
    sizes = float(np.linalg.norm(found) * np.linalg.norm(logits))
    return (float(found @ logits) / sizes if sizes else float(np.array_equal(found, logits))), None
