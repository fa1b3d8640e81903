"""SlowFast: two pathways of different frame rates, whose heads meet as they do in the clip. The reference is torch.

The features of both pathways over the whole video, from the same weights in a network made for it; then for each prediction the
mean of both over windows that begin at the same stream frame, and the classifier.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import everyframe
from everyframe import modelfile, models
from everyframe.conversion import convert
from everyframe.conversion.facts import Options
from everyframe.conversion.verify import TOLERANCE, verify
from helpers import quick_export, randomise, relative

torch = pytest.importorskip("torch")

VIDEO, SIZE = 144, 32


def pathways(net: Any, clip: Any) -> tuple[Any, Any]:
    """(slow, fast): what the heads average, each (N, C, T')."""
    seen: list[Any] = []
    hook = net.blocks[5].register_forward_pre_hook(lambda _, inputs: seen.extend(inputs))
    with torch.no_grad():
        net(clip)
    hook.remove()
    slow, fast = seen if len(seen) == 2 else seen[0]
    return slow.mean((3, 4)), fast.mean((3, 4))


@pytest.mark.usefixtures("narrow_zoo")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "frames", "alpha", "rate"),
    [
        ("slowfast_r50", 32, 4, "native"),
        ("slowfast_r50_4x16", 32, 8, "native"),
        ("slowfast_r50", 30, 4, "dense"),
    ],
)
def test_windows_of_both_pathways_begin_at_the_same_frame(name: str, frames: int, alpha: int, rate: str, tmp_path: Path) -> None:
    net = randomise(models.create(name, num_classes=10, frames=frames, size=SIZE), seed=1)
    made = convert(quick_export(net, frames, SIZE), Options(rate=rate))
    assert verify(made) <= TOLERANCE
    meta = made.metadata
    assert meta.hop == (alpha if rate == "native" else 1)
    modelfile.save(made.step, tmp_path / "step.onnx")
    stream = everyframe.open(tmp_path / "step.onnx", engine="ort", threads=1).stream()
    video = torch.randn(1, 3, VIDEO, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
    steps = video[0].transpose(0, 1).numpy()
    ours = {i + meta.hop - 1: stream.step(steps[i : i + meta.hop]) for i in range(0, VIDEO, meta.hop)}

    longer = models.create(name, num_classes=10, frames=VIDEO, size=SIZE)
    longer.load_state_dict(net.state_dict())
    slow, fast = pathways(longer, video)
    compared = 0
    for now, prediction in ours.items():
        start = (now - meta.delay) // alpha * alpha
        if now < meta.delay or (rate == "dense" and (now - meta.delay) % alpha):  # phase 0 is the strided network
            continue
        first, n = start // alpha, -(-frames // alpha)
        features = torch.cat([slow[:, :, first : first + n].mean(2), fast[:, :, start : start + frames].mean(2)], 1)
        with torch.no_grad():
            expected = net.blocks[6].proj(features)[0].numpy()
        assert prediction is not None and relative(prediction.logits, expected) < 1e-5, f"at frame {now}"
        compared += 1
    assert compared >= 4


@pytest.mark.usefixtures("narrow_zoo")
def test_a_longer_window_keeps_the_pathways_together() -> None:
    """--window counts frames of the slow pathway; the fast one averages alpha times as many."""
    net = randomise(models.create("slowfast_r50", num_classes=4, frames=8, size=SIZE), seed=1)
    made = convert(quick_export(net, 8, SIZE), Options(window=5))
    assert verify(made) <= TOLERANCE
    assert sorted(made.facts.head(node).frames for node in made.facts.heads) == [5, 20]
