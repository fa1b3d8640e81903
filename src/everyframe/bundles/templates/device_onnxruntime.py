"""The network in ONNX Runtime."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # it looks while it is loaded; else it reports models and hardware

import onnxruntime


class Device:
    def __init__(self, path, inputs, outputs):
        # it takes zeros in front of a max pool for the pool's own padding, which is -inf: wrong where values are negative
        self.session = onnxruntime.InferenceSession(path, disabled_optimizers=["Pad_Fusion"])
        self.outputs = list(outputs)

    def run(self, feed):
        return dict(zip(self.outputs, self.session.run(self.outputs, feed)))
