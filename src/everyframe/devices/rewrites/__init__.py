"""What mends which findings: one file a rewrite, and this table.

A rewrite may only change how something is computed, never what; `prove` holds that for every file that is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from everyframe.devices.check import Finding, check, handed_on, passed_through
from everyframe.devices.profile import Profile
from everyframe.devices.rewrites import activations, host_state, join, means, opset, state_axes
from everyframe.devices.rewrites.edit import Build, exchanged


@dataclass(frozen=True)
class Outcome:
    """model: None where nothing could be changed. detail: what was done, or why nothing."""

    model: onnx.ModelProto | None
    detail: str = ""


@dataclass(frozen=True)
class Rewrite:
    """says: what it does, in a few words. kinds, ops: of the findings it is for; no ops means any."""

    name: str
    says: str
    kinds: tuple[str, ...]
    ops: tuple[str, ...]
    apply: Callable[[onnx.ModelProto, Profile, Sequence[Finding]], Outcome]

    def mends(self, finding: Finding) -> bool:
        return finding.kind in self.kinds and (not self.ops or finding.op in self.ops)


def _by_variants(variants: tuple[Build, ...]) -> Callable[[onnx.ModelProto, Profile, Sequence[Finding]], Outcome]:
    """Exchanges the nodes of findings for the first variant that the profile takes."""

    def apply(model: onnx.ModelProto, profile: Profile, findings: Sequence[Finding]) -> Outcome:
        left, done = {finding.node for finding in findings}, 0
        changed = model
        for variant in variants:
            candidate, new = exchanged(changed, dict.fromkeys(left, variant).get)
            wrong = {finding.node for finding in check(candidate, profile).findings}
            if new and not new & wrong:
                remaining = left & wrong
                done, left, changed = done + len(left - remaining), remaining, candidate
        return Outcome(changed if done else None, f"{done} node{'s' if done != 1 else ''}" if done else "")

    return apply


def _host_state(model: onnx.ModelProto, profile: Profile, findings: Sequence[Finding]) -> Outcome:
    made = host_state.apply(model)
    return Outcome(made, f"{len(list(passed_through(model)))} states are moved by the host" if made else "")


def _by_one(model: onnx.ModelProto, profile: Profile, findings: Sequence[Finding]) -> Outcome:
    """An input that is an output becomes a product with one: the same values, as something that is computed."""
    left = {*handed_on(model)} & {finding.node for finding in findings}
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for node in changed.graph.node:
        if node.op_type == "Identity" and node.output[0] in left and (kind := _float_type(changed, node.input[0])):
            one = f"{node.output[0]}::one"
            changed.graph.initializer.append(helper.make_tensor(one, kind, (), [1.0]))
            node.op_type = "Mul"
            node.input.append(one)
    return Outcome(changed if left else None, f"{len(left)} inputs that are outputs" if left else "")


def _float_type(model: onnx.ModelProto, name: str) -> int | None:
    """Of a graph input."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    return kinds[name] if kinds.get(name) in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE) else None


def _state_axes(model: onnx.ModelProto, profile: Profile, findings: Sequence[Finding]) -> Outcome:
    ranks = profile.inputs.ranks if profile.inputs else None
    made = state_axes.apply(model, {finding.node for finding in findings}, ranks) if ranks else None
    return Outcome(made, f"states on {min(ranks)} axes" if made and ranks else "")


def _opset(model: onnx.ModelProto, profile: Profile, findings: Sequence[Finding]) -> Outcome:
    """To the newest that the profile takes."""
    before = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    target = min(before, profile.opset.max if profile.opset and profile.opset.max else before)
    ir = min(model.ir_version, profile.ir.max if profile.ir and profile.ir.max else model.ir_version)
    lowered = opset.lower(model, target, ir)
    if lowered.stuck:
        return Outcome(None, f"no form in opset {target} for {_counted(lowered.stuck)}")
    parts = [f"opset {before} to {target}"] if target < before else []
    parts += [f"IR {model.ir_version} to {ir}"] if ir < model.ir_version else []
    if lowered.changed:
        parts.append(f"written otherwise: {_counted(lowered.changed)}")
    return Outcome(lowered.model if parts else None, "; ".join(parts))


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{op} {n}" for op, n in counts.items())


_NODE = ("operator", "rank", "axes", "attribute")

#: in the order in which they are tried; what turns a clip network into a step network comes after all of them (`repair`)
REWRITES = (
    Rewrite("means", "a mean in a form that the target has", _NODE, means.OPS, _by_variants(means.VARIANTS)),
    Rewrite("activations", "an activation in simpler operators", _NODE, activations.OPS, _by_variants(activations.VARIANTS)),
    Rewrite("host-state", "the host moves states, the device computes new ones", ("states", "input", "output"), (), _host_state),
    Rewrite("by-one", "an input that is an output becomes a product with one", ("states",), (), _by_one),
    Rewrite("join", "concatenation along another axis than the batch", ("attribute",), join.OPS, _by_variants(join.VARIANTS)),
    Rewrite("state-axes", "states on as many axes as inputs must have", ("input",), (), _state_axes),
    Rewrite("opset", "the same operators in an older opset and IR version", ("opset", "ir"), (), _opset),
)
#: the streaming transformation: nothing of a step network has five axes
STEP = "step"
