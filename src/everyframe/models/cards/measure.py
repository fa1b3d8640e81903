"""Measures what a card says about a network: parameters, multiply-accumulates, and what streaming makes of it. Needs torch."""

from __future__ import annotations

from math import prod

import onnx
import torch
from torch.utils.flop_counter import FlopCounterMode

from everyframe.conversion import convert
from everyframe.conversion.account import layers
from everyframe.conversion.facts import Options
from everyframe.errors import ModelError
from everyframe.models.cards.card import Measured, Streamed
from everyframe.models.cards.thop import paper_flops
from everyframe.models.registry import Entry, build
from everyframe.models.trace import trace


def costs(entry: Entry) -> tuple[int, int, int]:
    """(parameters, multiply-accumulates, count of the paper's tool) of one clip. Nothing is computed: tensors are `meta`."""
    shape = (1, entry.preprocess.channels, entry.frames, *entry.size)
    with torch.device("meta"):
        net = build(entry)
        clip = torch.empty(shape)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(clip)
    params = sum(value.numel() for value in net.parameters())
    return params, counter.get_total_flops() // 2, paper_flops(net, shape)


def measure(entry: Entry) -> Measured:
    """Exports the network at its published clip shape and converts it both ways: seconds to a minute. Raises ModelError."""
    params, macs, flops = costs(entry)
    clip = _clip(entry, entry.frames, entry.size)
    return Measured(params, macs, flops, native=_streamed(clip, "native"), dense=_dense(clip))


def state_floats(entry: Entry, frames: int, size: int) -> int:
    """The state of the step network at another clip shape."""
    return _streamed(_clip(entry, frames, (size, size)), "native").state_floats


def _clip(entry: Entry, frames: int, size: tuple[int, int]) -> onnx.ModelProto:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build(entry, frames=frames, size=size)
        graph, _ = trace(net, (1, entry.preprocess.channels, frames, *size), seed=0)
    return graph


def _dense(clip: onnx.ModelProto) -> Streamed | None:
    """None where the converter refuses a prediction at every frame."""
    try:
        return _streamed(clip, "dense")
    except ModelError:
        return None


def _streamed(clip: onnx.ModelProto, rate: str) -> Streamed:
    made = convert(clip, Options(rate=rate))
    meta = made.metadata
    return Streamed(
        hop=meta.hop,
        feature_delay=meta.feature_delay,
        delay=meta.delay,
        receptive_field=None if meta.unbounded else meta.receptive_field,
        state_floats=sum(prod(state.shape) for state in meta.states if state.floats),
        macs_per_step=sum(row.macs for row in layers(made.step, meta)),
    )
