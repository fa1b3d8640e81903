"""The zoo, compiled: step and clip networks say what onnxruntime says.

Networks take turns with the processors that run here: what each of them computes otherwise, tests of operators compile for all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest

from everyframe import modelfile
from everyframe.conversion import convert
from everyframe.conversion.facts import Options
from everyframe.modelfile.fold import fold
from everyframe.native.build import link
from everyframe.native.check import check
from everyframe.native.generate import generate
from everyframe.native.library import Library
from everyframe.native.target import target
from native.operators import CPUS, QUICK

pytest.importorskip("torch")
ZooClip = Callable[[str, int, int], onnx.ModelProto]


@dataclass(frozen=True)
class Case:
    name: str
    frames: int
    size: int
    rate: str = "native"


#: the step for this machine's processor, the clip for each in turn
SMALL = (
    Case("x3d_s", 13, 32), Case("mobilenet3d_v2_0.2x", 16, 32), Case("tsm_mobilenet_v2", 8, 32),
    Case("tsm_mobilenet_v2_online", 8, 32), Case("shufflenet3d_0.5x", 16, 32), Case("shufflenet3d_v2_0.25x", 16, 32),
    Case("squeezenet3d", 16, 32), Case("mobilenet3d_0.5x", 16, 32), Case("mobilenet3d_0.5x", 16, 32, "dense"),
    Case("early3d_mobilenet_0.5x", 16, 32),
)  # fmt: skip
#: the step alone, for this machine's processor: scalar arithmetic would take minutes
LARGE = (
    Case("slow_r50", 8, 32), Case("i3d_r50", 8, 32), Case("tsm_resnet50", 8, 32), Case("r2plus1d_18", 16, 32),
    Case("mc3_18", 16, 32), Case("c3d", 16, 32), Case("slowfast_r50_4x16", 16, 32), Case("s3d", 16, 32), Case("csn_r101", 16, 32),
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("number", "case"), list(enumerate(SMALL)), ids=[f"{case.name}-{case.rate}" for case in SMALL])
def test_the_zoo(number: int, case: Case, tmp_path: Path, zoo_clip: ZooClip) -> None:
    clip = clip_model(case, zoo_clip)
    agrees(convert(clip, Options(rate=case.rate)).step, CPUS[-1], f"{case.name} step", tmp_path / "step.so")
    agrees(clip, CPUS[number % len(CPUS)], f"{case.name} clip", tmp_path / "clip.so")


@pytest.mark.slow
@pytest.mark.parametrize("case", LARGE, ids=lambda c: c.name)
def test_the_large_ones(case: Case, tmp_path: Path, zoo_clip: ZooClip) -> None:
    agrees(convert(clip_model(case, zoo_clip)).step, "native", case.name, tmp_path / "step.so")


def clip_model(case: Case, zoo_clip: ZooClip) -> onnx.ModelProto:
    clip = zoo_clip(case.name, case.frames, case.size)
    modelfile.attach(clip, modelfile.Metadata(kind="clip", frames=case.frames, preprocess=modelfile.Preprocess()))
    return fold(clip)


def agrees(model: onnx.ModelProto, cpu: str, where: str, path: Path) -> None:
    metadata = modelfile.metadata_of(model)
    assert metadata is not None
    source, _, fitting = generate(model, metadata.states, target(cpu), where=where)
    library = Library(link(source, fitting, model, path, QUICK))
    assert check(model, metadata, library) <= 1e-5, (where, cpu)
