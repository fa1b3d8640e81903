"""The training of the built-in model from beginning to end: one ordinary training a seed, and the best of them finished.

recipe.toml, labels.txt, environment.json   of the whole, as in every run folder
seed_N/             the run folder of each seed, where the recipe has several; else this folder is that
metrics.json        figures; best.safetensors, clip.onnx, step.onnx, report.html: the finished model
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import nn

from everyframe.conversion import stream
from everyframe.errors import WeightsError
from everyframe.evaluation import report
from everyframe.files import write_bytes
from everyframe.modelfile.schema import Preprocess
from everyframe.models.checkpoints.load import assemble, load_into, read_checkpoint
from everyframe.models.families.motion import STAGES, enlarged
from everyframe.motions import shipped
from everyframe.motions.export import SWAP, export_clip
from everyframe.motions.objective import Held, Motions, Tracking, every_frame
from everyframe.progress import status
from everyframe.recipes.motions import MotionsRecipe, Teacher
from everyframe.rendering.hands.motions import LABELS
from everyframe.training import folder, loop
from everyframe.training.finish import ran
from everyframe.training.network import Trained

FIRST = "look.1"  # the first convolution that learns
Run = folder.Run[MotionsRecipe]


@dataclass(frozen=True)
class Result:
    """ended: no seed was interrupted; figures: as in `metrics.json`; at: where the training of the best seed is."""

    path: Path
    ended: bool
    at: loop.Position
    figures: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {"run": str(self.path), "ended": self.ended, **self.figures, "notes": list(self.notes)}

    def text(self) -> str:
        f, v = self.figures, self.figures["validation"]
        lines = [
            ran(self.at, self.ended),
            f"best: seed {f['seed']}, epoch {f['epoch']}; validation recall {v['recall']:.1%}, "
            f"{v['false_per_minute']:.2f} false events a minute, F1 {v['f1']:.3f}",
            *self.notes,
            f"wrote {self.path}/step.onnx, report.html and the rest of the run",
            f"next: everyframe predict {self.path}/step.onnx SOURCE",
        ]
        return "\n".join(lines)


def start(recipe: MotionsRecipe, path: Path, *, minutes: float | None = None) -> Result | None:
    """Trains by a recipe, into a new run folder. minutes: of training, all seeds together. None on all but the first of several
    processes. Raises an EveryframeError before any work where something does not fit.
    """
    if recipe.start is not None:
        recipe = recipe.model_copy(update={"start": _checkpoint(recipe.start)})
    teachers = [one.model_copy(update={"weights": _checkpoint(one.weights)}) for one in recipe.teachers]
    recipe = recipe.model_copy(update={"teachers": tuple(teachers)})
    folder.check_new(path)
    return _train(recipe, path, minutes, resumed=False)


def _checkpoint(path: str) -> str:
    """Wherever the run is resumed from."""
    if path == shipped.NAME:
        return path
    if not Path(path).is_file():
        raise WeightsError("There is no such checkpoint.", where=path, expected="a .safetensors file of an earlier run")
    return str(Path(path).resolve())


def resume(path: Path, *, minutes: float | None = None) -> Result | None:
    """Goes on with the training in a run folder, or finishes it if only that is missing."""
    return _train(folder.read(path, MotionsRecipe).recipe, path, minutes, resumed=True)


def network(recipe: MotionsRecipe) -> Trained:
    """The network of the recipe's first seed. Raises WeightsError where it does not begin with the weights that it names."""
    d = recipe.data
    size = (d.height, d.width)
    preprocess = Preprocess(color="gray", resize=size, fps=d.fps, mean=(0.5,), std=(0.25,))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.first_seed)
        made = assemble(recipe.network, len(LABELS), None, recipe.window, size, 1)
        if recipe.start is not None:
            made = replace(made, sha256=_begin(made.net, recipe.start, preprocess))
        net = Tracking(made.net, recipe.window)  # type: ignore[arg-type]
    return Trained(net, made, preprocess)


def _begin(net: nn.Module, start: str, preprocess: Preprocess) -> str:
    """Fills a network, also from a smaller view: where its first convolution has more taps than the one that was trained, that is
    enlarged. Returns the sha256 of the file.
    """
    if start == shipped.NAME:
        return shipped.begin(net, preprocess)
    state, sha256 = read_checkpoint(start)
    first = cast(nn.Conv3d, net.get_submodule(FIRST))
    given, wanted = state.get(f"{FIRST}.weight"), first.weight
    if given is not None and given.ndim == wanted.ndim and given.shape[:2] == wanted.shape[:2] and given.shape < wanted.shape:
        zoom = first.stride[-1] / STAGES[0].stride
        state[f"{FIRST}.weight"] = enlarged(given, wanted.shape[-1], zoom)
    load_into(net, state, head="head", where=start)
    return sha256


def _train(recipe: MotionsRecipe, path: Path, minutes: float | None, resumed: bool) -> Result | None:
    fabric, held = loop.launch(recipe.settings()), Held(recipe.data)
    network(recipe)  # where it cannot be built, nothing is begun
    teachers = [_teacher(recipe, one) for one in recipe.teachers]
    if fabric.is_global_zero and not resumed:
        folder.create(path, recipe, LABELS)
    fits, ended = _seeds(fabric, recipe, path, held, teachers, minutes)
    if not fabric.is_global_zero:
        return None
    return _finish(folder.Run(path, recipe, LABELS), held, fits, ended)


def _teacher(recipe: MotionsRecipe, teacher: Teacher) -> nn.Module:
    data = recipe.data.model_copy(update={"height": teacher.height, "width": teacher.width})
    asked = {"start": teacher.weights, "window": teacher.window, "network": teacher.network, "data": data}
    return network(recipe.model_copy(update=asked)).net.eval().requires_grad_(False)


def _seeds(
    fabric: Fabric, recipe: MotionsRecipe, path: Path, held: Held, teachers: Sequence[nn.Module], minutes: float | None
) -> tuple[list[loop.Loop], bool]:
    """The training of each seed that was begun, and whether none was interrupted. They share the minutes that are left."""
    fits: list[loop.Loop] = []
    began = time.monotonic()
    for i in range(recipe.seeds):
        one = recipe.model_copy(update={"seeds": 1, "first_seed": recipe.first_seed + i})
        place = path if recipe.seeds == 1 else path / f"seed_{one.first_seed}"
        if fabric.is_global_zero and not (place / "recipe.toml").is_file():
            folder.create(place, one, LABELS)
        fabric.barrier()
        trained = network(one)
        objective = Motions(fabric, one, trained.preprocess, held, teachers)
        fits.append(loop.Loop(fabric, folder.Run(place, one, LABELS), trained, objective, one.settings()))
        fits[-1].resume()
        share = (minutes - (time.monotonic() - began) / 60) / (recipe.seeds - i) if minutes else None
        try:
            ended = fits[-1].fit(share)
        except KeyboardInterrupt:  # before its first validation
            if len(fits) == 1:
                raise
            return fits[:-1], False
        if not ended:
            return fits, False
    return fits, True


def _finish(run: Run, held: Held, fits: Sequence[loop.Loop], ended: bool) -> Result:
    """The best weights of all seeds as clip and step model, with the event rule that suits them, and the report."""
    rank = fits[0].objective.rank
    fit, row = max(((fit, row) for fit in fits for row in fit.at.rows), key=lambda found: rank(found[1]))
    if fit.run.best != run.best:
        shutil.copyfile(fit.run.best, run.best)
        run.write_epochs([{"seed": one.run.recipe.first_seed, **row} for one in fits for row in one.at.rows])
    with status("tuning the event rule"):
        trained = network(run.recipe.model_copy(update={"start": str(run.best)}))
        scores = every_frame(trained.net, held.streams.video, trained.preprocess, swap=SWAP)
        rule = held.tune(scores)
    figures = {
        "recipe": run.recipe.model_dump(),
        "seed": fit.run.recipe.first_seed,
        "epoch": row["epoch"],
        "training_seconds": round(sum(one.at.seconds for one in fits), 1),
        "interrupted": not ended,
        "rule": rule.model_dump(),
        "validation": held.tally(scores, rule).report(),
        "epochs": run.epochs,
    }
    write_bytes((json.dumps(figures, indent=1) + "\n").encode(), run.path / "metrics.json")
    with status("writing the clip and the step model"):
        export_clip(trained, rule, run.recipe.name, run.path / "clip.onnx")
        stream(run.path / "clip.onnx", run.path / "step.onnx")
    text = (run.path / "recipe.toml").read_text("utf-8")
    environment = json.loads((run.path / "environment.json").read_text("utf-8"))
    report.write(run.path, title=f"Training {run.recipe.name}", epochs=fit.at.rows, recipe=text, environment=environment)
    return Result(run.path, ended, fit.at, figures, fit.pace.shortfall("optimizer.epochs", run.recipe.seeds))
