"""Labeled videos and a network that tells them apart a little, for the tests of evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from PIL import Image

from clips import change, clip_net
from everyframe.data.clips import Collection, folder_clip

LABELS = ("down", "left", "right", "up")
T = 8


def picture(rng: np.random.Generator, label: int, *shape: int) -> np.ndarray:
    """Noise, the brighter the higher the label, uint8."""
    return rng.integers(0, 150, shape, dtype=np.uint8) + np.uint8(30 * label)


def causal(path: Path, **meta: object) -> Path:
    """The clip network of `clips.clip_net` with all padding of time on the left, so that its streams see what its clips
    see, and a classifier fitted to `picture`; not a good one.
    """

    def shift(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            for attribute in node.attribute:
                if attribute.name == "pads":
                    before, *space, after, third, fourth = list(attribute.ints)
                    attribute.ints[:] = [before + after, *space, 0, third, fourth]

    def fit(model: onnx.ModelProto) -> None:
        rng = np.random.default_rng(1)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        clips = [picture(rng, i % 4, 1, 3, T, 12, 16).astype(np.float32) / 255 for i in range(24)]
        logits = np.concatenate([session.run(None, {"clip": clip})[0] for clip in clips])
        known = np.c_[logits, np.ones(len(logits))]
        by = np.linalg.lstsq(known, 10 * np.eye(4)[np.arange(24) % 4], rcond=None)[0].T  # (4, 5)
        for tensor in model.graph.initializer:
            if tensor.name.startswith("fc."):
                value = by[:, :4] @ numpy_helper.to_array(tensor) + (by[:, 4] if "bias" in tensor.name else 0)
                tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float32), tensor.name))

    return change(change(clip_net(path, frames=T, **({"labels": LABELS} | meta)), shift), fit)


def write_folder(root: Path) -> Path:
    """Folders of pictures, one a video, three of each label, of 5 to 24 frames; `down0` has exactly a clip's."""
    rng = np.random.default_rng(0)
    for number, count in enumerate((T, 17, 24, 11, 5, 16, 20, 9, 13, 24, 8, 12)):
        where = root / f"{LABELS[number // 3]}{number % 3}"
        where.mkdir()
        for frame in range(1, count + 1):
            Image.fromarray(picture(rng, (number // 3 + (frame > 8)) % 4, 18, 20, 3)).save(where / f"{frame:03d}.png")
    return root


def collected(root: Path, labels: tuple[str, ...] = LABELS) -> Collection:
    found = [folder_clip(path, labels.index(path.name[:-1]), path.name) for path in sorted(root.iterdir())]
    return Collection(labels, {"validation": tuple(found)})
