"""The training loop: what is frozen stays, parts and processes add up, a killed training goes on to the same weights."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import killed
import moving
from moving import SIZE, TEXT, WAYS

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

import everyframe  # noqa: E402
from everyframe import recipes  # noqa: E402
from everyframe.errors import OutputError, RecipeError, TrainingStopped, UsageError  # noqa: E402
from everyframe.files import occupied  # noqa: E402
from everyframe.training import checkpoint, folder, loop, network, precision, run  # noqa: E402
from everyframe.training.optimize import Schedule, optimizer  # noqa: E402


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return moving.write_clips(tmp_path_factory.mktemp("clips"))


def tiny(*changes: str) -> recipes.ClipRecipe:
    made = recipes.parse(TEXT, changes=changes)
    assert isinstance(made, recipes.ClipRecipe)
    return made


def weights(path: Path, name: str = "last") -> dict[str, Any]:
    return load_file(path / f"{name}.safetensors")


def equal(a: dict[str, Any], b: dict[str, Any], tolerance: float = 0.0) -> bool:
    return a.keys() == b.keys() and all(torch.allclose(a[k], b[k], rtol=tolerance, atol=tolerance) for k in a)


# --- the road from a folder of clips to a model ---


def test_a_training_leaves_a_model_that_runs(clips: Path, tmp_path: Path) -> None:
    done = run.start(tiny("training.epochs=16", "augment.crop=random", "augment.scales=[1.0, 0.8]"), tmp_path / "run", data=clips)
    assert done is not None and done.ended and done.at.epoch == 16
    assert done.top1 is not None and done.top1 >= 0.75, [row["top1"] for row in done.at.rows]  # chance is 0.25
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 17)) and rows[-1]["train_loss"] < rows[0]["train_loss"]
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["torch"] == torch.__version__
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))
    program = everyframe.open(tmp_path / "run" / "step.onnx")
    assert program.metadata.labels == tuple(WAYS) and program.metadata.preprocess.resize == SIZE
    right = 0
    for path in sorted((clips / "val").glob("*/*.mp4")):
        *_, last = program.predict(path)
        right += last.top[0].label == path.parent.name
    assert right >= 6, right
    assert done.accuracy is not None and "end before the stream" not in done.text()
    normal = done.accuracy.conditions["normal"]
    silent = replace(normal, streaming=replace(normal.streaming, silent=3))
    late = replace(done, accuracy=replace(done.accuracy, conditions={"normal": silent}))
    assert "of 8 videos 3 end before the stream says anything" in late.text()


def test_too_few_clips_to_hold_any_out(clips: Path, tmp_path: Path) -> None:
    for way in WAYS:
        (tmp_path / "one" / way).mkdir(parents=True)
        (tmp_path / "one" / way / "0.mp4").write_bytes((clips / "train" / way / "0.mp4").read_bytes())
    run.start(tiny(), tmp_path / "run", data=tmp_path / "one")
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["top1"] is None
    assert equal(weights(tmp_path / "run", "best"), weights(tmp_path / "run"))


@pytest.mark.usefixtures("only_weights")
def test_the_recipe_in_the_run_folder_gives_the_same_training(clips: Path, tmp_path: Path) -> None:
    run.start(tiny("training.epochs=1"), tmp_path / "a", data=clips)
    again = folder.read(tmp_path / "a").recipe
    run.start(again, tmp_path / "b", data=clips)
    assert equal(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not equal(weights(tmp_path / "a"), _other_seed(clips, tmp_path))


def _other_seed(clips: Path, tmp_path: Path) -> dict[str, Any]:
    run.start(tiny("training.epochs=1", "training.seed=1"), tmp_path / "c", data=clips)
    return weights(tmp_path / "c")


# --- laws of a step ---


@pytest.mark.usefixtures("only_weights")
def test_parts_of_a_batch_add_up(clips: Path, tmp_path: Path) -> None:
    """With a frozen trunk nothing depends on the other clips of a part, so one part and four give the same weights."""
    for name, parts in (("one", 1), ("four", 4)):
        run.start(tiny("model.train=head", "model.dropout=0.0", f"training.accumulate={parts}"), tmp_path / name, data=clips)
    assert equal(weights(tmp_path / "one"), weights(tmp_path / "four"), 1e-6)


@pytest.mark.usefixtures("only_weights")
def test_two_processes_are_one(clips: Path, tmp_path: Path) -> None:
    settings = ("model.train=head", "model.dropout=0.0")
    run.start(tiny(*settings), tmp_path / "one", data=clips)
    (tmp_path / "tiny.toml").write_text(TEXT)
    command = [
        sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "everyframe", "train", str(tmp_path / "tiny.toml"), "--data", str(clips), "-o", str(tmp_path / "two"),
        *(f"--set={change}" for change in settings),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert equal(weights(tmp_path / "one"), weights(tmp_path / "two"), 1e-6)
    assert done.stdout.count("wrote") == 1  # only one of them speaks
    alone, shared = ((tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1] for name in ("one", "two"))
    assert json.loads(alone)["validation_loss"] == pytest.approx(json.loads(shared)["validation_loss"], rel=1e-4)


@pytest.mark.usefixtures("only_weights")
def test_a_frozen_trunk_keeps_every_bit(clips: Path, tmp_path: Path) -> None:
    settings = tiny("model.train=head", "training.average=0.0")
    run.start(settings, tmp_path / "run", data=clips)
    before = network.build(settings, len(WAYS)).net.state_dict()
    after = weights(tmp_path / "run")
    changed = {key for key in after if not torch.equal(before[key], after[key])}
    assert changed == {"head.weight", "head.bias"}


def test_train_mode_of_a_frozen_trunk_drops_only_before_the_classifier() -> None:
    made = network.build(tiny("model.dropout=0.9"), 4)
    network.freeze_trunk(made.net, made.head)
    network.train_mode(made.net, made.head, frozen=True)
    assert made.net.dropout.training and made.net.dropout.p == 0.9
    assert not any(m.training for m in made.net.modules() if isinstance(m, torch.nn.BatchNorm3d))


def test_a_recipe_may_change_parts_of_the_preprocessing() -> None:
    text = 'name = "parts"\n[model]\nname = "early3d_mobilenet_0.25x"\nsize = 64\n[preprocess]\n'
    own = network.build(recipes.parse(text.replace("[preprocess]\n", "")), 3).preprocess  # type: ignore[arg-type]
    for line, changed in (("fps = 6", {"fps": 6.0}), ("color = 'gray'\nmean = [0.5]\nstd = [0.2]", None)):
        found = network.build(recipes.parse(text + line), 3).preprocess  # type: ignore[arg-type]
        wanted = changed or {"color": "gray", "mean": (0.5,), "std": (0.2,)}
        assert found == own.model_copy(update=wanted), line
    with pytest.raises(RecipeError, match=r"(?s)64 x 64.*\(48, 48\)"):
        network.build(recipes.parse(f"{text}resize = [48, 48]"), 3)  # type: ignore[arg-type]


# --- killed, interrupted, out of room ---


@pytest.mark.usefixtures("only_weights")
def test_a_killed_training_goes_on_to_the_same_weights(clips: Path, tmp_path: Path) -> None:
    changes = ("training.epochs=6", "training.checkpoint_minutes=1e-9", "model.dropout=0.3")
    run.start(tiny(*changes), tmp_path / "through", data=clips)
    (tmp_path / "tiny.toml").write_text(TEXT)
    command = [sys.executable, killed.__file__, "10", "train", str(tmp_path / "tiny.toml"), "--data", str(clips)]
    command += ["-o", str(tmp_path / "killed"), *(f"--set={change}" for change in changes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    state = checkpoint.load_checkpoint(tmp_path / "killed")
    assert state is not None and state["at"]["epoch"] == 1 and state["at"]["step"] > 0, "in the middle of an epoch"
    del state["hook"]  # as before there were hooks
    checkpoint.save_checkpoint(tmp_path / "killed", state)
    resumed = run.resume(tmp_path / "killed")
    assert resumed is not None and resumed.ended
    assert equal(weights(tmp_path / "through"), weights(tmp_path / "killed"))
    assert equal(weights(tmp_path / "through", "best"), weights(tmp_path / "killed", "best"))
    rows = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in folder.read(tmp_path / name).epochs]
        for name in ("through", "killed")
    ]
    assert rows[0] == rows[1]


def test_a_loss_that_is_no_number_stops_the_training(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped, match="not a number"):
        run.start(tiny("optimizer.kind=sgd", "optimizer.learning_rate=1e30", "training.epochs=6"), tmp_path / "run", data=clips)


def test_no_room_on_the_disk_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    checkpoint.save_checkpoint(tmp_path, {"at": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            checkpoint.save_checkpoint(tmp_path, {"at": 2, "weights": torch.zeros(1 << 16)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoint.load_checkpoint(tmp_path) == {"at": 1}
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.NAME]


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        (["model.name=motionet_1.0x"], UsageError, "motionnet_1.0x"),
        (["preprocess.resize=[48, 64]"], RecipeError, "network's size"),
        (["distillation.teacher=nowhere"], UsageError, "no run folder"),
        (["augment.flip=true", 'augment.swap=[["east", "wets"]]'], RecipeError, "wets"),
        (["data.format=folder"], RecipeError, "folders"),
        (["training.batch=6", "training.accumulate=4"], RecipeError, "accumulate"),
        (["model.train=last"], RecipeError, "model.train"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(
    clips: Path, tmp_path: Path, changes: list[str], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        run.start(tiny(*changes), tmp_path / "run", data=clips)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("only_weights")
def test_a_folder_with_a_training_is_not_overwritten(clips: Path, tmp_path: Path) -> None:
    run.start(tiny("training.epochs=1"), tmp_path, data=clips)
    with pytest.raises(UsageError, match="resume"):
        run.start(tiny("training.epochs=1"), tmp_path, data=clips)
    with pytest.raises(UsageError, match="no training"):
        run.resume(tmp_path / "elsewhere")
    with occupied(tmp_path), pytest.raises(OutputError, match="Another process is working"):
        run.resume(tmp_path)


# --- how long it takes ---


@pytest.mark.usefixtures("only_weights")
def test_a_training_that_the_clock_ends_says_what_it_needed(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = count(0, 10)  # every look at the clock takes as long
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    done = run.start(tiny("training.epochs=120"), tmp_path / "run", data=clips, minutes=2)
    assert done is not None and done.ended and done.at.epoch < 5
    assert "of 120 epochs: at this speed all of them take" in done.text() and "--set training.epochs=" in done.text()


@pytest.mark.usefixtures("only_weights")
def test_a_resumed_training_goes_on_with_its_clock(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = count(0, 10)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    changes = ("training.epochs=1200", "schedule.warmup=0")
    first = run.start(tiny(*changes), tmp_path / "run", data=clips, minutes=12)
    again = run.resume(tmp_path / "run")
    assert first is not None and again is not None and first.ended and again.at.epoch == first.at.epoch, "the clock had ended it"
    more = run.resume(tmp_path / "run", minutes=12)
    assert more is not None and more.at.epoch > first.at.epoch
    rates = [row["learning_rate"] for row in folder.read(tmp_path / "run").epochs]
    full = tiny().optimizer.learning_rate
    assert rates[0] > 0.8 * full and rates[first.at.epoch] < 0.6 * full, "half of the 24 minutes were over"
    assert rates[-1] < 0.2 * full


@pytest.mark.usefixtures("only_weights")
def test_a_validation_sees_the_statistics_of_the_weights_as_they_are(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, torch.Tensor]] = []

    def validated(self: loop.Loop) -> dict[str, float | None]:
        for recent in (self.recent, []):  # the epoch's last clips from memory, or once more
            self.recent = recent
            self._statistics()
            seen.append({k: v.clone() for k, v in self.kept.state_dict().items() if "running" in k})
        return {"validation_loss": None, "top1": None, "top5": None}

    monkeypatch.setattr(loop.Loop, "validate", validated)
    run.start(tiny("training.epochs=2"), tmp_path / "run", data=clips)
    assert len(seen) == 4 and all(equal(a, b) for a, b in zip(seen[::2], seen[1::2], strict=True))
    last = weights(tmp_path / "run", "last")
    assert equal({key: last[key] for key in seen[-1]}, seen[-1]), "they are kept"


# --- teachers ---


@pytest.mark.usefixtures("only_weights")
def test_a_student_learns_from_a_teacher(clips: Path, tmp_path: Path) -> None:
    run.start(tiny("training.epochs=2"), tmp_path / "teacher", data=clips)
    student = ("training.epochs=1", "training.seed=3", f"distillation.teacher={tmp_path / 'teacher'}")
    run.start(tiny(*student), tmp_path / "taught", data=clips)
    run.start(tiny(*student[:2]), tmp_path / "alone", data=clips)
    assert not equal(weights(tmp_path / "taught"), weights(tmp_path / "alone"))
    with pytest.raises(RecipeError, match="other clips"):
        run.start(tiny(*student, "model.frames=7"), tmp_path / "other", data=clips)


# --- schedules ---


def test_schedules() -> None:
    cosine = Schedule(recipes.Schedule(kind="cosine", warmup=2), 10)
    assert cosine.share(0) < 0.02 and cosine.share(10) == pytest.approx(0) and cosine.share(2) > 0.9
    assert cosine.share(2, done=0.9) < 0.05  # the clock is further than the epochs
    steps = Schedule(recipes.Schedule(kind="steps", steps=(30, 45)), 60)
    assert [round(steps.share(e), 6) for e in (0, 29.9, 30, 44.9, 45, 59)] == [1, 1, 0.1, 0.1, 0.01, 0.01]
    plateau = Schedule(recipes.Schedule(kind="plateau", patience=2, drops=3), 100)
    shares = []
    for loss in [3, 2, 2, 2, 1.5, 1.6, 1.7, 1.5, 1.5, 1.5, 1.5]:
        plateau.validated(loss)
        shares.append(round(plateau.share(5), 6))
    assert shares == [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.0001] and plateau.over
    restored = Schedule(recipes.Schedule(kind="plateau", patience=2, drops=3), 100)
    restored.load_state_dict(plateau.state_dict())
    assert restored.over


def test_norms_are_spared_from_weight_decay_where_the_recipe_says_so() -> None:
    net = network.build(tiny(), 4).net
    groups = optimizer(net, recipes.Optimizer(kind="adamw")).param_groups
    assert [group["weight_decay"] for group in groups] == [1e-3, 0.0]
    assert all(p.ndim > 1 for p in groups[0]["params"]) and all(p.ndim <= 1 for p in groups[1]["params"])
    assert len(optimizer(net, recipes.Optimizer(kind="sgd")).param_groups) == 1


def test_every_built_in_recipe_names_a_network_that_can_be_built() -> None:
    for name in recipes.built_in():
        one = recipes.load(name)
        if isinstance(one, recipes.ClipRecipe):
            entry = everyframe.models.describe(one.model.name)
            assert entry.head and one.paper and one.time, name


@pytest.mark.parametrize("name", ["tsm_mobilenet_v2_online", "squeezenet3d", "r2plus1d_18"])
def test_channels_last_changes_no_number(name: str) -> None:
    net = everyframe.models.create(name, num_classes=3, frames=16, size=(64, 64)).eval()
    video = torch.rand(1, 3, 16, 64, 64)
    before = net(video)
    network.channels_last(net)
    after = net(video)
    assert torch.linalg.norm(after - before) < 1e-4 * torch.linalg.norm(before)
    after.sum().backward()
    weights = [module.weight for module in net.modules() if isinstance(module, torch.nn.Conv2d | torch.nn.Conv3d)]
    assert all(torch.isfinite(weight.grad).all() for weight in weights)
    wide = [weight for weight in weights if min(weight.shape[:2]) > 1 and weight[0, 0].numel() > 1]
    assert wide and all(weight.stride(1) == 1 for weight in wide)


@pytest.mark.parametrize(("frames", "kernel"), [(1, 3), (2, 3), (4, 5), (8, 3)])
def test_gradients_in_bfloat16_are_those_in_float(frames: int, kernel: int) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv3d(16, 32, (kernel, 3, 3), padding=(kernel // 2, 1, 1)))
    video, pull = torch.randn(4, 16, frames, 4, 5), torch.randn(4, 32, frames, 4, 5)
    (net(video) * pull).sum().backward()
    wanted, net[0].weight.grad = net[0].weight.grad, None
    precision.safe(net)
    for _ in range(5):  # whatever was in memory before
        torch.full((3_000_000,), float("nan"))
        with torch.autocast("cpu", torch.bfloat16):
            made = net(video)
        (made * pull).sum().backward()
        assert torch.linalg.norm(net[0].weight.grad - wanted) < 0.02 * torch.linalg.norm(wanted)
        net[0].weight.grad = None


def test_automatic_precision_is_one_that_the_hardware_computes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [precision.resolved(name) for name in ("f32", "bf16", "f16")] == ["f32", "bf16", "f16"]
    for has, wanted in ((True, "bf16"), (False, "f32")):
        monkeypatch.setattr(precision.platform, "machine", lambda: "x86_64")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has: has)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert precision.resolved("auto") == wanted
