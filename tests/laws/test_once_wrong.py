"""The law on the smallest networks that broke it once, each in its own way."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from everyframe.conversion.step import convert
from everyframe.conversion.verify import verify
from laws.heads import Head
from laws.layers import (
    Act,
    Append,
    Branches,
    Constant,
    Context,
    Conv,
    Fold,
    Gate,
    Linear,
    Poison,
    Pool,
    Shift,
    Shuffle,
    Space,
    SpaceMean,
    TimePad,
    TimeSlice,
    Turn,
)  # fmt: skip
from laws.nets import Net
from laws.sketch import Kernel
from laws.streaming import check, check_prepared, convert_net

SAME = Kernel(3, pl=1, pr=1)
NEGATIVE = Constant("Sub", "", False, False)  # most values below 0
ZERO_PAD, POOL = TimePad(2, 0, 0.0, False), Pool("MaxPool", Kernel(2))


def net(*layers: object, head: str = "none", T: int = 6, c: int = 4, other: int = 0, **options: object) -> Net:
    return Net(T, c, 4, layers, Head(head, other), **options)  # type: ignore[arg-type]


ONCE_WRONG = {
    "the gated wire is computed after the gate": net(Gate("keep", 1, late=True)),
    "nodes named like the step network's own tensors": net(
        Act("Tanh"), Act("Relu"), SpaceMean(()), head="mean", naming="hostile"
    ),
    "a linear layer with bias on channels last": net(Linear(3, True)),
    "a channel shuffle behind channels last": net(Linear(4, False), Shuffle(2)),
    "a pool with ceil_mode whose last window would be empty": net(
        Pool("AveragePool", Kernel(5, pl=4, ss=2, ceil=True)), Conv(Kernel(2, 3, pl=3), 2)
    ),
    "partial sums of a convolution that sees only time": net(SpaceMean(()), Conv(Kernel(5, pl=1, pr=1), 1), slots=True),
    "one frame, squeezed, then a convolution on pictures": net(head="squeeze", T=1),
    "one frame folded into the batch": net(Fold((Shuffle(2),)), TimePad(2, 0, 0.0, False), head="pool", T=1, window=4),
    "one frame of one channel folded into the batch": net(Fold((Conv(Kernel(ks=3, ps=1, pe=1), 1),)), T=1, c=1),
    "clips without a batch axis": net(Conv(SAME, 2), Gate("keep", 1, False), Linear(2, True), layout="TCHW"),
    "a gate whose time comes back elsewhere": net(Turn("NCHWT", (Gate("flat-unsqueeze", 1, False),)), se="window"),
    "a gate over the last frames, and more layers than its table is long": net(
        Gate("flat", 1, False), *[Conv(Kernel(5, pl=2, pr=2), 4)] * 5, se="window", T=2, opset=17
    ),
    "a gate and a head with the same mean": net(Gate("flat", 1, False), head="two"),
    "constant channels": net(Append(0.5, True), Conv(SAME, 2)),
    "x minus its mean over time": net(Context(), se="window"),
    "zeros in front of a max pool": net(NEGATIVE, NEGATIVE, ZERO_PAD, POOL),
    "zeros around a max pool's pictures": net(NEGATIVE, NEGATIVE, Space(1, 1, 0.0, "constant"), Pool("MaxPool", Kernel(ks=2))),
    "a pad and a pool that pads with something else": net(NEGATIVE, ZERO_PAD, Pool("MaxPool", Kernel(3, pl=2))),
    "a pad and a convolution that pads with something else": net(TimePad(2, 0, 0.5, False), Conv(SAME, 2)),
    "two pads of different values": net(TimePad(1, 0, 0.5, False), TimePad(2, 0, -1.0, True), Conv(Kernel(3), 2)),
    "a pad, then another border": net(ZERO_PAD, Space(1, 1, 1.0, "constant"), Conv(Kernel(3), 2)),
    "a pad, then an average with a border of zeros": net(
        TimePad(2, 0, 0.5, False), Pool("AveragePool", Kernel(2, ks=2, ps=1, pe=1))
    ),
    "a pad, then every second frame": net(TimePad(2, 0, 0.5, False), TimeSlice(0, 0, 2, "Slice"), Conv(Kernel(2), 2)),
    "a pad, then a slice of time and channels at once": net(ZERO_PAD, Shift(2, 1, 1, True, True, False)),
    "a pad, then a mean": net(TimePad(2, 0, 0.5, False), head="mean"),
    "a dead tap between the pads": net(Conv(Kernel(2, d=2, pl=1), 2), T=2, taps="trained"),
    "a convolution that never met a frame": net(Conv(Kernel(1, s=5, pl=2, pr=4), 2), T=2, taps="trained"),
    "a pool with more padding than the taps that are left": net(Pool("MaxPool", Kernel(4, 2, pl=2, pr=2)), T=1, taps="trained"),
    "k = 1 and padding": net(Poison(), Conv(Kernel(1, pl=2, pr=2), 2)),
    "unequal delays at a stride of 2": net(
        Branches(
            ((Conv(Kernel(3, 2, pl=1, pr=1), 4), Conv(Kernel(5, pl=0, pr=4), 4)), (TimeSlice(0, 0, 2, "Gather"),)), "Mul", False
        )
    ),
}


@pytest.mark.parametrize("rate", ["native", "dense"])
@pytest.mark.parametrize("case", ONCE_WRONG.values(), ids=ONCE_WRONG.keys())
def test_it_holds_now(case: Net, rate: str) -> None:
    case = Net(**vars(case) | {"rate": rate})
    made, count = convert_net(case), Counter()
    check(case, made, count)
    check_prepared(case, made)
    verify(made)
    onnx.checker.check_model(made.step, full_check=True)
    assert count["frames"] and count["logits"]


def test_minus_infinity_is_a_pad_value() -> None:
    """F.pad(x, value=-inf) in front of a max pool is the pool's own padding."""

    def clip(*nodes: onnx.NodeProto) -> onnx.ModelProto:
        shape = (1, 2, 6, 4, 4)
        constants = [
            numpy_helper.from_array(np.array([0, 0, 2, 0, 0] + [0] * 5), "pads"),
            numpy_helper.from_array(np.float32(-np.inf), "low"),
        ]
        graph = helper.make_graph(
            nodes, "net", [helper.make_tensor_value_info("clip", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)], constants,
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)

    apart = clip(
        helper.make_node("Pad", ["clip", "pads", "low"], ["padded"]),
        helper.make_node("MaxPool", ["padded"], ["out"], kernel_shape=[3, 1, 1]),
    )
    at_once = clip(helper.make_node("MaxPool", ["clip"], ["out"], kernel_shape=[3, 1, 1], pads=[2, 0, 0, 0, 0, 0]))
    made = [convert(model) for model in (apart, at_once)]
    assert verify(made[0]) == verify(made[1]) == 0
    assert all(np.isfinite(state.fill) for state in made[0].metadata.states)
