"""Convolutions whose few channels lie as planes: a list of entries, each a place in a source and its weight in every output."""

from __future__ import annotations

import numpy as np

from everyframe.native.packed import PackedLayer, Packing


def pack(packer: Packing, layer: PackedLayer) -> None:
    """Fills `fields` for `c/planes.c`. An entry is as in `pack`; one without weights does not exist."""
    op, out = layer.op, layer.out
    offsets: list[int] = []
    weights: list[np.ndarray] = []
    bounds = [0]
    (down, along), (top, left) = op.dilations, op.pads
    for (source, channel), tap in zip(layer.cells, op.taps, strict=True):
        for s in dict.fromkeys(source[source >= 0].tolist()):
            here = np.flatnonzero(source == s)
            for c in here[np.argsort(channel[here], kind="stable")].tolist():
                for y, x in np.argwhere(tap.weight[:, c].any(0)).tolist():
                    offsets.append(layer.forms[s].offset(int(channel[c]), y * down - top, x * along - left))
                    weights.append(tap.weight[:, c, y, x])
            bounds.append(len(offsets))
    count = out.channels
    across = _across(count, out.width // packer.target.block, packer.target.registers)
    layer.kernel = f"planes_{count}x{across}"
    layer.tile = count, across
    every = sum(tap.weight.size for tap in op.taps)
    layer.kept = count * len(offsets) / max(1, every)
    layer.macs = count * len(offsets) * out.height * out.width
    layer.bytes = 4 * count * len(offsets)
    layer.fields = {
        "sources": len(layer.forms), "rows": out.height, "columns": out.width, "out_plane": out.plane, "out_row": out.row,
        "residual_plane": layer.residual.plane if layer.residual else 0,
        "residual_row": layer.residual.row if layer.residual else 0,
        "bounds": packer.blob.add(np.array(bounds, np.int32)),
        "offsets": packer.blob.add(np.array(offsets or [0], np.int32)),
        "weights": packer.blob.add(np.array(weights or [np.zeros(count)], np.float32)),
        "bias": packer.blob.add(np.zeros(count, np.float32) if op.bias is None else np.asarray(op.bias, np.float32)),
        "in_row": tuple(form.row for form in layer.forms),
    }  # fmt: skip


def _across(outputs: int, vectors: int, registers: int) -> int:
    """Vectors of a row that go through the registers together, of as many as it has whole: all sums stay there, beside what is
    read and one weight. The last ones of a row are moved back to where it ends, so what does not divide it is computed twice.
    """
    most = max(1, min(vectors, 8 // outputs, (registers - 1) // (outputs + 1)))
    return min(range(1, most + 1), key=lambda n: (-(-vectors // n) * (outputs * (n + 0.5) + n), -n))
