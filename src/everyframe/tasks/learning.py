"""What trainings of all tasks have in common: where the data and earlier weights lie, and what is left at the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from lightning_fabric import Fabric
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from everyframe.errors import UsageError, WeightsError
from everyframe.evaluation import report
from everyframe.evaluation.page import Section
from everyframe.files import write_bytes
from everyframe.recipes import DetectionRecipe, SuperResolutionRecipe
from everyframe.training import folder, loop
from everyframe.training.finish import ran
from everyframe.training.loader import Job, Loader
from everyframe.training.objective import Objective
from everyframe.training.run import Broken

Told = TypeVar("Told", SuperResolutionRecipe, DetectionRecipe)
Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class Learner:
    """What the loop trains."""

    net: nn.Module
    head: str = ""
    frozen: bool = False


class Quality(Protocol):
    """What was measured of the finished model on what was held out."""

    @property
    def heading(self) -> Sequence[str]: ...
    @property
    def rows(self) -> Sequence[Any]: ...
    def summary(self) -> str: ...
    def table(self) -> list[tuple[str, ...]]: ...
    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Result:
    """ended: it was not interrupted. quality: of the finished model; None: nothing was held out. figure: of an epoch, whose best
    is said. following: arguments of the `predict` that comes next.
    """

    path: Path
    at: loop.Position
    ended: bool
    quality: Quality | None
    notes: tuple[str, ...]
    figure: str
    following: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "run": str(self.path), "ended": self.ended, "epochs": self.at.epoch, "seconds": round(self.at.seconds, 1),
            f"validation_{self.figure}": max(
                (row[self.figure] for row in self.at.rows if row[self.figure] is not None), default=None
            ),
            "quality": self.quality.to_dict() if self.quality else None, "notes": list(self.notes),
        }  # fmt: skip

    def text(self) -> str:
        lines = [ran(self.at, self.ended)]
        if self.quality is not None and self.quality.rows:
            lines.append(f"validation: {self.quality.summary()}")
        lines += [*self.notes, f"wrote {self.path}/step.onnx, report.html and the rest of the run"]
        return "\n".join([*lines, f"next: everyframe predict {self.path}/step.onnx {self.following}"])


def settled(recipe: Told, where: str | None, data: Path | None) -> Told:
    """The recipe with whole paths. where: its file, which `data.root` is relative to; data: another root.
    Raises UsageError where neither says one.
    """
    if data is None:
        if where is None or not Path(where).is_file():
            raise UsageError(f"The recipe does not say where the {recipe.unit} are.", where=recipe.name, hint="--data FOLDER")
        data = Path(where).parent / recipe.data.root
    told = recipe.data.model_copy(update={"root": str(data.resolve())})
    weights = recipe.model.weights
    model = recipe.model if weights is None else recipe.model.model_copy(update={"weights": str(Path(weights).resolve())})
    changed: dict[str, Any] = {"data": told, "model": model}
    if isinstance(recipe, DetectionRecipe) and recipe.teacher is not None:
        whole = str(Path(recipe.teacher.weights).resolve())
        changed["teacher"] = recipe.teacher.model_copy(update={"weights": whole})
    return recipe.model_copy(update=changed)


def same(objective: Objective) -> Objective:
    return objective


def seeded(make: Callable[[], Net], seed: int) -> Net:
    """A network whose random weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def load(net: nn.Module, path: Path, free: Callable[[str], bool], keys: str) -> None:
    """Weights of a run folder, or a file of them. free: of a tensor, whether it may be of another shape or not there; then none
    of those is taken. keys: of [model], which have to be those of that training. Raises WeightsError.
    """
    given, file = read(path)
    own: dict[str, Tensor] = net.state_dict()
    fits = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
    if missing := [name for name in own if name not in fits and not free(name)]:
        raise WeightsError(
            "These weights are of another network.", where=file, expected=f"{missing[0]} {tuple(own[missing[0]].shape)}",
            got=str(tuple(given[missing[0]].shape)) if missing[0] in given else "no such tensor",
            hint=f"{keys} of [model] must be those of that training",
        )  # fmt: skip
    if any(name not in fits for name in own if free(name)):
        fits = {name: value for name, value in fits.items() if not free(name)}
    net.load_state_dict({**own, **fits})


def read(path: Path) -> tuple[dict[str, Tensor], Path]:
    """Weights of a run folder, or a file of them, and that file. Raises WeightsError."""
    file = path / "best.safetensors" if path.is_dir() else path
    try:
        return load_file(file), file
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            "These weights cannot be read.", where=file, got=str(error).splitlines()[0],
            expected="best.safetensors of an earlier training",
        ) from None  # fmt: skip


@dataclass(frozen=True)
class Fitted:
    """A training that has ended. first: this is the first of its processes, which writes what is left of it."""

    run: folder.Run[Any]
    at: loop.Position
    ended: bool
    notes: tuple[str, ...]
    first: bool


def fit(
    fabric: Fabric, recipe: SuperResolutionRecipe | DetectionRecipe, path: Path, net: nn.Module, items: Job,
    objective: Callable[[Loader], Objective], broken: Broken, *, minutes: float | None, resumed: bool,
) -> Fitted:  # fmt: skip
    """Trains a network in a run folder. items: what batches are made of; objective: of their loader."""
    if fabric.is_global_zero and not resumed:
        folder.create(path, recipe, ())
    fabric.barrier()
    run = folder.Run(path, recipe, ())
    data, training = recipe.data, recipe.training
    with Loader(items, training.batch, accumulate=training.accumulate, workers=data.workers, broken=broken) as loader:
        fitting = loop.Loop(fabric, run, Learner(net), objective(loader), recipe)
        if resumed:
            fitting.resume()
        ended = fitting.fit(minutes)
    notes = (*broken.notes(), *fitting.pace.shortfall("training.epochs"))
    return Fitted(run, fitting.at, ended, notes, fabric.is_global_zero)


def write_report(run: folder.Run[Any], quality: Quality | None, title: str) -> None:
    """report.html, and metrics.json of what was measured. title: of the table."""
    if quality is not None:
        write_bytes((json.dumps(quality.to_dict(), indent=1) + "\n").encode(), run.path / "metrics.json")
    text = (run.path / "recipe.toml").read_text("utf-8")
    environment = json.loads((run.path / "environment.json").read_text("utf-8"))
    sections = [Section(title, (quality.summary(),), tuple(quality.heading), quality.table())] if quality else []
    report.write(
        run.path, title=f"Training {run.recipe.name}", epochs=run.epochs, recipe=text, environment=environment, sections=sections
    )
