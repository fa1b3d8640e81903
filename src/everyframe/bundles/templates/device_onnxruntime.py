"""The network in ONNX Runtime."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # it looks while it is loaded; else it reports models and hardware

import onnxruntime


class Device:
    def __init__(self, path, inputs, outputs):
        self.session, self.outputs = onnxruntime.InferenceSession(path), list(outputs)

    def run(self, feed):
        return dict(zip(self.outputs, self.session.run(self.outputs, feed)))
