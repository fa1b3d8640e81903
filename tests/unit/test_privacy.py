"""Libraries that report are told not to before they are loaded; what the user says himself wins."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import layout
from command_line import environment

TEMPLATES = sorted((layout.SOURCE / "bundles" / "templates").glob("*.py"))
#: what is read while one of these is loaded, as a program that does not know everyframe has to say it
SETTINGS = {"onnxruntime": "ORT_DISABLE_TELEMETRY", "openvino": "openvino_telemetry"}
HEAVY = ("onnxruntime", "openvino", "numpy", "onnx")
CODE = f"""
import json, os, sys
before = set(sys.modules)
import everyframe
print(json.dumps({{
    "variable": os.environ.get("ORT_DISABLE_TELEMETRY"),
    "blocked": sys.modules.get("openvino_telemetry", "") is None,
    "loaded": [name for name in {HEAVY!r} if name in set(sys.modules) - before],
}}))
"""


def after_import(home: Path, code: str = CODE, **variables: str) -> dict[str, object]:
    """What holds in a new process once everyframe is imported. -S: site packages may load anything."""
    own = {name: value for name, value in environment().items() if name != "ORT_DISABLE_TELEMETRY"}
    command = [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(layout.SOURCE.parent)!r})\n{code}"]
    done = subprocess.run(
        command, env=own | {"HOME": str(home)} | variables, capture_output=True, text=True, timeout=60, check=True
    )
    return dict(json.loads(done.stdout))


def test_both_are_silent_before_they_are_loaded(tmp_path: Path) -> None:
    assert after_import(tmp_path) == {"variable": "1", "blocked": True, "loaded": []}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", ["0", "1", ""])
def test_a_variable_of_the_users_stays(value: str, tmp_path: Path) -> None:
    assert after_import(tmp_path, ORT_DISABLE_TELEMETRY=value)["variable"] == value


@pytest.mark.parametrize(("content", "blocked"), [("1", False), ("1\n", False), ("0", True), ("", True), ("yes", True)])
def test_consent_to_openvino_stays(content: str, blocked: bool, tmp_path: Path) -> None:
    (tmp_path / "intel").mkdir()
    (tmp_path / "intel" / "openvino_telemetry").write_text(content)
    assert after_import(tmp_path)["blocked"] is blocked


def test_what_is_loaded_already_is_left_alone(tmp_path: Path) -> None:
    stand_in = "import types; sys.modules['openvino_telemetry'] = types.ModuleType('theirs')\n"
    assert after_import(tmp_path, stand_in + CODE)["blocked"] is False


def test_openvino_does_without_its_reporter() -> None:
    """It falls back to a stand-in of its own, which knows all calls."""
    pytest.importorskip("openvino")
    if "openvino_telemetry" in sys.modules and sys.modules["openvino_telemetry"] is not None:
        pytest.skip("whoever runs this has told OpenVINO that it may report")
    from openvino.tools.ovc import telemetry_utils

    assert telemetry_utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub"


def test_processes_that_tests_start_inherit_it() -> None:
    assert os.environ.get("ORT_DISABLE_TELEMETRY") is not None
    assert environment()["ORT_DISABLE_TELEMETRY"] == os.environ["ORT_DISABLE_TELEMETRY"]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_programs_for_devices_say_it_first(path: Path) -> None:
    """They run where everyframe is not installed."""
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None)]
        for setting in (SETTINGS[name.split(".")[0]] for name in names if name and name.split(".")[0] in SETTINGS):
            assert setting in "\n".join(text.splitlines()[: node.lineno - 1]), f"line {node.lineno}: {setting}"
