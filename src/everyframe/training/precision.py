"""Mixed precision, and where torch computes wrong numbers in it."""

from __future__ import annotations

import platform

import torch
from torch import Tensor, nn

PRECISIONS = {"f32": "32-true", "bf16": "bf16-mixed", "f16": "16-mixed"}


def resolved(precision: str) -> str:
    """`auto` is bf16 where processor or GPU have instructions for it, which makes it faster, and f32 elsewhere."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif platform.machine() in ("x86_64", "AMD64"):
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bf16" if fast else "f32"


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
