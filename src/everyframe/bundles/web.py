"""A web page that recognizes by itself: the model as WebAssembly, its weights, and pages that use them; or all in one file."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from everyframe.bundles import inline
from everyframe.bundles.job import TEMPLATES, Job
from everyframe.bundles.teachable import GRAPH, teachable
from everyframe.errors import ConversionMismatch, ModelError, UsageError
from everyframe.files import write_bytes
from everyframe.modelfile.file import load
from everyframe.native.check import check as compare
from everyframe.native.check import compared
from everyframe.native.compile import ASKED_TOLERANCE
from everyframe.native.emit import Source
from everyframe.native.generate import generate
from everyframe.native.hosted import Hosted, node
from everyframe.native.target import Target, target
from everyframe.native.tuned import Rounding, Tables
from everyframe.native.wasm import link_wasm
from everyframe.quantization.videos import Model
from everyframe.version import __version__
from everyframe.video.sampling import as_fps

PAGES = TEMPLATES / "web"
#: module -> the processor it is made for; the first that a browser takes is used
MODULES = {"relaxed.wasm": "wasm32-relaxed", "simd128.wasm": "wasm32-simd128"}
#: what stands there until the script runs
_ALONE = "This page needs JavaScript, and a browser from 2023 or later."
_SERVED = f"{_ALONE} Its files come from a server: <code>python -m http.server</code> is one."
TASKS = ("classify", "multilabel", "frames")


def fill(
    job: Job, model: Model, sample: Path | None = None, *, teach: bool = True, weights: str = "auto"
) -> dict[str, Any]:  # fmt: skip
    """The folder: pages, the ES module with its types, examples, the model's files. sample: a video to be played by one click.
    teach: with what the page needs to learn gestures. weights: see `files`.
    """
    for source in PAGES.rglob("*.*"):
        there = job.fresh / source.relative_to(PAGES)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, there)
    made, notes = files(job, model, teach, weights)
    for name, data in made.items():
        (job.fresh / name).write_bytes(data)
    words = {
        **_words(job),
        "name": job.name.replace("_", "-").lower(),
        "without": _SERVED,
        "sample": sample.name if sample else "",
    }
    for name in ("index.html", "package.json", "README.md", "examples/video.html", "examples/worker.html"):
        page = job.fresh / name
        text = page.read_text(encoding="utf-8")
        page.write_text(inline.filled(text, words), encoding="utf-8")
    if sample is not None:
        shutil.copy(sample, job.fresh)
    return {
        "target": job.target_name,
        "rewrites": (),
        "findings": (),
        "samples": 0,
        "command": "",
        "similarity": None,
        "notes": notes,
    }


def single(
    job: Job, model: Model, sample: Path | None = None, *, teach: bool = True, weights: str = "auto"
) -> tuple[bytes, Sequence[str]]:  # fmt: skip
    """All of it as one page, which needs no server; and notes."""
    made, notes = files(job, model, teach, weights)
    packed = {name: _packed(data) for name, data in made.items()}
    if sample is not None:
        packed["sample.mp4"] = base64.b64encode(sample.read_bytes()).decode()
    return inline.page(PAGES, packed, {**_words(job), "without": _ALONE, "sample": ""}).encode(), notes


def files(job: Job, model: Model, teach: bool = True, weights: str = "auto") -> tuple[Mapping[str, bytes], Sequence[str]]:
    """What a browser runs: facts, weights, a module for each kind of processor, all compared with the model; and notes. weights:
    in the file, see `_roundings`. Raises UsageError, ModelError, UnsupportedOperator, ConversionMismatch.
    """
    words = node()
    ways = _roundings(weights, compared=words is not None)
    check(model, job.file)
    teaching, more, notes = None, dict[str, bytes](), list[str]()
    try:
        if teach:
            ready = teachable(model)
            model, teaching, more[GRAPH] = ready.model, ready.facts, ready.graph
    except ModelError as error:
        notes.append(f"the page teaches no gestures: {error.what} ({error.got})")
    if words is None:
        notes.append("the page's code was not compared with the model: there is no node (on Debian: apt install nodejs)")
    # one C file and one file of weights for all modules: what they differ in is the compiler's flags
    source, modules, worst, said = compared(
        ways, lambda way: _generated(job, model, way), lambda way, source, _: _modules(job, model, source, weights, words)
    )
    kind = "int16" if source.halved else "int8" if any(layer.op.quant for layer in source.layers) else "fp32"
    if source.halved:
        rough = "" if worst is None else f", with which answers differ from the model's by {worst:.1e}"
        said.append(f"weights of 16 bits: {len(source.weights) / 1e6:.2g} MB{rough} (--weights fp32 leaves them as they are)")
    size = (source.facts["height"], source.facts["width"])
    facts = info(model, job.name, size, hashlib.sha256(source.weights).hexdigest(), int(source.facts["classes"]))
    facts |= {"weights": kind, "difference": worst, "teach": teaching}
    made = {"model.json": json.dumps(facts, indent=1).encode(), "model.weights": source.weights, **modules, **more}
    return made, [*notes, *said]


def _roundings(weights: str, compared: bool) -> Sequence[Rounding]:
    """What is tried, the next where answers differ by too much. weights: `fp32`, `int16` (a third less to load: see
    `native.halved`), or `auto`, the default: 16 bits if that can be compared, and stays within what code may differ by anyway."""
    halved, whole = Rounding(weights="int16"), Rounding()
    ways = {"auto": (halved, whole) if compared else (whole,), "fp32": (whole,), "int16": (halved,)}
    if weights not in ways:
        raise UsageError("There is no such kind of weights.", where="--weights", expected=", ".join(ways), got=weights)
    return ways[weights]


def _generated(job: Job, model: Model, rounding: Rounding) -> tuple[Source, Target]:
    choose = Tables(rounding=rounding)  # no row of measured choices is for browsers
    source, _, fitting = generate(
        model.model, model.metadata.states, target("wasm32-simd128"), where=job.file, stem="model", choose=choose
    )
    return source, fitting


def _modules(
    job: Job, model: Model, source: Source, weights: str, words: list[str] | None
) -> tuple[Source, dict[str, bytes], float | None, list[str]]:
    """The source, its modules, the largest difference from the model (None: not compared), and notes. weights: what was asked
    for; words: that run node."""
    made, differences, notes = dict[str, bytes](), list[float](), list[str]()
    with tempfile.TemporaryDirectory(prefix="everyframe-") as name:
        held = write_bytes(source.weights, Path(name) / "model.weights")
        for file, cpu in MODULES.items():
            job.progress(f"compiling {file} (the first time, the compiler builds its library: a minute)")
            module = link_wasm(source, target(cpu), Path(name) / file, bgr=model.metadata.preprocess.color == "bgr")
            hosted = Hosted(words, module, held, source.facts) if words else None
            if hosted is not None and hosted.known():
                job.progress(f"comparing {file} with the model over a stream of pictures")
                asked = ASKED_TOLERANCE if weights == "int16" else 0.0
                differences.append(compare(model.model, model.metadata, hosted, tolerance=asked))
            elif hosted is not None:
                notes.append(f"{file} was not compared with the model: this node is older than its instructions")
            made[file] = module.read_bytes()
    if source.halved and weights == "auto" and not differences:
        raise ConversionMismatch("Weights of 16 bits cannot be compared with the model here.", where=job.file)
    return source, made, max(differences, default=None), notes


def check(model: Model, where: str) -> None:
    """Raises ModelError for what a page cannot show."""
    metadata = model.metadata
    if metadata.kind != "step":
        raise ModelError(
            "A page takes step models.", where=where, expected="kind step", got=f"kind {metadata.kind}",
            hint=f"run `everyframe stream {where}` first",
        )  # fmt: skip
    if not model.interface.pictures or model.interface.folded:
        raise ModelError("A page feeds pictures to a network that takes normalized frames.", where=where, got="another input")
    if model.ending.task not in TASKS or metadata.outputs:
        raise ModelError(
            "A page shows the scores of labels.", where=where, expected=f"one output, of {', '.join(TASKS)}",
            got=f"{model.ending.task}{', and more outputs' if metadata.outputs else ''}",
            hint="use everyframe.js of a model that has one (`everyframe stream --head`)" if metadata.outputs else "",
        )  # fmt: skip


def info(model: Model, name: str, size: tuple[int, int], sha256: str, classes: int) -> dict[str, Any]:
    """What everyframe.js reads of a model beside its code and weights."""
    metadata, pre = model.metadata, model.metadata.preprocess
    fps = as_fps(pre.fps) if pre.fps else None
    return {
        "name": _title(name), "labels": list(metadata.labels or (f"class {i}" for i in range(classes))), "size": size,
        "resize": pre.resize, "crop": pre.crop, "std": pre.std,
        "fps": fps and fps.as_integer_ratio(), "sample_every_n": pre.sample_every_n,
        "rate": float(fps) if fps else 30.0 / (pre.sample_every_n or 1), "hop": metadata.hop,
        "feature_delay": metadata.feature_delay, "delay": metadata.delay,
        "events": metadata.events.model_dump() if metadata.events else None, "task": model.ending.task,
        "scores": model.ending.scores, "temperature": metadata.temperature, "sha256": sha256, "tool": f"everyframe {__version__}",
    }  # fmt: skip


def opened(job: Job) -> Model:
    from everyframe.bundles import samples

    return samples.opened(load(job.source), Path(job.file))


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()


def _words(job: Job) -> dict[str, str]:
    return {"title": html.escape(_title(job.name)), "version": __version__}


def _title(name: str) -> str:
    if name == "motions":  # the built-in model
        return "Hand motions"
    return re.sub(r"[_\W]+", " ", re.sub(r"(?i)[_.]step$", "", name)).strip().capitalize() or "Model"
