"""Checkpoints into networks: read safely, strip wrappers, load strictly, say what does not fit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everyframe.errors import EngineError, WeightsError
from everyframe.models.registry import Entry, build, check_shape, describe, require

if TYPE_CHECKING:
    from torch import Tensor, nn

WRAPPERS = (
    "state_dict",
    "model_state",
    "model_state_dict",
    "model",
)  # a checkpoint's key for the network's own tensors
PREFIXES = ("module.", "_orig_mod.")  # left by DataParallel and torch.compile
SHOWN = 8  # keys listed in an error before "and n more"


@dataclass(frozen=True)
class Assembled:
    """A network ready to run. notes: what a user should be told. sha256: of the weights file, if there is one."""

    net: nn.Module
    entry: Entry
    frames: int
    size: tuple[int, int]
    num_classes: int
    notes: tuple[str, ...]
    sha256: str | None


def assemble(
    name: str,
    num_classes: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    frames: int | None = None,
    size: int | tuple[int, int] | None = None,
) -> Assembled:
    """Builds `name` and fills it. num_classes: default is the checkpoint's, or the published one for random weights."""
    entry = describe(name)
    frames, size = check_shape(entry, frames, size)
    require("torch")
    if weights is None:
        net = build(entry, num_classes, frames, size)
        return Assembled(net, entry, frames, size, num_classes or entry.num_classes, (), None)
    state, sha256 = read_checkpoint(weights)
    head = state.get(f"{entry.head}.weight")
    if num_classes is None and head is not None and head.ndim:
        num_classes = head.shape[0]
    net = build(entry, num_classes, frames, size)
    notes = load_into(net, state, head=entry.head, where=weights)
    return Assembled(net, entry, frames, size, num_classes or entry.num_classes, notes, sha256)


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], str]:
    """(state_dict, sha256 of the file); a .safetensors file or a torch checkpoint of tensors. Raises WeightsError."""
    import torch

    path = Path(path)
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError("The weights file cannot be read.", where=path, got=error.strerror or str(error)) from None
    try:
        if path.suffix == ".safetensors":
            require("safetensors")
            from safetensors.torch import load_file

            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except EngineError:
        raise
    except Exception as error:  # unpickling, zip and safetensors errors have no common base
        raise WeightsError(
            "The weights file is not a checkpoint that can be read safely.",
            where=path,
            expected="a .safetensors file, or a torch checkpoint that holds tensors only",
            got=(str(error).splitlines() or [type(error).__name__])[0],
            hint="save it again with torch.save(network.state_dict(), path)",
        ) from None
    return _unwrap(found, path), sha256


def _unwrap(found: Any, path: Path) -> dict[str, Tensor]:
    """The network's tensors inside a checkpoint, without wrappers and prefixes."""
    import torch

    for key in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if (
        not isinstance(found, Mapping)
        or not found
        or not all(isinstance(value, torch.Tensor) for value in found.values())
    ):
        inside = ", ".join(map(str, list(found)[:SHOWN])) if isinstance(found, Mapping) else type(found).__name__
        raise WeightsError(
            "The checkpoint has no state_dict.",
            where=path,
            got=inside,
            expected=f"tensors by name, or one of the keys {', '.join(WRAPPERS)}",
        )
    state = {str(key): value for key, value in found.items()}
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def load_into(net: nn.Module, state: Mapping[str, Tensor], *, head: str | None, where: object) -> tuple[str, ...]:
    """Fills `net` strictly and returns notes. head: key prefix of the classifier, which may have another class count.

    A classifier of another size keeps its fresh weights, with a note.
    Raises WeightsError listing the keys that do not fit.
    """
    import torch

    state, own = dict(state), net.state_dict()
    for key in own.keys() - state.keys():
        if key.endswith("num_batches_tracked"):  # only counts training batches; older checkpoints lack it
            state[key] = own[key]
    notes: list[str] = []
    weight = f"{head}.weight"
    if head and weight in own and weight in state and own[weight].shape[1:] == state[weight].shape[1:] != ():
        given, wanted = state[weight].shape[0], own[weight].shape[0]
        if given != wanted:
            state.update({key: own[key] for key in own if key.rpartition(".")[0] == head})
            notes.append(
                f"the classifier {head} has {given} classes in the checkpoint; replaced by {wanted} untrained ones"
            )
    problems = {
        "missing": [key for key in own if key not in state],
        "unexpected": [key for key in state if key not in own],
        "misshapen": [
            f"{key} {tuple(state[key].shape)}, expected {tuple(own[key].shape)}"
            for key in own
            if key in state and own[key].shape != state[key].shape
        ],
    }
    found = [f"{len(keys)} {kind}: {_some(keys)}" for kind, keys in problems.items() if keys]
    if found:
        raise WeightsError(
            "The checkpoint does not fit the network.",
            where=where,
            got="\n            ".join(found),
            hint="choose the network, the number of frames and the frame size it was trained with",
        )
    broken = [key for key, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if broken:
        raise WeightsError("The checkpoint holds values that are not finite.", where=where, got=_some(broken))
    net.load_state_dict(state, strict=True)
    return tuple(notes)


def _some(keys: list[str]) -> str:
    more = len(keys) - SHOWN
    return ", ".join(keys[:SHOWN]) + (f" and {more} more" if more > 0 else "")
