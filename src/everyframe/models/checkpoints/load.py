"""Checkpoints into networks: read safely, tell who wrote them, rename, load strictly, say what does not fit."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everyframe.errors import EngineError, OutputError, WeightsError
from everyframe.files import check_writable
from everyframe.modelfile.schema import Preprocess
from everyframe.models.checkpoints import formats
from everyframe.models.checkpoints.fetch import fetch
from everyframe.models.checkpoints.published import find
from everyframe.models.registry import Entry, build, check_options, check_shape, describe, own_names, require

if TYPE_CHECKING:
    from torch import Tensor, nn

# a checkpoint's key for the network's own tensors; the first that is there counts
WRAPPERS = ("state_dict", "model_state", "model_state_dict", "model", "net", "network", "weights", "params", "state_dict_ema")
# left by DataParallel, torch.compile and wrapping trainers, also one inside the other
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
# the last part of keys that are no network's: of averaged models, and of programs that count operations
COUNTERS = ("n_averaged", "total_ops", "total_params")
AS_TRAINED = "choose the network, the number of frames and the frame size it was trained with"
SHOWN = 8  # keys listed in an error before "and n more"


@dataclass(frozen=True)
class Assembled:
    """A network ready to run.

    options: those of `Entry.choices`, as built. notes: what a user should be told. sha256: of the weights file, if there
    is one. labels, preprocess: those of published weights that were asked for by tag.
    """

    net: nn.Module
    entry: Entry
    frames: int
    size: tuple[int, int]
    num_classes: int
    options: Mapping[str, str]
    notes: tuple[str, ...] = ()
    sha256: str | None = None
    labels: tuple[str, ...] | None = None
    preprocess: Preprocess | None = None


def assemble(
    name: str,
    num_classes: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    frames: int | None = None,
    size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Assembled:
    """Builds `name` and fills it.

    num_classes: default is the checkpoint's, or the published one for random weights. weights: a file, or a tag of
    published weights (published.toml), which are downloaded. in_channels: default is that of the published preprocessing.
    """
    entry = describe(name)
    options = {key: str(value).lower() if isinstance(value, bool) else value for key, value in (options or {}).items()}
    in_channels = entry.preprocess.channels if in_channels is None else in_channels
    check_options(entry, options)
    entry = entry.chosen(options)
    published = find(entry.name, str(weights)) if weights is not None and _is_tag(weights) else None
    if published is not None:
        frames, size = frames or published.frames, size or published.size
    frames, size = check_shape(entry, frames, size)
    require("torch")
    if weights is None:
        net = build(entry, num_classes, frames, size, in_channels, **options)
        return Assembled(net, entry, frames, size, num_classes or entry.num_classes, options)
    path = Path(weights) if published is None else fetch(published)
    given, sha256 = read_checkpoint(path)
    state: Mapping[str, Tensor] = given
    written = formats.recognize(given)
    found = next((one for one in written if one.fits(name)), None)
    if found is not None:
        options = {**formats.build_options(found, given), **options}
        entry = entry.chosen(options)
        state = formats.rename(found, entry, given)
    head = state.get(f"{entry.head}.weight")
    classes = num_classes or (head.shape[0] if head is not None and head.ndim else None)
    net = build(entry, classes, frames, size, in_channels, **options)
    spread: tuple[str, ...] = ()
    if entry.pictures:
        state, spread = in_time(state, net.state_dict(), causal=entry.options.get("causal") == "true")
    notes = (*spread, *load_into(net, state, head=entry.head, where=path, hint=lambda: _who_fits(given, written, name)))
    if found is not None and found.note:
        notes = (*notes, found.note)
    same_head = published is not None and num_classes in (None, published.num_classes)
    return Assembled(
        net,
        entry,
        frames,
        size,
        classes or entry.num_classes,
        options,
        notes,
        sha256,
        published.label_names() if published is not None and same_head else None,
        published.preprocessing(entry.preprocess) if published is not None else None,
    )


def _is_tag(weights: str | os.PathLike[str]) -> bool:
    """A word such as "kinetics400"; anything that exists, or looks like a path or a file name, is a file."""
    return isinstance(weights, str) and re.fullmatch(r"[\w-]+", weights) is not None and not Path(weights).exists()


def _who_fits(state: Mapping[str, Tensor], written: Sequence[formats.Format], name: str) -> str:
    """A hint for a checkpoint that does not fit: which networks of the zoo have its keys, and whose names they are."""
    fitting = {
        f"{other} ({one.project})"
        for one in written
        for other in own_names()
        if other != name and one.fits(other) and _fits(state, one, describe(other))
    }
    if fitting:
        return f"it fits {' or '.join(sorted(fitting))}"
    return AS_TRAINED


def _fits(state: Mapping[str, Tensor], written: formats.Format, entry: Entry) -> bool:
    """Whether all tensors but the classifier are those of the network."""
    import torch

    with torch.device("meta"):
        options: dict[str, Any] = {**formats.build_options(written, state)}
        entry = entry.chosen(options)
        own = build(entry, **options).state_dict()
    theirs = formats.rename(written, entry, state)
    rest = [key for key in own if not key.endswith("num_batches_tracked") and key.rpartition(".")[0] != entry.head]
    return all(key in theirs and theirs[key].shape == own[key].shape for key in rest)


def save(net: nn.Module, path: str | os.PathLike[str]) -> None:
    """Writes a network's weights as .safetensors, under its own names. Raises OutputError; never leaves half a file."""
    require("torch", "safetensors")
    from safetensors.torch import save_file

    path = Path(path)
    if path.suffix != ".safetensors":
        raise OutputError("Weights are written as safetensors.", where=path, expected="a name that ends in .safetensors")
    check_writable(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file({key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}, partial)
        partial.replace(path)
    except OSError as error:
        raise OutputError("The weights cannot be written.", where=path, got=error.strerror or str(error)) from None
    finally:
        partial.unlink(missing_ok=True)


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], str]:
    """(state_dict, sha256 of the file); a .safetensors file or a torch checkpoint of tensors. Raises WeightsError."""
    import torch

    path = Path(path)
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(
            "The weights file cannot be read.", where=path, got=error.strerror or str(error),
            hint="check the path; `everyframe models NAME` shows the tags of published weights",
        ) from None  # fmt: skip
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
            hint="if you trust its author, write its tensors anew: torch.save(torch.load(PATH, weights_only=False)"
            "['state_dict'], 'clean.pt')",
        ) from None
    return _unwrap(found, path), sha256


def _unwrap(found: Any, path: Path) -> dict[str, Tensor]:
    """The network's tensors inside a checkpoint, without wrappers and prefixes."""
    import torch

    for key in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found or not all(isinstance(value, torch.Tensor) for value in found.values()):
        inside = ", ".join(map(str, list(found)[:SHOWN])) if isinstance(found, Mapping) else type(found).__name__
        raise WeightsError(
            "The checkpoint has no state_dict.",
            where=path,
            got=inside,
            expected=f"tensors by name, or one of the keys {', '.join(WRAPPERS)}",
        )
    state = {str(key): value for key, value in found.items() if str(key).rpartition(".")[2] not in COUNTERS}
    while prefix := next((one for one in PREFIXES if all(key.startswith(one) for key in state)), ""):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def load_into(
    net: nn.Module,
    state: Mapping[str, Tensor],
    *,
    head: str | None,
    where: object,
    hint: Callable[[], str] = lambda: AS_TRAINED,
) -> tuple[str, ...]:
    """Fills `net` strictly and returns notes. head: key prefix of the classifier, which may have another class count.

    hint: asked only when something does not fit.

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
            notes.append(f"the classifier {head} has {given} classes in the checkpoint; replaced by {wanted} untrained ones")
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
            hint=hint(),
        )
    broken = [key for key, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if broken:
        raise WeightsError("The checkpoint holds values that are not finite.", where=where, got=_some(broken))
    net.load_state_dict(state, strict=True)
    return tuple(notes)


def in_time(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], *, causal: bool
) -> tuple[dict[str, Tensor], tuple[str, ...]]:  # fmt: skip
    """Convolutions over pictures, (O, I, h, w) or (O, I, 1, h, w), as those over time, (O, I, t, h, w): the weights lie where a
    tap meets its own frame, in the middle or, of a causal network, last; the other taps begin at 0. So the network answers what
    the one for pictures does, on average over the frames, whatever is padded (central frame initialization, arXiv:2103.15691,
    section 3.4; weights divided among the taps, as in arXiv:1705.07750, blur what moves and lose a share at the clip's ends).
    """
    import torch

    made, wider = dict(state), 0
    for key, value in state.items():
        mine = own.get(key)
        if mine is None or mine.ndim != 5 or value.ndim not in (4, 5):
            continue
        flat = value[:, :, None] if value.ndim == 4 else value
        taps = mine.shape[2]
        if flat.shape[2] != 1 or flat.shape[:2] != mine.shape[:2] or flat.shape[3:] != mine.shape[3:]:
            continue
        made[key] = flat
        if taps > 1:
            wider += 1
            made[key] = torch.zeros_like(mine, dtype=flat.dtype)
            made[key][:, :, taps - 1 if causal else taps // 2] = flat[:, :, 0]
    return made, (f"{wider} layers begin with weights for single pictures and know nothing of time yet",) if wider else ()


def _some(keys: list[str]) -> str:
    more = len(keys) - SHOWN
    return ", ".join(keys[:SHOWN]) + (f" and {more} more" if more > 0 else "")
