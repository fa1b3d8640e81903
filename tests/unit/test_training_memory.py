"""What a training frees stays with the process until it ends."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from everyframe.training import memory

#: bytes of a block that glibc maps by itself, and gives back when it is freed
BLOCK, TIMES = 40 << 20, 10


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def faults() -> int:
    """Pages that the system has to find for blocks that are taken and freed, one after another."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(TIMES):
        torch.ones(BLOCK // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_what_is_freed_is_taken_again_and_goes_back_at_the_end() -> None:
    before = faults()
    with memory.kept() as kept:
        if not kept:
            pytest.skip("another allocator")
        faults()  # a few of them until what is there is enough
        assert faults() < before / 2
        most = resident()
    assert resident() < most - BLOCK / 2
