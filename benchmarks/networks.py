"""The networks that are measured: exported and converted once by this very source tree, then kept in out/bench. And how a
measurement ends.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import everyframe
from everyframe.benchmarking import Table, save

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CACHE = ROOT / "out" / "bench"
VIDEO_SECONDS = 10
SEED = 0  # of the random weights: speed does not depend on them


def finish(tables: Sequence[Table], results: dict[str, Any], output: Path) -> None:
    """Shows what was measured, keeps it and says where."""
    for table in tables:
        table.show()
    print(f"wrote {save(output, results)}")


def clip(name: str) -> Path:
    """The clip model of a network of the zoo. Needs torch the first time."""
    folder = CACHE / _source_digest()
    clip = folder / f"{name}.onnx"
    if not clip.exists():
        for old in CACHE.glob("*/*.onnx"):  # made by another state of the source: never measure those
            if old.parent != folder:
                old.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        print(f"exporting {name}", flush=True)
        everyframe.export(name, clip, seed=SEED)
    return clip


def clip_and_step(name: str) -> tuple[Path, Path]:
    """(clip, step) model files of a network of the zoo."""
    whole = clip(name)
    step = whole.with_name(f"{name}.step.onnx")
    if not step.exists():
        print(f"converting {name}", flush=True)
        everyframe.convert(whole, step)
    return whole, step


def video(width: int = 640, height: int = 480, fps: int = 30) -> Path:
    """An H.264 clip with motion and grain, like a webcam's."""
    path = CACHE / f"clip_{VIDEO_SECONDS}s_{width}x{height}_{fps}fps.mp4"
    if path.exists():
        return path
    import av
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part.mp4")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    with av.open(str(unfinished), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for n in range(VIDEO_SECONDS * fps):
            t = n / fps
            waves = np.stack([np.sin(x / (40 + 10 * c) + t * (1 + c)) + np.cos(y / 50 - t) for c in range(3)], -1)
            blob = np.hypot(x - width * (0.5 + 0.3 * np.sin(t)), y - height * (0.5 + 0.3 * np.cos(1.3 * t))) < 60
            picture = 128 + 40 * waves + 60 * blob[..., None] + rng.normal(0, 4, (height, width, 1))
            frame = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    shutil.move(unfinished, path)
    return path


def _source_digest() -> str:
    """Changes with every source file that has a part in making a model."""
    package = ROOT / "src" / "everyframe"
    digest = hashlib.sha256()
    for path in sorted([*(package / "models").rglob("*.py"), *(package / "program").rglob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
