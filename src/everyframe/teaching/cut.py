"""A step network without its classifier: what it was computed from becomes the output; later another head takes its place.

The classifier is the last layer with weights on the way to the logits. Behind it may stand what step networks do over time
and space (the ring of a head that averages logits, as TSM's; a pool, as SqueezeNet's): that is kept, and carries features
instead of logits. An activation or a bias of its own goes with the classifier. In a step network axis 0 is frames and axis
1 channels, so only sizes of axis 1 change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from everyframe import modelfile
from everyframe.errors import ConversionMismatch, ModelError
from everyframe.modelfile.graph import static_shapes
from everyframe.modelfile.interface import check_pictures, interface, one_kind
from everyframe.modelfile.schema import FeatureSpec, Metadata, StateSpec
from everyframe.modelfile.walk import Walk
from everyframe.teaching.beside import longer, means
from everyframe.teaching.head import Familiar, Head

FEATURES = "features"
#: the layer of a taught head
TAUGHT = "taught"
_LAYERS = frozenset({"Conv", "Gemm", "MatMul"})
_ACTIVATIONS = frozenset({"Relu", "Sigmoid", "HardSigmoid", "Tanh", "Clip", "Softmax", "LogSoftmax", "LeakyRelu", "Elu"})
_KEPT = frozenset(
    {"Concat", "Slice", "Sum", "Add", "Mul", "Where", "MatMul", "Identity", "Reshape"}
    | {"ReduceMean", "GlobalAveragePool", "AveragePool", "Squeeze", "Flatten"}
)
#: what a taught head answers
_PLAIN = {"task": "classify", "scores": "logits", "outputs": ()}
_BETWEEN = frozenset({"Add", "Sub", "Mul", "Div"})


@dataclass(frozen=True, eq=False)
class Backbone:
    """model: a step network with outputs `features` (1, width) and its states. metadata: of that network, without labels
    and events. layer: the classifier that was cut. means: of which wires the features are, where not of what that one read.
    """

    model: onnx.ModelProto
    metadata: Metadata
    features: str
    width: int
    layer: str
    means: tuple[FeatureSpec, ...] = ()


def cut(given: onnx.ModelProto, metadata: Metadata, where: object) -> Backbone:
    """Raises ModelError naming the nodes where no classifier can be found or cut."""
    taken = one_kind(interface(given, metadata, where), where, "only one with a single one can be taught")
    check_pictures(taken, where)
    logits = taken.logits
    model = onnx.ModelProto()
    model.CopyFrom(given)
    graph, shapes = model.graph, static_shapes(model)
    layer = _classifier(graph, logits, where)
    old, new = _sizes(layer, shapes, where)

    renamed = {layer.output[0]: layer.input[0]}  # tensors that are gone -> what stands there instead
    behind, wider = _behind(graph, layer, metadata)
    nodes = []
    for node in graph.node:
        if node is layer:
            continue
        goes = node.name in behind and (node.op_type in _ACTIVATIONS or _of_each_class(node, shapes, behind[node.name], old))
        if goes:
            renamed[node.output[0]] = renamed.get(behind[node.name], behind[node.name])
            continue
        if node.name in behind:
            _widen(node, graph, old, new, where)
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
        nodes.append(node)

    states = tuple(s.model_copy(update={"shape": _wide(s.shape, old, new)}) if s.input in wider else s for s in metadata.states)
    for state in states:  # a state may have repeated what is gone
        if state.output in renamed:
            nodes.append(helper.make_node("Identity", [renamed[state.output]], [state.output], f"{state.output}::kept"))
    output, shape = renamed.get(logits, FEATURES), _wide(shapes[logits], old, new)
    for node in nodes:  # what made the logits makes the features
        node.input[:] = [FEATURES if name == logits else name for name in node.input]
        node.output[:] = [FEATURES if name == logits else name for name in node.output]
    constants, width = list(graph.initializer), prod(shape)
    found = means(metadata, {name: shapes[name] for node in nodes for name in node.output if name in shapes}, _opset(model))
    if found is not None:
        nodes, constants = [*nodes, *found.nodes], [*constants, *found.constants]
        output, width, states = found.output, found.width, _read((*states, *found.states), found.output, nodes)
    elif len(shape) != 2:
        constants.append(numpy_helper.from_array(np.array([1, width], np.int64), "features.shape"))
        nodes.append(helper.make_node("Reshape", [output, "features.shape"], ["features.flat"], "features.flat"))
        output = "features.flat"
    made = _model(model, nodes, constants, output, width, states)
    bare = longer(metadata, found).model_copy(update={"states": states, "labels": None, "events": None, **_PLAIN})
    used = metadata.features if found is not None else ()
    return Backbone(modelfile.attach(made, bare), bare, output, width, layer.name or layer.output[0], used)


def pooled(given: onnx.ModelProto, metadata: Metadata, where: object) -> Backbone:
    """A clip network that gives what its classifier sees, (1, width), averaged over places and time. Raises ModelError."""
    taken = one_kind(interface(given, metadata, where), where, "only one with a single one has features of clips")
    model = onnx.ModelProto()
    model.CopyFrom(given)
    layer, shapes = _classifier(model.graph, taken.logits, where), static_shapes(model)
    seen = layer.input[0]
    channels = 1 if layer.op_type == "Conv" else len(shapes[seen]) - 1
    axes, width = [axis for axis in range(len(shapes[seen])) if axis != channels], shapes[seen][channels]
    mean = helper.make_node("ReduceMean", [seen], [f"{FEATURES}.mean"], f"{FEATURES}.mean", keepdims=0)
    constants = [numpy_helper.from_array(np.array([1, width], np.int64), f"{FEATURES}.shape")]
    if _opset(model) < 18:
        mean.attribute.append(helper.make_attribute("axes", axes))
    else:
        mean.input.append(f"{FEATURES}.axes")
        constants.append(numpy_helper.from_array(np.array(axes, np.int64), f"{FEATURES}.axes"))
    flat = helper.make_node("Reshape", [mean.output[0], f"{FEATURES}.shape"], [FEATURES], FEATURES)
    made = _model(model, [*model.graph.node, mean, flat], [*model.graph.initializer, *constants], FEATURES, width, ())
    bare = metadata.model_copy(update={"labels": None, "events": None, "temperature": 1.0, **_PLAIN, "task": "regress"})
    return Backbone(modelfile.attach(made, bare), bare, FEATURES, width, layer.name or layer.output[0])


def with_head(backbone: Backbone, head: Head, metadata: Metadata) -> onnx.ModelProto:
    """The backbone with a new classifier in the old one's place; labels, events and provenance are those of `metadata`."""
    plain = "logits" if head.familiar is None else f"{TAUGHT}.plain"
    layer = helper.make_node("Gemm", [backbone.features, f"{TAUGHT}.weight", f"{TAUGHT}.bias"], [plain], TAUGHT, transB=1)
    nodes, weights = [layer], {"weight": head.weight, "bias": head.bias}
    if head.familiar is not None:
        more, constants = _rejection(head.familiar, backbone.features, plain, len(head.bias))
        nodes, weights = [*nodes, *more], weights | constants
    tensors = [numpy_helper.from_array(np.asarray(value, np.float32), f"{TAUGHT}.{name}") for name, value in weights.items()]
    graph = backbone.model.graph
    made = _model(
        backbone.model, [*graph.node, *nodes], [*graph.initializer, *tensors], "logits", len(head.bias), metadata.states
    )
    return modelfile.attach(made, metadata)


def _rejection(familiar: Familiar, features: str, plain: str, classes: int) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """`Familiar.beyond` of (1, F), added to the background's logit: |z - m|^2 = |z|^2 - 2 z m + |m|^2. Without axes to reduce,
    so that it is the same in every opset.
    """
    scale = 1 / familiar.spread / np.sqrt(len(familiar.center))
    constants = {
        "scale": scale[None], "center": (familiar.center * scale)[None], "ones": np.ones((len(scale), len(familiar.means))),
        "means": -2 * familiar.means, "squares": np.square(familiar.means).sum(1),
        "slope": np.full((1, 1), familiar.steep / familiar.limit), "steep": np.full((1, 1), familiar.steep),
        "background": np.eye(1, classes),
    }  # fmt: skip
    parts = (
        ("Mul", (features, "scale"), "scaled"), ("Sub", ("scaled", "center"), "z"), ("Mul", ("z", "z"), "zz"),
        ("MatMul", ("zz", "ones"), "square"), ("Gemm", ("z", "means", "squares"), "cross"),
        ("Add", ("cross", "square"), "distances"), ("ReduceMin", ("distances",), "distance"),
        ("Mul", ("distance", "slope"), "sloped"), ("Sub", ("sloped", "steep"), "over"), ("Relu", ("over",), "beyond"),
        ("Mul", ("beyond", "background"), "raised"),
    )  # fmt: skip
    own = {features: features}
    nodes = []
    for op, inputs, output in parts:
        names = [own.get(name, f"{TAUGHT}.{name}") for name in inputs]
        nodes.append(helper.make_node(op, names, [f"{TAUGHT}.{output}"], f"{TAUGHT}.{output}"))
        if op == "Gemm":
            nodes[-1].attribute.append(helper.make_attribute("transB", 1))
    return [*nodes, helper.make_node("Add", [plain, f"{TAUGHT}.raised"], ["logits"], f"{TAUGHT}.logits")], constants


def check(taught: onnx.ModelProto, backbone: Backbone, head: Head, steps: int = 24) -> float:
    """Largest relative difference between the taught model's logits and the head on the backbone's features, over a random
    stream. Raises ConversionMismatch beyond 1e-4.
    """
    frames = next(v for v in taught.graph.input if v.name not in {s.input for s in backbone.metadata.states})
    shape = [d.dim_value or 64 for d in frames.type.tensor_type.shape.dim]
    rng = np.random.default_rng(0)
    one, other = (Walk(model, states=backbone.metadata.states) for model in (taught, backbone.model))
    worst = 0.0
    for _ in range(steps):
        new = rng.standard_normal(shape).astype(np.float32)
        if frames.type.tensor_type.elem_type == TensorProto.UINT8:
            new = rng.integers(0, 256, shape, np.uint8)
        found, features = one.step(new)["logits"], other.step(new)[backbone.features]
        expected = head.logits(features.astype(np.float64))
        worst = max(worst, float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-6)))
    if not worst <= 1e-4:
        raise ConversionMismatch(
            "The taught model does not say what its head says, so nothing was written.",
            where=f"the layer in place of {backbone.layer}", expected="a relative difference up to 1e-04", got=f"{worst:.1e}",
            hint="please report it with the model",
        )  # fmt: skip
    return worst


def _read(states: Sequence[StateSpec], output: str, nodes: Sequence[onnx.NodeProto]) -> tuple[StateSpec, ...]:
    """Without those that only the old classifier read."""
    made_by = {name: node for node in nodes for name in node.output}
    after = {state.input: state.output for state in states}
    seen: set[str] = set()
    queue = [output]
    while queue:
        if (name := queue.pop()) not in seen:
            seen.add(name)
            queue += [*(made_by[name].input if name in made_by else ()), *([after[name]] if name in after else ())]
    return tuple(state for state in states if state.input in seen)


def _opset(model: onnx.ModelProto) -> int:
    return next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))


def _classifier(graph: onnx.GraphProto, logits: str, where: object) -> onnx.NodeProto:
    """The one layer with weights through which everything on the way to the logits comes."""
    made_by = {name: node for node in graph.node for name in node.output}
    computed = {v.name for v in graph.input} - {t.name for t in graph.initializer}
    for node in graph.node:
        if computed & set(node.input):
            computed |= set(node.output)
    found: dict[str, onnx.NodeProto] = {}
    seen, queue = {logits}, [logits]
    while queue:
        node = made_by.get(queue.pop())
        if node is None:
            continue
        if node.op_type in _LAYERS and node.input[1] not in computed:
            found[node.output[0]] = node
            continue
        fresh = set(node.input) & computed - seen
        seen |= fresh
        queue += sorted(fresh)
    if taught := [node for node in found.values() if node.name == TAUGHT]:  # its rejection has weights too
        return taught[0]
    if len(found) != 1:
        last = made_by[logits]
        raise ModelError(
            "The model's classifier cannot be found.", where=where,
            expected="one Conv, Gemm or MatMul with weights through which everything comes to the logits",
            got=", ".join(f"{n.name or n.output[0]} ({n.op_type})" for n in found.values())
            or f"none; the last node is {last.name or last.output[0]} ({last.op_type})",
            hint="give a network that ends with one linear layer",
        )  # fmt: skip
    return next(iter(found.values()))


def _sizes(layer: onnx.NodeProto, shapes: dict[str, tuple[int, ...]], where: object) -> tuple[int, int]:
    """Channels behind and in front of the classifier."""
    before, after = shapes[layer.input[0]], shapes[layer.output[0]]
    kernel = next((list(a.ints) for a in layer.attribute if a.name == "kernel_shape"), [1])
    if set(kernel) != {1} or len(before) not in (2, 4) or (before[0], *before[2:]) != (after[0], *after[2:]):
        raise ModelError(
            "The layer before the logits is not a classifier of features.",
            where=f"{where}, node {layer.name or layer.output[0]}",
            expected="a linear layer, or a convolution of 1x1", got=f"{layer.op_type} from {before} to {after}",
            hint="give a network that ends with a linear layer",
        )  # fmt: skip
    return after[1], before[1]


def _behind(graph: onnx.GraphProto, layer: onnx.NodeProto, metadata: Metadata) -> tuple[dict[str, str], set[str]]:
    """Nodes that read something made of the classifier's output, in this step or a later one, with the input that does so;
    and the inputs of the states that hold it.
    """
    for i, node in enumerate(graph.node):
        node.name = node.name or f"{node.op_type}_{i}"
    wide, behind, before = {layer.output[0]}, dict[str, str](), -1
    while len(wide) != before:
        before = len(wide)
        for node in graph.node:
            if node.name != layer.name and (touched := [name for name in node.input if name in wide]):
                behind[node.name] = touched[0]
                wide |= set(node.output)
        wide |= {s.input for s in metadata.states if s.output in wide}
    return behind, wide & {s.input for s in metadata.states}


def _of_each_class(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]], data: str, classes: int) -> bool:
    """A bias or scale of its own for each class."""
    others = [shapes.get(name, ()) for name in node.input if name != data]
    return node.op_type in _BETWEEN and classes > 1 and any(prod(shape) == classes for shape in others)


def _widen(node: onnx.NodeProto, graph: onnx.GraphProto, old: int, new: int, where: object) -> None:
    """Makes a node behind the classifier carry `new` channels instead of `old`."""
    target = None
    if node.op_type == "Reshape":
        tensor = next((t for t in graph.initializer if t.name == node.input[1]), None)
        target = None if tensor is None else numpy_helper.to_array(tensor)
    if node.op_type not in _KEPT or (node.op_type == "Reshape" and (target is None or len(target) < 2)):
        raise ModelError(
            "What stands behind the model's classifier cannot carry features.", where=f"{where}, node {node.name}",
            expected="means over time and space, and activations", got=node.op_type,
            hint="give a network that ends with a linear layer",
        )  # fmt: skip
    if target is not None:
        wide = numpy_helper.from_array(np.array(_wide(tuple(target.tolist()), old, new), np.int64), f"{node.name}.wide")
        graph.initializer.append(wide)
        node.input[1] = wide.name


def _wide(shape: tuple[int, ...], old: int, new: int) -> tuple[int, ...]:
    return (shape[0], shape[1] * new // old if shape[1] > 0 else shape[1], *shape[2:])


def _model(
    like: onnx.ModelProto, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], output: str, width: int,
    states: tuple[StateSpec, ...],
) -> onnx.ModelProto:  # fmt: skip
    """A step model of these nodes, what nobody needs left out; its first output is (1, width)."""
    made = {name for node in nodes for name in node.output}
    given = [s for s in states if s.copy_of is None or s.output in made]
    wanted, kept = {output, *(s.output for s in given)}, []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    types = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "int64": TensorProto.INT64}
    info = helper.make_tensor_value_info
    own = {s.input for s in states} | {t.name for t in constants}
    graph = helper.make_graph(
        kept[::-1], "step",
        [v for v in like.graph.input if v.name in wanted - own] + [info(s.input, types[s.dtype], list(s.shape)) for s in states],
        [info(output, TensorProto.FLOAT, [1, width])] + [info(s.output, types[s.dtype], list(s.shape)) for s in given],
    )  # fmt: skip
    graph.initializer.extend(t for t in constants if t.name in wanted)
    model = helper.make_model(graph, opset_imports=like.opset_import, ir_version=like.ir_version, producer_name="everyframe")
    onnx.checker.check_model(model, full_check=True)
    return model
