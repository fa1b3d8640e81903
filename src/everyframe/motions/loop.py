"""The training loop, plain torch: several seeds, cosine learning rate, averaged weights, the best kept by validation.

    result = run(recipe, folder)

Ctrl-C ends the training, not the run: what was best so far is still evaluated and written. The folder then holds
`best.safetensors` (replaced whenever a better one is found), `metrics.csv` (a row an epoch), `metrics.json` and
`clip.onnx`.
"""

from __future__ import annotations

import copy
import csv
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from everyframe.errors import OutputError, WeightsError
from everyframe.modelfile.schema import EventRule
from everyframe.models.families.motion import MotionNet
from everyframe.motions import metrics
from everyframe.motions.objective import Tracker, set_loss
from everyframe.motions.pool import Pool, normalize
from everyframe.motions.render import dataset
from everyframe.motions.render.motions import LABELS
from everyframe.recipes.motions import MotionsRecipe
from everyframe.runtime.prediction import softmax

DEFAULT_RULE = EventRule(background="none", threshold=0.6, hold_steps=2)


@torch.inference_mode()
def scores(net: MotionNet, video: np.ndarray, window: int, batch: int = 16) -> np.ndarray:
    """(N, T, H, W) uint8 -> (N, T, classes) probabilities at every frame."""
    net.eval()
    parts = [net.every_frame(normalize(video[i : i + batch]), window).numpy() for i in range(0, len(video), batch)]
    return softmax(np.concatenate(parts))


@dataclass
class Best:
    """The best weights so far, and where they came from."""

    score: float = -1.0
    seed: int = -1
    epoch: int = -1
    weights: dict[str, Tensor] = field(default_factory=dict)


class Note:
    """Progress on stderr, silent when that is no terminal."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.live = self.console.is_terminal
        self._status = self.console.status("") if self.live else None
        if self._status:
            self._status.start()

    def status(self, text: str) -> None:
        if self._status:
            self._status.update(text)

    def line(self, text: str) -> None:
        if self.live:
            self.console.print(text)

    def close(self) -> None:
        if self._status:
            self._status.stop()


def _train_seed(
    recipe: MotionsRecipe,
    seed: int,
    validation: dataset.Batch,
    best: Best,
    folder: Path,
    rows: list[dict],
    note: Note,
    deadline: float,
    start: Path | None = None,
) -> None:
    torch.manual_seed(seed)
    rng = np.random.default_rng([7, seed])
    o = recipe.optimizer
    net = motion_net(recipe).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    if start is not None:
        load_weights(net, start)
    average = copy.deepcopy(net)
    tracker = Tracker()
    trained = [p for p in (*net.parameters(), *tracker.parameters()) if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, o.learning_rate, weight_decay=o.weight_decay)
    total = o.epochs * o.steps
    pool = Pool(recipe, seed, note.status)
    began, step, done = time.monotonic(), 0, 0.0
    for epoch in range(o.epochs):
        net.train()
        losses = []
        for i in range(o.steps):
            # where time is limited, the cosine follows whichever of steps and clock is further
            done = max(
                step / total,
                (time.monotonic() - began) / max(1e-9, deadline - began) if deadline < float("inf") else 0.0,
            )
            for group in optimizer.param_groups:
                group["lr"] = o.learning_rate * min(1, (step + 1) / 40) * (0.5 + 0.5 * np.cos(np.pi * min(1.0, done)))
            video, bits, hand = pool.draw(rng, o.batch)
            with torch.autocast("cpu", torch.bfloat16, enabled=o.bfloat16):
                looks = net.look(video)
                logits = net.judge(looks, recipe.window)
            loss = set_loss(logits.float(), bits)
            losses.append(loss.item())
            loss = loss + o.tracking * tracker(looks.float(), hand)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 2.0)
            optimizer.step()
            step += 1
            decay = min(o.average, step / (step + 10))
            with torch.no_grad():
                for a, b in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
                    a.lerp_(b, 1 - decay) if a.is_floating_point() else a.copy_(b)
            note.status(f"seed {seed}, epoch {epoch + 1}/{o.epochs}, step {i + 1}/{o.steps}, loss {np.mean(losses[-30:]):.3f}")
            if time.monotonic() > deadline:
                break
        counted = metrics.tally(
            scores(average, validation.video, recipe.window), validation.intervals, DEFAULT_RULE, recipe.data.fps
        )
        report = counted.report()
        row = {
            "seed": seed,
            "epoch": epoch + 1,
            "loss": round(float(np.mean(losses)), 4),
            "f1": report["f1"],
            "recall": report["recall"],
            "false_per_minute": report["false_per_minute"],
            "seconds": round(time.monotonic() - began, 1),
        }
        rows.append(row)
        _write_rows(folder / "metrics.csv", rows)
        note.line(", ".join(f"{k} {v}" for k, v in row.items()))
        if counted.f1 > best.score:
            best.score, best.seed, best.epoch = counted.f1, seed, epoch + 1
            best.weights = {k: v.clone().contiguous() for k, v in average.state_dict().items()}
            save_file(best.weights, folder / "best.safetensors.part")
            (folder / "best.safetensors.part").replace(folder / "best.safetensors")
        if time.monotonic() > deadline:
            return
        if epoch + 1 < o.epochs:
            note.status(f"seed {seed}: rendering {recipe.data.fresh} fresh streams")
            pool.renew()


def _write_rows(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def motion_net(recipe: MotionsRecipe) -> MotionNet:
    return MotionNet(len(LABELS), recipe.window, (recipe.data.height, recipe.data.width))


def load_net(path: Path, recipe: MotionsRecipe) -> MotionNet:
    """The network with the weights of a result folder's `best.safetensors`."""
    net = motion_net(recipe)
    load_weights(net, path)
    return net.eval()


def load_weights(net: MotionNet, path: Path) -> None:
    """Fills the network from a checkpoint. Raises WeightsError if it is none, or of another network."""
    try:
        net.load_state_dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise WeightsError("The checkpoint cannot be read.", where=path, got=error) from None
    except RuntimeError as error:
        raise WeightsError("The checkpoint is of another network.", where=path, got=str(error).splitlines()[-1]) from None


def run(recipe: MotionsRecipe, folder: Path, *, minutes: float | None = None) -> dict:
    """Trains all seeds and writes the result folder; returns what `metrics.json` holds. minutes: of training, all
    seeds together.
    """
    start = Path(recipe.start) if recipe.start else None
    if start is not None and not start.is_file():
        raise WeightsError("There is no such checkpoint.", where=start, expected="a .safetensors file of an earlier run")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError("The result folder cannot be made.", where=folder, got=error.strerror) from None
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    note, best = Note(), Best()
    rows: list[dict] = []
    d, began, interrupted = recipe.data, time.monotonic(), False
    try:
        note.status("rendering the validation streams")
        validation = dataset.streams("validation", 0, range(d.validation), d.frames, d.fps, (d.height, d.width))
        for i in range(recipe.seeds):
            share = began + minutes * 60 * (i + 1) / recipe.seeds if minutes else float("inf")
            _train_seed(recipe, recipe.first_seed + i, validation, best, folder, rows, note, share, start)
    except KeyboardInterrupt:
        interrupted = True
        print("interrupted: writing the best so far", file=sys.stderr)
    finally:
        note.close()
    if not best.weights:
        raise KeyboardInterrupt  # before the first epoch was over: there is nothing to keep
    return _finish(recipe, folder, validation, best, rows, time.monotonic() - began, interrupted)


def _finish(
    recipe: MotionsRecipe,
    folder: Path,
    validation: dataset.Batch,
    best: Best,
    rows: list[dict],
    seconds: float,
    interrupted: bool,
) -> dict:
    from everyframe.motions.export import export_clip

    net = load_net(folder / "best.safetensors", recipe)
    got = scores(net, validation.video, recipe.window)
    rule = metrics.tune(list(got), validation.intervals, recipe.data.fps)
    result = {
        "recipe": recipe.model_dump(),
        "seed": best.seed,
        "epoch": best.epoch,
        "training_seconds": round(seconds, 1),
        "interrupted": interrupted,
        "rule": rule.model_dump(),
        "validation": metrics.tally(got, validation.intervals, rule, recipe.data.fps).report(),
        "epochs": rows,
    }
    (folder / "metrics.json").write_text(json.dumps(result, indent=1) + "\n")
    export_clip(net, recipe, rule, folder / "clip.onnx")
    return result
