"""What a page needs to be taught: the network's features beside its scores, and the file that a new head goes into."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from everyframe.errors import ModelError
from everyframe.modelfile.file import attach
from everyframe.modelfile.schema import OutputSpec
from everyframe.quantization.videos import Model
from everyframe.teaching.cut import TAUGHT, Backbone, cut, with_head
from everyframe.teaching.head import Familiar, Head
from everyframe.teaching.learn import BACKGROUND
from everyframe.teaching.run import FEWEST

GRAPH = "teach.graph"


@dataclass(frozen=True, eq=False)
class Teachable:
    """model: with one more output, its features (1, F). graph: of the personal model to be, an ONNX GraphProto without the new
    head's weights and the output `logits`, which fields behind it bring. facts: what the page must know to add them.
    """

    model: Model
    graph: bytes
    facts: dict[str, Any]


def teachable(model: Model) -> Teachable:
    """Raises ModelError where a page cannot teach the model: it has no classifier to take off, or means stand behind it."""
    backbone = cut(model.model, model.metadata, model.where)
    nothing = np.zeros(backbone.width)
    familiar = Familiar(nothing, nothing + 1, nothing[None], 1.0)
    empty = Head(nothing[None], np.zeros(1), familiar)
    file = with_head(backbone, empty, backbone.metadata)
    graph = onnx.GraphProto()
    graph.CopyFrom(file.graph)
    _keep(graph.initializer, lambda tensor: not tensor.name.startswith(f"{TAUGHT}."))
    _keep(graph.output, lambda value: value.name != "logits")
    rest = onnx.ModelProto()
    rest.CopyFrom(file)
    rest.ClearField("graph")
    rest.ClearField("metadata_props")
    facts = {
        "onnx": base64.b64encode(rest.SerializeToString()).decode(),
        "metadata": json.loads(backbone.metadata.model_dump_json()),
        "sha256": model.metadata.provenance.weights_sha256 or "", "window": backbone.metadata.window,
        "width": backbone.width, "background": BACKGROUND, "fewest": FEWEST,
        "steep": familiar.steep,
    }  # fmt: skip
    return Teachable(_with_features(model, backbone), graph.SerializeToString(), facts)


def _with_features(model: Model, backbone: Backbone) -> Model:
    """The network as it is, and what a new classifier reads as an output; states that only features have come behind its own."""
    known = {node.output[0]: node for node in model.model.graph.node}
    fresh = [node for node in backbone.model.graph.node if node.output[0] not in known]
    same = all(list(known[node.output[0]].input) == list(node.input) for node in backbone.model.graph.node if node not in fresh)
    own = model.metadata.states
    more = tuple(state for state in backbone.metadata.states if state not in own)
    if not same or {state.input for state in more} & {state.input for state in own}:
        raise ModelError(
            "A page cannot teach this model.", where=f"{model.where}, behind {backbone.layer}",
            expected="a classifier that answers at once", got="means over time or space behind it",
            hint="teach it with `everyframe teach`, and bundle what that writes",
        )  # fmt: skip
    made, have = onnx.ModelProto(), {tensor.name for tensor in model.model.graph.initializer}
    made.CopyFrom(model.model)
    made.graph.node.extend(fresh)
    made.graph.initializer.extend(t for t in backbone.model.graph.initializer if t.name not in have)
    names = {s.input for s in more} | {s.output for s in more}
    for there, given in ((made.graph.input, backbone.model.graph.input), (made.graph.output, backbone.model.graph.output)):
        there.extend(value for value in given if value.name in names)
    shape = (1, backbone.width)
    made.graph.output.append(helper.make_tensor_value_info(backbone.features, onnx.TensorProto.FLOAT, shape))
    outputs = (OutputSpec(name=backbone.features, shape=shape),)
    metadata = model.metadata.model_copy(update={"outputs": outputs, "states": (*own, *more)})
    return Model(attach(made, metadata), metadata, model.interface, model.where)


def _keep(values: Any, wanted: Any) -> None:
    kept = [value for value in values if wanted(value)]
    del values[:]
    values.extend(kept)
