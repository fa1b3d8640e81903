"""Every network by name: one dict. Importing this needs no torch; only building a network does.

A family of networks is one file in families/ (x3d.py, tsm.py, ...). To add one: write that file, then one `Entry` a
variant in catalog/; other packages add theirs by entry points (`everyframe.plugins`). `everyframe models` lists what is
registered here.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from everyframe import plugins
from everyframe.errors import EngineError, UsageError, install_extra
from everyframe.modelfile.schema import Preprocess

if TYPE_CHECKING:
    from torch import nn

#: what torch says, as a plain RuntimeError, of tensors that are too large
_MEMORY = re.compile(r"alloc|memory|overflow|storage size", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """One network of the zoo, as data.

    build: "module:callable", called as callable(num_classes, frames, size, in_channels=C, **options) -> nn.Module
        from (N, C, T, H, W) to logits (N, classes). The module is imported when the network is built.
    frames, size (height, width), num_classes: those of the published checkpoint.
    preprocess: what that checkpoint was trained with, from a decoded frame to the network's input.
    head: the key prefix of the classifier in the state_dict (replaced when the number of classes differs). heads: the
        same where the value of an option changes it, by value.
    paper, source: where the architecture comes from, and whose checkpoints load by name.
    options: keyword arguments of `build` that make this variant.
    choices: options that the user may set, and their values; the one in `options` is the default.
    two_sided: its layers pad time at both ends, so that it has the option `causal` (see causal.py).
    pictures: it takes the weights of the same network for single pictures (checkpoints/load.py, `in_time`).
    note: what a user should know before choosing it.
    min_frames, min_size: below these the network cannot be built or sees nothing but padding.
    """

    name: str
    build: str
    frames: int
    size: tuple[int, int]
    num_classes: int
    preprocess: Preprocess
    head: str
    paper: str
    source: str
    heads: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    two_sided: bool = True
    pictures: bool = False
    note: str = ""
    min_frames: int = 1
    min_size: int = 32

    def __post_init__(self) -> None:
        if self.two_sided and "causal" not in self.choices:
            object.__setattr__(self, "options", {**self.options, "causal": "false"})
            object.__setattr__(self, "choices", {**self.choices, "causal": ("false", "true")})

    def chosen(self, options: Mapping[str, Any]) -> Entry:
        """The entry as it is with these options."""
        head = next((self.heads[value] for value in options.values() if value in self.heads), self.head)
        return replace(self, options={**self.options, **options}, head=head)


_ENTRIES: dict[str, Entry] = {}
_PATTERNS: dict[re.Pattern[str], Callable[[re.Match[str]], Entry]] = {}


def register(*entries: Entry) -> None:
    """Adds networks. Raises UsageError when a name is taken."""
    for entry in entries:
        if entry.name in _ENTRIES:
            raise UsageError("Two networks have the same name.", where=entry.name, hint="choose another name")
        _ENTRIES[entry.name] = entry


def register_pattern(pattern: str, make: Callable[[re.Match[str]], Entry]) -> None:
    """Adds a family whose members are too many to list, such as every width multiplier; `make` gets the regex match."""
    compiled = re.compile(pattern)
    if compiled in _PATTERNS:
        raise UsageError("Two families have the same name pattern.", where=pattern, hint="choose another pattern")
    _PATTERNS[compiled] = make


def _load_catalog() -> None:
    importlib.import_module("everyframe.models.catalog")


def names() -> list[str]:
    """The registered names, sorted, and those of other packages. Raises PluginError where two have the same name."""
    _load_catalog()
    return sorted((*_ENTRIES, *plugins.names("models", _taken)))


def own_names() -> list[str]:
    """The registered names, sorted, without those of other packages that were not registered."""
    _load_catalog()
    return sorted(_ENTRIES)


def describe(name: str) -> Entry:
    """The entry called `name`. Raises UsageError naming the closest ones, PluginError for one of a broken package."""
    _load_catalog()
    if name in _ENTRIES:
        return _ENTRIES[name]
    for pattern, make in _PATTERNS.items():
        if match := pattern.fullmatch(name):
            return make(match)
    if (plugin := plugins.load("models", name, _taken)) is not None:
        entry = plugin.value
        if not isinstance(entry, Entry) or entry.name != name:
            raise plugin.error("A network of a plugin is no entry.", expected=f"an Entry named {name}", got=repr(entry))
        return entry
    close = difflib.get_close_matches(name, _ENTRIES, n=3, cutoff=0.5)
    raise UsageError(
        "There is no network of this name.",
        got=name,
        expected=f"for example {', '.join(close)}" if close else None,
        hint="`everyframe models` lists them all",
    )


def _taken(name: str) -> bool:
    return name in _ENTRIES or any(pattern.fullmatch(name) for pattern in _PATTERNS)


def require(*packages: str) -> None:
    """Raises EngineError when packages that build and export networks are missing."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise EngineError(
            f"This needs {' and '.join(missing)}, not installed here.",
            where="building and exporting networks (converting, streaming and predicting ONNX files work without)",
            hint=install_extra("train"),
        )


def check_shape(entry: Entry, frames: int | None, size: int | tuple[int, int] | None) -> tuple[int, tuple[int, int]]:
    """(frames, (height, width)) with the entry's defaults filled in. Raises UsageError when they are too small."""
    frames = entry.frames if frames is None else frames
    height, width = entry.size if size is None else (size, size) if isinstance(size, int) else size
    if frames < entry.min_frames:
        raise UsageError(
            f"{entry.name} needs clips of at least {entry.min_frames} frame{'s' * (entry.min_frames > 1)}.",
            got=frames,
            hint=f"use {entry.frames}, the length of its published checkpoint",
        )
    if min(height, width) < entry.min_size:
        raise UsageError(
            f"{entry.name} needs frames of at least {entry.min_size} x {entry.min_size} pixels.",
            got=f"{height} x {width}",
            hint=f"use {entry.size[0]} x {entry.size[1]}, the size of its published checkpoint",
        )
    return frames, (height, width)


def check_options(entry: Entry, options: Mapping[str, Any]) -> None:
    """Raises UsageError for an option that the network does not have, or a value that it does not take."""
    for key, value in options.items():
        if key not in entry.choices:
            raise UsageError(
                f"{entry.name} has no option of this name.",
                got=key,
                expected=" or ".join(entry.choices) or "no options",
                hint=f"`everyframe models {entry.name}` shows what can be set",
            )
        if value not in entry.choices[key]:
            expected = " or ".join(entry.choices[key])
            raise UsageError(f"{entry.name} has no such {key}.", expected=expected, got=value)


def build(
    entry: Entry,
    num_classes: int | None = None,
    frames: int | None = None,
    size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    **options: Any,
) -> nn.Module:
    """The network with random weights, in evaluation mode. options: see `Entry.choices`."""
    frames, size = check_shape(entry, frames, size)
    num_classes = entry.num_classes if num_classes is None else num_classes
    if num_classes < 1:
        raise UsageError("A network needs at least one class.", got=num_classes, hint="give the number of labels")
    in_channels = entry.preprocess.channels if in_channels is None else in_channels
    if in_channels < 1:
        raise UsageError("A frame needs at least one channel.", got=in_channels, hint="3 for color, 1 for gray")
    check_options(entry, options)
    require("torch")
    module, _, attribute = entry.build.partition(":")
    make = getattr(importlib.import_module(module), attribute)
    chosen = {**entry.options, **options}
    causal = chosen.pop("causal", "false") == "true"
    try:
        net = make(num_classes, frames, size, in_channels=in_channels, **chosen).eval()
    except (RuntimeError, MemoryError, OverflowError) as error:  # torch's own
        told = (str(error) or type(error).__name__).splitlines()[0]
        if isinstance(error, MemoryError | OverflowError) or _MEMORY.search(told):
            raise UsageError(
                "The network does not fit into memory.", where=entry.name, got=f"{num_classes} classes; {told}"
            ) from error  # fmt: skip
        raise UsageError(
            "The network cannot be made like this.", where=entry.name, got=told,
            expected=f"settings near those it was published with: {entry.frames} frames of {entry.size[0]}x{entry.size[1]}",
        ) from error  # fmt: skip
    if causal:
        from everyframe.models.causal import make_causal

        make_causal(net)
    return net
