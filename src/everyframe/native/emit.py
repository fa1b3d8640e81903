"""A planned network as one readable C file: the kernels it needs, its tables, and the step as a list of calls."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np

from everyframe.errors import UnsupportedOperator
from everyframe.native import blob as blobs
from everyframe.native import ir, maps
from everyframe.native.ir import Conv, Frame, Network, Op
from everyframe.native.layout import Form, Layout
from everyframe.native.lower_elementwise import c_float
from everyframe.native.pack import Layer, Packer
from everyframe.native.target import Target
from everyframe.program.contract import Metadata

_C = Path(__file__).resolve().parent / "c"
#: operators below this much work (multiply-adds, or floats moved) are not worth waking threads for
_WORTH_SHARING = 60_000
MAX_THREADS = 64
ACTIVATIONS = ("none", "sigmoid", "silu", "tanh", "hardswish", "relu6")


@dataclass
class Source:
    """stem: the files' name. text: the C file. header: its API. facts: what a loader must know."""

    stem: str
    text: str
    header: str
    weights: bytes
    facts: dict[str, object]
    layers: list[Layer]
    macs: int


@dataclass
class _Text:
    """Collects the parts of the file."""

    tables: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    known: dict[str, str] = field(default_factory=dict)  # text of a structure -> its name
    counts: dict[str, int] = field(default_factory=dict)
    maps: dict[maps.MapForm, int] = field(default_factory=dict)

    def structure(self, kind: str, fields: dict[str, object], comment: str = "") -> str:
        """Name of a constant structure; equal ones are written once."""
        body = ", ".join(f".{name} = {_value(value)}" for name, value in fields.items())
        key = f"{kind} {body}"
        if key not in self.known:
            number = self.counts[kind] = self.counts.get(kind, -1) + 1
            self.known[key] = f"{kind}_{number}"
            note = f"/* {comment} */\n" if comment else ""
            self.tables.append(f"{note}static const {kind} {self.known[key]} = {{{body}}};")
        return self.known[key]


def _value(value: object) -> str:
    if isinstance(value, Form):
        return f"{{{value.channels}, {value.height}, {value.width}, {value.block}, {value.row}, {value.plane}}}"
    if isinstance(value, tuple):
        if value and isinstance(value[0], Form):
            return f"(const form[]){{{', '.join(map(_value, value))}}}"
        return f"(const int32_t[]){{{', '.join(map(str, value))}}}"
    return c_float(value) if isinstance(value, float) else str(value)


class Emitter:
    def __init__(self, network: Network, layout: Layout, target: Target, model_hash: int) -> None:
        self.network, self.layout, self.target, self.model_hash = network, layout, target, model_hash
        self.blob = blobs.Blob()
        self.packer = Packer(network, layout, target, self.blob)
        self.text = _Text()
        self.fresh = {frame.number: i for i, frame in enumerate(layout.fresh)}
        self.slots = {frame.number: i for i, frame in enumerate(network.slots)}
        self.macs = 0

    def emit(self, notes: list[str], stem: str, metadata: Metadata | None = None) -> Source:
        """notes: lines of the comment on top. stem: the file's name without its ending, for the header it includes."""
        self.packer.pack()
        calls: list[tuple[Op, list[str]]] = []
        for op in self.network.ops:
            before = len(self.text.calls)
            self._operator(op)
            calls.append((op, self.text.calls[before:]))
        functions = [maps.function_text(number, form) for form, number in self.text.maps.items()]
        step, states = self._step(calls), self._states()
        sizes = self._sizes()
        header = _header(sizes, notes, stem, metadata)
        parts = [
            _comment(notes), f'#include "{stem}.h"\n\n#include <math.h>\n#include <string.h>\n',
            self._defines(), *self._kernels(), *functions, self._float_tables(), "\n".join(self.text.tables) + "\n",
            states, step, self._c("api"),
        ]  # fmt: skip
        return Source(
            stem, "\n".join(parts), header, self.blob.to_bytes(self.model_hash), sizes, self.packer.layers, self.macs
        )

    # -- the parts --------------------------------------------------------------------------------------------------------------

    def _c(self, name: str) -> str:
        return (_C / f"{name}.c").read_text(encoding="utf-8")

    def _kernels(self) -> list[str]:
        ops = self.network.ops
        names = ["vector"]
        if maps.needs_functions(list(self.text.maps)):
            names.append("functions")
        names += ["threads", "copy"]
        parts = [self._c(name) for name in names]
        kinds = {layer.kind for layer in self.packer.layers}
        if kinds:
            parts.append(self._c("activation"))
        if kinds and self.target.scalar:
            parts.append(self._c("conv_scalar"))
        elif "conv" in kinds:
            parts.append(self._c("conv") + self._tiles() + self._c("conv_run"))
        if "depthwise" in kinds and not self.target.scalar:
            parts.append(self._c("depthwise"))
        for kind, name in ((ir.Gather, "gather"), (ir.Flatten, "flatten"), (ir.Window, "window"), (ir.Pool, "pool"), (ir.Reduce, "reduce")):
            if any(isinstance(op, kind) for op in ops):
                parts.append(self._c(name))
        if self.text.maps:
            parts.append(self._c("map"))
        return parts

    def _tiles(self) -> str:
        """The convolution kernels of this processor, every width up to the widest."""
        widest = dict(self.target.tiles)
        made = [f"CONV_TILE({h}, {p})" for h, most in widest.items() for p in range(1, most + 1)]
        top, most = max(widest), max(widest.values())
        rows = [
            "    {NULL" + "".join(f", conv_{h}x{p}" for p in range(1, widest.get(h, 0) + 1)) + "},"
            for h in range(top + 1)
        ]
        table = f"static void (*const conv_tiles[{top + 1}][{most + 1}])(const tile_job *, int32_t, int32_t) = {{"
        wide = f"static const int32_t conv_widest[] = {{{', '.join(str(widest.get(h, 0)) for h in range(top + 1))}}};"
        return "\n".join([*made, "", table, *rows, "};", wide, ""])

    def _sizes(self) -> dict[str, object]:
        network, layout = self.network, self.layout
        channels, height, width = network.input_shape
        head = -(-(2048 + 8 * (len(network.slots) + len(layout.fresh) + len(network.counters))) // 64) * 64
        return {
            "frames": network.input_count, "channels": channels, "height": height, "width": width,
            "classes": prod(network.output_shape), "clip": int(network.clip), "head_bytes": head,
            "memory_bytes": head + 4 * layout.floats, "weight_bytes": 64 + 4 * (self.blob.words + 16),
            "model_hash": f"{self.model_hash:016x}", "cpu": self.target.name,
        }  # fmt: skip

    def _defines(self) -> str:
        layout, network = self.layout, self.network
        values = {
            "VL": self.target.block, "EF_HEAD_BYTES": self._sizes()["head_bytes"], "EF_COUNTERS": len(network.counters),
            "EF_SLOTS": len(network.slots), "EF_FRESH": len(layout.fresh), "EF_BUFFERS": sum(p.count for p in layout.pools),
            "EF_STATE_FLOATS": layout.state_floats, "EF_MAX_THREADS": MAX_THREADS,
            "EF_MAX_SOURCES": max([1, *(len(layer.forms) for layer in self.packer.layers)]),
            "EF_WEIGHT_FORMAT": blobs.FORMAT, "EF_WEIGHT_WORDS": f"{self.blob.words + 16}u",
            "EF_MODEL_HASH": f"UINT64_C(0x{self.model_hash:016x})",
        }  # fmt: skip
        return "\n".join(f"#define {name} {value}" for name, value in values.items()) + "\n"

    def _float_tables(self) -> str:
        return "".join(
            f"static const float table_{i}[] = {{{', '.join(c_float(float(v)) for v in table.ravel())}}};\n"
            for i, table in enumerate(self.network.tables)
        )

    # -- operators --------------------------------------------------------------------------------------------------------------

    def _operator(self, op: Op) -> None:
        frame = self.network.out(op)
        if isinstance(op, ir.StateIn | ir.Fill | ir.Constant):
            if isinstance(op, ir.StateIn):
                self.text.calls.append(f"const float *{self._name(frame)} = s->slot[{self.slots[frame.number]}];")
            return
        if isinstance(op, ir.Select):
            yes, no = self._pointer(op.yes, like=frame), self._pointer(op.no, like=frame)
            self.text.calls.append(f"const float *{self._name(frame)} = {op.condition} ? {yes} : {no};")
            return
        self._declare(frame)
        handler = {
            ir.Conv: self._conv, ir.Map: self._map, ir.Pool: self._pool, ir.Reduce: self._reduce, ir.Input: self._input,
            ir.Gather: self._gather, ir.Flatten: self._flatten, ir.Window: self._window,
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

    def _pointer(self, frame: Frame, like: Frame | None = None) -> str:
        """C expression of the address of a frame's first value. like: the frame whose form a fill takes."""
        if isinstance(frame.op, ir.Fill):
            form = self.layout.forms[(like or frame).number]
            return self._fill_pointer(frame.op.value, form)
        if isinstance(frame.op, ir.Constant):
            return f"(s->weights + {self._constant(frame)})"
        return self._name(frame)

    def _fill_pointer(self, value: float, form: Form) -> str:
        start = self.layout.zeros if value == 0 else self.layout.fills[value, form]
        return f"(a + {start + form.origin})"

    def _constant(self, frame: Frame) -> int:
        """Offset of a constant frame's first value in the weights; it lies there as in the arena, borders included."""
        form, data = self.layout.forms[frame.number], frame.op.data  # type: ignore[attr-defined]
        height, width = form.plane // form.row, form.row // form.block
        packed = np.zeros((form.blocks * form.block, height, width), np.float32)
        packed[: len(data), form.top : form.top + form.height, form.left : form.left + form.width] = data
        return self.blob.add(packed.reshape(form.blocks, form.block, height, width).transpose(0, 2, 3, 1)) + form.origin

    def _call(
        self, kernel: str, layer: str, out: Frame, inputs: list[str], work: int, residual: str = "NULL", numbers: list[str] | None = None
    ) -> None:
        how = "shared" if work >= _WORTH_SHARING else "alone"
        listed = f"(const float *const[]){{{', '.join(inputs)}}}" if inputs else "NULL"
        values = f"(const float[]){{{', '.join(numbers)}}}" if numbers else "NULL"
        self.text.calls.append(f"{how}(s, {kernel}, &{layer}, {self._name(out)}, {residual}, {listed}, {values});")

    def _conv(self, op: Conv, frame: Frame) -> None:
        call = self.packer.calls[id(op)]
        layer, out = call.layer, self.layout.forms[frame.number]
        kind = "conv" if self.target.scalar else layer.kind
        fields = dict(layer.fields)
        if kind == "depthwise":
            rest = layer.residual
            fields |= {
                "out_block": out.plane, "out_row": out.row,
                "residual_block": rest.plane if rest else 0, "residual_row": rest.row if rest else 0,
            }  # fmt: skip
        act = op.activation
        fields |= {
            "activation": ACTIVATIONS.index(act.name), "residual_last": int(op.residual_last), "low": float(act.low), "high": float(act.high)
        }  # fmt: skip
        name = self.text.structure(f"{kind}_layer", fields, _describe(layer))
        inputs = [self._pointer(f) if f is not None else "NULL" for f in call.frames]
        self.macs += layer.macs
        self._call(kind, name, frame, inputs, layer.macs, self._pointer(op.residual) if op.residual else "NULL")

    def _map(self, op: ir.Map, frame: Frame) -> None:
        form, texts = maps.form_of(self.network, op)
        number = self.text.maps.setdefault(form, len(self.text.maps))
        name = self.text.structure("map_layer", maps.layer_fields(self.network, self.layout, op))
        self._call(f"map_{number}", name, frame, [self._pointer(f) for f in op.inputs],
                   frame.floats * (1 + len(op.steps)), numbers=[f"(float)({t})" for t in texts])  # fmt: skip

    def _pool(self, op: ir.Pool, frame: Frame) -> None:
        fields = {
            "in": self._common_form(op.parts), "out": self.layout.forms[frame.number], "parts": len(op.parts), "average": int(op.kind == "avg"),
            "kernel_h": op.kernel[0], "kernel_w": op.kernel[1], "stride_h": op.strides[0], "stride_w": op.strides[1],
            "dilation_h": op.dilations[0], "dilation_w": op.dilations[1], "top": op.pads[0], "left": op.pads[1], "bottom": op.pads[2],
            "right": op.pads[3], "count_pads": int(op.count_pads), "depth": op.depth,
        }  # fmt: skip
        name = self.text.structure("pool_layer", fields)
        self._call("pooling", name, frame, [self._pointer(f) for f in op.parts], frame.floats * prod(op.kernel) * len(op.parts))

    def _reduce(self, op: ir.Reduce, frame: Frame) -> None:
        fields = {"in": self._common_form(op.parts), "parts": len(op.parts), "kind": f"REDUCE_{op.kind.upper()}"}
        name = self.text.structure("reduce_layer", fields)
        self._call("reduce", name, frame, [self._pointer(f) for f in op.parts], op.parts[0].floats * len(op.parts))

    def _common_form(self, parts: list[Frame]) -> Form:
        forms = {self.layout.forms[f.number] for f in parts}
        if len(forms) != 1:
            raise UnsupportedOperator("A pool reads frames of different layouts.", where=parts[0].label)
        return forms.pop()

    def _input(self, op: ir.Input, frame: Frame) -> None:
        c, h, w = self.network.input_shape
        count = self.network.input_count
        start, stride = (op.index * h * w, count * h * w) if self.network.clip else (op.index * c * h * w, h * w)
        name = self.text.structure("import_layer", {"out": self.layout.forms[frame.number], "stride": stride})
        self._call("import", name, frame, [f"frames + {start}"], frame.floats)

    def _gather(self, op: ir.Gather, frame: Frame) -> None:
        sources = op.reads()
        index = {f.number: i for i, f in enumerate(sources)}
        table = [(index[p >> 24], p & 0xFFFFFF) for p in op.planes.tolist()]
        fields = {
            "out": self.layout.forms[frame.number], "in": tuple(self.layout.forms[f.number] for f in sources),
            "table": self.blob.add(np.array(table, np.int32)),
        }  # fmt: skip
        self._call("gather", self.text.structure("gather_layer", fields), frame, [self._pointer(f) for f in sources], frame.floats)

    def _flatten(self, op: ir.Flatten, frame: Frame) -> None:
        name = self.text.structure("flatten_layer", {"in": self.layout.forms[op.source.number]})
        self._call("flatten", name, frame, [self._pointer(op.source)], frame.floats)

    def _window(self, op: ir.Window, frame: Frame) -> None:
        fields = {
            "in": self.layout.forms[op.source.number], "out": self.layout.forms[frame.number], "origin_h": op.origin[0],
            "origin_w": op.origin[1], "stride_h": op.strides[0], "stride_w": op.strides[1], "value": float(op.value),
        }  # fmt: skip
        self._call("window", self.text.structure("window_layer", fields), frame, [self._pointer(op.source)], frame.floats)

    # -- states and the step -------------------------------------------------------------------------------------------------------

    def _states(self) -> str:
        layout, network = self.layout, self.network
        first = np.cumsum([0, *(pool.count for pool in layout.pools)])

        def table(name: str, values: list[int]) -> str:
            return f"static const int64_t {name}[] = {{{', '.join(map(str, values)) or '0'}}};"
        fills = [
            f"    fill(a + {place + form.origin}, &(const form){_value(form)}, {c_float(value)});"
            for (value, form), place in layout.fills.items()
        ]
        starts = [
            f"        {self._fill_pointer(slot.op.fill, layout.forms[slot.number])}," for slot in network.slots  # type: ignore[attr-defined]
        ]
        lines = [
            table("buffers_start", [p.start + p.form.origin for p in layout.pools]),
            table("buffers_floats", [p.form.floats for p in layout.pools]),
            table("buffers_first", [int(n) for n in first[:-1]]),
            table("slot_buffers", [layout.pool_of[f.number] for f in network.slots]),
            table("fresh_buffers", [layout.pool_of[f.number] for f in layout.fresh]),
            self._c("states"),
            "static void fill_constants(ef_stream *s) {", "    float *const a = s->arena;", "    (void)a;", "    (void)fill;", *fills, "}", "",
            "static void start_states(ef_stream *s) {", "    float *const a = s->arena;", "    (void)a;",
            "    const float *const start[EF_SLOTS + 1] = {", *starts, "        NULL,", "    };", "    keep(s, start);", "}", "",
        ]  # fmt: skip
        return "\n".join(lines)

    def _step(self, calls_by_op: list[tuple[Op, list[str]]]) -> str:
        network = self.network
        lines = [self._c("call"), "int ef_step(ef_stream *s, const float *frames, float *logits) {",
                 "    if (!s || !frames || !logits) return EF_BAD_ARGUMENT;", "    float *const a = s->arena;", "    (void)a;"]  # fmt: skip
        lines += [f"    const int64_t {name} = s->counter[{i}];" for i, name in enumerate(network.counters)]
        lines += [f"    (void){name};" for name in network.counters]
        label = None
        for op, calls in calls_by_op:
            if op.label != label and calls:
                label = op.label
                lines.append(f"    /* {_safe(label)} */")
            lines += [f"    {call}" for call in calls]
        size = network.logits[0].channels
        lines += [
            f"    memcpy(logits + {i * size}, {self._pointer(frame)}, {size} * sizeof(float));" for i, frame in enumerate(network.logits)
        ]
        following = [
            f"        {self._pointer(after, like=slot)}," for slot, after in zip(network.slots, network.slot_next, strict=True)
        ]
        lines += ["    const float *const next[EF_SLOTS + 1] = {", *following, "        NULL,", "    };", "    keep(s, next);"]
        lines += [f"    s->counter[{i}] = {text};" for i, text in enumerate(network.counter_next)]
        lines += ["    return EF_OK;", "}", ""]
        return "\n".join(lines)


def _describe(layer: Layer) -> str:
    op, out = layer.op, layer.out
    kernel = op.taps[0].weight.shape
    what = "depthwise" if op.depthwise else "convolution"
    sparse = f", {layer.kept:.0%} of the weights" if layer.kept < 0.995 else ""
    return _safe(
        f"{op.label}: {what} {len(op.taps)}x{kernel[2]}x{kernel[3]} / {op.strides[0]}, {len(op.taps[0].planes)} -> {out.channels} "
        f"channels, {out.height} x {out.width}{sparse}"
    )


def _safe(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text).replace("*/", "* /").replace("/*", "/ *").replace("\\", "/")


def _comment(notes: list[str]) -> str:
    return "/* " + "\n   ".join(_safe(line) for line in notes) + " */\n"


def _header(sizes: dict[str, object], notes: list[str], stem: str, metadata: Metadata | None) -> str:
    guard = "EF_" + "".join(c.upper() if c.isalnum() else "_" for c in stem) + "_H"
    return (
        (_C / "header.h").read_text(encoding="utf-8")
        .replace("@NOTES@", _comment(notes)).replace("@GUARD@", guard)
        .replace("@MODEL@", _model_facts(metadata) if metadata else "").replace("@SIZES@", "\n".join(
            f"#define EF_{name.upper()} {sizes[name]}"
            for name in ("frames", "channels", "height", "width", "classes", "clip", "memory_bytes", "weight_bytes")
        ))
    )  # fmt: skip


def _model_facts(metadata: Metadata) -> str:
    """What a program needs beside the network: labels and preprocessing."""
    pre = metadata.preprocess
    lists = {"mean": pre.mean, "std": pre.std}
    rows = [f"#define EF_SCALE {c_float(pre.scale)} /* a value becomes (pixel * EF_SCALE - EF_MEAN) / EF_STD */"]
    rows += [f"#define EF_{name.upper()} {{{', '.join(c_float(float(v)) for v in values)}}}" for name, values in lists.items()]
    rows.append(f"#define EF_FIRST_FRAMES {metadata.feature_delay + 1} /* predictions mean something from the step with this frame on */")
    if metadata.labels:
        rows.append(f"#define EF_LABELS {{{', '.join(json.dumps(label) for label in metadata.labels)}}}")
    return "/* The model's own: channels come as " + pre.color + ". */\n" + "\n".join(rows)
