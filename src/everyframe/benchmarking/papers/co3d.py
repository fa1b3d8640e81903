"""Continual 3D Convolutional Neural Networks (Hedegaard and Iosifidis, ECCV 2022) and its appendix."""

from __future__ import annotations

from dataclasses import dataclass

from everyframe.benchmarking.papers import NOTHING, Found, Paper, Variant, over, rate, shown, times
from everyframe.benchmarking.plane import Point, plane
from everyframe.benchmarking.report import Table


@dataclass(frozen=True)
class Row:
    """Of table 1. memory: MB. flops: G. rates: evaluations a second on a core of a Core i7, Jetson TX2, Xavier, RTX 2080 Ti.
    network: the
    zoo's, shape (frames, height) as table 6 has it. window: frames of the pool, for those that stream.
    """

    name: str
    network: str
    shape: tuple[int, int]
    top1: float
    params: float
    memory: float
    flops: float
    rates: tuple[float, float, float, float]
    window: int = 0


TABLE1 = (
    Row("I3D-R50", "i3d_r50", (8, 224), 63.98, 28.04, 191.59, 28.61, (0.93, 2.54, 9.20, 77.15)),
    Row("R(2+1)D-18_8", "r2plus1d_18", (8, 112), 53.52, 31.51, 168.87, 20.35, (1.75, 3.19, 6.82, 130.88)),
    Row("R(2+1)D-18_16", "r2plus1d_18", (16, 112), 59.29, 31.51, 215.44, 40.71, (0.83, 1.82, 3.77, 75.81)),
    Row("Slow-8x8-R50", "slow_r50", (8, 256), 67.42, 32.45, 266.04, 54.87, (0.38, 1.34, 4.31, 61.92)),
    Row("SlowFast-8x8-R50", "slowfast_r50", (32, 256), 68.45, 66.25, 344.84, 66.25, (0.34, 0.87, 2.72, 30.72)),
    Row("SlowFast-4x16-R50", "slowfast_r50_4x16", (32, 256), 67.06, 34.48, 260.51, 36.46, (0.55, 1.33, 3.43, 41.28)),
    Row("X3D-L", "x3d_l", (16, 312), 69.29, 6.15, 240.66, 19.17, (0.25, 0.19, 4.78, 36.37)),
    Row("X3D-M", "x3d_m", (16, 224), 67.24, 3.79, 126.29, 4.97, (0.83, 1.47, 17.47, 116.07)),
    Row("X3D-S", "x3d_s", (13, 160), 64.71, 3.79, 61.29, 2.06, (2.23, 2.68, 42.02, 276.45)),
    Row("X3D-XS", "x3d_xs", (4, 160), 59.37, 3.79, 28.79, 0.64, (8.26, 8.20, 135.39, 819.87)),
    Row("CoI3D_8", "i3d_r50", (8, 224), 59.58, 28.04, 235.87, 5.68, (3.00, 2.41, 14.88, 125.59), 8),
    Row("CoI3D_64", "i3d_r50", (8, 224), 56.86, 28.04, 236.08, 5.68, (3.15, 2.41, 14.89, 126.32), 64),
    Row("CoSlow_8", "slow_r50", (8, 256), 65.90, 32.45, 175.98, 6.90, (2.80, 1.60, 6.18, 113.77), 8),
    Row("CoSlow_64", "slow_r50", (8, 256), 73.05, 32.45, 176.41, 6.90, (2.92, 1.60, 6.19, 102.00), 64),
    Row("CoX3D-L_16", "x3d_l", (16, 312), 63.03, 6.15, 184.29, 1.25, (2.30, 0.99, 25.17, 206.65), 16),
    Row("CoX3D-L_64", "x3d_l", (16, 312), 71.61, 6.15, 184.37, 1.25, (2.30, 0.99, 27.56, 217.53), 64),
    Row("CoX3D-M_16", "x3d_m", (16, 224), 62.80, 3.79, 68.88, 0.33, (7.57, 7.26, 88.79, 844.73), 16),
    Row("CoX3D-M_64", "x3d_m", (16, 224), 71.03, 3.79, 68.96, 0.33, (7.51, 7.04, 86.42, 796.32), 64),
    Row("CoX3D-S_13", "x3d_s", (13, 160), 60.18, 3.79, 41.91, 0.17, (13.16, 11.06, 219.64, 939.72), 13),
    Row("CoX3D-S_64", "x3d_s", (13, 160), 67.33, 3.79, 41.99, 0.17, (13.19, 11.13, 213.65, 942.97), 64),
)
PLATFORMS = ("CPU (a core of a Core i7, 2.6 GHz)", "Jetson TX2", "Jetson Xavier", "RTX 2080 Ti")
#: table 4: stage, layer, printed, what its formulas give, the beginning of the zoo's names for the stage
TABLE4 = (
    ("conv1", "conv in time", 1_204_224, 1_204_224), ("res2", "residual 1", 301_056, 301_056),
    ("res2", "residual 2-3", 150_528, 150_528), ("res2", "conv 1-3", 508_032, 1_016_064), ("res3", "residual 1", 75_264, 75_264),
    ("res3", "residual 2-5", 150_528, 150_528), ("res3", "conv 1-5", 846_720, 846_720), ("res4", "residual 1", 37_632, 37_632),
    ("res4", "residual 2-11", 188_160, 188_160), ("res4", "conv 1-11", 931_392, 931_392), ("res5", "residual 1", 18_816, 18_816),
    ("res5", "residual 2-7", 56_448, 56_448), ("res5", "conv 1-7", 296_352, 296_352), ("pool5", "pool", 6_480, 6_480),
)  # fmt: skip
#: table 5: stage, channels (of the block: expanded, out), blocks, frames x height x width of what leaves it
TABLE5 = (
    ("conv1", "24", 1, "16x112x112"), ("res2", "54, 24", 3, "16x56x56"), ("res3", "108, 48", 5, "16x28x28"),
    ("res4", "216, 96", 11, "16x14x14"), ("res5", "432, 192", 7, "16x7x7"), ("conv5", "432", 1, "16x7x7"),
)  # fmt: skip
#: table 6: batches of the TX2, Xavier and RTX 2080 Ti (1 on a CPU)
BATCHES = {
    "I3D-R50": (16, 16, 32), "R(2+1)D-18_8": (16, 16, 32), "R(2+1)D-18_16": (8, 16, 32), "Slow-8x8-R50": (8, 8, 8),
    "SlowFast-8x8-R50": (8, 32, 32), "SlowFast-4x16-R50": (16, 32, 32), "X3D-L": (16, 32, 32), "X3D-M": (32, 64, 64),
    "X3D-S": (64, 64, 64), "X3D-XS": (64, 64, 64), "CoI3D": (8, 8, 8), "CoSlow": (8, 8, 8), "CoX3D-L": (8, 16, 32),
    "CoX3D-M": (32, 64, 64), "CoX3D-S": (32, 64, 64),
}  # fmt: skip
#: table 7: network, FLOPs, CPU, TX2, Xavier, RTX
TABLE7 = (
    ("(Co)I3D", "i3d_r50", 5.04, (3.39, 0.95, 1.62, 1.64)), ("(Co)Slow", "slow_r50", 7.95, (7.68, 1.19, 1.44, 1.65)),
    ("(Co)X3D-L", "x3d_l", 15.34, (9.20, 5.21, 5.77, 5.98)), ("(Co)X3D-M", "x3d_m", 15.06, (9.05, 4.79, 4.95, 6.86)),
    ("(Co)X3D-S", "x3d_s", 12.11, (5.91, 4.15, 4.98, 3.41)),
)  # fmt: skip
RCU_GFLOPS = 54.0
I3D_GFLOPS = (28.6, 41.0)
RCU_FRAMES = 8
WHY = {
    "SlowFast-8x8-R50": "the paper prints its FLOPs twice, in the column of parameters too",
    "CoI3D_8": "the paper counts a step in which every stage fires; here the mean over the frames of a stride of 2",
    "CoI3D_64": "as CoI3D_8",
}
NAMES = {
    "conv1": "blocks.0.",
    "res2": "blocks.1.",
    "res3": "blocks.2.",
    "res4": "blocks.3.",
    "res5": "blocks.4.",
    "pool5": "blocks.5.",
}


def tables(found: Found) -> list[Table]:
    return [
        table1(found),
        accuracies(),
        speeds(found),
        memory(found),
        table4(found),
        table5(found),
        table6(),
        table7(found),
        note_c(),
    ]


def table1(found: Found) -> Table:
    """What a network is."""
    made = Table(
        "Table 1, what a network is: published, and the zoo's at the paper's clip",
        ("network", "clip", "params M", "here", "FLOPs G", "here, G MACs", "why they differ"),
    )
    for row in TABLE1:
        card = found.cards.get(row.network)
        here = _gmacs(found, row)
        clip = f"{row.shape[0]}x{row.shape[1]}x{row.shape[1]}"
        params = shown(card["params"] / 1e6, 2) if card else NOTHING
        why = WHY.get(row.name, "")
        made.rows.append([row.name, clip, f"{row.params:.2f}", params, f"{row.flops:.2f}", shown(here, 2), why])
    made.notes += [
        "The paper counts with ptflops: batch norms, activations and pools as well. Here convolutions and linear layers "
        "count, a multiply-add as one.",
        "Co: of a frame. Networks that the zoo has at another size are scaled by their pixels, R(2+1)D-18 of 8 frames by "
        "its frames.",
    ]
    return made


def _gmacs(found: Found, row: Row) -> float | None:
    card = found.cards.get(row.network)
    if card is None:
        return None
    scale = (row.shape[1] / card["size"]) ** 2 / 1e9
    if row.window:
        return float(card["macs_per_step"] / card["hop"] * scale)
    return float(card["macs"] * scale * (row.shape[0] / card["frames"]))


def accuracies() -> Table:
    made = Table(
        "Table 1, top-1 of Kinetics-400 as published, in percent", ("network", "clip", "Co, pool of the clip", "Co, pool of 64")
    )
    for clip in (row for row in TABLE1 if not row.window):
        streamed = [row for row in TABLE1 if row.window and row.network == clip.network and row.shape == clip.shape]
        short, long = (
            next((f"{row.top1:.2f}" for row in streamed if (row.window == 64) == is_64), NOTHING) for is_64 in (False, True)
        )
        made.rows.append([clip.name, f"{clip.top1:.2f}", short, long])
    made.notes.append(
        "Not measured here: neither Kinetics-400 nor a network trained on it comes with everyframe. RCU_8, beside them: 53.40."
    )
    return made


def speeds(found: Found) -> Table:
    made = Table(
        "Table 1, evaluations a second: the paper's core and one core here",
        ("network", "paper, CPU", "here, torch", "here, OpenVINO", "here, everyframe", "on", "TX2", "Xavier", "RTX 2080 Ti"),
    )
    for row in TABLE1:
        variant = _variant(row)
        if variant is None:
            best = torch = openvino = None
        else:
            peer = "continual-inference" if row.window else "torch"
            source = Variant(row.network) if row.window else variant  # continual-inference reads the clip network
            torch = found.on(source, peer)
            openvino, best = found.on(variant, "openvino"), found.best(variant)
        made.rows.append([
            row.name, f"{row.rates[0]:.2f}", shown(rate(torch)), shown(rate(openvino)), shown(rate(best)),
            best.engine if best else NOTHING, *(f"{value:.2f}" for value in row.rates[1:]),
        ])  # fmt: skip
    made.notes += [
        "torch: eager for clips; continual-inference for Co, with batch norms folded, of the networks whose time is not strided.",
        "Both sides: batch 1, float32, one core, input in memory. They differ by the processor, and by the system: the "
        "paper used torch "
        "alone. TX2, Xavier, RTX: as published, in the batches of table 6; there is none of them here.",
        "Here at the zoo's clip: Slow and SlowFast at 224x224, 1.31 times fewer pixels than in the paper. CoI3D predicts "
        "every second frame here.",
    ]
    return made


def memory(found: Found) -> Table:
    made = Table(
        "Table 1, memory in MB: published, and what a process takes here beside Python",
        ("network", "paper", "here, peak", "weights", "states", "why they differ"),
    )
    for row in TABLE1:
        variant = _variant(row)
        best = found.best(variant) if variant is not None else None
        if best is None:
            continue
        made.rows.append([
            row.name, f"{row.memory:.2f}", shown((best.memory_peak - best.memory_before) / 1e6), shown(best.weights / 1e6),
            shown(best.state / 1e6) if row.window else NOTHING, "torch against " + best.engine,
        ])  # fmt: skip
    made.notes.append(
        "The paper does not say in the text how memory was taken; here it is the most that the process had, less what it "
        "had before loading."
    )
    return made


def table4(found: Found) -> Table:
    layers = found.layers(Variant("x3d_m", "step"))
    made = Table(
        "Table 4, states of CoX3D-M in floats",
        ("stage", "layer", "printed", "as its formula gives", "here, the stage", "why they differ"),
    )
    for stage in dict.fromkeys(row[0] for row in TABLE4):
        rows = [row for row in TABLE4 if row[0] == stage]
        here = sum(one["state"] for one in layers if one["name"].startswith(NAMES[stage])) if layers else None
        for i, (_, layer, printed, formula) in enumerate(rows):
            why = "(3-1-1) is printed where it must be (3-1)" if printed != formula else ""
            made.rows.append(
                [stage, layer, f"{printed:,}", f"{formula:,}", "" if i else NOTHING if here is None else f"{here:,}", why]
            )
    card = found.cards.get("x3d_m")
    total = NOTHING if card is None else f"{card['state_floats']:,}"
    made.rows.append(["all", "", f"{sum(r[2] for r in TABLE4):,}", f"{sum(r[3] for r in TABLE4):,}", total, ""])
    made.notes += [
        "Here a projected residual waits behind its 1x1 convolution, as in the authors' code; the table has it before, "
        "where there are more floats.",
        "continual-inference 1.2.4 keeps 11,695,104 floats for the same network: (k-1)^2 maps a convolution instead of (k-1).",
        "With the largest map in flight (24x112x112 = 301,056 floats) the table comes to 5,072,688, its formulas to 5,580,720.",
        "The table's labels residual 2-3 and conv 1-3 of res5 stand for 2-7 and 1-7, as their factors say.",
    ]
    return made


def table5(found: Found) -> Table:
    layers = found.layers(Variant("x3d_m"))
    made = Table("Table 5, X3D-M", ("stage", "channels", "blocks", "output", "here: channels", "blocks", "output"))
    for stage, channels, blocks, output in TABLE5:
        made.rows.append([stage, channels, blocks, output, *_stage(layers, stage)])
    made.notes.append(
        "Squeeze-and-excite is in every block of the table; in the authors' code and here it is in every second one."
    )
    return made


def _stage(layers: list, stage: str) -> tuple[str, object, str]:
    """Channels, blocks and the output of a stage of the network that was measured."""
    if not layers:
        return NOTHING, NOTHING, NOTHING
    prefix = NAMES.get(stage, "blocks.5.")
    convs = [one for one in layers if one["name"].startswith(prefix) and one["op"] == "Conv" and len(one["output"]) == 5]
    if stage in ("conv1", "conv5"):
        last = convs[-1] if stage == "conv1" else convs[0]
        return str(last["output"][1]), 1, "x".join(map(str, last["output"][2:]))
    inner, out = ([one for one in convs if one["name"].rpartition(".")[2] == name] for name in ("conv_b", "conv_c"))
    if not inner or not out:
        return NOTHING, NOTHING, NOTHING
    return f"{inner[-1]['output'][1]}, {out[-1]['output'][1]}", len(inner), "x".join(map(str, out[-1]["output"][2:]))


def table6() -> Table:
    made = Table("Table 6, what was run", ("network", "shape (T x S²)", "batch: CPU", "TX2", "Xavier", "RTX", "here"))
    shapes = {row.name: f"{row.shape[0]}x{row.shape[1]}²" for row in TABLE1 if not row.window}
    shapes |= {"SlowFast-8x8-R50": "8x256²", "SlowFast-4x16-R50": "16x256²"}  # as printed
    for name, batches in BATCHES.items():
        side = {"CoI3D": 224, "CoSlow": 256, "CoX3D-L": 312, "CoX3D-M": 224, "CoX3D-S": 160}.get(name)
        made.rows.append([name, f"1x{side}²" if side else shapes[name], 1, *batches, 1])
    made.notes.append("A batch of many is many streams: `everyframe benchmark --streams 1,4,16` steps them at the same time.")
    return made


def table7(found: Found) -> Table:
    made = Table(
        "Table 7, a step over a clip: times fewer FLOPs, times faster",
        (
            "network",
            "FLOPs, paper",
            "here",
            "CPU, paper",
            "here, everyframe",
            "here, OpenVINO",
            "here, torch",
            "TX2",
            "Xavier",
            "RTX",
        ),
    )
    for name, network, flops, (cpu, *others) in TABLE7:
        clip, step = Variant(network), Variant(network, "step")
        card = found.cards.get(network)
        saved = card["macs"] / (card["macs_per_step"] / card["hop"]) if card else None
        made.rows.append([
            name, times(flops), times(saved), times(cpu), times(_a_frame(found, over(found.best(clip), found.best(step)),
            network)),
            times(_a_frame(found, over(found.on(clip, "openvino"), found.on(step, "openvino")), network)),
            times(over(found.on(clip, "torch"), found.on(clip, "continual-inference"))), *(times(value) for value in others),
        ])  # fmt: skip
    made.notes += [
        "everyframe: its fastest engine for clips over its fastest for steps. torch: eager over continual-inference.",
        "I3D: the paper's step is one in which every stage fires; here a step takes two frames, and the ratio is of a frame.",
        "What speed falls short of the FLOPs, the paper puts down to operations on memory, which become fewer in another "
        "measure.",
    ]
    return made


def _a_frame(found: Found, ratio: float | None, network: str) -> float | None:
    """A clip at every frame, over a step's share for a frame."""
    return None if ratio is None else ratio * float(found.cards[network]["hop"])


def note_c() -> Table:
    ours, theirs = I3D_GFLOPS
    made = Table(
        "Note C, FLOPs of RCU",
        ("I3D, measured", "I3D, by RCU's authors", "RCU, by its authors", "frames", "RCU a frame, G", "printed"),
    )
    made.rows.append([ours, theirs, RCU_GFLOPS, RCU_FRAMES, f"{ours / theirs * RCU_GFLOPS / RCU_FRAMES:.2f}", "4.71"])
    made.notes.append("RCU itself is not in the zoo: neither its FLOPs nor its speed is measured here.")
    return made


def _variant(row: Row) -> Variant | None:
    """What is measured for it: the zoo's own clip, and a step whose cost does not depend on the pool's window."""
    if row.window:
        return Variant(row.network, "step")
    return None if row.name == "R(2+1)D-18_8" else Variant(row.network)


def pictures(found: Found) -> dict[str, tuple[str, bytes]]:
    """Figures 6 to 9."""
    made = {}
    for i, platform in enumerate(PLATFORMS):
        points = [Point(row.rates[i], row.top1, row.name, 1 if row.window else 0) for row in TABLE1]
        if i == 0:
            for row in TABLE1:
                variant = _variant(row)
                here = rate(found.best(variant)) if variant is not None else None
                if here is not None:
                    points.append(Point(here, row.top1, row.name, 2))
        groups = (
            "clip, published",
            "frame by frame, published",
            *(("one core here, with the published accuracy",) if any(point.group == 2 for point in points) else ()),
        )
        names = {0: "cpu", 1: "tx2", 2: "xavier", 3: "rtx2080ti"}
        what = f"Figure {6 + i}: evaluations a second on {platform} against top-1 of Kinetics-400"
        made[f"figure{6 + i}_{names[i]}"] = (what, plane(points, "evaluations a second", "top-1, %", groups))
    return made


_NETWORKS = ("x3d_s", "x3d_m", "x3d_xs", "x3d_l", "slow_r50", "i3d_r50", "r2plus1d_18", "slowfast_r50_4x16", "slowfast_r50")
_STREAMED = {network for _, network, _, _ in TABLE7}
PAPER = Paper(
    "Continual 3D CNNs",
    "Hedegaard and Iosifidis: Continual 3D Convolutional Neural Networks for Real-time Processing of Videos, ECCV 2022",
    tuple(Variant(name, kind) for name in _NETWORKS for kind in ("clip", "step") if kind == "clip" or name in _STREAMED),
    tables, pictures,
)  # fmt: skip
