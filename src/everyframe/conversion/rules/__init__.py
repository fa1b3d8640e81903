"""One temporal rule an operator: what it does to facts, and how it is written in the step network.

A rule is a class with two static methods, registered for the operators it serves:

    fact(node, facts) -> Fact           the fact of the output (a tuple for several outputs)
    lower(node, step) -> None           adds 2-D nodes to the step network and calls step.put(output, tensor)

To add an operator: one file here, one line in `_FILES`, one row in tests/laws; other packages add rules by entry points
(`everyframe.plugins`). An operator without a rule is an error that names the node: an unknown operator might mix frames, and a
silent guess would be wrong.
"""

from __future__ import annotations

import importlib
from typing import Protocol

from everyframe import plugins
from everyframe.conversion import axes as ax
from everyframe.conversion.facts import Fact, Facts, where
from everyframe.errors import UnsupportedOperator
from everyframe.modelfile.graph import Node

_FILES = (
    "conv",
    "pool",
    "reduce",
    "pointwise",
    "normalize",
    "concat",
    "slicing",
    "pad",
    "reshape",
    "transpose",
    "matmul",
)


class Rule(Protocol):
    @staticmethod
    def fact(node: Node, facts: Facts) -> Fact | tuple[Fact, ...]: ...

    @staticmethod
    def lower(node: Node, step) -> None: ...  # type: ignore[no-untyped-def]


_RULES: dict[str, type[Rule]] = {}

# operators that people meet in exported clip networks, and what to do about them
_ADVICE = {
    "ScatterND": "an in-place assignment on a slice of time was exported; write it as slice + pad + concat and export again",
    "ScatterElements": "an in-place assignment was exported; write it as slice + pad + concat and export again",
    "Resize": "interpolation is not supported; take it out of the network, or do it before the clip",
    "LSTM": "recurrent layers already keep state; convert the convolutional part and run the recurrent one behind it",
    "GRU": "recurrent layers already keep state; convert the convolutional part and run the recurrent one behind it",
    "Attention": "attention over time is not a window of fixed length; use a convolutional network",
    "If": "export with constant control flow (torch: dynamo=True)",
    "Loop": "export with constant control flow (torch: dynamo=True)",
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
    rule = plugin.value
    if not all(callable(getattr(rule, name, None)) for name in ("fact", "lower")):
        raise plugin.error(
            "A rule of a plugin is no rule.", expected="a class with fact(node, facts) and lower(node, step)", got=repr(rule)
        )
    _RULES[operator] = rule
    return rule


# operators that only carry on an axis in which several frames are merged with something else
_CARRIERS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose")


def check_time(node: Node, facts: Facts) -> None:
    """Refuses operators on an axis that holds several frames together with something else."""
    from everyframe.conversion.rules.pointwise import NONNEGATIVE

    timed = facts.timed(node)
    others = [facts.graph.constant(name) for name in node.inputs if name and name not in facts.table]
    alone = node.op in NONNEGATIVE and len(timed) == 1 and all(array is not None and array.size == 1 for array in others)
    for name in timed:
        if ax.time_is_mixed(facts[name].axes) and node.op not in _CARRIERS and not alone:
            raise unsupported(
                node,
                f"{node.op} works on an axis that holds several frames together with something else.",
                got=f"{name!r} of shape {facts[name].clip_shape}, {facts[name].frames} frames",
                hint="keep time on an axis of its own, or fold it into the batch",
            )


def unsupported(node: Node, what: str, *, hint: str, got: object = None, expected: object = None) -> UnsupportedOperator:
    """An error for a use of a known operator that cannot be streamed."""
    return UnsupportedOperator(what, where=where(node), expected=expected, got=got, hint=hint)
