"""The built-in model as weights to go on from. Its export folded the batch norms into convolutions, stacked taps in time as
channels, and wrote both looks' share into the head; here that is undone, and norms are given back what they saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any, cast

import torch
from onnx import numpy_helper
from torch import Tensor, nn

from everyframe.errors import WeightsError
from everyframe.modelfile.file import load
from everyframe.modelfile.interface import metadata_or_raise
from everyframe.modelfile.schema import Preprocess
from everyframe.rendering.hands import dataset
from everyframe.runtime import BUILTIN
from everyframe.training.loader import normalize

NAME = "builtin"
_STREAMS, _SEED = 64, 991  # rendered for what the norms see


def begin(net: nn.Module, preprocess: Preprocess) -> str:
    """Fills a network, in place, and gives its norms the mean and variance of what they see of rendered streams. Returns the
    sha256 of the weights that were exported. Raises WeightsError for another network than the one that ships.
    """
    shipped = load(BUILTIN)
    origin = metadata_or_raise(shipped, BUILTIN).provenance
    weights = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()).float() for t in shipped.graph.initializer}
    state = net.state_dict()
    pairs = _folded(net)
    wanted = {f"{conv}.weight": state[f"{conv}.weight"].numel() for conv in pairs}
    if {name: weights[name].numel() if name in weights else 0 for name in wanted} != wanted:
        raise WeightsError(
            "The built-in model is another network.", where="start", got="other layers or sizes",
            expected=origin.model, hint="say network, data.height and data.width as in docs/motions.md, or start with a file",
        )  # fmt: skip
    for conv, norm in pairs.items():
        kernel, given = state[f"{conv}.weight"], weights[f"{conv}.weight"]
        taps = kernel.shape[2]
        if taps > 1:  # (O, k * I, 1, 1), the oldest frame first
            given = given.reshape(len(kernel), taps, -1).permute(0, 2, 1)
        kernel.copy_(given.reshape(kernel.shape))
        state[f"{norm}.bias"].copy_(weights[f"{conv}.bias"])
        for name, value in (
            ("weight", 1.0),
            ("running_mean", 0.0),
            ("running_var", 1.0 - cast(nn.BatchNorm3d, net.get_submodule(norm)).eps),
        ):
            state[f"{norm}.{name}"].fill_(value)
    width = state["head.weight"].shape[1]
    state["head.weight"].copy_(2 * weights["head.weight"][:, :width])
    state["head.bias"].copy_(weights["head.bias"])
    net.load_state_dict(state)
    _given_back(net, _frames(preprocess), list(pairs.values()))
    return origin.weights_sha256 or ""


@cache
def _frames(preprocess: Preprocess) -> Tensor:
    """(N, 1, T, H, W)."""
    size, fps = cast(tuple[int, int], preprocess.resize), preprocess.fps or 12.0
    made = dataset.streams("train", _SEED, range(_STREAMS), fps=fps, size=size)
    return normalize(torch.from_numpy(made.video[..., None]), preprocess)


def _folded(net: nn.Module) -> dict[str, str]:
    """Convolution -> the norm behind it."""
    names = [name for name, module in net.named_modules() if isinstance(module, nn.Conv3d | nn.BatchNorm3d)]
    return {
        conv: norm for conv, norm in pairwise(names)
        if isinstance(net.get_submodule(conv), nn.Conv3d) and isinstance(net.get_submodule(norm), nn.BatchNorm3d)
    }  # fmt: skip


@torch.no_grad()
def _given_back(net: nn.Module, frames: Tensor, norms: Sequence[str]) -> None:
    """What each norm does stays the same; it is written as one that has seen these frames."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    hooks = []
    for name in norms:

        def note(_: nn.Module, given: tuple[Tensor], __: Tensor, name: str = name) -> None:
            values = given[0].transpose(0, 1).flatten(1).double()
            seen[name] = values.mean(1).float(), values.var(1).float()

        hooks.append(net.get_submodule(name).register_forward_hook(note))
    net.eval()(frames)
    for hook in hooks:
        hook.remove()
    for name, (mean, variance) in seen.items():
        norm = cast(Any, net.get_submodule(name))
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.add_(mean)
