"""Streaming reproduces what the authors of networks run frame by frame.

Continual 3D CNNs: every output of their code, from its first one on. `clean` is their network from empty states, which is
what the law says; their other mode feeds zero frames first. Online TSM: the live demo. MoViNet: stream buffers. The
networks are ours with the authors' weights under their names, streamed by the ordinary road, but for the comparison with the
clip network over a video: the authors' answers are what counts here.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import everyframe
import golden
from everyframe import modelfile, models
from everyframe.conversion import convert
from everyframe.conversion.facts import Options
from everyframe.models.checkpoints.load import assemble
from helpers import quick_export, relative

torch = pytest.importorskip("torch")


def streamed(network: str, case: golden.Case, frames: int, size: int, folder: Path, **options: int) -> Path:
    """A step model with the weights of a case."""
    weights = {key: torch.from_numpy(value) for key, value in case.weights().items()}
    torch.save({"model_state": weights}, folder / "w.pyth")
    clip = quick_export(assemble(network, None, folder / "w.pyth", frames, size).net, frames, size)
    modelfile.attach(clip, modelfile.Metadata(kind="clip", frames=frames, preprocess=models.describe(network).preprocess))
    modelfile.save(convert(clip, Options(**options)).step, folder / "step.onnx")
    return folder / "step.onnx"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "network", "frames", "size", "hop", "delay", "receptive_field"),
    [
        ("co_x3d_s", "x3d_s", 13, 112, 1, 40, 69),
        ("co_slow_8", "slow_r50", 8, 96, 1, 16, 26),
        ("co_i3d_8", "i3d_r50", 8, 96, 2, 24, 42),
    ],
)
def test_every_output_of_the_authors_code(
    case: str, network: str, frames: int, size: int, hop: int, delay: int, receptive_field: int, tmp_path: Path
) -> None:
    found = golden.case(case)
    step = streamed(network, found, frames, size, tmp_path)
    program = everyframe.open(step, engine="ort", threads=1)
    assert (program.metadata.hop, program.metadata.delay, program.metadata.receptive_field) == (hop, delay, receptive_field)
    assert found.spec["co"]["receptive_field"] == receptive_field and found.spec["co"]["delay"] == delay
    stream, video = program.stream(), found.inputs()[0][0].transpose(1, 0, 2, 3)  # (T, 3, H, W)
    ours = {}
    for first in range(0, len(video), hop):
        if (made := stream.step(video[first : first + hop])) is not None:
            ours[first + hop - 1] = made.logits
    expected = found.expected()
    outputs = list(zip(expected["clean_steps"].astype(int), expected["clean_logits"], strict=True))
    assert len(outputs) == found.spec["outputs"]["clean_steps"]["shape"][0] > 3
    for at, logits in outputs:
        step_end = at // hop * hop + hop - 1  # we answer when the step is complete that holds their frame
        assert relative(ours[step_end], logits) <= golden.TOLERANCE, f"the output at frame {at}"


@pytest.mark.slow
def test_online_tsm_from_empty_buffers(tmp_path: Path) -> None:
    """The authors' live demo, frame by frame: its logits are those of one frame, so the window is 1."""
    found = golden.case("tsm_online_mobilenetv2")
    step = streamed("tsm_mobilenet_v2_online", found, 8, 224, tmp_path, window=1)
    stream, frames = everyframe.open(step, engine="ort", threads=1).stream(), found.inputs()[0]
    for i, logits in enumerate(found.expected()["logits"]):
        made = stream.step(frames[i : i + 1])
        assert made is not None and relative(made.logits, logits) <= golden.TOLERANCE, f"frame {i}"


@pytest.mark.slow
def test_movinet_from_clean_buffers(tmp_path: Path) -> None:
    """Frame by frame, four at a time and all at once: the port says the same, and so does one step network, with no delay."""
    found = golden.case("movinet_a0_stream")
    torch.save({key: torch.from_numpy(value) for key, value in found.weights().items()}, tmp_path / "w.pth")
    clip, step = tmp_path / "clip.onnx", tmp_path / "step.onnx"
    models.export("movinet_a0_stream", clip, weights=tmp_path / "w.pth", frames=8, size=112)
    modelfile.save(convert(modelfile.load(clip)).step, step)
    program, frames = everyframe.open(step, engine="ort", threads=1), found.inputs()[0][0].transpose(1, 0, 2, 3)
    assert (program.metadata.hop, program.metadata.delay) == (1, 0)
    stream, expected = program.stream(), found.expected()
    ours = [stream.step(frame[None]).logits for frame in frames]
    assert relative(ours, expected["steps_logits"]) <= golden.TOLERANCE
    assert relative(ours[3::4], expected["by_four_logits"]) <= golden.TOLERANCE
    assert relative(ours[-1], expected["clip_forward"][0]) <= golden.TOLERANCE
