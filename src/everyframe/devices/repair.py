"""Which rewrites make a model fit, found by trying them, and the proof that they changed nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx

from everyframe import modelfile
from everyframe.conversion.step import Conversion, convert
from everyframe.devices.check import Finding, Report, check
from everyframe.devices.profile import Profile
from everyframe.devices.prove import Proof, prove, prove_step
from everyframe.devices.rewrites import REWRITES, STEP, host_state
from everyframe.devices.rewrites.opset import invalid
from everyframe.devices.sound import faults
from everyframe.errors import EveryframeError, ModelError, UsageError
from everyframe.files import check_writable
from everyframe.modelfile.without_weights import with_weights, without_weights
from everyframe.progress import TextProgress, silent


@dataclass(frozen=True)
class Applied:
    rewrite: str
    detail: str


@dataclass
class RepairPlan:
    """before: the findings, each with the rewrite that mends it. after: what remains. step: the conversion, where a clip network
    had to become a step network. notes: rewrites that could not be done, and why.
    """

    model: onnx.ModelProto
    before: Report
    after: Report
    applied: list[Applied] = field(default_factory=list)
    step: Conversion | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        if self.before.fits:
            return "fits"
        return "needs a fix" if self.after.fits else "does not fit"


@dataclass(frozen=True)
class Fixed:
    plan: RepairPlan
    proofs: tuple[Proof, ...]
    path: Path


def plan(model: onnx.ModelProto, profile: Profile, *, stream: Callable[[], Conversion] | None = None) -> RepairPlan:
    """Tries rewrites node by node, and if that is not enough the step network in place of the clip network.

    stream: makes the step network of `model`; given where several profiles can share it. Nothing is compared yet.
    """
    if wrong := faults(model):
        report = Report(profile.name, wrong, {}, len(model.graph.node))
        return RepairPlan(model, report, report)
    made = _by_nodes(model, profile)
    if not made.after.fits and _is_clip(model):
        made = _as_step(made, model, profile, stream or (lambda: convert(model)))
    return made


def _as_step(local: RepairPlan, model: onnx.ModelProto, profile: Profile, stream: Callable[[], Conversion]) -> RepairPlan:
    try:
        conversion = stream()
    except EveryframeError as error:
        local.notes.append(f"{STEP}: {error.what}" + (f" ({error.where})" if error.where else ""))
        return local
    through = _by_nodes(conversion.step, profile)
    later = {finding.key: finding.mend for finding in through.before.findings}
    through.before = _mended(local.before, lambda finding: later.get(finding.key, STEP))
    detail = f"hop {conversion.metadata.hop}, {len(conversion.metadata.states)} states"
    through.applied.insert(0, Applied(STEP, detail))
    through.step = conversion
    # a step network that does not fit either is only of use if less is left to do
    return through if _size(through.after) < _size(local.after) else local


def _by_nodes(model: onnx.ModelProto, profile: Profile) -> RepairPlan:
    """The rewrites of the table, each where the findings that are left ask for it."""
    before = check(model, profile)
    made = RepairPlan(model if before.fits or profile.engine else without_weights(model), before, before)
    for rewrite in REWRITES:
        findings = [finding for finding in made.after.findings if rewrite.mends(finding)]
        outcome = rewrite.apply(made.model, profile, findings) if findings else None
        if outcome is None or outcome.model is None:
            made.notes += [f"{rewrite.name}: {outcome.detail}"] if outcome and outcome.detail else []
            continue
        report = check(outcome.model, profile)
        if _size(report) >= _size(made.after):
            continue
        gone = {finding.key for finding in made.after.findings} - {finding.key for finding in report.findings}
        mends = {finding.key: rewrite.name if finding.key in gone else finding.mend for finding in made.before.findings}
        made.before = _mended(made.before, lambda finding, mends=mends: mends[finding.key])  # type: ignore[misc]
        made.model, made.after = outcome.model, report
        made.applied.append(Applied(rewrite.name, outcome.detail))
    made.model = with_weights(made.model, model) if made.applied and not profile.engine else model
    if made.applied and (why := invalid(made.model)):
        return RepairPlan(model, before, before, notes=[f"{made.applied[-1].rewrite}: the model would be invalid ({why})"])
    return made


def _size(report: Report) -> tuple[int, int]:
    """How much is left to do: different problems first, because one state may become several."""
    return len({(finding.kind, finding.op, finding.why) for finding in report.findings}), len(report.findings)


def _mended(report: Report, by: Callable[[Finding], str | None]) -> Report:
    return replace(report, findings=tuple(replace(finding, mend=by(finding)) for finding in report.findings))


def _is_clip(model: onnx.ModelProto) -> bool:
    """A clip network, or a model of others that looks like one: one input on five axes."""
    metadata = modelfile.metadata_of(model)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    five = len(inputs) == 1 and len(inputs[0].type.tensor_type.shape.dim) == 5
    return metadata.kind == "clip" if metadata else five


def with_host_state(made: RepairPlan, profile: Profile) -> RepairPlan:
    """The plan with all states moved by the host, whatever the profile says. Raises UsageError for a clip network."""
    if _is_clip(made.model):
        raise UsageError(
            "A clip network has no states.", where="--host-state", expected="a step network",
            hint="run `everyframe stream CLIP.onnx` first, and check what it writes",
        )  # fmt: skip
    if (lean := host_state.apply(made.model)) is not None:
        made.model, made.after = lean, check(lean, profile)
        made.applied.append(Applied("host-state", "asked for"))
    return made


def fix(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    profile: Profile,
    *,
    host_state: bool = False,
    progress: TextProgress | None = None,
) -> Fixed:
    """Writes the model with all rewrites that are needed and possible, once it gives the same answers.

    Raises ModelError, UsageError, OutputError, and ConversionMismatch if the answers differ; nothing is written then.
    """
    output = Path(output)
    check_writable(output, read=(path,))
    made, proofs = mend(modelfile.load(path), profile, host_state=host_state, progress=progress)
    modelfile.save(made.model, output)
    return Fixed(made, proofs, output)


def mend(
    model: onnx.ModelProto, profile: Profile, *, host_state: bool = False, progress: TextProgress | None = None
) -> tuple[RepairPlan, tuple[Proof, ...]]:
    """What `fix` writes, in memory. Raises ModelError, UsageError, and ConversionMismatch if the answers differ."""
    progress = progress or silent
    progress("trying rewrites")
    made = plan(model, profile)
    if wrong := [finding for finding in made.after.findings if finding.kind == "model"]:
        raise ModelError(
            "Nothing can run this model, so nothing was written.", where=" ".join(filter(None, (wrong[0].op, wrong[0].node))),
            got=wrong[0].why, hint="export it again from a checkpoint that works",
        )  # fmt: skip
    if host_state:
        made = with_host_state(made, profile)
    proofs: list[Proof] = []
    source = model
    if made.step is not None:
        progress("comparing the step network with the clip network over a stream")
        proofs += prove_step(made.step)
        source = made.step.step
    if made.model is not source:
        if why := invalid(made.model):
            raise ModelError("A rewrite made an invalid model, so nothing was written.", got=why, hint="please report it")
        progress("comparing with the model before")
        proofs += prove(source, made.model)
    return made, tuple(proofs)
