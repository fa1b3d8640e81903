"""torch as one calls it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import torch

from everyframe.peers import graph
from everyframe.peers.network import Network, input_shape


def load(model: onnx.ModelProto, threads: int) -> Network:
    return prepared(model, threads, lambda net: net)


def prepared(
    model: onnx.ModelProto, threads: int, change: Callable[[torch.nn.Module], Callable[[torch.Tensor], torch.Tensor]]
) -> Network:
    """change: what makes a function of the network."""
    shape = input_shape(model)
    torch.set_num_threads(threads)
    run = change(graph.Network(model).eval())

    def call(clip: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return run(torch.from_numpy(clip)).numpy()

    call(np.zeros(shape, np.float32))
    return Network("clip", shape, lambda: call)
