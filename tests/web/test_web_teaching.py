"""A page learns gestures of one's own as `teach` does: the same head, rejection and event rule from the same clips."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import everyframe
import handmade
from everyframe.api import bundle
from everyframe.bundles import samples
from everyframe.bundles.teachable import teachable
from everyframe.bundles.web import PAGES
from everyframe.errors import ModelError
from everyframe.modelfile.file import load, metadata_of
from everyframe.modelfile.schema import EventRule
from everyframe.rendering.hands import dataset
from everyframe.runtime import BUILTIN
from everyframe.teaching.cut import check, cut
from everyframe.teaching.examples import HELD_S, Example, Reader, _pictures
from everyframe.teaching.head import Familiar, Head
from everyframe.teaching.learn import learn
from everyframe.teaching.moments import Span, span
from everyframe.video.sources import resolve
from helpers import built_in_size, shared_dir
from web.test_web_page import folder, rgba, said

__all__ = ["folder"]
FPS = 12


def rendered() -> Iterator[tuple[str | None, np.ndarray]]:
    """(label, (T, H, W, 1) uint8): two gestures of which the built-in model has seen others, and one piece without."""
    for number, label in enumerate(("swipe_up", "wave", "none")):
        shown = dataset.streams(
            "test", 60 + number, range(4), frames=36, fps=FPS, size=built_in_size(), label=label, negative=label == "none",
            single=True,
        )  # fmt: skip
        for video in shown.video[: 1 if label == "none" else 4]:
            yield None if label == "none" else label, video[..., None]


def real() -> Iterator[tuple[str | None, np.ndarray]]:
    metadata = metadata_of(load(BUILTIN))
    assert metadata is not None
    root = shared_dir() / "data" / "hand_gestures" / "train"
    for label in ("swiping_up", "cw_rotation", "palm_shake"):
        for path in sorted((root / label).glob("*.mp4"))[:5]:
            (source,) = resolve(path)
            yield label, np.stack(list(_pictures(source, metadata.preprocess)))


def examples(clips: list[tuple[str | None, np.ndarray]], reader: Reader) -> list[Example]:
    made = []
    for i, (label, pictures) in enumerate(clips):
        features, seen = reader.features(pictures, 0.0 if label is None else HELD_S)
        made.append(Example(label, str(i), features, seen, Span(0, 0, len(seen)) if label is None else span(pictures)))
    return made


@pytest.mark.parametrize("source", [rendered, real])
def test_a_page_learns_what_teach_learns(folder: Path, source: Any) -> None:
    """Head, penalty, what is familiar, what the left-out examples were taken for, the event rule; the file says the same."""
    model = load(BUILTIN)
    metadata = metadata_of(model)
    assert metadata is not None
    clips = list(source())
    if source is real:
        clips.append((None, np.concatenate([video[:6] for _, video in clips])))
    backbone = cut(model, metadata, BUILTIN)
    taken = examples(clips, Reader(backbone, "builtin"))
    wanted = learn(taken, metadata.window, 1 / FPS)
    given = [{"label": label, "frames": [rgba(np.repeat(p, 3, 2))["data"] for p in video]} for label, video in clips]
    height, width = clips[0][1].shape[1:3]
    got = said(folder, "taught", {"width": width, "height": height, "fps": FPS, "clips": given})
    assert (tuple(got["labels"]), got["penalty"], got["told"]) == (wanted.labels, wanted.penalty, wanted.told)
    assert (EventRule(**got["events"]), got["outcome"]["hits"]) == (wanted.rule, wanted.outcome.hits)
    own, familiar = got["head"], wanted.head.familiar
    assert familiar is not None
    means = np.reshape(own["means"], familiar.means.shape)
    spread = 1 / np.array(own["scale"]) / np.sqrt(backbone.width)
    center = np.array(own["center"]) / own["scale"]
    head = Head(
        np.reshape(own["weight"], wanted.head.weight.shape),
        np.array(own["bias"]),
        Familiar(center, spread, means, own["limit"], own["steep"]),
    )
    features = np.concatenate([example.features for example in taken])
    np.testing.assert_allclose(head.logits(features), wanted.head.logits(features), rtol=1e-3, atol=0.02)
    assert np.abs(head.weight - wanted.head.weight).max() < 0.01 * np.abs(wanted.head.weight).max()
    np.testing.assert_allclose((own["limit"], *means.ravel()), (familiar.limit, *familiar.means.ravel()), rtol=1e-3, atol=1e-5)

    file = onnx.load_from_string(base64.b64decode(got["onnx"]))
    onnx.checker.check_model(file, full_check=True)
    told = metadata_of(file)
    assert told is not None and told.labels == wanted.labels and told.events == wanted.rule
    assert told.provenance.passes[-1] == "teach" and len(told.provenance.weights_sha256 or "") == 64
    same = ("kind", "hop", "states", "preprocess", "delay", "feature_delay", "window")
    assert all(getattr(told, name) == getattr(backbone.metadata, name) for name in same)
    assert check(file, backbone, head) < 1e-4
    with everyframe.open(file, engine="native") as program:
        np.testing.assert_allclose(
            [p.logits for p in program.predict(list(np.repeat(clips[0][1], 3, 3)), fps=FPS)], got["logits"], rtol=1e-3, atol=1e-3
        )


def test_the_scores_of_a_page_that_can_be_taught_are_the_models(folder: Path) -> None:
    """Features go out beside the logits; nothing else changes."""
    model = samples.opened(load(BUILTIN), BUILTIN)
    ready = teachable(model).model
    (spec,) = ready.metadata.outputs
    assert spec.shape == (1, 384)
    del ready.model.graph.output[-1]
    assert ready.model.graph.node[: len(model.model.graph.node)] == model.model.graph.node


def test_a_model_without_a_classifier_at_its_end_gives_a_page_that_does_not_teach(tmp_path: Path) -> None:
    step = handmade.brightness_step(tmp_path / "step.onnx")
    with pytest.raises(ModelError):
        teachable(samples.opened(load(step), step))
    page = bundle(step, "web", output=tmp_path / "page").path
    assert not (page / "teach.graph").exists() and '"teach": null' in (page / "model.json").read_text()
    assert (PAGES / "teach.js").exists()
