"""What training minimizes: right label sets at every frame, and where the hand is."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from everyframe.models.families.motion import FEATURES
from everyframe.motions.render.motions import LABELS, SWIPES

SWIPE_BITS = sum(1 << LABELS.index(label) for label in SWIPES)


def set_loss(logits: Tensor, bits: Tensor) -> Tensor:
    """-log of the probability of the set of labels that are right. logits: (N, T, C); bits: (N, T) uint8.

    The frames at which a gesture must be named are few, those of a swipe fewest: they weigh 2 and 4.
    """
    allowed = (bits.unsqueeze(-1).int() >> torch.arange(logits.shape[-1])) & 1
    inside = torch.logsumexp(logits.masked_fill(allowed == 0, -1e4), -1)
    weight = 1 + (bits & 1 == 0).float() + 2 * ((bits & 1 == 0) & (bits & SWIPE_BITS > 0)).float()
    return ((torch.logsumexp(logits, -1) - inside) * weight).sum() / weight.sum()


class Tracker(nn.Module):
    """A second task that only training has: where the hand is and how it moves, read off the frame features.

    Far more is learnt from it per frame than from eight labels; it is not part of the exported network.
    """

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(FEATURES, 5)

    def forward(self, looks: Tensor, hand: Tensor) -> Tensor:
        """looks: (N, C, T, 1, 1); hand: (N, T, 3) x, y, visible -> loss."""
        told = self.read(looks.flatten(2).transpose(1, 2))  # (N, T, 5)
        seen = hand[:, 1:, 2] * hand[:, :-1, 2]
        move = (hand[:, 1:, :2] - hand[:, :-1, :2]) * 10  # about 1 in a swipe
        off = F.smooth_l1_loss(told[:, 1:, :2], hand[:, 1:, :2] * 3, reduction="none").sum(-1)
        off = off + 2 * F.smooth_l1_loss(told[:, 1:, 2:4], move, reduction="none", beta=0.3).sum(-1)
        there = F.binary_cross_entropy_with_logits(told[..., 4], hand[..., 2])
        return (off * seen).sum() / (seen.sum() + 1) + 0.5 * there
