"""Models for devices: checked, made to fit, in integers, in stages, as C, in a folder for a board's own tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everyframe.api.given import File, Model, Progress, source

if TYPE_CHECKING:
    from everyframe.api.results import Checked, Fit


def check(model: Model, target: str) -> Checked:
    """A model beside what a device takes: operators, axes, attributes, opset, states. Any ONNX model will do.

    target: a device or runtime (`everyframe.devices.targets()` lists them). Nothing is written or compared yet; `fix` does.
    Raises ModelError, UsageError (an unknown target).

    >>> ef.check("clip.onnx", "rdk-x5").verdict
    'needs a fix'
    """
    from everyframe.api.results import Checked
    from everyframe.devices import load_profile, plan
    from everyframe.modelfile.file import load

    return Checked(target, plan(load(source(model)), load_profile(target)))


def fix(
    model: Model, target: str, output: File | None = None, *, host_state: bool = False, progress: Progress | None = None
) -> Fit:
    """The model with all rewrites that `target` needs and that are possible, once it is shown to give the same answers; a clip
    network becomes a step network where nothing less will do. What is left is in `plan.after.findings`.

    host_state: the device gives only new states, (N, …) as in the metadata, and the host moves the old ones. output: the file to
    write; None keeps it in memory. Raises ModelError, UsageError, OutputError, and ConversionMismatch if the answers differ.

    >>> fitted = ef.fix("clip.onnx", "rdk-x5")
    >>> fitted.fits, max(proof.difference for proof in fitted.proofs) < 1e-3
    (True, True)
    """
    from everyframe.api.results import Fit
    from everyframe.devices import fix, load_profile
    from everyframe.devices.repair import mend
    from everyframe.modelfile.file import load

    file, profile = source(model), load_profile(target)
    if output is None:
        return Fit(target, *mend(load(file), profile, host_state=host_state, progress=progress))
    made = fix(file, output, profile, host_state=host_state, progress=progress)
    return Fit(target, made.plan, made.proofs)
