"""Chains of convolutions, some rows at a time: the same bits as one after the other, however many threads share them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from everyframe.native import strips
from everyframe.native.build import link
from everyframe.native.choice import Choice, Geometry
from everyframe.native.generate import generate, planned
from everyframe.native.library import Library
from everyframe.native.target import TARGETS, Target, target
from everyframe.native.winograd import Untile
from helpers import relative
from native.emulated import FOREIGN
from native.emulated import program as emulated
from native.operators import CPUS, QUICK, Sketch, reference, sanitized
from native.test_int8 import Quantized

VECTORS = [name for name in CPUS if not TARGETS[name].scalar]
THEN = ("", "Relu", "Clip", "HardSwish", "silu", "residual")
#: kernel and stride of what follows the first one; depthwise where True
KINDS = ((3, 1, True), (3, 2, True), (5, 1, True), (5, 2, True), (1, 1, False), (1, 2, False), (3, 1, False), (3, 2, False))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains of small pictures, a few rows at a time."""
    monkeypatch.setattr(strips, "LARGE", 1)
    monkeypatch.setattr(strips, "HELD", 60_000)


def network(seed: int, count: int = 4) -> Sketch:
    """Chains of two to five convolutions of any kind, of odd sizes; the first reads several frames."""
    sketch = Sketch((1, 8, 3, 33, 35), seed)
    rng = np.random.default_rng(seed)
    for _ in range(count):
        x, channels = "frames", int(rng.integers(9, 40))
        kernel = int(rng.choice([1, 3]))
        x = sketch.op(
            "Conv", x, sketch.normal(channels, 8, 3, kernel, kernel), sketch.normal(channels), pads=[0, *[kernel // 2] * 2] * 2
        )
        ways = [KINDS[int(n)] for n in rng.integers(0, len(KINDS), int(rng.integers(1, 5)))]
        ways = [*ways, (3, int(rng.integers(1, 3)), True)]
        size = (33, 35)
        for side, stride, depthwise in ways:
            after = tuple(-(-n // stride) for n in size)
            if min(after) < 3:
                break
            dilation = int(rng.integers(1, 3)) if side > 1 and stride == 1 else 1
            group, out = (channels, channels) if depthwise else (1, int(rng.integers(8, 48)))
            weight = sketch.normal(out, channels // group, 1, side, side)
            pads = [0, *[side // 2 * dilation] * 2] * 2
            made = sketch.op(
                "Conv",
                x,
                weight,
                sketch.normal(out),
                group=group,
                strides=[1, stride, stride],
                pads=pads,
                dilations=[1, dilation, dilation],
            )
            x, channels, size = made, out, after
            then = str(rng.choice(THEN))
            if then == "silu":
                x = sketch.op("Mul", made, sketch.op("Sigmoid", made))
            elif then == "Clip":
                x = sketch.op("Clip", made, sketch.constant(0), sketch.constant(6))
            elif then == "residual":
                rest = sketch.op("Conv", "frames", sketch.normal(out, 8, 3, 1, 1), strides=[1, *[33 // size[0]] * 2])
                x = sketch.op("Add", made, sketch.op("Tanh", rest)) if 33 // size[0] * size[0] in (33, 32, 34) else made
            elif then:
                x = sketch.op(then, made)
        sketch.answer(x)
    return sketch


def over_time(seed: int, count: int = 4, sketch: Sketch | None = None) -> Sketch:
    """Convolutions in space, then over time, of any kind: what the second level reads of a strip is not needed for the next."""
    sketch = sketch or Sketch((1, 8, 5, 21, 23), seed)
    rng = np.random.default_rng(seed)
    for n in range(count):
        channels, out, side = int(rng.integers(9, 40)), int(rng.integers(8, 30)), int(rng.choice([1, 3]))
        stride, down = (int(each) for each in rng.integers(1, 3, 2))
        weight = sketch.normal(channels, 8, 1, side, side)
        pads = [0, *[side // 2] * 2] * 2
        x = sketch.op("Conv", "frames", weight, sketch.normal(channels), strides=[1, *[stride] * 2], pads=pads)
        taps, step, apart, way = (int(rng.integers(*ends)) for ends in ((2, 5), (1, 3), (1, 3), (0, 3)))
        across = int(rng.integers(1, down + 1))  # side of the kernel, not more than its stride
        before = (taps - 1) * apart // (1, 2, taps * apart)[way]  # causal, about the middle, none
        behind = (taps - 1) * apart - before if way < 2 else 0
        sizes = {"strides": [step, down, down], "dilations": [apart, 1, 1], "pads": [before, 0, 0, behind, 0, 0]}
        over = sketch.normal(out, channels, taps, across, across), sketch.normal(out)
        made = sketch.op("Conv", sketch.op("Relu", x), *over, **sizes)
        if n == 1 or rng.integers(2):
            rest = sketch.op("Tanh", sketch.op("Conv", "frames", sketch.normal(out, 8, 1, 1, 1), strides=[1, *[stride] * 2]))
            rest = sketch.op("Tanh", sketch.op("Conv", rest, sketch.normal(out, out, taps, across, across), **sizes))
            made = sketch.op("Add", sketch.op("Clip", made, sketch.constant(-1), sketch.constant(9)), rest)
        made = sketch.op("Relu", made)
        sketch.answer(made if n % 2 else sketch.op("Conv", made, sketch.normal(9, out, 1, 1, 1)))
    return sketch


def built(sketch: Sketch, cpu: str, path: Path, large: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Library, list[str]]:
    monkeypatch.setattr(strips, "LARGE", large)
    source, _, fitting = generate(sketch.model(), (), target(cpu), where="sketch")
    return Library(link(source, fitting, sketch.model(), path, QUICK)), [
        work.label for work in source.work if work.kernel == "strips"
    ]


@pytest.mark.parametrize("cpu", VECTORS)
@pytest.mark.parametrize(("make", "seed"), [(network, 0), (network, 1), (over_time, 2)])
def test_the_same_bits(
    make: Callable[[int], Sketch], seed: int, cpu: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    sketch = make(seed)
    whole, none = built(sketch, cpu, tmp_path / "whole.so", 1 << 40, monkeypatch)
    made, chains = built(sketch, cpu, tmp_path / "strips.so", 1, monkeypatch)
    assert not none and len(chains) >= 2
    frames = np.random.default_rng(1).standard_normal(sketch.shape, np.float32)
    wanted = whole.start(1).step(frames)
    np.testing.assert_allclose(wanted, reference(sketch.model(), frames), rtol=1e-5, atol=1e-5 * float(np.abs(wanted).max()))
    for threads in (1, 2, 5, 12):
        stream = made.start(threads)
        for _ in range(2):
            np.testing.assert_array_equal(stream.step(frames), wanted)
        stream.close()


@pytest.mark.parametrize("cpu", VECTORS[-1:])
def test_sanitizers_find_nothing(cpu: str, tmp_path: Path) -> None:
    sanitized(over_time(7, 2, network(7, 2)), tmp_path, cpu)


@pytest.mark.parametrize("cpu", [name for name in FOREIGN if name in ("aarch64", "wasm32-simd128")])
def test_the_same_elsewhere(cpu: str, tmp_path: Path) -> None:
    sketch = over_time(1, 2, network(1, 2))
    frames = np.random.default_rng(1).standard_normal(sketch.shape, np.float32)
    wanted = reference(sketch.model(), frames).ravel()
    made = emulated(sketch.model(), (), cpu, tmp_path, QUICK)
    one, three = (made.run(frames[None], threads)[0].ravel() for threads in (1, 3))
    np.testing.assert_array_equal(one, three)
    assert relative(one, wanted) < 1e-5


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_a_place_has_room_for_what_is_there_at_once(rows: int) -> None:
    """Goes through a chain as the C does, from every row on; the room is used up, but not more."""
    graph, *_ = planned(over_time(3, 2, network(2)).model(), (), target(VECTORS[-1]), "sketch")
    assert any(len(chain.ops) > len(chain.levels) for chain in graph.chains)
    for chain in graph.chains:
        ops = [level[0] for level in chain.levels]
        sizes = [(graph.out(op).height, *strips.sizes_of(op)) for op in ops]
        room, used = strips.held(ops, rows), [0] * (len(sizes) - 1)
        for begin in range(sizes[-1][0]):
            made, first = [0] * len(sizes), [0] * len(sizes)
            made[-1] = begin
            for i in range(len(sizes) - 1, 0, -1):
                first[i - 1] = made[i] * sizes[i][2] - sizes[i][3]
                made[i - 1] = max(0, first[i - 1])
            while made[-1] < sizes[-1][0]:
                wanted = [*made[:-1], min(made[-1] + rows, sizes[-1][0])]
                for i in range(len(sizes) - 1, 0, -1):
                    _, reach, stride, top = sizes[i]
                    until = (wanted[i] - 1) * stride - top + reach
                    wanted[i - 1] = max(made[i - 1], min(until, sizes[i - 1][0]))
                    first[i - 1] = max(first[i - 1], min(made[i] * stride - top, made[i - 1]))
                    used[i - 1] = max(used[i - 1], max(until, wanted[i - 1]) - first[i - 1])
                made = wanted
        assert all(one <= other for one, other in zip(used, room, strict=True)), (used, room)


@pytest.mark.parametrize("seed", range(6))
def test_no_frame_is_overwritten_before_it_was_read(seed: int) -> None:
    """Frames of a level share places, and each convolution still finds what it reads."""
    graph, layout, _ = planned(over_time(seed).model(), (), target(VECTORS[-1]), "sketch")
    assert any(chain.shares for chain in graph.chains)
    for chain in graph.chains:
        inside = {graph.out(op).number for level in chain.levels[:-1] for op in level}
        there: dict[int, int] = {}  # place -> frame
        for op in chain.ops:
            read = {frame.number for frame in op.convolved()} & inside
            assert all(there[layout.places[number]] == number for number in read)
            there[layout.places[graph.out(op).number]] = graph.out(op).number
        assert len(there) == len(chain.ops) - len(chain.shares)


def test_bytes_and_what_others_read_are_no_chains() -> None:
    """Quantized convolutions, and wide tensors that are an answer, go as a whole."""
    quantized = Quantized((1, 16, 30, 30))
    x = quantized.grid("frames", 0.03, 128)
    for _ in range(3):
        x = quantized.grid(quantized.op("Conv", x, quantized.random_weight(16, 16, 1, 1)), 0.05, 100)
    quantized.answer(x)
    shown = Sketch((1, 8, 30, 30))
    wide = shown.op("Conv", "frames", shown.normal(32, 8, 1, 1))
    shown.answer(wide)
    shown.answer(shown.op("Conv", wide, shown.normal(32, 1, 3, 3), group=32, pads=[1] * 4))
    for sketch in (quantized, shown):
        graph, *_ = planned(sketch.model(), (), target(VECTORS[-1]), "sketch")
        assert not graph.chains


def test_frames_that_wait_for_one_another_are_no_chain() -> None:
    """The second frame is made of what the first became; both are read by a convolution over time."""
    for waits in (False, True):
        sketch = Sketch((1, 9, 2, 30, 30))
        space, time = sketch.normal(9, 9, 1, 3, 3), sketch.normal(9, 9, 2, 1, 1)
        one, two = (
            sketch.op("Slice", "frames", *(sketch.constant(each, np.int64) for each in ([n], [n + 1], [2]))) for n in range(2)
        )
        one = sketch.op("Conv", one, space, pads=[0, 1, 1] * 2)
        began = sketch.op("Conv", one, time, pads=[1, 0, 0, 0, 0, 0])
        two = sketch.op("Conv", sketch.op("Add", two, began) if waits else two, space, pads=[0, 1, 1] * 2)
        sketch.answer(sketch.op("Conv", sketch.op("Concat", one, two, axis=2), time))
        sketch.answer(began)
        graph, *_ = planned(sketch.model(), (), target(VECTORS[-1]), "sketch")
        assert bool(graph.chains) is not waits


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_few_weights_are_not_transformed(share: float) -> None:
    """A chain over several frames comes before Winograd's transforms where these would save little."""
    sketch = Sketch((1, 16, 4, 24, 24))
    shapes = (48, 16, 1, 3, 3), (16, 48, 3, 1, 1)
    kernels = [sketch.rng.standard_normal(shape) * (sketch.rng.random((shape[0], shape[1], 1, 1, 1)) < share) for shape in shapes]
    x = sketch.op("Conv", "frames", sketch.constant(kernels[0]), pads=[0, 1, 1] * 2)
    sketch.answer(sketch.op("Conv", x, sketch.constant(kernels[1]), pads=[1, 0, 0] * 2))

    def transformed(target: Target, geometry: Geometry, label: str) -> Choice:
        return Choice(96, 1, 0, tile=2 if geometry.kernel_h == 3 else 0)

    graph, *_ = planned(sketch.model(), (), target(VECTORS[-1]), "sketch", transformed)
    tiled = any(isinstance(op, Untile) for op in graph.ops)
    assert (len(graph.chains), tiled) == ((1, False) if share < 0.25 else (0, True))
