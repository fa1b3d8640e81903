"""What each stage is given when real videos go through the states: samples for vendors' calibration tools.

DIR/calibration/stage_01/0_shifted/000012.npy    one folder an input, one file a sample; the same number is the same step
DIR/calibration/stage_01/files.txt               a line a sample: its file for each input
DIR/calibration/stage_01/quantize_info.txt       --input_nodes, --input_shapes and --output_nodes
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from everyframe.errors import OutputError, SourceError
from everyframe.modelfile.manifest import Manifest, Part, read
from everyframe.runtime import pipeline
from everyframe.runtime.pipeline import SerialRun
from everyframe.runtime.prediction import not_finite
from everyframe.splitting.cut import FOLDER
from everyframe.video import Reader, Source, normalize


def dump(
    folder: Path, sources: Sequence[Source], samples: int, threads: int | None = None, broken: list[SourceError] | None = None
) -> int:
    """Writes up to `samples` steps, evenly spread over all videos; each video begins with empty states. Returns how many.

    broken: takes why videos could not be read to their end. Raises SourceError where none can, EngineError where answers are
    not finite, OutputError.
    """
    broken = [] if broken is None else broken
    if any(source.live for source in sources):
        raise SourceError("Samples are taken from videos, not from a camera.", where="--dump", hint="record a video first")
    manifest = read(folder)
    run = SerialRun(pipeline.load(folder, manifest, threads, overlap=False))
    steps = [sum(1 for _ in _steps(source, manifest, broken)) for source in sources]
    total = sum(steps)
    if not total and broken:
        raise broken[0]
    if not total:
        raise SourceError("The videos are shorter than one step.", expected=f"{manifest.metadata.hop} frames or more")
    wanted = set(np.linspace(0, total - 1, min(samples, total)).round().astype(int).tolist())
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{FOLDER}.") as beside:
            fresh = Path(beside)
            number = 0
            for source in sources:
                run.reset()
                for place, frames in enumerate(_steps(source, manifest, [])):
                    if not np.isfinite(logits := run.step(frames)).all():
                        raise not_finite(logits, "logits", f"{source.name}, step {place}", pictures=True)
                    if number in wanted:
                        _keep(fresh, manifest, run.values, number)
                    number += 1
            for part in manifest.stages:
                _lists(fresh / Path(part.file).stem, manifest, part)
            shutil.rmtree(folder / FOLDER, ignore_errors=True)
            shutil.copytree(fresh, folder / FOLDER)
    except OSError as error:
        raise OutputError(
            "The samples cannot be written.", where=folder / FOLDER, got=error.strerror or str(error),
            hint="choose a folder with enough free space, or fewer --samples",
        ) from None  # fmt: skip
    return len(wanted)


def _steps(source: Source, manifest: Manifest, broken: list[SourceError]) -> Iterator[np.ndarray]:
    """The frames of each step, as the first part takes them, until the video's end or what is wrong with it."""
    metadata = manifest.metadata
    pictures = []
    try:
        with Reader(source, metadata.preprocess, policy="every") as reader:
            for frame in reader:
                pictures.append(frame.data)
                if len(pictures) == metadata.hop:
                    step, pictures = np.stack(pictures), []
                    yield step if manifest.frames.dtype == "uint8" else normalize(step, metadata.preprocess)
    except SourceError as error:
        broken.append(error)


def _inputs(manifest: Manifest, part: Part) -> list[str]:
    """A folder's name for each input: tensors' own names are no file names."""
    return [f"{i}_{manifest.role(port)}" for i, port in enumerate(part.inputs)]


def _keep(folder: Path, manifest: Manifest, values: pipeline.Values, number: int) -> None:
    for part in manifest.stages:
        for name, port in zip(_inputs(manifest, part), part.inputs, strict=True):
            place = folder / Path(part.file).stem / name
            place.mkdir(parents=True, exist_ok=True)
            np.save(place / f"{number:06d}.npy", values[port.name])


def _lists(folder: Path, manifest: Manifest, part: Part) -> None:
    names = _inputs(manifest, part)
    files = [sorted((folder / name).iterdir()) for name in names]
    lines = [" ".join(f"{name}/{file.name}" for name, file in zip(names, row, strict=True)) for row in zip(*files, strict=True)]
    (folder / "files.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shapes = ":".join(",".join(map(str, port.shape)) for port in part.inputs)
    (folder / "quantize_info.txt").write_text(
        f"--input_nodes {','.join(port.name for port in part.inputs)}\n--input_shapes {shapes}\n"
        f"--output_nodes {','.join(port.name for port in part.outputs)}\n",
        encoding="utf-8",
    )
