"""The peer: X3D as continual-inference (the library of the Co3D paper, arXiv:2106.00050) runs it, frame by frame.

Built with that library's layers in the way of its authors' CoX3D: temporal padding left out while streaming, residuals
delayed by `auto_delay`, squeeze-and-excite on one frame, average pool over the clip's frames at the end. Weights come
from the zoo's X3D, so both compute the same numbers. Batch norms are folded into the convolutions before them, which
the library does not do by itself: the peer is to be as fast as its users can make it.
"""

from __future__ import annotations

import continual as co
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from everyframe.models.families.x3d import X3D, Block, Head


class ContinualX3D:
    """step(frame (1, 3, H, W)) -> logits (1, classes), or None until the pool is full."""

    def __init__(self, net: X3D) -> None:
        stem, *stages, head = net.blocks
        self.body = co.Sequential(
            _conv(stem.conv.conv_t),
            _conv(stem.conv.conv_xy, stem.norm),
            nn.ReLU(),
            *(_block(block) for stage in stages for block in stage.res_blocks),
            *_head(head),
        ).eval()
        self.classifier = head.proj

    @torch.inference_mode()
    def step(self, frame: torch.Tensor) -> torch.Tensor | None:
        features = self.body.forward_step(frame)
        return None if features is None else self.classifier(features.flatten(1))


def _conv(layer: nn.Conv3d, norm: nn.Module | None = None) -> co.Conv3d:
    fused = fuse_conv_bn_eval(layer, norm) if isinstance(norm, nn.BatchNorm3d) else layer
    return co.Conv3d.build_from(fused)


def _block(block: Block) -> co.Sequential:
    branch = block.branch2
    norm, gate = branch.norm_b
    main = co.Sequential(
        _conv(branch.conv_a, branch.norm_a),
        nn.ReLU(),
        _conv(branch.conv_b, norm),
        *([] if isinstance(gate, nn.Identity) else [_gate(gate.block)]),
        nn.SiLU(),
        _conv(branch.conv_c, branch.norm_c),
    )
    if block.projected:
        shortcut = _conv(block.branch1_conv, block.branch1_norm)
        return co.Sequential(co.BroadcastReduce(shortcut, main, reduce="sum", auto_delay=True), nn.ReLU())
    return co.Sequential(co.Residual(main), nn.ReLU())


def _gate(block: nn.Sequential) -> co.Residual:
    """Squeeze-and-excite on one frame."""
    reduce, relu, expand, sigmoid = block
    pool = co.AdaptiveAvgPool3d((1, 1, 1), kernel_size=1)
    return co.Residual(co.Sequential(pool, _conv(reduce), relu, _conv(expand), sigmoid), reduce="mul")


def _head(head: Head) -> list[nn.Module]:
    pool = head.pool
    return [
        _conv(pool.pre_conv, pool.pre_norm),
        nn.ReLU(),
        co.AvgPool3d(pool.pool.kernel_size, stride=1),
        _conv(pool.post_conv),
        nn.ReLU(),
    ]
