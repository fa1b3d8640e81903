"""Models for devices: checked, made to fit, in integers, in stages, as C, in a folder for a board's own tools."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from everyframe.api.given import File, Kept, Model, paths, several, source
from everyframe.progress import TextProgress, silent

if TYPE_CHECKING:
    from everyframe.api.bundled import Bundled
    from everyframe.api.fitted import Checked, Code, Fit, Quantized, Split


@paths
def check(model: Model, target: str) -> Checked:
    """A model beside what a device takes: operators, axes, attributes, opset, states. Any ONNX model will do.

    target: a device or runtime (`everyframe.devices.targets()` lists them). Nothing is written or compared yet; `fix` does.
    Raises ModelError, UsageError (an unknown target).

    >>> ef.check("clip.onnx", "rdk-x5").verdict
    'needs a fix'
    """
    return check_each(model, (target,))[0]


@paths
def check_each(model: Model, targets: Sequence[str]) -> list[Checked]:
    """The same for several targets; where a clip network must become a step network, that is made once for all of them."""
    from functools import cache

    from everyframe.api.fitted import Checked
    from everyframe.conversion.step import convert
    from everyframe.devices import load_profile, plan
    from everyframe.modelfile.file import load

    found = load(source(model))
    stream = cache(lambda: convert(found))
    return [Checked(target, plan(found, load_profile(target), stream=stream)) for target in targets]


@paths
def fix(
    model: Model, target: str, output: File | None = None, *, host_state: bool = False, progress: TextProgress | None = None
) -> Fit:
    """The model with all rewrites that `target` needs and that are possible, once it is shown to give the same answers; a clip
    network becomes a step network where nothing less will do. What is left is in `plan.after.findings`.

    host_state: the device gives only new states, (N, …) as in the metadata, and the host moves the old ones. output: the file to
    write; None keeps it in memory. Raises ModelError, UsageError, OutputError, and ConversionMismatch if the answers differ.

    >>> fitted = ef.fix("clip.onnx", "rdk-x5")
    >>> fitted.fits, max(proof.difference for proof in fitted.proofs) < 1e-3
    (True, True)
    """
    from everyframe.api.fitted import Fit
    from everyframe.devices import fix, load_profile
    from everyframe.devices.repair import mend
    from everyframe.modelfile.file import load

    file, profile = source(model), load_profile(target)
    if output is None:
        return Fit(target, *mend(load(file), profile, host_state=host_state, progress=progress))
    made = fix(file, output, profile, host_state=host_state, progress=progress)
    return Fit(target, made.plan, made.proofs, made.path)


@paths
def quantize(
    model: Model,
    videos: File | Sequence[File],
    output: File | None = None,
    *,
    target: str = "cpu",
    activations: str | None = None,
    overflow_fix: str | None = None,
    method: str = "minmax",
    percentile: float = 99.99,
    most_videos: int = 100,
    every: int = 1,
    keep_float: Iterable[str] = (),
    float_differences: bool = True,
    min_similarity: float = 0.99,
    compare_with: File | None = None,
    frames: int = 1000,
    progress: TextProgress | None = None,
) -> Quantized:
    """A float clip or step model in static INT8 (QDQ), calibrated on videos that it streams, states carried along; the shapes
    of inputs and outputs stay. Both models are compared layer by layer over a stream of so many `frames`.

    videos: files, a folder or a pattern. target: whose integers (cpu, rdk-s100, vitis-dpu, tensorrt). activations: uint8, int8
    or int16. overflow_fix: layers with weights so small that no x86 processor's sums overflow (first, all, none). method:
    minmax, percentile (of the values that a range holds, in percent) or entropy. most_videos: evenly spread over all. every:
    steps that are measured. keep_float: nodes, or patterns of their names. float_differences: differences of large values stay
    float. min_similarity: cosine of the answers below which the worst layers are put back to float. compare_with: other videos.
    output: the file to write, which is then also measured on the engines that are installed; None keeps it in memory.
    Raises ModelError, SourceError, UsageError, OutputError.

    >>> small = ef.quantize("step.onnx", "video.mp4", frames=24)
    >>> small.similarity > 0.9
    True
    """
    from everyframe.api.fitted import Quantized
    from everyframe.quantization.quantize import quantize

    made = quantize(
        source(model), videos, output, target=target, activations=activations, overflow_fix=overflow_fix, method=method,
        percentile=percentile, most_videos=most_videos, every=every, keep_float=several("keep_float", keep_float),
        float_differences=float_differences, min_similarity=min_similarity, compare_with=compare_with, frames=frames,
        progress=progress or silent,
    )  # fmt: skip
    return Quantized(**vars(made))


@paths
def split(
    model: Model,
    output: File | None = None,
    *,
    at: Sequence[str] = (),
    stages: int | None = None,
    dump: File | Sequence[File] | None = None,
    samples: int = 100,
    progress: TextProgress | None = None,
) -> Split:
    """A step model in several: cut at its states, behind the nodes or tensors `at`, or into so many `stages` of the same
    duration, as measured here. The parts say what the whole says, in every bit, or nothing is given.

    output: the folder to write; None keeps the parts in memory. dump: videos to run, for vendors' calibration: what each stage
    is given lies in `calibration` below the output, at most so many `samples` (steps), evenly spread over all.
    Raises ModelError, SourceError, UsageError, OutputError, ConversionMismatch.

    >>> parts = ef.split("step.onnx")
    >>> len(parts.manifest.stages), len(parts.models), parts.difference < 1e-4
    (3, 5, True)
    >>> ef.split("step.onnx", "parts", dump="video.mp4", samples=4).samples
    4
    """
    from dataclasses import replace
    from pathlib import Path

    from everyframe.api.fitted import Split
    from everyframe.errors import SourceError, UsageError
    from everyframe.quantization.videos import chosen
    from everyframe.splitting import cut, label

    progress, at = progress or silent, several("at", at)
    if at and stages:
        raise UsageError("Cut at nodes or into stages, not both.", where="at, stages")
    if dump is not None and output is None:
        raise UsageError("Samples are files beside the parts.", where="dump", expected="output, the folder to write")
    if output is not None:
        cut.check_output(Path(output))
    file = source(model)
    flow = cut.open_step(file, videos=dump is not None)
    videos = [] if dump is None else chosen(dump)
    if stages:
        from everyframe.splitting.balance import even

        progress("measuring")
        labels = even(flow, stages, file)
    else:
        labels = label.behind(flow, at) if at else label.at_states(flow)
    made = cut.cut(flow, labels)
    progress("comparing with the whole model")
    found = Split(made.manifest, made.models, cut.check(flow, made, file))
    if output is None:
        return found
    if not videos:
        return replace(found, path=found.save(output))
    from everyframe.splitting.dump import dump as keep

    progress("running the videos")
    broken, kept = list[SourceError](), list[int]()
    cut.write(made, Path(output), lambda folder: kept.append(keep(folder, videos, samples, broken=broken)))
    return replace(found, path=Path(output), samples=kept[0], broken=tuple(broken))


@paths
def compile(
    model: Model,
    output: File | None = None,
    *,
    cpu: str = "native",
    emit_c: File | None = None,
    tune: float | bool = False,
    table: File | None = None,
    tables: bool = True,
    exact: bool = False,
    weights: str = "auto",
    progress: TextProgress | None = None,
) -> Code:
    """A step or clip model as C that needs nothing but libc, and the C as a library, which `open` takes. The library is
    compared with the model over a stream of pictures where it can run.

    cpu: native (this machine), x86-64-v3 or -v4, also with -vnni, aarch64, riscv64, riscv64-v, wasm32-simd128 or -relaxed (a
    module for browsers), or generic. emit_c: a folder for the C file, its header and the weights; alone, it needs no compiler.
    output: the library to write; without both, its bytes are in `code`. Memory is in bytes.

    tune: measure how convolutions are computed best on this processor, where no table knows; a number: for so many seconds
    (default 60). What is found is kept in `table`, default: the user's own. table: a file of measured choices, also from a
    board. tables: False leaves out the user's own and the one that ships. exact: no kernels that round more than others. weights:
    in memory: auto (16 bits where that is faster and changes the answers by less than 1e-4), fp32, or int16 (16 bits in all
    convolutions but depthwise ones). Raises ModelError, UnsupportedOperator, ConversionMismatch, EngineError (no compiler),
    OutputError, UsageError.

    >>> made = ef.compile("step.onnx", emit_c="step_c")
    >>> sorted(file.suffix for file in made.files), made.macs > 0
    (['.c', '.c', '.h', '.tables', '.weights'], True)
    """
    import tempfile
    from pathlib import Path

    from everyframe.api.fitted import Code
    from everyframe.native.compile import compile_model

    file = source(model)
    how = {"cpu": cpu, "tune": tune, "table": table, "tables": tables, "exact": exact, "weights": weights}
    if output is not None or emit_c is not None:
        made = compile_model(file, output, emit_c=emit_c, progress=progress, **how)  # type: ignore[arg-type]
        return Code(**vars(made), code=made.library.read_bytes() if made.library else None)
    # a compiler writes a file, and the system loads the library from one to compare it
    with tempfile.TemporaryDirectory(prefix="everyframe-") as folder:
        made = compile_model(file, Path(folder) / "model.so", progress=progress, **how)  # type: ignore[arg-type]
        code = (Path(folder) / "model.so").read_bytes()
    return Code(**{**vars(made), "files": (), "library": None}, code=code)


@paths
def bundle(
    model: Model,
    target: str,
    videos: File | Sequence[File] | None = None,
    output: File | None = None,
    *,
    samples: int = 100,
    single_file: File | None = None,
    int8: bool = False,
    teach: bool = True,
    weights: str = "auto",
    progress: TextProgress | None = None,
) -> Bundled:
    """All that a board's own tools take: the model made to fit, inputs for calibration from real videos, with states carried
    along and in the shapes of the model's inputs, settings, a program to run there, and the commands.

    target: rdk-s100, rdk-x5, vitis-dpu, web, openvino, onnxruntime, ncnn or litert. videos: like those that it will see (for web,
    only with int8). samples: at most so many inputs, evenly spread. output: the folder to write; None keeps it as long as the
    result lives. single_file: of web, one HTML file instead. int8: of web, weights of bytes, calibrated on the videos.
    teach: of web, whether the page learns gestures, for which it takes the network once more. weights: of web: auto (16 bits,
    a third less to load, if the page's answers stay within 1e-4 of the model's), fp32 or int16.
    Raises UsageError, ModelError, SourceError, OutputError, EngineError (no compiler), and ConversionMismatch if a rewrite
    changes the answers.

    >>> made = ef.bundle("step.onnx", "onnxruntime", "video.mp4", samples=4)
    >>> (made.path / "model.json").exists()
    True
    """
    from everyframe.api.bundled import Bundled
    from everyframe.bundles import bundle, page
    from everyframe.errors import UsageError
    from everyframe.modelfile.file import Held

    file, progress = source(model), progress or silent
    if (single_file is not None or int8 or not teach or weights != "auto") and target != "web":
        raise UsageError(
            "Only a web page is one file, taught, or made of bytes or 16 bits here.", where="target", expected="web", got=target
        )
    how: dict[str, Any] = {"teach": teach, "weights": weights, "progress": progress}
    if int8:
        if videos is None:
            raise UsageError(
                "Bytes are calibrated on videos.", where="videos", expected="videos like those it will see", got="none"
            )
        file = Held(quantize(file, videos, progress=progress).model, str(file))
    if single_file is not None:
        return Bundled(**vars(page(file, single_file, **how)))
    if output is not None:
        return Bundled(**vars(bundle(file, output, target, videos, most=samples, **how)))
    held = Kept()
    made = bundle(file, held.path / "bundle", target, videos, most=samples, **how)
    return Bundled(**vars(made), held=held)
