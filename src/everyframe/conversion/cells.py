"""LSTM, GRU and RNN as ONNX defines them, written out as the cell of a Scan: what one frame does to the states.

Equations: https://onnx.ai/onnx/operators (LSTM, GRU, RNN). Letters: B positions, I inputs, H hidden values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from everyframe.conversion.emitter import Emitter

Activation = Callable[["CellBody", str], str]
#: activation -> (defaults of alpha and beta that it takes, how it is written)
ACTIVATIONS: dict[str, tuple[tuple[float, ...], Callable[..., str]]] = {
    "sigmoid": ((), lambda e, x: e("Sigmoid", x)),
    "tanh": ((), lambda e, x: e("Tanh", x)),
    "relu": ((), lambda e, x: e("Relu", x)),
    "softsign": ((), lambda e, x: e("Softsign", x)),
    "softplus": ((), lambda e, x: e("Softplus", x)),
    "leakyrelu": ((0.01,), lambda e, x, a: e("LeakyRelu", x, alpha=a)),
    "thresholdedrelu": ((1.0,), lambda e, x, a: e("ThresholdedRelu", x, alpha=a)),
    "elu": ((1.0,), lambda e, x, a: e("Elu", x, alpha=a)),
    "hardsigmoid": ((0.2, 0.5), lambda e, x, a, b: e("HardSigmoid", x, alpha=a, beta=b)),
    "affine": ((1.0, 0.0), lambda e, x, a, b: e("Add", e("Mul", x, a), b)),
    "scaledtanh": ((1.0, 1.0), lambda e, x, a, b: e("Mul", e("Tanh", e("Mul", x, b)), a)),
}
_DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
STATES = {"LSTM": ("h", "c"), "GRU": ("h",), "RNN": ("h",)}


def activations(op: str, attrs: dict[str, Any]) -> list[Activation] | None:
    """The cell's activations; None if one is not known."""
    alphas, betas = iter(attrs.get("activation_alpha", ())), iter(attrs.get("activation_beta", ()))
    made = []
    for name in attrs.get("activations", _DEFAULTS[op]):
        row = ACTIVATIONS.get((name.decode() if isinstance(name, bytes) else name).lower())
        if row is None:
            return None
        made.append(_bound(*row, alphas, betas))
    return made


def _bound(defaults: tuple[float, ...], write: Callable[..., str], alphas: Iterator[float], betas: Iterator[float]) -> Activation:
    values = [next(given, default) for default, given in zip(defaults, (alphas, betas), strict=False)]

    def activate(body: CellBody, x: str) -> str:
        return write(body, x, *values)

    return activate


class CellBody(Emitter):
    """Writes the body; called like a function, it emits one operator on tensors and numbers."""

    def __init__(self, prefix: str, limit: float | None) -> None:
        super().__init__()
        self.prefix, self.limit = prefix, limit

    def __call__(self, op: str, *inputs: str | float | np.ndarray, **attrs: Any) -> str:
        given = [x if isinstance(x, str) else self.const(np.asarray(x, np.float32), f"{self.prefix}/value") for x in inputs]
        made: str = self.emit(op, given, f"{self.prefix}/{op.lower()}", **attrs)
        return made

    def clipped(self, x: str) -> str:
        return x if self.limit is None else self("Min", self("Max", x, -self.limit), self.limit)

    def linear(self, x: str, h: str, weight: np.ndarray, recurrent: np.ndarray, bias: np.ndarray) -> str:
        """x W + h R + b, of x (B, I) and h (B, H), as one product."""
        both = self._once(("both", x, h), lambda: self("Concat", x, h, axis=1))
        return self("Add", self("MatMul", both, np.concatenate([weight.T, recurrent.T])), bias)


def _lstm(body: CellBody, act: list[Activation], attrs: dict[str, Any], w: Any, r: Any, b: Any, peep: Any) -> dict[str, str]:
    f, g, out = act
    i, o, forget, cell = range(4)  # the order of the gates

    def gate(k: int, act: Activation, c: str = "", peephole: int = 0) -> str:
        x = body.linear("x", "h", w[k], r[k], b[0, k] + b[1, k])
        return act(body, body.clipped(body("Add", x, body("Mul", c, peep[peephole])) if peep is not None and c else x))

    into = gate(i, f, "c", 0)
    keep = body("Sub", 1.0, into) if attrs.get("input_forget") else gate(forget, f, "c", 2)
    c = body("Add", body("Mul", keep, "c"), body("Mul", into, gate(cell, g)))
    return {"h": body("Mul", gate(o, f, c, 1), out(body, c)), "c": c}


def _gru(body: CellBody, act: list[Activation], attrs: dict[str, Any], w: Any, r: Any, b: Any, peep: Any) -> dict[str, str]:
    f, g = act
    z, reset = (f(body, body.clipped(body.linear("x", "h", w[k], r[k], b[0, k] + b[1, k]))) for k in (0, 1))
    if attrs.get("linear_before_reset"):
        past = body("Mul", reset, body("Add", body("MatMul", "h", r[2].T), b[1, 2]))
        new = body("Add", body("Add", body("MatMul", "x", w[2].T), b[0, 2]), past)
    else:
        new = body.linear("x", body("Mul", reset, "h"), w[2], r[2], b[0, 2] + b[1, 2])
    new = g(body, body.clipped(new))
    return {"h": body("Add", body("Mul", body("Sub", 1.0, z), new), body("Mul", z, "h"))}


def _rnn(body: CellBody, act: list[Activation], attrs: dict[str, Any], w: Any, r: Any, b: Any, peep: Any) -> dict[str, str]:
    return {"h": act[0](body, body.clipped(body.linear("x", "h", w[0], r[0], b[0, 0] + b[1, 0])))}


_WRITE = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}


def cell(op: str, prefix: str, attrs: dict[str, Any], shape: tuple[int, int], *arrays: np.ndarray | None) -> onnx.GraphProto:
    """The body of a Scan: (states, x (B, I)) -> (states, states as frames (1, B, H)).

    shape: (B, I). arrays: W (G*H, I), R (G*H, H), B (2*G*H) and P (3*H) of one direction, the last two perhaps None.
    """
    w, r, b, peep = arrays
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op]
    hidden = r.shape[-1]  # type: ignore[union-attr]
    bias = np.zeros((2, gates, hidden), np.float32) if b is None else b.reshape(2, gates, hidden)
    limit = float(attrs["clip"]) if attrs.get("clip") else None
    body = CellBody(prefix, limit)
    made = _WRITE[op](
        body, activations(op, attrs) or [], attrs, w.reshape(gates, hidden, -1),  # type: ignore[union-attr]
        r.reshape(gates, hidden, hidden), bias, None if peep is None else peep.reshape(3, hidden),  # type: ignore[union-attr]
    )  # fmt: skip
    outputs = {f"{prefix}/{name}.next": tensor for name, tensor in made.items()}
    frame = body.const(np.array([1, shape[0], hidden], np.int64), f"{prefix}/frame")
    outputs |= {f"{prefix}/{name}.frame": body.emit("Reshape", [made[name], frame], f"{prefix}/{name}") for name in made}
    body.publish(outputs)
    nodes, constants = body.needed(set(outputs))
    info = helper.make_tensor_value_info
    inputs = {name: [shape[0], hidden] for name in STATES[op]} | {"x": list(shape)}
    graph = helper.make_graph(
        nodes, prefix, [info(f"{prefix}/{name}", TensorProto.FLOAT, dims) for name, dims in inputs.items()],
        [info(name, TensorProto.FLOAT, None) for name in outputs], constants,
    )  # fmt: skip
    for node in graph.node:  # the names that stand in the cells above
        for k, name in enumerate(node.input):
            node.input[k] = f"{prefix}/{name}" if name in inputs else name
    return graph
