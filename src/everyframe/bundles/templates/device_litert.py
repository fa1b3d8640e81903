"""The network in LiteRT. onnx2tf keeps the names; where it has put channels at the end, they are moved."""

import numpy as np
from ai_edge_litert.interpreter import Interpreter


class Device:
    def __init__(self, path, inputs, outputs):
        interpreter, self.outputs = Interpreter(model_path=path), outputs
        self.runner = interpreter.get_signature_runner()
        self.shapes = {name: tuple(detail["shape"]) for name, detail in self.runner.get_input_details().items()}

    def run(self, feed):
        given = {name: _moved(array, self.shapes[name], 1, -1) for name, array in feed.items()}
        found = self.runner(**given)
        return {name: _moved(found[name], tuple(shape), -1, 1) for name, shape in self.outputs.items()}


def _moved(array, shape, source, target):
    return array if array.shape == shape else np.moveaxis(array, source, target)
