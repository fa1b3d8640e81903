"""Writes a folder of the corpus: small files of every kind that this version makes, and what they answer.

    python tests/corpus/write.py tests/corpus/VERSION

A folder is written once, by the version that it is called after, and never again: `tests/unit/test_long_lived.py` opens all of
them with every later one. Libraries are left out, since they are for one processor.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import everyframe
import handmade
import quantizing
from clips import clip_net
from everyframe.cli.main import run
from everyframe.modelfile.schema import EventRule, Preprocess, Provenance, Pruned
from everyframe.runtime import Program

STEPS = 6
ANSWERS = "answers.json"


def frames_of(program: Program, steps: int = STEPS) -> Iterator[np.ndarray]:
    """The input of each step, from whole numbers only: no generator of random numbers stays the same for ever."""
    shape = tuple(size or 1 for size in program.interface.shape)
    for step in range(steps):
        pixels = (np.arange(int(np.prod(shape))) * (37 + 2 * step) + 11 * step) % 256
        frames = pixels.reshape(shape)
        yield frames.astype(np.uint8) if program.interface.folded else (frames / 256).astype(np.float32)


def answers(path: Path) -> list[list[float]]:
    """The logits of the first steps of a stream, through ONNX Runtime."""
    with everyframe.open(path, engine="ort", threads=1) as program:
        run = program.start()
        return [np.asarray(run.step(frames), np.float64).reshape(-1).tolist() for frames in frames_of(program)]


def write(folder: Path) -> None:
    folder.mkdir(parents=True)
    rule = EventRule(background="medium", threshold=0.5)
    gray = Preprocess(color="gray", resize=(12, 16), mean=(0.4,), std=(0.2,), sample_every_n=2)
    pruned = Provenance(model="small", pruned=Pruned(scheme="kgs", group=(4, 4), method="reweighted", kept={"stem": 0.5}))
    handmade.brightness_step(folder / "slots.onnx", events=rule)
    handmade.brightness_step(folder / "hop.onnx", hop=2, preprocess=gray)
    with tempfile.TemporaryDirectory() as beside:
        made = quantizing.write_folder(Path(beside))
        (folder / "step.onnx").write_bytes((made / "step.onnx").read_bytes())
        clip_net(folder / "clip.onnx", labels=tuple("abcd"), provenance=pruned)
        asked = [str(folder / "step.onnx"), "--calibrate", str(made / "one"), "-o", str(folder / "quantized.onnx")]
        _verb("quantize", *asked)
    _verb("split", str(folder / "step.onnx"), "-o", str(folder / "split"))
    found = {path.name: answers(path) for path in sorted(folder.iterdir())}
    (folder / ANSWERS).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _verb(*arguments: str) -> None:
    sys.argv = ["everyframe", *arguments]
    try:
        run()
    except SystemExit as end:
        if end.code:
            raise


if __name__ == "__main__":
    write(Path(sys.argv[1]))
