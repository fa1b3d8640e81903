"""Quantizes each stage by AMD's vai_q_onnx, in the Vitis AI container, with the samples beside it.

    python quantize_stages.py

The arguments of quantize_static are those of AMD's own pages on vai_q_onnx. Inferred, not tried: that the stages of one model
may be quantized one by one. Both inputs of a stage must come to share one scale; the published FPGA port of TSM asserts it.
"""

import json
import os
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # it looks while it is loaded; else it reports models and hardware

import numpy as np
import onnxruntime
import vai_q_onnx
from onnxruntime.quantization import CalibrationDataReader

HERE = Path(__file__).resolve().parent


class Samples(CalibrationDataReader):
    """The lines of files.txt: a file for each input of the stage."""

    def __init__(self, stage):
        names = [value.name for value in onnxruntime.InferenceSession(str(HERE / f"{stage}.onnx")).get_inputs()]
        folder = HERE / "calibration" / stage
        lines = (folder / "files.txt").read_text().splitlines()
        self.feeds = iter([{n: np.load(folder / f) for n, f in zip(names, line.split())} for line in lines])

    def get_next(self):
        return next(self.feeds, None)


def main():
    (HERE / "quantized").mkdir(exist_ok=True)
    for stage in json.loads((HERE / "model.json").read_text())["stages"]:
        vai_q_onnx.quantize_static(
            str(HERE / f"{stage}.onnx"),
            str(HERE / "quantized" / f"{stage}.onnx"),
            Samples(stage),
            quant_format=vai_q_onnx.QuantFormat.QDQ,
            calibrate_method=vai_q_onnx.PowerOfTwoMethod.MinMSE,
            activation_type=vai_q_onnx.QuantType.QInt8,
            weight_type=vai_q_onnx.QuantType.QInt8,
            enable_dpu=True,
            extra_options={"ActivationSymmetric": True},
        )
        print(stage)


if __name__ == "__main__":
    main()
