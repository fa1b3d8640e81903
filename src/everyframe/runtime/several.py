"""Frames of several inputs, by name: made sure of, prepared, and put together to what a step takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from everyframe.errors import StateError
from everyframe.modelfile.interface import Input
from everyframe.video.arrays import fits
from everyframe.video.preprocess import normalize, prepare


class Several:
    """A frame is a dict of one array an input. A slower input has one with every `every`-th frame of the stream, from the first
    on; what has no frames is given once, and again where it changes.
    """

    def __init__(self, inputs: tuple[Input, ...]) -> None:
        self.inputs = inputs
        self._held: dict[str, np.ndarray] = {}

    def frame(self, given: Any, number: int) -> dict[str, np.ndarray]:
        """Frame `number` of the stream as the network takes it: (C, ...) float32 of each input that has one then. Raises
        StateError.
        """
        self._check_names(given)
        made = {}
        for taken in self.inputs:
            value = given.get(taken.name)
            if not taken.every:
                if value is not None:
                    self._held[taken.name] = self._prepared(taken, value)
                if taken.name not in self._held:
                    raise self._missing(taken, number, given)
            elif number % taken.every == 0:
                if value is None:
                    raise self._missing(taken, number, given)
                made[taken.name] = self._prepared(taken, value)
        return made

    def frames(self, given: Any, hop: int) -> list[dict[str, np.ndarray]]:
        """The frames of a step, (n, C, ...) of each input, n as many as it has in a step."""
        self._check_names(given)
        arrays = {name: np.asarray(value) for name, value in given.items() if value is not None}
        for taken in self.inputs:
            array, count = arrays.get(taken.name), hop // taken.every if taken.every else 1
            if array is not None and taken.every and (not array.ndim or len(array) != count):
                raise StateError(
                    "These are not the frames of one step.", where=taken.name, expected=f"{count} frames", got=array.shape
                )
        every = {taken.name: taken.every for taken in self.inputs}
        return [
            {
                name: array[i // every[name]] if every[name] else array
                for name, array in arrays.items()
                if not every[name] or i % every[name] == 0
            }
            for i in range(hop)
        ]

    def step(self, frames: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """What the network takes of the frames of a step."""
        made = {t.name: np.stack([f[t.name] for f in frames if t.name in f]) for t in self.inputs if t.every}
        return made | {name: value[None] for name, value in self._held.items()}

    def _prepared(self, taken: Input, value: Any) -> np.ndarray:
        array = np.asarray(value)
        if taken.preprocess is not None and array.dtype == np.uint8:
            array = normalize(prepare(array, taken.preprocess)[None], taken.preprocess)[0]
        elif not taken.every and array.ndim == len(taken.frame) + 1 and len(array) == 1:
            array = array[0]
        if not fits(array.shape, taken.frame) or array.dtype.kind not in "fiu":
            wanted = f"numbers {taken.frame}" + (", or uint8 (h, w, 3)" if taken.preprocess is not None else "")
            raise StateError(
                "The frames do not have the shape this stream takes.", where=taken.name, expected=wanted,
                got=f"{array.dtype} {array.shape}",
            )  # fmt: skip
        return array.astype(np.float32, copy=False)

    def _check_names(self, given: Any) -> None:
        names = [taken.name for taken in self.inputs]
        if not isinstance(given, Mapping) or set(given) - set(names):
            got = ", ".join(map(str, given)) if isinstance(given, Mapping) else type(given).__name__
            raise StateError(
                "This model takes several inputs.", expected=f"a dict with {', '.join(names)}", got=got,
                hint=f"stream.push({{{', '.join(f'{name!r}: ...' for name in names)}}})",
            )  # fmt: skip

    def _missing(self, taken: Input, number: int, given: Mapping[str, Any]) -> StateError:
        rate = f"every {taken.every} frames" if taken.every > 1 else "every frame"
        return StateError(
            "An input has no value.", where=f"{taken.name}, frame {number}",
            expected=f"{taken.frame} with {rate if taken.every else 'the first frame'}",
            got=", ".join(name for name, value in given.items() if value is not None) or "nothing",
        )  # fmt: skip
