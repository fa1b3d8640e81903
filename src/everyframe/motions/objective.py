"""What the training minimizes: right label sets at every frame, and where the hand is; and what a validation counts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from everyframe.modelfile.schema import EventRule, Preprocess
from everyframe.models.families.motion import MotionNet
from everyframe.motions import metrics
from everyframe.motions.streams import Streams
from everyframe.recipes.motions import Data, MotionsRecipe
from everyframe.rendering.hands import dataset
from everyframe.rendering.hands.motions import LABELS, SWIPES
from everyframe.runtime.prediction import softmax
from everyframe.training.loader import Batch, Loader, normalize
from everyframe.training.objective import Loaded, Row

SWIPE_BITS = sum(1 << LABELS.index(label) for label in SWIPES)
#: what the validation of an epoch makes events with; the finished model's rule is tuned
RULE = EventRule(background="none", threshold=0.6, hold_steps=2)


class Tracking(nn.Module):
    """The network with a second task that only training has: where the hand is and how it moves, read off the frame features.

    Far more is learned from it per frame than from eight labels. (N, 1, T, H, W) -> logits (N, T, classes) and hands (N, T, 5).
    """

    def __init__(self, net: MotionNet, window: int) -> None:
        super().__init__()
        self.net, self.window, self.tracker = net, window, nn.Linear(net.head.in_features, 5)

    def forward(self, video: Tensor) -> tuple[Tensor, Tensor]:
        looks = self.net.look(video)  # (N, C, T, 1, 1)
        logits = self.net.judge(looks, self.window)
        with torch.autocast(video.device.type, enabled=False):
            return logits, self.tracker(looks.float().flatten(2).transpose(1, 2))


class Held:
    """The streams of the validation, rendered when they are first asked for."""

    def __init__(self, data: Data) -> None:
        self.data = data

    @cached_property
    def streams(self) -> dataset.Batch:
        d = self.data
        return dataset.streams("validation", 0, range(d.validation), d.frames, d.fps, (d.height, d.width))

    def tally(self, scores: np.ndarray, rule: EventRule) -> metrics.Tally:
        """scores: (streams, T, classes) probabilities."""
        return metrics.tally(scores, self.streams.intervals, rule, self.data.fps)

    def tune(self, scores: np.ndarray) -> EventRule:
        return metrics.tune(list(scores), self.streams.intervals, self.data.fps)


class Motions(Loaded):
    """Labels at every frame of rendered video, judged by the events that they become."""

    def __init__(
        self, fabric: Fabric, recipe: MotionsRecipe, preprocess: Preprocess, held: Held, teachers: Sequence[nn.Module] = ()
    ) -> None:
        self.fabric, self.recipe, self.preprocess, self.held = fabric, recipe, preprocess, held
        self.teachers = [teacher.to(fabric.device) for teacher in teachers]
        o = recipe.optimizer
        self.training = Loader(Streams(recipe.data, recipe.first_seed, o.steps * o.batch), o.batch)

    def loss(self, net: nn.Module, batch: Batch, epochs_left: int) -> Tensor:
        device = self.fabric.device
        asked = {name: value.to(device) for name, value in batch.labels.items()}
        gain, shift = (asked[name].view(-1, 1, 1, 1, 1) for name in ("gain", "shift"))
        frames = normalize(batch.frames, self.preprocess, device)
        logits, told = net(frames * gain + shift)
        said = answer_loss(logits.float(), self._answers(frames)) if self.teachers else torch.zeros((), device=device)
        share = self.recipe.labels if self.teachers else 1.0
        if share:
            said = said + share * set_loss(logits.float(), asked["bits"])
        return said + self.recipe.optimizer.tracking * tracking_loss(told, asked["hand"])

    @torch.no_grad()
    def _answers(self, frames: Tensor) -> Tensor:
        """The mean of what the teachers say of frames as they were rendered: (N, T, classes) probabilities."""
        told = []
        for one, teacher in zip(self.recipe.teachers, self.teachers, strict=True):
            size = (one.height, one.width)
            same = frames.shape[-2:] == size
            seen = frames if same else F.interpolate(frames[:, 0], size, mode="bilinear", antialias=True)[:, None]
            told.append(teacher(seen)[0].float().softmax(-1))
        return torch.stack(told).mean(0)

    def validate(self, net: nn.Module) -> dict[str, float]:
        scores = every_frame(net, self.held.streams.video, self.preprocess, self.fabric.device)
        found = self.held.tally(scores, RULE).report()
        return {name: found[name] for name in ("f1", "recall", "false_per_minute")}

    def rank(self, row: Row) -> tuple[float, ...]:
        return (row["f1"],)

    def deployed(self, net: nn.Module) -> nn.Module:
        return net.get_submodule("net")


@torch.inference_mode()
def every_frame(
    net: nn.Module, video: np.ndarray, preprocess: Preprocess, device: torch.device | str = "cpu", batch: int = 16,
    swap: Sequence[int] = (),
) -> np.ndarray:  # fmt: skip
    """What a `Tracking` network says: (N, T, H, W) uint8 -> (N, T, classes) probabilities. swap: asked of the mirrored video too,
    as `Mirrored` does.
    """

    def logits(frames: Tensor) -> Tensor:
        told: Tensor = net(frames)[0]
        return (told + net(frames.flip(-1))[0][..., list(swap)]) / 2 if swap else told

    net.eval()
    parts = [torch.from_numpy(video[i : i + batch, ..., None]) for i in range(0, len(video), batch)]
    return softmax(np.concatenate([logits(normalize(part, preprocess, device)).cpu().numpy() for part in parts]))


def set_loss(logits: Tensor, bits: Tensor) -> Tensor:
    """-log of the probability of the set of labels that are right. logits: (N, T, C); bits: (N, T) uint8.

    The frames at which a gesture must be named are few, those of a swipe fewest: they weigh 2 and 4.
    """
    allowed = (bits.unsqueeze(-1).int() >> torch.arange(logits.shape[-1], device=bits.device)) & 1
    inside = torch.logsumexp(logits.masked_fill(allowed == 0, -1e4), -1)
    weight = 1 + (bits & 1 == 0).float() + 2 * ((bits & 1 == 0) & (bits & SWIPE_BITS > 0)).float()
    return ((torch.logsumexp(logits, -1) - inside) * weight).sum() / weight.sum()


def answer_loss(logits: Tensor, answers: Tensor) -> Tensor:
    """Cross entropy with probabilities. Both (N, T, C). Frames at which a gesture is named weigh up to 4."""
    weight = 1 + 3 * (1 - answers[..., 0])
    return (-(answers * logits.log_softmax(-1)).sum(-1) * weight).sum() / weight.sum()


def tracking_loss(told: Tensor, hand: Tensor) -> Tensor:
    """told: (N, T, 5) place, motion and presence; hand: (N, T, 3) x, y, visible."""
    seen = hand[:, 1:, 2] * hand[:, :-1, 2]
    move = (hand[:, 1:, :2] - hand[:, :-1, :2]) * 10  # about 1 in a swipe
    off = F.smooth_l1_loss(told[:, 1:, :2], hand[:, 1:, :2] * 3, reduction="none").sum(-1)
    off = off + 2 * F.smooth_l1_loss(told[:, 1:, 2:4], move, reduction="none", beta=0.3).sum(-1)
    there = F.binary_cross_entropy_with_logits(told[..., 4], hand[..., 2])
    return (off * seen).sum() / (seen.sum() + 1) + 0.5 * there
