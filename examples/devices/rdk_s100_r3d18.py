"""R3D-18 from torch to the RDK S100: what the board's tools are given, and what the integers will say.

    python examples/devices/rdk_s100_r3d18.py video.mp4 --weights kinetics400

An export as others make it (torch's exporter, a 3-D global pool) is checked, mended and quantized on the video; then the float
and the integer network say what they see, a table shows what threads bring, and the folder for the board is written.
Without --weights the network is random: it runs as fast, but its labels mean nothing.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import everyframe
from everyframe import modelfile
from everyframe.bundles import bundle
from everyframe.devices import check, fix, load_profile
from everyframe.models.checkpoints.load import assemble
from everyframe.models.to_onnx import published_preprocess
from everyframe.quantization.quantize import quantize


def exported(path: Path, weights: str | None, frames: int, size: int) -> None:
    """A clip model as torchvision's network gives it: its pool is an AdaptiveAvgPool3d."""
    import torch

    made = assemble("r3d_18", None, weights, frames, size, 3, None)
    net = made.net

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.net.stem(x)
            for layer in (self.net.layer1, self.net.layer2, self.net.layer3, self.net.layer4):
                x = layer(x)
            return self.net.fc(torch.flatten(torch.nn.functional.adaptive_avg_pool3d(x, 1), 1))

    names = {"input_names": ["clip"], "output_names": ["logits"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter, which leaves the pool as it is, says that it is old
        torch.onnx.export(
            Pooled().eval(), (torch.zeros(1, 3, frames, size, size),), str(path), dynamo=False, opset_version=13, **names
        )
    graph = modelfile.load(path)
    preprocess = published_preprocess(made.entry, (size, size), made.preprocess)
    modelfile.save(
        modelfile.attach(graph, modelfile.Metadata(kind="clip", frames=frames, labels=made.labels, preprocess=preprocess)), path
    )


def top_5(path: Path, video: str) -> list[str]:
    with everyframe.open(path, engine="ort") as program:
        prediction = next(iter(program.predict(video)))
    return [f"{top.score:8.4f}  {top.label}" for top in prediction.top]


def main(video: str, weights: str | None, folder: Path, frames: int, size: int, threads: list[int], runs: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    post, mended, integers = folder / "r3d_18.onnx", folder / "s100.onnx", folder / "s100.int8.onnx"
    s100 = load_profile("rdk-s100")

    exported(post, weights, frames, size)
    for finding in check(modelfile.load(post), s100).findings:
        print(f"check     {finding.op} {finding.node}: {finding.why}")
    fixed = fix(post, mended, s100)
    for proof in fixed.proofs:
        print(f"fix       {fixed.plan.applied[0].rewrite}: same answers on {proof.on}, up to {proof.difference:.1e}")
    found = quantize(mended, video, integers, target="rdk-s100", frames=4 * frames)
    layers = sorted((row.cosine, row.name) for row in found.comparison.layers)
    print(f"quantize  cosine of the answers {found.comparison.answers.cosine:.4f}; of single layers from {layers[0][0]:.4f}")
    for path in (mended, integers):
        print(f"top 5 of {path.name}", *top_5(path, video), sep="\n")

    for table in everyframe.benchmark(mended, engines=["ort"], threads=threads, frames=runs, table="s100").tables():
        table.show()
    made = bundle(mended, folder / "board", "rdk-s100", video)
    print(f"bundle    {made.path}: {made.samples} samples; next: {made.command}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("--weights")
    parser.add_argument("--folder", type=Path, default=Path("r3d18_s100"))
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--runs", type=int, default=100)
    try:
        main(**vars(parser.parse_args()))
    except everyframe.EveryframeError as error:
        sys.exit(f"error: {error}")
