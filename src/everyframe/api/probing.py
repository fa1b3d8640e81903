"""How good frozen features are: labels read from them by a linear classifier and by their neighbors."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from everyframe.api.given import Model, paths, source, there
from everyframe.progress import CountProgress, silent

if TYPE_CHECKING:
    from everyframe.api.given import File
    from everyframe.api.probed import FeatureEvaluation
    from everyframe.data.views import Views

UNTRAINED = "random weights"


@paths
def evaluate_features(
    model: Model,
    data: File,
    output: File | None = None,
    *,
    beside: Model | Sequence[Model] = (),
    untrained: bool = True,
    form: str = "folders",
    split: str | None = None,
    clips: Sequence[int | None] = (5, 10, 20, None),
    draws: int = 5,
    seed: int = 0,
    views: Views = "non-overlapping",
    workers: int | None = None,
    progress: CountProgress | None = None,
) -> FeatureEvaluation:
    """What labels can be read from a network's frozen features (width,): by multinomial logistic regression and by the cosine of
    the nearest neighbors, learned from the labeled videos of `train`, right on those of `split`. Ctrl-C gives the networks that
    are done.

    model: a clip or step model, or a run folder, whatever it was trained for. data: a folder of labeled videos, or a recipe
    (.toml) that names them. beside: more models, such as one trained with labels. untrained: of a run folder, also the same
    network with random weights. form: as for `evaluate`. split: validation (None), or test. clips: labeled ones of each class,
    None: all. draws: of so many clips each. seed: of the draws and the random weights. views: clips of each video. output: a
    folder for tables, a picture and a page. progress: told how many videos are done, and of how many.
    Raises ModelError, SourceError, RecipeError, UsageError, OutputError.

    >>> found = ef.evaluate_features("clip.onnx", "clips", clips=[1, None], draws=2)
    >>> sorted({row.classifier for row in found.rows})
    ['linear', 'neighbors']
    """
    import numpy as np

    from everyframe.api.probed import FeatureEvaluation
    from everyframe.errors import SourceError, UsageError
    from everyframe.evaluation import features as frozen
    from everyframe.evaluation.probe import Features, ProbeRow, probe
    from everyframe.evaluation.run import chosen
    from everyframe.evaluation.source import collection
    from everyframe.files import results_in

    if not Path(data).exists():
        raise SourceError("There is no such folder of clips.", where=data, expected="a folder", hint="check the path")
    if draws < 1 or not clips or any(count is not None and count < 1 for count in clips):
        raise UsageError("There is nothing to learn from.", expected="1 clip or more, 1 draw or more", got=f"{clips}, {draws}")
    if split in ("train", "all"):
        raise UsageError("What the classifiers learn from tells nothing.", expected="validation or test", got=f"split {split}")
    found, sampling = collection(Path(data), form)
    known = {name: [one for one in chosen(found.splits, name) if one.label >= 0] for name in ("train", split or "validation")}
    (learned, tested), notes = known.values(), list(found.problems)
    if found.held:
        notes.append("there are no splits: a share of each class is held out, as a training would")
    rows, width, skipped, done, train, test = list[ProbeRow](), dict[str, int](), dict[str, None](), 0, 0, 0
    tell, truths = progress or silent, np.array([one.label for one in (*learned, *tested)])
    with results_in(None if output is None else Path(output)), tempfile.TemporaryDirectory() as held:
        given: list[Model] = [model, *([beside] if isinstance(beside, str | os.PathLike) else beside)]
        if untrained:
            random, note = _untrained(model, Path(held), seed)
            given += random
            notes += note
        opened = [frozen.network(there(one) if isinstance(one, str) else source(one), views, sampling) for one in given]
        names = _names([one.name for one in opened])
        try:
            for one, name in zip(opened, names, strict=True):
                count = len(truths) * len(opened)

                def told(now: int, _: int, before: int = done * len(truths), count: int = count) -> None:
                    tell(before + now, count)

                table, places, broken = frozen.features(one, [*learned, *tested], workers, told)
                mine = places < len(learned)
                if mine.all() or not mine.any():
                    raise SourceError("None of the videos of a split can be read.", where=data, got=broken[0])
                labels = truths[places]
                frame = Features(table[mine], labels[mine], table[~mine], labels[~mine], len(found.labels))
                rows += probe(frame, name, tuple(clips), draws, seed)
                width[name], train, test, done = one.width, int(mine.sum()), int((~mine).sum()), done + 1
                skipped |= dict.fromkeys(broken)
        except KeyboardInterrupt:
            if not rows:
                raise
        share = np.bincount(truths[len(learned) :]).max() / len(tested)
        made = FeatureEvaluation(
            names[0], str(data), split or "validation", found.labels, train, test, float(share), width, tuple(rows), seed,
            len(opened), len(opened) - done, tuple(skipped), tuple(notes),
        )  # fmt: skip
        if output is not None:
            made.save(output)
    return made


def _names(given: list[str]) -> list[str]:
    """Each once: others of the same name are numbered."""
    return [name if given.count(name) == 1 else f"{name} {given[: i + 1].count(name)}" for i, name in enumerate(given)]


def _untrained(model: Model, folder: Path, seed: int) -> tuple[list[Model], list[str]]:
    """The network of a run folder with random weights, as a file; or why there is none."""
    from everyframe import modelfile, recipes
    from everyframe.errors import EngineError
    from everyframe.modelfile.interface import interface
    from everyframe.recipes.training import ClipRecipe

    run = Path(os.fspath(model)) if isinstance(model, str | os.PathLike) else None
    if run is None or not (run / "recipe.toml").is_file() or not (run / "clip.onnx").is_file():
        return [], ["no random weights beside it: the model is not a run folder, which says how it was built"]
    recipe = recipes.load(str(run / "recipe.toml"))
    trained = modelfile.load(run / "clip.onnx")
    metadata = modelfile.metadata_of(trained, run / "clip.onnx")
    if not isinstance(recipe, ClipRecipe) or metadata is None:
        return [], ["no random weights beside it: this run folder is of another kind of training"]
    taken = interface(trained, metadata, run)
    try:
        from everyframe.models import export

        export(
            recipe.model.name, folder / f"{UNTRAINED}", frames=metadata.frames, size=taken.size, num_classes=taken.classes,
            preprocess=metadata.preprocess, options=recipe.model.options, seed=seed,
        )  # fmt: skip
    except EngineError as error:  # no torch
        return [], [f"no random weights beside it: {error.what}"]
    return [folder / UNTRAINED], []
