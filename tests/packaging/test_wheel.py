"""The built wheel, without extras, in an environment of its own outside the checkout: what a board gets. No torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import lock
import pytest

import handmade
from command_line import environment

ROOT = lock.ROOT
LOCK = ROOT / "requirements.lock"
ASSETS = ROOT / "src" / "everyframe" / "assets"
MB = 1e6

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path, **changes: str) -> str:
    done = subprocess.run(command, cwd=cwd, env=environment(**changes), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built with what is installed here: no index is asked."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of a new environment that has the wheel and its base dependencies, as locked."""
    folder = tmp_path_factory.mktemp("board")
    venv.create(folder / "env", with_pip=True)
    programs = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    pip = [programs / "python", "-m", "pip", "--disable-pip-version-check"]
    probe = [*pip, "download", "-qq", "--no-deps", "-c", LOCK, "-d", folder / "probe", "annotated-types"]
    reached = subprocess.run(probe, capture_output=True, text=True, check=False)
    if reached.returncode and not os.environ.get("CI"):
        pytest.skip(f"no package index can be reached: {reached.stderr.strip().splitlines()[-1]}")
    run(*pip, "install", "-qq", "--no-compile", "-c", LOCK, wheel, cwd=folder, PIP_USER="0")
    return programs


def test_the_wheel_has_what_it_needs_and_nothing_else(wheel: Path, figure: Callable[[str], None]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tracked = run("git", "ls-files", "src/everyframe", cwd=ROOT) if (ROOT / ".git").exists() else ""
    assert {name.removeprefix("src/") for name in tracked.splitlines()} <= names, "every file of the package is in the wheel"
    assert "everyframe/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"everyframe"}
    assert not [name for name in names if "__pycache__" in name or name.startswith(("tests/", "everyframe/tests"))]
    size = wheel.stat().st_size
    assert size < 10 * MB, "the built-in model and its sample are small"
    figure(f"wheel: {size / MB:.2f} MB")


def test_the_base_install_has_no_torch(installed: Path, figure: Callable[[str], None], tmp_path: Path) -> None:
    packages = {lock.normal(p["name"]): p["version"] for p in json.loads(
        run(installed / "python", "-m", "pip", "list", "--format", "json", "--disable-pip-version-check", cwd=tmp_path)
    )}  # fmt: skip
    pins = lock.read()
    assert "everyframe" in packages
    assert not {"torch", "onnxscript", "safetensors", "openvino", "pytest"} & set(packages)
    others = set(packages) - {"everyframe", "pip", "setuptools"}
    assert {name: packages[name] for name in others} == {name: pins.get(name) for name in others}
    files = [path for path in installed.parent.rglob("*") if path.is_file() and not path.is_symlink()]
    tools = [path for path in files if {"pip", "setuptools", "pkg_resources"} & set(path.parts)]
    size = sum(path.stat().st_size for path in files) - sum(path.stat().st_size for path in tools)
    figure(f"base install: {size / MB:.0f} MB on disk in {len(others) + 1} packages, without pip")


def test_version_and_help(installed: Path, tmp_path: Path) -> None:
    import everyframe

    assert run(installed / "everyframe", "--version", cwd=tmp_path) == f"everyframe {everyframe.__version__}\n"
    assert "predict" in run(installed / "everyframe", "--help", cwd=tmp_path)
    where = run(installed / "python", "-c", "import everyframe; print(everyframe.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent), "not the checkout"


def test_predict_with_the_built_in_model(installed: Path, tmp_path: Path) -> None:
    for name in ("motions.onnx", "sample.mp4"):
        if not (ASSETS / name).exists():
            pytest.skip(f"assets/{name} is not there yet")
    locate = "from everyframe import runtime; print(runtime.BUILTIN.with_name('sample.mp4'))"
    sample = run(installed / "python", "-c", locate, cwd=tmp_path).strip()
    lines = run(installed / "everyframe", "predict", "builtin", sample, "--json", cwd=tmp_path).splitlines()
    predictions = [json.loads(line) for line in lines]
    assert len(predictions) > 10
    assert all({"frame", "pts_s", "top"} <= set(prediction) for prediction in predictions)
    assert [p["frame"] for p in predictions] == sorted(p["frame"] for p in predictions)
    assert any("event" in prediction for prediction in predictions), "the sample shows motions that the model knows"


def test_convert_and_predict_without_torch(installed: Path, tmp_path: Path) -> None:
    """A clip network made elsewhere becomes a step network here."""
    handmade.brightness_clip(tmp_path / "clip.onnx", size=(12, 16))
    handmade.write_video(tmp_path / "video.mp4", frames=30)
    run(installed / "everyframe", "stream", "clip.onnx", "-o", "step.onnx", cwd=tmp_path)
    assert json.loads(run(installed / "everyframe", "info", "step.onnx", "--json", cwd=tmp_path))
    lines = run(installed / "everyframe", "predict", "step.onnx", "video.mp4", "--json", cwd=tmp_path).splitlines()
    assert {t["label"] for t in json.loads(lines[0])["top"]} == {"dark", "medium", "bright"}


def test_what_needs_torch_says_so(installed: Path, tmp_path: Path) -> None:
    assert "x3d_m" in run(installed / "everyframe", "models", cwd=tmp_path)
    for verb in (["export", "x3d_s"], ["train", "motions"]):
        done = subprocess.run(
            [installed / "everyframe", *verb], cwd=tmp_path, env=environment(), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert "pip install 'everyframe[train]'" in done.stderr
        assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
