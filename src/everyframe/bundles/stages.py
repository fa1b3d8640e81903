"""For devices that keep no state: the step network in stages, with what each of them is given, and the vendor's scripts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from everyframe.bundles.job import TEMPLATES, Job
from everyframe.conversion.step import convert
from everyframe.devices.check import check
from everyframe.devices.profile import load_profile
from everyframe.devices.prove import prove, prove_step
from everyframe.devices.repair import plan
from everyframe.errors import UsageError
from everyframe.modelfile.file import Held, load
from everyframe.modelfile.interface import metadata_or_raise
from everyframe.modelfile.manifest import read
from everyframe.splitting import cut, label
from everyframe.splitting.dump import dump
from everyframe.version import __version__

SCRIPTS = ("quantize_stages.py", "compile_stages.sh", "calib_input.py")


def fill(job: Job, sources: Sequence) -> dict:
    """The stages lie in the folder itself, so `everyframe predict` takes it. Raises UsageError for a network without states."""
    profile = load_profile(job.target_name)
    free = profile.model_copy(update={"states": None})  # the split leaves states to the host: no need to move them before
    source = load(job.source)
    metadata = metadata_or_raise(source, job.source)
    if metadata.kind == "clip":
        job.progress("converting to a step network")
        conversion = convert(source)
        prove_step(conversion)
        source = conversion.step
    job.progress("trying rewrites")
    made = plan(source, free)
    if made.model is not source:
        job.progress("comparing the model before and after")
        prove(source, made.model)
    flow = cut.open_step(Held(made.model, job.file))
    if not flow.metadata.states:
        raise UsageError("This network has no states, so there is nothing to split at.", where=job.source)
    parts = cut.cut(flow, label.at_states(flow))
    job.progress("comparing with the whole model")
    cut.check(flow, parts, job.source)
    cut.write(parts, job.fresh)
    job.progress("running the videos")
    kept = dump(job.fresh, sources, job.most)
    manifest = read(job.fresh)
    left = [
        f"{part.file}, {found.op} {found.node}: {found.why}"
        for part in manifest.stages
        for found in check(load(job.fresh / part.file), profile).findings
    ]
    for script in (*SCRIPTS, "events.py"):
        shutil.copy(TEMPLATES / script, job.fresh / script)
    told = manifest.metadata
    record = {
        "stages": [Path(part.file).stem for part in manifest.stages], "tool": f"everyframe {__version__}",
        "labels": told.labels, "events": told.events.model_dump() if told.events else None,
    }  # fmt: skip
    (job.fresh / "model.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    rewrites = (*(["step"] if metadata.kind == "clip" else []), *(applied.rewrite for applied in made.applied))
    command = "python quantize_stages.py && bash compile_stages.sh"
    job.write(
        "README.md", "README_vitis.md", name=job.name, title=job.target.title, version=__version__, source=job.file,
        rewrites=", ".join(rewrites) or "none", stages=len(manifest.stages), samples=kept, command=command,
    )  # fmt: skip
    return {
        "target": job.target_name, "rewrites": rewrites, "findings": tuple(left), "samples": kept, "command": command,
        "similarity": None, "notes": (),
    }  # fmt: skip
