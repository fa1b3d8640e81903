"""What is evaluated: a clip network and the step network of the same weights, from whatever file or folder was named."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from everyframe.conversion import stream
from everyframe.errors import ModelError
from everyframe.modelfile.file import Held
from everyframe.modelfile.schema import Preprocess, Task
from everyframe.runtime.program import Program


@dataclass(frozen=True)
class Pair:
    """At least one of both. notes: why the other is missing, or where it comes from. fps: of arrays without times."""

    name: str
    clip: Program | None
    step: Program | None
    notes: tuple[str, ...] = ()
    fps: float | None = None

    @property
    def any(self) -> Program:
        found = self.clip or self.step
        if found is None:
            raise ModelError("There is neither a clip model nor a step model.", where=self.name)
        return found

    @property
    def task(self) -> Task:
        """As the step network has it, of which the converter knows whether it answers each frame."""
        return (self.step or self.any).ending.task

    @property
    def engine(self) -> str:
        """One name, or those of the clip and the step network."""
        return ", ".join(dict.fromkeys(program.engine for program in (self.clip, self.step) if program is not None))

    @property
    def preprocess(self) -> Preprocess:
        return self.any.metadata.preprocess


def open_pair(
    path: str | os.PathLike[str],
    *,
    engine: str = "auto",
    threads: int = 1,
    labels: tuple[str, ...] | None = None,
    rate: str = "native",
    task: Task | None = None,
    threshold: float | None = None,
) -> Pair:
    """path: a clip or step model (.onnx or compiled), `builtin`, or a run folder. A clip model is converted at this
    rate (see `conversion.stream`), so that it can be streamed. task, threshold: as for `runtime.open`. Raises ModelError.
    """

    def program(file: str | os.PathLike[str]) -> Program:
        # figures must not depend on which engine wins a race
        chosen = "ort" if engine == "auto" and Path(file).suffix != ".so" else engine
        made = Program(file, engine=chosen, threads=threads, labels=labels, task=task, threshold=threshold)
        made.check_recognizes()
        return made

    folder = Path(path)
    if folder.is_dir():
        found = {kind: folder / f"{kind}.onnx" for kind in ("clip", "step") if (folder / f"{kind}.onnx").is_file()}
        if not found:
            raise ModelError(
                "There is no model in this folder.", where=folder, expected="clip.onnx or step.onnx, as a training writes them",
                hint="name the model itself",
            )  # fmt: skip
        if len(found) == 2:
            return Pair(folder.name, *_alike(program(found["clip"]), program(found["step"])))
        path = next(iter(found.values()))
    given = program(path)
    if given.metadata.kind == "step":
        return Pair(given.name, None, given, ("a step model alone: there is no clip network to compare with",))
    if given.compiled:
        return Pair(given.name, given, None, ("a compiled clip model cannot be converted: give its .onnx to stream it",))
    try:
        axes = given.metadata.axes
        layout = None if axes == "CHW" else f"N{axes[0]}T{axes[1:]}"
        made = stream(path, None, rate=rate, layout=layout, task=task)
    except ModelError as error:
        return Pair(given.name, given, None, (f"not streamed: {error.what}",))
    step = program(Held(made.step, f"the step network of {given.name}"))
    return Pair(given.name, given, step, (f"streamed as `everyframe stream --rate {rate}` converts it",))


def _alike(clip: Program, step: Program) -> tuple[Program, Program]:
    for what in ("labels", "preprocess"):
        if getattr(clip.metadata, what) != getattr(step.metadata, what):
            raise ModelError(
                f"The clip and the step model of this folder have different {what}.", where=Path(clip.path).parent,
                hint="convert the clip model again: everyframe stream clip.onnx -o step.onnx",
            )  # fmt: skip
    return clip, step
