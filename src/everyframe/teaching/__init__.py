"""A head on frozen step features from a few examples: numpy, onnx and onnxruntime only, never torch.

In the order in which data passes through: `record` (clips from a camera) -> `examples` (clips to features) -> `moments` (which
frames teach what) -> `learn` (`head`: logistic regression, leave-one-out; `rule`: events) -> `cut`, `window` (the model
without its classifier, and with the new one) -> `run` (the whole road).
"""

from everyframe.teaching.run import Taught, teach

__all__ = ["Taught", "teach"]
