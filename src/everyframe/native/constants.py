"""Nodes that depend on no input, computed by ONNX's reference while code is generated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx.reference

from everyframe.modelfile.graph import Node
from everyframe.native.tracer import unsupported

#: what is different every time
_RANDOM = frozenset({"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"})


def computed(node: Node, given: Sequence[Any], opset: int) -> list[np.ndarray]:
    """The outputs of a node. given: arrays, None where an input is not given. Raises UnsupportedOperator."""
    if node.op in _RANDOM or (node.op == "Dropout" and len(given) > 2 and given[2] is not None and given[2].any()):
        raise unsupported(node, "It is random.")
    names = [f"x{i}" if value is not None else "" for i, value in enumerate(given)]
    try:
        proto = onnx.helper.make_node(
            node.op, names, [f"y{i}" if name else "" for i, name in enumerate(node.outputs)], **node.attrs
        )
        evaluator = onnx.reference.ReferenceEvaluator(proto, opsets={"": opset})
        with np.errstate(all="ignore"):
            results: Any = evaluator.run(None, {name: v for name, v in zip(names, given, strict=True) if name})
    except Exception as error:  # whatever a foreign evaluator raises
        raise unsupported(node, "ONNX's reference cannot compute this constant.", got=error) from None
    if not all(isinstance(value, np.ndarray | np.generic) for value in results):
        raise unsupported(node, "A constant is no tensor.")
    return [np.asarray(value) for value in results]
