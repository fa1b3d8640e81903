"""ConvTranspose, Resize and Upsample: in time, a frame becomes `stride` frames, each a sum over the last few (polyphase).

Output frame o = stride*q + r - crop reads the input frames around q with the weights of phase r. So a phase is an ordinary window
over time, and a step has `stride` times as many frames of the output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts, Window, whole
from everyframe.conversion.refusals import unsupported
from everyframe.modelfile.graph import Node


@dataclass(frozen=True)
class Phases:
    """rows: for each of the `stride` phases, which frame of the window it reads -> what with. first: frames at the beginning that
    are cropped. past, ahead: frames before and after q that the window holds."""

    rows: tuple[dict[int, Any], ...]
    crop: int
    past: int
    ahead: int = 0

    @property
    def stride(self) -> int:
        return len(self.rows)

    @property
    def window(self) -> Window:
        return Window(taps=self.past + 1 + self.ahead, pad=self.past)


def _fact(node: Node, facts: Facts, phases: Phases, axes: ax.Axes, frames: int) -> Fact:
    source = facts[node.inputs[0]]
    if facts.dense and phases.stride > 1:
        raise unsupported(
            node, f"{node.op} makes more frames than it reads: there is no prediction for every start of a video.",
            got="--rate dense", hint="use --rate native",
        )  # fmt: skip
    seen = source.through(phases.window, facts.dense)
    s, every, spacing = phases.stride, Fraction(seen.every), Fraction(seen.spacing)
    return replace(
        seen.plain(axes=ax.with_frames(axes, frames), nonneg=False),
        every=whole(every / s),
        spacing=whole(spacing / s),
        delay=whole((seen.lag * s + phases.crop) * every / s),
        left=whole(seen.left + (s - 1 - phases.crop) * spacing / s),
        right=whole(seen.right + phases.crop * spacing / s),
        frames=frames,
        early=0,
    )


def _interleaved(node: Node, step: Builder, parts: list[str], m: int) -> str:
    """Phases of m frames each -> their frames in order."""
    if len(parts) == 1:
        return parts[0]
    joined = step.emit("Concat", parts, f"{node.label}::phases", axis=0)
    if m == 1:
        return joined
    order = step.const(np.arange(m * len(parts)).reshape(len(parts), m).T.reshape(-1).astype(np.int64), f"{node.label}.order")
    return step.emit("Gather", [joined, order], f"{node.label}::frames", axis=0)


def _time(node: Node, facts: Facts) -> int:
    """The axis of time, which is there (`either`). Raises where it is mixed."""
    fact = facts[node.inputs[0]]
    time = next(i for i, axis in enumerate(fact.axes) if ax.is_time_axis(axis))
    if ax.time_is_mixed(fact.axes) or time == 1:
        raise unsupported(
            node, "The channel axis holds time.", got=f"shape {fact.clip_shape}", hint="keep time on an axis of its own"
        )
    return time


def _made_axes(fact: Fact, shape: tuple[int, ...]) -> ax.Axes:
    return tuple(axis if ax.is_frame_axis(axis) else (ax.Atom(size),) for axis, size in zip(fact.axes, shape, strict=True))


class ConvTranspose:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        fact, time = facts[node.inputs[0]], _time(node, facts)
        if facts.graph.constant(node.inputs[1]) is None or facts.get(node.input(2)):
            raise unsupported(node, "A convolution's weights depend on the clip.", hint="only constant weights can be streamed")
        if node.attr("output_shape") or node.attr("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
            raise unsupported(node, "The padding of a transposed convolution is hidden.", hint="export with explicit pads")
        shape = facts.graph.shapes[node.outputs[0]]
        axes = _made_axes(fact, shape)
        return _fact(node, facts, _transposed(node, facts, time), axes, shape[time])

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        time, weight = _time(node, step.facts), step.weight(node.inputs[1])
        bias = [step.same(node.input(2))] if node.input(2) else []
        attrs, flat = _space_attrs(node, weight, time)

        def conv(x: str, kernel: np.ndarray, name: str) -> str:
            if flat:
                x, kernel = step.emit("Unsqueeze", [x, step.ints([2])], "unsqueeze"), kernel[..., None]
            made = step.emit("ConvTranspose", [x, step.const(kernel, f"{name}.weight")], name, **attrs)
            return step.emit("Squeeze", [made, step.ints([2])], "squeeze") if flat else made

        def biased(x: str) -> str:
            if not bias:
                return x
            shape = step.ints([1, -1] + [1] * (len(ax.step_shape(step.facts[node.outputs[0]].axes)) - 1))
            return step.emit("Add", [x, step.emit("Reshape", [bias[0], shape], f"{node.label}.bias")], f"{node.label}::bias")

        taps, phases = np.moveaxis(weight, time, 0), _transposed(node, step.facts, time)
        names = {k: f"{node.label}::tap{k}" for k in range(len(taps))}
        _lower(node, step, phases, lambda x, k: conv(x, taps[k] if k >= 0 else 0 * taps[0], names.get(k, node.label)), biased)


def _transposed(node: Node, facts: Facts, time: int) -> Phases:
    dims = len(facts[node.inputs[0]].axes) - 2
    t, taps = time - 2, facts.graph.constants[node.inputs[1]].shape[time]
    dilation = (node.attr("dilations") or [1] * dims)[t]
    stride, crop = (node.attr("strides") or [1] * dims)[t], (node.attr("pads") or [0] * 2 * dims)[t]
    rows: list[dict[int, Any]] = [{} for _ in range(stride)]
    for k in range(taps):
        back, phase = divmod(k * dilation, stride)
        rows[phase][-back] = k
    past = max(-back for row in rows for back in row)
    return Phases(tuple(row or {0: -1} for row in rows), crop, past)  # -1: a phase that no tap reaches is zero


def _space_attrs(node: Node, weight: np.ndarray, time: int) -> tuple[dict[str, Any], bool]:
    """(attributes of the transposed convolution of one frame, has it no positions?)."""
    dims = weight.ndim - 2
    pads = list(node.attr("pads") or [0] * 2 * dims)
    kept = [i for i in range(dims) if i != time - 2]
    pick = {
        "kernel_shape": [weight.shape[i + 2] for i in kept],
        "strides": [(node.attr("strides") or [1] * dims)[i] for i in kept],
        "dilations": [(node.attr("dilations") or [1] * dims)[i] for i in kept],
        "output_padding": [(node.attr("output_padding") or [0] * dims)[i] for i in kept],
        "pads": [pads[i] for i in kept] + [pads[dims + i] for i in kept],
    }
    flat = {"kernel_shape": [1], "strides": [1], "dilations": [1], "output_padding": [0], "pads": [0, 0]}
    return (pick if kept else flat) | {"group": node.attr("group", 1)}, not kept


def _lower(node: Node, step: Builder, phases: Phases, apply: Callable[[str, Any], str], end: Callable[[str], str]) -> None:
    """Each phase is the sum of what `apply` makes of the frames that it reads; in front of the first there are zeros."""
    frames = step.taps(node, node.inputs[0], phases.window, 0.0)
    parts = []
    for row in phases.rows:
        terms = [apply(frames[phases.past + offset], what) for offset, what in row.items()]
        parts.append(end(step.emit("Sum", terms, f"{node.label}::sum") if len(terms) > 1 else terms[0]))
    step.put(node.outputs[0], _interleaved(node, step, parts, step.m(step.facts[node.inputs[0]])))


class Resize:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        fact, shape = facts[node.inputs[0]], facts.graph.shapes[node.outputs[0]]
        _given(node, facts)
        time = next((i for i, axis in enumerate(fact.axes) if ax.is_time_axis(axis)), None)
        for i, (axis, size) in enumerate(zip(fact.axes, shape, strict=True)):
            if i != time and ax.shape_of((axis,))[0] != size and ax.step_axis(fact.axes, i) is None:
                raise unsupported(
                    node, "An axis is resized that holds time and something else.", got=f"axis {i} of {fact.clip_shape}",
                    hint="keep time on an axis of its own",
                )  # fmt: skip
        axes = _resized_axes(fact, shape)
        if time is None or shape[time] == fact.frames:
            return fact.plain(axes=axes)
        return replace(_fact(node, facts, _interpolated(node, facts, time), axes, shape[time]), nonneg=fact.nonneg)

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        facts, out = step.facts, step.facts[node.outputs[0]]
        fact = facts[node.inputs[0]]
        wire = step.settled(node, node.inputs[0])
        wire = step.derive(wire, lambda x: _in_space(node, step, x), node, ax.with_frames(out.axes, fact.frames))
        time = next((i for i, axis in enumerate(fact.axes) if ax.is_time_axis(axis)), None)
        if time is None or facts.graph.shapes[node.outputs[0]][time] == fact.frames:
            step.put(node.outputs[0], step.wire(wire))
            return
        phases = _interpolated(node, facts, time)
        made = step.fact(wire).through(phases.window, facts.dense)
        begun = step.begun(made, len(step.frame_shape(wire)) + 1) if phases.past else ""
        frames = step.taps(node, wire, phases.window, 0.0)
        if phases.past:  # in front of the first frame stands the first frame
            frames[0] = step.emit("Where", [begun, frames[0], frames[1]], f"{node.label}::edge")
        parts = []
        for row in phases.rows:
            terms = [_scaled(node, step, frames[phases.past + offset], weight) for offset, weight in row.items()]
            parts.append(step.emit("Sum", terms, f"{node.label}::sum") if len(terms) > 1 else terms[0])
        step.put(node.outputs[0], _interleaved(node, step, parts, step.m(fact)))


def _resized_axes(fact: Fact, shape: tuple[int, ...]) -> ax.Axes:
    same = [ax.is_time_axis(axis) or ax.shape_of((axis,))[0] == size for axis, size in zip(fact.axes, shape, strict=True)]
    return tuple(axis if keep else (ax.Atom(size),) for axis, keep, size in zip(fact.axes, same, shape, strict=True))


def _scaled(node: Node, step: Builder, x: str, weight: float) -> str:
    return x if weight == 1 else step.emit("Mul", [x, step.scalar(weight)], f"{node.label}::part")


def _given(node: Node, facts: Facts) -> tuple[str, list[float]]:
    """("scales" or "sizes", one value an axis)."""
    rank = len(facts[node.inputs[0]].axes)
    old = node.op == "Upsample" or (len(node.inputs) == 2 and facts.graph.opset < 11)
    for kind, name in (("scales", node.input(1 if old else 2)), ("sizes", "" if old else node.input(3))):
        values = facts.graph.constant(name) if name else node.attr("scales") if old else None
        if values is not None and len(values):
            full = [1.0] * rank if kind == "scales" else [float(size) for size in facts[node.inputs[0]].clip_shape]
            for axis, value in zip(node.attr("axes") or range(rank), values, strict=True):
                full[int(axis) % rank] = float(value)
            return kind, full
    raise unsupported(node, "How much is interpolated is computed at run time.", hint="export with static shapes")


def _in_space(node: Node, step: Builder, x: str) -> str:
    """The interpolation of each frame."""
    fact, (kind, values) = step.facts[node.inputs[0]], _given(node, step.facts)
    shape, groups = step.facts.graph.shapes[node.outputs[0]], ax.step_groups(fact.axes)
    if all(shape[i] == fact.clip_shape[i] for group in groups for i in group):
        return x
    whole_group = (lambda group: 1.0) if kind == "scales" else (lambda group: float(np.prod([shape[i] for i in group])))
    made = [values[group[0]] if len(group) == 1 else whole_group(group) for group in groups]
    if kind == "scales":
        parameter = ["", step.const(np.array([1.0, *made], np.float32), f"{node.label}.scales")]
    else:
        parameter = ["", "", step.ints([step.m(fact), *map(int, made)])]
    attrs = {key: value for key, value in node.attrs.items() if key not in ("axes", "scales", "keep_aspect_ratio_policy")}
    if node.op == "Upsample":
        attrs |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    resized: str = step.emit("Resize", [x, *parameter], node.label, **attrs)
    return resized


_ROUND: dict[str, Callable[[float], int]] = {
    "round_prefer_floor": lambda x: int(np.ceil(x - 0.5)),
    "round_prefer_ceil": lambda x: floor(x + 0.5),
    "floor": floor,
    "ceil": lambda x: int(np.ceil(x)),
}


def _interpolated(node: Node, facts: Facts, time: int) -> Phases:
    """The phases of an interpolation in time, cropped such that they wait for as little as possible."""
    fact, frames = facts[node.inputs[0]], facts.graph.shapes[node.outputs[0]][time]
    kind, values = _given(node, facts)
    scale = values[time] if kind == "scales" else frames / fact.frames
    text = {key: bytes(value).decode() for key, value in node.attrs.items() if isinstance(value, bytes)}
    mode, nearest = text.get("mode", "nearest"), text.get("nearest_mode", "round_prefer_floor")
    corners = text.get("coordinate_transformation_mode", "half_pixel")
    if node.op == "Upsample" or facts.graph.opset < 11:
        corners, nearest = "asymmetric", "floor"
    shift = {"half_pixel": 0.5, "pytorch_half_pixel": 0.5, "half_pixel_symmetric": 0.5, "asymmetric": 0.0}.get(corners)
    if shift is None or mode not in ("nearest", "linear") or scale != int(scale) or scale < 1 or node.attr("antialias", 0):
        raise unsupported(
            node, "Time is interpolated in a way that has no end in a stream.",
            expected="a whole number of frames for each, mode nearest or linear",
            got=f"{mode}, {corners}, {scale:g} frames for one",
            hint="interpolate time by a whole number with align_corners=False, or leave time as it is",
        )  # fmt: skip
    s, far, best = int(scale), 100, None
    for crop in range(s):
        rows: list[dict[int, Any]] = []
        for r in range(s):
            x = (s * far + r - crop + shift) / s - shift - far
            low = floor(x + 1e-9)
            part = x - low if mode == "linear" and x - low > 1e-9 else 0.0
            rows.append({_ROUND[nearest](x): 1.0} if mode == "nearest" else {low: 1 - part, **({low + 1: part} if part else {})})
        offsets = [offset for row in rows for offset in row]
        made = Phases(tuple(rows), crop, max(0, -min(offsets)), max(0, *offsets))
        if best is None or made.ahead * s + crop < best.ahead * s + best.crop:
            best = made
    if best is None or best.past > 1:
        raise unsupported(node, "An interpolation reaches far back.", hint="use mode nearest or linear")
    return best
