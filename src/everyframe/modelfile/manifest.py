"""A split step model: a folder of ONNX parts and `manifest.json`, which says how tensors and states flow between them.

Parts run in the order of the list. A tensor has one name everywhere: an input of a part is `frames`, a state, or an output of an
earlier part. Like a model's metadata the manifest is versioned (`format`), and unknown keys are rejected.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import helper
from pydantic import Field

from everyframe.errors import ModelError
from everyframe.modelfile.file import attach, load, metadata_of
from everyframe.modelfile.format import FORMAT, Format, read_json
from everyframe.modelfile.schema import Metadata, Stored

NAME = "manifest.json"
_Kind = tuple[tuple[int, ...], str]  # shape and type


class Port(Stored):
    """A tensor that goes into or comes out of a part."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        return prod(self.shape) * np.dtype(self.dtype).itemsize


class Part(Stored):
    """stage: computes, on the accelerator. host: rearranges what states hold, between two stages."""

    file: str = Field(pattern=r"^[\w.-]+\.onnx$")
    place: Literal["stage", "host"]
    sha256: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


class Manifest(Stored):
    """metadata: the whole step model's. frames, logits: the names of its tensors that are not states."""

    format: Format = FORMAT
    kind: Literal["pipeline"] = "pipeline"
    metadata: Metadata
    frames: Port
    logits: Port
    parts: tuple[Part, ...] = Field(min_length=1)

    @property
    def stages(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.place == "stage")

    @property
    def others(self) -> tuple[Port, ...]:
        """Outputs beside the logits, as the parts give them."""
        made = {port.name: port for part in self.parts for port in part.outputs}
        return tuple(made[spec.name] for spec in self.metadata.outputs if spec.name in made)

    def role(self, port: Port) -> str:
        """What an input is for its part: frames, state, shifted (a host part made it) or residual (a stage did)."""
        if port.name == self.frames.name:
            return "frames"
        made = {output.name: part.place for part in self.parts for output in part.outputs}
        if any(spec.input == port.name for spec in self.metadata.states):
            return "state"
        return "shifted" if made[port.name] == "host" else "residual"

    def outline(self) -> onnx.ModelProto:
        """The whole model's inputs, outputs and metadata, without nodes."""

        def value(name: str, shape: tuple[int, ...], dtype: str) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)

        states = self.metadata.states
        inputs = [value(self.frames.name, self.frames.shape, self.frames.dtype)]
        outputs = [value(port.name, port.shape, port.dtype) for port in (self.logits, *self.others)]
        inputs += [value(spec.input, spec.shape, spec.dtype) for spec in states]
        outputs += [value(spec.output, spec.shape, spec.dtype) for spec in states]
        return attach(helper.make_model(helper.make_graph([], "pipeline", inputs, outputs)), self.metadata)


@dataclass(frozen=True)
class Parts:
    """A split model that was read: the manifest, and its parts' models in the same order."""

    manifest: Manifest
    models: Sequence[onnx.ModelProto]


def is_split(path: str | os.PathLike[str]) -> bool:
    return Path(path).is_dir() or Path(path).name == NAME


def read(path: str | os.PathLike[str]) -> Manifest:
    """The manifest of a folder, checked against itself. Raises ModelError."""
    file = _file(path)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ModelError(
            "This is a folder, not a model file.", where=file.parent,
            expected=f"an .onnx file, or a folder with a {NAME}, which `everyframe split` makes",
        ) from None  # fmt: skip
    except (OSError, UnicodeDecodeError) as error:
        got = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ModelError("The manifest cannot be read.", where=file, got=got) from None
    hint = "split the step model again with this version of everyframe"
    manifest = read_json(Manifest, text, what="The manifest is not valid.", where=file, hint=hint)
    check_flow(manifest, file)
    return manifest


def read_parts(path: str | os.PathLike[str], manifest: Manifest) -> list[onnx.ModelProto]:
    """The parts' models, each checked against the manifest. Raises ModelError."""
    folder, models = _file(path).parent, []
    for part in manifest.parts:
        file = folder / part.file
        model = load(file)
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        metadata = metadata_of(model, file)
        if found != part.sha256 or metadata is None or metadata.kind != "stage":
            raise ModelError(
                "A part of the split model is not the one that the manifest names.", where=file,
                expected=f"sha256 {part.sha256[:16]}…", got=f"sha256 {found[:16]}…",
                hint="split the step model again; a part that was quantized or changed goes into a folder of its own",
            )  # fmt: skip
        models.append(model)
    return models


def _file(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    return path if path.name == NAME else path / NAME


def check_flow(manifest: Manifest, file: Path) -> None:
    """Every input was made before, by one part, with the same shape; every state and the logits are made."""
    states = manifest.metadata.states
    known: dict[str, _Kind] = {spec.input: (spec.shape, spec.dtype) for spec in states}
    known[manifest.frames.name] = (manifest.frames.shape, manifest.frames.dtype)
    made: dict[str, _Kind] = {}
    for part in manifest.parts:
        for port in part.inputs:
            source = known.get(port.name)
            if source != (port.shape, port.dtype):
                raise _wrong(file, part, port, "made nowhere before" if source is None else f"{source[0]} {source[1]}")
        for port in part.outputs:
            if port.name in known:
                raise _wrong(file, part, port, "made twice")
            known[port.name] = made[port.name] = (port.shape, port.dtype)
    wanted: dict[str, _Kind] = {spec.output: (spec.shape, spec.dtype) for spec in states}
    wanted[manifest.logits.name] = (manifest.logits.shape, manifest.logits.dtype)
    wanted |= {spec.name: (spec.shape, "float32") for spec in manifest.metadata.outputs}
    for name, kind in wanted.items():
        if made.get(name) != kind:
            raise ModelError(
                "The manifest does not fit together.", where=f"{file}, tensor {name}", expected=f"{kind[0]} {kind[1]}",
                got=made.get(name, "no part makes it"), hint="split the step model again",
            )  # fmt: skip


def _wrong(file: Path, part: Part, port: Port, got: str) -> ModelError:
    return ModelError(
        "The manifest does not fit together.", where=f"{file}, {part.file}, tensor {port.name}",
        expected=f"{port.shape} {port.dtype}, made once", got=got, hint="split the step model again",
    )  # fmt: skip
