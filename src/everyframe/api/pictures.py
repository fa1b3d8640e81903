"""Models that make pictures and videos larger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from everyframe.api.given import File, Model, paths, trained_source
from everyframe.progress import CountProgress, TextProgress, silent

if TYPE_CHECKING:
    import numpy as np

    from everyframe.api.outcomes import Enlarged, PictureEvaluation
    from everyframe.tasks.super_resolution.pictures import Film, Pair


@paths
def enlarge(
    model: Model,
    pictures: File | Sequence[File] | np.ndarray,
    output: File | None = None,
    *,
    seconds: float | None = None,
    engine: str = "auto",
    threads: int | None = None,
    progress: TextProgress | None = None,
) -> Enlarged:
    """Pictures and videos of any size, as many times larger as the model makes them: what `everyframe predict` writes with a
    model for super-resolution.

    model: the step.onnx of such a training, or its run folder. pictures: a picture, a video, a folder or several of them; or an
    array (H, W, 3), RGB uint8. output: the file, or the folder for several; of an array None keeps the picture in memory.
    seconds: of each video. engine, threads: as for `open`. Raises ModelError, SourceError, OutputError, EngineError, UsageError.

    >>> ef.enlarge("step.onnx", "video.mp4", "larger.mp4")
    Traceback (most recent call last):
    everyframe.errors.ModelError: This model does not enhance pictures...
    """
    import os

    import numpy as np

    from everyframe.api.outcomes import Enlarged
    from everyframe.errors import UsageError
    from everyframe.tasks.super_resolution import apply
    from everyframe.tasks.super_resolution.enhance import Enhancer

    _, file = trained_source(model)
    with Enhancer(file, engine=engine, threads=threads) as enhancer:
        if isinstance(pictures, np.ndarray):
            if pictures.ndim != 3 or pictures.shape[2] != 3 or pictures.dtype != np.uint8:
                raise UsageError("This is no picture.", expected="(H, W, 3) uint8, RGB", got=f"{pictures.shape} {pictures.dtype}")
            made = enhancer.stream((pictures.shape[0], pictures.shape[1])).color(pictures)
            if output is not None:
                apply.write_picture(made, Path(output))
            return Enlarged(picture=made)
        given: list[File] = [pictures] if isinstance(pictures, str | os.PathLike) else list(pictures)
        jobs = apply.plan(given, None if output is None else Path(output))
        return Enlarged(tuple(apply.run(enhancer, jobs, seconds=seconds, told=progress or silent)))


@paths
def evaluate_pictures(
    model: Model,
    data: File | None = None,
    output: File | None = None,
    *,
    limit: int | None = None,
    engine: str = "ort",
    threads: int | None = None,
    progress: CountProgress | None = None,
) -> PictureEvaluation:
    """PSNR and SSIM of luma on the pictures of a folder, as papers of super-resolution give them, beside bicubic interpolation.
    Ctrl-C gives what is done.

    model: a model that enlarges, or the run folder of its training, which knows what it held out. data: a folder of large
    pictures, whose small ones are made, unless they lie beside it as DIV2K has it (docs/super_resolution.md); or of videos, whose
    frames are made small. limit: so many, evenly spread. output: a folder for tables. Raises ModelError, SourceError,
    EngineError, OutputError, UsageError.

    >>> ef.evaluate_pictures("step.onnx", "pictures")
    Traceback (most recent call last):
    everyframe.errors.ModelError: This model does not enhance pictures...
    """

    from everyframe.api.outcomes import PictureEvaluation
    from everyframe.errors import UsageError
    from everyframe.recipes import SuperResolutionRecipe
    from everyframe.tasks.super_resolution.enhance import Enhancer
    from everyframe.tasks.super_resolution.evaluate import measure
    from everyframe.tasks.super_resolution.pictures import films, find, held_out, spread

    recipe, file = trained_source(model)
    pairs: Sequence[Pair | Film]
    with Enhancer(file, engine=engine, threads=threads) as enhancer:
        if data is not None:
            pairs = films(Path(data)) or find(Path(data), enhancer.scale)
        elif isinstance(recipe, SuperResolutionRecipe):
            pairs = held_out(recipe)[1]
        else:
            raise UsageError("There is nothing to measure on.", expected="data: a folder of pictures", hint="--data FOLDER")
        found = measure(enhancer, spread(pairs, limit), progress=progress or silent)
    made = PictureEvaluation(**vars(found))
    if output is not None:
        made.save(output)
    return made
