"""FLOPs-aware rates: always prune the layer a little more that costs most now (how RT3D's profiles were made by hand)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import floor, inf

from everyframe.errors import UsageError
from everyframe.pruning.cost import LayerCost, left
from everyframe.pruning.pattern import Pattern

STEP, CAP = 0.05, 0.9


def greedy(
    costs: Sequence[LayerCost],
    target: float,
    *,
    cap: float = CAP,
    step: float = STEP,
    only: Collection[str] | None = None,
    pattern: Pattern | None = None,
) -> dict[str, float]:
    """Rates that reach a FLOPs rate of `target` (2.5: two fifths of the MACs are left). only: the layers that may be pruned;
    default: the prunable ones. pattern: whose whole units are counted, of which a small layer has few; default: any share.

    The prunable layer with most MACs left goes `step` further, up to `cap`, until the target is reached. Raises UsageError for a
    target that cannot be reached, with the largest that can.
    """
    if not 0 < step <= cap < 1:
        raise UsageError("The largest rate must lie below 1.", expected="0 < step <= cap < 1", got=f"step {step}, cap {cap}")
    if not 1 <= target < inf:
        raise UsageError("A FLOPs rate says how many times cheaper.", expected="1 or more", got=target)
    total, steps = left(costs, {}), {cost.name: 0 for cost in costs if (cost.prunable if only is None else cost.name in only)}
    macs, most = {cost.name: cost.macs for cost in costs}, int(cap / step + 1e-9)
    remaining = total

    shapes = {cost.name: cost.weight_shape for cost in costs}

    def rate(name: str) -> float:
        return round(steps[name] * step, 9)

    def pruned(name: str) -> float:
        return rate(name) if pattern is None else pattern.share(shapes[name], rate(name))

    while remaining * target > total * (1 + 1e-9):
        open_layers = [name for name, n in steps.items() if n < most]
        if not open_layers:
            raise UsageError(
                "The network cannot become so cheap.", got=f"{target:g}x",
                expected=f"at most {floor(1000 * total / remaining) / 1000:g}x, with rates up to {most * step:g}",
                hint="lower the target, take smaller groups, or raise the largest rate" if steps
                else "none of its convolutions is worth pruning",
            )  # fmt: skip
        steps[max(open_layers, key=lambda name: macs[name] * (1 - pruned(name)))] += 1
        remaining = left(costs, {name: pruned(name) for name in steps})
    return {name: rate(name) for name, n in steps.items() if n}
