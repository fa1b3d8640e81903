"""Samples for vai_q_tensorflow, as the published FPGA port of TSM has them: --input_fn calib_input.input_fn

    CALIB_STAGE=stage_01 vai_q_tensorflow quantize --input_fn calib_input.input_fn --calib_iter 50 …

Steps 0, 1, 2, … of the samples beside this file: evenly spread over all videos, where the port took the first ones.
"""

import os
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent / "calibration" / os.environ["CALIB_STAGE"]
LINES = (FOLDER / "files.txt").read_text().splitlines()
NAMES = (FOLDER / "quantize_info.txt").read_text().splitlines()[0].split()[1].split(",")


def input_fn(step):
    """{input: array} of one sample; channels last, as TensorFlow's graphs have them."""
    arrays = [np.load(FOLDER / file) for file in LINES[step % len(LINES)].split()]
    return {name: np.moveaxis(array, 1, -1) if array.ndim > 2 else array for name, array in zip(NAMES, arrays)}
