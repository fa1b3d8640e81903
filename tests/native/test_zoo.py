"""The zoo, compiled: step and clip networks say what onnxruntime says, for every processor that runs here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from everyframe.native.build import link
from everyframe.native.check import check
from everyframe.native.generate import generate
from everyframe.native.library import Library
from everyframe.native.target import target
from everyframe.program import contract, convert
from everyframe.program.facts import Options
from native.operators import CPUS, QUICK

torch = pytest.importorskip("torch")


@dataclass(frozen=True)
class Case:
    name: str
    frames: int
    size: int
    rate: str = "native"


CASES = (
    Case("x3d_s", 13, 32), Case("x3d_m", 16, 32), Case("slow_r50", 8, 32), Case("i3d_r50", 8, 32),
    Case("i3d_r50", 8, 32, "dense"),
    Case("mobilenet3d_v2_0.45x", 16, 32), Case("tsm_mobilenet_v2", 8, 32), Case("tsm_mobilenet_v2_online", 8, 32),
    Case("tsm_resnet50", 8, 32), Case("r2plus1d_18", 16, 32), Case("r3d_18", 16, 32), Case("mc3_18", 16, 32), Case("c3d", 16, 32),
    Case("shufflenet3d_1.0x", 16, 32), Case("shufflenet3d_v2_1.0x", 16, 32), Case("squeezenet3d", 16, 32),
    Case("slowfast_r50_4x16", 32, 32), Case("s3d", 16, 64), Case("mobilenet3d_1.0x", 16, 32),
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.name}-{c.rate}")
def test_the_zoo(case: Case, tmp_path: Path) -> None:
    import everyframe
    from everyframe import models

    net = models.create(case.name, num_classes=10, frames=case.frames, size=case.size)
    everyframe.export(net, tmp_path / "clip.onnx", frames=case.frames, size=case.size)
    clip = contract.load(tmp_path / "clip.onnx")
    step = convert(clip, Options(rate=case.rate)).step
    for name, model in (("step", step), ("clip", clip)):
        metadata = contract.metadata_of(model)
        assert metadata is not None
        for cpu in CPUS:
            if cpu == "generic" and case.name in ("c3d", "r3d_18"):
                continue  # minutes of scalar arithmetic
            source, _, fitting = generate(model, metadata.states, target(cpu), where=case.name)
            library = Library(link(source, fitting, model, tmp_path / f"{name}-{cpu}.so", QUICK))
            assert check(model, metadata, library) <= 1e-5, (name, cpu)
