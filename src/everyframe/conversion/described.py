"""What the metadata says of a network's inputs: the axes of a frame, and how pictures are made."""

from __future__ import annotations

from typing import Literal

from everyframe.conversion.builder import Builder
from everyframe.errors import UsageError
from everyframe.modelfile.schema import InputSpec, Metadata, Preprocess


def described(found: dict[str, str], builder: Builder, source: Metadata) -> tuple[InputSpec, ...]:
    """What the metadata says of the inputs; nothing of a single one that its `axes` and `preprocess` tell."""
    facts, made = builder.facts, []
    for name, layout in found.items():
        fact, shape = facts[name], builder.frame_shape(name)
        axes = "CHW" if {"H", "W"} <= set(layout) and len(shape) == 3 else "".join(x for x in layout if x not in "NT")
        pictures = axes == "CHW" and not fact.static and shape[0] in (1, 3)
        preprocess = source.preprocess if name == facts.clock else default_preprocess(shape, takes_bytes=False)
        made.append(
            InputSpec(
                name=builder.given[name], shape=tuple(builder.step_shape(name)), axes=axes,
                every=0 if fact.static else int(fact.every), preprocess=preprocess if pictures else None,
            )
        )  # fmt: skip
    told = len(made) == 1 and (made[0].axes != "CHW" or made[0].preprocess is not None)
    return () if told else tuple(made)


def frame_axes(layout: str) -> Literal["C", "CV", "CVM", "CHW"]:
    """Of one frame: a picture where the layout names height and width, else an array of as many axes."""
    letters = [letter for letter in layout if letter not in "NT"]
    if {"H", "W"} <= set(letters):
        return "CHW"
    kinds: dict[int, Literal["C", "CV", "CVM"]] = {1: "C", 2: "CV", 3: "CVM"}
    if len(letters) not in kinds:
        raise UsageError("--layout has too many axes.", expected="up to three beside N and T", got=layout)
    return kinds[len(letters)]


def default_preprocess(shape: tuple[int, ...], takes_bytes: bool) -> Preprocess:
    """For a network without metadata: resize to its input, scale to 0..1 (bytes stay 0..255); one channel means gray."""
    channels, *size = shape
    resize = (size[0], size[1]) if len(size) == 2 else None
    scale = 1.0 if takes_bytes else 1 / 255
    if channels == 1:
        return Preprocess(color="gray", resize=resize, scale=scale)
    return Preprocess(resize=resize, scale=scale)
