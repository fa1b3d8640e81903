"""Element-wise operators as C: one function for each distinct expression."""

from __future__ import annotations

from dataclasses import dataclass

from everyframe.errors import UnsupportedOperator
from everyframe.native.ir import Map, Network
from everyframe.native.layout import Layout
from everyframe.native.lower_elementwise import c_float

#: functions of `c/vector.c` and `c/functions.c`: name -> C, operands in braces
FORMS = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}",
    "max": "vmax({1}, {0})", "min": "vmin({1}, {0})", "pow": "v_pow({0}, {1})",
    "keep": "{0}", "prelu": "vmax(splat(0.0f), {0}) + {1} * vmin(splat(0.0f), {0})",
}  # fmt: skip
#: functions with one to three operands, called v_NAME
CALLED = frozenset(
    [
        "sigmoid",
        "silu",
        "tanh",
        "exp",
        "abs",
        "neg",
        "sqrt",
        "reciprocal",
        "log",
        "erf",
        "hardswish",
        "softplus",
        "softsign",
        "mish",
        "floor",
        "ceil",
        "sin",
        "cos",
        "round",
        "gelu",
        "gelutanh",
        "leakyrelu",
        "elu",
        "celu",
        "selu",
        "hardsigmoid",
        "swish",
        "thresholdedrelu",
        "relu6",
        "grid",
    ]
)
IN_VECTOR_C = frozenset(
    [
        "keep", "grid", "add", "sub", "mul", "div", "max", "min", "prelu", "sigmoid", "silu", "tanh", "exp", "hardswish",
        "hardsigmoid", "relu6",
    ]
)  # fmt: skip


@dataclass(frozen=True)
class MapForm:
    """What makes two maps the same function. channel: per input, whether it holds one value a channel. bytes: per input, and of
    the result, whether it is quantised."""

    steps: tuple
    channel: tuple[bool, ...]
    numbers: int
    bytes: tuple[bool, ...]


def form_of(network: Network, op: Map) -> tuple[MapForm, list[str], list[float]]:
    """The form, the C expressions of the numbers that are known only at run time, and its parameters: those of the steps, then
    scale and zero of each input and inverse scale and zero of the result where those are quantised."""
    out = network.out(op)
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
        parameters += [out.quant.inverse, float(out.quant.zero)]
    packed = tuple(frame.quant is not None for frame in (*op.inputs, out))
    return MapForm(tuple(steps), channel, len(texts), packed), texts, parameters


def function_text(number: int, form: MapForm) -> str:
    """The C function of a form."""
    lines = [f"static void map_{number}(const job *j, int part, int parts) {{", "    const map_layer *k = j->layer;"]
    lines += [f"    const vf n{i} = splat(j->numbers[{i}]);" for i in range(form.numbers)]
    *packed, stored = form.bytes
    inside = sum(operand[0] == "par" for _, operands in form.steps for operand in operands)
    lines += [f"    const vf p{i} = splat(k->parameters[{i}]);" for i in range(inside + 2 * sum(form.bytes))]
    first = {i: inside + 2 * sum(packed[:i]) for i in range(len(packed))}  # an input's parameters
    last = inside + 2 * sum(packed)
    if stored:
        lines.append(f"    const vf least = splat(0.0f) - p{last + 1}, most = splat(255.0f) - p{last + 1};")
        lines.append(f"    const vi zero = whole(p{last + 1});")
    value = "uint8_t" if stored else "float"
    lines += [
        "    const int32_t lines = k->blocks * k->rows;",
        "    for (int32_t line = begin(lines, part, parts); line < begin(lines, part + 1, parts); line++) {",
        "        const int64_t block = line / k->rows, row = line % k->rows;",
        f"        {value} *out = ({value} *)j->out + block * k->out_block + row * k->out_row;",
    ]
    for i, channel in enumerate(form.channel):
        value = "uint8_t" if packed[i] else "float"
        source = f"(const {value} *)j->in[{i}]"
        if channel:
            lines.append(f"        const vf a{i} = {_loaded(f'{source} + block * VL', packed[i], first[i])};")
        else:
            lines.append(f"        const {value} *in{i} = {source} + block * k->in_block[{i}] + row * k->in_row[{i}];")
    lines.append("        for (int32_t x = 0; x < k->floats; x += VL) {")
    lines += [
        f"            const vf a{i} = {_loaded(f'in{i} + x', packed[i], first[i])};"
        for i, channel in enumerate(form.channel) if not channel
    ]  # fmt: skip
    for t, (function, operands) in enumerate(form.steps):
        arguments = [_operand(operand) for operand in operands]
        text = FORMS[function].format(*arguments) if function in FORMS else f"v_{function}({', '.join(arguments)})"
        lines.append(f"            const vf t{t} = {text};")
    made = f"t{len(form.steps) - 1}"
    storing = f"store_bytes(out + x, vmin(most, vmax(least, {made} * p{last})), zero)" if stored else f"store(out + x, {made})"
    lines += [f"            {storing};", "        }", "    }", "}"]
    return "\n".join(lines) + "\n"


def _loaded(place: str, packed: bool, parameter: int) -> str:
    return f"(load_bytes({place}) - p{parameter + 1}) * p{parameter}" if packed else f"load({place})"


def _operand(operand: tuple) -> str:
    kind, value = operand
    if kind == "num":
        return f"splat({c_float(value)})"
    return {"in": "a", "tmp": "t", "arg": "n", "par": "p"}[kind] + str(value)


def needs_functions(forms: list[MapForm]) -> bool:
    return any(function not in IN_VECTOR_C for form in forms for function, _ in form.steps)


def layer_fields(network: Network, layout: Layout, op: Map, parameters: list[float]) -> dict[str, object]:
    """What the C structure holds."""
    frame = network.out(op)
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
