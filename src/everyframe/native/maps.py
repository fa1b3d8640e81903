"""Element-wise operators as C: one function for each distinct expression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from everyframe.errors import UnsupportedOperator
from everyframe.native.ir import Frame, Graph, Map
from everyframe.native.layout import Layout
from everyframe.native.lower_elementwise import c_float

#: functions of `c/vector.c` and `c/functions.c`: name -> C, operands in braces
FORMS = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}",
    "max": "vmax({1}, {0})", "min": "vmin({1}, {0})", "pow": "v_pow({0}, {1})",
    "keep": "{0}", "prelu": "vmax(splat(0.0f), {0}) + {1} * vmin(splat(0.0f), {0})",
}  # fmt: skip
#: the same in double precision; what is called has its own there, d_NAME
EXACT_FORMS = {
    **{name: FORMS[name] for name in ("add", "sub", "mul", "div", "keep")},
    "max": "d_max({1}, {0})", "min": "d_min({1}, {0})", "pow": "pow({0}, {1})", "prelu": "d_prelu({0}, {1})",
}  # fmt: skip
#: functions with one to three operands, called v_NAME
CALLED = frozenset({
    "sigmoid", "silu", "tanh", "exp", "abs", "neg", "sqrt", "reciprocal", "log", "erf", "hardswish", "softplus", "softsign",
    "mish", "floor", "ceil", "sin", "cos", "round", "gelu", "gelutanh", "leakyrelu", "elu", "celu", "selu", "hardsigmoid",
    "swish", "thresholdedrelu", "relu6", "grid", "less", "lessequal", "equal", "where", "mod", "trunc", "tan", "asin", "acos",
    "atan", "sinh", "cosh", "asinh", "acosh", "atanh",
})  # fmt: skip
IN_VECTOR_C = frozenset(
    [
        "keep", "grid", "add", "sub", "mul", "div", "max", "min", "prelu", "sigmoid", "silu", "tanh", "exp", "hardswish",
        "hardsigmoid", "relu6",
    ]
)  # fmt: skip


#: what takes a few instructions in double precision
_ARITHMETIC = frozenset({"add", "sub", "mul", "div", "max", "min", "keep", "abs", "neg", "grid"})
#: by the bytes of a value: its type in C, what reads VL of them as floats, and what writes floats
_TYPES, _LOADS = {4: "float", 2: "uint16_t", 1: "uint8_t"}, {4: "load", 2: "load_half", 1: "load_bytes"}
_STORES = {4: "store", 2: "store_half"}
#: those that begin anywhere
_LOOSE = {"load": "load_at", "store": "store_at"}
#: of a float32: half of its last digit, relative
ROUNDING = 2.0**-24
#: how far from the exact result floats may be behind a function or an unknown value, in steps
FUNCTIONS_NEAR = 2.0**-11


@dataclass(frozen=True)
class MapForm:
    """What makes two maps the same function. channel: per input, whether it holds one value a channel. sizes: per input, and of
    the result, bytes of a value: 4 floats, 2 halves, 1 quantized. planar: its frames lie as planes (see `planar`)."""

    steps: tuple
    channel: tuple[bool, ...]
    numbers: int
    sizes: tuple[int, ...]
    planar: bool = False

    @property
    def rounds(self) -> bool:
        """Is anything taken to the steps of a byte?"""
        return self.sizes[-1] == 1 or any(function == "grid" for function, _ in self.steps)


def form_of(graph: Graph, op: Map, planar: bool = False) -> tuple[MapForm, list[str], list[float]]:
    """The form, the C expressions of the numbers that are known only at run time, and its parameters: those of the steps, then
    scale and zero of each input, inverse scale, zero and scale of the result where those are quantized, and how near to the
    middle between two steps floats cannot decide."""
    out = graph.out(op)
    channel = tuple(f.shape != out.shape for f in op.inputs)
    texts: list[str] = []
    parameters: list[float] = []
    steps = []
    stored = op.steps
    if out.quant and stored[-1][0] == "grid" and len(stored) > 1 and stored[-1][1][0] == ("tmp", len(stored) - 2):
        stored = stored[:-1]  # what is stored is rounded anyway
    elif out.quant and stored[-1][0] == "grid" and len(stored) == 1:
        stored = [("keep", stored[0][1][:1])]
    for function, operands in stored:
        if function not in FORMS and function not in CALLED:
            raise UnsupportedOperator("This element-wise function cannot be compiled.", where=op.label, got=function)
        made = []
        for operand in operands:
            if operand[0] == "expr":
                if operand[1] not in texts:
                    texts.append(operand[1])
                made.append(("arg", texts.index(operand[1])))
            elif operand[0] == "par":
                made.append(("par", len(parameters)))
                parameters.append(operand[1])
            else:
                made.append(operand)
        steps.append((function, tuple(made)))
    for frame in op.inputs:
        parameters += [frame.quant.scale, float(frame.quant.zero)] if frame.quant else []
    if out.quant:
        parameters += [out.quant.inverse, float(out.quant.zero), out.quant.scale]
    sizes = tuple(1 if frame.quant else 2 if frame.half else 4 for frame in (*op.inputs, out))
    form = MapForm(tuple(steps), channel, len(texts), sizes, planar)
    return form, texts, [*parameters, *([middle(near(op.steps, op.inputs))] if form.rounds else [])]


def near(steps: list, inputs: list[Frame]) -> float:
    """How far floats may be from the exact value where a chain is taken to the steps of a byte, in steps: by the largest values
    that its operands can have."""
    known: list[tuple[float, float]] = []  # of each step: largest magnitude, largest error
    worst = 0.0
    for function, operands in steps:
        (a, error_a), *more = [_reach(operand, known, inputs) for operand in operands if operand[0] != "par"]
        b, error_b = more[0] if more else (0.0, 0.0)
        if function == "grid":
            scale = next(value for kind, value in operands if kind == "par")
            worst = max(worst, (error_a + 512 * scale * ROUNDING) / scale)
            found = (min(a, 256 * scale), 256 * scale * ROUNDING)
        elif function in ("add", "sub"):
            found = (a + b, error_a + error_b + (a + b) * ROUNDING)
        elif function == "mul":
            found = (a * b, a * error_b + b * error_a + a * b * ROUNDING) if np.isfinite(a * b) else (np.inf, np.inf)
        elif function in ("max", "min"):
            found = (max(a, b), max(error_a, error_b))
        elif function in ("keep", "abs", "neg"):
            found = (a, error_a)
        else:
            found = (np.inf, np.inf)
        known.append(found)
    return float(min(2 * worst, 0.25)) if np.isfinite(worst) else FUNCTIONS_NEAR


def middle(near: float) -> float:
    """What the kernels add to see whether a value is that near to the middle between two steps: see `c/exact.c`."""
    bits = int(np.clip(np.floor(-np.log2(2 * near)), 1, 13))  # behind the point; of 23, and 255 needs 9 before it
    return 1.5 * 2.0 ** (23 - bits) + 0.5


def _reach(operand: tuple, known: list[tuple[float, float]], inputs: list[Frame]) -> tuple[float, float]:
    kind, value = operand
    if kind == "tmp":
        return known[value]
    if kind == "num":
        return abs(value), 0.0
    quant = inputs[value].quant if kind == "in" else None
    if quant is None:
        return np.inf, np.inf
    reach = max(quant.zero, 255 - quant.zero) * quant.scale
    return reach, reach * ROUNDING


def function_text(number: int, form: MapForm) -> str:
    """The C function of a form."""
    lines = [f"static void map_{number}(const job *j, int part, int parts) {{", "    const map_layer *k = j->layer;"]
    lines += [f"    const vf n{i} = splat(j->numbers[{i}]);" for i in range(form.numbers)]
    *sizes, size = form.sizes
    stored = size == 1
    inside = sum(operand[0] == "par" for _, operands in form.steps for operand in operands)
    first = {i: inside + 2 * sizes[:i].count(1) for i in range(len(sizes))}  # an input's parameters
    last = inside + 2 * sizes.count(1)
    count = last + 3 * stored
    lines += [f"    const vf p{i} = splat(k->parameters[{i}]);" for i in range(count)]
    if stored:
        lines.append(f"    const vi zero = whole(p{last + 1});")
    if form.rounds:
        lines.append(f"    const doubt middle = doubt_at(k->parameters[{count}]);")
    lines += [
        "    const int32_t lines = k->blocks * k->rows;",
        "    for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {",
        "        const int64_t block = line / k->rows, row = line % k->rows;",
        f"        {_TYPES[size]} *out = ({_TYPES[size]} *)j->out + block * k->out_block + row * k->out_row;",
    ]
    for i, channel in enumerate(form.channel):
        value = _TYPES[sizes[i]]
        source = f"(const {value} *)j->in[{i}]"
        if channel:
            lines.append(f"        const {value} *in{i} = {source} + block * VL;")
            lines.append(f"        const vf a{i} = {_loaded(f'in{i}', sizes[i], first[i], form)};")
        else:
            lines.append(f"        const {value} *in{i} = {source} + block * k->in_block[{i}] + row * k->in_row[{i}];")
    if form.planar:  # the last vector ends with the line, and may begin in the one before it
        lines += [
            "        for (int32_t x = 0, last = k->floats - VL, next;; x = next) {",
            "            next = MIN(x + VL, last);",
        ]
    else:
        lines.append("        for (int32_t x = 0; x < k->floats; x += VL) {")
    lines += [
        f"            const vf a{i} = {_loaded(f'in{i} + x', sizes[i], first[i], form)};"
        for i, channel in enumerate(form.channel) if not channel
    ]  # fmt: skip
    if form.rounds:
        lines.append("            doubts found = {0};")
    for t, (function, operands) in enumerate(form.steps):
        arguments = [_operand(operand) for operand in operands]
        if function == "grid":
            x, scale, inverse, zero = arguments
            lines.append(f"            const vf s{t} = v_steps({x}, {inverse}, {zero});")
            lines.append(f"            found |= doubts_of(s{t}, middle);")
            lines.append(f"            const vf t{t} = rounded(s{t}) * {scale};")
            continue
        text = FORMS[function].format(*arguments) if function in FORMS else f"v_{function}({', '.join(arguments)})"
        lines.append(f"            const vf t{t} = {text};")
    made = f"t{len(form.steps) - 1}"
    if stored:
        lines.append(f"            const vf steps = v_steps({made}, p{last}, p{last + 1});")
        lines.append("            found |= doubts_of(steps, middle);")
        lines.append("            store_bytes(out + x, steps, zero);")
    else:
        lines.append(f"            {_loose(_STORES[size], form)}(out + x, {made});")
    lines += ["            if (x == last) break;"] if form.planar else []
    if form.rounds:
        lines += _exactly(form, first, last)
    lines += ["        }", "    }", "}"]
    return "\n".join(lines) + "\n"


def _exactly(form: MapForm, first: dict[int, int], last: int) -> list[str]:
    """The same in double precision where floats cannot decide: for all lanes where that is mere arithmetic, which compilers do
    side by side, else for those in doubt. Arrays of its own show them that nothing overlaps."""
    *sizes, size = form.sizes
    stored = size == 1
    lines = ["            uint32_t lanes = lanes_of(found);", "            if (!UNLIKELY(lanes)) continue;",
             "            const float *p = k->parameters;", "            _Alignas(64) float made[VL];"]  # fmt: skip
    for i, channel in enumerate(form.channel):
        place = f"in{i}" if channel else f"in{i} + x"
        lines.append(f"            _Alignas(64) float b{i}[VL];")
        lines.append(f"            store(b{i}, {_LOADS[sizes[i]]}({place}));")
    if all(function in _ARITHMETIC for function, _ in form.steps):
        lines += ["            for (int i = 0; i < VL; i++) {"]
    else:
        lines += [f"            store(made, {'steps' if stored else f't{len(form.steps) - 1}'});"]
        lines += ["            for (; lanes; lanes &= lanes - 1) {", "                const int i = __builtin_ctz(lanes);"]
    for i, of in enumerate(sizes):
        value = f"((double)b{i}[i] - (double)p[{first[i] + 1}]) * (double)p[{first[i]}]" if of == 1 else f"(double)b{i}[i]"
        lines.append(f"                const double a{i} = {value};")

    def given(operand: tuple) -> str:
        kind, value = operand
        if kind == "num":
            return f"(double){c_float(value)}"
        return {"in": f"a{value}", "tmp": f"t{value}", "arg": f"(double)j->numbers[{value}]", "par": f"(double)p[{value}]"}[kind]

    for t, (function, operands) in enumerate(form.steps):
        arguments = [given(operand) for operand in operands]
        if function == "grid":
            x, scale, _, zero = arguments
            text = f"d_{'float_' * _of_float(form, operands[0])}grid({x}, {scale}, {zero})"
        else:
            known = function in EXACT_FORMS
            text = EXACT_FORMS[function].format(*arguments) if known else f"d_{function}({', '.join(arguments)})"
        lines.append(f"                const double t{t} = {text};")
    value = f"t{len(form.steps) - 1}"
    if stored:
        function, operands = form.steps[-1]
        kind = "float_" * (function == "keep" and _of_float(form, operands[0]))
        value = f"d_{kind}steps({value}, p[{last + 2}], p[{last + 1}])"
    storing = "store_bytes(out + x, load(made), zero)" if stored else f"{_STORES[size]}(out + x, load(made))"
    return [*lines, f"                made[i] = (float){value};", "            }", f"            {storing};"]


def _of_float(form: MapForm, operand: tuple) -> bool:
    """Is it an input that was a float all along?"""
    return operand[0] == "in" and form.sizes[operand[1]] != 1


def _loose(name: str, form: MapForm) -> str:
    return _LOOSE.get(name, name) if form.planar else name


def _loaded(place: str, size: int, parameter: int, form: MapForm) -> str:
    text = f"{_loose(_LOADS[size], form)}({place})"
    return f"({text} - p{parameter + 1}) * p{parameter}" if size == 1 else text


def _operand(operand: tuple) -> str:
    kind, value = operand
    if kind == "num":
        return f"splat({c_float(value)})"
    return {"in": "a", "tmp": "t", "arg": "n", "par": "p"}[kind] + str(value)


def needs_functions(forms: list[MapForm]) -> bool:
    return any(function not in IN_VECTOR_C for form in forms for function, _ in form.steps)


def layer_fields(graph: Graph, layout: Layout, op: Map, parameters: list[float]) -> dict[str, object]:
    """What the C structure holds."""
    frame = graph.out(op)
    out = layout.forms[frame.number]
    forms = [layout.forms[f.number] for f in op.inputs]
    whole = [f.shape == frame.shape for f in op.inputs]
    flat = not out.bordered and not any(form.bordered for form, w in zip(forms, whole, strict=True) if w)
    rows, floats = (1, out.height * out.width * out.block) if flat else (out.height, out.width * out.block)
    return {
        "blocks": out.blocks, "rows": rows, "floats": floats, "out_block": out.plane, "out_row": out.row,
        "in_block": tuple(form.plane if w else 0 for form, w in zip(forms, whole, strict=True)) or (0,),
        "in_row": tuple(form.row if w else 0 for form, w in zip(forms, whole, strict=True)) or (0,),
        "parameters": tuple(parameters) or "NULL",
    }  # fmt: skip
