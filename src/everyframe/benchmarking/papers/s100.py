"""The 3-D ResNet of the RDK S100's zoo of models: R3D-18 on a board's accelerator."""

from __future__ import annotations

from everyframe.benchmarking.papers import NOTHING, Found, Paper, Variant, ms, shown
from everyframe.benchmarking.report import Table
from everyframe.benchmarking.tables import threads_table

NETWORK = "r3d_18"
FRAMES = 100
#: threads, frames, total ms, average ms, FPS
PUBLISHED = (
    (1, 100, 18267.76, 182.68, 5.47), (2, 100, 18291.76, 182.93, 10.82), (4, 100, 18501.06, 185.03, 21.07),
    (8, 100, 24743.56, 249.19, 30.74),
)  # fmt: skip


def tables(found: Found) -> list[Table]:
    return [published(), *threads_table(found.benchmark, FRAMES), operators(found), machine(found)]


def published() -> Table:
    made = Table(
        "Published: R3D-18, a clip of 16 x 112 x 112, on the board's accelerator",
        ("threads", "frames", "total ms", "average ms", "FPS", "total ms by FPS"),
    )
    for threads, frames, total, average, fps in PUBLISHED:
        made.rows.append([threads, frames, f"{total:.2f}", f"{average:.2f}", f"{fps:.2f}", f"{frames / fps * 1e3:.2f}"])
    made.notes += [
        "The total is the sum of all latencies. 8 threads: 24743.56 / 100 is 247.44, the table says 249.19.",
        "A frame is a clip here: 5.47 clips/s are 87 frames of video a second where clips do not overlap, and 5.47 "
        "predictions where each frame wants one.",
    ]
    return made


def operators(found: Found) -> Table:
    made = Table("The ONNX file", ("", "published", "here"))
    layers = found.layers(Variant(NETWORK))
    kinds = [one["op"] for one in layers]
    made.rows.append(["3-D convolutions", 20, kinds.count("Conv") if layers else NOTHING])
    made.rows.append(["linear layers", 1, sum(kind in ("Gemm", "MatMul") for kind in kinds) if layers else NOTHING])
    made.rows.append(["pool of the head", "GlobalAveragePool, replaced by ReduceMean by hand", "ReduceMean"])
    card = found.cards.get(NETWORK)
    made.rows.append(["parameters", NOTHING, f"{card['params']:,}" if card else NOTHING])
    made.rows.append(["multiply-adds, G", NOTHING, shown(card["macs"] / 1e9, 2) if card else NOTHING])
    return made


def machine(found: Found) -> Table:
    row = found.best(Variant(NETWORK))
    made = Table("What else is told", ("", "published", "here, one thread", "why they differ"))
    here = [NOTHING] * 3
    if row is not None:
        least = row.weights + 2 * row.state
        here = [
            f"{shown(row.occupancy)} cores",
            f"{(row.memory_peak - row.memory_before) / 1e6:.0f} MB",
            f"{least / ms(row) / 1e6:.2f} GB/s, estimated",
        ]
    made.rows += [
        ["occupancy", "5.2 % of the accelerator", here[0], "another unit: cores that are busy"],
        ["memory", "91.9 MB (ION)", here[1], "quantized there, float32 here, with the engine's buffers"],
        ["read", "533, without a unit", here[2], "here the weights once a clip: the least that is read"],
        ["written", "304, without a unit", NOTHING, "no counters for users on most systems"],
        ["accuracy", "cosine about 0.99 after quantization", NOTHING, "see [Quantizing](../quantize.md): on real clips"],
    ]
    return made


PAPER = Paper("RDK S100", "The 3DResNet sample of the RDK S100's model zoo", (Variant(NETWORK),), tables)
