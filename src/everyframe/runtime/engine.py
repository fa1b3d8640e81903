"""What an engine is, and which there are.

An engine turns an ONNX model into a `Session` (weights, shared by all streams), which starts a `Run` for each stream (its
state). The tests in tests/engines hold every engine to the same behavior.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import onnx

from everyframe import plugins
from everyframe.errors import EngineError
from everyframe.runtime.states import StatePlan
from everyframe.version import former


class AccuracyWarning(UserWarning):
    """A model runs, and its answers are not what they should be: the message says why, and what to do."""


#: what goes into a step: an array, or one for each input where there are several
Frames = np.ndarray | Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Job:
    """What an engine is given. frames: name of the input that takes the frames; more: of those beside it that are no states;
    logits: name of the output that answers.
    """

    model: onnx.ModelProto
    where: str
    frames: str
    logits: str
    states: StatePlan
    threads: int | None = None
    others: tuple[str, ...] = ()  # outputs that are wanted beside
    more: tuple[str, ...] = ()
    wait: bool = True  # until the fastest way is ready; else what is there runs, and better takes over (see `background`)
    steps: int | None = None  # see `handover.steps_until_known`

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.frames, *self.more)

    def feeds(self, frames: Frames) -> Mapping[str, np.ndarray]:
        """What a step is given, by the name of the input."""
        return frames if isinstance(frames, Mapping) else {self.frames: frames}


class Run(Protocol):
    """One stream on one engine. Not thread-safe: the Stream that owns it locks.

    others: what the last step gave of the job's `others`, by name, for the caller to keep.
    """

    @property
    def others(self) -> Mapping[str, np.ndarray]: ...

    def step(self, frames: Frames) -> np.ndarray:
        """Feeds frames and the state, keeps the new state, returns the logits, which the caller may keep."""

    def reset(self) -> None:
        """The state before the first step."""


class Session(Protocol):
    def start(self) -> Run:
        """A new stream. Safe to call from any thread."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A session with the name of its engine, and why it is that one or computes in another way than usual. warning: what is
    wrong with its answers.
    """

    session: Session
    engine: str
    reason: str = ""
    warning: str = ""

    def start(self) -> Run:
        return self.session.start()


#: name -> module, function that loads a job. `auto` chooses one of them.
ENGINES: dict[str, tuple[str, str]] = {
    "ort": ("everyframe.runtime.ort", "load"),
    "reference": ("everyframe.runtime.reference", "load"),
    "native": ("everyframe.runtime.native", "load"),
    "openvino": ("everyframe.runtime.openvino", "load"),
}
AUTO = ("everyframe.runtime.auto", "load")

__getattr__ = former(__name__, {"Network": "Session"})


def names() -> tuple[str, ...]:
    """All engines but `auto`: ours, then those of other packages. Raises PluginError where two have the same name."""
    return (*ENGINES, *plugins.names("engines", _built_in))


def installed() -> tuple[str, ...]:
    """Those that can be raced here: all but the reference, which is there to be right, and what is not installed."""
    return tuple(name for name in names() if name != "reference" and (name != "openvino" or find_spec("openvino")))


def load(name: str, job: Job, reason: str = "") -> Loaded:
    """Raises EngineError for an unknown engine or one that is not installed, PluginError for one of a broken package."""
    made = (_own(name) if _built_in(name) else _plugged(name))(job)
    if isinstance(made, Loaded):
        return made
    reasons = (reason, getattr(made, "reason", ""))
    return Loaded(made, name, "; ".join(filter(None, reasons)), getattr(made, "warning", ""))


def _built_in(name: str) -> bool:
    return name == "auto" or name in ENGINES


def _own(name: str) -> Callable[[Job], Any]:
    module, function = ENGINES.get(name, AUTO)
    try:
        load: Callable[[Job], Any] = getattr(importlib.import_module(module), function)
    except ImportError as error:
        raise EngineError(f"The engine {name} is not installed.", got=str(error), hint="choose --engine ort") from None
    return load


def _plugged(name: str) -> Callable[[Job], Any]:
    plugin = plugins.load("engines", name, _built_in)
    if plugin is None:
        raise EngineError("There is no such engine.", expected=f"auto, {', '.join(names())}", got=name)
    if not callable(plugin.value):
        raise plugin.error("An engine of a plugin is no function.", expected="load(job) -> Session", got=repr(plugin.value))
    made: Callable[[Job], Any] = plugin.value
    return made


def cores() -> int:
    """Processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1
