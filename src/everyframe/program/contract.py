"""The deployable file: one ONNX model whose `metadata_props["everyframe"]` holds one JSON object.

`load` and `save` are the only places that read or write that file. A model is written to a temporary name and renamed, so
that no half-written file is ever seen. Unknown metadata keys are rejected: a typo must not silently change preprocessing.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import onnx
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from everyframe.errors import ModelError, OutputError

KEY = "everyframe"
FORMAT = 1


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Preprocess(Strict):
    """From a decoded frame to the network's input, in this order: resize, centre crop, scale, normalise.

    resize: an int for the short side (aspect kept) or (height, width) exactly. crop: (height, width), centred.
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


class EventRule(Strict):
    """Turns per-step scores into single events: fire when a label other than `background` reaches `threshold`,
    then stay silent for `refractory_s` and until the background's score has been back above `rearm`.
    """

    background: str
    threshold: float = Field(default=0.6, gt=0, le=1)
    hold_steps: int = Field(default=1, ge=1)  # the label must lead for this many steps in a row
    refractory_s: float = Field(default=0.8, ge=0)
    rearm: float = Field(default=0.5, ge=0, le=1)


class StateSpec(Strict):
    """One state tensor: feed `output` of step n to `input` of step n+1; before the first step it is `fill` everywhere.

    every, delay, lag: the facts of the wire it remembers. frames: how many frames of it are held.
    copy_of: set when `output` only repeats the old value of another state's input (a slot of a ring), so that a host can
    rotate buffers instead of copying them. The graph may leave such an output out (`everyframe check --host-state`).
    """

    input: str
    output: str
    shape: tuple[int, ...]
    dtype: Literal["float32", "int64"] = "float32"
    every: int = 1
    delay: int = 0
    lag: int = 0
    frames: int = 1
    fill: float = 0.0
    copy_of: str | None = None


class Pruned(Strict):
    """What was pruned: zeros among the weights. kept: the share of a layer's weights that is left, by its path in the
    network it was exported from.
    """

    scheme: str
    group: tuple[int, int]
    method: str
    kept: dict[str, float]


class Provenance(Strict):
    model: str | None = None
    weights_sha256: str | None = None
    tool: str | None = None
    passes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    pruned: Pruned | None = None


class Metadata(Strict):
    """What a host must know beside the graph. Times are in *sampled* frames (after `preprocess.fps`).

    kind       clip: (1, C, T, H, W) -> logits (1, classes).  step: (hop, C, H, W) + states -> logits (1, classes) + states.
    frames     T, the clip length the network was trained on.
    hop        new frames a step takes.
    feature_delay  the newest frame a prediction has fully seen lies this many frames back; the first prediction comes
                   once frame `feature_delay` has arrived (in the step that contains it).
    delay      frames until the window is full too: feature_delay + (window - 1) * spacing (the steady state).
    receptive_field  frames that can influence one prediction, window included.
    window     feature frames averaged by the head; 1 if there is no temporal pooling.
    """

    format: Literal[1] = 1
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
    window: int = Field(default=1, ge=1)
    events: EventRule | None = None
    provenance: Provenance = Provenance()


def metadata_of(model: onnx.ModelProto, where: object = None) -> Metadata | None:
    """The validated metadata of a model, or None if it carries none. Raises ModelError when it is malformed."""
    for prop in model.metadata_props:
        if prop.key == KEY:
            try:
                return Metadata.model_validate_json(prop.value)
            except ValidationError as error:
                first = error.errors()[0]
                raise ModelError(
                    "The model's everyframe metadata is not valid.",
                    where=f"{where or 'model'}, key {'.'.join(map(str, first['loc'])) or '(root)'}",
                    got=first["msg"],
                    hint="convert the clip model again with this version of everyframe",
                ) from None
    return None


def attach(model: onnx.ModelProto, metadata: Metadata) -> onnx.ModelProto:
    """Sets the metadata on `model` in place and returns it. Checks the label count against the logits where known."""
    classes = _classes(model)
    if metadata.labels is not None and classes is not None and len(metadata.labels) != classes:
        raise ModelError(
            "The label list does not fit the network.",
            expected=f"{classes} labels, one per logit",
            got=f"{len(metadata.labels)}",
            hint="give one label per line, in the order the network was trained with",
        )
    for i in reversed([i for i, prop in enumerate(model.metadata_props) if prop.key == KEY]):
        del model.metadata_props[i]
    model.metadata_props.add(key=KEY, value=metadata.model_dump_json(exclude_defaults=False))
    return model


def _classes(model: onnx.ModelProto) -> int | None:
    """Size of the last axis of the first output, if static."""
    if not model.graph.output:
        return None
    dims = model.graph.output[0].type.tensor_type.shape.dim
    return dims[-1].dim_value or None if dims else None


def load(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """Reads an ONNX file. Raises ModelError for a missing, unreadable or corrupt one."""
    path = Path(path)
    if not path.exists():
        raise ModelError(
            "There is no such model file.", where=path, hint="check the path, or use `builtin`; `everyframe export` makes one"
        )
    if path.is_dir():
        raise ModelError("This is a folder, not a model file.", where=path, expected="an .onnx file")
    try:
        model = onnx.load(str(path))
    except OSError as error:
        raise ModelError("The model file cannot be read.", where=path, got=error.strerror or str(error)) from None
    except Exception as error:  # protobuf raises its own DecodeError; onnx wraps several others
        raise ModelError(
            "This is not a readable ONNX model.",
            where=path,
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            hint="export or download it again: the file is damaged or of another format",
        ) from None
    if not model.graph.node or not model.graph.output:
        raise ModelError(
            "The ONNX model is empty.", where=path, expected="a graph with nodes and outputs", hint="export it again"
        )
    return model


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raises OutputError if a file cannot be made at `path`: to be asked before long work, not after it."""
    path = Path(path)
    problem = None
    if path.is_dir():
        problem = "it is a folder"
    elif not path.parent.is_dir():
        problem = "its folder does not exist"
    elif not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        problem = "permission denied"
    if problem:
        raise OutputError(
            "The output cannot be written.",
            where=path,
            got=problem,
            hint="choose a file in a writable folder that exists",
        )


def check_folder(folder: Path, mark: str, what: str) -> None:
    """Raises OutputError where `what` cannot become this folder: a new or empty one, or one with `mark`, to be replaced."""
    problem = None
    if folder.exists() and not folder.is_dir():
        problem = "it is a file"
    elif folder.is_dir() and any(folder.iterdir()) and not (folder / mark).exists():
        problem = f"the folder is not empty and holds no {mark}"
    elif not folder.parent.is_dir():
        problem = "the folder above it does not exist"
    if problem:
        raise OutputError(f"The {what} cannot be written.", where=folder, got=problem, hint="name a new folder")


def make_ordinary(path: Path) -> None:
    """Gives what `tempfile` made for its owner alone the permissions of any new file or folder."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


def save(model: onnx.ModelProto, path: str | os.PathLike[str]) -> Path:
    """Writes `model` to `path` through a temporary file in the same folder. Raises OutputError."""
    return write_bytes(model.SerializeToString(), path)


def write_bytes(data: bytes, path: str | os.PathLike[str]) -> Path:
    """Writes a whole file or nothing: a temporary name in the same folder, then a rename. Raises OutputError."""
    path = Path(path)
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        make_ordinary(Path(temporary))
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise OutputError(
            "The output cannot be written.",
            where=path,
            got=error.strerror or str(error),
            hint="choose a folder that exists and is writable, with enough free space",
        ) from None
    return path
