"""Stands in for D-Robotics' hbm_runtime: the same calls, answered by ONNX Runtime on the model.onnx beside the compiled file.

After the vendor's page, https://developer.d-robotics.cc/rdk_doc/rdk_s/Algorithm_Application/python-api: `run` takes
{model: {input: array}} and gives {model: {output: array}}; names, shapes and quantization are dictionaries by model. RENAMED and
SCALE play what the compiler may do: names of its own, outputs as integers.
"""

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime

RENAMED = bool(os.environ.get("STANDIN_RENAMED"))
SCALE = float(os.environ.get("STANDIN_SCALE", 0))


class QuantParams:
    def __init__(self, scale):
        self.scale, self.zero_point, self.axis = np.float32([scale]), np.int32([0]), 0


class HB_HBMRuntime:
    def __init__(self, model_file):
        folder = Path(model_file).parent
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
        self.name = Path(model_file).stem
        self.own = {v.name: f"t{i}" if RENAMED else v.name for i, v in enumerate(self.session.get_inputs())}
        self.given = {v.name: f"r{i}" if RENAMED else v.name for i, v in enumerate(self.session.get_outputs())}
        self.logits = json.loads((folder / "model.json").read_text())["logits"]
        self.model_names = [self.name]
        self.input_names = {self.name: list(self.own.values())}
        self.output_names = {self.name: list(self.given.values())}
        self.output_quants = {self.name: {self.given[self.logits]: QuantParams(SCALE)} if SCALE else {}}

    def run(self, inputs):
        (feed,) = (inputs[name] for name in self.model_names)
        if not all(array.flags.c_contiguous for array in feed.values()):
            raise TypeError("arrays must be contiguous")
        found = self.session.run(list(self.given), {name: feed[own] for name, own in self.own.items()})
        answers = dict(zip(self.given.values(), found, strict=True))
        if SCALE:
            name = self.given[self.logits]
            answers[name] = np.round(answers[name] / SCALE).astype(np.int32)
        return {self.name: answers}
