"""Blocks as published networks are exported: each is an idiom of several operators, and streams as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from everyframe.conversion.step import stream
from everyframe.modelfile.file import Held
from laws.drafts import C, Draft, S, T

BLOCKS: dict[str, tuple[Callable[[Draft], Any], tuple[int, ...], str]] = {}


def block(layout: str = "NCTHW", *shape: int) -> Callable[[Callable[[Draft], Any]], Callable[[Draft], Any]]:
    def add(row: Callable[[Draft], Any]) -> Callable[[Draft], Any]:
        sizes = {"N": 1, "C": C, "T": T, "H": S, "W": S}
        BLOCKS[row.__name__] = (row, shape or tuple(sizes[letter] for letter in layout), layout)
        return row

    return add


@block("TCHW")
def tsm_as_in_mmaction(d: Draft) -> None:
    """Shift by slices, zeros by subtraction, time in the batch."""
    x = d.op("Reshape", "clip", d.ints(1, T, C, S * S))
    left, right = (d.op("Slice", x, d.ints(c), d.ints(c + 1), d.ints(2)) for c in range(2))
    first, rest, begin = (
        d.op("Slice", y, d.ints(a), d.ints(b), d.ints(1)) for y, a, b in ((left, 0, 1), (left, 1, T), (right, 0, T - 1))
    )
    left = d.op("Concat", rest, d.op("Sub", first, first), axis=1)
    right = d.op("Concat", d.op("Mul", d.op("Slice", right, d.ints(0), d.ints(1), d.ints(1)), d.const(0.0)), begin, axis=1)
    x = d.op("Reshape", d.op("Concat", left, right, axis=2), d.ints(T, C, S, S))
    x = d.mean(d.op("Conv", x, d.random(3, C, 3, 3)), 2, 3)
    d.mean(d.op("Reshape", x, d.ints(1, T, 3)), 1, keep=False)


@block("NCTVM", 1, 3, T, 5, 2)
def st_gcn(d: Draft) -> None:
    x = d.op("Reshape", d.op("Transpose", "clip", perm=[0, 4, 3, 1, 2]), d.ints(1, 30, T))
    x = d.op("BatchNormalization", x, *(d.const(np.linspace(1, 2, 30)) for _ in range(4)))
    x = d.op("Transpose", d.op("Reshape", x, d.ints(1, 2, 5, 3, T)), perm=[0, 1, 3, 4, 2])
    x = d.op("Conv", d.op("Reshape", x, d.ints(2, 3, T, 5)), d.random(4, 3, 1, 1))
    x = d.op("Einsum", d.op("Reshape", x, d.ints(2, 2, 2, T, 5)), d.random(2, 5, 5), equation="nkctv,kvw->nctw")
    x = d.op("GlobalAveragePool", d.op("Conv", x, d.random(4, 2, 9, 1), pads=[4, 0, 4, 0]))
    x = d.op("ReduceMean", d.op("Reshape", x, d.ints(1, 2, 4, 1, 1)), d.ints(1), keepdims=0)
    d.op("Reshape", d.op("Conv", x, d.random(3, 4, 1, 1)), d.ints(1, 3))


@block()
def a_picture_and_its_mirror(d: Draft) -> None:
    """One convolution with one BatchNorm for both, and once with another: two kernels lie in the file."""
    weight, (norm, other) = d.random(4, C, 1, 3, 3), ([d.const(np.linspace(a, 2, 4)) for a in (1, 1.2, 0.3, 1.5)] for _ in "ab")
    other[0] = d.const(np.linspace(3, 1, 4))
    back = d.op("Slice", "clip", d.ints(-1), d.ints(-(2**31)), d.ints(4), d.ints(-1))
    looks = [
        d.op("BatchNormalization", d.op("Conv", x, weight), *one) for x, one in (("clip", norm), (back, norm), ("clip", other))
    ]
    d.mean(d.op("Concat", *looks, axis=1), 2, 3, 4, keep=False)


@block()
def non_local_in_a_frame(d: Draft) -> None:
    x = d.op("Reshape", d.op("Transpose", d.conv(), perm=[0, 2, 1, 3, 4]), d.ints(T, C, S * S))
    turned = d.op("Transpose", x, perm=[0, 2, 1])
    y = d.op("MatMul", d.op("Softmax", d.op("MatMul", turned, x), axis=-1), turned)
    y = d.op("Reshape", d.op("Transpose", y, perm=[0, 2, 1]), d.ints(1, T, C, S, S))
    d.op("Add", d.op("Transpose", y, perm=[0, 2, 1, 3, 4]), "clip")


@block("TCHW")
def tea_motion_excitation(d: Draft) -> None:
    y = d.op("Conv", "clip", d.random(C, 1, 3, 3), group=C, pads=[1] * 4)
    x, y = (d.op("Reshape", z, d.ints(1, T, C, S, S)) for z in ("clip", y))
    change = d.op("Sub", *(d.op("Slice", z, d.ints(a), d.ints(a + T - 1), d.ints(1)) for z, a in ((y, 1), (x, 0))))
    change = d.op("Reshape", d.op("Pad", change, d.ints(0, 0, 0, 0, 0, 0, 1, 0, 0, 0)), d.ints(T, C, S, S))
    gate = d.op("Sigmoid", d.op("Conv", d.op("GlobalAveragePool", change), d.random(C, C, 1, 1)))
    d.op("Add", "clip", d.op("Mul", "clip", gate))


@block("TCHW")
def action_net(d: Draft) -> None:
    """A gate of channels with a 1-D convolution over time, and one of positions with a 3-D one."""
    g = d.op("Reshape", d.op("Conv", d.op("GlobalAveragePool", "clip"), d.random(2, C, 1, 1)), d.ints(1, T, 2))
    g = d.op("Conv", d.op("Transpose", g, perm=[0, 2, 1]), d.random(2, 2, 3), pads=[1, 1])
    g = d.op("Reshape", d.op("Transpose", g, perm=[0, 2, 1]), d.ints(T, 2, 1, 1))
    x = d.op("Mul", "clip", d.op("Sigmoid", d.op("Conv", g, d.random(C, 2, 1, 1))))
    s = d.op("Transpose", d.op("Reshape", "clip", d.ints(1, T, C, S, S)), perm=[0, 2, 1, 3, 4])
    s = d.op("Conv", d.op("ReduceMean", s, d.ints(1), keepdims=1), d.random(1, 1, 3, 3, 3), pads=[1] * 6)
    s = d.op("Reshape", d.op("Transpose", s, perm=[0, 2, 1, 3, 4]), d.ints(T, 1, S, S))
    d.op("Mul", x, d.op("Sigmoid", s))


@block()
def cbam(d: Draft) -> None:
    x, weight = d.conv(), d.random(C, C, 1, 1, 1)
    g = d.op("Add", *(d.op("Conv", d.op(op, x), weight) for op in ("GlobalAveragePool", "GlobalMaxPool")))
    x = d.op("Mul", x, d.op("Sigmoid", g))
    both = d.op("Concat", *(d.op(op, x, d.ints(1), keepdims=1) for op in ("ReduceMean", "ReduceMax")), axis=1)
    d.op("Mul", x, d.op("Sigmoid", d.op("Conv", both, d.random(1, 2, 3, 3, 3), pads=[1] * 6)))


@block()
def generalized_mean_and_unit_length(d: Draft) -> None:
    x = d.op("GlobalAveragePool", d.op("Pow", d.op("Clip", d.conv(), d.const(1e-3)), d.const(3.0)))
    x = d.op("Flatten", d.op("Pow", x, d.const(1 / 3)))
    d.op("Div", x, d.op("Expand", d.op("ReduceL2", x, d.ints(1), keepdims=1), d.ints(1, C)))


@block()
def windows_of_a_frame(d: Draft) -> None:
    """Swin: attention inside windows of 2x2 positions."""
    x = d.op("Reshape", d.op("Transpose", d.conv(), perm=[0, 2, 3, 4, 1]), d.ints(T, 2, 2, 2, 2, C))
    x = d.op("Reshape", d.op("Transpose", x, perm=[0, 1, 3, 2, 4, 5]), d.ints(T * 4, 4, C))
    x = d.op("MatMul", d.op("Softmax", d.op("MatMul", x, d.op("Transpose", x, perm=[0, 2, 1])), axis=-1), x)
    x = d.op("Transpose", d.op("Reshape", x, d.ints(T, 2, 2, 2, 2, C)), perm=[0, 1, 3, 2, 4, 5])
    d.op("Reshape", x, d.ints(1, T, S, S, C))


@block()
def pixel_shuffle_by_hand(d: Draft) -> None:
    x = d.op("Reshape", d.op("Concat", d.conv(), "clip", axis=1), d.ints(1, 1, 2, 2, T, S, S))
    d.op("Reshape", d.op("Transpose", x, perm=[0, 1, 4, 5, 2, 6, 3]), d.ints(1, 1, T, 2 * S, 2 * S))


@block()
def a_decoder_with_skips(d: Draft) -> None:
    x = d.conv()
    y = d.conv(d.op("MaxPool", x, kernel_shape=[1, 2, 2], strides=[1, 2, 2]))
    y = d.op("Resize", y, "", d.const([1, 1, 1, 2, 2]), mode="linear", coordinate_transformation_mode="half_pixel")
    d.op("Concat", x, y, axis=1)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("rate", ["native", "dense"])
def test_it_streams(name: str, rate: str) -> None:
    row, shape, layout = BLOCKS[name]
    draft = Draft(shape)
    row(draft)
    made = stream(Held(draft.model()), None, layout=layout, rate=rate)
    assert made.difference is not None and made.difference < 1e-5


def test_weights_that_layers_share_lie_once_in_the_file() -> None:
    draft = Draft()
    a_picture_and_its_mirror(draft)
    made = stream(Held(draft.model()), None)
    convolutions = [node.input[1] for node in made.step.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 3 and len(set(convolutions)) == 2
    assert not [name for name in convolutions if "Fusion" in name], "names of before"
