"""The network in ncnn. pnnx calls inputs in0, in1, … and outputs out0, out1, … in the order of the ONNX file."""

import ncnn
import numpy as np


class Device:
    def __init__(self, path, inputs, outputs):
        self.net, self.inputs, self.outputs = ncnn.Net(), inputs, outputs
        self.net.load_param(path)
        self.net.load_model(path.replace(".param", ".bin"))

    def run(self, feed):
        with self.net.create_extractor() as extractor:
            for place, name in enumerate(self.inputs):
                extractor.input(f"in{place}", ncnn.Mat(feed[name][0] if feed[name].ndim > 1 else feed[name]))
            found = [np.array(extractor.extract(f"out{place}")[1]) for place in range(len(self.outputs))]
        return {name: array.reshape(shape) for (name, shape), array in zip(self.outputs.items(), found)}
