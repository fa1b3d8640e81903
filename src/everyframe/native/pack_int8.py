"""Convolutions of bytes as tables: entries of four input channels, which one instruction multiplies and adds.

As in `pack`, except that an entry is an offset to four channels of a position (four bytes side by side) and 4 weights for each
output channel; an entry whose weights are all zero does not exist. What stands in for a value of zero is the byte `zero`, also in
the borders: what it adds to each sum is known beforehand and taken off where sums begin, for missing frames (time padding), too.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from everyframe.native import ir
from everyframe.native.choice import Choice
from everyframe.native.ir import Conv, Frame, Quant
from everyframe.native.maps import FUNCTIONS_NEAR, ROUNDING, middle
from everyframe.native.packed import PackedLayer, Packing

_LANES, _PAIR = 4, 2
#: channels of a vector from which on four bytes of each come together in an instruction or two
_ACROSS = 8
#: steps that a whole number surely holds
_WHOLE = 2.0**30
#: the sum of two products that 16 bits hold for every byte: 128 * 255 < 2**15
_SAFE_PAIR = 128


def quant_of(op: Conv) -> Quant:
    if op.quant is None:
        raise TypeError("this convolution is not computed in integers")
    return op.quant


def pack(packing: Packing, layer: PackedLayer) -> None:
    """Fills the layer's fields."""
    if packing.target.scalar:
        _pack_scalar(packing, layer)
    elif layer.op.depthwise:
        _pack_depthwise(packing, layer)
    elif layer.op.tile:
        _pack_product(packing, layer)
        return
    else:
        _pack_table(packing, layer)
    layer.fields["ending"] = ending(packing, layer.op, layer.frame)


def ending(packing: Packing, op: Conv, out: Frame) -> dict[str, object]:
    """From sums to what is stored: value = sum * scale + bias, residual, activation, limits, and bytes if `packed`.

    All in steps of the result where nothing but scaling stands between, else in values with a last multiplication. Once more as
    values in double precision, for what floats cannot decide.
    """
    act, rest, source = op.activation, op.residual, quant_of(op)
    last = bool(rest and op.residual_last)
    direct = out.quant is not None and act.name == "none" and not last
    step = float(out.quant.scale) if out.quant else 1.0
    unit = np.float32(step if direct else 1)
    channels = op.taps[0].weight.shape[0]
    exact = np.zeros((2, -(-channels // packing.target.block) * packing.target.block), np.float64)  # scale, bias
    exact[0, :channels] = np.float64(source.scale) * np.asarray(op.taps[0].scale, np.float64)
    exact[1, :channels] = 0 if op.bias is None else op.bias
    low, high = float(act.low / unit), float(act.high / unit)
    zero = out.quant.zero if out.quant else 0
    if direct:
        low, high = max(low, -zero), min(high, 255 - zero)
    plain = direct and rest is None and low <= 0.25 - zero and high >= 254.75 - zero and _reach(op, exact) / step < _WHOLE
    near = _near_plain(exact / step, zero) if plain else _near(float(np.abs(exact[1]).max()), rest, act.name != "none", step)
    rest_step = rest.quant.scale if rest and rest.quant else 1.0
    made: dict[str, object] = {
        "zero": source.zero, "scale": packing.blob.add((exact[0] / unit).astype(np.float32)),
        "bias": packing.blob.add((exact[1] / unit).astype(np.float32)),
        "low": low, "high": high, "packed": int(out.quant is not None), "direct": int(direct or not out.quant),
        "plain": int(plain),
        "out_zero": zero, "inverse": out.quant.inverse if out.quant else 1.0,
        "rest_packed": int(bool(rest and rest.quant)), "rest_scale": float(rest_step / unit),
        "rest_zero": float(rest.quant.zero) if rest and rest.quant else 0.0,
    }  # fmt: skip
    if out.quant:
        made |= {
            "exact_scale": _doubles(packing, exact[0]), "exact_bias": _doubles(packing, exact[1]), "step": step,
            "least": float(act.low), "most": float(act.high), "rest_step": float(rest_step),
            "middle": middle(near),
        }  # fmt: skip
    return made


def _reach(op: Conv, exact: np.ndarray) -> float:
    """The largest value that any bytes can lead to. exact: scale and bias of each channel."""
    sums = sum(np.abs(_integers(tap).astype(np.int64)).sum((1, 2, 3)) for tap in op.taps)
    return float((255 * sums * exact[0, : len(sums)] + np.abs(exact[1, : len(sums)])).max(initial=0))


def _near_plain(steps: np.ndarray, zero: int) -> float:
    """How far floats may be from the exact byte of a plain ending, if that is a byte. steps: scale and bias in steps, (2, Cout).
    Rounded are the scale, its product with the sum and, if it is large, the sum; the bias, and with the zero; what comes out."""
    scales, bias = np.abs(steps[0][steps[0] != 0]), float(np.abs(steps[1]).max(initial=0))
    start = bias + zero
    product = 256 + start
    large = bool((product / scales >= 2**24).any())
    return 1.01 * ((2 + large) * product + bias + start + 256) * ROUNDING


def _near(bias: float, rest: Frame | None, curved: bool, step: float) -> float:
    """How far floats may be from the exact value, in steps of the result: some roundings of what adds up to a byte's range."""
    known = rest is None or rest.quant is not None
    added = 255 * rest.quant.scale if rest is not None and rest.quant else 0.0
    found = (5 * bias + 8 * added + 2048 * step) / step * ROUNDING
    return float(np.clip(2 * found, 0 if known and not curved else FUNCTIONS_NEAR, 0.25))


def _doubles(packing: Packing, array: np.ndarray) -> int:
    return packing.blob.add(np.ascontiguousarray(array, np.float64).view(np.int32))


def _bytes(packing: Packing, array: np.ndarray) -> int:
    """Puts int8 values into the weights; returns the offset in words."""
    flat = np.zeros(-(-max(array.size, 1) // 4) * 4, np.int8)
    flat[: array.size] = array.ravel()
    return packing.blob.add(flat.view(np.int32))


def _integers(tap: ir.Tap) -> np.ndarray:
    if tap.integers is None:
        raise TypeError("this weight was not quantized")
    return tap.integers


def _pack_scalar(packing: Packing, layer: PackedLayer) -> None:
    """Kernels as ONNX has them."""
    op = layer.op
    taps, (cout, _, kh, kw) = op.taps, op.taps[0].weight.shape
    cin = max(tap.weight.shape[1] for tap in taps)
    wide = max(len(source) for source, _ in layer.cells)
    weights = np.zeros((len(taps), cout, cin, kh, kw), np.int8)
    cells = np.full((2, len(taps), wide), -1, np.int32)
    for t, (tap, (sources, channels)) in enumerate(zip(taps, layer.cells, strict=True)):
        weights[t, :, : tap.weight.shape[1]] = tap.integers
        cells[0, t, : len(sources)], cells[1, t, : len(sources)] = sources, channels
    layer.macs = weights.size * layer.out.height * layer.out.width
    layer.fields = {
        "taps": len(taps), "out_channels": cout, "in_channels": wide, "per_group": cin, "kernel_h": kh, "kernel_w": kw,
        "stride_h": op.strides[0], "stride_w": op.strides[1], "pad_h": op.pads[0], "pad_w": op.pads[1],
        "dilation_h": op.dilations[0], "dilation_w": op.dilations[1], "out_h": layer.out.height, "out_w": layer.out.width,
        "in_h": layer.forms[0].height if layer.forms else 1, "in_w": layer.forms[0].width if layer.forms else 1,
        "weights": _bytes(packing, weights), "source": packing.blob.add(cells[0]), "channel": packing.blob.add(cells[1]),
    }  # fmt: skip


def _pack_depthwise(packing: Packing, layer: PackedLayer) -> None:
    op, block = layer.op, packing.target.block
    (channels, _, kh, kw), blocks = op.taps[0].weight.shape, layer.out.blocks
    used = [tap for tap, (source, _) in zip(op.taps, layer.cells, strict=True) if int(source[0]) >= 0]
    padded = np.zeros((len(used), blocks * block, kh * kw), np.int32)
    for i, tap in enumerate(used):
        padded[i, :channels] = _integers(tap).reshape(channels, kh * kw)
    (down, along), (top, left) = op.dilations, op.pads
    offsets = [[form.offset(0, y * down - top, x * along - left) for y in range(kh) for x in range(kw)] for form in layer.forms]
    strides = [[form.plane, form.row * op.strides[0]] for form in layer.forms]
    pairs = op.strides[1] == 1
    square = kw == 3 and along == 1 and (pairs or block >= _ACROSS)
    if square:  # rows of three, as the four bytes of a lane: for a position and, at stride 1, for the next one
        rows = padded.reshape(len(used), blocks, block, kh, 3)
        weights = np.zeros((blocks, len(used), kh, 1 + pairs, block, 4), np.int8)
        for shift in range(1 + pairs):
            weights[:, :, :, shift, :, shift : shift + 3] = rows.transpose(1, 0, 3, 2, 4)
        place = _bytes(packing, weights)
        offsets = [row[::3] for row in offsets]
    else:
        place = packing.blob.add(padded.reshape(len(used), blocks, block, kh * kw).transpose(1, 0, 3, 2))
    layer.macs = channels * kh * kw * len(used) * layer.out.height * layer.out.width
    layer.fields = {
        "sources": len(used), "taps": kh if square else kh * kw, "blocks": blocks, "rows": layer.out.height,
        "columns": layer.out.width, "step": op.strides[1] * block, "rows_of_three": int(square), "weights": place,
        "sums": packing.blob.add(padded.sum(2, dtype=np.int32)), "offsets": packing.blob.add(np.array(offsets, np.int32)),
        "strides": packing.blob.add(np.array(strides, np.int32)),
    }  # fmt: skip


def _pack_table(packing: Packing, layer: PackedLayer) -> None:
    op, block, out = layer.op, packing.target.block, layer.out
    cout = op.taps[0].weight.shape[0]
    offsets, entries, starts = _entries(layer)
    padded = np.zeros((len(offsets), out.blocks * block, _LANES), np.int8)
    padded[:, :cout] = entries
    choice = layer.choice or Choice()
    longest = choice.longest or max(dict(packing.target.tiles).values())
    groups, kept = _groups(packing, padded, out.blocks, choice)
    positions = out.height * out.width
    channels = [min(cout, (first + count) * block) - first * block for first, count in groups]
    layer.macs = sum(int(keep.sum()) * c for keep, c in zip(kept, channels, strict=True)) * _LANES * positions
    whole = max(1, len(offsets) * out.blocks)
    layer.kept = sum(int(keep.sum()) * n for (_, n), keep in zip(groups, kept, strict=True)) / whole
    shared = all(keep.all() for keep in kept)  # all groups read the same offsets in the same order
    rows: list[list[int]] = []
    bounds: list[np.ndarray] = []
    tables: list[np.ndarray] = []
    packed: list[np.ndarray] = []
    place = table = 0
    for (first, count), keep in zip(groups, kept, strict=True):
        here = np.flatnonzero(keep)
        source = np.searchsorted(starts, here, "right") - 1
        risky = _risky(padded[here, first * block : (first + count) * block]) & packing.target.saturates
        shared &= not risky.any()
        here, key = (part[np.lexsort((risky, source))] for part in (here, 2 * source + risky))
        bounds.append(np.searchsorted(key, np.arange(2 * len(layer.forms) + 1)))
        rows.append([count, first, place, 0 if shared else table])
        packed.append(padded[here, first * block : (first + count) * block].ravel())
        place += packed[-1].size
        if not shared or not tables:
            tables.append(offsets[here])
            table += len(here)
    sums = [padded[a:b].sum((0, 2), dtype=np.int32) for a, b in pairwise(starts)]
    layer.tiles = {count: min(dict(packing.target.tiles)[count], longest, positions) for _, count in groups}
    layer.fields = {
        "sources": len(layer.forms), "groups": len(groups), "positions": positions,
        "block": choice.block, "longest": longest, "out_block": out.plane,
        "residual_block": layer.residual.plane if layer.residual else 0,
        "group_rows": packing.blob.add(np.array(rows, np.int32)), "bounds": packing.blob.add(np.array(bounds, np.int32)),
        "offsets": packing.blob.add(np.concatenate(tables).astype(np.int32) if tables else np.zeros(1, np.int32)),
        "weights": packing.blob.add(_words(packed)),
        "sums": packing.blob.add(np.array(sums, np.int32).reshape(len(layer.forms), -1)),
        "at": packing.positions(out, out, (1, 1), (0, 0)),
        "residual_at": packing.positions(layer.residual, out, (1, 1), (0, 0)) if layer.residual else 0,
        "in_at": tuple(packing.positions(form, out, op.strides, op.pads) for form in layer.forms) or (0,),
    }  # fmt: skip


def _pack_product(packing: Packing, layer: PackedLayer) -> None:
    """Of transformed frames: an entry is two channels and two weights of 16 bits for each output channel and row."""
    op, block, out, choice = layer.op, packing.target.block, layer.out, layer.choice or Choice()
    cout, rows = op.taps[0].weight.shape[0], [tap.rows() for tap in op.taps if tap.rows]
    offsets: list[int] = []
    lanes: list[np.ndarray] = []  # of each source: pairs of the kernel's channels, those of all taps counted on
    starts, before = [0], 0
    for (source, channel), tap in zip(layer.cells, op.taps, strict=True):
        for s in dict.fromkeys(source[source >= 0].tolist()):
            cells = _cells(np.flatnonzero(source == s), channel, _PAIR)
            offsets += [2 * layer.forms[s].offset(first) for first, _ in cells]
            pairs = np.array([pair for _, pair in cells]).reshape(-1, _PAIR)
            lanes.append(np.where(pairs < 0, -1, pairs + before))
            starts.append(len(offsets))
        before += tap.weight.shape[1]
    pairs = np.concatenate(lanes) if lanes else np.zeros((0, _PAIR), int)

    def entries(weights: np.ndarray) -> np.ndarray:
        """(Cout, channels of all taps) -> (entries, Cout in whole blocks, 2)"""
        padded = np.zeros((out.blocks * block, before + 1), weights.dtype)  # the last is what -1 finds
        padded[:cout, :-1] = weights
        return padded[:, pairs].transpose(1, 0, 2)

    groups, kept = _groups(packing, entries(np.concatenate([tap.weight[:, :, 0, 0] for tap in op.taps], 1)), out.blocks, choice)
    where = [np.flatnonzero(keep) for keep in kept]
    shared = all(keep.all() for keep in kept)
    sizes = [len(here) * count * block * _LANES for (_, count), here in zip(groups, where, strict=True)]
    first_weight, first_offset = (
        np.cumsum([0, *each]).tolist() for each in (sizes, [0 if shared else len(here) for here in where])
    )
    table = [
        [count, first, place, offset] for (first, count), place, offset in zip(groups, first_weight, first_offset, strict=False)
    ]
    made = [
        each[here, first * block : (first + count) * block].ravel()
        for each in map(entries, (np.concatenate(row, 1) for row in zip(*rows, strict=True)))
        for (first, count), here in zip(groups, where, strict=True)
    ]
    longest = choice.longest or max(dict(packing.target.tiles).values())
    layer.tiles = {count: min(dict(packing.target.tiles)[count], longest, out.width) for _, count in groups}
    layer.macs = sum(sizes) // 2 * out.height * out.width
    layer.kept = sum(int(keep.sum()) * n for (_, n), keep in zip(groups, kept, strict=True)) / max(1, len(offsets) * out.blocks)
    layer.bytes = first_weight[-1] * out.height
    read = np.array(offsets, np.int32)
    layer.fields = {
        "sources": len(layer.forms), "groups": len(groups), "rows": out.height, "columns": out.width, "longest": longest,
        "row_weights": first_weight[-1], "out_block": out.plane, "out_row": out.row,
        "in_row": 2 * layer.forms[0].row if layer.forms else 0,
        "group_rows": packing.blob.add(np.array(table, np.int32)),
        "bounds": packing.blob.add(np.array([np.searchsorted(here, starts) for here in where], np.int32)),
        "offsets": packing.blob.add(np.concatenate([read] if shared else [read[here] for here in where] or [read])),
        "weights": packing.blob.add(_words([each.view(np.int8) for each in made])),
    }  # fmt: skip


def _risky(entries: np.ndarray) -> np.ndarray:
    """Entries (n, channels, 4) in which two neighbors may add up to more than 16 bits hold."""
    pairs = entries.astype(np.int16).reshape(len(entries), entries.shape[1] * 2, 2)
    most = [np.maximum(sign * pairs, 0).sum(2).max(1, initial=0) for sign in (1, -1)]
    return np.maximum(*most) > _SAFE_PAIR


def _words(packed: list[np.ndarray]) -> np.ndarray:
    made = np.concatenate(packed) if packed else np.zeros(0, np.int8)
    return np.pad(made, (0, -made.size % 4 or 4 * (not made.size))).view(np.int32)


def _entries(layer: PackedLayer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offsets, weights (entries, Cout, 4) and where each source begins, with the end."""
    op = layer.op
    cout, _, kh, kw = op.taps[0].weight.shape
    places = [(y * op.dilations[0], x * op.dilations[1]) for y in range(kh) for x in range(kw)]
    offsets: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    starts = [0]
    for (source, channel), tap in zip(layer.cells, op.taps, strict=True):
        kernel = np.concatenate([_integers(tap), np.zeros((cout, 1, kh, kw), np.int8)], 1)  # the last is what -1 finds
        for s in dict.fromkeys(source[source >= 0].tolist()):
            form = layer.forms[s]
            cells = _cells(np.flatnonzero(source == s), channel)
            lanes = np.array([n for _, n in cells]).reshape(-1, _LANES)  # (cells, 4): input channels of the kernel
            offsets.append(np.array([form.offset(first, y, x) for first, _ in cells for y, x in places], np.int64))
            weights.append(kernel[:, lanes].transpose(1, 3, 4, 0, 2).reshape(-1, cout, _LANES))
            starts.append(starts[-1] + len(offsets[-1]))
    if not offsets:
        return np.zeros(0, np.int64), np.zeros((0, cout, _LANES), np.int8), np.array([0])
    return np.concatenate(offsets), np.concatenate(weights), np.array(starts)


def _cells(here: np.ndarray, channel: np.ndarray, lanes: int = _LANES) -> list[tuple[int, list[int]]]:
    """Input channels `here`, so many at a time as they lie in their frame: first channel there, and which is in each lane
    (-1: none). One that is read twice comes in two cells."""
    cells: dict[tuple[int, int], list[int]] = {}
    seen: dict[int, int] = {}
    for n in here.tolist():
        c = int(channel[n])
        again = seen[c] = seen.get(c, -1) + 1
        cells.setdefault((c // lanes, again), [-1] * lanes)[c % lanes] = n
    return [(group * lanes, found) for (group, _), found in sorted(cells.items())]


def _groups(packing: Packing, weights: np.ndarray, blocks: int, choice: Choice) -> tuple[list[tuple[int, int]], list[np.ndarray]]:
    """Groups of blocks (first, count) that one kernel computes, and which entries each has. Arithmetic bounds the kernels of any
    height, so the cheapest are those that skip most; taller ones, which read fewer tables, where they skip as much."""
    filled = (weights != 0).reshape(len(weights), blocks, -1).max(2, initial=False)  # (entries, blocks)
    best: tuple[float, list, list] | None = None
    for plan in packing.splits(blocks, choice, packing.target.tiles):
        kept = [filled[:, first : first + count].any(1) for first, count in plan]
        cost = sum(float(keep.sum()) * (count + 0.05) for (_, count), keep in zip(plan, kept, strict=True))
        if best is None or cost < best[0]:
            best = (cost, plan, kept)
    _, plan, kept = best or (0.0, [], [])
    return plan, kept
