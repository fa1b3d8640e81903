"""A clip network becomes a step network, ONNX in and ONNX out. numpy, onnx and onnxruntime, never torch.

In the order in which data passes through: `axes` (where time is in a shape) -> `facts` and `rules/` (when each frame of each
tensor can be computed) -> `taps` (taps that never saw a frame, cut) -> `emitter`, `memory`, `builder` (the step graph) ->
`step` (the road from file to file) -> `lengthen` and `verify` (the stream against the clip network, before anything is
written); `account` counts what any of the files costs.
"""

from __future__ import annotations

from everyframe.conversion.account import info
from everyframe.conversion.step import Conversion, convert, stream

__all__ = ["Conversion", "convert", "info", "stream"]
