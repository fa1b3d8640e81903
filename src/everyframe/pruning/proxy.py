"""How good a pruned network will be, guessed in seconds: its loss after one-shot pruning, with BatchNorm's statistics taken anew.

No weight is trained. benchmarks/prune_search.py ranks this guess and others against the loss after retraining.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from everyframe.data.clips import Collection
from everyframe.errors import UsageError
from everyframe.pruning.mask import Mask
from everyframe.pruning.pattern import Pattern
from everyframe.recipes.training import ClipRecipe
from everyframe.training import loader, statistics
from everyframe.training.network import Trained, channels_last
from everyframe.training.run import Broken

Batches = Sequence[tuple[Tensor, Tensor]]  # (N, C, T, H, W) and labels (N,)
CLIPS = 256


def take(recipe: ClipRecipe, collection: Collection, trained: Trained, split: str, count: int = CLIPS) -> Batches:
    """What `sample` draws, kept."""
    return list(sample(recipe, collection, trained, split, count))


def sample(
    recipe: ClipRecipe, collection: Collection, trained: Trained, split: str, count: int = CLIPS
) -> Iterator[tuple[Tensor, Tensor]]:
    """At most `count` clips of a split, drawn by the recipe's seed, their middles without augmentation, on the CPU."""
    clips = collection.splits.get(split, ())
    if not clips:
        raise UsageError("There are no clips to judge a pruned network by.", where=f"split {split}", hint="set data.holdout")
    drawn = np.random.default_rng(recipe.training.seed).permutation(len(clips))[:count]
    made, preprocess = trained.made, trained.preprocess
    _, shown = loader.stores(recipe, collection, preprocess, made.size)
    chosen = [clips[i] for i in drawn]
    broken = Broken(recipe)
    with loader.validation_loader(recipe, chosen, shown, made.frames, made.size, broken) as batches:
        for batch in batches.batches():
            yield loader.normalize(batch.frames, preprocess), batch.labels


class Proxy:
    """calibration: clips of the training split, for BatchNorm. validation: clips that the loss is measured on."""

    def __init__(self, net: nn.Module, calibration: Batches, validation: Batches) -> None:
        if not calibration or not validation:
            raise UsageError("Clips are needed to calibrate and to judge a pruned network.", got="none")
        self.net, self.calibration, self.validation = copy.deepcopy(net).eval(), calibration, validation
        channels_last(self.net)
        self._state = {key: value.clone() for key, value in self.net.state_dict().items()}

    @torch.no_grad()
    def __call__(self, rates: Mapping[str, float], pattern: Pattern) -> float:
        """Mean cross-entropy; infinite where it is no number."""
        self.net.load_state_dict(self._state)
        weights = {name: self.net.get_submodule(name).weight for name in rates}
        mask = Mask.choose(pattern, {name: weight.numpy() for name, weight in weights.items()}, rates)  # type: ignore[union-attr,operator]
        for name in mask.layers:
            weights[name] *= torch.from_numpy(np.ascontiguousarray(mask.weights(name)))  # type: ignore[operator]
        recalibrate(self.net, self.calibration)
        losses = [F.cross_entropy(self.net(clips), labels, reduction="sum") for clips, labels in self.validation]
        loss = float(torch.stack(losses).sum()) / sum(len(labels) for _, labels in self.validation)
        return loss if np.isfinite(loss) else float("inf")


def recalibrate(net: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Running statistics of BatchNorm become the mean over the batches; everything else stays in its mode."""
    with statistics.anew(net) as found:
        for clips, _ in batches if found else ():
            net(clips.to(found[0].device))
