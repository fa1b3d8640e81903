"""The compiled file: a shared library with a tail that says what it is.

    library | facts (JSON) | length of the facts, 8 bytes | sha256 of everything before, 32 bytes | magic, 16 bytes

The tail is checked before the library is loaded: loading runs code, and a truncated one would crash the process. The facts hold
sizes, processor and the model's inputs, outputs and metadata, so that a `.so` opens without its ONNX file.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import onnx

from everyframe.errors import ModelError
from everyframe.files import write_bytes
from everyframe.modelfile.format import FORMAT, check_format, parse_format

_MAGIC = b"everyframe-lib-1"
_TAIL = 8 + 32 + len(_MAGIC)
_NEEDED = ("frames", "channels", "height", "width", "classes", "clip", "memory_bytes", "weight_bytes", "memory", "cpu", "model")


def is_library(path: str | os.PathLike[str]) -> bool:
    """Is it named or does it begin like a shared library (ELF)? False for a file that is not there."""
    try:
        with Path(path).open("rb") as file:
            return file.read(4) == b"\x7fELF" or Path(path).suffix == ".so"
    except OSError:
        return False


def outline(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without its nodes and weights: inputs, outputs, metadata."""
    weights = {tensor.name for tensor in model.graph.initializer}
    graph = onnx.helper.make_graph(
        [], model.graph.name, [v for v in model.graph.input if v.name not in weights], list(model.graph.output)
    )
    bare = onnx.helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
    bare.metadata_props.extend(model.metadata_props)
    return bare


def write(library: Path, facts: dict[str, Any], model: onnx.ModelProto, path: str | os.PathLike[str]) -> Path:
    """Appends the tail to a linked library and writes it to `path`, whole or not at all."""
    told = {"format": FORMAT, **facts, "model": base64.b64encode(outline(model).SerializeToString()).decode()}
    text = json.dumps(told).encode()
    body = library.read_bytes() + text + len(text).to_bytes(8, "little")
    return write_bytes(body + hashlib.sha256(body).digest() + _MAGIC, path)


def told(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The facts as they stand at the end, neither checked nor complete, without reading code and weights: for what is only to be
    decided by them. Raises OSError, ValueError."""
    with Path(path).open("rb") as file:
        file.seek(-_TAIL, os.SEEK_END)
        length = int.from_bytes(file.read(8), "little")
        file.seek(-_TAIL - length, os.SEEK_END)
        facts: dict[str, Any] = json.loads(file.read(length))
    return facts


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The facts of a compiled model; 'model' is its outline. Raises ModelError for a foreign, truncated or altered file."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError("The compiled model cannot be read.", where=path, got=error.strerror or str(error)) from None
    if data[:4] != b"\x7fELF" or data[-len(_MAGIC) :] != _MAGIC:
        raise ModelError(
            "This is not a compiled model, or it is incomplete.", where=path, expected="a file written by `everyframe compile`",
            hint="compile the model again",
        )  # fmt: skip
    body, digest = memoryview(data)[: -32 - len(_MAGIC)], data[-32 - len(_MAGIC) : -len(_MAGIC)]  # no second copy of the weights
    if hashlib.sha256(body).digest() != digest:
        raise ModelError("The compiled model is damaged.", where=path, got="a wrong checksum", hint="compile the model again")
    length = int.from_bytes(body[-8:], "little")
    try:
        facts = json.loads(bytes(body[-8 - length : -8]))
    except ValueError:
        facts = {}
    check_format(facts, path)
    if not isinstance(facts, dict) or parse_format(facts.get("format")) is None or any(name not in facts for name in _NEEDED):
        raise ModelError(
            "The compiled model is of another version.", where=path, expected=f"format {FORMAT}",
            got=facts.get("format", "none") if isinstance(facts, dict) else "none", hint="compile the model again",
        )  # fmt: skip
    facts["model"] = onnx.ModelProto.FromString(base64.b64decode(facts["model"]))
    return facts
