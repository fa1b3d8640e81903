"""Measures what a card says about a network: parameters, multiply-accumulates, and what streaming makes of it. Needs torch."""

from __future__ import annotations

import tempfile
from math import prod
from pathlib import Path

import onnx
import torch
from torch.utils.flop_counter import FlopCounterMode

from everyframe.errors import ModelError
from everyframe.models.cards.card import Measured, Streamed
from everyframe.models.cards.thop import paper_flops
from everyframe.models.registry import Entry, build
from everyframe.models.trace import trace
from everyframe.program import contract, convert
from everyframe.program.account import layers
from everyframe.program.facts import Options


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
    """Builds the network at its published size, exports it, converts it both ways and reads off the costs: up to a minute."""
    params, macs, flops = costs(entry)
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build(entry)
        graph, _ = trace(net, (1, entry.preprocess.channels, entry.frames, *entry.size), seed=0)
        del net
        path = Path(folder) / "clip.onnx"
        preprocess = entry.preprocess
        contract.attach(graph, contract.Metadata(kind="clip", frames=entry.frames, preprocess=preprocess))
        contract.save(graph, path)
        clip = contract.load(path)
        return Measured(
            params=params,
            macs=macs,
            paper_flops=flops,
            native=_streamed(clip, "native"),
            dense=_dense(clip),
        )


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
        receptive_field=meta.receptive_field,
        state_floats=sum(prod(state.shape) for state in meta.states if state.dtype == "float32"),
        macs_per_step=sum(row.macs for row in layers(made.step, meta)),
    )
