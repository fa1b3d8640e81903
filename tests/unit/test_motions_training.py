"""Training on a very small recipe: the loss falls, the folder is complete, Ctrl-C keeps the best."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from everyframe import conversion, modelfile, recipes  # noqa: E402
from everyframe.errors import ModelError, OutputError  # noqa: E402
from everyframe.models.families.motion import MotionNet  # noqa: E402
from everyframe.motions import evaluate, loop, metrics, objective, pool  # noqa: E402
from everyframe.motions.render import dataset  # noqa: E402
from everyframe.motions.render.motions import LABELS, Interval  # noqa: E402

TINY = recipes.parse(
    'task = "motions"\n'
    'name = "tiny"\nwindow = 6\nthreads = 1\n[data]\nframes = 20\npool = 8\nfresh = 4\nvalidation = 4\n'
    "[optimizer]\nepochs = 2\nsteps = 6\nbatch = 4\n"
)


def test_training_writes_a_complete_folder(tmp_path: Path) -> None:
    result = loop.run(TINY, tmp_path / "run")
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "best.safetensors",
        "clip.onnx",
        "metrics.csv",
        "metrics.json",
    }
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["seed"] == result["seed"]
    metadata = modelfile.metadata_of(modelfile.load(tmp_path / "run" / "clip.onnx"))
    assert metadata is not None and metadata.labels == LABELS and metadata.events is not None and metadata.frames == 6


def test_loss_falls_on_a_small_set() -> None:
    torch.manual_seed(0)
    batch = dataset.streams("train", 0, range(6), frames=24)
    video, bits = pool.normalize(batch.video), torch.from_numpy(batch.bits)
    net = MotionNet(8, 12, (48, 64))
    net.dropout.p = 0.0
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    losses = []
    for _ in range(12):
        loss = objective.set_loss(net.every_frame(video, 8), bits)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_interrupt_keeps_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop.Pool, "renew", interrupted)  # comes after the first epoch
    result = loop.run(TINY, tmp_path)
    assert result["interrupted"] and result["epoch"] == 1
    assert (tmp_path / "clip.onnx").exists() and "interrupted" in capsys.readouterr().err


def test_interrupt_before_anything_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loop.dataset, "streams", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.run(TINY, tmp_path)
    assert not list(tmp_path.iterdir())


def test_result_folder_must_be_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        loop.run(TINY, tmp_path / "file" / "run")


def test_set_loss_is_zero_for_any_right_label_and_counts_none_of_the_others() -> None:
    logits = torch.tensor([[[20.0, 20.0, 0.0]]])
    assert objective.set_loss(logits, torch.tensor([[3]], dtype=torch.uint8)).item() == pytest.approx(0, abs=1e-6)
    assert objective.set_loss(logits, torch.tensor([[4]], dtype=torch.uint8)).item() > 15


def test_every_frame_is_the_clip_network_on_the_video_so_far() -> None:
    net = MotionNet(8, 12, (48, 64)).eval()
    video = torch.randn(2, 1, 7, 48, 64)
    with torch.inference_mode():
        dense = net.every_frame(video, 7)
        for t in (0, 3, 6):
            torch.testing.assert_close(dense[:, t], net(video[:, :, : t + 1]), rtol=1e-4, atol=1e-5)


def test_streamed_onnx_is_the_network(tmp_path: Path) -> None:
    loop.run(TINY, tmp_path)
    net = loop.load_net(tmp_path / "best.safetensors", TINY)
    conversion.stream(tmp_path / "clip.onnx", tmp_path / "step.onnx")
    video = dataset.streams("test", 0, range(1), frames=16).video
    streamed = evaluate.open_model(tmp_path / "step.onnx").scores(video[0])
    np.testing.assert_allclose(streamed, loop.scores(net, video, TINY.window)[0], atol=1e-5)


def test_tally_counts_hits_misses_and_false_events() -> None:
    rule = modelfile.EventRule(background="none", threshold=0.6)
    scores = np.tile(np.eye(8)[0], (60, 1))
    scores[20:24] = np.eye(8)[LABELS.index("wave")]
    scores[45:48] = np.eye(8)[LABELS.index("swipe_up")]
    total = metrics.tally([scores], [[Interval("wave", 1.0, 1.5, 2.0), Interval("swipe_left", 3.0, 3.3, 3.4)]], rule, 12.0)
    assert total.hits["wave"] == 1 and total.misses["swipe_left"] == 1 and total.false["swipe_up"] == 1
    assert total.report()["recall"] == 0.5


def test_a_model_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model"):
        evaluate.open_model(tmp_path / "missing.onnx")
