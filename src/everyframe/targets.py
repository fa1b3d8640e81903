"""Names of devices and runtimes: which verbs take each as a `--target`, and what people call it. The one table of both.

What a target means to a verb is a row elsewhere: `devices/profiles/` (check), `quantization/conventions.py` (quantize),
`bundles/targets.py` (bundle).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from everyframe.errors import meant

#: target -> verbs. Help texts are made of it
TAKEN: Mapping[str, str] = MappingProxyType({
    "rdk-s100": "check quantize bundle",
    "rdk-x5": "check bundle",
    "vitis-dpu": "check quantize bundle",
    "tensorrt": "check quantize",
    "web": "bundle",
    "openvino": "check bundle",
    "onnxruntime": "check bundle",
    "ncnn": "check bundle",
    "litert": "check bundle",
    "native": "check",
    "cpu": "quantize",
})  # fmt: skip
#: targets, best first: what else they are called. `cpu` is whatever runs QDQ models on a processor
_WORDS: Mapping[str, str] = MappingProxyType({
    "tensorrt": "jetson nano orin xavier nvidia cuda trt",
    "litert ncnn onnxruntime cpu": "android pixel phone mobile arm",
    "litert cpu": "tflite tensorflow",
    "ncnn onnxruntime cpu": "iphone ipad ios apple",
    "native ncnn onnxruntime cpu": "raspberry raspberrypi raspi rpi pi",
    "openvino cpu": "intel nuc openvino",
    "onnxruntime cpu": "onnx ort onnxruntime",
    "native onnxruntime cpu": "cpu linux x86 arm64 aarch64 c native",
    "rdk-s100 rdk-x5": "rdk drobotics horizon bpu",
    "web": "browser page html javascript js wasm webassembly chrome firefox safari",
    "rdk-s100": "s100 s100p",
    "rdk-x5": "x5 rdk-x5 rdkx5",
    "vitis-dpu": "vitis dpu fpga zynq kria kv260 zcu104 xilinx",
    "": "coreml ane coral edgetpu hailo rockchip rknn rk3588 rk3566 qualcomm snapdragon qnn snpe hexagon stm32 esp32 myriad",
})  # fmt: skip
ALIASES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {word: tuple(targets.split()) for targets, words in _WORDS.items() for word in words.split()}
)


def taken_by(verb: str) -> tuple[str, ...]:
    """Targets of a verb."""
    return tuple(target for target, verbs in TAKEN.items() if verb in verbs.split())


def listed(verb: str) -> str:
    """`a, b or c`, for help texts."""
    *others, last = taken_by(verb)
    return f"{', '.join(others)} or {last}"


def targets_for(name: str) -> tuple[str, ...] | None:
    """Targets for a device as people call it (`jetson`, `Raspberry Pi 4`), best first; () where there is none yet, None for
    a name that says nothing to us.
    """
    words = re.findall(r"[a-z0-9]+", name.lower())
    forms = (name.lower(), "".join(words), *words, *(word.rstrip("0123456789") for word in words))
    return next((ALIASES[form] for form in forms if form in ALIASES), None)


def advice(name: str, among: Sequence[str], otherwise: str | None = None) -> str | None:
    """The next step for a target that cannot be taken: a name that is all but written, a device's target, a verb that takes it, a
    name that is close.

    among: targets that can be taken. otherwise: if none of it helps.
    """
    found = targets_for(name)
    if name not in TAKEN and (found is None or (typo := meant(name, among, cutoff=0.85))):
        return meant(name, among, otherwise) if found is None else typo
    if fitting := [target for target in found or () if target in among]:
        return f"for {name}: {' or '.join(f'--target {target}' for target in fitting)}"
    if name in TAKEN:
        return f"of the verbs with a --target, {name} is for `everyframe {'` and `'.join(TAKEN[name].split())}`"
    return f"there is none for {name} yet: `everyframe check --target onnxruntime` asks ONNX Runtime, which many devices have"
