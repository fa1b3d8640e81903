"""The deployable file: one ONNX model with one JSON object in its metadata (`schema`).

`load` and `save` are the only places that read or write that file; `metadata_of` and `attach` are the only ones that read or
write the object.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path, PureWindowsPath

import onnx

from everyframe.errors import ModelError, first_line
from everyframe.files import write_bytes
from everyframe.modelfile.bounds import check_bounds, check_count
from everyframe.modelfile.format import FORMAT, MAJOR, MINOR, check_format, parse_format, read_json
from everyframe.modelfile.schema import KEY, Metadata


def metadata_of(model: onnx.ModelProto, where: object = None) -> Metadata | None:
    """The validated metadata of a model, or None if it carries none. Raises ModelError when it is malformed."""
    for prop in model.metadata_props:
        if prop.key == KEY:
            return read_json(
                Metadata, prop.value, what="The model's everyframe metadata is not valid.", where=where or "model",
                hint="convert the clip model again with this version of everyframe",
            )  # fmt: skip
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
    if (parse_format(metadata.format) or (0, 0)) < (MAJOR, MINOR):
        metadata = metadata.model_copy(update={"format": FORMAT})  # it may have keys by now that its version did not know
    for i in reversed([i for i, prop in enumerate(model.metadata_props) if prop.key == KEY]):
        del model.metadata_props[i]
    model.metadata_props.add(key=KEY, value=metadata.model_dump_json(exclude_defaults=False))
    return model


def _classes(model: onnx.ModelProto) -> int | None:
    """Size of the first output's class axis, if static: the last one, or the second of maps (n, classes, H, W)."""
    if not model.graph.output:
        return None
    dims = model.graph.output[0].type.tensor_type.shape.dim
    return dims[1 if len(dims) == 4 else -1].dim_value or None if dims else None


class Held(os.PathLike[str]):
    """A model that is in memory already, to be given wherever a path is: `load` takes the model, messages its name."""

    def __init__(self, model: onnx.ModelProto, name: str = "the model in memory") -> None:
        self.model, self.name = model, name

    def __fspath__(self) -> str:
        return self.name

    __str__ = __repr__ = __fspath__


#: what people give for a model: its first bytes, its name, and what to do
_OTHERS = (
    (
        re.compile(rb"(.{4}ftyp|RIFF|\x1aE\xdf\xa3|GIF8|\x89PNG|\xff\xd8\xff|\0\0\x01[\xb3\xba]|G.{187}G)", re.DOTALL),
        "a video or a picture", "give an .onnx file; where a command takes both, the model comes first",
    ),
    (
        re.compile(rb"PK\x03\x04|\x80[\x02-\x05]|.{6}\0\0\{", re.DOTALL),
        "weights, or an archive", "`everyframe export NETWORK --weights FILE` makes a model of a checkpoint",
    ),
    (re.compile(rb".{4}TFL3", re.DOTALL), "a TFLite model", "give the ONNX file that it was made of, or could be"),
    (re.compile(rb"\s*<(\?xml|!doctype|html)", re.IGNORECASE), "XML or a web page", "give an .onnx file itself"),
    (re.compile(rb"version https://git-lfs"), "a pointer of Git LFS", "git lfs pull"),
)  # fmt: skip


def load(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """Reads an ONNX file, or copies a `Held` one. Raises ModelError for a missing, unreadable or corrupt one, and
    for one of a format that is too new."""
    if isinstance(path, Held):
        model = onnx.ModelProto()
        model.CopyFrom(path.model)  # what is done to it is not done to the caller's
        return _with_content(model, path)
    path = Path(path)
    if not path.exists():
        raise ModelError(
            "There is no such model file.", where=path, hint="check the path, or use `builtin`; `everyframe export` makes one"
        )
    if path.is_dir():
        raise ModelError("This is a folder, not a model file.", where=path, expected="an .onnx file")
    try:
        model = onnx.load(str(path), load_external_data=False)
        check_count(model, path)
        onnx.load_external_data_for_model(model, str(_folder_of_weights(path)))
    except ModelError:
        raise
    except OSError as error:
        raise ModelError("The model file cannot be read.", where=path, got=error.strerror or str(error)) from None
    except Exception as error:  # protobuf raises its own DecodeError; onnx wraps several others
        got = first_line(error)
        if (beside := _weights_beside(path)) is not None:
            inside = not (Path(beside).is_absolute() or PureWindowsPath(beside).is_absolute() or ".." in Path(beside).parts)
            raise ModelError(
                "The model's weights lie in another file, which cannot be read.", where=path,
                expected=f"{beside} beside it, whole" if inside else "one in the folder of the model", got=got,
                hint=_about_weights(path.parent / beside) if inside else "save it again, in one file",
            ) from None  # fmt: skip
        hint = "export or download it again: the file is damaged or of another format"
        with contextlib.suppress(OSError), path.open("rb") as file:
            head = file.read(256)
            got, hint = next(((name, todo) for pattern, name, todo in _OTHERS if pattern.match(head)), (got, hint))
        raise ModelError("This is not a readable ONNX model.", where=path, got=got, hint=hint) from None
    return _with_content(model, path)


def _folder_of_weights(path: Path) -> Path:
    """Where the weights of a model lie that are not in its file: beside it, or beside what a link leads to."""
    if path.is_symlink() and (name := _weights_beside(path)) is not None and not os.path.lexists(path.parent / name):
        return path.resolve().parent
    return path.parent


def _about_weights(file: Path) -> str:
    if file.is_symlink():  # refused by onnx, since a model from elsewhere could read any file by one
        return "it is a link, which could lead anywhere: put the file itself in its place (`cp -L` copies what links lead to)"
    with contextlib.suppress(OSError), file.open("rb") as opened:
        if opened.read(64).startswith(b"version https://git-lfs"):
            return "it is a pointer of Git LFS: git lfs pull"
    return "copy both files together, under the names that they had"


def _weights_beside(path: Path) -> str | None:
    """The file that holds the weights of a readable model."""
    with contextlib.suppress(Exception):
        bare = onnx.load(str(path), load_external_data=False)
        for tensor in onnx.external_data_helper._get_all_tensors(bare):
            for entry in tensor.external_data:
                if entry.key == "location":
                    return str(entry.value)
    return None


def _with_content(model: onnx.ModelProto, path: object) -> onnx.ModelProto:
    _look(model, path)
    if not model.graph.node or not model.graph.output:
        raise ModelError(
            "The ONNX model is empty.", where=path, expected="a graph with nodes and outputs", hint="export it again"
        )
    _spell(model)
    check_bounds(model, path)
    return model


def _spell(model: onnx.ModelProto) -> None:
    """As most exporters write it: an open axis has a name of its own (some say -1), and ONNX's own operators have no domain."""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_value == -1:
                dim.dim_param = f"{value.name}.{axis}"
    for entry in (*model.opset_import, *model.graph.node):
        if entry.domain == "ai.onnx":
            entry.domain = ""


def _look(model: onnx.ModelProto, where: object) -> None:
    """Refuses a file of a newer major before anything else in it is read, graph included. Raises ModelError."""
    for prop in model.metadata_props:
        if prop.key == KEY:
            try:
                check_format(json.loads(prop.value), where)
            except ValueError:
                return  # `metadata_of` says what is wrong with it


def save(model: onnx.ModelProto, path: str | os.PathLike[str]) -> Path:
    """Writes `model` to `path` through a temporary file in the same folder. Raises OutputError."""
    return write_bytes(model.SerializeToString(), path)
