"""The law on the zoo: streaming a network equals running it once over the whole video, at small pictures.

`verify` is the comparison that every conversion goes through; its reference is the clip network itself on a longer video.
Delays, hops and receptive fields do not depend on the picture's size, so they are the published networks' own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import onnx
import pytest

from everyframe import modelfile, models
from everyframe.cli import main
from everyframe.conversion import convert
from everyframe.conversion.facts import Options
from everyframe.conversion.verify import TOLERANCE, verify
from everyframe.models.cards import card as cards
from helpers import randomise

torch = pytest.importorskip("torch")

SAMPLE = Path(models.__file__).parents[1] / "assets" / "sample.mp4"


def cli(*arguments: str) -> int:
    """The exit code of `everyframe ARGUMENTS`, in this process."""
    with pytest.raises(SystemExit) as done:
        main.run(list(arguments))
    return int(done.value.code or 0)


@dataclass(frozen=True)
class Case:
    name: str
    hop: int
    feature_delay: int
    delay: int | None = None
    receptive_field: int | None = None


# Known from papers, from the authors' code, or worked out by hand; frames. Those of the card, at the published clip shape.
FACTS = (
    Case("x3d_s", hop=1, feature_delay=28, delay=40, receptive_field=69),
    Case("x3d_m", hop=1, feature_delay=28, delay=43, receptive_field=72),
    Case("x3d_l", hop=1, feature_delay=57, delay=72, receptive_field=130),
    Case("slow_r50", hop=1, feature_delay=9, delay=16, receptive_field=26),
    Case("i3d_r50", hop=2, feature_delay=18, delay=24, receptive_field=42),
    Case("tsm_mobilenet_v2", hop=1, feature_delay=10),
    Case("tsm_mobilenet_v2_online", hop=1, feature_delay=0),
    Case("r2plus1d_18", hop=8, feature_delay=54),
    Case("mobilenet3d_v2_0.45x", hop=16, feature_delay=75),
    Case("shufflenet3d_1.0x", hop=16, feature_delay=84),
    Case("shufflenet3d_v2_1.0x", hop=16, feature_delay=84),
    Case("squeezenet3d", hop=16, feature_delay=44),
    Case("slowfast_r50", hop=4, feature_delay=48),
)


@pytest.mark.parametrize("case", FACTS, ids=lambda case: case.name)
def test_known_facts(case: Case) -> None:
    measured = cards.card(case.name).measured
    assert measured is not None
    native = measured.native
    assert (native.hop, native.feature_delay) == (case.hop, case.feature_delay)
    assert case.delay in (None, native.delay) and case.receptive_field in (None, native.receptive_field)


# These take the whole road through the command line; all others the short one below, with the same comparison.
WHOLE_ROAD = ("early3d_mobilenet_0.5x", "tsm_mobilenet_v2_online", "x3d_xs")
#: longer rows of A3's table, with more frames than are streamed here: nothing of theirs could go wrong alone
REPEATED = ("movinet_a4", "movinet_a5")


def shape(name: str) -> tuple[int, int]:
    """(T, height = width) at which a network is streamed here."""
    entry = models.describe(name)
    return min(entry.frames, 16), max(32, entry.min_size)


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE_ROAD)
def test_networks_stream_from_the_command_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """export, stream (which compares with the clip network over a whole video), info and predict, at a small clip shape."""
    frames, size = shape(name)
    net = randomise(models.create(name, num_classes=10, frames=frames, size=size), seed=1)
    engine = "auto" if name == "x3d_xs" else "ort"  # compiled networks have tests of their own
    monkeypatch.chdir(tmp_path)
    models.save(net, "w.safetensors")
    said = []
    for line in (
        f"export {name} -o clip.onnx --weights w.safetensors --frames {frames} --size {size}",
        "stream clip.onnx -o step.onnx --json",
        "info step.onnx --json",
        f"predict step.onnx {SAMPLE} --json --engine {engine}",
    ):
        assert cli(*line.split()) == 0, line
        said.append(capsys.readouterr().out)
    streamed, info = json.loads(said[1]), json.loads(said[2])
    assert streamed["difference"] < 1e-4
    assert (info["hop"], info["state_floats"]) == (streamed["hop"], streamed["state_floats"])
    _as_on_the_card(name, info["hop"], info["delay_frames"], info["receptive_field_frames"])
    _four_axes(modelfile.load("step.onnx"))
    answers = [json.loads(line) for line in said[3].splitlines()]
    assert any("scores" in answer or "top" in answer for answer in answers), said[3][:300]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(models.list()) - {*WHOLE_ROAD, *REPEATED}))
def test_every_network_streams(name: str, zoo_clip: Callable[..., onnx.ModelProto]) -> None:
    made = convert(zoo_clip(name, *shape(name)))
    assert verify(made) <= TOLERANCE
    meta = made.metadata
    _as_on_the_card(name, meta.hop, meta.delay, None if meta.unbounded else meta.receptive_field)
    _four_axes(made.step)


def _as_on_the_card(name: str, *facts: int | None) -> None:
    """hop, delay and receptive field do not depend on the size of the picture."""
    measured = cards.card(name).measured
    if measured is not None and models.describe(name).frames == shape(name)[0]:
        assert facts == (measured.native.hop, measured.native.delay, measured.native.receptive_field)


# --- at a prediction a frame, and with all taps ---


@dataclass(frozen=True)
class Variant:
    name: str
    frames: int
    feature_delay: int | None = None
    taps: str = "trained"
    rate: str = "dense"
    within_noise: bool = False  # linear bottlenecks with random weights amplify rounding; verify measures how much


VARIANTS = (
    Variant("i3d_r50", 8, feature_delay=18),
    Variant("r2plus1d_18", 16, feature_delay=54),
    Variant("mobilenet3d_0.5x", 16),
    Variant("shufflenet3d_0.5x", 16),
    Variant("shufflenet3d_v2_0.25x", 16),
    Variant("resnet3d_18", 16),
    Variant("squeezenet3d", 16),
    Variant("mobilenet3d_v2_0.45x", 16, feature_delay=123, taps="all", rate="native", within_noise=True),
)


@pytest.mark.slow
@pytest.mark.parametrize("case", VARIANTS, ids=lambda c: f"{c.name}-{c.rate}-{c.taps}")
def test_variants_stream(case: Variant, zoo_clip: Callable[..., onnx.ModelProto]) -> None:
    made = convert(zoo_clip(case.name, case.frames, 32), Options(rate=case.rate, taps=case.taps))
    assert verify(made) <= TOLERANCE or case.within_noise
    assert made.metadata.hop == 1 or case.rate == "native"
    assert case.feature_delay in (None, made.metadata.feature_delay)
    _four_axes(made.step)


def _four_axes(step: onnx.ModelProto) -> None:
    """No tensor of a step network has more than four axes, and no operator but standard ones is in it."""
    shapes = onnx.shape_inference.infer_shapes(step, strict_mode=True).graph
    for value in (*shapes.input, *shapes.output, *shapes.value_info):
        assert len(value.type.tensor_type.shape.dim) <= 4, value.name
    for tensor in step.graph.initializer:
        assert len(tensor.dims) <= 4, tensor.name
    assert {node.domain for node in step.graph.node} <= {"", "ai.onnx"}
    assert all(prod(tensor.dims) for tensor in step.graph.initializer)
