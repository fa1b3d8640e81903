"""The built-in model's training on a very small recipe: a data set and an objective of the ordinary loop, seed by seed."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

import everyframe  # noqa: E402
from everyframe import modelfile, recipes  # noqa: E402
from everyframe.cli.main import run as command_line  # noqa: E402
from everyframe.errors import ModelError, OutputError, UsageError, WeightsError  # noqa: E402
from everyframe.modelfile.interface import metadata_or_raise  # noqa: E402
from everyframe.models.families.motion import MotionNet  # noqa: E402
from everyframe.motions import evaluate, metrics, objective, run, shipped  # noqa: E402
from everyframe.motions.export import SWAP  # noqa: E402
from everyframe.motions.streams import Streams  # noqa: E402
from everyframe.recipes.motions import Data, Teacher  # noqa: E402
from everyframe.rendering.hands import dataset  # noqa: E402
from everyframe.rendering.hands.motions import LABELS, Interval  # noqa: E402
from everyframe.rendering.hands.scene import Shares  # noqa: E402
from everyframe.runtime import BUILTIN  # noqa: E402
from everyframe.training import checkpoint, folder  # noqa: E402
from everyframe.training.loader import normalize  # noqa: E402
from everyframe.training.loop import Loop  # noqa: E402

TEXT = (
    'task = "motions"\nname = "tiny"\nwindow = 6\nthreads = 1\n[data]\nframes = 20\npool = 8\nfresh = 4\nvalidation = 4\n'
    "[optimizer]\nepochs = 2\nsteps = 3\nbatch = 4\n"
)


def tiny(*changes: str) -> recipes.MotionsRecipe:
    made = recipes.parse(TEXT, changes=changes)
    assert isinstance(made, recipes.MotionsRecipe)
    return made


def equal(one: Path, two: Path) -> bool:
    a, b = load_file(one), load_file(two)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings end with their figures: the export takes most of the time of tiny ones."""
    monkeypatch.setattr(run, "export_clip", lambda *_: None)
    monkeypatch.setattr(run, "stream", lambda *_: None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds, without models."""
    path = tmp_path_factory.mktemp("motions") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "export_clip", lambda *_: None)
        patch.setattr(run, "stream", lambda *_: None)
        made = run.start(tiny("seeds=2"), path)
    assert made is not None and made.ended
    return path


def test_a_finished_folder_is_complete_and_its_model_is_the_network(trained: Path) -> None:
    made = run.resume(trained)  # which only finishes it again
    assert made is not None and made.ended
    assert [(row["seed"], row["epoch"]) for row in made.figures["epochs"]] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert json.loads((trained / "metrics.json").read_text())["seed"] == made.figures["seed"]
    assert f"seed {made.figures['seed']}, epoch {made.figures['epoch']}" in made.text()
    assert (trained / "report.html").is_file()
    assert equal(trained / "best.safetensors", trained / f"seed_{made.figures['seed']}" / "best.safetensors")
    metadata = modelfile.metadata_of(modelfile.load(trained / "clip.onnx"))
    assert metadata is not None and metadata.labels == LABELS and metadata.events is not None and metadata.frames == 6
    assert (trained / "step.onnx").stat().st_size < 1.1 * (trained / "best.safetensors").stat().st_size, "weights lie there once"
    net = run.network(tiny(f"start={trained / 'best.safetensors'}"))
    video = dataset.streams("test", 0, range(1), frames=16).video
    streamed = evaluate.open_model(trained / "step.onnx").score(video[0])
    np.testing.assert_allclose(streamed, objective.every_frame(net.net, video, net.preprocess, swap=SWAP)[0], atol=1e-5)


@pytest.mark.usefixtures("no_models")
def test_one_seed_is_a_run_folder_as_any_other(trained: Path) -> None:
    path = trained
    one = run.resume(path / "seed_1")  # nothing is left but to finish it
    assert one is not None and one.figures["seed"] == 1 and (path / "seed_1" / "metrics.json").is_file()
    assert folder.read(path / "seed_1", recipes.MotionsRecipe).recipe.first_seed == 1
    with pytest.raises(UsageError, match="another kind"):
        folder.read(path / "seed_1")


@pytest.mark.usefixtures("no_models")
def test_a_killed_training_goes_on_to_the_same_weights(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the second epoch of the second seed, whose pool has moved on."""

    class Killed(Exception):
        pass

    def save_or_end(*state: Any) -> None:
        if next(saved) == 3:
            raise Killed
        save(*state)

    save, saved, path = checkpoint.save_checkpoint, count(), tmp_path / "killed"
    monkeypatch.setattr(checkpoint, "save_checkpoint", save_or_end)
    with pytest.raises(Killed):
        run.start(tiny("seeds=2"), path)
    assert not (path / "metrics.json").exists()
    with pytest.raises(SystemExit) as ended:
        command_line(["train", "-o", str(path), "--resume"])
    assert ended.value.code == 0
    for seed in (0, 1):
        assert equal(trained / f"seed_{seed}" / "last.safetensors", path / f"seed_{seed}" / "last.safetensors")


@pytest.mark.usefixtures("no_models")
def test_interrupt_keeps_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the seed that is interrupted has nothing yet."""
    epoch, calls = Loop._epoch, []

    def interrupted(loop: Loop, *rest: Any) -> None:
        calls.append(loop.run.path.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        epoch(loop, *rest)

    monkeypatch.setattr(Loop, "_epoch", interrupted)
    made = run.start(tiny("seeds=2"), tmp_path / "run")
    assert calls == ["seed_0", "seed_0", "seed_1"]
    assert made is not None and not made.ended and made.figures["interrupted"] and made.figures["seed"] == 0
    assert "interrupted after 2 epochs" in made.text() and (tmp_path / "run" / "best.safetensors").exists()
    calls = [""] * 2
    with pytest.raises(KeyboardInterrupt):
        run.start(tiny(), tmp_path / "nothing")
    assert not (tmp_path / "nothing" / "metrics.json").exists()


def test_result_folder_must_be_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        run.start(tiny(), tmp_path / "file" / "run")


# --- the data set ---


def test_the_pool_moves_on_and_a_clip_is_its_number_and_epoch() -> None:
    data = Data(frames=20, pool=4, fresh=3, validation=1)
    streams, again = Streams(data, 5, 64), Streams(data, 5, 64)
    assert [list(streams.pool(epoch)) for epoch in range(3)] == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    last = [streams(key) for key in ((0, 0), (0, 9), (2, 0), (2, 9))][-1]
    video, asked = again((2, 9))  # without what came before
    assert video.shape == (16, 48, 64, 1) and video.dtype == np.uint8 and asked["hand"].shape == (16, 3)
    assert np.array_equal(video, last[0]) and all(np.array_equal(asked[key], last[1][key]) for key in asked)
    for number in range(64):
        streams((1, number))
    assert set(streams._rendered) == set(streams.pool(1)), "what left the pool is not kept"


def test_loss_falls_on_a_small_set() -> None:
    made = run.network(tiny("window=12"))
    batch = dataset.streams("train", 0, range(6), frames=24)
    video, bits = normalize(torch.from_numpy(batch.video[..., None]), made.preprocess), torch.from_numpy(batch.bits)
    made.net.net.dropout.p = 0.0
    optimizer = torch.optim.AdamW(made.net.parameters(), 3e-3)
    losses = []
    for _ in range(12):
        logits, told = made.net.train()(video)
        loss = objective.set_loss(logits, bits)
        optimizer.zero_grad()
        (loss + objective.tracking_loss(told, torch.from_numpy(batch.hand))).backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0], losses


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


@pytest.mark.usefixtures("no_models")
def test_teachers_are_learned_instead_of_labels(trained: Path, tmp_path: Path) -> None:
    """No answer costs less than the teachers' own; a training by their answers is one as any other."""
    rng = np.random.default_rng(0)
    answers = torch.from_numpy(rng.dirichlet(np.ones(8), (2, 5)).astype(np.float32))
    least = objective.answer_loss(answers.log(), answers)
    for _ in range(5):
        other = answers.log() + torch.from_numpy(rng.normal(0, 0.3, answers.shape).astype(np.float32))
        assert objective.answer_loss(other, answers) > least
    best = trained / "best.safetensors"
    recipe = tiny("seeds=1", "optimizer.epochs=1").model_copy(update={"teachers": (Teacher(weights=str(best), window=6),)})
    made = run.start(recipe, tmp_path / "run")
    assert made is not None and made.ended and not equal(tmp_path / "run" / "best.safetensors", best)
    with pytest.raises(WeightsError, match="no such checkpoint"):
        run.start(recipe.model_copy(update={"teachers": (Teacher(weights="none.safetensors"),)}), tmp_path / "other")


LARGER = "motionnet_16k7s3d0t1_32k3s2d0t3_48k3s2d0t3_64k3s2d0t3_f96x3"  # 72x96 pixels -> as many places as 48x64


@pytest.mark.usefixtures("no_models")
def test_a_larger_picture_begins_with_what_a_smaller_one_learned(trained: Path, tmp_path: Path) -> None:
    """The enlarged convolution says of an enlarged picture what the small one says of the small picture."""
    best = str(trained / "best.safetensors")
    changes = (f"network={LARGER}", "data.height=72", "data.width=96", "seeds=1", "optimizer.epochs=1", "labels=0.5")
    recipe = tiny(*changes).model_copy(update={"start": best, "teachers": (Teacher(weights=best, window=6),)})
    small, large = run.network(tiny().model_copy(update={"start": best})), run.network(recipe)
    video = torch.nn.functional.interpolate(torch.randn(1, 6, 8, 12), (48, 64), mode="bicubic")
    zoomed = torch.nn.functional.interpolate(video, (72, 96), mode="bilinear", antialias=True)
    one, other = (made.net.net.look[:2](seen[:, None]) for made, seen in ((small, video), (large, zoomed)))
    inside = (..., slice(3, -3), slice(3, -3))
    assert (one[inside] - other[inside]).norm() < 0.15 * one[inside].norm()
    with pytest.raises(WeightsError):
        run.network(recipe.model_copy(update={"network": "motionnet_0.5x"}))
    made = run.start(recipe, tmp_path / "run")
    assert made is not None and made.ended


SHIPPED = metadata_or_raise(modelfile.load(BUILTIN), BUILTIN).provenance.model


def test_a_training_begins_with_the_built_in_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what that says, also while its norms learn; and another network is refused before anything is begun."""
    monkeypatch.setattr(shipped, "_STREAMS", 6)
    changes = (f"network={SHIPPED}", "data.height=72", "data.width=96", "window=8", "start=builtin")
    made = run.network(tiny(*changes))
    videos = dataset.streams("validation", 3, range(2), 24, size=(72, 96)).video
    scores = objective.every_frame(made.net, videos, made.preprocess, swap=SWAP)
    with everyframe.open("builtin", engine="ort", threads=1) as program, program.stream() as stream:
        said = [stream.push(np.repeat(frame[..., None], 3, -1), i / 12) for i, frame in enumerate(videos[0])]
    for prediction in filter(None, said):
        np.testing.assert_allclose(scores[0, prediction.frame], prediction.scores, atol=1e-5)
    seen = normalize(torch.from_numpy(dataset.streams("train", 991, range(6), size=(72, 96)).video[..., None]), made.preprocess)
    with torch.no_grad():
        quiet, learning = (made.net.train(mode).net.look[:3](seen) for mode in (False, True))
    assert (quiet - learning).norm() < 1e-3 * quiet.norm(), "norms have seen what they will see"
    with pytest.raises(WeightsError, match="another network"):
        run.start(tiny("start=builtin"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_streams_to_learn_from_are_drawn_as_the_recipe_says() -> None:
    """More bones and clips cut tight; what a training is judged by stays as it is."""
    parts = [Streams(Data(frames=16, bones=share, bones_beside=share, tight=share), 3, 1) for share in (0.0, 1.0)]
    looks: list[list[str]] = [[], []]
    for own, part in zip(looks, parts, strict=True):
        d = part.data
        shares = Shares(d.bones, d.bones_beside, d.tight)
        for i in range(12):
            for interval in dataset.streams("train", 3, range(i, i + 1), negative=False, shares=shares).intervals[0]:
                own.append(f"{interval.factors['look']} {interval.factors['tight']}")
    assert {*looks[0]} == {"person False"} and {*looks[1]} == {"bones True"}
    assert not np.array_equal(*(part((0, 0))[0] for part in parts))
