"""A trained motion network as a clip model with its event rule. It answers for the picture and for its mirror image: what two
looks with the same weights agree on is right more often, and weights are what a file is large by.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from everyframe import modelfile, models
from everyframe.modelfile.schema import EventRule, FeatureSpec
from everyframe.models.families.motion import Mirrored, MotionNet
from everyframe.rendering.hands.motions import LABELS, MIRRORED
from everyframe.training.network import Trained

#: layer whose output tells gestures apart that were not trained -> over how many frames it does so best (docs/teach.md)
FEATURES = {"follow.2.add": 16, "follow.0.add": 8}
#: of each label, the one that a mirror makes of it
SWAP = tuple(LABELS.index(MIRRORED[label]) for label in LABELS)


def export_clip(trained: Trained, rule: EventRule, recipe: str, path: Path) -> Path:
    """Writes (1, 1, T, H, W) -> (1, classes) with its metadata; T is the recipe's window."""
    made = trained.made
    net = Mirrored(cast(MotionNet, trained.net.get_submodule("net")), SWAP).eval()
    exported = models.export(net, None, frames=made.frames, size=made.size, labels=LABELS, preprocess=trained.preprocess)
    told = exported.metadata
    provenance = told.provenance.model_copy(
        update={
            "model": made.entry.name, "weights_sha256": made.sha256,
            "notes": ("trained on rendered video only", f"recipe {recipe}", "asked of the mirrored picture too"),
        }
    )  # fmt: skip
    features = tuple(
        FeatureSpec(wire=wire + which, window=frames) for wire, frames in FEATURES.items() for which in ("", "_2")
    )  # fmt: skip
    update = {"events": rule, "window": made.frames, "features": features, "provenance": provenance}
    modelfile.attach(exported.model, told.model_copy(update=update))
    return modelfile.save(exported.model, path)
