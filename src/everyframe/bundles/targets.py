"""What each target gets: one row a target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

_RDK = "The compiler and the board were not at hand: the files keep to what the vendor's samples show."


@dataclass(frozen=True, slots=True)
class Target:
    """compiled: the file that the device runs, {name} being the model's. device: the runtime in templates/device_*.py.
    command: what makes `compiled` (words that a shell takes). calibration: format of the samples, if there are any.
    keeps: what of the converter's files is needed. needs: packages of the program. settings: fill templates/hb.yaml.
    stages: it is split, see `stages`. page: it is compiled for browsers, see `web`; no videos are needed.
    """

    title: str
    readme: str
    compiled: str = ""
    device: str = ""
    command: str = ""
    calibration: Literal["npy", "raw"] | None = None
    keeps: str = ""
    needs: str = ""
    caution: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    stages: bool = False
    page: bool = False


TARGETS: Mapping[str, Target] = MappingProxyType({
    "rdk-s100": Target(
        "D-Robotics RDK S100", "rdk", "{name}.hbm", "hbm", "hb_compile -c compile.yaml", "npy", caution=_RDK,
        settings={"march": "nash-e", "march_note": "  # RDK S100; S100P: nash-m", "optimize": "O2"},
    ),
    "rdk-x5": Target(
        "D-Robotics RDK X5", "rdk", "{name}.bin", "hbm", "hb_mapper makertbin --model-type onnx --config compile.yaml", "raw",
        caution=_RDK + " `hb_mapper checker --model-type onnx --march bayes-e --model model.onnx` asks the compiler first.",
        settings={"march": "bayes-e", "march_note": "", "optimize": "O3"},
    ),
    "vitis-dpu": Target("AMD Vitis AI DPU", "vitis", stages=True),
    "web": Target("A web page", "web", page=True),
    "openvino": Target("OpenVINO", "runtime", "{name}.xml", "openvino", needs="openvino"),
    "onnxruntime": Target("ONNX Runtime", "runtime", "model.onnx", "onnxruntime", needs="onnxruntime"),
    "ncnn": Target(
        "ncnn", "runtime", "{name}.ncnn.param", "ncnn", "pnnx {name}.onnx inputshape='{shapes}'", keeps="{name}.ncnn.*",
        needs="ncnn pnnx",
    ),
    "litert": Target(
        "LiteRT", "runtime", "{name}_float32.tflite", "litert", "onnx2tf -i {name}.onnx -o . -kat {names}",
        keeps="{name}_*.tflite",
        needs="ai-edge-litert onnx2tf",
        caution="onnx2tf brings TensorFlow and older versions of numpy, onnx and onnxruntime: give it an environment of its own.",
    ),
})  # fmt: skip
