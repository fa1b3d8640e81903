"""Gemm, MatMul and Einsum: linear layers on each frame, and products of wires inside a frame (attention among positions)."""

from __future__ import annotations

import string
from dataclasses import replace

import numpy as np

from everyframe.conversion import axes as ax
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts
from everyframe.conversion.refusals import unsupported
from everyframe.conversion.rules import register, stacked
from everyframe.conversion.rules.perframe import check_touched
from everyframe.conversion.view import View
from everyframe.modelfile.graph import Node


@register("Gemm", "MatMul")
class Product:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        source = facts.get(node.inputs[0])
        if (found := stacked.stack(node, facts)) is not None:
            return stacked.fact(node, facts, found)
        if source is not None and _is_linear(node, facts):
            return _linear_fact(node, facts, source)
        if node.op == "Gemm" or any(len(facts.graph.shapes[name]) < 2 for name in node.inputs):
            raise unsupported(
                node, "This product cannot be streamed.", expected="a linear layer with constant weights on the last axis",
                hint="write it as a matrix product (MatMul) of a frame",
            )  # fmt: skip
        operands = {name: facts[name] for name in facts.timed(node)}
        for i, name in enumerate(node.inputs):
            if name in operands:
                check_touched(node, operands[name], {len(operands[name].axes) - 1 - i})
        joined = facts.join(node, facts.timed(node)) if len(operands) > 1 else next(iter(operands.values())).plain()
        return replace(joined, axes=_product_axes(node, facts), nonneg=False)

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        facts, out = step.facts, step.facts[node.outputs[0]]
        if (found := stacked.stack(node, facts)) is not None:
            taps = stacked.weights(node, facts, found)  # (T, O, I)
            kernel = step.const(np.concatenate(np.moveaxis(taps, 2, 1)), f"{node.label}.weight")  # (T * I, O)
            inputs = [stacked.side_by_side(node, step, found), kernel, *(step.same(name) for name in node.inputs[2:] if name)]
            attrs = {key: value for key, value in node.attrs.items() if key != "transB"}
            step.put(node.outputs[0], step.emit(node.op, inputs, node.label, **attrs))
            return
        if node.inputs[0] in facts.table and _is_linear(node, facts):
            flat = node.op == "Gemm" and ax.rest(out.axes[0]) > 1  # tokens of a frame as rows
            before, after = View(facts[node.inputs[0]].axes), View(out.axes)
            x = step.wire(node.inputs[0])
            x = step.enter(before, x, node.label) if flat else x
            made = step.emit(node.op, [x, *(step.same(name) for name in node.inputs[1:] if name)], node.label, **node.attrs)
            step.put(node.outputs[0], step.leave(after, made, node.label) if flat else made)
            return
        rank = len(out.axes)
        apart = rank < 3 or any(not _in_front(facts, name, rank) for name in node.inputs)
        inputs = []
        for name in node.inputs:
            if name not in facts.table:
                inputs.append(step.same(name))
                continue
            fact = facts[name]
            view = View(((),) * (rank - len(fact.axes)) + fact.axes, apart, whole=True)
            inputs.append(step.enter(view, step.delayed(node, name, max(0, out.lag - fact.lag)), node.label))
        made = step.emit("MatMul", inputs, node.label)
        step.put(node.outputs[0], step.leave(View(out.axes, apart, whole=True), made, node.label))


def _in_front(facts: Facts, name: str, rank: int) -> bool:
    """True if the batch of this operand can be the frames of the step."""
    if name in facts.table:
        axes = facts[name].axes
        return len(axes) == rank and ax.is_frame_axis(axes[0])
    shape = facts.graph.shapes[name]
    return len(shape) < rank or shape[0] == 1


def _is_linear(node: Node, facts: Facts) -> bool:
    weight, source = facts.graph.constant(node.inputs[1]), facts[node.inputs[0]]
    last = len(source.axes) - 1
    fits = weight is not None and weight.ndim == 2 and not node.attr("transA", 0)
    return fits and (node.op == "Gemm" or ax.step_axis(source.axes, last) is not None)


def _generates_kernel(node: Node, facts: Facts) -> Node | None:
    """The convolution whose kernel is computed from this layer's result."""
    made = {node.outputs[0]}
    for reader in facts.graph.downstream(node.outputs[0]):
        if reader.op in ("Conv", "ConvTranspose") and reader.input(1) in made:
            return reader
        made.update(reader.outputs)
    return None


def _linear_fact(node: Node, facts: Facts, source: Fact) -> Fact:
    last = len(source.axes) - 1
    if any(atom.kind == "T" and atom.size > 1 for atom in source.axes[last]) or ax.step_axis(source.axes, last) is None:
        if (conv := _generates_kernel(node, facts)) is not None:
            raise unsupported(
                node, "A kernel over time is generated from all frames of the clip.",
                got=f"the kernel of {conv.name!r}, made of {source.frames} frames",
                hint="a stream has no whole clip to look at: train with a kernel that is a weight (a convolution over time, TSM, "
                "TEA), and let only its gates depend on the frames",
            )  # fmt: skip
        raise unsupported(
            node,
            "A linear layer reads several frames at once.",
            got=f"shape {source.clip_shape}, {source.frames} frames flattened",
            hint="pool over time before the classifier, or use a clip length at which one frame is left",
        )
    bias = facts.graph.constant(node.input(2)) if node.input(2) else None
    if bias is not None and bias.ndim == 2 and bias.shape[0] > 1:
        raise unsupported(
            node,
            "A linear layer's bias changes along time.",
            got=f"shape {bias.shape}",
            hint="temporal position embeddings and the like cannot be streamed",
        )
    size = facts.graph.shapes[node.outputs[0]][-1]
    return source.plain(axes=(*source.axes[:last], (ax.Atom(size),)), nonneg=False)


def _product_axes(node: Node, facts: Facts) -> ax.Axes:
    """Axes of a product: the batch of both, rows of the first, columns of the second."""
    shape = facts.graph.shapes[node.outputs[0]]
    made: list[ax.Axis] = [(ax.Atom(size),) if size > 1 else () for size in shape]
    held: dict[int, ax.Axis] = {}
    for i, name in enumerate(node.inputs):
        axes = facts[name].axes if name in facts.table else ()
        for j, axis in enumerate(axes, len(shape) - len(axes)):
            if j == len(shape) - 1 - i:  # columns of the first and rows of the second are summed over
                continue
            if any(atom.kind == "T" for atom in axis) and held.setdefault(j, axis) != axis:
                raise _mixed(node, facts)
            if ax.shape_of((axis,))[0] == shape[j] and (axis and (any(a.kind for a in axis) or not made[j])):
                made[j] = axis
    times = {j for j, axis in enumerate(made) if any(atom.kind == "T" for atom in axis)}
    if len(times) > 1:
        raise _mixed(node, facts)
    for name in node.inputs:  # a constant with something else for each frame
        there = facts.graph.constant(name)
        for j in times:
            k = j - len(shape) + (there.ndim if there is not None else 0)
            if there is not None and k >= 0 and there.shape[k] > 1 and k < there.ndim - 2:
                raise unsupported(
                    node, "A constant changes along time.", got=f"shape {there.shape}",
                    hint="temporal position embeddings and the like cannot be streamed",
                )  # fmt: skip
    return tuple(made)


def _mixed(node: Node, facts: Facts) -> Exception:
    return unsupported(
        node, f"{node.op} multiplies frames with other frames.",
        got=", ".join(f"{name!r}: {facts[name].clip_shape}" for name in facts.timed(node)),
        hint="attention over time is not a window of fixed length; inside a frame (time in the batch) it can be streamed",
    )  # fmt: skip


@register("Einsum")
class Einsum:
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact:
        terms, result = _terms(node)
        timed = facts.timed(node)
        axes: dict[str, ax.Axis] = {}
        for name, term in zip(node.inputs, terms, strict=True):
            if name in facts.table:
                check_touched(node, facts[name], {i for i, letter in enumerate(term) if letter not in result})
                for letter, axis in zip(term, facts[name].axes, strict=True):
                    known = axes.setdefault(letter, axis)
                    if known != axis and any(atom.kind == "T" for atom in (*known, *axis)):
                        raise _mixed(node, facts)
        times = {letter for letter, axis in axes.items() if any(atom.kind == "T" for atom in axis)}
        if len(times) > 1:
            raise _mixed(node, facts)
        sizes = dict(zip(result, facts.graph.shapes[node.outputs[0]], strict=True))
        joined = facts.join(node, timed) if len(timed) > 1 else facts[timed[0]].plain()
        made = tuple(axes.get(letter) or ((ax.Atom(sizes[letter]),) if sizes[letter] > 1 else ()) for letter in result)
        return replace(joined, axes=made, nonneg=False)

    @staticmethod
    def lower(node: Node, step: Builder) -> None:
        facts, out = step.facts, step.facts[node.outputs[0]]
        terms, result = _terms(node)
        frame = next(letter for letter in string.ascii_letters if all(letter not in term for term in (*terms, result)))
        outer = {
            letter
            for name, term in zip(node.inputs, terms, strict=True)
            if name in facts.table
            for letter, axis in zip(term, facts[name].axes, strict=True)
            if ax.is_frame_axis(axis)
        }  # axes of batch and time, for which the frames stand
        inputs, made = [], []
        for name, term in zip(node.inputs, terms, strict=True):
            kept = [i for i, letter in enumerate(term) if letter not in outer]
            letters = "".join(term[i] for i in kept)
            if name in facts.table:
                tensor = step.delayed(node, name, max(0, out.lag - facts[name].lag))
                sizes = [ax.rest(facts[name].axes[i]) for i in kept]
                inputs.append(step.emit("Reshape", [tensor, step.ints([-1, *sizes])], f"{node.label}::enter"))
                made.append(frame + letters)
            else:
                inputs.append(step.const(_first(node, step.constant(name), term, outer), name))
                made.append(letters)
        ends = "".join(letter for letter in result if letter not in outer)
        x = step.emit("Einsum", inputs, node.label, equation=f"{','.join(made)}->{frame}{ends}")
        shape = [-1, *ax.step_shape(out.axes)]
        step.put(node.outputs[0], step.emit("Reshape", [x, step.ints(shape)], f"{node.label}::leave"))


def _first(node: Node, array: np.ndarray | None, term: str, outer: set[str]) -> np.ndarray:
    """A constant without the axes that the frames stand for; it may not change along them."""
    if array is None:
        raise unsupported(node, "An operand is computed at run time.", hint="export with static shapes")
    for i in reversed(range(len(term))):
        if term[i] in outer:
            first = array.take([0], axis=i)
            if not np.array_equal(np.broadcast_to(first, array.shape), array):
                raise unsupported(
                    node, "A constant changes along time.", got=f"shape {array.shape}",
                    hint="temporal position embeddings and the like cannot be streamed",
                )  # fmt: skip
            array = first.squeeze(i)
    return array


def _terms(node: Node) -> tuple[list[str], str]:
    """Letters of the operands and of the result."""
    equation = bytes(node.attr("equation")).decode().replace(" ", "")
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    if "..." in equation:
        raise unsupported(node, "An Einsum with an ellipsis.", got=equation, hint="name all axes by letters")
    if not arrow:  # letters that occur once, in order
        result = "".join(sorted(letter for letter in set(left) if letter != "," and left.count(letter) == 1))
    return terms, result
