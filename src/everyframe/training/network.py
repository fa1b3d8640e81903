"""The network that a recipe trains: a member of the zoo with the data's classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from everyframe.errors import RecipeError
from everyframe.modelfile.schema import Preprocess
from everyframe.models import published_preprocess
from everyframe.models.checkpoints.load import Assembled, assemble
from everyframe.recipes.training import ClipRecipe


class Learner(Protocol):
    """What the loop needs to know of a network. head: key prefix of what learns where all else is frozen; empty: all of it."""

    @property
    def net(self) -> nn.Module: ...
    @property
    def head(self) -> str: ...
    @property
    def frozen(self) -> bool: ...


@dataclass(frozen=True)
class Trained:
    """net: (N, C, T, H, W) -> (N, classes), or a network around that one with what only training needs. preprocess: what its
    input went through. frozen: nothing before the classifier learns.
    """

    net: nn.Module
    made: Assembled
    preprocess: Preprocess
    frozen: bool = False

    @property
    def head(self) -> str:
        """Key prefix of the classifier."""
        return self.made.entry.head


def build(recipe: ClipRecipe, classes: int) -> Trained:
    """Random weights depend on `training.seed` alone. Raises UsageError, WeightsError, RecipeError."""
    model = recipe.model
    given = recipe.preprocess
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        made = assemble(
            model.name, classes, model.weights, model.frames, model.size, given.channels if given else None, model.options
        )
    preprocess = _completed(given, published_preprocess(made.entry, made.size, made.preprocess))
    size = preprocess.crop or preprocess.resize
    if size != made.size:
        raise RecipeError(
            "The preprocessing does not give frames of the network's size.",
            where=f"recipe {recipe.name}, key preprocess.crop",
            expected=f"{made.size[0]} x {made.size[1]}",
            got=str(size),
            hint="set preprocess.crop or model.size",
        )
    if model.dropout is not None:
        set_dropout(made.net, model.dropout)
    frozen = model.train == "head"
    if frozen:
        freeze_trunk(made.net, made.entry.head)
    return Trained(made.net, made, preprocess, frozen)


def _completed(given: Preprocess | None, own: Preprocess) -> Preprocess:
    """A recipe that says no size, only a rate for example, leaves the rest of the network's own preprocessing as it is."""
    if given is None or {"resize", "crop"} & given.model_fields_set:
        return given or own
    unlike = {"color", "mean", "std"} if "color" in given.model_fields_set else set()
    return Preprocess(**{**own.model_dump(exclude=unlike), **given.model_dump(include=given.model_fields_set)})


def set_dropout(net: nn.Module, share: float) -> None:
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = share


def channels_last(net: nn.Module) -> None:
    """Weights of 2-D and 3-D convolutions with their channels last in memory; the layout of what they compute follows."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        elif isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def freeze_trunk(net: nn.Module, head: str) -> None:
    """Nothing before the classifier learns: no gradients there; `train_mode` keeps the statistics of its norms."""
    for name, parameter in net.named_parameters():
        parameter.requires_grad = _inside(name, head)


def train_mode(net: nn.Module, head: str, frozen: bool) -> None:
    """Training mode; with a frozen trunk its modules stay in evaluation mode, but for the dropout before the classifier.

    (The original code of Efficient-3DCNNs sets the trunk's learning rate to 0 and then overwrites it, and its BatchNorms go
    on counting: what it calls training the last layer trains everything.)
    """
    net.train(not frozen)
    for name, module in net.named_modules():
        if isinstance(module, nn.Dropout) or _inside(name, head):
            module.train()


def _inside(name: str, head: str) -> bool:
    return name == head or name.startswith(f"{head}.")
