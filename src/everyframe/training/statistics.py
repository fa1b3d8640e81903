"""BatchNorm's statistics, taken anew from clips that pass by."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def norms(net: nn.Module) -> list[_BatchNorm]:
    """Those that keep statistics."""
    return [layer for layer in net.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]


@contextlib.contextmanager
def anew(net: nn.Module) -> Iterator[list[Tensor]]:
    """Within, running statistics become the mean over the batches that go through the network; everything else stays in its
    mode. Gives the statistics, for several processes to share.
    """
    found = norms(net)
    before = [(layer.momentum, layer.training) for layer in found]
    for layer in found:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean
        layer.train()
    try:
        with torch.no_grad():
            yield [value for layer in found for value in (layer.running_mean, layer.running_var) if value is not None]
    finally:
        for layer, (momentum, training) in zip(found, before, strict=True):
            layer.momentum = momentum
            layer.train(training)
