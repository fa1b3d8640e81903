"""A trained motion network as a clip ONNX file."""

from __future__ import annotations

import hashlib
import logging
import warnings
from pathlib import Path

import torch

from everyframe import modelfile
from everyframe.models.families.motion import MotionNet
from everyframe.motions.render.motions import LABELS
from everyframe.recipes.motions import MotionsRecipe
from everyframe.version import __version__

MEAN, STD = 0.5, 0.25  # of pixel / 255


def weights_sha256(net: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def export_clip(net: MotionNet, recipe: MotionsRecipe, rule: modelfile.EventRule, path: Path) -> Path:
    """Writes (1, 1, T, H, W) -> (1, classes) with its metadata; T is the recipe's window."""
    d = recipe.data
    frames = torch.zeros(1, 1, recipe.window, d.height, d.width)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own
            program = torch.onnx.export(
                net.eval(),
                (frames,),
                dynamo=True,
                opset_version=18,
                input_names=["frames"],
                output_names=["logits"],
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    model = program.model_proto  # type: ignore[union-attr]
    modelfile.attach(
        model,
        modelfile.Metadata(
            kind="clip",
            labels=LABELS,
            frames=recipe.window,
            window=recipe.window,
            events=rule,
            preprocess=modelfile.Preprocess(
                color="gray", resize=(d.height, d.width), fps=d.fps, scale=1 / 255, mean=(MEAN,), std=(STD,)
            ),
            provenance=modelfile.Provenance(
                model="motion",
                weights_sha256=weights_sha256(net),
                tool=f"everyframe {__version__}",
                notes=("trained on rendered video only", f"recipe {recipe.name}"),
            ),
        ),
    )
    return modelfile.save(model, path)
