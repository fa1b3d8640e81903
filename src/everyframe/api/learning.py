"""New weights: a head from a few examples, a training, a pruning."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from everyframe.api.given import File, Kept, Model, paths, several, source, there
from everyframe.progress import CountProgress, TextProgress, silent, told

if TYPE_CHECKING:
    from everyframe.api.outcomes import Recorded, Rendered, Run, Taught
    from everyframe.errors import UsageError
    from everyframe.motions import run as motions
    from everyframe.pruning import result as pruning
    from everyframe.pruning import search as searching
    from everyframe.recipes.pruning import PruneRecipe
    from everyframe.tasks import learning as tasks
    from everyframe.training import finish as training


@paths
def render(
    kind: str,
    output: File | None = None,
    *,
    count: int = 100,
    minutes: float = 0.0,
    seconds: float = 3.0,
    fps: float | None = None,
    size: int = 112,
    sunglasses: float = 0.3,
    beams: int = 64,
    seed: int = 0,
    progress: CountProgress | None = None,
) -> Rendered:
    """Labeled clips that nobody had to film, or scans of streets: `train` and `evaluate` take the folder, of clips `teach` too.

    kind: "drivers", "motions" or "scenes". output: a new folder, or one that this wrote before, where what is there stays; None
    keeps it as long as the result lives. count: clips of each label, or recordings; of scenes scans, or sequences. minutes: of a
    recording, with a list of spans, or of a sequence; 0: clips, or single scans. seconds: of a clip. fps: pictures a second
    (default: 15), or scans (10). size: height and width. sunglasses: share of the drivers who wear them. beams: of the lidar.
    seed: another number, other people and streets. progress: told (done, of). Raises UsageError, OutputError.

    >>> ef.render("drivers", "rendered", count=1, seconds=1, size=48).videos
    5
    """
    from everyframe.api.outcomes import Rendered
    from everyframe.rendering import folder as clips
    from everyframe.rendering.lidar import folder as scenes

    made: clips.Rendered
    path, held = run_folder(output, kind)
    if fps is None:
        fps = 10.0 if kind == scenes.KIND else 15.0
    if kind == scenes.KIND:
        made = scenes.write(scenes.Wanted(count, minutes, fps, beams, seed), path, progress or silent)
    else:
        made = clips.write(clips.Wanted(kind, count, minutes, seconds, fps, size, sunglasses, seed), path, progress or silent)
    return Rendered(**vars(made), held=held)


@paths
def record(
    camera: str | int,
    output: File | None = None,
    *,
    gestures: Sequence[str],
    count: int = 5,
    seconds: float = 2.5,
    countdown: int = 3,
    pause: float = 10.0,
    progress: TextProgress | None = None,
) -> Recorded:
    """Examples for `teach` from a camera, guided: for each gesture `count` times a countdown and a clip. A function of its own
    and no option of `teach`, since what was recorded is kept, looked at, and taught from again.

    camera: its number, or whatever else `predict` takes. gestures: their names. seconds: length of a clip. countdown: whole
    seconds before each. pause: seconds of background at the end, without any gesture; 0: none. progress: told what to do now,
    `print` will do. output: the folder, where clips are numbered on from what is there and stay whatever ends the recording;
    None keeps it as long as the result lives. Raises SourceError, UsageError, OutputError.

    >>> made = ef.record("video.mp4", gestures=["wave"], count=1, seconds=0.5, countdown=0, pause=0)
    >>> made.clips[0].parts[-2:]
    ('wave', '001.mp4')
    """
    from everyframe.api.outcomes import Recorded
    from everyframe.teaching.learn import BACKGROUND
    from everyframe.teaching.record import RecordingPlan, record

    plan = RecordingPlan(several("gestures", gestures), BACKGROUND, count, seconds, countdown, pause)
    path, held = run_folder(output, "examples")
    return Recorded(path, tuple(record(camera, path, plan, progress or silent)), held)


@paths
def teach(
    model: Model = "builtin",
    examples: File | Sequence[File] = (),
    output: File | None = None,
    *,
    background: File | Iterable[File] = (),
    window: int | None = None,
    progress: TextProgress | None = None,
) -> Taught:
    """A model with new gestures from about five examples of each, in seconds and without torch: the classifier is replaced by
    one on its features (width,), and an event rule is tuned. The result is a step model.

    model: a step or clip model. examples: a folder (or several) with a folder of clips for each gesture; `none` is background.
    background: more footage without any gesture. window: feature frames that the head averages. output: the file to write; None
    keeps the model in memory. Raises SourceError, UsageError, ModelError, OutputError.

    >>> taught = ef.teach("step.onnx", "clips")
    >>> taught.learned.labels
    ('none', 'left', 'still')
    """
    from everyframe.api.outcomes import Taught
    from everyframe.teaching import teach

    given = there(model) if isinstance(model, str) else source(model)
    background = [background] if isinstance(background, str | os.PathLike) else background
    return Taught(**vars(teach(given, examples, output, background=background, window=window, progress=progress or silent)))


@paths
def train(
    data: File | None = None,
    output: File | None = None,
    *,
    recipe: str | None = None,
    settings: Sequence[str] = (),
    minutes: float | None = None,
    resume: bool = False,
    progress: TextProgress | None = None,
) -> Run | None:
    """A network trained on labeled clips, as clip and step model, evaluated. Needs
    `pip install 'everyframe[train]'`. Clips become batches (N, C, T, H, W) by the recipe. Recipes with `task = "enhance"` are for
    networks that make pictures larger, from a folder of them, with `task = "detect"` for those that find objects in scans.

    data: a folder with a folder of clips for each class (default: what the recipe names). recipe: a built-in recipe or a .toml
    file; without one a small network is chosen for the clips. settings: changes to it, `key=value`. minutes: end after so many.
    resume: go on with the run in `output`. progress: told what is done, instead of a bar on the terminal. output: the run
    folder; None keeps it as long as the result lives. The first of several processes gets the result, the others None.
    Raises UsageError, RecipeError, SourceError, OutputError, TrainingStopped.

    >>> run = ef.train("moving", recipe="recipe.toml", settings=["training.epochs=1"])
    >>> run.ended, ef.open(run.model, engine="ort").metadata.kind
    (True, 'step')
    """
    from everyframe import recipes
    from everyframe.errors import UsageError
    from everyframe.recipes import DetectionRecipe, MotionsRecipe, SuperResolutionRecipe

    with extra("Training"):
        from everyframe.motions import run as motions
        from everyframe.tasks.detection import run as detection
        from everyframe.tasks.super_resolution import run as super_resolution
        from everyframe.training import run
    if resume:
        if recipe or data or settings or output is None:
            raise _alone()
        ways = {"motions": motions.resume, "enhance": super_resolution.resume, "detect": detection.resume}
        with told(progress):
            return _run(ways.get(_task(Path(output)) or "", run.resume)(Path(output), minutes=minutes))
    if recipe is None and data is None:
        raise UsageError("There is nothing to train on.", expected="a recipe, or data: a folder of clips",
                         hint="`everyframe train --data FOLDER` with one folder of clips a class")  # fmt: skip
    found = recipes.load(recipe or "quick", several("settings", settings))
    path, held = run_folder(output)
    root = None if data is None else Path(data)
    if isinstance(found, MotionsRecipe):
        if data is not None:
            raise UsageError("The motion model is trained on rendered video alone.", got=f"--data {data}", hint="leave it out")
        with told(progress):
            return _run(motions.start(found, path, minutes=minutes), held)
    with told(progress):
        if isinstance(found, SuperResolutionRecipe):
            return _run(super_resolution.start(found, path, where=recipe, data=root, minutes=minutes), held)
        if isinstance(found, DetectionRecipe):
            return _run(detection.start(found, path, where=recipe, data=root, minutes=minutes), held)
        return _run(run.start(found, path, where=recipe, data=root, minutes=minutes), held)


@paths
def prune(
    run: File,
    output: File | None = None,
    *,
    data: File | None = None,
    rate: float | None = None,
    speedup: float | None = None,
    settings: Sequence[str] = (),
    minutes: float | None = None,
    resume: bool = False,
    progress: TextProgress | None = None,
) -> Run | None:
    """A trained network that computes less, in patterns that compiled models run fast: regularized, cut and retrained. Needs
    `pip install 'everyframe[train]'`. The shapes of inputs and outputs stay.

    run: the run folder of a training, a built-in recipe for pruning or a .toml file; with `resume` the folder to go on with.
    data: the folder of clips (default: the training's). rate: so many times fewer multiply-adds (default: 3, or as the recipe
    says). speedup: so many times faster when compiled, for which layers are measured here. settings: changes to the recipe,
    `key=value`. minutes: end after so many, all stages together. progress: told what is done, instead of a bar on the
    terminal. output: the new run folder; None keeps it as long as the result lives. The first of several processes gets the
    result, the others None. Raises UsageError, RecipeError, SourceError, OutputError, TrainingStopped.

    >>> ef.prune("nowhere.toml")
    Traceback (most recent call last):
    everyframe.errors.RecipeError: There is no such recipe...
    """
    from everyframe.errors import UsageError

    with extra("Pruning"):
        from everyframe.pruning import run as stages
    if resume:
        if data or settings or rate or speedup or output is not None:
            raise _alone()
        with told(progress):
            return _run(stages.resume(Path(run), minutes=minutes))
    if rate is not None and speedup is not None:
        raise UsageError("Either the speed-up is searched for or the rate is given.", expected="rate or speedup")
    changes = [*several("settings", settings), *([f"prune.rate={rate}"] if rate is not None else [])]
    path, held = run_folder(output)
    if speedup is not None:
        _, run = search_rates(run, path, speedup, data=data, settings=changes, progress=progress)
        changes = []
    found, where = pruning_recipe(run, changes)
    root = None if data is None else Path(data)
    with told(progress):
        return _run(stages.start(found, path, where=where, data=root, minutes=minutes), held)


@paths
def pruning_recipe(run: File, settings: Sequence[str] = ()) -> tuple[PruneRecipe, str]:
    """What `prune` goes by, and what its paths are relative to."""
    with extra("Pruning"):
        from everyframe.pruning import run as stages
    return stages.settings(str(run), settings)


@paths
def search_rates(
    run: File, path: Path, speedup: float, *, data: File | None = None, settings: Sequence[str] = (),
    progress: TextProgress | None = None,
) -> tuple[searching.Found, Path]:  # fmt: skip
    """The first half of `prune` with a speed-up: the rates that were found, and the recipe with them, in the run folder to be."""
    with extra("Pruning"):
        from everyframe.pruning import search
    found, where = pruning_recipe(run, settings)
    with told(progress):
        rates = search.into(found, path, where=where, data=None if data is None else Path(data), speedup=speedup)
    return rates, path / search.FILE


def _task(run: Path) -> str | None:
    """What the recipe of a run folder is about, if there is one."""
    from everyframe import recipes

    file = run / "recipe.toml"
    return recipes.load(str(file)).task if file.is_file() else None


def run_folder(output: File | None, name: str = "run") -> tuple[Path, Kept | None]:
    """The folder, and what keeps it where none is named."""
    if output is not None:
        return Path(output), None
    held = Kept()
    return held.path / name, held


def _run(result: training.Result | pruning.Result | motions.Result | tasks.Result | None, held: Kept | None = None) -> Run | None:
    from everyframe.api.outcomes import Run

    return None if result is None else Run(result.path, result, held)


@contextlib.contextmanager
def extra(what: str) -> Iterator[None]:
    """Around imports that need the train extra. Raises UsageError where it is not installed."""
    from everyframe.errors import UsageError, install_extra

    try:
        yield
    except ImportError as error:
        raise UsageError(f"{what} needs packages that are not installed.", got=error.name, hint=install_extra("train")) from None


def _alone() -> UsageError:
    from everyframe.errors import UsageError

    return UsageError(
        "resume goes on with what the run folder says.", expected="the run folder, and perhaps minutes",
        hint="begin a new run for other settings",
    )  # fmt: skip
