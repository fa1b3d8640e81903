"""What a deployable file says beside its graph: one JSON object in `metadata_props["everyframe"]` of the ONNX model.

Unknown keys are rejected: a typo must not silently change preprocessing. Those of a file in a newer minor of the format are kept
and ignored (`format`).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from types import MappingProxyType
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from everyframe.modelfile.format import FORMAT, Format

KEY = "everyframe"


#: what an output's values are: one of several classes, any of several, quantities, one of several classes at each frame, the
#: frame's own luma made better, boxes of objects in a scan
Task = Literal["classify", "multilabel", "regress", "frames", "enhance", "detect"]
#: those whose networks recognize nothing: what they do instead, and how it is asked for
BESIDE: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "enhance": (
            "makes pictures better",
            "`everyframe predict MODEL SOURCE -o FILE` writes them, as `ef.enlarge` does; `ef.evaluate_pictures` measures it",
        ),
        "detect": (
            "finds objects in scans",
            "`everyframe predict MODEL SCAN -o FOLDER` writes boxes, `ef.detect` gives them; `ef.evaluate_scans` measures it",
        ),
    }
)  # fmt: skip
#: whether a softmax (of one of several) or a sigmoid (of any of several) is still to come
Scores = Literal["logits", "probabilities"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stored(Strict):
    """A part of what files say. Keys of a newer minor that came with it (`model_extra`) are written again."""

    @model_serializer(mode="wrap")
    def _with_unknown_keys(self, write: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        unknown = self.model_extra if info.include is None else None
        return {**write(self), **(unknown or {})}


class Preprocess(Stored):
    """From a decoded frame to the network's input, in this order: resize, center crop, scale, normalize.

    resize: an int for the short side (aspect kept) or (height, width) exactly. crop: (height, width), centered.
    A value becomes (pixel * scale - mean) / std with pixel in 0..255, per channel in `color` order.
    Frames are sampled at `fps` (nearest in time), or every `sample_every_n`-th frame; neither: every frame.
    """

    color: Literal["rgb", "bgr", "gray"] = "rgb"
    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    fps: float | None = Field(default=None, gt=0)
    sample_every_n: int | None = Field(default=None, ge=1)

    @property
    def channels(self) -> int:
        return 1 if self.color == "gray" else 3

    @model_validator(mode="before")
    @classmethod
    def _gray_has_one_channel(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("color") == "gray":
            return {"mean": (0.0,), "std": (1.0,)} | values
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Preprocess:
        for name in ("mean", "std"):
            if len(getattr(self, name)) != self.channels:
                raise ValueError(f"{name} has {len(getattr(self, name))} values, color {self.color!r} needs {self.channels}")
        if any(value == 0 for value in self.std):
            raise ValueError("std must not contain 0")
        if self.fps is not None and self.sample_every_n is not None:
            raise ValueError("give fps or sample_every_n, not both")
        return self


class EventRule(Stored):
    """Turns per-step scores into single events: fire when a label other than `background` reaches `threshold`,
    then stay silent for `refractory_s` and until the background's score has been back above `rearm`.
    """

    background: str
    threshold: float = Field(default=0.6, gt=0, le=1)
    hold_steps: int = Field(default=1, ge=1)  # the label must lead for this many steps in a row
    refractory_s: float = Field(default=0.8, ge=0)
    rearm: float = Field(default=0.5, ge=0, le=1)


class StateSpec(Stored):
    """One state tensor: feed `output` of step n to `input` of step n+1; before the first step it is `fill` everywhere.

    every, delay, lag: the facts of the wire it remembers. frames: how many frames of it are held.
    copy_of: set when `output` only repeats the old value of another state's input (a slot of a ring), so that a host can
    rotate buffers instead of copying them. The graph may leave such an output out (`everyframe check --host-state`).
    """

    input: str
    output: str
    shape: tuple[int, ...]
    dtype: Literal["float32", "float16", "int64"] = "float32"
    every: int = 1
    delay: int = 0
    lag: int = 0
    frames: int = 1
    fill: float = 0.0
    copy_of: str | None = None

    @property
    def floats(self) -> bool:
        """Does it hold features? Else it counts."""
        return self.dtype != "int64"

    @property
    def bytes(self) -> int:
        return prod(self.shape) * np.dtype(self.dtype).itemsize


class OutputSpec(Stored):
    """One more output of a step model beside its logits, by the name of its tensor.

    shape: of a step, frames first: (m, ...) of an output that has a value a frame, (1, ...) of one that has one a step.
    every: frames between two of its values. delay: its newest value is about the frame so many before the newest; the first
    comes once frame `delay` has arrived.
    """

    name: str
    shape: tuple[int, ...]
    task: Task = "classify"
    scores: Scores = "logits"
    every: int = Field(default=1, ge=1)
    delay: int = Field(default=0, ge=0)


class FeatureSpec(Stored):
    """The mean of a wire (a tensor by its name) over its newest `window` frames; before there are so many, over those."""

    wire: str
    window: int = Field(default=1, ge=1)


class InputSpec(Stored):
    """One input of a step model that takes more than one kind of frames, or arrays that have the axes of a picture, by the name
    of its tensor.

    shape: of a step, frames first. axes: of one frame. every: frames of the stream between two of its own, so that a step takes
    hop / every of them; 0 of what has no frames: its one value goes in with every step. preprocess: how a picture becomes a frame
    of it; None: numbers, which go in as they are.
    """

    name: str
    shape: tuple[int, ...]
    axes: str = "CHW"
    every: int = Field(default=1, ge=0)
    preprocess: Preprocess | None = None


class Grid(Stored):
    """The ground as a network that detects objects in scans takes it. low, high: corners of the space that it sees, x ahead, y to
    the left, z up, in meters from the lidar. cell: side of a cell, in meters. slots: of points in one scan; points: of a slot.
    """

    low: tuple[float, float, float] = (0.0, -24.0, -3.0)
    high: tuple[float, float, float] = (48.0, 24.0, 1.5)
    cell: float = Field(default=0.25, gt=0)
    slots: int = Field(default=6000, ge=1)
    points: int = Field(default=4, ge=1)

    @property
    def cells(self) -> tuple[int, int]:
        """(rows along x, columns along y)."""
        return round((self.high[0] - self.low[0]) / self.cell), round((self.high[1] - self.low[1]) / self.cell)

    @model_validator(mode="after")
    def _possible(self) -> Grid:
        if any(high <= low for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError("high must be above low on each axis")
        if min(self.cells) < 1 or self.cells[0] * self.cells[1] > 1 << 22:
            raise ValueError(f"there must be 1 to 4194304 cells, not {self.cells[0]} x {self.cells[1]}")
        return self


class Pruned(Stored):
    """What was pruned: zeros among the weights. kept: the share of a layer's weights that is left, by its path in the
    network it was exported from.
    """

    scheme: str
    group: tuple[int, int]
    method: str
    kept: dict[str, float]


class Provenance(Stored):
    model: str | None = None
    weights_sha256: str | None = None
    tool: str | None = None
    passes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    pruned: Pruned | None = None


class Metadata(Stored):
    """What a host must know beside the graph. Times are in *sampled* frames (after `preprocess.fps`).

    format     the version of the format it was written in, "MAJOR.MINOR" (`modelfile.format`).
    kind       clip: (1, C, T, H, W) -> logits (1, classes).  step: (hop, C, H, W) + states -> logits (1, classes) + states.
    frames     T, the clip length the network was trained on.
    hop        new frames a step takes.
    feature_delay  the newest frame a prediction has fully seen lies this many frames back; the first prediction comes
                   once frame `feature_delay` has arrived (in the step that contains it).
    delay      frames until the window is full too: feature_delay + (window - 1) * spacing (the steady state).
    receptive_field  frames of a clip that can influence one prediction, window included.
    unbounded  a state goes on for ever (a recurrent layer, a running mean), so every frame since the reset does.
    window     feature frames averaged by the head; 1 if there is no temporal pooling.
    task, scores   what the logits are, and whether they are probabilities already; not said in files before 1.1, where the
               last operators tell (`modelfile.ending`).
    outputs    what a step model gives beside its logits.
    inputs     what a step model takes beside its states, where that is more than one kind of frames (`preprocess` and `axes` are
               those of the first that counts the stream's frames); empty: pictures or arrays as `axes` says.
    temperature  what logits are divided by before they become probabilities, so that those are right as often as they say; fitted
               on validation, and of a quantized model to the scores of the float one.
    features   wires inside that tell more together than what the classifier reads: what `teach` learns from. Empty: just that.
    grid       of a model that detects objects in scans: how points become what it takes.
    axes       of one frame that goes in: CHW is a picture; C, CV and CVM are arrays (signals, skeletons), which no
               preprocessing changes.
    """

    format: Format = FORMAT
    kind: Literal["clip", "step", "stage"]
    labels: tuple[str, ...] | None = None
    preprocess: Preprocess = Preprocess()
    frames: Annotated[int, Field(ge=1)]
    hop: int = Field(default=1, ge=1)
    rate: Literal["native", "dense"] = "native"
    se: Literal["frame", "window"] = "frame"
    taps: Literal["trained", "all"] = "trained"
    states: tuple[StateSpec, ...] = ()
    delay: int = Field(default=0, ge=0)
    feature_delay: int = Field(default=0, ge=0)
    receptive_field: int = Field(default=1, ge=1)
    unbounded: bool = False
    window: int = Field(default=1, ge=1)
    events: EventRule | None = None
    task: Task | None = None
    scores: Scores | None = None
    outputs: tuple[OutputSpec, ...] = ()
    inputs: tuple[InputSpec, ...] = ()
    features: tuple[FeatureSpec, ...] = ()
    temperature: float = Field(default=1.0, gt=0)
    axes: Literal["C", "CV", "CVM", "CHW"] = "CHW"
    grid: Grid | None = None
    provenance: Provenance = Provenance()
