"""Where pruning pays: how well a table of single layers foretells whole networks, and what 1x1x1 convolutions can win.

    python benchmarks/prune_where.py                         about half an hour
    python benchmarks/prune_where.py --parts x3d_s           one part

Profiles: C3D and R(2+1)D-18 at the published rates, in kernel groups of 16 x 4, predicted from the table and measured as whole
networks. X3D: every 1x1x1 convolution at 2x, 3x and 4x; a kernel of one place has no places to choose from, so KGS and whole
groups are the same there. CPU time of one thread, in turns. Writes benchmarks/results/prune_where.json, after each part.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import networks
import numpy as np
import onnx
import torch
from torch import nn

from everyframe.benchmarking import Table, describe, one_line, save
from everyframe.benchmarking.variants import milliseconds
from everyframe.models.registry import build
from everyframe.models.registry import describe as entry_of
from everyframe.models.trace import trace
from everyframe.pruning import cost, latency, presets
from everyframe.pruning.mask import Mask
from everyframe.pruning.pattern import Pattern

PATTERN = Pattern("kgs", (16, 4))
PROFILES = {
    "c3d": ("c3d-2.53x", "c3d-3.57x"),
    "r2plus1d_18": ("r2plus1d-2.56x", "r2plus1d-3.20x"),
}
POINTWISE = {"x3d_s": (13, 160), "x3d_m": (16, 224)}
RATES = (0.5, 2 / 3, 0.75)  # 2x, 3x, 4x
GROUPS = ((16, 4), (8, 4), (16, 1))


def made(name: str, frames: int, size: int) -> tuple[nn.Module, tuple[int, ...], list[cost.LayerCost]]:
    torch.manual_seed(0)
    net, shape = build(entry_of(name), frames=frames, size=size), (1, 3, frames, size, size)
    return net, shape, cost.layers(net, shape)


def pruned(net: nn.Module, shape: tuple[int, ...], rates: dict[str, float], pattern: Pattern) -> onnx.ModelProto:
    """The network as ONNX with zeros; its own weights are left as they are."""
    weights = {name: net.get_submodule(name).weight for name in rates}
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    mask = Mask.choose(pattern, {name: weight.numpy() for name, weight in before.items()}, rates)
    with torch.no_grad():
        for name, weight in weights.items():
            weight *= torch.from_numpy(np.ascontiguousarray(mask.weights(name)))
        graph, _ = trace(net, shape, seed=0)
        for name, weight in weights.items():
            weight.copy_(before[name])
    return graph


def compared(
    net: nn.Module, shape: tuple[int, ...], costs: list[cost.LayerCost], cases: dict[str, tuple[dict[str, float], Pattern]],
    table: latency.Table, seconds: float,
) -> list[dict[str, Any]]:  # fmt: skip
    """Measured and predicted milliseconds of each case."""
    models = {"dense": trace(net, shape, seed=0)[0]}
    models |= {name: pruned(net, shape, rates, pattern) for name, (rates, pattern) in cases.items()}
    ms = milliseconds(models, table.engine, seconds)
    clock = latency.Latency(table, costs, costs, ms["dense"])
    total = cost.left(costs, {})
    return [
        {
            "case": name, "flops_rate": round(total / cost.left(costs, rates), 3), "dense_ms": round(ms["dense"], 2),
            "ms": round(ms[name], 2), "predicted_ms": round(clock.ms(rates, pattern), 2),
            "error": round(clock.ms(rates, pattern) / ms[name] - 1, 4), "speedup": round(ms["dense"] / ms[name], 3),
        }
        for name, (rates, pattern) in cases.items()
    ]  # fmt: skip


def profiles(name: str, seconds: float) -> dict[str, Any]:
    net, shape, costs = made(name, 16, 112)
    rates = {one: presets.preset(one, net) for one in PROFILES[name]}
    table = latency.Table.open("native")
    table.measure([one for one in costs if any(one.name in each for each in rates.values())], [PATTERN])
    return {"whole": compared(net, shape, costs, {one: (each, PATTERN) for one, each in rates.items()}, table, seconds)}


def pointwise(name: str, seconds: float) -> dict[str, Any]:
    net, shape, costs = made(name, *POINTWISE[name])
    wide = [one for one in costs if one.kind == "conv" and one.places == 1 and one.groups == 1 and one.input[2] > 1]
    patterns = [Pattern("kgs", group) for group in GROUPS]
    table = latency.Table.open("native")
    table.measure(wide, patterns, RATES)
    layers = [
        {
            "layer": one.name, "weight": one.weight_shape, "input": one.input, "mmacs": round(one.macs / 1e6, 1),
            "dense_ms": round(table.ms[latency.key(one)]["dense"], 3),
            "speedup": {
                f"{pattern} {1 / (1 - rate):.0f}x": round(dense / (dense - table.saved(one, pattern, rate)), 2)
                for dense in [table.ms[latency.key(one)]["dense"]]
                for pattern in patterns if pattern.fits(one.weight_shape) for rate in RATES
            },
        }
        for one in wide
    ]  # fmt: skip
    cases = {
        f"{pattern} {1 / (1 - rate):.0f}x": ({one.name: rate for one in wide if pattern.fits(one.weight_shape)}, pattern)
        for pattern in patterns[:2] for rate in (RATES[0], RATES[2])
    }  # fmt: skip
    share = sum(one.macs for one in wide) / cost.left(costs, {})
    return {"layers": layers, "share_of_macs": round(share, 3), "whole": compared(net, shape, costs, cases, table, seconds)}


def tables(results: dict[str, Any]) -> list[Table]:
    columns = ["network", "zeros", "FLOPs", "dense ms", "measured ms", "predicted ms", "error", "speed-up"]
    whole = Table("Whole networks with zeros, one thread, and what the table of layers foretells", columns)
    for network, part in results["parts"].items():
        whole.rows += [
            [network, row["case"], f"{row['flops_rate']:.2f}x", f"{row['dense_ms']:.0f}", f"{row['ms']:.0f}",
             f"{row['predicted_ms']:.0f}", f"{row['error']:+.1%}", f"{row['speedup']:.2f}x"]
            for row in part["whole"]
        ]  # fmt: skip
    whole.notes.append(one_line(results["machine"]))
    return [whole]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=[*PROFILES, *POINTWISE], choices=[*PROFILES, *POINTWISE])
    parser.add_argument("--seconds", type=float, default=2.0, help="of timing for each whole network")
    parser.add_argument("-o", "--output", type=Path, default=networks.RESULTS / "prune_where.json")
    args = parser.parse_args()
    results: dict[str, Any] = {"benchmark": "prune_where", "parts": {}}
    if args.output.is_file():
        results["parts"] = json.loads(args.output.read_text())["parts"]
    results["machine"] = describe("torch")
    for name in args.parts:
        results["parts"][name] = (profiles if name in PROFILES else pointwise)(name, args.seconds)
        save(args.output, results)
        print(f"{name}: {results['parts'][name]['whole']}", flush=True)
    networks.finish(tables(results), results, args.output)


if __name__ == "__main__":
    main()
