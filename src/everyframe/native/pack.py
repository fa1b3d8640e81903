"""Convolutions as tables: which values each group of output channels reads, and the weights in that order.

One form serves every kernel size, stride, dilation, group and sparsity: a list of *entries*, each an offset (channel and place in
the kernel) and the weights of 8 to 24 output channels for it. An entry whose weights are all zero does not exist, so zeros that
training left (kernel groups, blocks, filters, grouped convolutions) cost nothing. Entries are ordered

    slice (as many input channels as keep their weights in the nearest cache) > source (a frame) > span > row > channel > column

A *source* is one frame that the convolution reads; a null pointer stands for time padding and is skipped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np

from everyframe.native import halved, ir, pack_int8, pack_planes
from everyframe.native.blob import Blob
from everyframe.native.choice import Choice, direct
from everyframe.native.ir import Conv, Frame
from everyframe.native.layout import Layout
from everyframe.native.packed import Call, Choose, PackedLayer, Packing, Shape, by_default
from everyframe.native.target import Target

#: positions side by side in depthwise kernels
DEPTHWISE_LONGEST = 8


class Packer(Packing):
    def __init__(self, graph: ir.Graph, layout: Layout, target: Target, blob: Blob, choose: Choose = by_default) -> None:
        super().__init__(target, blob)
        self.graph, self.layout, self.choose = graph, layout, choose
        self.layers: list[PackedLayer] = []
        self.kinds: list[tuple[int, int, int]] = []  # (step, spans, bits) of the table convolutions
        self.calls: dict[int, Call] = {}

    def match(self) -> Packer:
        """Fills `layers` and `calls` (by id of the operator), but for what has to be packed."""
        ops = [op for op in self.graph.ops if isinstance(op, Conv)]
        cells = {id(op): [self._cells(op, tap) for tap in op.taps] for op in ops}
        holes = {key: sum(int((numbers < 0).sum()) for numbers, _ in each) for key, each in cells.items()}
        known: dict[tuple, list[PackedLayer]] = {}
        for op in sorted(ops, key=lambda op: (holes[id(op)], op.order)):
            key = self._key(op)
            for layer in known.get(key, ()):
                frames = self._matched(layer, cells[id(op)])
                if frames is not None:
                    self.calls[id(op)] = Call(layer, frames)
                    break
            else:
                layer, frames = self._new(op, key, cells[id(op)])
                known.setdefault(key, []).append(layer)
                self.calls[id(op)] = Call(layer, frames)
        counts = Counter(call.layer.number for call in self.calls.values())
        for layer in self.layers:
            if not (self.target.scalar or layer.op.depthwise or layer.op.planar):
                layer.geometry = self.geometry(layer, counts[layer.number])
        return self

    def pack(self) -> None:
        """`match`, and packs."""
        self._decide()
        for layer in self.layers:
            if layer.op.quant:
                pack_int8.pack(self, layer)
            elif self.target.scalar:
                self._pack_scalar(layer)
            elif layer.op.depthwise:
                self._pack_depthwise(layer)
            elif layer.op.planar:
                pack_planes.pack(self, layer)
            else:
                self.pack_table(layer)

    def saved(self) -> float:
        """`match`; work of the convolutions of floats by tables, relative to that without zeros. Nothing is packed."""
        self._decide()
        works = [self._plan(layer)[1:] for layer in self.layers if layer.geometry is not None and not layer.op.quant]
        return sum(work for work, _ in works) / max(sum(dense for _, dense in works), 1)

    def _decide(self) -> None:
        for layer in self.match().layers:
            if layer.geometry is not None:
                choice = layer.op.how or self.choose(self.target, layer.geometry, layer.op.label)
                layer.choice = choice.check(self.target, layer.op.label)
                if choice.tile and not layer.op.tile:  # it reads parts of frames
                    layer.choice = direct(self.target, layer.geometry)

    # -- which frames are one layer -------------------------------------------------------------------------------------------

    def _key(self, op: Conv) -> tuple:
        out, rest, forms = self.graph.out(op), op.residual, self.layout.forms
        return (
            tuple(tap.key for tap in op.taps), op.bias_key, op.strides, op.pads, op.dilations, op.depthwise, op.activation,
            forms[rest.number] if rest else None, op.residual_last, forms[out.number], op.quant, out.quant, rest and rest.quant,
            op.chain >= 0,
        )  # fmt: skip

    def _cells(self, op: Conv, tap: ir.Tap) -> tuple[np.ndarray, np.ndarray]:
        numbers = tap.planes >> 24
        zero = [n for n in set(numbers.tolist()) if ir.is_zero(op.frames[n])]
        return np.where(np.isin(numbers, zero), -1, numbers), ir.channels_of(tap.planes)

    def _new(self, op: Conv, key: tuple, cells: list[tuple[np.ndarray, np.ndarray]]) -> tuple[PackedLayer, list[Frame | None]]:
        made: list[tuple[np.ndarray, np.ndarray]] = []
        frames: list[Frame] = []
        for numbers, channels in cells:
            source = np.full(len(numbers), -1)
            for n in dict.fromkeys(numbers.tolist()):
                if n >= 0:
                    source[numbers == n] = len(frames)
                    frames.append(op.frames[n])
            made.append((source, channels))
        residual = self.layout.forms[op.residual.number] if op.residual else None
        forms = [self.layout.forms[f.number] for f in frames]
        out = self.graph.out(op)
        layer = PackedLayer(len(self.layers), key, op, out, self.layout.forms[out.number], residual, made, forms)
        self.layers.append(layer)
        return layer, list(frames)

    def _matched(self, layer: PackedLayer, cells: list[tuple[np.ndarray, np.ndarray]]) -> list[Frame | None] | None:
        """The frames of the layer's sources if this convolution is the layer, perhaps with frames missing."""
        frames: list[Frame | None] = [None] * len(layer.forms)
        for (numbers, channels), (source, wanted) in zip(cells, layer.cells, strict=True):
            for s in set(source.tolist()):
                here = source == s
                own = set(numbers[here].tolist())
                if len(own) != 1:
                    return None
                (number,) = own
                if number < 0:
                    continue
                frame = self.graph.frames[number]
                if s < 0 or self.layout.forms[number] != layer.forms[s] or not np.array_equal(channels[here], wanted[here]):
                    return None
                frames[s] = frame
        return frames

    # -- scalar: kernels as ONNX has them ---------------------------------------------------------------------------------------

    def _pack_scalar(self, layer: PackedLayer) -> None:
        op = layer.op
        taps, (cout, _, kh, kw) = op.taps, op.taps[0].weight.shape
        cin = max(tap.weight.shape[1] for tap in taps)  # summed convolutions may read different numbers of channels
        wide = max(len(source) for source, _ in layer.cells)
        weights = np.zeros((len(taps), cout, cin, kh, kw), np.float32)
        source = np.full((len(taps), wide), -1, np.int32)
        channel = np.zeros((len(taps), wide), np.int32)
        for t, (tap, (sources, channels)) in enumerate(zip(taps, layer.cells, strict=True)):
            weights[t, :, : tap.weight.shape[1]] = tap.weight
            source[t, : len(sources)], channel[t, : len(sources)] = sources, channels
        layer.macs = weights.size * layer.out.height * layer.out.width
        layer.fields = {
            "taps": len(taps), "out_channels": cout, "in_channels": source.shape[1], "per_group": cin,
            "kernel_h": kh, "kernel_w": kw,
            "stride_h": op.strides[0], "stride_w": op.strides[1], "pad_h": op.pads[0], "pad_w": op.pads[1],
            "dilation_h": op.dilations[0], "dilation_w": op.dilations[1], "out_h": layer.out.height, "out_w": layer.out.width,
            "in_h": layer.forms[0].height if layer.forms else 1, "in_w": layer.forms[0].width if layer.forms else 1,
            "weights": self.blob.add(weights), "bias": self.blob.add(_bias(op, cout, 1)), "source": self.blob.add(source),
            "channel": self.blob.add(channel),
        }  # fmt: skip

    # -- depthwise ---------------------------------------------------------------------------------------------------------------

    def _pack_depthwise(self, layer: PackedLayer) -> None:
        op, block = layer.op, self.target.block
        (channels, _, kh, kw), blocks = op.taps[0].weight.shape, layer.out.blocks
        order = [int(source[0]) for source, _ in layer.cells]
        used = [tap for tap, s in zip(op.taps, order, strict=True) if s >= 0]
        padded = np.zeros((len(used), blocks * block, kh * kw), np.float32)
        for i, tap in enumerate(used):
            padded[i, :channels] = tap.weight.reshape(channels, kh * kw)
        weights = padded.reshape(len(used), blocks, block, kh * kw).transpose(1, 0, 3, 2)  # (blocks, sources, taps, block)
        (down, along), (top, left) = op.dilations, op.pads
        places = [(y * down - top, x * along - left) for y in range(kh) for x in range(kw)]
        offsets = [[form.offset(0, y, x) for y, x in places] for form in layer.forms]
        strides = [[form.plane, form.row * op.strides[0]] for form in layer.forms]
        layer.macs = channels * kh * kw * len(used) * layer.out.height * layer.out.width
        layer.bytes = weights.nbytes
        layer.fields = {
            "sources": len(used), "taps": kh * kw, "blocks": blocks, "rows": layer.out.height, "columns": layer.out.width,
            "step": op.strides[1] * block,
            "square": op.strides[1] if (kh, kw) == (3, 3) and op.strides[1] < 3 and op.dilations[1] == 1 else 0,
            "weights": self.blob.add(weights), "bias": self.blob.add(_bias(op, channels, block)),
            "offsets": self.blob.add(np.array(offsets, np.int32)), "strides": self.blob.add(np.array(strides, np.int32)),
        }  # fmt: skip

    # -- everything else ---------------------------------------------------------------------------------------------------------

    def pack_table(self, layer: PackedLayer) -> None:
        op, block, out, choice = layer.op, self.target.block, layer.out, layer.choice or Choice()
        cout, flat = op.taps[0].weight.shape[0], _is_flat(layer)
        columns, runs = _columns(layer), choice.runs(self.target.runs)
        plan, *_ = self._plan(layer)
        heights = tuple(sorted({count for _, count in plan}))
        longest = min((runs[height] for height in heights), default=1)
        edges = _has_edges(op, columns, longest)
        few = choice.bits == 16 and out.height * out.width <= halved.REGISTERS
        wide = max((count for _, count in plan), default=1) * block
        most = halved.at_once(op.taps[0].weight.shape[2:], len(layer.forms), wide) if choice.bits == 16 and not few else 0
        layer.halved = few or most > 0
        # (entries,), (entries, Cout), first of each (slice, source)
        offsets, weights, starts = self._entries(layer, edges, choice, most)
        padded = np.zeros((len(offsets), out.blocks * block), weights.dtype)
        padded[:, :cout] = weights
        kept = [(padded[:, first * block : (first + count) * block] != 0).any(1) for first, count in plan]
        channels = [min(cout, (first + count) * block) - first * block for first, count in plan]
        layer.macs = sum(int(keep.sum()) * c for keep, c in zip(kept, channels, strict=True)) * out.height * out.width
        layer.kept = sum(int(keep.sum()) * n for (_, n), keep in zip(plan, kept, strict=True)) / max(1, len(offsets) * out.blocks)
        dense = all(keep.all() for keep in kept)
        rows: list[list[int]] = []
        bounds: list[np.ndarray] = []
        tables: list[np.ndarray] = []
        word = table = scales = 0
        entries = [np.flatnonzero(keep) for keep in kept]
        for (first, count), here in zip(plan, entries, strict=True):
            bounds.append(np.searchsorted(here, starts))
            rows.append([count, first, word, 0 if dense else table, scales])
            word += len(here) * count * block // (2 if layer.halved else 1)
            scales += len(here) if layer.halved else 0
            if not dense or not tables:
                tables.append(offsets[here])
                table += len(here)
        layer.bytes = 4 * (word + scales)
        layer.shape = Shape(
            columns=columns,
            paired=out.height > 1 and out.width > 1 and not flat and not op.tile and 2 * out.width <= longest,
            step=op.strides[1] * (layer.forms[0].block if layer.forms else block),
            spans=3 if edges else 1,
            bits=16 if few else 32,
            lengths=tuple((height, length) for height in heights for length in sorted(lengths(columns, runs[height]))),
        )
        kernel_rows, kind = op.taps[0].weight.shape[2], (layer.shape.step, layer.shape.spans, layer.shape.bits)
        if kind not in self.kinds:
            self.kinds.append(kind)
        read = b"".join(part.tobytes() for cell in layer.cells for part in cell)
        key = (op.tile, layer.halved), layer.key[0], read, tuple(plan), starts.tobytes()

        def parts() -> list[np.ndarray]:
            return [
                each[here, first * block : (first + count) * block]
                for each in self._rows(layer, padded, edges, choice, most)
                for (first, count), here in zip(plan, entries, strict=True)
            ] if word else [np.zeros((1, 1), np.float32)]  # fmt: skip

        in_slice = max(1, len(layer.forms)) * layer.shape.spans * kernel_rows
        layer.fields = {
            "sources": len(layer.forms), "slices": (len(starts) - 1) // in_slice, "groups": len(plan),
            "rows": 1 if flat else out.height, "columns": layer.shape.columns, "kernel_rows": kernel_rows,
            "row_weights": word if op.tile else 0, "row_scales": scales if op.tile else 0, "expand": int(most > 0),
            "kind": self.kinds.index(kind), "spans": layer.shape.spans, "paired": int(layer.shape.paired),
            **untabled(layer, choice), "longest": choice.longest or max(runs.values()),
            "out_block": out.plane, "out_row": out.row,
            "residual_block": layer.residual.plane if layer.residual else 0,
            "residual_row": layer.residual.row if layer.residual else 0,
            "group_rows": self.blob.add(np.array(rows, np.int32)), "bounds": self.blob.add(np.array(bounds, np.int32)),
            "offsets": self.blob.add(np.concatenate(tables).astype(np.int32) if word else np.zeros(1, np.int32)),
            **halved.fields(self.blob, key, parts, layer.halved),
            "bias": self.blob.add(_bias(op, cout, block)), "reach": self.blob.add(_reach(layer)),
            "in_first": tuple(form.offset(0, -op.pads[0], -op.pads[1]) for form in layer.forms),
            "in_row": tuple(form.row * op.strides[0] for form in layer.forms),
        }  # fmt: skip

    def _rows(self, layer: PackedLayer, padded: np.ndarray, edges: bool, choice: Choice, most: int) -> Iterator[np.ndarray]:
        """Weights of all entries (entries, Cout), for each row where they differ."""
        if not layer.op.tile:
            yield padded
            return
        given = [tap.rows() for tap in layer.op.taps if tap.rows]  # a (rows, Cout, Cin) each
        for row in zip(*given, strict=True):
            taps = [replace(tap, weight=each[:, :, None, None]) for tap, each in zip(layer.op.taps, row, strict=True)]
            _, weights, _ = self._entries(replace(layer, op=replace(layer.op, taps=taps)), edges, choice, most)
            made = np.zeros(padded.shape, np.float32)
            made[:, : weights.shape[1]] = weights
            yield made

    def _entries(
        self, layer: PackedLayer, edges: bool, choice: Choice, at_once: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Offsets and weights of all entries in order, and where each (slice, source, span, kernel row) begins, with the end.
        at_once: channels that a slice may have of each source, 0 for any number."""
        op, width = layer.op, layer.out.width
        kh, kw = op.taps[0].weight.shape[2:]
        lists: list[tuple[np.ndarray, np.ndarray]] = []  # per source: its channels, the weights (Cout, channels, kh, kw)
        for (source, channel), tap in zip(layer.cells, op.taps, strict=True):
            for s in dict.fromkeys(source[source >= 0].tolist()):
                here = np.flatnonzero(source == s)
                order = here[np.argsort(channel[here], kind="stable")]
                lists.append((channel[order], tap.weight[:, order]))
        most = max((len(c) for c, _ in lists), default=1)
        total = sum(len(c) for c, _ in lists) * kh * kw
        share = sum(np.count_nonzero(kernel) for _, kernel in lists) / max(1, sum(kernel.size for _, kernel in lists))
        share = layer.geometry.kept / 100 if layer.op.tile and layer.geometry else share  # rows have zeros of their own
        slices = 1 if layer.out.height * width == 1 else max(1, round(total * share / choice.slice))
        slices = max(slices, -(-most // at_once)) if at_once else slices
        step = -(-most // slices)
        at = np.arange(kw) * op.dilations[1] - op.pads[1]  # column of the input that meets output column 0
        spans = [np.arange(kw)]
        if edges:
            size = layer.forms[0].width if layer.forms else width
            left, right = at < 0, (at >= 0) & (at + width - 1 >= size)
            spans = [np.flatnonzero(mask) for mask in (left, ~left & ~right, right)]
        offsets, weights, starts = [], [], [0]
        for first in range(0, most, step):
            for (channels, kernel), form in zip(lists, layer.forms, strict=True):
                part, cut = channels[first : first + step], kernel[:, first : first + step]
                for columns, y in product(spans, range(kh)):
                    places = [(int(c), y * op.dilations[0], x * op.dilations[1]) for c in part for x in columns.tolist()]
                    offsets.append(np.array([form.offset(*place) for place in places], np.int64))
                    weights.append(cut[:, :, y, columns].transpose(1, 2, 0).reshape(len(places), len(kernel)))
                    starts.append(starts[-1] + len(places))
        if not offsets:
            none = np.zeros(1 + len(spans) * kh, np.int64)
            return np.zeros(0, np.int64), np.zeros((0, op.taps[0].weight.shape[0]), np.float32), none
        return np.concatenate(offsets), np.concatenate(weights), np.array(starts)

    def _plan(self, layer: PackedLayer) -> tuple[list[tuple[int, int]], float, float]:
        """Groups of blocks (first, count) that one kernel computes: the cheapest for the layer's zeros. Also its work in cycles,
        estimated, and what it would be without zeros."""
        block, out, choice, columns = self.target.block, layer.out, layer.choice or Choice(), _columns(layer)
        read = [tap.weight[:, source >= 0] for tap, (source, _) in zip(layer.op.taps, layer.cells, strict=True)]
        weights = np.concatenate(read, axis=1)
        padded = np.zeros((out.blocks * block, *weights.shape[1:]), bool)
        padded[: len(weights)] = weights != 0
        filled = padded.reshape(out.blocks, block, -1).max(1)  # (blocks, entries)
        plans = list(self.splits(out.blocks, choice, self.target.runs))
        cycles = [self._cycles(layer.op, columns, plan, choice) for plan in plans]
        cost = [
            sum(float(filled[first : first + count].any(0).sum()) * each[count] for first, count in plan)
            for plan, each in zip(plans, cycles, strict=True)
        ]
        dense = min(sum(each[count] for _, count in plan) for plan, each in zip(plans, cycles, strict=True))
        positions = out.height * out.width
        return plans[int(np.argmin(cost))], min(cost) * positions, dense * filled.shape[1] * positions

    def _cycles(self, op: Conv, columns: int, plan: list[tuple[int, int]], choice: Choice) -> dict[int, float]:
        """Of an entry and position by height: bound by arithmetic or by loads, two of each a cycle, one of those of 64 bytes."""
        every = choice.runs(self.target.runs)
        runs = {height: every[height] for _, height in plan}
        kernel, made = op.taps[0].weight.shape[3], {}
        skipped = min(kernel - 1, 2) / (kernel * columns) if _has_edges(op, columns, min(runs.values())) else 0.0
        for height, most in runs.items():
            run = columns / -(-columns // most)
            made[height] = max(height * run, height + run + 1) / run * (1 - skipped) / (1 if self.target.block == 16 else 2)
        return made


def untabled(layer: PackedLayer, choice: Choice) -> dict[str, object]:
    """What a choice changes without changing tables."""
    fetch = {} if layer.op.quant else {"fetch": choice.fetch and min(4, round(1 / max(layer.kept, 0.25)))}
    return {**fetch, "block": choice.block}


def lengths(columns: int, longest: int) -> set[int]:
    """Positions of the runs that a row is cut into: they differ by at most one."""
    count = -(-columns // longest)
    return {columns // count, -(-columns // count)}


def _columns(layer: PackedLayer) -> int:
    """Positions of a row."""
    return layer.out.height * layer.out.width if _is_flat(layer) else layer.out.width


def _is_flat(layer: PackedLayer) -> bool:
    """Can a small picture be one row of positions? Its convolution has no kernel, and no frame has borders."""
    op, forms = layer.op, [layer.out, *layer.forms, *([layer.residual] if layer.residual else [])]
    point = not op.tile and op.chain < 0 and op.taps[0].weight.shape[2:] == (1, 1) and op.strides == (1, 1) and op.pads == (0, 0)
    return point and layer.out.width < _WIDE and not any(form.bordered for form in forms)


def _has_edges(op: Conv, columns: int, longest: int) -> bool:
    """Is every run of positions a whole row, with columns of the kernel that miss its ends?"""
    return op.taps[0].weight.shape[3] > 1 and op.strides[1] == 1 and 1 < columns <= longest


#: rows of so many positions are long enough by themselves
_WIDE = 14


def _reach(layer: PackedLayer) -> np.ndarray:
    """Per output row: the first row of the kernel that does not lie in the padding, and the one behind the last, (H, 2) int32."""
    op, kh = layer.op, layer.op.taps[0].weight.shape[2]
    height = max((form.height for form in layer.forms), default=1)
    row = np.arange(layer.out.height)[:, None] * op.strides[0] - op.pads[0] + np.arange(kh) * op.dilations[0]
    inside = np.logical_and(row >= 0, row < height)  # (H, kh)
    first, end = inside.argmax(1), kh - inside[:, ::-1].argmax(1)
    return np.where(inside.any(1, keepdims=True), np.stack([first, end], 1), 0).astype(np.int32)


def _bias(op: Conv, channels: int, block: int) -> np.ndarray:
    padded = np.zeros(-(-channels // block) * block, np.float32)
    if op.bias is not None:
        padded[:channels] = op.bias
    return padded
