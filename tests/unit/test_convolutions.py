"""The forms of convolutions that train fast: the same answers and the same gradients as torch's own."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from everyframe import models
from everyframe.training.convolutions import Depthwise, Fast
from everyframe.training.network import channels_last, set_dropout


def geometries(count: int) -> Iterator[tuple[Tensor, Tensor, Tensor | None, dict[str, Any]]]:
    """Random (input, weight, bias, how), every axis for itself; most of them depthwise."""
    draw = random.Random(19)
    while count:
        taps, strides = ([draw.choice(values) for _ in range(3)] for values in ((1, 1, 2, 3, 5), (1, 1, 2, 3)))
        sizes, dilation = [draw.choice((1, 2, 3, 6, 9)) for _ in range(3)], draw.choice((1, 1, 2))
        pads = [draw.randrange(dilation * (k - 1) + 1) for k in taps]  # torch's own form crashes where there is more (2.13)
        if any(n + 2 * pad < dilation * (k - 1) + 1 for n, pad, k in zip(sizes, pads, taps, strict=True)):
            continue
        channels = draw.choice((2, 3, 8, 17))
        groups, out = (channels, channels) if draw.random() < 0.7 else (1, 4)
        x = torch.randn(draw.choice((1, 2, 3)), channels, *sizes)
        bias = torch.randn(out) if draw.random() < 0.5 else None
        how = {"stride": tuple(strides), "padding": tuple(pads), "dilation": dilation, "groups": groups}
        yield x, torch.randn(out, channels // groups, *taps), bias, how
        count -= 1


def answered(x: Tensor, weight: Tensor, bias: Tensor | None, how: dict[str, Any]) -> list[Tensor]:
    """What the layer gives, and the gradients of all that it was given."""
    given = [one.clone().requires_grad_() for one in (x, weight, bias) if one is not None]
    made = functional.conv3d(*given, **how)
    pull = torch.randn(made.shape, generator=torch.Generator().manual_seed(0)).bfloat16().to(made.dtype)
    (made * pull).sum().backward()
    return [made.detach(), *(one.grad for one in given if one.grad is not None)]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_answers_and_gradients_are_those_of_the_plain_form(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    for x, weight, bias, how in geometries(120):
        exact = answered(x.double(), weight.double(), None if bias is None else bias.double(), how)
        with Fast():
            found = answered(x.contiguous(memory_format=layout), weight, bias, how)
        for wanted, got in zip(exact, found, strict=True):
            assert wanted.shape == got.shape, (x.shape, weight.shape, how)
            assert torch.linalg.norm(got - wanted) <= 1e-5 * max(1, torch.linalg.norm(wanted)), (x.shape, weight.shape, how)


def test_bfloat16_is_as_near_as_bfloat16_is() -> None:
    torch.manual_seed(0)
    for *given, how in geometries(60):
        if how["groups"] == 1:  # computed as ever
            continue
        x, weight, bias = (None if one is None else one.bfloat16().float() for one in given)  # what is left is of the sums
        exact = answered(x, weight, bias, how)
        with Fast(), torch.autocast("cpu", torch.bfloat16):
            found = answered(x, weight, bias, how)
        for wanted, got in zip(exact, found, strict=True):
            assert torch.linalg.norm(got.float() - wanted) <= 0.01 * max(1, torch.linalg.norm(wanted)), (
                x.shape,
                weight.shape,
                how,
            )
        assert found[0].dtype == torch.bfloat16 and found[1].dtype == torch.float32


@pytest.mark.parametrize("name", ["movinet_a0_stream", "mobilenet3d_0.5x"])
def test_a_network_learns_the_same(name: str) -> None:
    frames = 16 if name.startswith("mobile") else 5
    torch.manual_seed(0)
    net = models.create(name, num_classes=3, frames=frames, size=(64, 64)).train()
    set_dropout(net, 0.0)
    channels_last(net)
    video, gradients = torch.rand(2, 3, frames, 64, 64), []
    for form in (Fast, contextlib.nullcontext):
        one = copy.deepcopy(net)
        with form():
            one(video).square().mean().backward()
        gradients.append({key: value.grad for key, value in one.named_parameters() if value.grad is not None})
    fast, plain = gradients
    assert fast.keys() == plain.keys()
    scale = max(torch.linalg.norm(one) for one in plain.values())
    assert all(torch.linalg.norm(fast[key] - one) < 1e-3 * scale for key, one in plain.items())


def test_which_layers_take_the_quick_gradient() -> None:
    x = torch.randn(2, 4, 3, 5, 5)
    deep, dense = torch.randn(4, 1, 3, 3, 3, requires_grad=True), torch.randn(4, 4, 3, 3, 3, requires_grad=True)
    with Fast():
        assert functional.conv3d(x, deep, padding=1, groups=4).grad_fn.name() == f"{Depthwise.__name__}Backward"
        assert functional.conv3d(x, dense, padding=1).grad_fn.name().startswith("Convolution")
        assert functional.conv3d(x, deep, padding="same", groups=4).shape == x.shape
    assert functional.conv3d(x, deep, padding=1, groups=4).grad_fn.name().startswith("Convolution")
