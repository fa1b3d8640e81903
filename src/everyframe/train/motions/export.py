"""A trained motion network as a clip ONNX file."""

from __future__ import annotations

import hashlib
import logging
import warnings
from pathlib import Path

import torch

from everyframe import __version__
from everyframe.models.families.motion import MotionNet
from everyframe.program import contract
from everyframe.train.motions.recipe import MotionsRecipe
from everyframe.train.motions.render.motions import LABELS

MEAN, STD = 0.5, 0.25  # of pixel / 255


def weights_sha256(net: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def export_clip(net: MotionNet, recipe: MotionsRecipe, rule: contract.EventRule, path: Path) -> Path:
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
    contract.attach(
        model,
        contract.Metadata(
            kind="clip",
            labels=LABELS,
            frames=recipe.window,
            window=recipe.window,
            events=rule,
            preprocess=contract.Preprocess(
                color="gray", resize=(d.height, d.width), fps=d.fps, scale=1 / 255, mean=(MEAN,), std=(STD,)
            ),
            provenance=contract.Provenance(
                model="motion",
                weights_sha256=weights_sha256(net),
                tool=f"everyframe {__version__}",
                notes=("trained on rendered video only", f"recipe {recipe.name}"),
            ),
        ),
    )
    return contract.save(model, path)
