"""Resource Efficient 3D Convolutional Neural Networks (Kopuklu, Kose, Gunduz and Rigoll, ICCVW 2019)."""

from __future__ import annotations

from dataclasses import dataclass

from everyframe.benchmarking.papers import NOTHING, Found, Paper, Variant, rate, shown
from everyframe.benchmarking.plane import Point, plane
from everyframe.benchmarking.report import Table


@dataclass(frozen=True)
class Row:
    """Of table 8. params: M. titan, tx2: clips a second. top-1 of Kinetics-600, Jester and UCF-101."""

    name: str
    network: str
    mflops: int
    params: float
    titan: int | None
    tx2: int | None
    kinetics: float
    jester: float | None
    ucf: float | None


TABLE8 = (
    Row("3D-ShuffleNetV1 0.5x", "shufflenet3d_0.5x", 78, 0.55, 398, 69, 35.51, 89.23, 64.39),
    Row("3D-ShuffleNetV2 0.25x", "shufflenet3d_v2_0.25x", 116, 0.83, 442, 82, 25.73, 86.91, 56.52),
    Row("3D-MobileNetV1 0.5x", "mobilenet3d_0.5x", 98, 1.17, 290, 57, 31.74, 87.61, 62.17),
    Row("3D-MobileNetV2 0.2x", "mobilenet3d_v2_0.2x", 63, 0.96, 357, 42, 24.14, 86.43, 55.56),
    Row("3D-ShuffleNetV1 1.0x", "shufflenet3d_1.0x", 199, 1.52, 269, 49, 45.31, 92.27, 76.00),
    Row("3D-ShuffleNetV2 1.0x", "shufflenet3d_v2_1.0x", 195, 1.91, 243, 44, 46.10, 91.96, 77.90),
    Row("3D-MobileNetV1 1.0x", "mobilenet3d_1.0x", 241, 3.91, 164, 31, 40.07, 90.81, 70.95),
    Row("3D-MobileNetV2 0.45x", "mobilenet3d_v2_0.45x", 177, 1.40, 203, 19, 36.47, 90.21, 68.31),
    Row("3D-ShuffleNetV1 1.5x", "shufflenet3d_1.5x", 347, 2.92, 204, 31, 52.75, 93.12, 81.73),
    Row("3D-ShuffleNetV2 1.5x", "shufflenet3d_v2_1.5x", 291, 3.16, 186, 34, 52.05, 93.16, 82.32),
    Row("3D-MobileNetV1 1.5x", "mobilenet3d_1.5x", 429, 8.22, 116, 19, 48.24, 91.28, 76.00),
    Row("3D-MobileNetV2 0.7x", "mobilenet3d_v2_0.7x", 325, 2.05, 130, 13, 45.59, 93.34, 77.32),
    Row("3D-ShuffleNetV1 2.0x", "shufflenet3d_2.0x", 538, 4.76, 161, 24, 56.84, 93.54, 84.96),
    Row("3D-ShuffleNetV2 2.0x", "shufflenet3d_v2_2.0x", 438, 6.64, 146, 26, 55.17, 93.71, 83.32),
    Row("3D-MobileNetV1 2.0x", "mobilenet3d_2.0x", 662, 14.10, 88, 15, 48.53, 92.56, 76.18),
    Row("3D-MobileNetV2 1.0x", "mobilenet3d_v2_1.0x", 561, 3.12, 93, 9, 50.65, 94.59, 81.60),
    Row("3D-SqueezeNet", "squeezenet3d", 926, 2.15, 682, 46, 40.52, 90.77, 74.94),
    Row("ResNet-18", "resnet3d_18", 8323, 33.36, 334, 17, 57.65, 93.34, 80.09),
    Row("ResNet-50", "resnet3d_50", 9835, 44.54, 183, 11, 63.00, 93.70, 88.92),
    Row("ResNet-101", "resnet3d_101", 13664, 83.58, 142, 8, 64.18, 94.10, 87.02),
    Row("ResNeXt-101", "resnext3d_101", 9652, 48.75, 122, 7, 68.30, 94.89, 89.08),
    Row("I3D", "i3d", 111331, 12.70, None, None, 71.90, None, None),
)
#: table 7: network of the zoo, layers, non-linearities, skip connections
TABLE7 = (
    ("3D-SqueezeNet", "squeezenet3d", 18, 18, 4), ("3D-ShuffleNetV1", "shufflenet3d_1.0x", 50, 33, 16),
    ("3D-ShuffleNetV2", "shufflenet3d_v2_1.0x", 51, 34, 16), ("3D-MobileNetV1", "mobilenet3d_1.0x", 28, 27, 0),
    ("3D-MobileNetV2", "mobilenet3d_v2_1.0x", 53, 35, 10),
)  # fmt: skip
#: tables 1 to 5: network, frames x height x width of what leaves its stages, in their order
STAGES = (
    ("1: 3D-SqueezeNet", "squeezenet3d", "64x16x56x56, 64x8x28x28, 128x8x28x28, 256x4x14x14, 384x2x7x7, 512x1x4x4"),
    ("2: 3D-MobileNetV1", "mobilenet3d_1.0x", "32x16x56x56, 64x8x28x28, 128x4x14x14, 256x2x7x7, 512x1x4x4, 1024x1x4x4"),
    (
        "3: 3D-MobileNetV2",
        "mobilenet3d_v2_1.0x",
        "32x16x56x56, 16x16x56x56, 24x8x28x28, 32x4x14x14, 64x2x7x7, 96x2x7x7, 160x1x4x4, 320x1x4x4, 1280x1x4x4",
    ),
    ("4: 3D-ShuffleNetV1", "shufflenet3d_1.0x", "24x16x56x56, 24x8x28x28, 240x4x14x14, 480x2x7x7, 960x1x4x4"),
    ("5: 3D-ShuffleNetV2", "shufflenet3d_v2_1.0x", "24x16x56x56, 24x8x28x28, 116x4x14x14, 232x2x7x7, 464x1x4x4, 1024x1x4x4"),
)
#: table 6: channels of ShuffleNetV2's stages by width
TABLE6 = {
    "0.25x": (32, 64, 128, 1024),
    "0.5x": (48, 96, 192, 1024),
    "1.0x": (116, 232, 464, 1024),
    "1.5x": (176, 352, 704, 1024),
    "2.0x": (244, 488, 976, 2048),
}
BATCH = 8
WHY = {
    "ResNet-50": "measured there with shortcut A, which has no weights; here B, as their README trains it",
    "ResNet-101": "as ResNet-50",
    "ResNet-18": "0.02 M apart, and it is not known why",
}


def tables(found: Found) -> list[Table]:
    return [stages(found), table6(found), table7(found), table8(found), speeds(found), accuracies()]


def stages(found: Found) -> Table:
    made = Table("Tables 1 to 5, what leaves the stages (channels x frames x height x width)", ("table", "published", "here"))
    for name, network, published in STAGES:
        sizes = published.split(", ")
        seen = {*found.benchmark.costs.get(Variant(network).file, {}).get("outputs", ())}
        if seen:
            missing = [size for size in sizes if size not in seen]
            here = "the same" if not missing else "the same but for " + ", ".join(missing)
        else:
            here = NOTHING
        made.rows.append([name, published, here])
    made.notes.append(
        "Table 3 ends with 1024 channels; the authors' code, the parameters of table 8 and the network here have 1280."
    )
    return made


def table6(found: Found) -> Table:
    made = Table(
        "Table 6, channels of 3D-ShuffleNetV2 by width", ("width", "published", "params M, table 8", "here", "why they differ")
    )
    for width, channels in TABLE6.items():
        card = found.cards.get(f"shufflenet3d_v2_{width}")
        row = next((row for row in TABLE8 if row.network == f"shufflenet3d_v2_{width}"), None)
        why = (
            "244 is printed; the authors' code has 224, which gives the parameters of table 8 (244 would give 6.67 M)"
            if width == "2.0x"
            else ""
        )
        params = shown(card["params"] / 1e6, 2) if card else NOTHING
        made.rows.append([width, ", ".join(map(str, channels)), f"{row.params:.2f}" if row else NOTHING, params, why])
    return made


def table7(found: Found) -> Table:
    made = Table(
        "Table 7, depth",
        ("network", "layers, paper", "here", "non-linearities, paper", "here", "skip connections, paper", "here"),
    )
    for name, network, *published in TABLE7:
        depth = found.benchmark.costs.get(Variant(network).file, {}).get("depth")
        ours = depth or [NOTHING] * 3
        made.rows.append([name, *(value for pair in zip(published, ours, strict=True) for value in pair)])
    made.notes.append(
        "Here: layers and non-linearities on the longest way from clip to logits; skips are joins whose branches have "
        "unlike numbers of layers."
    )
    return made


def table8(found: Found) -> Table:
    made = Table(
        "Table 8, complexity",
        ("network", "MFLOPs, paper", "here, by its rule", "here, MACs M", "params M, paper", "here", "why they differ"),
    )
    for row in TABLE8:
        card = found.cards.get(row.network)
        ours = (
            [NOTHING] * 3
            if card is None
            else [f"{card['paper_flops'] / 1e6:.0f}", f"{card['macs'] / 1e6:.0f}", shown(card["params"] / 1e6, 2)]
        )
        why = WHY.get(row.name, "64 frames of 224x224, as I3D's authors have it" if row.name == "I3D" else "")
        made.rows.append([row.name, row.mflops, *ours[:2], f"{row.params:.2f}", ours[2], why])
    made.notes.append("Its rule counts batch norms (2 an element), activations and pools as well, and linear layers twice.")
    return made


def speeds(found: Found) -> Table:
    made = Table(
        "Table 8, clips a second",
        ("network", "Titan XP", "Jetson TX2", "one core here, batch 1", "on", f"batch {BATCH}", "on", "torch, batch 1"),
    )
    for row in TABLE8:
        alone, many = found.best(Variant(row.network)), found.best(Variant(row.network, batch=BATCH))
        made.rows.append([
            row.name, row.titan or NOTHING, row.tx2 or NOTHING, shown(rate(alone)), alone.engine if alone else NOTHING,
            shown(rate(many, BATCH)), many.engine if many else NOTHING, shown(rate(found.on(Variant(row.network), "torch"))),
        ])  # fmt: skip
    made.notes += [
        "Titan XP and TX2: as published, batch 8, by a script that does not wait for the GPU before it stops its clock, and "
        "counts the first calls.",
        "Here: one core and float32. A GPU is filled by a batch, and a core by one clip; they differ most for networks of "
        "many multiply-adds.",
    ]
    return made


def accuracies() -> Table:
    made = Table("Table 8, top-1 as published, in percent", ("network", "Kinetics-600", "Jester", "UCF-101"))
    for row in TABLE8:
        made.rows.append(
            [row.name, *(NOTHING if value is None else f"{value:.2f}" for value in (row.kinetics, row.jester, row.ucf))]
        )
    made.notes.append(
        "Not measured here: none of the data sets comes with everyframe; UCF-101's protocol differs between the paper and "
        "its code."
    )
    return made


def pictures(found: Found) -> dict[str, tuple[str, bytes]]:
    """Accuracy, complexity and speed: two planes."""
    names = [(row, row.name.replace("3D-", "")) for row in TABLE8]
    complexity = [Point(row.mflops, row.kinetics, name, 0) for row, name in names]
    speed = [
        Point(value, row.kinetics, name, group) for row, name in names for group, value in ((0, row.titan), (1, row.tx2)) if value
    ]
    ours = [(rate(found.best(Variant(row.network))), row, name) for row, name in names]
    speed += [Point(value, row.kinetics, name, 2) for value, row, name in ours if value is not None]
    groups = ["Titan XP, published", "Jetson TX2, published"]
    groups += ["one core here, batch 1"] if any(point.group == 2 for point in speed) else []
    return {
        "efficient_complexity": (
            "MFLOPs against top-1 of Kinetics-600, as published",
            plane(complexity, "MFLOPs", "top-1, %", ("published",)),
        ),
        "efficient_speed": (
            "Clips a second against top-1 of Kinetics-600",
            plane(speed, "clips a second", "top-1, %", groups),
        ),
    }


_ORDER = sorted(
    (row.network for row in TABLE8 if row.network != "i3d"), key=lambda name: not name.endswith(("_1.0x", "squeezenet3d", "_18"))
)
PAPER = Paper(
    "Resource Efficient 3D CNNs",
    "Kopuklu, Kose, Gunduz and Rigoll: Resource Efficient 3D Convolutional Neural Networks, ICCV workshops 2019",
    tuple(Variant(name, batch=batch) for name in _ORDER for batch in (1, BATCH)), tables, pictures,
)  # fmt: skip
