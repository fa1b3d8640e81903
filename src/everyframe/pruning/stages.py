"""The stages of a pruning, one after another; what is done already is not done again."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric
from safetensors.numpy import load_file

from everyframe.data import clips
from everyframe.errors import RecipeError, TrainingStopped
from everyframe.files import write_bytes
from everyframe.modelfile.schema import Pruned
from everyframe.models.checkpoints.load import assemble
from everyframe.pruning import draw, proxy
from everyframe.pruning.mask import Mask
from everyframe.pruning.plan import PruningPlan
from everyframe.pruning.regularize import Admm, Masked, Regularizer, Reweighted
from everyframe.pruning.result import Record, Result, section
from everyframe.recipes.pruning import PruneRecipe
from everyframe.recipes.training import ClipRecipe, Distillation
from everyframe.training import checkpoint, finish, folder, loop, network
from everyframe.training import run as training
from everyframe.training.hook import Hook
from everyframe.training.objective import rank

DENSE, REGULARIZE, RETRAIN = "dense", "regularize", "retrain"


class Stages:
    def __init__(self, recipe: PruneRecipe, collection: clips.Collection, path: Path, minutes: float | None) -> None:
        self.recipe, self.collection, self.path, self.minutes = recipe, collection, path, minutes
        self.record = Record(path / "pruning.json")
        named = Path(recipe.prune.dense) if recipe.prune.dense else None
        self.file = named if named is not None and named.is_file() else None
        self.dense = named if named is not None and self.file is None else path / DENSE
        self.named = named
        self.at: loop.Position | None = None  # where the newest stage is
        self.early: list[str] = []  # what the clock cut off

    @property
    def given(self) -> Path | None:
        """The dense weights, where there are some."""
        best = self.dense / "best.safetensors"
        return self.file or (best if self.named else None)

    def check_dense(self) -> None:
        """Raises RecipeError where the dense network has other classes than the data, UsageError where it is no run folder."""
        expected, got = len(self.collection.labels), None
        if self.file is not None:
            model = self.recipe.model
            got = assemble(model.name, None, self.file, model.frames, model.size, None, model.options).num_classes
        elif self.named is not None and folder.read(self.dense).labels != self.collection.labels:
            got = len(folder.read(self.dense).labels)
        if got is not None and (self.file is None or got != expected):
            raise RecipeError(
                "The dense network has other classes than the data.", where=self.named, expected=expected, got=got,
                hint="train it on this data first, or leave prune.dense out and name the weights in model.weights",
            )  # fmt: skip

    # -- the recipes of the stages

    def plain(self, weights: Path | None) -> ClipRecipe:
        """A training's recipe, from these weights or those that the recipe begins with; without a teacher."""
        recipe = self.recipe
        fields = {name: getattr(recipe, name) for name in ClipRecipe.model_fields if name in recipe.model_fields_set}
        if weights is not None:
            fields["model"] = recipe.model.model_copy(update={"weights": str(weights.resolve())})
        return ClipRecipe(**{**fields, "task": "clips", "distillation": None})

    def regularized(self, weights: Path) -> ClipRecipe:
        plain, s = self.plain(weights), self.recipe.regularize
        rate = s.learning_rate or plain.optimizer.learning_rate
        return plain.model_copy(update={
            "schedule": s.schedule,
            "optimizer": plain.optimizer.model_copy(update={"learning_rate": rate}),
            # the live weights are what is penalized and cut
            "training": plain.training.model_copy(update={"epochs": s.epochs or plain.training.epochs, "average": 0.0}),
        })  # fmt: skip

    def retrained(self, weights: Path) -> ClipRecipe:
        soft = self.recipe.distillation
        if not soft.weight:
            return self.plain(weights)
        taught = Distillation(**{**soft.model_dump(), "teacher": soft.teacher or str(self.dense.resolve())})
        return self.plain(weights).model_copy(update={"distillation": taught})

    def regularizer(self, planned: PruningPlan) -> Regularizer:
        s = self.recipe.regularize
        if self.recipe.prune.method == "admm":
            return Admm(planned.choice, s.refreshes, s.rounds)
        return Reweighted(planned.choice, s.refreshes, s.reach, s.epsilon)

    # -- running

    def run(self, fabric: Fabric, trained: network.Trained, planned: PruningPlan) -> Result | None:
        """trained: the network with the dense weights, where they are given. None on all but the first of several processes."""
        chosen = planned.mask is not None or self.recipe.prune.method == "magnitude"
        epochs = {DENSE: 0 if self.named else self.recipe.training.epochs, REGULARIZE: 0, RETRAIN: self.recipe.training.epochs}
        if not chosen:
            epochs[REGULARIZE] = self.recipe.regularize.epochs or self.recipe.training.epochs
        done = self.record.read()["done"]
        total = sum(n for name, n in epochs.items() if name not in done)
        minutes = {name: self.minutes * n / total if self.minutes and total else None for name, n in epochs.items()}

        if self.file is not None:
            self._adopt(fabric, trained)
        elif self.named is None and not self._stage(fabric, DENSE, self.plain(None), minutes=minutes[DENSE]):
            return self._interrupted(fabric)
        weights = self.dense / "best.safetensors"
        if not chosen:
            recipe, hook = self.regularized(weights), self.regularizer(planned)
            if not self._stage(fabric, REGULARIZE, recipe, hook, begins="dense", minutes=minutes[REGULARIZE]):
                return self._interrupted(fabric)
            weights = self.path / REGULARIZE / "last.safetensors"
        mask = self._cut(fabric, planned, weights)
        begins = "dense" if chosen else "regularized"
        recipe = self.retrained(weights)
        ended = self._stage(fabric, RETRAIN, recipe, Masked(mask), begins=begins, cut="pruned", minutes=minutes[RETRAIN])
        return self._finish(fabric, planned, mask, weights, ended)

    def _stage(
        self, fabric: Fabric, name: str, recipe: ClipRecipe, hook: Hook | None = None, *, begins: str | None = None,
        cut: str | None = None, minutes: float | None = None,
    ) -> bool:  # fmt: skip
        """One training in its own folder; whether it came to its end. begins, cut: the moments whose accuracy is measured before
        it: of its first weights as they are, and of what the hook leaves of them.
        """
        if name in self.record.read()["done"]:
            return True
        path = self.path / name
        trained = network.build(recipe, len(self.collection.labels))
        begun = (path / "recipe.toml").is_file()
        with training.fitting(fabric, recipe, trained, self.collection, path, begun, hook) as (fit, _):
            if not (fit.at.epoch or fit.at.step):
                self._measure(fit, recipe, trained, begins)
                fit.hook.after_step(fit.net.module)
                self._measure(fit, recipe, trained, cut)
            try:
                ended = fit.fit(minutes)
            except KeyboardInterrupt:
                ended = False
            self.at = fit.at
            self.early += [f"{name}: {said}" for said in fit.pace.shortfall()]
            if ended and fabric.is_global_zero:
                self.record.done(name)
        fabric.barrier()
        return ended

    def _measure(self, fit: loop.Loop, recipe: ClipRecipe, trained: network.Trained, moment: str | None) -> None:
        """The accuracy at a moment before the first step. Where weights have changed since the dense training, BatchNorm's
        statistics say little about the network, and are taken anew.
        """
        if moment not in (None, DENSE):
            proxy.recalibrate(fit.net.module.eval(), proxy.sample(recipe, self.collection, trained, "train"))
            if fit.average is not None:  # nothing is averaged yet
                fit.average.load_state_dict(fit.net.module.state_dict())
        if moment is None:
            return
        figures = fit.validate()
        if fit.fabric.is_global_zero and figures["top1"] is not None:
            self.record.accuracy(moment, figures)

    def _adopt(self, fabric: Fabric, trained: network.Trained) -> None:
        """A file of weights becomes a run folder, which a teacher is read from."""
        if fabric.is_global_zero and not (self.dense / "best.safetensors").is_file():
            if not (self.dense / "recipe.toml").is_file():
                folder.create(self.dense, self.plain(self.file), self.collection.labels)
            checkpoint.save_weights(self.dense / "best.safetensors", trained.net.state_dict())
        fabric.barrier()

    def _cut(self, fabric: Fabric, planned: PruningPlan, weights: Path) -> Mask:
        """mask.npz, made once from these weights."""
        path = self.path / "mask.npz"
        if fabric.is_global_zero and not path.is_file():
            mask = planned.mask or planned.choice.mask(network.build(self.plain(weights), len(self.collection.labels)).net)
            if not mask.layers:
                raise TrainingStopped(
                    "No unit fell below the threshold, so there is nothing to prune.", where=self.path,
                    expected=f"norms below {self.recipe.prune.threshold} of their layer's",
                    hint="begin again with a larger regularize.reach or more epochs, or name a rate",
                )  # fmt: skip
            mask.save(path)
        fabric.barrier()
        mask = Mask.load(path)
        mask.check({one.name: one.weight_shape for one in planned.costs}, path)
        return mask

    # -- the end

    def _interrupted(self, fabric: Fabric) -> Result | None:
        return Result(self.path, False, self.record.read()) if fabric.is_global_zero else None

    def _finish(self, fabric: Fabric, planned: PruningPlan, mask: Mask, weights: Path, ended: bool) -> Result | None:
        if not fabric.is_global_zero:
            return None
        best, at = self.path / RETRAIN / "best.safetensors", self.at
        if at is None and (state := checkpoint.load_checkpoint(self.path / RETRAIN)):  # retrained in an earlier sitting
            at = loop.Position.of(state["at"])
        if at is None or not at.rows:
            return self._interrupted(fabric)
        best_row = max(at.rows, key=rank)
        if best_row["top1"] is not None:
            self.record.accuracy("retrained", best_row)
        self.record.left(planned.report(mask))
        shutil.copyfile(best, self.path / "best.safetensors")
        self._all_epochs()
        figures = self.record.read()
        prune = self.recipe.prune
        told = Pruned(
            scheme=mask.pattern.scheme, group=mask.pattern.group, method="mask" if planned.mask else prune.method,
            kept={name: round(mask.density(name), 5) for name in mask.layers},
        )  # fmt: skip
        moments = {"dense": self.dense / "best.safetensors", "before the cut": weights}
        norms = draw.norms({moment: _norms(mask, path) for moment, path in moments.items()})
        trained = network.build(self.plain(best), len(self.collection.labels))
        run = folder.Run(self.path, self.recipe, self.collection.labels)
        sections, notes = (section(figures, mask, norms),), (*self.collection.problems[:3], *self.early)
        return Result(self.path, ended, figures, finish.finish(
            run, trained, self.collection, at, ended, notes, pruned=told, sections=sections,
        ))  # fmt: skip

    def _all_epochs(self) -> None:
        """metrics.jsonl of the whole: the stages one after another, epochs counted on."""
        rows: list[Mapping[str, Any]] = []
        for name in (DENSE, REGULARIZE, RETRAIN):
            path = self.path / name / "metrics.jsonl"
            before = rows[-1]["epoch"] if rows else 0
            found = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
            rows += [{**row, "epoch": row["epoch"] + before, "stage": name} for row in found]
        write_bytes("".join(json.dumps(row) + "\n" for row in rows).encode(), self.path / "metrics.jsonl")


def _norms(mask: Mask, weights: Path) -> list[np.ndarray]:
    """Of the units of each pruned layer, in multiples of the layer's."""
    found = load_file(weights)
    parts = []
    for name in mask.layers:
        weight = found[f"{name}.weight"]
        parts.append(mask.pattern.scores(weight) / math.sqrt(float((weight**2).mean()) or 1.0))
    return parts
