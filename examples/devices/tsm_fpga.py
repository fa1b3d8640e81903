"""TSM for a DPU on an FPGA: eleven stages without state, in powers of two, and the few copies that the processor does between.

    python examples/devices/tsm_fpga.py video.mp4

The online TSM-MobileNetV2 becomes a step network, is quantized on the video with the DPU's integers and split at its states; what
each stage is given is kept for the vendor's calibration. The stages must say what the whole says, frame by frame.
Without --weights the network is random: it runs as fast, but its labels mean nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import everyframe
from everyframe.benchmarking.stages import stages as timed
from everyframe.bundles import bundle
from everyframe.modelfile.manifest import read
from everyframe.quantization.quantize import quantize
from everyframe.splitting import cut, label
from everyframe.video import resolve


def split(model: Path, folder: Path) -> None:
    flow = cut.open_step(model)
    parts = cut.cut(flow, label.at_states(flow))
    print(f"split     {len(parts.manifest.stages)} stages; parts and whole differ by {cut.check(flow, parts, model):.1e}")
    cut.write(parts, folder)


def main(video: str, weights: str | None, folder: Path, size: int, classes: int | None, frames: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    clip, step, integers = folder / "tsm.onnx", folder / "tsm.step.onnx", folder / "tsm.int8.onnx"
    stages, dpu = folder / "stages", folder / "dpu"

    everyframe.export("tsm_mobilenet_v2_online", clip, weights=weights, size=size, num_classes=classes)
    everyframe.convert(clip, step)
    found = quantize(step, video, integers, target="vitis-dpu", frames=frames)
    print(f"quantize  scales are powers of two; cosine of the answers {found.comparison.answers.cosine:.4f}")
    split(integers, stages)
    bundle(step, dpu, "vitis-dpu", video)
    print(f"bundle    {dpu}: float stages, samples for each, the vendor's scripts")

    with everyframe.open(stages) as pipeline, everyframe.open(integers, engine="ort") as whole:
        pairs = zip(pipeline.predict(video, max_frames=frames), whole.predict(video, max_frames=frames), strict=True)
        same = [one.top[0].label == other.top[0].label for one, other in pairs]
    print(f"compare   pipeline and whole: {sum(same)} of {len(same)} frames with the same best label")
    with everyframe.open(stages, threads=1) as pipeline:
        times = timed(pipeline, resolve(video)[0], frames)
    shapes = {Path(part.file).stem: [port.shape for port in part.outputs] for part in read(stages).parts}
    for name, ms in times.networks.items():
        print(f"{name:>12} {ms:8.3f} ms  {shapes.get(Path(name).stem, '')}")
    print(f"{'preprocess':>12} {times.preprocess:8.3f} ms\n{times.serial_fps:.1f} frames a second, one after another")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("--weights")
    parser.add_argument("--folder", type=Path, default=Path("tsm_dpu"))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--classes", type=int)
    parser.add_argument("--frames", type=int, default=100)
    try:
        main(**vars(parser.parse_args()))
    except everyframe.EveryframeError as error:
        sys.exit(f"error: {error}")
