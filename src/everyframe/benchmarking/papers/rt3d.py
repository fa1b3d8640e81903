"""RT3D: Achieving Real-Time Execution of 3D Convolutional Neural Networks on Mobile Devices (arXiv:2007.09835, AAAI 2021)."""

from __future__ import annotations

from everyframe.benchmarking.papers import NOTHING, Found, Paper, Variant, ms, over, shown, times
from everyframe.benchmarking.plane import Point, plane
from everyframe.benchmarking.report import Table

#: name, network, profiles: printed rate, what its shares give by multiply-adds in the authors' network, parameters' rate there
PROFILES = (
    ("C3D", "c3d", (("c3d-2.53x", 2.53, 2.529, 1.032), ("c3d-3.57x", 3.57, 3.569, 1.115))),
    ("R(2+1)D", "r2plus1d_18", (("r2plus1d-2.56x", 2.56, 2.568, 1.046), ("r2plus1d-3.20x", 3.20, 3.227, 1.053))),
    ("S3D", "s3d", (("s3d-2.09x", 2.09, 2.096, 1.248),)),
)
#: dense accuracies of the checkpoints that the authors start from: UCF101, HMDB51
DENSE = {"C3D": (81.571, 53.458), "R(2+1)D": (93.981, 71.300), "S3D": (90.573, 67.151)}
#: milliseconds for 16 frames on a phone, C3D and R(2+1)D
GOAL_MS = 150
#: frames of the networks that are measured, where the zoo has others
SIZES = {"s3d": (16, 224)}
WHY = {
    "s3d": "the zoo's S3D halves the frames in its stem, the authors' behind features.3: the shares give 1.84x of 17.98 "
    "GMACs, there 2.10x of 24.53"
}


def tables(found: Found) -> list[Table]:
    return [rates(found), latency(found), frameworks(found), accuracies()]


def rates(found: Found) -> Table:
    made = Table(
        "Pruning rates: printed, by multiply-adds in the authors' network, and here",
        ("network", "printed", "multiply-adds there", "here", "parameters there", "why they differ"),
    )
    for name, network, profiles in PROFILES:
        for profile, printed, there, params in profiles:
            here = found.benchmark.costs.get(Variant(network, profile=profile).file, {}).get("rate")
            made.rows.append([name, times(printed), times(there), times(here), times(params), WHY.get(network, "")])
    made.notes += [
        "Multiply-adds of convolutions and linear layers. Kernel groups of 8 x 4, as in the authors' scripts.",
        "Parameters hardly become fewer: most are in layers that the profiles leave dense.",
    ]
    return made


def latency(found: Found) -> Table:
    """The speed-up should come close to the rate."""
    made = Table(
        "Latency for a clip of 16 frames, one core here",
        (
            "network",
            "weights",
            "rate",
            "everyframe ms",
            "over its own dense",
            "share of the rate",
            "OpenVINO dense ms",
            "over it",
            "within 150 ms",
        ),
    )
    for name, network, profiles in PROFILES:
        dense = found.on(Variant(network), "native")
        openvino = found.on(Variant(network), "openvino")
        for profile, printed in (("", 1.0), *((profile, printed) for profile, printed, _, _ in profiles)):
            variant = Variant(network, profile=profile)
            row = found.on(variant, "native")
            rate = found.benchmark.costs.get(variant.file, {}).get("rate") or printed
            faster = over(dense, row)
            made.rows.append([
                name, profile or "dense", times(rate), shown(ms(row)) if row else NOTHING, times(faster),
                NOTHING if faster is None or not profile else f"{faster / rate:.0%}", shown(ms(openvino)) if openvino else
                NOTHING,
                times(over(openvino, row)), NOTHING if row is None else "yes" if ms(row) <= GOAL_MS else "no",
            ])  # fmt: skip
    made.notes += [
        "The paper: 16 frames of C3D and of R(2+1)D within 150 ms on a phone. Here: one thread, float32.",
        "Its tables of latencies are not in the text that we have; what is known of them without a source is not printed. "
        "Its compiler is not published.",
        "Which weights are zero is random here, in groups of 8 x 4.",
    ]
    return made


def frameworks(found: Found) -> Table:
    """Up to 29.1 times faster than mobile frameworks, says the paper."""
    made = Table(
        "Beside frameworks that run 3-D convolutions: ms a clip, one core here, and how many times faster everyframe's "
        "sparsest is",
        ("network", "ncnn", "", "torch", "", "torch.compile", "", "onnxruntime", "", "OpenVINO", ""),
    )
    for name, network, profiles in PROFILES:
        best = found.best(Variant(network, profile=profiles[-1][0]))
        cells: list[str] = []
        for engine in ("ncnn", "torch", "torch.compile", "ort", "openvino"):
            row = found.on(Variant(network), engine)
            cells += [shown(ms(row)) if row else NOTHING, times(over(row, best), 1)]
        made.rows.append([name, *cells])
    made.notes += [
        "The paper: up to 29.1 times faster end to end than the mobile frameworks that run 3-D networks (PyTorch Mobile "
        "and MNN); "
        "C3D took over 2.5 s for 16 frames with PyTorch Mobile on a phone. Neither framework is measured here; ncnn and "
        "torch are, "
        "dense, with the same weights.",
    ]
    return made


def accuracies() -> Table:
    made = Table("Dense accuracies that the authors start from, top-1 in percent", ("network", "UCF101", "HMDB51"))
    made.rows += [[name, *(f"{value:.1f}" for value in values)] for name, values in DENSE.items()]
    made.notes += [
        "Names of their checkpoints. The paper loses 1 to 1.5 points by pruning; what pruning costs here, on real clips, is "
        "in [Pruning](../prune.md).",
        "Out of reach: accuracies on UCF101 and HMDB51, the study of group sizes, and the phone's figures.",
    ]
    return made


def pictures(found: Found) -> dict[str, tuple[str, bytes]]:
    points = []
    for _, network, profiles in PROFILES:
        for profile, printed, _, _ in profiles:
            variant = Variant(network, profile=profile)
            faster = over(found.on(Variant(network), "native"), found.on(variant, "native"))
            rate = found.benchmark.costs.get(variant.file, {}).get("rate") or printed
            if faster is not None:
                points.append(Point(rate, faster, profile, 0))
    if not points:
        return {}
    what = (
        "Rate of multiply-adds against measured speed-up of everyframe over its own dense code; the line is where both are equal"
    )
    return {
        "rt3d_rates": (
            what,
            plane(points, "fewer multiply-adds, times", "faster, times", ("one core here",), diagonal=True, log_up=True),
        )
    }


PAPER = Paper(
    "RT3D", "RT3D: Achieving Real-Time Execution of 3D Convolutional Neural Networks on Mobile Devices, AAAI 2021",
    tuple(Variant(network, profile=profile) for _, network, profiles in PROFILES for profile in ("", *(row[0] for row in
    profiles))),
    tables, pictures,
)  # fmt: skip
