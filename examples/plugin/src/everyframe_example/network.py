"""A clip network: (N, C, T, H, W) -> (N, classes)."""

from __future__ import annotations

import torch
from torch import nn


class ExampleNet(nn.Module):
    def __init__(self, num_classes: int, frames: int, size: tuple[int, int], *, in_channels: int = 3) -> None:
        super().__init__()
        self.space = nn.Conv3d(in_channels, 8, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        self.time = nn.Conv3d(8, 8, (3, 1, 1), padding=(1, 0, 0))
        self.head = nn.Linear(8, num_classes)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        seen = torch.relu(self.time(torch.relu(self.space(clip))))
        return self.head(seen.mean((2, 3, 4)))
