"""A model against a profile: what does not fit, why, and who says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import onnx

from everyframe.devices import engines
from everyframe.devices.nodes import Node, Value, View, view
from everyframe.devices.profile import Entry, Profile, Span, Tensors
from everyframe.modelfile.file import metadata_of


@dataclass(frozen=True)
class Finding:
    """One thing that does not fit. node: its name, '' for the model as a whole. kind: operator, rank, attribute, axes, opset,
    ir, input, output, states, engine, or model for what nothing runs.
    origin: the profile's source, or why it is inferred. mend: the rewrite that mends it.
    """

    kind: str
    op: str
    node: str
    place: str
    why: str
    origin: str
    mend: str | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.kind, self.op, self.node)


@dataclass(frozen=True)
class Report:
    """findings: what does not fit. host: operators that the device leaves to its host's processor, with their number."""

    target: str
    findings: tuple[Finding, ...]
    host: dict[str, int]
    nodes: int

    @property
    def fits(self) -> bool:
        return not self.findings


def check(model: onnx.ModelProto, profile: Profile) -> Report:
    """What of `model` does not fit `profile`. Raises ModelError if its everyframe metadata is broken."""
    seen = view(model)
    findings, host = [*_whole(model, seen, profile)], Counter[str]()
    refused = engines.refusal(model, profile)
    entries = engines.entries(profile)
    # an engine that takes the model is believed, whatever its folding has removed
    for node in seen.nodes if refused or not profile.engine else ():
        found = _node(node, entries.get(node.op, ()), profile, seen)
        if isinstance(found, Finding):
            findings.append(found)
        elif found is not None and found.runs == "host":
            host[node.op] += 1
    if refused and not findings:
        findings.append(Finding("engine", "", refused.where, "", refused.why, f"{profile.title} itself"))
    return Report(profile.name, tuple(findings), dict(sorted(host.items())), len(seen.nodes))


def _whole(model: onnx.ModelProto, seen: View, profile: Profile) -> Iterator[Finding]:
    for kind, limit, value in (("opset", profile.opset, seen.opset), ("ir", profile.ir, seen.ir)):
        if limit and not limit.allows(value):
            name = "opset" if kind == "opset" else "IR version"
            yield Finding(kind, "", "", "", f"{name} {value}; it takes {limit}", limit.origin)
    for domain in seen.domains:
        if not profile.engine:
            yield Finding("operator", domain, "", "", f"operators of {domain}, which are not ONNX", "the ONNX standard")
    if profile.inputs:
        for entering in seen.inputs:
            if why := _value(entering, profile.inputs):
                yield Finding("input", "", entering.name, "", why, profile.inputs.origin)
    if profile.outputs and not profile.outputs.allows(len(seen.outputs)):
        yield Finding("output", "", "", "", f"{len(seen.outputs)} outputs; it takes {profile.outputs}", profile.outputs.origin)
    if profile.states and not profile.states.through:
        for name, why in passed_through(model):
            yield Finding("states", "", name, "", why, profile.states.origin)
    if profile.states and not profile.states.entering:
        for name in handed_on(model):
            yield Finding("states", "", name, "", "it is an input as it came", profile.states.origin)


def passed_through(model: onnx.ModelProto) -> Iterator[tuple[str, str]]:
    """(output, why) of each state that the graph moves without computing it: copies, and rings that are shifted."""
    metadata = metadata_of(model)
    made = {name: node for node in model.graph.node for name in node.output}
    outputs = {value.name for value in model.graph.output}
    for spec in metadata.states if metadata else ():
        if spec.output not in outputs or not spec.floats:
            continue
        if spec.copy_of is not None:
            yield spec.output, "a state is copied from another"
        elif ring(spec.input, spec.output, made):
            yield spec.output, "a ring of states is shifted"


def handed_on(model: onnx.ModelProto) -> list[str]:
    """Outputs that are inputs, by way of Identity."""
    made = {name: node for node in model.graph.node for name in node.output}
    entering = {value.name for value in model.graph.input}
    return [value.name for value in model.graph.output if origin_of(value.name, made) in entering]


def origin_of(name: str, made: dict[str, onnx.NodeProto]) -> str:
    """The tensor that a chain of Identity repeats."""
    while name in made and made[name].op_type == "Identity":
        name = made[name].input[0]
    return name


def ring(entering: str, leaving: str, made: dict[str, onnx.NodeProto]) -> onnx.NodeProto | None:
    """The Concat behind a state that keeps older frames of itself: leaving = Slice(Concat(entering, new))."""
    node = made.get(origin_of(leaving, made))
    if node is None or node.op_type != "Slice":
        return None
    line = made.get(node.input[0])
    return line if line is not None and line.op_type == "Concat" and line.input[0] == entering else None


def _value(value: Value, limit: Tensors) -> str | None:
    shape = "x".join("?" if n is None else str(n) for n in value.shape) or "scalar"
    if limit.ranks and len(value.shape) not in limit.ranks:
        return f"{shape} has {len(value.shape)} axes; it takes {_ranks(limit.ranks)}"
    if limit.batch and value.shape and (value.shape[0] is None or not limit.batch.allows(value.shape[0])):
        return f"the first axis of {shape} is {value.shape[0]}; it takes {limit.batch}"
    if limit.types and value.type not in limit.types:
        return f"{value.type}; it takes {_or(limit.types)}"
    return None


def _node(node: Node, entries: tuple[Entry, ...], profile: Profile, seen: View) -> Finding | Entry | None:
    """What is wrong with a node, or the entry that takes it."""
    if not entries:
        why = f"{node.op} is not among its operators"
        return Finding("operator", node.op, node.name, node.place, why, _origin(profile))
    problems = []
    for entry in entries:
        problem = next(_problems(node, entry, profile), None)
        if problem is None:
            return entry
        problems.append((problem, entry))
    # of several alternatives, the one that came furthest says most
    (kind, why), entry = max(problems, key=lambda p: ("rank", "axes", "attribute").index(p[0][0]))
    default = kind == "rank" and entry.ranks is None and profile.tensors
    return Finding(kind, node.op, node.name, node.place, why, default.origin if default else entry.origin)


def _problems(node: Node, entry: Entry, profile: Profile) -> Iterator[tuple[str, str]]:
    ranks = entry.ranks or (profile.tensors.ranks if profile.tensors else None)
    if ranks and (wrong := [rank for rank in node.ranks if rank > max(ranks) or (entry.ranks and rank not in ranks)]):
        yield "rank", f"{node.op} on {wrong[0]} axes; it takes {_ranks(ranks)}"
    if entry.axes is not None and node.axes not in entry.axes:
        got = "axes that are computed" if node.axes is None else f"axes {_list(node.axes)}"
        yield "axes", f"{node.op} over {got}; it takes {_or([_list(axes) for axes in entry.axes])}"
    for name, allowed in entry.attributes.items():
        value = node.attribute(name)
        if value is not None and not _allowed(value, allowed):
            shown = allowed if isinstance(allowed, Span) else _or(allowed)
            yield "attribute", f"{node.op} with {name} {_list(value)}; it takes {shown}"


def _allowed(value: Any, allowed: Span | tuple[int | str, ...]) -> bool:
    numbers = value if isinstance(value, list | tuple) else [value]
    plain: list[Any] = [n.decode() if isinstance(n, bytes) else n for n in numbers]
    return all(allowed.allows(n) if isinstance(allowed, Span) else n in allowed for n in plain)


def _origin(profile: Profile) -> str:
    return profile.tensors.origin if profile.tensors else profile.operators[0].origin if profile.operators else profile.title


def _list(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode()
    return "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _ranks(ranks: tuple[int, ...]) -> str:
    return f"up to {max(ranks)}" if len(ranks) > 2 else _or(ranks)


def _or(values: Any) -> str:
    return " or ".join(map(str, values))
