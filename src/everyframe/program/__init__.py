"""ONNX in, ONNX out: facts on wires, clip -> step, accounting. numpy + onnx + onnxruntime, never torch.

In the order in which data passes through: contract (file) -> passes/fold -> graph -> facts (+ axes, rules) -> passes/taps ->
builder (+ rules) -> step -> verify (+ passes/lengthen) -> contract; account reads any of the files.
"""

from __future__ import annotations

from everyframe.program.account import info
from everyframe.program.step import Conversion, convert, stream

__all__ = ["Conversion", "convert", "info", "stream"]
