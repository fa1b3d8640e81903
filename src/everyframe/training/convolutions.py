"""Convolutions over time in forms that processors train fast: the same sums, by other kernels of oneDNN.

oneDNN has quick kernels for the gradients of 2-D depthwise convolutions and none for those of 3-D ones, which took nine tenths of
a training step of X3D and MoViNet in bfloat16 (torch 2.13 with oneDNN 3.12, AVX-512). With channels last in memory, frames are
further pictures of a batch and the positions of a picture one long row, without a copy:

    kernel (1, h, w)    2-D on (N T, C, H, W), in float32: in bfloat16 that is no faster where it is not depthwise
    kernel (t, 1, 1)    2-D on (N, C, T, H W), likewise
    depthwise           its gradients alone: of the input by a convolution forwards, whose kernels are quick, of the weights in
                        2-D, tap by tap over time

Legend: N clips, C channels, T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.modules.utils import _triple
from torch.overrides import TorchFunctionMode

Triple = tuple[int, int, int]
LAST = torch.channels_last_3d
#: taps in a row that oneDNN's quick gradient of depthwise weights takes at once
WIDEST = 3


class Fast(TorchFunctionMode):
    """Within, `conv3d` on the CPU takes the quicker form, whichever module calls it. Its gradients have no gradients."""

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        return (conv3d if func is torch.conv3d else func)(*args, **(kwargs or {}))


def conv3d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    """As `torch.nn.functional.conv3d`."""
    if isinstance(padding, str) or x.device.type != "cpu" or x.dim() != 5:
        return functional.conv3d(x, weight, bias, stride, padding, dilation, groups)
    strides, pads, dilations, taps = _triple(stride), _triple(padding), _triple(dilation), weight.shape[2:]
    deep = groups == x.shape[1] == len(weight) > 1 and dilations == (1, 1, 1) and weight.requires_grad
    kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    # nothing trains in float64, so that torch's own answers stay what others are compared with
    deep = deep and kind != torch.float64 and all(pad < count for pad, count in zip(pads, taps, strict=True))
    if not deep and (kind != torch.float32 or not (_still(taps, pads) or _narrow(taps, strides, pads))):
        return functional.conv3d(x, weight, bias, stride, padding, dilation, groups)
    if torch.is_autocast_enabled("cpu"):
        x, weight, bias = x.to(kind), weight.to(kind), bias if bias is None else bias.to(kind)
    x = x.contiguous(memory_format=LAST)
    if not deep:
        return _forwards(x, weight, bias, strides, pads, dilations, groups)
    y = Depthwise.apply(x, weight, strides, pads)
    return y if bias is None else y + bias.reshape(-1, 1, 1, 1)


def _still(taps: Sequence[int], pads: Triple) -> bool:
    """Each frame alone."""
    return taps[0] == 1 and pads[0] == 0


def _narrow(taps: Sequence[int], strides: Triple, pads: Triple) -> bool:
    """Each position alone."""
    return (*taps[1:], *strides[1:], *pads[1:]) == (1, 1, 1, 1, 0, 0)


def _forwards(
    x: Tensor, weight: Tensor, bias: Tensor | None, strides: Triple, pads: Triple, dilations: Triple, groups: int
) -> Tensor:
    """In 2-D where frames or positions are alone. x: channels last in memory."""
    taps = weight.shape[2:]
    if _still(taps, pads):
        pictures = x[:, :, :: strides[0]].transpose(1, 2).flatten(0, 1)
        y = functional.conv2d(pictures, weight[:, :, 0], bias, strides[1:], pads[1:], dilations[1:], groups)
        return y.unflatten(0, (len(x), -1)).transpose(1, 2)
    if _narrow(taps, strides, pads):
        rows, over = x.flatten(3), ((strides[0], 1), (pads[0], 0), (dilations[0], 1))
        return functional.conv2d(rows, weight.flatten(3), bias, *over, groups).unflatten(3, x.shape[3:])
    return functional.conv3d(x, weight, bias, strides, pads, dilations, groups)


class Depthwise(torch.autograd.Function):
    """(N, C, T, H, W) by (C, 1, t, h, w), each channel by its own; padding less than the taps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, strides: Triple, pads: Triple) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.strides, ctx.pads = strides, pads
        return _forwards(x, weight, None, strides, pads, (1, 1, 1), len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needed, grad = ctx.needs_input_grad, grad.contiguous(memory_format=LAST)
        return (
            of_input(grad, weight, x.shape[2:], ctx.strides, ctx.pads) if needed[0] else None,
            of_weight(grad, x, weight.shape[2:], ctx.strides, ctx.pads) if needed[1] else None,
            None,
            None,
        )


def of_input(grad: Tensor, weight: Tensor, sizes: Sequence[int], strides: Triple, pads: Triple) -> Tensor:
    """The gradient of a depthwise layer's input: the layer without strides, with its taps in reverse, on the gradient of what
    it gave, with zeros where it strode over positions.
    """
    grid = [(n - 1) * stride + 1 for n, stride in zip(grad.shape[2:], strides, strict=True)]
    front = [taps - 1 - pad for taps, pad in zip(weight.shape[2:], pads, strict=True)]
    behind = [size + pad - n for size, pad, n in zip(sizes, pads, grid, strict=True)]
    if strides != (1, 1, 1) or front != behind:
        shape = [a + n + b for a, n, b in zip(front, grid, behind, strict=True)]
        spread = torch.empty((*grad.shape[:2], *shape), dtype=grad.dtype, memory_format=LAST).zero_()
        t, h, w = (slice(a, a + n, stride) for a, n, stride in zip(front, grid, strides, strict=True))
        spread[:, :, t, h, w] = grad
        grad, front = spread, [0, 0, 0]
    return _forwards(grad, weight.flip(2, 3, 4), None, (1, 1, 1), (front[0], front[1], front[2]), (1, 1, 1), len(weight))


def of_weight(grad: Tensor, x: Tensor, taps: Sequence[int], strides: Triple, pads: Triple) -> Tensor:
    """The gradient of a depthwise layer's weights: tap by tap over time, WIDEST columns at once, on pictures that have their
    padding already. oneDNN is quick there alone.
    """
    if taps[0] > 1 and _narrow(taps, strides, pads):  # what is over time alone is one picture, high as it is long
        grad, x = (one.flatten(3).unsqueeze(2) for one in (grad, x))
        return of_weight(grad, x, (1, taps[0], 1), (1, strides[0], 1), (0, pads[0], 0)).transpose(2, 3)
    # time before clips, so that the frames which a tap meets lie side by side
    padded = functional.pad(x, (pads[2], pads[2], pads[1], pads[1], pads[0], pads[0])).permute(2, 0, 3, 4, 1).contiguous()
    pictures = grad.permute(2, 0, 3, 4, 1).flatten(0, 1).permute(0, 3, 1, 2)
    channels, (frames, height, width), (t, h, w) = grad.shape[1], grad.shape[2:], taps
    made = grad.new_empty((channels, 1, t, h, w))
    for at in range(t):
        met = padded[at : at + (frames - 1) * strides[0] + 1 : strides[0]].flatten(0, 1)
        for column in range(0, w, WIDEST):
            wide = min(WIDEST, w - column)
            part = met[:, : (height - 1) * strides[1] + h, column : column + (width - 1) * strides[2] + wide]
            made[:, :, at, :, column : column + wide] = torch.ops.aten.convolution_backward(
                pictures, part.contiguous().permute(0, 3, 1, 2), grad.new_empty(channels, 1, h, wide), None, strides[1:], (0, 0),
                (1, 1), False, (0, 0), channels, (False, True, False),
            )[1]  # fmt: skip
    return made
