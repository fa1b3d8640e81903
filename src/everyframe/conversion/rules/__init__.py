"""One temporal rule an operator: what it does to facts, and how it is written in the step network.

A rule is a class with two static methods, registered for the operators it serves:

    fact(node, facts) -> Fact           the fact of the output (a tuple for several outputs)
    lower(node, step) -> None           adds 2-D nodes to the step network and calls step.put(output, tensor)

To add an operator: a row of `pointwise.NONNEGATIVE` (element-wise), a row of `perframe.ROWS` (inside a frame), or one file
here and one line in `_FILES`; `either` chooses between two. Other packages add rules by entry points (`everyframe.plugins`).
An operator without a rule is an error that names the node: an unknown operator might mix frames, and a silent guess would be
wrong.
"""

from __future__ import annotations

import importlib
from typing import Protocol

from everyframe import plugins
from everyframe.conversion.builder import Builder
from everyframe.conversion.facts import Fact, Facts
from everyframe.conversion.refusals import where
from everyframe.errors import UnsupportedOperator
from everyframe.modelfile.graph import Node

_FILES = (
    "conv",
    "pool",
    "reduce",
    "pointwise",
    "perframe",
    "products",
    "softmax",
    "concat",
    "slicing",
    "pad",
    "reshape",
    "transpose",
    "recurrent",
    "either",
    "whole",
)


class Rule(Protocol):
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact | tuple[Fact, ...]: ...

    @staticmethod
    def lower(node: Node, step: Builder) -> None: ...


_RULES: dict[str, type[Rule]] = {}

# operators that people meet in exported clip networks, and what to do about them
_ADVICE = {
    "GatherND": "an interpolation over time is written like that by torch's newer exporter; with dynamo=False it is a Resize",
    "ScatterND": "an in-place assignment of single values was exported; write it as slices and a concatenation and export again",
    "ScatterElements": "an in-place assignment was exported; write it as slice + pad + concat and export again",
    "Attention": "attention over time is not a window of fixed length; use a convolutional network",
    "If": "export with constant control flow (torch: dynamo=True)",
    "Loop": "let it run over the frames, a constant number of times, and pick frame i in it (x[i]); or export it unrolled",
}


def register(*operators: str):  # type: ignore[no-untyped-def]
    def add(rule: type) -> type:
        for operator in operators:
            if operator in _RULES:
                raise RuntimeError(f"two rules for operator {operator}")
            _RULES[operator] = rule
        return rule

    return add


def load() -> dict[str, type[Rule]]:
    """Our rules by operator name, and those of other packages that were used."""
    for name in _FILES:
        importlib.import_module(f"{__name__}.{name}")
    return _RULES


def of(node: Node) -> type[Rule]:
    rule = _RULES.get(node.op) or load().get(node.op) or _plugged(node.op)
    if rule is None:
        raise UnsupportedOperator(
            f"There is no streaming rule for operator {node.op}.",
            where=where(node),
            got=f"it reads {node.inputs[0]!r}, which depends on the clip",
            hint=_ADVICE.get(node.op, "replace it in the network by supported operators (docs/stream.md lists them)"),
        )
    return rule


def _is_ours(operator: str) -> bool:
    """Has the operator a rule of this folder? Those of plugins join the table when they are first used."""
    rule = _RULES.get(operator)
    return rule is not None and rule.__module__.startswith(f"{__name__}.")


def _plugged(operator: str) -> type[Rule] | None:
    """The rule that another package has for an operator. Raises PluginError for a broken one."""
    plugin = plugins.load("rules", operator, _is_ours)
    if plugin is None:
        return None
    rule: type[Rule] = plugin.value
    if not all(callable(getattr(rule, name, None)) for name in ("fact", "lower")):
        raise plugin.error(
            "A rule of a plugin is no rule.", expected="a class with fact(node, facts) and lower(node, step)", got=repr(rule)
        )
    _RULES[operator] = rule
    return rule
