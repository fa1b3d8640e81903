"""A clip network becomes a step network, ONNX in and ONNX out. numpy, onnx and onnxruntime, never torch.

In the order in which data passes through: `inputs` and `described` (what goes in), `bind` (open sizes, bytes, float16),
`rolled`, `natural`, `cells` (recurrence of all kinds in one form) and `canonical` (one way to write things)
-> `axes` and `view` (where time is in a shape) -> `facts` (when each frame of a tensor can be computed) -> `counting` (constants
that number the frames) -> `emitter`, `memory`, `newest`, `carrying`, `builder` (the step graph) -> `rules/` (each operator: its
facts and its nodes) -> `propagate` (facts for all tensors) -> `windows` (for what looks at all frames) -> `taps` (taps that never
saw a frame, cut) -> `lowering` (all nodes, by their rules) -> `any_length`, `lengthen` and `verify` (the stream against the clip
network, before anything is written) -> `step` (the road from file to file, which gives a `result`);
`work` and `account` count what any of the files costs, `refusals` says what cannot be streamed.
"""

from __future__ import annotations

from everyframe.conversion.account import info
from everyframe.conversion.step import Conversion, convert, stream

__all__ = ["Conversion", "convert", "info", "stream"]
