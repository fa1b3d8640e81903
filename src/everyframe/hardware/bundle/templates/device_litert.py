"""The network in LiteRT. onnx2tf turns channels to the end; names may change, the order of inputs and outputs as well."""

import numpy as np
from ai_edge_litert.interpreter import Interpreter


class Device:
    def __init__(self, path, inputs, outputs):
        self.interpreter, self.outputs = Interpreter(model_path=path), outputs
        self.interpreter.allocate_tensors()
        self.given = _by_name(inputs, self.interpreter.get_input_details())
        self.found = _by_name(outputs, self.interpreter.get_output_details())

    def run(self, feed):
        for name, detail in self.given.items():
            self.interpreter.set_tensor(detail["index"], _as_given(feed[name], detail["shape"]))
        self.interpreter.invoke()
        found = {name: self.interpreter.get_tensor(self.found[name]["index"]) for name in self.outputs}
        return {name: _as_in_onnx(array, self.outputs[name]) for name, array in found.items()}


def _as_given(array, shape):
    return array if array.shape == tuple(shape) else np.moveaxis(array, 1, -1)


def _as_in_onnx(array, shape):
    return array if array.shape == tuple(shape) else np.moveaxis(array, -1, 1)


def _by_name(names, details):
    own = {detail["name"].split(":")[0].removeprefix("serving_default_"): detail for detail in details}
    return {name: own[name] if name in own else details[place] for place, name in enumerate(names)}
