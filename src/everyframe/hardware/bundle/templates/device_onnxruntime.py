"""The network in ONNX Runtime."""

import onnxruntime


class Device:
    def __init__(self, path, inputs, outputs):
        self.session, self.outputs = onnxruntime.InferenceSession(path), list(outputs)

    def run(self, feed):
        return dict(zip(self.outputs, self.session.run(self.outputs, feed)))
