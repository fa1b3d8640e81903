"""A planned network as one readable C file: the kernels it needs, its tables, and the step as a list of calls."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from everyframe.modelfile.schema import Metadata
from everyframe.native import blob as blobs
from everyframe.native import ir, ir_values, maps
from everyframe.native.calls import Calls
from everyframe.native.halved import WIDE
from everyframe.native.ir import Graph, Op
from everyframe.native.layout import Layout, stored
from everyframe.native.lower_elementwise import c_float
from everyframe.native.pack import DEPTHWISE_LONGEST, Packer, lengths
from everyframe.native.packed import Choose, PackedLayer, by_default
from everyframe.native.target import Target
from everyframe.native.text import Work, safe, value_text
from everyframe.native.winograd import Untile

Answers = tuple[tuple[str, tuple[int, ...]], ...]
C_FILES = Path(__file__).resolve().parent / "c"
#: of a stream; as many as the options of verbs take
MAX_THREADS = 256


@dataclass
class Source:
    """stem: the files' name. text: the C file. header: its API. facts: what a loader must know."""

    stem: str
    text: str
    header: str
    weights: bytes
    facts: dict[str, Any]
    packer: Packer
    work: list[Work]  # the step's calls of kernels, in order
    macs: int

    @property
    def layers(self) -> list[PackedLayer]:
        return self.packer.layers

    @property
    def inexact(self) -> int:
        """How many convolutions round more than the operators themselves do, and so must be compared."""
        return sum(bool(layer.choice and layer.choice.tile > 2 and not layer.op.quant) for layer in self.layers)

    @property
    def halved(self) -> int:
        """How many convolutions have weights of 16 bits, and so must be compared."""
        return sum(layer.halved for layer in self.layers)


#: kernels come as whole files, of which a network may use only a part
_QUIET = '#pragma GCC diagnostic ignored "-Wunused-function"'


class Emitter:
    def __init__(self, graph: Graph, layout: Layout, target: Target, model_hash: int, choose: Choose = by_default) -> None:
        self.graph, self.layout, self.target, self.model_hash = graph, layout, target, model_hash
        self.calls = Calls(graph, layout, target, choose)

    def emit(self, notes: list[str], stem: str, metadata: Metadata | None = None) -> Source:
        """notes: lines of the comment on top. stem: the files' name. metadata: adds labels and preprocessing to the header."""
        calls = self.calls.all()
        functions = [maps.function_text(number, form) for form, number in self.calls.text.maps.items()]
        step, states = self._step(calls), self._states()
        sizes = self._sizes()
        header = _header(sizes, notes, stem, metadata, self.graph.answers)
        parts = [
            _comment(notes), f'#include "{stem}.h"\n\n#include <math.h>\n#include <string.h>\n\n{_QUIET}\n',
            self._defines(), *self._kernels(), *functions, self._float_tables(), "\n".join(self.calls.text.tables) + "\n",
            states, step, c_text("api"),
        ]  # fmt: skip
        return Source(
            stem,
            "\n".join(parts),
            header,
            self.calls.blob.to_bytes(self.model_hash),
            sizes,
            self.calls.packer,
            self.calls.text.work,
            self.calls.macs,
        )

    # -- the parts --------------------------------------------------------------------------------------------------------------

    def _kernels(self) -> list[str]:
        ops = self.graph.ops
        names = ["vector"]
        if maps.needs_functions(list(self.calls.text.maps)):
            names.append("functions")
        quantized = any(frame.quant for frame in self.graph.frames.values())
        halves = any(frame.half for op in ops if isinstance(op, ir.Map) for frame in (*op.inputs, self.graph.out(op)))
        names += [*(["bytes", "exact"] if quantized else []), *(["halves"] if halves else []), "threads", "copy"]
        parts = [c_text(name) for name in names]
        parts += conv_kernels(self.target, self.calls.packer)
        if back := [op for op in ops if isinstance(op, Untile)]:
            parts.append(winograd_kernels({op.tile for op in back if not op.of}, any(op.of for op in back)))
        if self.graph.chains:
            levels = max(len(each.levels) for each in self.graph.chains)
            parts.append(f"#define EF_STRIPS {levels}\n" + c_text("strips"))
        for kind, name in (
            (ir.Gather, "gather"),
            (ir.Flatten, "flatten"),
            (ir.Window, "window"),
            (ir.Move, "move"),
            (ir_values.Product, "product"),
            (ir_values.Pick | ir_values.Put | ir_values.PutRows | ir_values.Rank, "places"),
            (ir.Pool, "pool"),
            (ir.Reduce, "reduce"),
        ):
            if any(isinstance(op, kind) for op in ops):
                parts.append(c_text(name))
        for kind, name in ((ir.Pool, "pool_int8"), (ir.Reduce, "reduce_int8")):
            made = [op for op in ops if isinstance(op, kind)]
            if any(frame.quant for op in made for frame in (self.graph.out(op), *op.reads())):
                parts.append(c_text(name))
        tables = "map_table_layer" in self.calls.text.counts
        parts += map(c_text, [*(["map"] if self.calls.text.maps or tables else []), *(["map_table"] if tables else [])])
        return parts

    def _sizes(self) -> dict[str, object]:
        graph, layout = self.graph, self.layout
        shape = graph.inputs[0][1]  # (N, C, H, W), (N, C, ...), or of a clip (1, C, T, H, W)
        frames, channels = (shape[2], shape[1]) if graph.clip else (shape[0], prod(shape[1:-2] if len(shape) > 3 else shape[1:]))
        height, width = shape[-2:] if len(shape) > 3 else (1, 1)
        head = -(-(2048 + 8 * (MAX_THREADS + len(graph.slots) + len(layout.fresh) + len(graph.counters))) // 64) * 64
        return {
            "frames": frames, "channels": channels, "height": height, "width": width,
            "classes": prod(graph.answers[0][1]), "answer_floats": sum(prod(shape) for _, shape in graph.answers),
            "inputs": [[name, list(shape)] for name, shape in graph.inputs],
            "answers": [[name, list(shape)] for name, shape in graph.answers], "clip": int(graph.clip), "head_bytes": head,
            "memory_bytes": head + 4 * layout.floats, "weight_bytes": 64 + 4 * (self.calls.blob.words + 16),
            "model_hash": f"{self.model_hash:016x}", "cpu": self.target.name, "threads": MAX_THREADS,
        }  # fmt: skip

    def _defines(self) -> str:
        layout, graph = self.layout, self.graph
        values = {
            "EF_HEAD_BYTES": self._sizes()["head_bytes"], "EF_COUNTERS": len(graph.counters),
            "EF_SLOTS": len(graph.slots), "EF_FRESH": len(layout.fresh), "EF_BUFFERS": sum(p.count for p in layout.pools),
            "EF_CALLS": len(self.calls.text.work), "EF_STATE_FLOATS": layout.state_floats, "EF_MAX_THREADS": MAX_THREADS,
            "EF_MAX_SOURCES": max([1, *(len(layer.forms) for layer in self.calls.packer.layers)]),
            "EF_WEIGHT_FORMAT": blobs.FORMAT, "EF_WEIGHT_WORDS": f"{self.calls.blob.words + 16}u",
            "EF_MODEL_HASH": f"UINT64_C(0x{self.model_hash:016x})",
        }  # fmt: skip
        return defines(self.target, values)

    def _float_tables(self) -> str:
        return "".join(
            f"static const float table_{i}[] = {{{', '.join(c_float(float(v)) for v in table.ravel())}}};\n"
            for i, table in enumerate(self.graph.tables)
        )

    # -- states and the step -----------------------------------------------------------------------------------------------------

    def _states(self) -> str:
        layout, graph = self.layout, self.graph
        first = np.cumsum([0, *(pool.count for pool in layout.pools)])

        def table(name: str, values: list[int]) -> str:
            return f"static const int64_t {name}[] = {{{', '.join(map(str, values)) or '0'}}};"

        fills = [f"    memset(a + {start}, {zero}, {4 * words});" for start, words, zero in layout.borders()]
        fills += [
            f"    fill(a + {place + form.origin}, &(const form){value_text(form)}, {c_float(value)});"
            for (value, form), place in layout.fills.items()
        ]
        starts = [
            f"        {self.calls.fill_pointer(stored(getattr(slot.op, 'fill', 0.0), slot), layout.forms[slot.number])},"
            for slot in graph.slots  # type: ignore[attr-defined]
        ]
        lines = [
            table("buffers_start", [p.start + p.form.origin for p in layout.pools]),
            table("buffers_floats", [p.form.floats for p in layout.pools]),
            table("buffers_first", [int(n) for n in first[:-1]]),
            table("slot_buffers", [layout.pool_of[f.number] for f in graph.slots]),
            table("fresh_buffers", [layout.pool_of[f.number] for f in layout.fresh]),
            c_text("states"),
            "static void fill_constants(ef_stream *s) {", "    float *const a = s->arena;", "    (void)a;", "    (void)fill;",
            *fills, "}", "",
            "static void start_states(ef_stream *s) {", "    float *const a = s->arena;", "    (void)a;",
            "    const float *const start[EF_SLOTS + 1] = {", *starts, "        NULL,", "    };", "    keep(s, start);", "}", "",
        ]  # fmt: skip
        return "\n".join(lines)

    def _step(self, calls_by_op: list[tuple[Op, list[str]]]) -> str:
        graph = self.graph
        lines = [c_text("call"), "int ef_step(ef_stream *s, const float *frames, float *logits) {",
                 "    if (!s || !frames || !logits) return EF_BAD_ARGUMENT;", "    float *const a = s->arena;",
                 "    (void)a;"]  # fmt: skip
        lines += [f"    const int64_t {name} = s->counter[{i}];" for i, name in enumerate(graph.counters)]
        lines += [f"    (void){name};" for name in graph.counters]
        label = None
        for op, calls in calls_by_op:
            if op.label != label and calls:
                label = op.label
                lines.append(f"    /* {safe(label)} */")
            lines += [f"    {call}" for call in calls]
        places = np.cumsum([0, *(frame.channels for frame in graph.logits)]).tolist()
        lines += [
            f"    memcpy(logits + {at}, {self.calls.pointer(frame)}, {frame.channels} * sizeof(float));"
            for at, frame in zip(places, graph.logits, strict=False)
        ]
        following = [
            f"        {self.calls.pointer(after, like=slot)}," for slot, after in zip(graph.slots, graph.slot_next, strict=True)
        ]
        lines += ["    const float *const next[EF_SLOTS + 1] = {", *following, "        NULL,", "    };", "    keep(s, next);"]
        lines += [f"    s->counter[{i}] = {text};" for i, text in enumerate(graph.counter_next)]
        lines += ["    return EF_OK;", "}", ""]
        return "\n".join(lines)


def c_text(name: str) -> str:
    return (C_FILES / f"{name}.c").read_text(encoding="utf-8")


def defines(target: Target, values: dict[str, object]) -> str:
    """The file's constants, and a word for a compiler that was told of another processor."""
    guard = []
    if target.macro:
        words = f"{target.name} ({' '.join(target.flags)})"
        guard = [f"#ifndef {target.macro}", f"#error this code is for {words}", "#endif", ""]
    return "\n".join([*guard, *(f"#define {name} {value}" for name, value in {"VL": target.block, **values}.items())]) + "\n"


def conv_kernels(target: Target, packer: Packer) -> list[str]:
    """The kernels of packed convolutions, in parts of a C file."""
    kinds = {layer.kind for layer in packer.layers}
    whole = {kind for kind in kinds if "_int" in kind}
    parts = [c_text("activation")] if kinds else []
    if whole:
        parts += [c_text("ending_int8"), c_text("conv_int8_scalar")] if target.scalar else [c_text("ending_int8")]
    if kinds - whole and target.scalar:
        parts.append(c_text("conv_scalar"))
    elif "conv" in kinds:
        halves = f"#define CONV_HALVED {WIDE}\n" + c_text("conv_halved") if any(layer.halved for layer in packer.layers) else ""
        parts.append(halves + c_text("conv") + _tiles(target, packer) + c_text("conv_run"))
    if "depthwise" in kinds and not target.scalar:
        parts += [c_text("depthwise"), _tiles_of_channels(packer), c_text("depthwise_run")]
    if tiles := sorted({layer.tile for layer in packer.layers if layer.kind == "planes"}):
        parts.append(c_text("planes") + "".join(f"PLANES({outputs}, {across})\n" for outputs, across in tiles))
    for kind in sorted(kinds & {"conv_int8", "conv_int16"} if not target.scalar else ()):
        parts += [c_text(kind), _tiles_of_integers(kind, target, packer), c_text(f"{kind}_run")]
    if "depthwise_int8" in kinds and not target.scalar:
        parts.append(c_text("depthwise_int8"))
    return parts


def _tiles(target: Target, packer: Packer) -> str:
    """The convolution kernels that this network needs, and a table of them by kind, height and length of a run."""
    runs, kinds = dict(target.runs), packer.kinds
    used: dict[tuple[int, int, int], set[tuple[int, int, int]]] = {kind: set() for kind in kinds}  # (rows, height, length)
    for shape in (layer.shape for layer in packer.layers if layer.shape):
        used[shape.step, shape.spans, shape.bits] |= {(r, *tile) for tile in shape.lengths for r in (1, 2)[: 1 + shape.paired]}
    every = [(n, kind, *tile) for n, kind in enumerate(kinds) for tile in sorted(used[kind])]
    made = [f"CONV_TILE({r}, {h}, {q}, {', '.join(map(str, kind))})" for _, kind, r, h, q in every]
    rows = [f"    [{n}][{r - 1}][{h}][{q}] = conv_{r}x{h}x{q}_{'_'.join(map(str, kind))}," for n, kind, r, h, q in every]
    top, most = max(runs), max(runs.values())
    table = (
        f"static void (*const conv_tiles[{len(kinds)}][2][{top + 1}][{most + 1}])"
        "(const tile_job *, int32_t, int32_t, int32_t, int32_t) = {"
    )
    wide = f"static const int32_t conv_widest[] = {{{', '.join(str(runs.get(h, 1)) for h in range(top + 1))}}};"
    return "\n".join([*made, "", table, *rows, "};", wide, ""])


def _tiles_of_channels(packer: Packer) -> str:
    """The depthwise kernels that this network needs: [kind of kernel][positions]."""
    used = sorted({
        (layer.fields["square"], length) for layer in packer.layers if layer.kind == "depthwise"
        for length in lengths(layer.out.width, DEPTHWISE_LONGEST)
    })  # fmt: skip
    made = [f"DEPTHWISE_TILE({length}, {square})" for square, length in used]
    names = [f"    [{square}][{length}] = depthwise_{length}_{square}," for square, length in used]
    table = f"static const depthwise_tile depthwise_tiles[3][{DEPTHWISE_LONGEST + 1}] = {{"
    return "\n".join([f"#define DEPTHWISE_LONGEST {DEPTHWISE_LONGEST}", *made, "", table, *names, "};", ""])


def winograd_kernels(sizes: set[int], int8: bool) -> str:
    """The transforms. sizes: tiles of floats; int8: those of bytes, too."""
    return (
        c_text("winograd") + "".join(f"WINOGRAD({size})\n" for size in sorted(sizes)) + (c_text("winograd_int8") if int8 else "")
    )


def _tiles_of_integers(kind: str, target: Target, packer: Packer) -> str:
    """The kernels for integers that this network needs: [height][positions]. kind: conv_int8, conv_int16."""
    tiles, layers = dict(target.tiles), [layer for layer in packer.layers if layer.kind == kind]
    used = sorted({(h, p) for layer in layers for h, most in layer.tiles.items() for p in range(1, most + 1)})
    made = [f"{kind.upper()}_TILE({h}, {p})" for h, p in used]
    top, most = max(tiles), max(tiles.values())
    table = (
        f"static void (*const {kind}_tiles[{top + 1}][{most + 1}])(const {kind.replace('conv', 'tile')} *, int32_t, int32_t) = {{"
    )
    names = [f"    [{h}][{p}] = {kind}_{h}x{p}," for h, p in used]
    wide = f"static const int32_t {kind}_widest[] = {{{', '.join(str(tiles.get(h, 0)) for h in range(top + 1))}}};"
    return "\n".join([*made, "", table, *names, "};", wide, ""])


def _comment(notes: list[str]) -> str:
    return "/* " + "\n   ".join(safe(line) for line in notes) + " */\n"


def _header(sizes: dict[str, object], notes: list[str], stem: str, metadata: Metadata | None, answers: Answers) -> str:
    guard = "EF_" + "".join(c.upper() if c.isalnum() else "_" for c in stem) + "_H"
    return (
        (C_FILES / "header.h").read_text(encoding="utf-8")
        .replace("@NOTES@", _comment(notes)).replace("@GUARD@", guard)
        .replace("@ANSWERS@", ", ".join(f"{safe(name)} ({' x '.join(map(str, shape))})" for name, shape in answers))
        .replace("@MODEL@", _model_facts(metadata) if metadata else "").replace("@SIZES@", "\n".join(
            f"#define EF_{name.upper()} {sizes[name]}"
            for name in (
                "frames", "channels", "height", "width", "classes", "answer_floats", "clip", "memory_bytes", "weight_bytes"
            )
        ))
    )  # fmt: skip


def _model_facts(metadata: Metadata) -> str:
    """What a program needs beside the network: labels and preprocessing."""
    pre = metadata.preprocess
    lists = {"mean": pre.mean, "std": pre.std}
    rows = [f"#define EF_SCALE {c_float(pre.scale)} /* a value becomes (pixel * EF_SCALE - EF_MEAN) / EF_STD */"]
    rows += [f"#define EF_{name.upper()} {{{', '.join(c_float(float(v)) for v in values)}}}" for name, values in lists.items()]
    rows.append(
        f"#define EF_FIRST_FRAMES {metadata.feature_delay + 1} /* predictions mean something from the step with this frame on */"
    )
    if pre.fps:
        rows.append(f"#define EF_FPS {c_float(pre.fps)} /* frames a second that the network was trained at: show it as many */")
    if metadata.labels:
        rows.append(f"#define EF_LABELS {{{', '.join(json.dumps(label) for label in metadata.labels)}}}")
    return "/* The model's own: channels come as " + pre.color + ". */\n" + "\n".join(rows)
