"""Networks of the zoo, quantized by onnxruntime, compiled: clip and step, against onnxruntime's own integer operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from everyframe import modelfile
from everyframe.conversion import convert
from everyframe.modelfile.session import session
from everyframe.native.build import link
from everyframe.native.check import check
from everyframe.native.generate import generate
from everyframe.native.library import Library
from everyframe.native.target import target
from native.operators import QUICK
from native.test_compiled_zoo import Case, ZooClip, clip_model

pytest.importorskip("torch")
quantization = pytest.importorskip("onnxruntime.quantization")

STEPS = 12


class Stream:
    """Calibration data: a stream of noise through the float network."""

    def __init__(self, model: onnx.ModelProto) -> None:
        metadata = modelfile.metadata_of(model)
        assert metadata is not None
        rng, runtime = np.random.default_rng(0), session(model)
        held = {spec.input: np.full(spec.shape, spec.fill, spec.dtype) for spec in metadata.states}
        (frames,) = [value for value in runtime.get_inputs() if value.name not in held]
        self.rest = []
        for _ in range(STEPS if held else 1):
            self.rest.append({frames.name: rng.standard_normal(frames.shape, np.float32), **held})
            made = runtime.run(None, self.rest[-1])
            found = dict(zip([output.name for output in runtime.get_outputs()], made, strict=True))
            held = {spec.input: found[spec.output] for spec in metadata.states}
        self.rest = self.rest[-2:]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self.rest.pop() if self.rest else None


def quantized(model: onnx.ModelProto, folder: Path, **options: object) -> onnx.ModelProto:
    before, after = folder / "float.onnx", folder / "int8.onnx"
    onnx.save(model, before)
    quantization.quantize_static(before, after, Stream(model), quant_format=quantization.QuantFormat.QDQ, **options)
    return onnx.load(after)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["clip", "step"])
@pytest.mark.parametrize("case", [Case("tsm_mobilenet_v2", 8, 32), Case("mobilenet3d_v2_0.2x", 16, 32)], ids=lambda c: c.name)
def test_the_zoo_in_bytes(case: Case, form: str, tmp_path: Path, zoo_clip: ZooClip) -> None:
    clip = clip_model(case, zoo_clip)
    model = quantized(clip if form == "clip" else convert(clip).step, tmp_path, per_channel=True)
    metadata = modelfile.metadata_of(model)
    assert metadata is not None
    source, _, fitting = generate(model, metadata.states, target("native"))
    assert sum("int8" in layer.kind for layer in source.layers) == len(source.layers), "every convolution is computed in integers"
    check(model, metadata, Library(link(source, fitting, model, tmp_path / "model.so", QUICK)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_nodes_left_in_float(tmp_path: Path, zoo_clip: ZooClip) -> None:
    """Signed activations, 7-bit weights with one scale, and only convolutions quantized."""
    clip = clip_model(Case("mobilenet3d_0.5x", 16, 32), zoo_clip)
    model = quantized(
        clip, tmp_path, op_types_to_quantize=["Conv"], activation_type=quantization.QuantType.QInt8, reduce_range=True,
        nodes_to_exclude=[node.name for node in clip.graph.node if node.op_type == "Conv"][3:5],
    )  # fmt: skip
    metadata = modelfile.metadata_of(model)
    assert metadata is not None
    source, _, fitting = generate(model, (), target("native"))
    assert {layer.kind.endswith("_int8") for layer in source.layers} == {True, False}
    check(model, metadata, Library(link(source, fitting, model, tmp_path / "model.so", QUICK)))
