"""The package is typed. A test like any other, so that a core that has nothing else to do reads it: most of a minute."""

from __future__ import annotations

import subprocess
import sys

import pytest

from unit.test_layout import ROOT


@pytest.mark.slow
def test_mypy_finds_nothing() -> None:
    pytest.importorskip("mypy")
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
