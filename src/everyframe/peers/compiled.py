"""torch.compile, with weights as constants: its fastest way on a processor."""

from __future__ import annotations

import onnx
import torch

from everyframe.peers import eager
from everyframe.peers.network import Network


def load(model: onnx.ModelProto, threads: int) -> Network:
    from torch._inductor import config

    config.freezing = True
    return eager.prepared(model, threads, lambda net: torch.compile(net, fullgraph=True, dynamic=False))
