"""What the training minimizes: how far luma is from the truth; and what a validation counts: PSNR and SSIM of whole pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from everyframe.tasks.super_resolution import metrics
from everyframe.tasks.super_resolution.network import Network
from everyframe.training.loader import Batch, Loader
from everyframe.training.objective import Loaded, Row

Held = Callable[[], tuple[np.ndarray, np.ndarray]]


class Enlarging(Loaded):
    """training: batches of crops. held: what is measured, number -> small (T, h, w) and large (T, H, W) uint8; the last of T
    frames counts. scale: of both. moving: the network takes frames.
    """

    def __init__(self, fabric: Fabric, training: Loader, held: Sequence[Held], scale: int, moving: bool) -> None:
        self.fabric, self.training, self.held, self.scale, self.moving = fabric, training, held, scale, moving

    def loss(self, net: nn.Module, batch: Batch, epochs_left: int) -> Tensor:
        small, large = self.put(batch)
        if self.moving:
            return F.l1_loss(net(small.unsqueeze(1)), large.unsqueeze(1))
        return F.l1_loss(net(small), large)  # (N, 1, h, w)

    def put(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(N, T, h, w, 1) and (N, T, H, W) uint8 -> (N, T, h, w) and (N, T, H, W) of 0..1, on the device."""
        device = self.fabric.device
        small, large = (each.to(device).float().div_(255) for each in (batch.frames[..., 0], batch.labels))
        return small, large

    def validate(self, net: nn.Module) -> dict[str, float]:
        """The mean over what is held out, of which each rank measures its share. What is deployed answers the same, sooner."""
        net = net.collapsed() if isinstance(net, Network) else net
        sums = torch.zeros(4, dtype=torch.float64)
        fabric, scale = self.fabric, self.scale
        for read in self.held[fabric.global_rank :: fabric.world_size]:
            small, large = read()
            made = enlarged(net, small, self.moving, fabric.device)
            found, truth = (metrics.luma_of_gray(each) for each in (made, large[-1]))
            error = float(np.abs(made - large[-1]).mean() / 255)
            quality = metrics.psnr(found, truth, scale), metrics.ssim(found, truth, scale)
            sums += torch.tensor([error, *quality, 1.0], dtype=torch.float64)
        *values, count = fabric.all_reduce(sums.to(fabric.device), reduce_op="sum").tolist()  # type: ignore[union-attr]
        names = ("validation_loss", "psnr", "ssim")
        return {name: value / count if count else float("nan") for name, value in zip(names, values, strict=True)}

    def rank(self, row: Row) -> tuple[float, ...]:
        return (row["epoch"],) if row["psnr"] is None else (row["psnr"],)


@torch.inference_mode()
def enlarged(net: nn.Module, frames: np.ndarray, moving: bool, device: torch.device | str = "cpu") -> np.ndarray:
    """(T, h, w) uint8 -> the last frame, (H, W) float32 of 0..255, cut off there."""
    x = torch.from_numpy(np.array(frames)).to(device).float().div_(255)
    made = net(x[None, None] if moving else x[:, None])
    return np.clip(made.float().mul(255).cpu().numpy().reshape(-1, *made.shape[-2:])[-1], 0, 255)
