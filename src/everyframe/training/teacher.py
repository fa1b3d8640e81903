"""Losses: labels, and the soft targets of a teacher (Hinton, Vinyals, Dean: arXiv:1503.02531)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from everyframe import recipes
from everyframe.errors import RecipeError
from everyframe.training import folder
from everyframe.training.network import Trained, build


class Loss:
    """Cross-entropy; with a teacher, (1 - weight) of it plus weight * T^2 * KL(teacher || student) at temperature T."""

    def __init__(self, smoothing: float, settings: recipes.Distillation | None = None, teacher: nn.Module | None = None) -> None:
        self.smoothing, self.settings, self.teacher = smoothing, settings, teacher

    def __call__(self, logits: Tensor, frames: Tensor, labels: Tensor, epochs_left: int) -> Tensor:
        hard = F.cross_entropy(logits.float(), labels, label_smoothing=self.smoothing)
        s = self.settings
        if s is None or self.teacher is None or epochs_left <= s.stop_before_end:
            return hard
        with torch.no_grad():
            soft = F.log_softmax(self.teacher(frames).float() / s.temperature, 1)
        own = F.log_softmax(logits.float() / s.temperature, 1)
        kl = F.kl_div(own, soft, reduction="batchmean", log_target=True)
        return (1 - s.weight) * hard + s.weight * s.temperature**2 * kl


def load_teacher(settings: recipes.Distillation, labels: tuple[str, ...], student: Trained) -> nn.Module:
    """The network of a finished run folder. Raises RecipeError where it has other classes or another input."""
    path = Path(settings.teacher)
    run = folder.read(path)
    if run.labels != labels:
        raise RecipeError(
            "The teacher has other classes.", where=path, expected=f"{len(labels)}: {', '.join(labels[:5])} ...",
            got=f"{len(run.labels)}: {', '.join(run.labels[:5])} ...", hint="train the teacher on the same data",
        )  # fmt: skip
    recipe = run.recipe.model_copy(update={"model": run.recipe.model.model_copy(update={"weights": str(run.best)})})
    teacher = build(recipe, len(labels))
    if teacher.preprocess != student.preprocess or teacher.made.frames != student.made.frames:
        raise RecipeError(
            "The teacher sees other clips than the student.", where=path,
            expected=f"{student.made.frames} frames, {student.preprocess}",
            got=f"{teacher.made.frames} frames, {teacher.preprocess}", hint="give both recipes the same [preprocess] and frames",
        )  # fmt: skip
    return teacher.net.eval().requires_grad_(False)
