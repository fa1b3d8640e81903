"""What people call their device, and which profiles speak of it: one table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from everyframe.errors import meant

_WORDS: Mapping[str, str] = MappingProxyType({
    "tensorrt": "jetson nano orin xavier nvidia cuda trt",
    "litert ncnn onnxruntime": "android pixel phone mobile arm",
    "litert": "tflite tensorflow",
    "ncnn onnxruntime": "iphone ipad ios apple",
    "native ncnn onnxruntime": "raspberry raspberrypi raspi rpi pi",
    "openvino": "intel nuc",
    "onnxruntime": "onnx ort",
    "native onnxruntime": "cpu linux x86 arm64 aarch64 c",
    "rdk-s100 rdk-x5": "rdk drobotics horizon bpu",
    "rdk-s100": "s100 s100p",
    "rdk-x5": "x5",
    "vitis-dpu": "vitis dpu fpga zynq kria kv260 zcu104 xilinx",
    "": "coreml ane coral edgetpu hailo rockchip rknn rk3588 rk3566 qualcomm snapdragon qnn snpe hexagon stm32 esp32 myriad",
})  # fmt: skip
ALIASES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {word: tuple(profiles.split()) for profiles, words in _WORDS.items() for word in words.split()}
)


def profiles_for(name: str) -> tuple[str, ...] | None:
    """Profiles for a device as people call it (`jetson`, `Raspberry Pi 4`), best first; () where there is none yet, None for
    a name that says nothing to us.
    """
    words = re.findall(r"[a-z0-9]+", name.lower())
    forms = (*words, "".join(words), *(word.rstrip("0123456789") for word in words))
    return next((ALIASES[form] for form in forms if form in ALIASES), None)


def advice(name: str, among: Sequence[str], otherwise: str | None = None) -> str | None:
    """The next step for a target that does not exist: a name that is all but written, a device's profile, a name that is close.

    among: targets that can be taken. otherwise: if none of it helps.
    """
    found = profiles_for(name)
    if found is None or (typo := meant(name, among, cutoff=0.85)):
        return meant(name, among, otherwise) if found is None else typo
    if fitting := [profile for profile in found if profile in among]:
        return f"for {name}: {' or '.join(f'--target {profile}' for profile in fitting)}"
    return f"there is none for {name} yet: `everyframe check --target onnxruntime` asks ONNX Runtime, which many devices have"
