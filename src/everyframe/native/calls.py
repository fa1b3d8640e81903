"""Operators as calls of the kernels in `c/`, with the tables that each of them reads."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import chain
from math import prod
from typing import Any

import numpy as np

from everyframe.errors import UnsupportedOperator
from everyframe.native import ir, ir_values, maps, moves, pack_int8
from everyframe.native.blob import Blob
from everyframe.native.ir import Activation, Conv, Frame, Graph, Op
from everyframe.native.layout import Form, Layout, is_zeros, stored
from everyframe.native.pack import Packer
from everyframe.native.packed import Choose, PackedLayer
from everyframe.native.tables import table_of
from everyframe.native.target import Target
from everyframe.native.text import Text, Work, safe
from everyframe.native.winograd import Tile, Untile, end_fields, tile_fields, tiles, untile_bytes_fields, untile_fields

#: operators below this much work (multiply-adds, or floats moved) are not worth waking threads for
_WORTH_SHARING = 60_000


class Calls:
    """Turns operators into lines of C, in order. text: what was written so far. macs: multiply-adds of a step."""

    def __init__(self, graph: Graph, layout: Layout, target: Target, choose: Choose) -> None:
        self.graph, self.layout, self.target = graph, layout, target
        self.blob = Blob()
        self.packer = Packer(graph, layout, target, self.blob, choose)
        self.text = Text()
        self.fresh = {frame.number: i for i, frame in enumerate(layout.fresh)}
        self.slots = {frame.number: i for i, frame in enumerate(graph.slots)}
        self.macs = 0
        #: how many frames each call of a layer makes, and those that have been seen: address, residual and sources
        self.batches: Counter[tuple[int, int]] = Counter()
        self.waiting: defaultdict[tuple[int, int], list[tuple[str, str, list[str]]]] = defaultdict(list)
        self.stages: list[tuple[str, str, str, list[str]]] = []  # of the chain that is being written, as `waiting`

    def all(self) -> list[tuple[Op, list[str]]]:
        """Every operator with its lines."""
        self.packer.pack()
        convs = [op for op in self.graph.ops if isinstance(op, Conv)]
        self.batches = Counter((op.batch, self.packer.calls[id(op)].layer.number) for op in convs)
        made = []
        for op in self.graph.ops:
            before = len(self.text.calls)
            self._operator(op)
            made.append((op, self.text.calls[before:]))
        return made

    def _operator(self, op: Op) -> None:
        frame = self.graph.out(op)
        if isinstance(op, ir.StateIn | ir.Fill | ir.Constant):
            if isinstance(op, ir.StateIn):
                self.text.calls.append(f"const float *{self._name(frame)} = s->slot[{self.slots[frame.number]}];")
            return
        if isinstance(op, ir.Select):
            yes, no = self.pointer(op.yes, like=frame), self.pointer(op.no, like=frame)
            self.text.calls.append(f"const float *{self._name(frame)} = {op.condition} ? {yes} : {no};")
            return
        self._declare(frame)
        if isinstance(op, Conv):
            self._conv(op, frame)
            return
        self.text.work.append(Work(op.label, type(op).__name__.lower()))
        handler: Any = {
            ir.Map: self._map, ir.Pool: self._pool, ir.Reduce: self._reduce, ir.Input: self._input,
            ir.Gather: self._gather, ir.Flatten: self._flatten, ir.Window: self._window, ir.Move: self._move,
            ir_values.Product: self._product, ir_values.Pick: self._pick, ir_values.Put: self._put,
            ir_values.PutRows: self._put_rows, ir_values.Rank: self._rank,
            Tile: self._tile, Untile: self._untile,
        }[type(op)]  # fmt: skip
        handler(op, frame)

    def _declare(self, frame: Frame) -> None:
        if frame.number in self.fresh:
            place = f"s->fresh[{self.fresh[frame.number]}]"
        else:
            place = f"a + {self.layout.places[frame.number] + self.layout.forms[frame.number].origin}"
        self.text.calls.append(f"float *{self._name(frame)} = {place};")

    def _name(self, frame: Frame) -> str:
        return f"f{frame.number}"

    def pointer(self, frame: Frame, like: Frame | None = None) -> str:
        """C expression of the address of a frame's first value. like: the frame whose form a fill takes."""
        if isinstance(frame.op, ir.Fill):
            form = self.layout.forms[(like or frame).number]
            return self.fill_pointer(stored(frame.op.value, like or frame), form)
        if isinstance(frame.op, ir.Constant):
            return f"(s->weights + {self._constant(frame)})"
        return self._name(frame)

    def fill_pointer(self, value: float, form: Form) -> str:
        start = self.layout.zeros if is_zeros(value, form) else self.layout.fills[value, form]
        return f"(a + {start + form.origin})"

    def _constant(self, frame: Frame) -> int:
        """Offset of a constant frame's first value in the weights; it lies there as in the arena, borders included."""
        form, data = self.layout.forms[frame.number], frame.op.data  # type: ignore[attr-defined]
        height, width = form.plane // form.row, form.row // form.block
        packed = np.zeros((form.blocks * form.block, height, width), np.float32)
        packed[: len(data), form.top : form.top + form.height, form.left : form.left + form.width] = data
        return self.blob.add(packed.reshape(form.blocks, form.block, height, width).transpose(0, 2, 3, 1)) + form.origin

    def _call(
        self,
        kernel: str,
        layer: str,
        out: Frame,
        inputs: list[str],
        work: int,
        residual: str = "NULL",
        numbers: list[str] | None = None,
    ) -> None:
        how = "shared" if work >= _WORTH_SHARING else "alone"
        listed = f"(const float *const[]){{{', '.join(inputs)}}}" if inputs else "NULL"
        values = f"(const float[]){{{', '.join(numbers)}}}" if numbers else "NULL"
        self.text.calls.append(f"{how}(s, {kernel}, &{layer}, {self._name(out)}, {residual}, {listed}, {values});")

    def _conv(self, op: Conv, frame: Frame) -> None:
        call = self.packer.calls[id(op)]
        layer = call.layer
        kind = layer.kind.replace("depthwise", "conv") if self.target.scalar else layer.kind
        kernel = layer.kernel or kind
        fields = conv_fields(layer, op)
        if kind.startswith("depthwise"):
            out, rest = layer.out, layer.residual
            fields |= {
                "out_block": out.plane, "out_row": out.row,
                "residual_block": rest.plane if rest else 0, "residual_row": rest.row if rest else 0,
            }  # fmt: skip
        name = self.text.structure(f"{kind}_layer", fields, _describe(layer))
        self.macs += layer.macs
        inputs = [self.pointer(f) if f is not None else "NULL" for f in call.frames]
        residual = self.pointer(op.residual) if op.residual else "NULL"
        if op.chain >= 0:
            self._stage(op, f"{kind}, &{name}", residual, inputs)
            return
        batch = op.batch, layer.number
        count = self.batches[batch] if op.batch >= 0 else 1
        if count == 1 or count * layer.macs < _WORTH_SHARING:
            self.text.work.append(Work(op.label, layer.kind, layer.macs, layer.bytes))
            self._call(kernel, name, frame, inputs, layer.macs, residual)
            return
        self.waiting[batch].append((self._name(frame), residual, inputs))
        if len(self.waiting[batch]) == count:
            self.text.work.append(Work(op.label, layer.kind, count * layer.macs, layer.bytes))
            self._together(kernel, name, *zip(*self.waiting[batch], strict=True))

    def _together(
        self, kernel: str, layer: str, outs: Sequence[str], rests: Sequence[str], read: Sequence[Sequence[str]]
    ) -> None:  # fmt: skip
        lists = (
            f"(float *const[]){{{', '.join(outs)}}}",
            *(f"(const float *const[]){{{', '.join(each) or 'NULL'}}}" for each in (rests, chain.from_iterable(read))),
        )
        self.text.calls.append(f"together(s, {kernel}, &{layer}, {len(outs)}, {', '.join(lists)});")

    def _stage(self, op: Conv, kernel: str, residual: str, inputs: list[str]) -> None:
        """Of a chain, which is one call."""
        whole = self.graph.chains[op.chain]
        level = next(number for number, ops in enumerate(whole.levels) if op in ops)
        stage = f"{{{kernel}, {level}, {len(inputs)}}}"
        self.stages.append((stage, self._name(self.graph.out(op)), residual, inputs))
        if op is not whole.ops[-1]:
            return
        stages, outs, rests, read = zip(*self.stages, strict=True)
        self.stages = []
        layers = [self.packer.calls[id(each)].layer for each in whole.ops]
        weights = {layer.number: layer.bytes for layer in layers}
        label = f"{whole.ops[0].label} .. {op.label}"
        self.text.work.append(Work(label, "strips", sum(layer.macs for layer in layers), sum(weights.values())))
        levels = [self._level(ops[0]) for ops in whole.levels]
        fields = {
            "rows": whole.rows, "copies": whole.copies, "last": len(levels) - 1,
            "level": f"(const strips_level[]){{{', '.join(levels)}}}", "stage": f"(const strips_stage[]){{{', '.join(stages)}}}",
        }  # fmt: skip
        self._together("strips", self.text.structure("strips_layer", fields), outs, rests, read)

    def _level(self, op: Conv) -> str:
        """Of a chain, by one of its convolutions."""
        form = self.layout.forms[self.graph.out(op).number]
        sizes = form.height, form.blocks, form.row, form.plane, form.left * form.block, form.held_floats, *ir.sizes_of(op)
        return f"{{{', '.join(map(str, sizes))}}}"

    def _map(self, op: ir.Map, frame: Frame) -> None:
        if (table := table_of(self.graph, op)) is not None:
            listed = f"(const uint8_t[]){{{', '.join(map(str, table.tolist()))}}}"
            fields: dict[str, object] = {"map": maps.layer_fields(self.graph, self.layout, op, []), "table": listed}
            name = self.text.structure("map_table_layer", fields)
            self._call("map_table", name, frame, [self.pointer(f) for f in op.inputs], frame.floats)
            return
        planar = self.layout.forms[frame.number].block < self.target.block
        form, texts, parameters = maps.form_of(self.graph, op, planar)
        number = self.text.maps.setdefault(form, len(self.text.maps))
        name = self.text.structure("map_layer", maps.layer_fields(self.graph, self.layout, op, parameters))
        self._call(f"map_{number}", name, frame, [self.pointer(f) for f in op.inputs],
                   frame.floats * (1 + len(op.steps)), numbers=[f"(float)({t})" for t in texts])  # fmt: skip

    def _pool(self, op: ir.Pool, frame: Frame) -> None:
        fields = {
            "in": self._common_form(op.parts), "out": self.layout.forms[frame.number], "parts": len(op.parts),
            "average": int(op.kind == "avg"),
            "kernel_h": op.kernel[0], "kernel_w": op.kernel[1], "stride_h": op.strides[0], "stride_w": op.strides[1],
            "dilation_h": op.dilations[0], "dilation_w": op.dilations[1], "top": op.pads[0], "left": op.pads[1],
            "bottom": op.pads[2], "right": op.pads[3], "count_pads": int(op.count_pads), "depth": op.depth,
        }  # fmt: skip
        kind, kernel = "pool", "pooling"
        if frame.quant or op.parts[0].quant:
            kind, kernel = "pool_int8", "pooling_int8"
            fields = {
                "pool": fields, "in_packed": int(op.parts[0].quant is not None), "out_packed": int(frame.quant is not None),
                "same": int(op.kind == "max" and frame.quant == op.parts[0].quant), **_read(op.parts), **_stored(frame),
                "inverse": frame.quant.inverse if frame.quant else 1.0, "middle": maps.middle(maps.FUNCTIONS_NEAR),
            }  # fmt: skip
        name = self.text.structure(f"{kind}_layer", fields)
        self._call(kernel, name, frame, [self.pointer(f) for f in op.parts], frame.floats * prod(op.kernel) * len(op.parts))

    def _reduce(self, op: ir.Reduce, frame: Frame) -> None:
        fields = {"in": self._common_form(op.parts), "parts": len(op.parts), "kind": f"REDUCE_{op.kind.upper()}"}
        kind = "reduce"
        if op.parts[0].quant:
            kind = "reduce_int8"
            fields = {"reduce": fields, **_read(op.parts), **_stored(frame), "out_packed": int(frame.quant is not None)}
        name = self.text.structure(f"{kind}_layer", fields)
        self._call(kind, name, frame, [self.pointer(f) for f in op.parts], op.parts[0].floats * len(op.parts))

    def _common_form(self, parts: list[Frame]) -> Form:
        forms = {self.layout.forms[f.number] for f in parts}
        if len(forms) != 1:
            raise UnsupportedOperator("A pool reads frames of different layouts.", where=parts[0].label)
        return forms.pop()

    def _input(self, op: ir.Input, frame: Frame) -> None:
        fields = {"out": self.layout.forms[frame.number], "stride": op.stride, **_stored(frame)}
        name = self.text.structure("import_layer", fields)
        self._call("import", name, frame, [f"frames + {op.start}"], frame.floats)

    def _gather(self, op: ir.Gather, frame: Frame) -> None:
        sources = op.reads()
        index = {f.number: i for i, f in enumerate(sources)}
        numbers, which = np.unique(op.planes >> ir.SHIFT, return_inverse=True)
        table = np.stack([np.array([index[n] for n in numbers.tolist()])[which.reshape(-1)], ir.channels_of(op.planes)], 1)
        fields = {
            "out": self.layout.forms[frame.number], "in": tuple(self.layout.forms[f.number] for f in sources),
            "table": self.blob.add(table.astype(np.int32)),
        }  # fmt: skip
        self._call("gather", self.text.structure("gather_layer", fields), frame, [self.pointer(f) for f in sources], frame.floats)

    def _move(self, op: ir.Move, frame: Frame) -> None:
        fields = moves.fields(op, frame, self.layout, self.blob)
        self._call("move", self.text.structure("move_layer", fields), frame, [self.pointer(f) for f in op.reads()], frame.floats)

    def _product(self, op: ir_values.Product, frame: Frame) -> None:
        fields: dict[str, object] = {name: self.layout.forms[f.number] for name, f in (("a", op.a), ("b", op.b), ("out", frame))}
        work = frame.floats * op.a.width
        self._call("product", self.text.structure("product_layer", fields), frame, [self.pointer(op.a), self.pointer(op.b)], work)

    def _pick(self, op: ir_values.Pick, frame: Frame) -> None:
        parts = {"in": op.source, "index": op.index, "out": frame}
        name = self.text.structure("pick_layer", {name: self.layout.forms[f.number] for name, f in parts.items()})
        self._call("pick_at", name, frame, [self.pointer(op.source), self.pointer(op.index)], frame.floats)

    def _put(self, op: ir_values.Put, frame: Frame) -> None:
        """By one thread: what comes later wins."""
        parts = {"base": op.base, "index": op.index, "values": op.values, "out": frame}
        fields: dict[str, object] = {name: self.layout.forms[f.number] for name, f in parts.items()}
        fields["kind"] = f"PUT_{op.kind.upper()}"
        name = self.text.structure("put_layer", fields)
        self._call("put_at", name, frame, [self.pointer(f) for f in op.reads()], 0)

    def _put_rows(self, op: ir_values.PutRows, frame: Frame) -> None:
        parts = {"index": op.index, "values": op.values, "base": op.base or frame, "out": frame}
        fields: dict[str, object] = {name: self.layout.forms[f.number] for name, f in parts.items()}
        fields |= {"kind": f"PUT_{op.kind.upper()}", "based": int(op.base is not None), "value": float(op.value)}
        name = self.text.structure("put_rows_layer", fields)
        self._call("put_rows", name, frame, [self.pointer(f) for f in op.reads()], frame.floats)

    def _rank(self, op: ir_values.Rank, frame: Frame) -> None:
        fields = {"in": self.layout.forms[op.source.number], "out": self.layout.forms[frame.number], "largest": int(op.largest)}
        name = self.text.structure("rank_layer", fields)
        self._call("rank_rows", name, frame, [self.pointer(op.source)], op.source.floats * frame.width)

    def _tile(self, op: Tile, frame: Frame) -> None:
        forms, across = self.layout.forms, tiles(op.tile, *op.size)[1]
        quant = op.source.quant
        fields = tile_fields(forms[op.source.number], forms[frame.number], across, op.pads, quant.zero if quant else 0)
        kernel = "tile_bytes" if quant else f"tile_{op.tile}"
        self._call(kernel, self.text.structure(*fields), frame, [self.pointer(op.source)], frame.floats * 2)

    def _untile(self, op: Untile, frame: Frame) -> None:
        forms, rest = self.layout.forms, op.residual
        given = forms[op.source.number], forms[frame.number], forms[rest.number] if rest else None
        across = tiles(op.tile, frame.height, frame.width)[1]
        if op.of:
            fields = untile_bytes_fields(*given, across, op.of, pack_int8.ending(self.packer, op.of, frame))
        else:
            bias = np.zeros(forms[frame.number].blocks * self.target.block, np.float32)
            bias[: frame.channels] = 0 if op.bias is None else op.bias
            fields = untile_fields(*given, across, self.blob.add(bias), op.activation, op.residual_last)
        kernel, residual = "untile_bytes" if op.of else f"untile_{op.tile}", self.pointer(rest) if rest else "NULL"
        self._call(kernel, self.text.structure(*fields), frame, [self.pointer(op.source)], op.source.floats * 2, residual)

    def _flatten(self, op: ir.Flatten, frame: Frame) -> None:
        name = self.text.structure("flatten_layer", {"in": self.layout.forms[op.source.number]})
        self._call("flatten", name, frame, [self.pointer(op.source)], frame.floats)

    def _window(self, op: ir.Window, frame: Frame) -> None:
        fields = {
            "in": self.layout.forms[op.source.number], "out": self.layout.forms[frame.number], "origin_h": op.origin[0],
            "origin_w": op.origin[1], "stride_h": op.strides[0], "stride_w": op.strides[1],
            "value": stored(float(op.value), frame),
        }  # fmt: skip
        self._call("window", self.text.structure("window_layer", fields), frame, [self.pointer(op.source)], frame.floats)


def conv_fields(layer: PackedLayer, op: Conv) -> dict[str, object]:
    """What the structure of a packed convolution holds."""
    act, end = op.activation, end_fields(op)
    if op.quant and op.tile:
        return layer.fields
    if op.quant:
        return layer.fields | {"ending": layer.fields["ending"] | end}  # type: ignore[operator]
    few = {"few": _few(layer, op)} if "spans" in layer.fields else {}
    return layer.fields | {**end, **few, "low": float(act.low), "high": float(act.high)}


def _few(layer: PackedLayer, op: Conv) -> int:
    """Lanes to activate of each vector, where several positions fill one and that is worth it; else 0."""
    plain = op.activation == Activation(op.activation.name) and op.residual is None
    lanes = next((count for count in (2, 4, 8) if layer.out.channels <= count), layer.out.block)
    return lanes if plain and op.activation.name in ("sigmoid", "silu", "tanh") and 2 * lanes <= layer.out.block else 0


def _read(parts: list[Frame]) -> dict[str, object]:
    """How the values of quantized frames follow from their bytes."""
    quant = parts[0].quant
    return {"in_scale": quant.scale, "in_zero": float(quant.zero)} if quant else {"in_scale": 1.0, "in_zero": 0.0}


def _stored(frame: Frame) -> dict[str, object]:
    """How a frame's bytes follow from its values."""
    quant = frame.quant
    return {"scale": quant.scale, "zero": float(quant.zero)} if quant else {"scale": 1.0, "zero": 0.0}


def _describe(layer: PackedLayer) -> str:
    op, out = layer.op, layer.out
    kernel = op.taps[0].weight.shape
    what = ("int8 " if op.quant else "") + ("depthwise" if op.depthwise else "convolution")
    sparse = f", {layer.kept:.0%} of the weights" if layer.kept < 0.995 else ""
    return safe(
        f"{op.label}: {what} {len(op.taps)}x{kernel[2]}x{kernel[3]} / {op.strides[0]}, {len(op.taps[0].planes)} -> "
        f"{out.channels} channels, {out.height} x {out.width}{sparse}{f'; {layer.choice}' if layer.choice else ''}"
    )
