"""Softmax and sigmoid written out of plain operators, as exporters and people do: known for what they are."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from everyframe.conversion.step import convert
from everyframe.modelfile.ending import ending, found
from handmade import model, tensor
from unit.test_outputs import CLASSES, POOLED, STEM, WEIGHTS, C, S, T, ends_in, net, said, video


def by_hand(*nodes: tuple[str, list[str], str], **numbers: float) -> onnx.ModelProto:
    """The raw answers, and what operators make of them. numbers: constants."""
    over = {op: {"axes": [1]} for op in ("ReduceL1", "ReduceLogSumExp")}
    made = [helper.make_node(op, given, [out], **over.get(op, {})) for op, given, out in nodes]
    given = [each for each in WEIGHTS if each.name in ("w", "line")] + [tensor(name, value) for name, value in numbers.items()]
    given += [tensor("classes", [1], np.int64)] if any("classes" in node.input for node in made) else []
    f32 = TensorProto.FLOAT
    return model(
        [*STEM, *POOLED, *made], {"clip": (f32, (1, C, T, S, S))}, {nodes[-1][2]: (f32, (1, CLASSES))}, given
    )  # fmt: skip


BY_HAND = {
    "exp by its sum": by_hand(
        ("Sub", ["raw", "shift"], "d"), ("Exp", ["d"], "e"), ("ReduceSum", ["e", "classes"], "s"), ("Div", ["e", "s"], "out"),
        shift=0.5,
    ),
    "exp times a reciprocal": by_hand(
        ("Exp", ["raw"], "e"), ("ReduceL1", ["e"], "s"), ("Reciprocal", ["s"], "i"), ("Mul", ["i", "e"], "out"),
    ),
    "exp less the logarithm of the sum": by_hand(
        ("ReduceLogSumExp", ["raw"], "l"), ("Sub", ["raw", "l"], "d"), ("Exp", ["d"], "out"),
    ),
    "the same step by step": by_hand(
        ("Exp", ["raw"], "e"), ("ReduceSum", ["e", "classes"], "s"), ("Log", ["s"], "l"), ("Sub", ["raw", "l"], "d"),
        ("Exp", ["d"], "out"),
    ),
    "exp of a logarithm": by_hand(("LogSoftmax", ["raw"], "l"), ("Exp", ["l"], "out")),
    "kept off 0 and 1": by_hand(("Softmax", ["raw"], "p"), ("Clip", ["p", "low", "high"], "out"), low=1e-7, high=1.0),
    "a mean of two": by_hand(
        ("Softmax", ["raw"], "p"), ("Mul", ["raw", "two"], "more"), ("Softmax", ["more"], "q"), ("Add", ["p", "q"], "a"),
        ("Mul", ["a", "half"], "out"), two=2.0, half=0.5,
    ),
    "weighed": by_hand(
        ("Softmax", ["raw"], "p"), ("Neg", ["raw"], "less"), ("Softmax", ["less"], "q"), ("Mul", ["p", "most"], "a"),
        ("Div", ["q", "four"], "b"), ("Sum", ["a", "b"], "out"), most=0.75, four=4.0,
    ),
}  # fmt: skip


def soft(logits: np.ndarray) -> np.ndarray:
    powers: np.ndarray = np.exp(logits.astype(np.float64))
    return powers / powers.sum()


#: of networks that are no plain softmax of the raw answers
OF_RAW = {
    "a mean of two": lambda raw: (soft(raw) + soft(2 * raw)) / 2,
    "weighed": lambda raw: 0.75 * soft(raw) + 0.25 * soft(-raw),
}


@pytest.mark.parametrize("way", BY_HAND)
def test_a_softmax_however_it_is_written_is_not_softmaxed_again(way: str) -> None:
    made = convert(BY_HAND[way])
    assert (made.metadata.task, made.metadata.scores) == ("classify", "probabilities")
    raw = said(ends_in("Identity"), video()).logits
    np.testing.assert_allclose(said(BY_HAND[way], video()).scores, OF_RAW.get(way, soft)(raw), atol=1e-5)


def test_a_sigmoid_by_hand_is_one() -> None:
    ways = (("Reciprocal", ["a"], "out"), ("Div", ["one", "a"], "out"))
    for way in ways:
        clip = by_hand(("Neg", ["raw"], "n"), ("Exp", ["n"], "e"), ("Add", ["e", "one"], "a"), way, one=1.0)
        answer = ending(clip, "out", None)
        assert (answer.task, answer.scores, answer.assumed) == ("multilabel", "probabilities", False)


def test_a_scaled_softmax_is_none() -> None:
    nodes = [*STEM, *POOLED, helper.make_node("Softmax", ["raw"], ["s"]), helper.make_node("Mul", ["s", "ten"], ["out"])]
    WEIGHTS.append(tensor("ten", 10.0))
    assert found(net(nodes, out=(1, CLASSES)), "out") is None
