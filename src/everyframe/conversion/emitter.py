"""Collects the nodes and constants of an ONNX graph under unique names. Knows nothing about time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Literal, overload

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Emitter:
    """reserved: names of the graph's own inputs and outputs, which no node may take."""

    def __init__(self, reserved: tuple[str, ...] = ()) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: dict[str, np.ndarray] = {}
        self._made: dict[tuple[object, ...], str] = {}  # what was emitted before, by meaning
        self._names: set[str] = set(reserved)

    def _unique(self, name: str, *suffixes: str) -> str:
        """A name that is still free, also with each of the suffixes that it will be used with."""
        made, n = name, 1
        while any(made + suffix in self._names for suffix in ("", *suffixes)):
            n += 1
            made = f"{name}#{n}"
        self._names.update(made + suffix for suffix in ("", *suffixes))
        return made

    @overload
    def emit(self, op: str, inputs: list[str], name: str, outputs: Literal[1] = 1, **attrs: Any) -> str: ...

    @overload
    def emit(self, op: str, inputs: list[str], name: str, outputs: int, **attrs: Any) -> list[str]: ...

    def emit(self, op: str, inputs: list[str], name: str, outputs: int = 1, **attrs: Any) -> str | list[str]:
        """Adds a node; returns its output's name (a list for several outputs)."""
        suffixes = [f".{i}" for i in range(outputs)] if outputs > 1 else [""]
        name = self._unique(name, *suffixes)
        made = [name + suffix for suffix in suffixes]
        attrs = {key: value for key, value in attrs.items() if value is not None}
        self.nodes.append(helper.make_node(op, inputs, made, name=name, **attrs))
        return made[0] if outputs == 1 else made

    def made_by(self, tensor: str) -> str:
        """Operator that makes a tensor; '' for inputs and constants."""
        return next((node.op_type for node in self.nodes if tensor in node.output), "")

    def const(self, array: np.ndarray | np.generic, name: str) -> str:
        """Equal weights are one constant: of a network that looks at several pictures with the same weights.

        Matrices, kernels and vectors of floats that vary are weights. All else (numbers, shapes, axes, vectors of one value) is
        small, equal by chance more often than by meaning, and has a name that says what it is for.
        """
        array = np.asarray(array)
        if array.ndim > 1 or (array.size > 1 and array.dtype == np.float32 and np.ptp(array)):
            digest = hashlib.sha256(array.tobytes()).digest()
            return self._once((array.dtype.str, array.shape, digest), lambda: self._const(array, name))
        return self._const(array, name)

    def _const(self, array: np.ndarray, name: str) -> str:
        name = self._unique(name)
        self.arrays[name] = array
        return name

    def ints(self, values: list[int]) -> str:
        return self._once(("ints", *values), lambda: self.const(np.array(values, np.int64), "ints." + "_".join(map(str, values))))

    def scalar(self, value: float) -> str:
        return self._once(("scalar", value), lambda: self.const(np.float32(value), f"scalar.{value:g}"))

    def _once(self, key: tuple[object, ...], make: Callable[[], str]) -> str:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def publish(self, outputs: dict[str, str]) -> dict[str, str]:
        """Gives tensors their output names: by renaming where a node makes the tensor, by Identity where that is not enough.

        Returns {old name: new name}."""
        made = {name for node in self.nodes for name in node.output}
        renamed: dict[str, str] = {}
        for public, tensor in outputs.items():
            if tensor in made and tensor not in renamed:
                renamed[tensor] = public
            else:
                self.nodes.append(helper.make_node("Identity", [tensor], [public], name=public))
        for node in self.nodes:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    names[i] = renamed.get(name, name)
        return renamed

    def needed(self, outputs: set[str]) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        """(nodes, constants) that the outputs depend on, in order."""
        kept: list[onnx.NodeProto] = []
        wanted = set(outputs)
        for node in reversed(self.nodes):
            if wanted & set(node.output):
                kept.append(node)
                wanted |= set(node.input)
        arrays = {name: array for name, array in self.arrays.items() if name in wanted}
        return kept[::-1], [numpy_helper.from_array(np.asarray(array, order="C"), name) for name, array in arrays.items()]
