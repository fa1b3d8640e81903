"""A model run step by step, outside of the engines: what it remembers goes from one step to the next.

    walk = Walk(model, watched=["relu"])
    for frames in video:
        found = walk.step(frames)       {"logits": (1, classes), "relu": ...}

Every kind of model goes: clip networks (a step is a clip, nothing is remembered), step networks with rings or slots, networks
whose host moves the states (outputs that only repeat a state are not in the graph), quantized ones, such as take bytes, the
parts of a split one, and models of others without metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
import onnx

from everyframe.errors import EngineError, EveryframeError, ModelError, StateError, first_line, meant
from everyframe.modelfile.exact import Exact
from everyframe.modelfile.file import metadata_of
from everyframe.modelfile.manifest import Parts
from everyframe.modelfile.schema import StateSpec
from everyframe.modelfile.session import session
from everyframe.modelfile.states import first_states, next_states

#: fast: onnxruntime with all its optimizations. plain: onnxruntime, node by node. exact: exact arithmetic (`exact`), in float64
How = Literal["fast", "plain", "exact"]
_Values = dict[str, np.ndarray]
_Run = Callable[[Sequence[str], Mapping[str, np.ndarray]], _Values]  # names, feeds -> values


class Walk:
    """model: an ONNX model, or the parts of a split one. watched: what a step gives beside the answers: any tensor of the graph,
    also inputs and states; of parts: what goes from one to another. states: other ones than the metadata names.
    threads: of an operator; None lets onnxruntime choose.

    frames: names of the inputs that are no states. answers: names of the outputs that are none. states: what will be fed in the
    next step, by the name of the input; arrays that nobody writes to any more.

    Raises ModelError for a model that onnxruntime refuses and for watched tensors that are not there.
    """

    def __init__(
        self,
        model: onnx.ModelProto | Parts,
        watched: Iterable[str] = (),
        *,
        states: Sequence[StateSpec] | None = None,
        how: How = "fast",
        threads: int | None = None,
    ) -> None:
        whole = model.manifest.outline() if isinstance(model, Parts) else model
        if states is None:
            metadata = metadata_of(whole)
            states = metadata.states if metadata is not None else ()
        self.specs = tuple(states)
        weights = {tensor.name for tensor in whole.graph.initializer}
        inputs = [value.name for value in whole.graph.input if value.name not in weights]
        outputs = [value.name for value in whole.graph.output]
        held = {spec.input for spec in self.specs}
        repeated = {spec.output: spec.copy_of for spec in self.specs if spec.copy_of is not None}
        self.frames = tuple(name for name in inputs if name not in held)
        self.answers = tuple(name for name in outputs if name not in {spec.output for spec in self.specs})
        self.watched = tuple(dict.fromkeys(watched))
        #: what is watched -> the input that holds it in the step; outputs that repeat a state are taken from there
        self._given = {name: repeated.get(name, name) for name in self.watched if name in inputs or name in repeated}
        heads = [spec.output for spec in self.specs if spec.copy_of is None]
        asked = [name for name in self.watched if name not in self._given]
        self._asked = list(dict.fromkeys((*self.answers, *asked, *heads)))
        if isinstance(model, Parts):
            self._run = _parts(model, self._asked, how, threads)
        else:
            self._run = _whole(model, self._asked, how, threads)
        self.reset()

    def reset(self) -> None:
        """The next step is the first."""
        self.states = first_states(self.specs)
        self.steps = 0

    def step(self, frames: np.ndarray | Mapping[str, np.ndarray]) -> _Values:
        """The answers and what is watched, by name; floats are float64 in exact arithmetic.

        frames: as the model takes them: (N, C, H, W), or (N, H, W, C) bytes, of a step, N new frames; (1, C, T, H, W) of a
        clip; by name where there is more than one input. Raises StateError where an input is missing, EngineError.
        """
        feeds = {**self.states, **self._named(frames)}
        try:
            found = self._run(self._asked, feeds)
        except EveryframeError:
            raise
        except Exception as error:  # onnxruntime raises many private types, with no common base
            raise EngineError("onnxruntime failed to run the model.", where=f"step {self.steps}", got=first_line(error)) from None
        new = next_states(self.specs, self.states, found)
        # exact arithmetic answers in float64; what is remembered has the type that the file says
        self.states = {spec.input: np.asarray(new[spec.input]).astype(spec.dtype, copy=False) for spec in self.specs}
        self.steps += 1
        made = {name: found[name] for name in self.answers}
        return made | {name: feeds[self._given[name]] if name in self._given else found[name] for name in self.watched}

    def _named(self, frames: np.ndarray | Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        if not isinstance(frames, Mapping) and len(self.frames) == 1:
            return {self.frames[0]: frames}
        if isinstance(frames, Mapping) and set(frames) == set(self.frames):
            return frames
        raise StateError(
            "These are not the inputs of a step.", where=f"step {self.steps}", expected=", ".join(self.frames) or "no inputs",
            got=", ".join(frames) or "none" if isinstance(frames, Mapping) else "one array",
        )  # fmt: skip


def _whole(model: onnx.ModelProto, names: Sequence[str], how: How, threads: int | None) -> _Run:
    outputs = {value.name for value in model.graph.output}
    if inside := [name for name in names if name not in outputs]:
        made = {name for node in model.graph.node for name in node.output if name}
        _known(inside, made | {tensor.name for tensor in model.graph.initializer})
    if how == "exact":
        exact = Exact(model)
        return lambda asked, feeds: exact.run(feeds, asked)
    if inside:
        probe = onnx.ModelProto()
        probe.CopyFrom(model)
        probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inside)
        model = probe
    runner = session(model, optimize=how == "fast", threads=threads)
    return lambda asked, feeds: dict(zip(asked, runner.run(asked, dict(feeds)), strict=True))


def _parts(split: Parts, names: Sequence[str], how: How, threads: int | None) -> _Run:
    """One after another; each is given what the parts before it made."""
    _known(names, {port.name for part in split.manifest.parts for port in part.outputs})
    runs = []
    for part, model in zip(split.manifest.parts, split.models, strict=True):
        outputs = [port.name for port in part.outputs]
        runs.append(([port.name for port in part.inputs], outputs, _whole(model, outputs, how, threads)))

    def run(asked: Sequence[str], feeds: Mapping[str, np.ndarray]) -> _Values:
        values = dict(feeds)
        for inputs, outputs, compute in runs:
            values |= compute(outputs, {name: values[name] for name in inputs})
        return {name: values[name] for name in asked}

    return run


def _known(names: Sequence[str], there: set[str]) -> None:
    for name in names:
        if name not in there:
            hint = meant(name, sorted(there), "`everyframe info` and `onnx.load` show what there is")
            raise ModelError("The model has no such tensor.", where=name, hint=hint)
