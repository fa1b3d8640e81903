"""What a compiled model keeps in memory: one account for `compile`, `info`, the library's facts and the C file's comment."""

from __future__ import annotations

from typing import Any

from everyframe.native.ir import Graph
from everyframe.native.layout import Layout, ir_is_computed
from everyframe.native.target import Target


def account(graph: Graph, layout: Layout, target: Target) -> dict[str, Any]:
    """Plain values, in bytes.

    bytes: the three parts of the arena. states: buffers of one form, as many as states hold plus those a step fills. step: frames
    that live within a step only, and what they would take if none shared its place with another.
    """
    passing = [
        layout.forms[frame.number].floats
        for frame in (graph.out(op) for op in graph.ops if ir_is_computed(op))
        if frame.number not in layout.pool_of
    ]
    return {
        "cpu": target.name,
        "bytes": {
            "states": 4 * layout.state_floats,
            "before the first frame": 4 * (layout.zero_floats + sum(form.floats for _, form in layout.fills)),
            "within a step": 4 * layout.peak_floats,
        },
        "states": [
            {"frame": [pool.form.channels, pool.form.height, pool.form.width], "buffers": pool.count,
             "bytes": 4 * pool.count * pool.form.floats}
            for pool in layout.pools
        ],
        "step": {"frames": len(passing), "bytes_unshared": 4 * sum(passing)},
    }  # fmt: skip
