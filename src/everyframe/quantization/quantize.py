"""From a float model and videos to a quantized model that is checked against it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from everyframe.errors import ModelError, UsageError
from everyframe.files import check_writable
from everyframe.modelfile.file import attach, load, save
from everyframe.modelfile.fold import fold
from everyframe.modelfile.interface import check_pictures, interface, metadata_or_raise
from everyframe.modelfile.schema import Metadata
from everyframe.native import artifact
from everyframe.progress import TextProgress, silent
from everyframe.quantization import calibrate as calibration
from everyframe.quantization import mixed
from everyframe.quantization.compare import Comparison, compare
from everyframe.quantization.conventions import Convention, convention
from everyframe.quantization.differences import STEPS, Difference, differences
from everyframe.quantization.engines import ENGINES, Ran, measure
from everyframe.quantization.engines import warnings as off_warnings
from everyframe.quantization.scales import Scale, scale_for
from everyframe.quantization.structure import Structure, missing, prepared, structure
from everyframe.quantization.sums import as_one, carried
from everyframe.quantization.videos import Model, chosen
from everyframe.quantization.write import narrower, write
from everyframe.version import __version__

VIDEOS = 100  # of calibration, at most
FRAMES = 1000  # of the stream in which both models are compared
TRIAL_FRAMES = 300  # of the one that each mixture of precisions is tried on
MIN_SIMILARITY = 0.99
BEYOND = 0.01  # share of the values outside the calibrated range that is worth a warning
DRIFT_DB = 1.0  # loss between two showings of the same videos that counts as growing


@dataclass(frozen=True)
class Quantized:
    """model: the QDQ model with its metadata. put_back: layers that went back to float, worst first. scales: of groups.
    weight_bits: of the layers whose weights have less than 8, for the overflow fix. differences: of large values, that bytes
    round too coarsely. engines: the file on those that run it, once it is written.
    """

    model: onnx.ModelProto
    structure: Structure
    scales: dict[str, Scale]
    to: Convention
    target: str
    calibration: calibration.Calibration
    comparison: Comparison
    put_back: tuple[str, ...]
    similarity: float  # before anything was put back
    wanted: float
    runs: str  # what a run of the network takes: steps or clips
    weight_bits: dict[str, float]
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]
    engines: tuple[Ran, ...] = ()

    @property
    def grows(self) -> bool:
        """The error grows along the stream, in a state or in the answers."""
        drifts = (self.comparison.answers.drift_db, *(row.drift_db for row in self.comparison.states))
        return max(drifts) > DRIFT_DB

    @property
    def holds(self) -> bool:
        """The answers are as similar as was wanted."""
        return self.comparison.answers.cosine >= self.wanted

    @property
    def verdict(self) -> str:
        """One line."""
        found, layers = self.comparison.answers, [row for row in self.comparison.layers if row.op != "input"]
        held = "holds" if self.holds else "misses"
        integers = sum(row.precision == "int" for row in layers)
        growth = "the error grows along the stream" if self.grows else "the error does not grow along the stream"
        worst = min(layers, key=lambda row: row.cosine)
        runs = f"{self.comparison.steps} {self.runs}"
        return (
            f"similarity {found.cosine:.4f} {held} {self.wanted:g} (worst of {runs} {found.worst:.4f}); "
            f"worst layer {worst.cosine:.4f} ({worst.name}); "
            f"top-1 agrees in {found.agreement:.1%}, KL {found.kl:.2g}; {growth if self.comparison.states else 'no states'}; "
            f"{integers} of {len(layers)} layers in integers"
        )

    def to_dict(self) -> dict[str, Any]:
        found = self.calibration
        return {
            "target": self.target, "activations": self.to.activations, "power_of_two": self.to.power_of_two,
            "per_channel": self.to.per_channel, "overflow_fix": self.to.overflow_fix, "weight_bits": self.weight_bits,
            "calibration": {"method": found.method, "videos": found.videos, "steps": found.steps, "frames": found.frames},
            "min_similarity": self.wanted, "similarity_before": self.similarity, "put_back": list(self.put_back),
            "differences": [asdict(each) for each in self.differences], "engines": [asdict(each) for each in self.engines],
            "grows": self.grows, "warnings": list(self.warnings), **self.comparison.to_dict(),
        }  # fmt: skip


def quantize(
    path: str | os.PathLike[str],
    videos: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None = None,
    *,
    target: str = "cpu",
    activations: str | None = None,
    overflow_fix: str | None = None,
    method: str = "minmax",
    percentile: float = calibration.PERCENTILE,
    most_videos: int = VIDEOS,
    every: int = 1,
    keep_float: Iterable[str] = (),
    float_differences: bool = True,
    min_similarity: float = MIN_SIMILARITY,
    compare_with: str | os.PathLike[str] | None = None,
    frames: int = FRAMES,
    engines: Sequence[str] | None = None,
    progress: TextProgress = silent,
) -> Quantized:
    """A clip or step model in static INT8 (QDQ), calibrated on real videos through its states; written to `output` if given.

    target: a row of `conventions.TARGETS`. activations: uint8, int8 or int16 instead of the target's. overflow_fix: layers whose
    weights are made so small that their products overflow on no x86 processor (first, all, none), instead of the target's.
    most_videos, every: see `videos.chosen` and `calibrate`. keep_float: nodes, or patterns of their names. float_differences:
    put back to float what is found by `differences`, else only say it. min_similarity: cosine of the answers that layers are
    put back to float for. compare_with: other videos than those of the calibration. frames: length of the comparison. engines:
    those that the written file is measured on; default all that are installed.
    Raises ModelError, SourceError, UsageError, OutputError.
    """
    to, patterns = convention(target, activations, overflow_fix), tuple(keep_float)
    if not 0 <= min_similarity <= 1:
        raise UsageError("A similarity lies between 0 and 1.", where="min_similarity", got=min_similarity)
    if output is not None:
        check_writable(output, read=(path,))
    model = opened(path)
    sources = chosen(videos, most_videos)
    others = chosen(compare_with, most_videos) if compare_with is not None else sources
    if lost := missing(model.model, patterns):
        near = ", ".join(node.name for node in model.model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul"))
        raise UsageError("No node of the model has such a name.", where="keep_float", got=", ".join(lost), expected=near)
    parts = structure(model.model, model.metadata, model.interface.frames, patterns)
    found = calibration.calibrate(
        model, parts, sources, method=method, percentile=percentile, every=every,
        progress=lambda done, of: progress(f"calibrating: video {done} of {of}"),
    )  # fmt: skip
    scales = {group: scale_for(*limits, to) for group, limits in found.ranges.items()}

    def made(put_back: Sequence[str]) -> onnx.ModelProto:
        return write(parts, model.metadata, scales, to, model.interface.logits, put_back)

    progress("looking for differences of large values")
    coarse = differences(model, parts, scales, made, sources, max(4, min(STEPS, frames // model.frames_a_step // 4)))
    coarse = [replace(each, kept=float_differences) for each in coarse]
    kept = tuple(dict.fromkeys(name for each in coarse if each.kept for name in each.nodes))
    if to.sums:  # only now: what stays float is found by its taps
        sums = replace(parts, nodes=tuple(name for name in parts.nodes if name not in kept))
        model = replace(model, model=as_one(sums, model.where))
        parts, before = structure(model.model, model.metadata, model.interface.frames, patterns), parts.share
        scales = carried(parts, before, scales)
        found = replace(found, ranges=carried(parts, before, found.ranges))
    ranges = {x: found.ranges[group] for x, group in parts.share.items() if group in found.ranges}

    def compared(put_back: Sequence[str], what: str, length: int = frames, layers: bool = True) -> Comparison:
        floats = (*kept, *put_back)
        rows = [replace(row, quantized=row.quantized and row.name not in floats) for row in parts.layers if layers]
        return compare(
            model, made(floats), others, layers=rows, ranges=ranges, frames=length,
            progress=lambda done, of: progress(f"{what}: step {done} of {of}"),
        )  # fmt: skip

    comparison = first = compared((), "comparing")
    put_back: tuple[str, ...] = ()
    if first.answers.cosine < min_similarity:
        ranked = mixed.candidates(first.layers)

        def holds(count: int) -> bool:
            trial = compared(ranked[:count], f"with {count} layers in float", min(frames, TRIAL_FRAMES), layers=False)
            return trial.answers.cosine >= min_similarity

        count = mixed.fewest(len(ranked), holds)
        comparison = compared(ranked[:count], "comparing again")
        while comparison.answers.cosine < min_similarity and count < len(ranked):  # the whole stream asks for more than its trial
            count = min(len(ranked), count + max(1, count // 4))
            comparison = compared(ranked[:count], "comparing again")
        put_back = tuple(ranked[:count])
    floats = (*kept, *put_back)
    weight_bits = narrower(parts, to, floats)
    notes = _notes(to, target, found, (*patterns, *put_back), coarse, weight_bits)
    finished = attach(made(floats), _metadata(model, notes, comparison.temperature))
    result = Quantized(
        finished,
        parts,
        scales,
        to,
        target,
        found,
        comparison,
        floats,
        first.answers.cosine,
        min_similarity,
        model.runs,
        weight_bits,
        tuple(coarse),
        (*found.warnings, *map(str, coarse), *_warnings(comparison, min_similarity)),
    )
    if output is None:
        return result
    save(finished, output)
    ran = measure(model, finished, others, frames, ENGINES if engines is None else engines, progress)
    noise = 10 ** (-comparison.answers.sqnr_db / 20)
    return replace(result, engines=ran, warnings=(*result.warnings, *off_warnings(ran, noise, model.runs)))


def opened(path: str | os.PathLike[str]) -> Model:
    """A float clip or step model, ready to be quantized. Raises ModelError."""
    if artifact.is_library(path):
        raise ModelError("A compiled model cannot be quantized.", where=path, hint="quantize the ONNX file, then compile it")
    model = load(path)
    metadata = metadata_or_raise(model, path)
    where = Path(path).name
    typed = prepared(model, where)
    if metadata.kind == "clip":
        typed = prepared(fold(model), where)
    taken = interface(typed, metadata, path)
    check_pictures(taken, where)
    return Model(typed, metadata, taken, where)


def _notes(
    to: Convention, target: str, found: calibration.Calibration, kept: Sequence[str], coarse: Sequence[Difference],
    bits: dict[str, float],
) -> list[str]:  # fmt: skip
    """What the file says of it."""
    numbers = f"{to.activations} activations, int8 weights" + (", scales are powers of two" if to.power_of_two else "")
    if bits:
        least, most = (f"{function(bits.values()):.1f}" for function in (min, max))
        span = least if least == most else f"{least} to {most}"
        numbers += f" (overflow fix: {span} bits used in {len(bits)} layer{'s' * (len(bits) != 1)}, 8 in the others)"
    notes = [
        f"quantized for {target}: {numbers}",
        f"calibrated by {found.method} on {found.material}",
    ]
    if kept:
        notes.append(f"in float: {', '.join(kept)}")
    notes += [f"in float, a difference of large values: {', '.join(each.nodes)}" for each in coarse if each.kept]
    return notes


def _metadata(model: Model, notes: Sequence[str], temperature: float) -> Metadata:
    before = model.metadata.provenance
    after = before.model_copy(
        update={
            "passes": (*before.passes, "quantize"),
            "notes": (*before.notes, *notes),
            "tool": f"everyframe {__version__}",
        }
    )
    return model.metadata.model_copy(update={"provenance": after, "temperature": temperature})


def _warnings(comparison: Comparison, wanted: float) -> list[str]:
    made = []
    beyond = [row for row in comparison.layers if row.beyond > BEYOND]
    if beyond:
        worst = max(beyond, key=lambda row: row.beyond)
        made.append(
            f"{worst.beyond:.1%} of the values of {worst.name} lie outside the calibrated range "
            f"({len(beyond)} layers have more than {BEYOND:.0%}): these videos are of another kind than the calibration's"
        )
    if comparison.answers.cosine < wanted:
        made.append(f"similarity {comparison.answers.cosine:.4f} stays below {wanted}: no layer is left to put back")
    return made
