"""Recognition as a task that can be searched (`nas.task`): small causal networks, whose time is that of the step of a frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from everyframe.conversion import stream
from everyframe.data.clips import Clip
from everyframe.errors import SourceError
from everyframe.modelfile.file import Held
from everyframe.models.to_onnx import export
from everyframe.nas.layers import Layer, behind, chain
from everyframe.nas.space import Values
from everyframe.nas.task import Part
from everyframe.recipes.search import Search
from everyframe.recipes.training import ClipRecipe, ModelSection
from everyframe.tasks.clips import choices
from everyframe.tasks.searching import Searched, Wrap
from everyframe.training import begin, loop, network, quick, run
from everyframe.training.objective import Objective


class Row(Searched[ClipRecipe]):
    """Networks are judged by the share of clips that they get right."""

    figure, unit, judged_by, worth = "top1", "% right", ("top1",), 100.0
    rates: Mapping[str, tuple[float, ...]] = {}

    def __init__(self, recipe: ClipRecipe) -> None:
        super().__init__(recipe)
        self.space = choices.space(recipe.model, self.search)
        self.roads = {"all": self.space}
        _, self.collection = run.read(recipe, None, Path(recipe.data.root))
        self.like = network.build(recipe, self.classes)
        self._open = ExitStack()

    @classmethod
    def prepared(cls, recipe: ClipRecipe, where: str, data: Path | None) -> ClipRecipe:
        given = begin.weights_of(recipe.model_copy(update={"search": recipe.search or Search()}))
        whole, collection = run.read(given, where, data)
        if whole.name == quick.NAME:
            before = begin.run_of(whole)
            whole, collection = quick.fitted(whole, collection) if before is None else (begin.like(whole, before), collection)
            clock = {name: getattr(whole.search, name) or quick.MINUTES for name in ("supernet_minutes", "retrain_minutes")}
            whole = whole.model_copy(update={"search": (whole.search or Search()).model_copy(update=clock)})
        if not collection.splits.get("validation"):
            raise SourceError("There are no clips to judge networks by.", where=whole.data.root, got="none held out")
        choices.base(whole.model)
        return whole

    @staticmethod
    def held_out(recipe: ClipRecipe) -> tuple[Sequence[Clip], Sequence[Clip]]:
        splits = run.read(recipe, None, Path(recipe.data.root))[1].splits
        return splits["train"], splits.get("validation", ())

    @property
    def classes(self) -> int:
        return len(self.collection.labels)

    # -- what a network is, and what it consists of

    def model(self, values: Values) -> ModelSection:
        return choices.settings(self.given.model, values)

    def build(self, values: Values) -> nn.Module:
        return network.build(self.given.model_copy(update={"model": self.model(values)}), self.classes).net

    def key(self, name: str, values: Values) -> str:
        return choices.key(choices.stages_of(self.given.model, values), name)

    def own(self) -> tuple[nn.Module, Values]:
        return self.like.net, choices.own(self.given.model)

    def describe(self, values: Values) -> str:
        return choices.describe(self.given.model, values)

    def graph(self, values: Values) -> onnx.ModelProto:
        """The step of a network, or the layers of a `Part`."""
        if "layers" in values:
            return chain(values["layers"], values["size"])
        made = self.like.made
        with torch.random.fork_rng(devices=[]):
            clip = export(
                self.build(values).eval(), None, frames=made.frames, size=made.size, preprocess=self.like.preprocess
            )  # fmt: skip
        return stream(Held(clip.model, "searched"), None).step

    def parts(self, values: Values) -> Mapping[Part, int]:
        """Each layer behind a 1x1, whose time is taken away; what all networks begin with is in the line's offset."""
        found = Counter[Part]()
        size, channels = self.like.made.size, 3 * self.like.preprocess.channels
        for stage in choices.stages_of(self.given.model, values):
            looks = Layer("conv", channels, stage.channels, stage.kernel, stage.stride, "relu")
            found[behind(looks, size)] += 1
            size, channels = looks.answers(size), stage.channels
            if stage.depth:
                found[behind(Layer("residual", channels, channels, stage.kernel, 1, "relu"), size)] += stage.depth
            if stage.taps > 1:
                found[behind(Layer("time", channels, channels, stage.taps, 1, "relu"), size)] += 1
        features = values["features"]
        found[behind(Layer("whole", channels, features, 1, 1, "relu"), size)] += 1
        if values["follow"]:
            found[behind(Layer("time", features, features, 3, 1, "relu"), (1, 1))] += values["follow"]
        return found

    # -- how networks are trained and judged

    def fit(self, path: Path, minutes: float | None, resumed: bool, wrap: Wrap) -> bool:
        fabric = loop.launch(self.given)
        trained = replace(self.like, net=self.supernet())
        with run.fitting(fabric, self.given, trained, self.collection, path, resumed, wrap=wrap) as (fit, _):
            return fit.fit(minutes)

    def judging(self) -> Objective:
        data = self.given.data.model_copy(update={"workers": 0})  # no processes that somebody would have to end
        alone = self.given.model_copy(update={"data": data})
        aimed = run.aimed(loop.launch(self.given), alone, self.like, self.collection, run.Broken(self.given))
        return self._open.enter_context(aimed)

    def train(self, recipe: ClipRecipe | None, path: Path, where: Path, minutes: float | None) -> Any:
        return run.resume(path) if recipe is None else run.start(recipe, path, where=str(where), minutes=minutes)
