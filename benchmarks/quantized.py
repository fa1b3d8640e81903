"""What INT8 costs and saves: quantized networks beside their float selves, on every engine, over a stream of real frames.

    python benchmarks/quantized.py --videos FOLDER           all of them, half an hour
    python benchmarks/quantized.py --models x3d_s --quick

Networks have random weights, but BatchNorm statistics measured on the videos, so that their activations are spread like
those of a trained network. `everyframe quantize` makes the INT8 files, calibrated on the same videos. Each engine's answers
are compared with those of onnxruntime to the float file, over at least 1,000 frames; no layer is put back to float. How near
answers can stay at all is said by the float network itself, on pictures with noise. Times are CPU time with one thread.
Videos should be much longer than a network's delay: X3D-S looks at 5 frames a second and has a delay of 28.
Writes benchmarks/results/quantized.json.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
from dataclasses import asdict
from pathlib import Path
from typing import Any

import networks
import numpy as np

import everyframe
from everyframe import modelfile
from everyframe.benchmarking import Case, Table, describe, one_line, race, save
from everyframe.errors import EveryframeError
from everyframe.models.registry import build
from everyframe.models.registry import describe as entry_of
from everyframe.models.to_onnx import published_preprocess
from everyframe.quantization.quantize import Quantized, opened, quantize
from everyframe.quantization.videos import chosen
from everyframe.runtime import engine as engines
from everyframe.runtime.states import plan

FORMS = {"r3d_18": "clip", "tsm_mobilenet_v2": "step", "x3d_s": "step"}
LAYER_FRAMES = {"clip": 160, "step": 300}  # over which all layers are compared
MATERIAL = {"given": "real videos", "rendered": "a rendered video"}
VIDEOS = {"clip": 1, "step": 8}  # of calibration and comparison: every clip is computed as a whole
NOISE_DB = 30.0  # energy of the pictures over that of their noise
NOISY_FRAMES = 300
SETTLING = 6  # clips that BatchNorm's statistics are measured on


def settled(name: str, videos: str) -> Path:
    """The clip model with random weights and BatchNorm statistics of the videos."""
    path = networks.CACHE / f"{name}.{hashlib.sha256(videos.encode()).hexdigest()[:8]}.settled.onnx"
    if path.exists():
        return path
    import torch

    plain, entry = networks.clip(name), entry_of(name)
    torch.manual_seed(networks.SEED)
    module = build(entry)
    for part in module.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            part.reset_running_stats()
            part.momentum = None  # the mean over all clips
            part.train()
    model = opened(plain)
    with torch.no_grad():
        for _, clip in itertools.islice(model.inputs(chosen(videos, SETTLING), again=True), SETTLING):
            module(torch.from_numpy(clip))
    everyframe.export(
        module.eval(), path, frames=entry.frames, size=entry.size, preprocess=published_preprocess(entry, entry.size)
    )
    return path


def files(name: str, videos: str, quick: bool) -> tuple[Path, Path, Quantized]:
    """(float, INT8) model files, and how the second was made."""
    plain = settled(name, videos)
    if FORMS[name] == "step":
        step = plain.with_suffix(".step.onnx")
        if not step.exists():
            everyframe.convert(plain, step)
        plain = step
    small = plain.with_suffix(".int8.onnx")
    frames = 100 if quick else LAYER_FRAMES[FORMS[name]]
    made = quantize(
        plain, videos, small, most_videos=VIDEOS[FORMS[name]], frames=frames, min_similarity=0, overflow_fix="none", engines=()
    )
    return plain, small, made


class Runs:
    """A file on an engine."""

    def __init__(self, engine: str, path: Path, kind: str) -> None:
        model, opens = modelfile.load(path), opened_names(path)
        states = plan(modelfile.metadata_of(model).states, path)  # type: ignore[union-attr]
        job = engines.Job(model, str(path), *opens, states, 1)
        self.name, self.network = f"{engine}, {kind}", engines.load(engine, job)
        self.run = self.network.start()


def opened_names(path: Path) -> tuple[str, str]:
    from everyframe.modelfile.interface import interface, metadata_or_raise

    model = modelfile.load(path)
    found = interface(model, metadata_or_raise(model, path), path)
    return found.frames, found.logits


def noisy(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same pictures with noise of NOISE_DB."""
    size = float(np.sqrt((frames**2).mean())) * 10 ** (-NOISE_DB / 20)
    return frames + rng.normal(0, size, frames.shape).astype(np.float32)


class Likeness:
    """Answers beside those that are wanted."""

    def __init__(self) -> None:
        self.sums, self.agreed, self.seen = np.zeros(3), 0, 0

    def add(self, wanted: np.ndarray, got: np.ndarray) -> None:
        self.sums += [wanted @ got, wanted @ wanted, got @ got]
        self.agreed += int(wanted.argmax() == got.argmax())
        self.seen += 1

    def figures(self) -> dict[str, float]:
        both, one, two = self.sums
        return {"similarity": round(float(both / np.sqrt(one * two)), 5), "top1_agreement": round(self.agreed / self.seen, 4)}


def measure(name: str, videos: str, seconds: float, quick: bool) -> dict[str, Any]:
    plain, small, made = files(name, videos, quick)
    runs: list[Runs] = []
    for engine in engines.ENGINES:
        if engine == "reference":
            continue
        for kind, path in (("float", plain), ("int8", small)):
            try:
                runs.append(Runs(engine, path, kind))
            except EveryframeError as error:
                print(f"{name}: {engine} cannot load the {kind} file: {error.what} {error.got}", flush=True)
    model = opened(plain)
    steps = -(-(100 if quick else 1000) // model.frames_a_step)
    plain_run = next(run for run in runs if run.name == "ort, float")
    compared = {run.name: run.run for run in runs if run.name.endswith("int8")}
    likeness = {name: Likeness() for name in (*compared, "noise")}
    shaken, rng = plain_run.network.start(), np.random.default_rng(0)
    late = model.metadata.feature_delay // model.frames_a_step if model.metadata.kind == "step" else 0
    given = model.inputs(chosen(videos, VIDEOS[FORMS[name]]), again=True)
    for i, (_, frames) in enumerate(itertools.islice(given, late + steps)):
        answers = {key: run.step(frames) for key, run in compared.items()}
        wanted = plain_run.run.step(frames)
        if i * model.frames_a_step < NOISY_FRAMES:
            answers["noise"] = shaken.step(noisy(frames, rng))
        if i >= late:
            for key, got in answers.items():
                likeness[key].add(np.array(wanted).ravel(), np.array(got).ravel())
    rows: list[dict[str, Any]] = []
    for timing in race([Case(run.name, lambda run=run.run: run.step(frames)) for run in runs], seconds):  # type: ignore[misc]
        found = likeness.get(timing.name)
        rows.append({"engine": timing.name, **timing.figures(), **(found.figures() if found else {})})
    layers = [
        {"layer": row.name, "operator": row.op, "precision": row.precision, "cosine": round(row.cosine, 5),
         "sqnr_db": round(row.sqnr_db, 2), "drift_db": round(row.drift_db, 2)}
        for row in (*made.comparison.layers, *made.comparison.states)
    ]  # fmt: skip
    return {
        "network": name, "form": FORMS[name], "frames": steps * model.frames_a_step, "answers": asdict(made.comparison.answers),
        "noise": likeness["noise"].figures(), "warnings": list(made.warnings), "rows": rows, "layers": layers,
    }  # fmt: skip


def tables(results: dict[str, Any]) -> list[Table]:
    made = Table(
        "INT8 beside float, 1 thread: ms a clip or step",
        ["network", "", "engine", "float", "int8", "float / int8", "similarity", "top-1 agrees"],
    )
    for run in results["runs"]:
        rows = {row["engine"]: row for row in run["rows"]}
        for name in dict.fromkeys(key.split(",")[0] for key in rows):
            whole, small = rows.get(f"{name}, float"), rows.get(f"{name}, int8")
            if not whole or not small:
                continue
            made.rows.append([
                run["network"], run["form"], name, f"{whole['cpu_ms']:.2f}", f"{small['cpu_ms']:.2f}",
                f"{whole['cpu_ms'] / small['cpu_ms']:.2f}x", f"{small['similarity']:.4f}",
                f"{small['top1_agreement'] * 100:.1f} %",
            ])  # fmt: skip
    frames = " and ".join(sorted({f"{run['frames']:,}" for run in results["runs"]}))
    shaken = [
        f"{run['network']} {run['noise']['similarity']:.4f}, {run['noise']['top1_agreement'] * 100:.1f} %"
        for run in results["runs"]
    ]
    made.notes += [
        f"Similarity: cosine of all answers over {frames} frames of {MATERIAL[results['videos']]} with onnxruntime's in float.",
        "The weights are random, so scores lie close together, and top-1 changes more easily than in a trained network. "
        f"The float networks themselves, with noise of {10 ** (-NOISE_DB / 20):.0%} on their pictures: {'; '.join(shaken)}.",
        one_line(results["machine"]),
    ]
    return [made]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(FORMS), choices=list(FORMS), metavar="NAME")
    parser.add_argument("--videos", help="real videos [default: a rendered one]")
    parser.add_argument("--seconds", type=float, default=15.0, help="of timing for each network")
    parser.add_argument("--quick", action="store_true", help="a look: few frames, 3 seconds of timing")
    parser.add_argument("-o", "--output", type=Path, default=networks.RESULTS / "quantized.json")
    args = parser.parse_args()
    videos = args.videos or str(networks.video())
    results: dict[str, Any] = {
        "benchmark": "quantized", "machine": describe("openvino", "torch"),
        "videos": "given" if args.videos else "rendered", "runs": [],
    }  # fmt: skip
    for name in args.models:
        run = measure(name, videos, 3.0 if args.quick else args.seconds, args.quick)
        results["runs"].append(run)
        save(args.output, results)
        print(f"{name}: {[(row['engine'], row['cpu_ms'], row.get('similarity')) for row in run['rows']]}", flush=True)
    networks.finish(tables(results), results, args.output)


if __name__ == "__main__":
    main()
