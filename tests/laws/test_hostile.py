"""Models made to harm, and models that are only broken: success or an error of ours, nothing else, before any work begins."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import everyframe
from everyframe.cli import main
from everyframe.conversion import convert, info, stream
from everyframe.conversion.rules import pointwise
from everyframe.errors import Defect, EveryframeError, UnsupportedOperator
from everyframe.modelfile.file import Held
from laws.natural import Draft
from laws.test_natural_state import last, loop, recurrent, running, scan

ODD = [0, -1, -8, 1, 2, 3, 5, 7, 65537, 10**8, 10**9, 2**31, 2**63 - 1, -(2**63)]


def plain(draft: Draft, x: str) -> str:
    """A temporal shift, a pool, a gate and a classifier."""
    zeros = draft.op("Pad", x, draft.ints(0, 0, 1, 0, 0, 0, 0, 0, 0, 0))
    shifted = draft.op("Slice", zeros, draft.ints(0), draft.ints(-1), draft.ints(2), draft.ints(1))
    x = draft.op("Concat", draft.op("Relu", x), shifted, axis=1)
    x = draft.op("MaxPool", x, kernel_shape=[2, 1, 1], strides=[2, 1, 1], pads=[0, 0, 0, 0, 0, 0])
    x = draft.op("Mul", x, draft.op("Sigmoid", draft.op("GlobalAveragePool", x)))
    x = draft.op("AveragePool", x, kernel_shape=[3, 1, 1], pads=[1, 0, 0, 1, 0, 0], count_include_pad=1)
    x = draft.op("Reshape", draft.op("GlobalAveragePool", x), draft.ints(1, 6))
    return draft.op("Gemm", x, draft.random(6, 4), draft.random(4))


SOUND: dict[str, Callable[[Draft, str], str]] = {
    "plain": plain,
    "lstm": lambda d, x: last(d, recurrent(d, x, "LSTM")),
    "gru": lambda d, x: recurrent(d, x, "GRU", positions=True),
    "sum": lambda d, x: running(d, x, mean="Div"),
    "scan": scan,
    "loop": loop,
}


def sound(name: str) -> onnx.ModelProto:
    draft = Draft(6)
    return draft.model(SOUND[name](draft, draft.conv("clip")))


def _attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice([n for n in model.graph.node if n.attribute])
    attribute = rng.choice(list(node.attribute))
    if attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(ODD)
    elif attribute.type == onnx.AttributeProto.INT:
        attribute.i = rng.choice(ODD)
    else:
        node.attribute.remove(attribute)


def _more_attributes(model: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(model.graph.node)
    name = rng.choice(["axis", "pads", "strides", "dilations", "kernel_shape", "group", "axes", "keepdims", "ceil_mode", "perm"])
    if all(a.name != name for a in node.attribute):
        value = rng.choice(ODD) if rng.random() < 0.5 else [rng.choice(ODD) for _ in range(rng.choice([1, 3, 6]))]
        node.attribute.append(helper.make_attribute(name, value))


def _dims(model: onnx.ModelProto, rng: random.Random) -> None:
    dims = rng.choice([*model.graph.input, *model.graph.output]).type.tensor_type.shape.dim
    if dims:
        rng.choice(dims).dim_value = rng.choice(ODD)


def _weight_shape(model: onnx.ModelProto, rng: random.Random) -> None:
    tensor = rng.choice(model.graph.initializer)
    if tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(ODD)
    else:
        tensor.dims.append(rng.choice(ODD))


def _weight_values(model: onnx.ModelProto, rng: random.Random) -> None:
    tensor = rng.choice(model.graph.initializer)
    array = numpy_helper.to_array(tensor).copy().reshape(-1)
    if array.size:
        odd = ODD if array.dtype == np.int64 else [np.nan, np.inf, 1e38]
        array[rng.randrange(array.size)] = rng.choice(odd)
        tensor.CopyFrom(numpy_helper.from_array(array.reshape(tuple(tensor.dims)), tensor.name))


def _wiring(model: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(model.graph.node)
    names = [o for n in model.graph.node for o in n.output] + [t.name for t in model.graph.initializer] + ["", "nowhere", "clip"]
    places = node.input if rng.random() < 0.7 else node.output
    if places:
        places[rng.randrange(len(places))] = rng.choice(names)


def _operator(model: onnx.ModelProto, rng: random.Random) -> None:
    kinds = [
        "Conv",
        "Relu",
        "Concat",
        "Slice",
        "Gather",
        "Transpose",
        "Split",
        "LSTM",
        "Scan",
        "CumSum",
        "Reshape",
        "Nonsense",
        "If",
    ]
    rng.choice(model.graph.node).op_type = rng.choice(kinds)


def _nodes(model: onnx.ModelProto, rng: random.Random) -> None:
    nodes = list(model.graph.node)
    at = rng.randrange(len(nodes))
    nodes[at : at + 1] = rng.choice([[], [nodes[at], nodes[at]]])
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _kind(model: onnx.ModelProto, rng: random.Random) -> None:
    kind = rng.choice([TensorProto.FLOAT16, TensorProto.INT64, TensorProto.STRING, TensorProto.UNDEFINED, 77])
    rng.choice([*model.graph.input, *model.graph.output]).type.tensor_type.elem_type = kind


def _opset(model: onnx.ModelProto, rng: random.Random) -> None:
    if rng.random() < 0.3:
        del model.opset_import[:]
    else:
        model.opset_import[0].version = rng.choice([*ODD, 9, 11, 13])


MUTATIONS = [
    _attribute, _attribute, _more_attributes, _dims, _weight_shape, _weight_values, _wiring, _wiring, _operator, _nodes, _kind,
    _opset,
]  # fmt: skip


def mutants(whole: onnx.ModelProto, count: int) -> Iterator[tuple[int, onnx.ModelProto]]:
    for seed in range(count):
        rng, model = random.Random(seed), onnx.ModelProto()
        model.CopyFrom(whole)
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            with contextlib.suppress(ValueError, TypeError):  # a number that does not fit the field it is meant for
                rng.choice(MUTATIONS)(model, rng)
        yield seed, model


@pytest.mark.parametrize("name", list(SOUND))
def test_a_sound_model_is_streamed(name: str) -> None:
    stream(Held(sound(name)), None)


@pytest.mark.parametrize("name", list(SOUND))
def test_a_broken_model_is_streamed_or_refused(name: str) -> None:
    _told(sound(name), 60, {"stream": lambda m: stream(Held(m), None), "info": lambda m: info(Held(m))})


@pytest.mark.parametrize("name", ["plain", "lstm"])
def test_a_broken_step_model_is_worked_with_or_refused(name: str) -> None:
    verbs = {
        "check": lambda m: everyframe.check(m, "native"),
        "split": everyframe.split,
        "open": lambda m: everyframe.open(m, engine="ort"),
        "info": everyframe.info,
    }
    _told(convert(sound(name)).step, 40, verbs)


def _told(whole: onnx.ModelProto, count: int, verbs: dict[str, Callable[[onnx.ModelProto], object]]) -> None:
    """Each verb succeeds with each mutant, or says what is wrong."""
    for seed, model in mutants(whole, count):
        for verb, run in verbs.items():
            try:
                run(model)
            except EveryframeError:
                pass
            except Exception as error:
                raise AssertionError(f"{verb} of mutant {seed}: {type(error).__name__}: {error}") from error


SAMPLE = str(Path(main.__file__).parents[1] / "assets" / "sample.mp4")
VERBS = {
    "predict": ("MODEL", SAMPLE),
    "stream": ("MODEL", "-o", "step.onnx"),
    "info": ("MODEL",),
    "compile": ("MODEL", "-o", "step.c"),
    "check": ("MODEL", "--target", "native"),
    "quantize": ("MODEL", "--calibrate", SAMPLE),
    "split": ("MODEL", "-o", "parts"),
    "bundle": ("MODEL", "--target", "rdk-s100", "--calibrate", SAMPLE, "-o", "s100"),
    "evaluate": ("MODEL", "--data", "data"),
    "teach": ("MODEL", "--examples", "data", "--background", SAMPLE),
}


def clip(frames: int = 8, size: int = 16, weight: float = 1.0, **conv: object) -> onnx.ModelProto:
    info = helper.make_tensor_value_info
    attrs: dict[str, object] = {"pads": [1] * 6, **conv}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv", **attrs),
        helper.make_node("GlobalAveragePool", ["a"], ["y"]),
    ]
    weights = [numpy_helper.from_array(np.full((4, 3, 3, 3, 3), weight, np.float32), "w")]
    ends = [info("x", TensorProto.FLOAT, [1, 3, frames, size, size])], [info("y", TensorProto.FLOAT, None)]
    return helper.make_model(
        helper.make_graph(nodes, "clip", *ends, weights), opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )


def circle() -> onnx.ModelProto:
    model = clip()
    model.graph.node[1].input[0] = "c"
    nodes = [helper.make_node("Add", ["a", "c"], ["b"], name="add"), helper.make_node("Relu", ["b"], ["c"], name="relu")]
    model.graph.node.extend(nodes)
    return model


def functions(calls: list[list[str]]) -> onnx.ModelProto:
    """Functions F0, F1, ... that use these operators, one after another; the network uses the first."""
    opsets = [helper.make_opsetid("mine", 1), helper.make_opsetid("", 17)]
    made = []
    for number, used in enumerate(calls):
        names = [f"t{i}" for i in range(len(used) + 1)]
        nodes = [
            helper.make_node(op, [a], [b], domain="mine" * op.startswith("F"))
            for op, a, b in zip(used, names, names[1:], strict=False)
        ]
        made.append(helper.make_function("mine", f"F{number}", names[:1], names[-1:], nodes, opsets))
    model = clip()
    model.graph.node[1].CopyFrom(helper.make_node("F0", ["a"], ["y"], domain="mine", name="used"))
    model.opset_import.append(opsets[0])
    model.functions.extend(made)
    return model


def doubled(what: str) -> onnx.ModelProto:
    """An attribute or a weight tensor that is there twice."""
    model = clip()
    if what == "attribute":
        model.graph.node[0].attribute.append(helper.make_attribute("pads", "twice"))
    else:
        model.graph.initializer.append(model.graph.initializer[0])
    return model


#: what is wrong -> (the model, what the error names)
HOSTILE = {
    "dilation": (clip(dilations=[10**9, 1, 1]), "node 'conv'"),
    "pads": (clip(pads=[10**8] * 6), "node 'conv'"),
    "stride": (clip(strides=[0, 1, 1]), "node 'conv'"),
    "kernel": (clip(kernel_shape=[2**40, 3, 3]), "node 'conv'"),
    "dims": (clip(frames=-8), "input 'x'"),
    "picture": (clip(size=100_000), "input 'x'"),
    "nan": (clip(weight=np.nan), "tensor w"),
    "circle": (circle(), "node 'relu'"),
    "function": (functions([["F1"], ["F0"]]), "uses itself"),
    "functions": (functions([*([f"F{n}"] * 2 for n in range(1, 41)), ["Relu"]]), "nodes"),
    "attribute": (doubled("attribute"), "pads is given twice"),
    "kind": (clip(pads="wide"), "pads is STRING"),
    "weight": (doubled("weight"), "tensor 'w'"),
    "result": (clip(pads=[0, 30_000, 30_000, 0, 30_000, 30_000]), "node 'conv'"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_begins_to_work_on_a_hostile_model(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data" / "wave"
    folder.mkdir(parents=True)
    for name in ("a.mp4", "b.mp4"):  # not the same file twice
        (folder / name).write_bytes(Path(SAMPLE).read_bytes() + name.encode())
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for wrong, (model, named) in HOSTILE.items():
        path = tmp_path / f"{wrong}.onnx"
        path.write_bytes(model.SerializeToString())
        with pytest.raises(SystemExit) as ended:
            main.run([verb, *(path.name if word == "MODEL" else word for word in VERBS[verb])])
        err = capsys.readouterr().err
        assert (ended.value.code, err[:7]) == (2, "error: "), err
        assert named in err, err
        path.unlink()
        assert sorted(tmp_path.rglob("*")) == before, "nothing half-written is left"


def test_what_would_have_to_be_remembered_is_bounded() -> None:
    far = clip(dilations=[40_000, 1, 1], pads=[40_000, 1, 1, 40_000, 1, 1])
    with pytest.raises(EveryframeError, match="reaches too far in time"):
        stream(Held(far), None, taps="all")


def test_a_fault_of_our_own_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What our code raises by mistake is a Defect with node and place; what numpy raises about a network's numbers is not."""
    with monkeypatch.context() as patch:
        patch.delitem(pointwise.NONNEGATIVE, "Relu")
        with pytest.raises(Defect) as caught:
            convert(sound("plain"))
    assert isinstance(caught.value.__cause__, KeyError)
    for words in ("everyframe itself failed", "Relu", "KeyError", "conversion/rules/pointwise.py, line", "report"):
        assert words in str(caught.value)
    with monkeypatch.context() as patch:
        patch.setitem(pointwise.NONNEGATIVE, "Relu", lambda *_: bool(np.zeros(3).reshape(2, 2)))
        with pytest.raises(UnsupportedOperator, match="This use of Relu cannot be followed") as refused:
            convert(sound("plain"))
    assert isinstance(refused.value.__cause__, ValueError)


def test_weights_that_are_inputs_are_constants() -> None:
    """As exporters wrote them before IR version 4 (opsets 7 and 8)."""
    old, new = sound("plain"), sound("plain")
    old.ir_version = 3
    old.graph.input.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in old.graph.initializer
    )
    one, other = convert(old), convert(new)
    assert [node.op_type for node in one.step.graph.node] == [node.op_type for node in other.step.graph.node]


def test_bounds_are_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from everyframe.conversion import step
    from everyframe.modelfile import file

    calls: list[object] = []
    for module in (step, file):
        check = module.check_bounds
        monkeypatch.setattr(module, "check_bounds", lambda model, where, check=check: (calls.append(where), check(model, where)))
    stream(Held(sound("plain")), None)
    assert len(calls) == 1
