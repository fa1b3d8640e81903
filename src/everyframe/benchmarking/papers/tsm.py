"""Temporal shift on an FPGA: online TSM with MobileNetV2 on a Zynq's DPU, and the network's own authors."""

from __future__ import annotations

from everyframe.benchmarking.papers import NOTHING, Found, Paper, Variant, rate, shown
from everyframe.benchmarking.report import Table

NETWORK = "tsm_mobilenet_v2_online"
#: platform, network, frames a second as published, of what
PLATFORMS = (
    ("ZCU104 (DPU B4096, 300 MHz)", 60.1, "1/(preprocess + inference), the article"),
    ("Ultra96V2 (DPU B2304, 300 MHz)", 38.4, "1/(preprocess + inference), the article"),
    ("Ultra96V2", 37.0, "the project's README, at 10.6 W"),
    ("Jetson Nano, GPU", 70.0, "more than; TSM's README, without input and output, at 8 W"),
)
#: of the online network's ten shifts at 224x224: what each keeps of the frame before
BUFFERS = ("3x56x56", "4x28x28", "4x28x28", "8x14x14", "8x14x14", "8x14x14", "12x14x14", "12x14x14", "20x7x7", "20x7x7")
#: kernel of the split network: what it gives
KERNELS = (
    "56x56x24",
    "28x28x32",
    "28x28x32",
    "14x14x64",
    "14x14x64",
    "14x14x64",
    "14x14x96",
    "14x14x96",
    "7x7x160",
    "7x7x160",
    "27 logits",
)
#: TSM's README: top-1 of Kinetics-400
ACCURACIES = (
    ("TSN ResNet-50, dense", 70.6),
    ("TSM ResNet-50, dense", 74.1),
    ("TSM MobileNetV2, dense", 69.5),
    ("TSM ResNet-50, uniform, 8 frames", 71.2),
    ("TSM ResNet-50, uniform, 16 frames", 72.6),
)


def tables(found: Found) -> list[Table]:
    return [platforms(found), stages(found), states(found), kernels(found), accuracies()]


def platforms(found: Found) -> Table:
    made = Table("Platforms: frames a second of online TSM-MobileNetV2", ("platform", "frames/s", "of what"))
    made.rows += [[name, f"{fps:g}", what] for name, fps, what in PLATFORMS]
    for engine in ("native", "ort", "openvino"):
        row = found.on(Variant(NETWORK, "step"), engine)
        if row is not None:
            made.rows.append([f"one core here, {engine}", shown(rate(row)), "inference alone"])
    for one in found.benchmark.stages:
        made.rows.append(
            [f"one core here, {one['engine']}", shown(one["serial_fps"]), "1/(preprocess + inference), as the article counts"]
        )
    made.notes += [
        "Here, inference alone is by processor time, and what is by stages is by the clock, which other work slows down.",
        "The FPGAs compute in 8 bits, here float32. The article's comparison with phones and Jetsons is a picture: its "
        "figures are out of reach.",
        "ResNet-50, offline, is switched off in the article's demo and has no figures there.",
    ]
    return made


def stages(found: Found) -> Table:
    made = Table(
        "Stages of a frame here, ms",
        ("engine", "decode", "preprocess", "inference", "postprocess", "1/(preprocess + inference)", "frames/s that go through"),
    )
    for one in found.benchmark.stages:
        made.rows.append([
            one["engine"], *(shown(one[name]) for name in ("decode", "preprocess", "step", "postprocess", "serial_fps", "fps")),
        ])  # fmt: skip
    made.notes.append("The article shows its stages as pictures: they cannot be put beside these.")
    return made


def states(found: Found) -> Table:
    floats = [_floats(shape) for shape in BUFFERS]
    made = Table("States: what is kept of the frame before", ("", "values", "of what"))
    made.rows.append(["published", f"{sum(floats):,}", ", ".join(BUFFERS)])
    card = found.cards.get(NETWORK)
    made.rows.append(
        [
            "here",
            f"{card['state_floats']:,}" if card else NOTHING,
            "the same ten buffers, and the window of the mean over predictions",
        ]
    )
    return made


def _floats(shape: str) -> int:
    product = 1
    for size in shape.split("x"):
        product *= int(size)
    return product


def kernels(found: Found) -> Table:
    made = Table("Split at the shifts: kernels of the FPGA", ("kernel", "published: what it gives"))
    made.rows += [[i, shape] for i, shape in enumerate(KERNELS)]
    made.notes += [
        f"{len(KERNELS)} kernels for {len(BUFFERS)} shifts; ResNet-50: 17 for 16. `everyframe split` cuts a step network "
        f"there ([Splitting](../split.md)).",
        "Shifts stay on the processor in both. The published post-processing moves its window of 12 predictions twice a "
        "frame, and so averages 6 of them.",
    ]
    return made


def accuracies() -> Table:
    made = Table("Top-1 of Kinetics-400 by TSM's README, in percent", ("network", "top-1"))
    made.rows += [[name, f"{value:.1f}"] for name, value in ACCURACIES]
    made.notes.append("Not measured here: Kinetics-400 does not come with everyframe.")
    return made


PAPER = Paper(
    "TSM on FPGA", "TSM, Temporal Shift Module (Lin, Gan and Han, ICCV 2019), and its online network on Zynq FPGAs",
    (Variant(NETWORK), Variant(NETWORK, "step")), tables,
)  # fmt: skip
