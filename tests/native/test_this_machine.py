"""Which processor code is made for, on machines that are not this one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from everyframe.native import target as targets

CAN_ALL = "flags\t\t: fpu sse2 avx2 fma avx_vnni avx512f avx512vl avx512dq avx512bw avx512_vnni avx512vbmi\n"


@pytest.mark.parametrize(
    ("numpy_says", "chosen"),
    [
        ({"SIMD Extensions": {"baseline": ["X86_V2"], "found": ["X86_V3", "X86_V4", "AVX512_SPR"]}}, "x86-64-v4-vnni"),
        ({"SIMD Extensions": {"baseline": ["X86_V2"], "found": ["X86_V3"], "not found": ["X86_V4"]}}, "x86-64-v3"),
        ({}, "x86-64-v4-vnni"),
    ],
    ids=["lacks nothing", "emulated without AVX-512", "says nothing"],
)
def test_a_processor_that_can_all(numpy_says: dict[str, Any], chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """numpy leaves out the list of what it did not find where that would be empty."""
    monkeypatch.setattr(targets, "machine", lambda: "x86_64")
    monkeypatch.setattr(targets.Path, "read_text", lambda self, **_: CAN_ALL)
    monkeypatch.setattr(np, "show_config", lambda mode: numpy_says)
    assert targets.target("native").name == chosen
