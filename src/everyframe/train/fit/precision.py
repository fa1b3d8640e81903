"""Mixed precision, and where torch computes wrong numbers in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PRECISIONS = {"f32": "32-true", "bf16": "bf16-mixed", "f16": "16-mixed"}


class Conv3d(nn.Conv3d):
    """Computes in f32 where a padded kernel is longer than its input in time.

    There oneDNN (torch 2.13, CPUs with bfloat16 instructions) leaves parts of the weights' bf16 gradient unwritten: they hold
    whatever was in memory before, often NaN. r3d_18 on 16 frames has such layers.
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu" or input.shape[2] >= self.kernel_size[0]:
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float())


def safe(net: nn.Module) -> None:
    """Its 3-D convolutions give right gradients in mixed precision on CPUs too; names and weights stay."""
    for module in net.modules():
        if type(module) is nn.Conv3d:
            module.__class__ = Conv3d
