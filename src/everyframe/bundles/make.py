"""One folder for one target: everything is made beside it and moved when all of it is there."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from everyframe.bundles import convert, samples, stages, web
from everyframe.bundles.copies import copy_video
from everyframe.bundles.job import TEMPLATES, Job
from everyframe.bundles.targets import TARGETS
from everyframe.devices.profile import load_profile
from everyframe.devices.repair import Fixed, fix
from everyframe.errors import OutputError, UsageError
from everyframe.files import check_folder, check_writable, make_ordinary, write_bytes
from everyframe.modelfile.file import load, metadata_of
from everyframe.progress import TextProgress, silent
from everyframe.quantization.videos import Model, chosen
from everyframe.runtime.prediction import best, quantities, read
from everyframe.targets import advice
from everyframe.version import __version__

MARK = "model.json"  # a folder that holds it is a bundle, and may be replaced
SAMPLES = 100
_VIDEOS = "videos like those it will see"
ALIKE = 0.99  # cosine below which a converted model is said to be another
_SHORT = {"float32": "f32", "float16": "f16", "int64": "i64", "uint8": "u8"}


@dataclass(frozen=True)
class Bundle:
    """rewrites: what was done to the model. findings: what does not fit all the same. samples: kept for calibration.
    command: what is left to do on the host, '' if nothing. similarity: cosine of the converted model's answer and the float
    model's, where it could be run here. notes: what could not be done here, and why.
    """

    target: str
    path: Path
    files: tuple[str, ...]
    rewrites: tuple[str, ...]
    findings: tuple[str, ...]
    samples: int
    command: str
    similarity: float | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "target": self.target, "path": str(self.path), "files": list(self.files), "rewrites": list(self.rewrites),
            "findings": list(self.findings), "samples": self.samples, "command": self.command, "similarity": self.similarity,
            "notes": list(self.notes),
        }  # fmt: skip


def bundle(
    model: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    target: str,
    videos: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    *,
    most: int = SAMPLES,
    sample: Path | None = None,
    teach: bool = True,
    weights: str = "auto",
    progress: TextProgress = silent,
) -> Bundle:
    """Writes what `target` needs of a clip or step model: made to fit, with inputs from `videos`, at most so many.

    sample: for pages, a video to be played by one click. teach: whether they learn gestures. weights: theirs: auto, fp32, int16.
    Raises UsageError, ModelError, SourceError, OutputError, and ConversionMismatch if a rewrite changes the answers.
    """
    folder = Path(folder)
    check(folder, target)
    samples.check_task(metadata_of(load(model), model), model)
    if videos is None and not TARGETS[target].page:
        raise UsageError(
            "A bundle for this target is calibrated on videos.", where="--calibrate", got="none", expected=_VIDEOS,
            hint="record some where it will be used: --calibrate FOLDER",
        )  # fmt: skip
    sources = [] if videos is None else chosen(videos)
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as beside:
            fresh = Path(beside) / "bundle"
            fresh.mkdir()
            job = Job(model, fresh, target, TARGETS[target], most, progress)
            if job.target.page:
                made = web.fill(job, web.opened(job), sample, teach=teach, weights=weights)
            else:
                made = stages.fill(job, sources) if job.target.stages else fill(job, sources)
            replace(fresh, folder)
    except OSError as error:
        raise OutputError(
            "The bundle cannot be written.", where=folder, got=error.strerror or str(error),
            hint="choose a writable folder with enough free space, or fewer --samples",
        ) from None  # fmt: skip
    files = tuple(sorted(path.relative_to(folder).parts[0] for path in folder.iterdir()))
    return Bundle(path=folder, files=files, **made)


def page(
    model: str | os.PathLike[str],
    file: str | os.PathLike[str],
    *,
    sample: Path | None = None,
    teach: bool = True,
    weights: str = "auto",
    progress: TextProgress = silent,
) -> Bundle:
    """The bundle `web` as one HTML file that needs no server. Raises ModelError, EngineError (no compiler), OutputError."""
    check_writable(file, read=(model,))
    job = Job(model, Path(), "web", TARGETS["web"], 0, progress)
    data, notes = web.single(job, web.opened(job), sample, teach=teach, weights=weights)
    path = write_bytes(data, file)
    return Bundle("web", path, (path.name,), (), (), 0, "", None, tuple(notes))


def check(folder: Path, target: str) -> None:
    """Raises UsageError for a target that is no row of TARGETS, OutputError for a folder that holds something else."""
    if target not in TARGETS:
        raise UsageError(
            "There is no bundle for this target.", where="target", expected=", ".join(TARGETS), got=target,
            hint=advice(target, tuple(TARGETS)),
        )  # fmt: skip
    check_folder(folder, MARK, "bundle")


def replace(fresh: Path, folder: Path) -> None:
    """`fresh` in place of an older bundle, which stays where it is until then."""
    make_ordinary(fresh)
    if folder.exists():
        folder.rename(fresh.with_name("old"))
    fresh.rename(folder)


def fill(job: Job, sources: Sequence) -> dict:
    """One model that runs as a whole, with its states as inputs and outputs."""
    target, fresh = job.target, job.fresh
    fixed = fix(job.source, fresh / "model.onnx", load_profile(job.target_name), progress=job.progress)
    model = samples.opened(load(fixed.path), fixed.path)
    job.progress("running the videos")
    found = samples.example(model, sources)
    np.save(fresh / "video0.npy", found.frames)
    kept = samples.keep(model, sources, fresh / "calibration", job.most, target.calibration == "raw") if target.calibration else 0
    words = {"name": job.name, "shapes": _shapes(model.model), "names": " ".join(samples.input_names(model.model))}
    compiled, command = target.compiled.format(**words), target.command.format(**words)
    labels = model.metadata.labels or tuple(f"class {i}" for i in range(len(found.logits)))
    (fresh / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
    (fresh / MARK).write_text(json.dumps(_info(model, compiled, labels), indent=1), encoding="utf-8")
    for program in ("main.py", "events.py"):
        shutil.copy(TEMPLATES / program, fresh / program)
    shutil.copy(TEMPLATES / f"device_{target.device}.py", fresh / "device.py")
    copy_video(fresh)
    if target.settings:
        job.write("compile.yaml", "hb.yaml", **_settings(job, model.model, command))
    job.progress("converting")
    notes = [] if target.settings else convert.run(job, model.model, compiled, command)
    similarity, note = convert.compare(fresh, found.logits) if (fresh / compiled).exists() else (None, None)
    if similarity is not None and similarity < ALIKE:
        note = f"the converted model does not say what the float network says (cosine {similarity:.3f}): do not use it"
    done = (fresh / compiled).exists()
    top = "\n".join(f"{shown:8.4f}  {label}" for label, shown in _said(model, found.logits, labels))
    job.write(
        "README.md", f"README_{target.readme}.md", name=job.name, title=target.title, version=__version__, source=job.file,
        rewrites=_changes(fixed), opset=_opset(model.model), tool=target.command.split(" ")[0], samples=kept,
        through=", states carried along" if model.metadata.states else "", shape="x".join(map(str, found.frames.shape)),
        command="# nothing to convert" if done and not command else command, compiled=compiled, expected=top,
        caution=target.caution, needs=target.needs, converted="" if done else ", once it is made",
    )  # fmt: skip
    return {
        "target": job.target_name, "rewrites": tuple(applied.rewrite for applied in fixed.plan.applied),
        "findings": tuple(f"{left.op} {left.node}: {left.why}".strip() for left in fixed.plan.after.findings),
        "samples": kept, "command": "" if done else command, "similarity": similarity,
        "notes": tuple(filter(None, (*notes, note))),
    }  # fmt: skip


def _said(model: Model, answer: np.ndarray, labels: Sequence[str]) -> list[tuple[str, float]]:
    """What main.py shows of an answer (classes,)."""
    scores = read(answer[None], model.ending.task, model.ending.scores)[0][0]
    if model.ending.task == "regress":
        return [(labels[value.index], value.value) for value in quantities(scores, labels)[:5]]
    return [(top.label, top.score) for top in best(scores, labels, 5)]


def _info(model: Model, compiled: str, labels: Sequence[str]) -> dict:
    """What main.py reads."""
    metadata, graph = model.metadata, model.model.graph
    shapes = _dims((*graph.input, *graph.output))
    preprocess = metadata.preprocess
    return {
        "file": compiled, "kind": metadata.kind, "frames_a_run": model.frames_a_step, "feature_delay": metadata.feature_delay,
        "frames": model.interface.frames, "logits": model.interface.logits,
        "inputs": {name: shapes[name] for name in samples.input_names(model.model)},
        "outputs": {output.name: shapes[output.name] for output in graph.output},
        "states": [
            {"input": s.input, "output": s.output, "shape": s.shape, "dtype": s.dtype, "fill": s.fill, "copy_of": s.copy_of}
            for s in metadata.states
        ],
        "events": metadata.events.model_dump() if metadata.events else None,
        "task": model.ending.task, "scores": model.ending.scores, "temperature": metadata.temperature,
        **preprocess.model_dump(), "labels": list(labels), "tool": f"everyframe {__version__}",
    }  # fmt: skip


def _settings(job: Job, model: onnx.ModelProto, command: str) -> dict[str, str]:
    """The words of templates/hb.yaml: several inputs are separated by semicolons."""
    names = samples.input_names(model)
    types, shapes = _types(model), _dims(model.graph.input)
    places = samples.folders(names)

    def each(word: str) -> str:
        return ";".join([word] * len(names))

    return {
        "command": command, "name": job.name, "names": ";".join(names),
        "shapes": ";".join("x".join(map(str, shapes[name])) for name in names),
        "featuremaps": each("featuremap"), "layouts": each("NCHW"), "norms": each("no_preprocess"),
        "folders": ";".join(f"./calibration/{places[name]}" for name in names), "types": ";".join(types[name] for name in names),
        **job.target.settings,
    }  # fmt: skip


def _shapes(model: onnx.ModelProto) -> str:
    """Of all inputs, as pnnx takes them: [1,3,48,64]f32,[1]i64."""
    shapes, types = _dims(model.graph.input), _types(model)
    return ",".join(f"[{','.join(map(str, shapes[n]))}]{_SHORT[types[n]]}" for n in samples.input_names(model))


def _dims(values: Iterable[onnx.ValueInfoProto]) -> dict[str, list[int]]:
    return {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}


def _types(model: onnx.ModelProto) -> dict[str, str]:
    return {v.name: onnx.helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type).name for v in model.graph.input}


def _opset(model: onnx.ModelProto) -> int:
    return next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def _changes(fixed: Fixed) -> str:
    applied = ", ".join(f"{each.rewrite} ({each.detail})" for each in fixed.plan.applied)
    left = len(fixed.plan.after.findings)
    said = f"Changed to fit: {applied}; the answers are the same." if applied else "It fitted as it was."
    return said + (f" {left} findings remain: see `everyframe check model.onnx`." if left else "")
