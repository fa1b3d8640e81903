"""A program that measures choices: `tune.c`, with the convolutions of a network, the kernels for every choice, and its tables.

The same program tunes this machine (`everyframe compile --tune`) and a board (`--emit-c DIR`): it prints rows of `tuned`.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from everyframe.errors import EngineError
from everyframe.native import ir, pack_int8, winograd
from everyframe.native.blob import Blob
from everyframe.native.calls import conv_fields
from everyframe.native.choice import Choice, Geometry, space
from everyframe.native.compilers import command, run
from everyframe.native.emit import MAX_THREADS, c_text, conv_kernels, defines, winograd_kernels
from everyframe.native.generate import BASE_FLAGS
from everyframe.native.ir import Activation
from everyframe.native.layout import Form
from everyframe.native.lower_elementwise import c_float
from everyframe.native.pack import Packer, untabled
from everyframe.native.packed import PackedLayer
from everyframe.native.target import Target
from everyframe.native.text import Text, safe, value_text
from everyframe.native.tuned import Row, isa, parse, shape
from everyframe.processes import kill

#: where no other time is given
BUDGET_S = 60.0
NAME = "tune"


@dataclass(frozen=True)
class Program:
    """text: of tune.c; tables: of tune.tables, which it reads; cases: how many convolutions it measures."""

    text: str
    tables: bytes
    cases: int

    def files(self) -> dict[str, bytes]:
        return {f"{NAME}.c": self.text.encode(), f"{NAME}.tables": self.tables}


class _Ones(Blob):
    """Tables only. Weights are ones, in one region for all, which the program fills itself, and one for those of 16 bits, whose
    scales are ones, too; of transformed kernels what ones become, in one region for each tile."""

    def __init__(self, floats: int, halves: int, products: Sequence[int]) -> None:
        super().__init__()
        ends = np.cumsum([-(-count // 16) * 16 for count in (floats, halves, *products)]).tolist()
        kinds = ((0, False), (0, True), *((tile, False) for tile in winograd.KERNEL))
        self.starts = dict(zip(kinds, (0, *ends), strict=False))
        self.halves, self.words = (ends[0], ends[1]), ends[-1]
        self.ones = self.words

    def once(self, key: object, make: Callable[[], np.ndarray]) -> int:
        if not isinstance(key, tuple) or len(key) < 3 or key[0] not in ("weights", "scales"):
            return super().once(key, make)
        return self.starts[key[1]] if key[0] == "weights" else 0

    def tables(self) -> bytes:
        return np.concatenate([*self.arrays, np.zeros(16, np.uint32)]).tobytes()


def cases_of(layers: Iterable[PackedLayer]) -> list[tuple[PackedLayer, Geometry]]:
    """One layer for each geometry that has choices, the most work first."""
    found: dict[Geometry, PackedLayer] = {}
    for layer in layers:
        if layer.geometry is not None:
            found.setdefault(layer.geometry, layer)
    return sorted(((layer, geometry) for geometry, layer in found.items()), key=lambda case: -case[0].macs * case[1].frames)


def program(of: Packer, known: Callable[[Target, Geometry], bool] = lambda target, geometry: False) -> Program | None:
    """What measures the convolutions that were packed (see `cases_of`), but for those that are known. None where none is left."""
    from everyframe.version import __version__

    target = of.target
    chosen = [
        (layer, geometry, choices) for layer, geometry in cases_of(of.layers)
        if not known(target, geometry) and len(choices := _choices(of, layer, geometry)) > 1
    ]  # fmt: skip
    if not chosen:
        return None
    floats = [layer for layer, *_ in chosen if not layer.op.quant]
    sizes = [sum(tap.weight[0].size for tap in layer.op.taps) * layer.out.blocks * target.block for layer in floats]
    fitting = [winograd.fitting(of.graph, layer.op, target) for layer in floats]
    products = [  # for each tile, of what can be transformed
        max((size // 9 * (tile + 2) ** 2 for size, fits in zip(sizes, fitting, strict=True) if fits), default=0)
        for tile in winograd.KERNEL
    ]  # fmt: skip
    most = max(sizes, default=0)
    blob = _Ones(most, -(-most // 2), products)
    packer, text = Packer(of.graph, of.layout, target, blob), Text()
    ones = {tile: winograd.weights(np.ones((1, 1, 3, 3)), tile).ravel().tolist() for tile in winograd.KERNEL}
    lines = [f"static const float rows_{tile}[] = {{{', '.join(map(c_float, row))}}};" for tile, row in ones.items()]
    for n, (layer, _, choices) in enumerate(chosen):
        plain = layer if layer.op.quant else _plain(layer)
        parents = _parents(choices)
        made: list[PackedLayer] = []
        for choice, parent in zip(choices, parents, strict=True):
            if parent < len(made):
                made.append(replace(made[parent], fields=made[parent].fields | untabled(made[parent], choice)))
                continue
            new = _product(plain, choice.tile, target.block) if choice.tile else plain
            made.append(replace(new, number=len(packer.layers), fields={}, choice=choice))
            packer.layers.append(made[-1])
            pack_int8.pack(packer, made[-1]) if layer.op.quant else packer.pack_table(made[-1])
        listed = []
        for choice, each, parent in zip(choices, made, parents, strict=True):
            around, rounds = "0", int(not layer.op.quant and (choice.tile > 2 or choice.bits < 32))
            if tile := choice.tile:
                into, back = (text.structure(*words) for words in _around(packer, layer, each))
                which, weights = (
                    str(tile),
                    f"rows_{tile}, {each.fields['row_weights']}, {(tile + 2) ** 2}, {blob.starts[tile, False]}",
                )
                if layer.op.quant:
                    which, weights = "bytes", "NULL, 0, 0, 0"
                around = f"tile_{which}, untile_{which}, {each.kind}, &{into}, &{back}, &{back}.in, {weights}"
            name = text.structure(f"{each.kind}_layer", conv_fields(each, each.op))
            listed.append(f"    {{{_c_text(_json(choice))}, &{name}, {parent}, {rounds}, {around}}},")
        lines += [f"static const candidate candidates_{n}[] = {{", *listed, "};"]
        lines.append(f"static const form forms_{n}[] = {{{', '.join(map(value_text, layer.forms)) or '{0}'}}};")
        lines.append(f"static const int32_t origins_{n}[] = {{{', '.join(str(form.origin) for form in layer.forms) or '0'}}};")
    rows = [
        f"    {{{_c_text(_key(target, geometry))}, {layer.kind}, candidates_{n}, {len(choices)}, {geometry.frames}, "
        f"{len(layer.forms)}, {int(layer.op.quant is not None)}, {_zero(layer)}, forms_{n}, origins_{n}, "
        f"{max((f.floats for f in layer.forms), default=1)}, "
        f"{layer.out.floats}, {layer.out.origin}, {_floats(layer.residual)}, {layer.residual.origin if layer.residual else 0}, "
        f"{float(layer.macs * geometry.frames)}}},"
        for n, (layer, geometry, choices) in enumerate(chosen)
    ]
    tables, int8 = blob.tables(), any(layer.kind == "conv_int16" for layer in packer.layers)
    cases = "\n".join([*lines, "", "static const tune_case cases[] = {", *rows, "};"])
    text_c = "\n".join([
        f"/* {NAME}.c: measures how the convolutions of a network are computed best on the processor that runs it.",
        f"   Made by everyframe {__version__} for {target.name}. There:", "",
        f"   cc {' '.join((*target.flags, *BASE_FLAGS))} {NAME}.c -o {NAME} -lm && ./{NAME} 60", "   and where the model is:",
        f"   everyframe compile MODEL.onnx --cpu {target.name} --table {NAME}.jsonl */",
        "#define _GNU_SOURCE", "#define EF_NO_THREADS", "#include <math.h>", "#include <stdint.h>", "#include <string.h>",
        "typedef struct ef_stream ef_stream;",
        defines(target, {
            "EF_COUNTERS": 0, "EF_SLOTS": 0, "EF_FRESH": 0, "EF_MAX_THREADS": MAX_THREADS,
            "EF_MAX_SOURCES": max([1, *(len(layer.forms) for layer, *_ in chosen)]),
            "TUNE_ONES": f"(size_t){blob.ones}", "TUNE_HALVES": blob.halves[0], "TUNE_FLOATS": blob.halves[1],
            "TUNE_WORDS": f"(size_t){len(tables) // 4}",
            "TUNE_MADE_BY": f'"everyframe {__version__}"',
        }),
        *map(c_text, ("vector", *(("bytes", "exact") if len(floats) < len(chosen) else ()), "threads", "copy")),
        *conv_kernels(target, packer), winograd_kernels(set(ones), int8), *text.tables,
        "", c_text(NAME).replace("@CASES@", cases),
    ])  # fmt: skip
    return Program(text_c, tables, len(chosen))


def _choices(of: Packer, layer: PackedLayer, geometry: Geometry) -> list[Choice]:
    whole = all(form.block == of.target.block for form in layer.forms)
    fitting = (0, *(winograd.fitting(of.graph, layer.op, of.target) if whole else ()))
    return [choice for choice in space(of.target, geometry) if choice.tile in fitting]


def _product(layer: PackedLayer, tile: int, block: int) -> PackedLayer:
    """The product that a transformed convolution consists of."""
    places, count = (tile + 2) ** 2, int(np.prod(winograd.tiles(tile, layer.out.height, layer.out.width)))
    taps = [winograd.tap_of_product(tap, tap.planes, tile) for tap in layer.op.taps]
    op, half = ir.Conv(layer.op.order, layer.op.label, taps, tile=tile, quant=layer.op.quant), layer.op.quant is not None
    forms = [Form(form.channels, places, count, block, half=half) for form in layer.forms]
    return replace(layer, op=op, out=Form(layer.out.channels, places, count, block), residual=None, forms=forms)


def _around(packer: Packer, layer: PackedLayer, product: PackedLayer) -> list[tuple[str, dict[str, object]]]:
    """The transforms before and after a product."""
    tile, out, quant = product.op.tile, layer.out, layer.op.quant
    across = winograd.tiles(tile, out.height, out.width)[1]
    there = winograd.tile_fields(layer.forms[0], product.forms[0], across, layer.op.pads, _zero(layer))
    given = product.out, out, layer.residual, across
    if quant:
        return [there, winograd.untile_bytes_fields(*given, layer.op, pack_int8.ending(packer, layer.op, layer.frame))]
    bias = packer.blob.add(np.zeros(out.blocks * out.block, np.float32))
    return [there, winograd.untile_fields(*given, bias, Activation(), layer.op.residual_last)]


def _parents(choices: list[Choice]) -> list[int]:
    """Where the first choice with the same tables stands: it is tried before the others."""
    first: dict[tuple, int] = {}
    return [first.setdefault((c.tile, c.slice, c.tallest, c.longest, c.bits), n) for n, c in enumerate(choices)]


def _plain(layer: PackedLayer) -> PackedLayer:
    """Which weights are there, and nothing but sums: of small integers they are exact in any order."""
    taps = [replace(tap, weight=(tap.weight != 0).astype(np.int8)) for tap in layer.op.taps]
    return replace(layer, op=replace(layer.op, taps=taps, bias=None, activation=Activation()))


def _key(target: Target, geometry: Geometry) -> str:
    facts = {"isa": isa(target, geometry), "vector": target.block, "shape": shape(geometry), "kept": geometry.kept}
    facts |= {"kernels": geometry.kernels} if geometry.kernels < 100 else {}
    return json.dumps({**facts, "frames": geometry.frames})[1:-1]


def _json(choice: Choice) -> str:
    return json.dumps({name: value for name, value in asdict(choice).items() if name != "why"})


def _c_text(words: str) -> str:
    return '"' + safe(words).replace('"', '\\"') + '"'


def _zero(layer: PackedLayer) -> int:
    return layer.op.quant.zero if layer.op.quant else 0


def _floats(form: Form | None) -> int:
    return form.floats if form else 0


# -- on this machine ------------------------------------------------------------------------------------------------------------


def measure(made: Program, target: Target, budget: float, progress: Callable[[str], None]) -> Iterator[Row]:
    """Rows as they are found. What was measured before an interruption has been given out. Raises EngineError."""
    with tempfile.TemporaryDirectory(prefix="everyframe-") as name:
        folder = Path(name)
        for file, data in made.files().items():
            (folder / file).write_bytes(data)
        progress(f"compiling the kernels of {made.cases} convolutions")
        run([*command(target), *BASE_FLAGS, "-w", "-o", NAME, f"{NAME}.c", "-lm"], folder)
        with _running([str(folder / NAME), f"{budget:g}", "-", str(folder / f"{NAME}.tables")]) as process:
            for line in process.stdout or ():
                if line.startswith("#"):
                    progress(f"measuring: {line[1:].strip()}")
                else:
                    yield parse(line, f"{NAME}.c")
        if process.returncode:
            raise EngineError(
                "Measuring failed.", where=f"{NAME}.c", got=f"exit code {process.returncode}", hint="compile without --tune"
            )


@contextmanager
def _running(words: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, process_group=0) as process:
        try:
            yield process
        except BaseException:
            kill(process)
            raise
