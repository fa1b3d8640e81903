"""What a network's classifier sees of each video: the mean over the clips of a clip network, or the steps of a step network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from everyframe import modelfile
from everyframe.data.clips import Clip
from everyframe.data.decode import pictures
from everyframe.data.views import Views
from everyframe.errors import EngineError, SourceError, UsageError
from everyframe.evaluation.measure import Settings, clip_answers, in_one_line, shown
from everyframe.evaluation.models import Pair
from everyframe.evaluation.run import check_settings, run_all
from everyframe.modelfile.file import Held
from everyframe.progress import CountProgress
from everyframe.recipes.training import Sampling
from everyframe.runtime.engine import cores
from everyframe.runtime.program import Program
from everyframe.teaching.cut import cut, pooled
from everyframe.teaching.examples import Reader

Read = Callable[[Clip, Callable[[], bool]], np.ndarray]


@dataclass(frozen=True, eq=False)
class Network:
    """A network without its classifier. read: a video -> (F,). Raises SourceError."""

    name: str
    width: int
    read: Read


def network(path: str | Path | Held, view: Views = "non-overlapping", sampling: Sampling = Sampling()) -> Network:
    """path: a clip or step model, or a run folder, of which the clip model is taken where there is one. Raises ModelError
    where no classifier can be found, UsageError.
    """
    folder = None if isinstance(path, Held) or not Path(path).is_dir() else Path(path)
    if folder is not None:
        path = next((folder / name for name in ("clip.onnx", "step.onnx") if (folder / name).is_file()), folder / "clip.onnx")
    with Program(path, engine="ort", threads=1) as opened:
        name, kind = folder.name if folder is not None else opened.name, opened.metadata.kind
        if opened.compiled:
            raise UsageError("Features are taken from ONNX models.", where=path, got="a compiled model", hint="give its .onnx")
        given = modelfile.load(path if isinstance(path, Held) else opened.path)
    metadata = modelfile.metadata_of(given, path) or opened.metadata
    if kind == "step":
        backbone = cut(given, metadata, name)
        reader = Reader(backbone, name)
        return Network(name, backbone.width, lambda clip, _: reader.features(pictures(clip, metadata.preprocess))[0].mean(0))
    backbone = pooled(given, metadata, name)
    program = Program(Held(backbone.model, name), engine="ort", threads=1)
    pair, settings = Pair(name, program, None), Settings(view, sampling)
    check_settings(settings, pair)

    def read(clip: Clip, stopped: Callable[[], bool]) -> np.ndarray:
        frames, _, size = shown(clip, pair, view)
        made: np.ndarray = np.mean([one.scores for one in clip_answers(program, frames, size, settings, stopped)], axis=0)
        return made

    return Network(name, backbone.width, read)


def features(
    found: Network, clips: Sequence[Clip], workers: int | None, progress: CountProgress
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """((n, F), the places of those n clips, what cannot be read and why). Raises EngineError, SourceError where nothing can be
    read, KeyboardInterrupt.
    """

    def one(number: int, stopped: Callable[[], bool]) -> np.ndarray | str:
        try:
            return np.asarray(found.read(clips[number], stopped), np.float64)
        except SourceError as error:
            return f"{clips[number].path}: {in_one_line(error)}"

    outcomes = run_all([clip.path for clip in clips], one, workers or cores(), progress)
    if len(outcomes) < len(clips):
        raise KeyboardInterrupt
    there = np.array([i for i, made in enumerate(outcomes) if not isinstance(made, str)], int)
    broken = tuple(made for made in outcomes if isinstance(made, str))
    if not len(there):
        raise SourceError("None of the videos can be read.", where=clips[0].path, got=broken[0])
    table = np.stack([outcomes[i] for i in there])
    if not np.isfinite(table).all():
        raise EngineError("The network's features are not finite.", where=found.name, got=f"{(~np.isfinite(table)).sum()} values")
    return table, there, broken
