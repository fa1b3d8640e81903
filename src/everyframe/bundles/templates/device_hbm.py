"""The network on the BPU, by D-Robotics' hbm_runtime, which the board's system brings along (RDK S: .hbm, RDK X5: .bin).

https://developer.d-robotics.cc/rdk_doc/rdk_s/Algorithm_Application/python-api
"""

import hbm_runtime
import numpy as np


class Device:
    def __init__(self, path, inputs, outputs):
        """inputs, outputs: {name: shape} in the ONNX file. The compiler may have renamed them; the order stays."""
        self.runtime = hbm_runtime.HB_HBMRuntime(path)
        self.model = self.runtime.model_names[0]
        self.inputs = _paired(inputs, self.runtime.input_names[self.model])
        self.outputs = _paired(outputs, self.runtime.output_names[self.model])
        self.shapes = outputs

    def run(self, feed):
        """Arrays by the names of the ONNX file."""
        given = {self.inputs[name]: array for name, array in feed.items()}
        found = self.runtime.run({self.model: given})[self.model]
        return {name: self._real(own, found[own]).reshape(self.shapes[name]) for name, own in self.outputs.items()}

    def _real(self, name, array):
        """Integers with a scale become the numbers that they stand for."""
        quant = self.runtime.output_quants[self.model].get(name)
        scale = np.asarray(getattr(quant, "scale", ()), np.float32)
        if array.dtype.kind == "f" or scale.size == 0:
            return array
        zero = np.asarray(quant.zero_point, np.float32) if np.size(quant.zero_point) else np.float32(0)
        along = [1] * array.ndim
        if scale.size > 1:
            along[quant.axis] = -1
            scale, zero = scale.reshape(along), zero.reshape(along) if zero.size > 1 else zero
        return (array.astype(np.float32) - zero) * scale


def _paired(names, own):
    return {name: name for name in names} if set(names) == set(own) else dict(zip(names, own))
