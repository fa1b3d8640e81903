"""How well `everyframe teach` does with five examples a gesture: accuracy on clips it has not seen, and false events.

    python benchmarks/teach_accuracy.py --data DATA -o teach.json                       # the built-in model and its control
    python benchmarks/teach_accuracy.py --data DATA --model x3d_s.step.onnx -o x3d.json
    python benchmarks/teach_accuracy.py --rendered -o rendered.json                     # rendered motions, no data needed

DATA holds hand_gestures/{train,val}/CLASS/*.mp4 and ut_interaction/{train,val}/CLASS/*.mp4. A draw takes classes and five
examples of each from train at random; tested are all clips of those classes in val. Background is 12 videos of
ut_interaction/train (none with --no-background); false events are counted on ut_interaction/val, on DATA/clips where there is
such a folder, and on clips of gestures that were not taught. With --half tune or report, classes are drawn from one half of them
only, and other gestures are those of that half: what is chosen on one half is reported on the other. The control is the same
network with the values of each weight tensor shuffled: its features have seen nothing. The last frame of a gesture is held, as in
learning; figures `as_cut` are without that.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from everyframe import modelfile
from everyframe.runtime.prediction import softmax
from everyframe.runtime.program import BUILTIN
from everyframe.teaching.cut import cut
from everyframe.teaching.examples import HELD_S, Clip, Example, Reader, folders
from everyframe.teaching.head import Head, Rows
from everyframe.teaching.learn import learn, rows_of, told
from everyframe.teaching.moments import span
from everyframe.teaching.rule import Stream, events
from everyframe.teaching.window import shortened
from everyframe.video.sources import resolve

EXAMPLES, BACKGROUNDS = 5, 12
#: classes of hand_gestures that are told by the hand's path, not by its fingers
PATHS = ("horizontal_swiping", "swiping_up", "swiping_down", "cw_rotation", "palm_shake", "pointing")


def nearest_mean(rows: Rows) -> Head:
    """Nearest class mean of standardised features."""
    means = np.stack([np.average(rows.coordinates[rows.label == k], axis=0) for k in range(rows.classes)])
    return rows.head(np.vstack([means.T, -0.5 * (means**2).sum(1)]))


def ridge(penalty: float) -> Callable[[Rows], Head]:
    """Least squares on one-hot targets."""

    def fit(rows: Rows) -> Head:
        x, share = rows.coordinates, (rows.weight / rows.weight.sum())[:, None]
        target = np.eye(rows.classes)[rows.label]
        mean = (share * target).sum(0)
        weight = np.linalg.solve(x.T @ (share * x) + penalty * np.eye(x.shape[1]), x.T @ (share * (target - mean)))
        return rows.head(np.vstack([weight, mean]))

    return fit


#: name -> head from rows; `taught` is what the verb does
CLASSIFIERS: dict[str, Callable[[Rows], Head]] = {
    "nearest class mean": nearest_mean,
    "ridge 0.01": ridge(0.01),
    "ridge 0.1": ridge(0.1),
    "logistic 0.1": lambda rows: rows.head(rows.fit(0.1)),
    "logistic 0.01": lambda rows: rows.head(rows.fit(0.01)),
    "logistic 0.001": lambda rows: rows.head(rows.fit(0.001)),
}


class Bench:
    """Features of every clip of one model, and the draws on them."""

    def __init__(self, model: Path, window: int | None, shuffled: bool) -> None:
        given = modelfile.load(model)
        metadata = modelfile.metadata_of(given, model)
        assert metadata is not None, "a step model with metadata"
        if window is not None:
            given, metadata = shortened(given, metadata, window)
        self.backbone = cut(shuffle(given) if shuffled else given, metadata, model)
        self.reader = Reader(self.backbone, str(model))
        self.window, self.step_s = self.backbone.metadata.window, self.reader.hop / self.reader.rate

    def draw(
        self, train: dict[str, list[Example]], val: dict[str, list[Example]], background: list[Example], quiet: list[Example],
        classes: Sequence[str], rng: np.random.Generator, others: Sequence[str] = (), more: Sequence[Example] = (),
    ) -> dict[str, float]:  # fmt: skip
        """One draw: accuracy of the taught head, its own estimate, events; and of other classifiers on the same moments. others:
        classes that count as gestures that were not taught. more: other footage without gestures.
        """
        picked = [train[c][i] for c in classes for i in sorted(rng.choice(len(train[c]), EXAMPLES, replace=False))]
        taken = sorted([*picked, *background], key=lambda e: (e.label or "", e.name))
        begun = time.perf_counter()
        learned = learn(taken, self.window, self.step_s)
        seconds = time.perf_counter() - begun
        rows = rows_of(taken, learned.labels, self.window)
        tested = [example for c in classes for example in val.get(c, ())]
        truth = np.array([learned.labels.index(e.label or "") for e in tested])

        def accuracy(head: Head) -> float:
            said = [told(softmax(head.logits(e.features)), e, self.window) for e in tested]
            return float(np.mean(np.array(said) == truth))

        def found(example: Example, cut: bool = False) -> list[int]:
            features = example.features[example.seen < example.moves.frames] if cut else example.features
            return events(Stream(softmax(learned.head.logits(features)), 0), learned.rule, learned.labels, self.step_s)

        def right(cut: bool) -> float:
            first = [found(e, cut)[:1] for e in tested]
            return float(np.mean([f == [t] for f, t in zip(first, truth, strict=True)]))

        def a_minute(examples: Sequence[Example]) -> float:
            minutes = sum(len(e.seen) for e in examples) * self.step_s / 60
            return sum(len(found(e)) for e in examples) / minutes if minutes else float("nan")

        strange = [c for c in others if c not in classes]
        return {
            "chance": 1 / len(classes),
            "accuracy": accuracy(learned.head),
            "left_one_out": learned.accuracy,
            "first_event_right": right(cut=False),
            "first_event_right_as_cut": right(cut=True),
            "no_event": float(np.mean([not found(e) for e in tested])),
            "false_a_minute_background": a_minute(quiet),
            "false_a_minute_other_gestures": a_minute([e for c in strange for e in val.get(c, ())]),
            "false_a_minute_other_gestures_of_train": a_minute([e for c in strange for e in train.get(c, ())]),
            "false_a_minute_clips": a_minute(more),
            "left_out_strangers": learned.outcome.strange_a_minute or 0.0,
            "left_out_first_event_right": learned.outcome.hits / learned.outcome.examples,
            "threshold": learned.rule.threshold,
            "seconds": seconds,
        } | {name: accuracy(fit(rows)) for name, fit in CLASSIFIERS.items()}


def shuffle(model: onnx.ModelProto) -> onnx.ModelProto:
    """The values of each weight tensor in random places: what was learned is gone, its scale is not."""
    rng = np.random.default_rng(0)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == np.float32 and value.ndim >= 2 and not tensor.name.endswith((".band", ".share")):
            tensor.CopyFrom(numpy_helper.from_array(rng.permutation(value.reshape(-1)).reshape(value.shape), tensor.name))
    return made


def by_label(examples: Sequence[Example]) -> dict[str, list[Example]]:
    table: dict[str, list[Example]] = {}
    for example in examples:
        table.setdefault(example.label or "", []).append(example)
    return table


def real(bench: Bench, data: Path) -> tuple[dict[str, list[Example]], dict[str, list[Example]], list[Example], list[Example]]:
    def read(folder: Path) -> list[Example]:
        return [example for clip in folders(folder, "none") for example in bench.reader.read(clip)]

    def background(split: str, every: int) -> list[Example]:
        paths = sorted((data / "ut_interaction" / split).glob("*/*.mp4"))[::every]
        return [e for path in paths for e in bench.reader.read(Clip(None, resolve(path)[0]))]

    quiet = background("val", 1)
    taught = background("train", max(1, len(list((data / "ut_interaction" / "train").glob("*/*.mp4"))) // BACKGROUNDS))
    train, val = (by_label(read(data / "hand_gestures" / split)) for split in ("train", "val"))
    return train, val, taught[:BACKGROUNDS], quiet


def rendered(bench: Bench) -> tuple[dict[str, list[Example]], dict[str, list[Example]], list[Example], list[Example]]:
    """Rendered single gestures and look-alike motion, of seeds that the built-in model's training never saw."""
    from everyframe.rendering.hands import dataset
    from everyframe.rendering.hands.motions import LABELS

    fps, size = bench.reader.rate, bench.reader.preprocess.resize
    assert isinstance(size, tuple), "a model with a picture size"

    def single(index: int, first: int, count: int) -> list[Example]:
        label = LABELS[index] if index else None
        videos = dataset.streams(
            "test", 40 + index, range(first, first + count), frames=60, fps=fps, size=size, label=LABELS[index],
            negative=index == 0, single=True,
        ).video  # fmt: skip
        pictures = [video[..., None] for video in videos]
        return [
            Example(label, f"{index}/{i}", *bench.reader.features(p, HELD_S if index else 0.0), span(p))
            for i, p in enumerate(pictures)
        ]

    train = {LABELS[i]: single(i, 0, 20) for i in range(1, len(LABELS))}
    val = {LABELS[i]: single(i, 100, 20) for i in range(1, len(LABELS))}
    return train, val, [replace(e, name=f"none/{e.name}") for e in single(0, 0, BACKGROUNDS)], single(0, 100, 60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rendered", action="store_true")
    parser.add_argument("--model", type=Path, default=BUILTIN, help="a step model")
    parser.add_argument("--window", type=int)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--no-control", action="store_true")
    parser.add_argument("--no-background", action="store_true")
    parser.add_argument("--half", choices=("tune", "report"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    if (given.data is None) == (not given.rendered):
        parser.error("give --data or --rendered")
    report: dict[str, dict] = {}
    for name in ("model",) if given.no_control else ("model", "shuffled weights"):
        bench = Bench(given.model, given.window, name != "model")
        train, val, background, quiet = rendered(bench) if given.rendered else real(bench, given.data)
        background = [] if given.no_background else background
        clips = [] if given.rendered else sorted((given.data / "clips").rglob("*.m[kp][v4]"))
        more = [example for path in clips for example in bench.reader.read(Clip(None, resolve(path)[0]))]
        known = sorted(set(train) & set(val))
        if given.half:
            order = np.random.default_rng(19).permutation(len(train))
            chosen = {sorted(train)[i] for i in (order[:9] if given.half == "tune" else order[9:])}
            cases = {f"4 classes of half `{given.half}`": (sorted(chosen & set(known)), 4, given.draws)}
        else:
            chosen = set(train)
            cases = {f"{n} classes": (known, n, given.draws) for n in (3, 4, 5, 6)}
            cases |= {"6 paths": (list(PATHS), 6, given.draws)} if not given.rendered else {}
            cases[f"all {len(train)} classes"] = (sorted(train), len(train), max(1, given.draws // 5))
        for case, (pool, size, draws) in cases.items():
            rng = np.random.default_rng(given.seed)
            drawn = []
            for _ in range(draws):
                classes = sorted(rng.choice(pool, size, replace=False))
                drawn.append(bench.draw(train, val, background, quiet, classes, rng, sorted(chosen), more))
            row = {key: round(float(np.mean([d[key] for d in drawn])), 4) for key in drawn[0]}
            row["accuracy_sd"] = round(float(np.std([d["accuracy"] for d in drawn])), 4)
            report.setdefault(name, {})[case] = row | {"draws": draws}
            print(name, case, json.dumps(row), flush=True)
    if given.output:
        result = {"model": given.model.name, "window": given.window, "report": report}
        given.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
