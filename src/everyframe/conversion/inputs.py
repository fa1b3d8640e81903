"""What goes into a clip network: which inputs have frames, how their axes lie, and what the others are.

A layout names the axes of an input by letters, `NCTHW`; without a T it has no frames, and its value goes in with every step. A
text says it of all inputs alike, or of each by name: `NCTHW,audio=NCT,style=NC`. Of several inputs, those of five axes are NCTHW
and those of up to two have no frames, where nobody says otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from everyframe.errors import ModelError, UsageError, meant

LAYOUT = "NCTHW"


@dataclass(frozen=True)
class Told:
    """A layout for all inputs that have none of their own, and those that have."""

    common: str | None
    named: Mapping[str, str]

    @classmethod
    def of(cls, text: str | None) -> Told:
        common, named = None, {}
        for item in (text or "").split(","):
            name, sign, layout = item.strip().rpartition("=")
            if sign:
                named[name] = layout
            elif layout:
                common = layout
        return cls(common, named)

    def __iter__(self) -> Iterator[str]:
        yield from (*([self.common] if self.common is not None else []), *self.named.values())


def real_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Inputs that are no weights: older exporters list those too."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def layouts(text: str | None, ranks: Mapping[str, int]) -> dict[str, str]:
    """The layout of each input. Raises UsageError for names that are no inputs, ModelError where it cannot be known."""
    told = Told.of(text)
    for name in told.named:
        if name not in ranks:
            raise UsageError(
                "The network has no such input.", where=f"--layout {name}=", expected=", ".join(ranks),
                hint=meant(name, list(ranks), "`onnx.load` shows what there is"),
            )  # fmt: skip
    made = {}
    for name, rank in ranks.items():
        layout = told.named.get(name) or (told.common if len(ranks) == 1 or len(told.common or "") == rank else None)
        if layout is None:
            layout = LAYOUT if len(ranks) == 1 or rank == len(LAYOUT) else ("", "C", "NC")[rank] if rank < 3 else None
        if layout is None:
            example = "NCT" if rank == 3 else "NCTV"
            raise ModelError(
                "It is not clear what an input of the network is.", where=f"input {name!r}", got=f"{rank} axes",
                expected=f"--layout {name}={example}, or letters without T for a value that has no frames",
                hint=f"say its axes with --layout {name}=..., or give its value once and for all with --bind {name}=...",
            )  # fmt: skip
        made[name] = layout
    return made


#: a number for all elements, an array of the input's shape, or a .npy file with either
Value = float | np.ndarray | str | os.PathLike[str]


def _read(name: str, given: Value) -> np.ndarray:
    if not isinstance(given, str | os.PathLike):
        return np.asarray(given)
    try:
        return np.asarray(float(os.fspath(given)))
    except ValueError:
        pass
    try:
        return np.asarray(np.load(given, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(
            "The value of an input cannot be read.", where=f"--bind {name}={given}", expected="a number or a .npy file", got=error
        ) from None


def bound(model: onnx.ModelProto, values: Mapping[str, Value]) -> onnx.ModelProto:
    """A copy in which inputs are constants. Raises UsageError for names that are no inputs, for files that cannot be read and for
    arrays of another shape.
    """
    if not values:
        return model
    made = onnx.ModelProto()
    made.CopyFrom(model)
    there = {value.name: value for value in real_inputs(made)}
    for name, value in values.items():
        if name not in there:
            raise UsageError(
                "The network has no such input.", where=f"--bind {name}", expected=", ".join(there),
                hint=meant(name, list(there), "`onnx.load` shows what there is"),
            )  # fmt: skip
        kind = there[name].type.tensor_type
        shape = tuple(dim.dim_value if dim.HasField("dim_value") else 1 for dim in kind.shape.dim)
        array = _read(name, value)
        if array.size == 1:
            array = np.broadcast_to(array.reshape(()), shape)
        elif array.shape != shape:
            array = array[None] if array.shape == shape[1:] and shape[0] == 1 else array
        if array.shape != shape:
            raise UsageError(
                "The value does not have the input's shape.",
                where=f"--bind {name}",
                expected=f"a number, or {shape}",
                got=array.shape,
            )
        array = array.astype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
        made.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(shape), name))
        made.graph.input.remove(there[name])
    return made


def step_inputs(names: Sequence[str]) -> dict[str, str]:
    """What the inputs of a clip network are called in the step network: a single one is `frames`."""
    if len(names) == 1:
        return {names[0]: "frames"}
    return {name: f"{name}.given" if name == "logits" or name.startswith("state.") else name for name in names}


def check_layout(shape: tuple[int, ...], where: str) -> None:
    """Without --layout, (1, C, T, H, W) is assumed; a shape that looks like another order is a question.

    Channels are 1, 3 or 4 where they come from pictures, and pictures lie in the last two axes of (1, C, T, H, W).
    """
    colors = (1, 3, 4)
    if len(shape) != 5 or shape[1] in colors or 0 in shape:
        return
    other = None
    if shape[4] in colors and shape[3] != shape[4]:
        other = "NTHWC"
    elif shape[2] == 3 and shape[1] > 4 and shape[3] > 4:
        other = "NTCHW"
    if other is not None:
        raise ModelError(
            "The order of the input's axes is not clear.", where=where,
            expected=f"{LAYOUT}, channels before frames, unless --layout says otherwise",
            got=f"{shape}, which reads like {other}: {dict(zip(other, shape, strict=True))}",
            hint=f"say it: everyframe stream FILE --layout {other}, or --layout {LAYOUT} if that is right",
        )  # fmt: skip
