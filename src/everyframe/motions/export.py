"""A trained motion network as a clip model with its event rule."""

from __future__ import annotations

from pathlib import Path

from everyframe import modelfile, models
from everyframe.modelfile.schema import EventRule
from everyframe.rendering.hands.motions import LABELS
from everyframe.training.network import Trained


def export_clip(trained: Trained, weights: Path, rule: EventRule, recipe: str, path: Path) -> Path:
    """Writes (1, 1, T, H, W) -> (1, classes) with its metadata; T is the recipe's window."""
    made = trained.made
    exported = models.export(
        made.entry.name, None, frames=made.frames, size=made.size, labels=LABELS, preprocess=trained.preprocess,
        weights=weights, num_classes=len(LABELS),
    )  # fmt: skip
    told = exported.metadata
    provenance = told.provenance.model_copy(update={"notes": ("trained on rendered video only", f"recipe {recipe}")})
    update = {"events": rule, "window": made.frames, "provenance": provenance}
    modelfile.attach(exported.model, told.model_copy(update=update))
    return modelfile.save(exported.model, path)
