"""Frames of one layer in one call: bit by bit what one after the other gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from everyframe.native import together
from everyframe.native.build import link
from everyframe.native.generate import generate
from everyframe.native.library import Library
from everyframe.native.target import TARGETS, target
from native.operators import CPUS, QUICK, Sketch, reference
from native.test_winograd import by

VECTORS = [name for name in CPUS if not TARGETS[name].scalar]
#: kernel, stride, output channels; those that keep shape and channels get a shortcut
LAYERS = (
    ((3, 3, 3), 1, 24), ((1, 1, 1), 1, 40), ((3, 1, 1), 1, 40), ((3, 3, 3), 1, 40), ((1, 3, 3), 2, 33), ((3, 3, 3), 1, 33),
    ((1, 4, 4), 1, 20),
)  # fmt: skip


def deep() -> Sketch:
    """Layers whose frames take each other's places in memory, with and without borders, with padding over time."""
    sketch = Sketch((1, 16, 6, 8, 7))
    x, cin = "frames", 16
    for kernel, stride, cout in LAYERS:
        pads = [0 if k == 4 else k // 2 for k in kernel]
        weight = sketch.constant(sketch.rng.standard_normal((cout, cin, *kernel)) / (cin * np.prod(kernel)) ** 0.5)
        made = sketch.op("Conv", x, weight, sketch.normal(cout), pads=pads * 2, strides=[1, stride, stride])
        x = sketch.op("Relu", sketch.op("Add", made, x) if (cin, stride, kernel[1]) == (cout, 1, 3) else made)
        cin = cout
    sketch.answer(x)
    return sketch


def test_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers that are transformed, and others."""
    cpu, sketch = VECTORS[-1], deep()
    frames = np.random.default_rng(1).standard_normal(sketch.shape, np.float32)
    made, macs = [], []
    for positions in (1, together.POSITIONS):
        monkeypatch.setattr(together, "POSITIONS", positions)
        source, _, fitting = generate(sketch.model(), (), target(cpu), where="sketch", choose=by(2))
        assert (source.text.count("together(s,") >= len(LAYERS) - 2) == (positions > 1)
        library = Library(link(source, fitting, sketch.model(), tmp_path / f"{positions}.so", QUICK))
        made += [library.start(threads).step(frames) for threads in (1, 2)]
        macs.append(source.macs)
    wanted = reference(sketch.model(), frames)
    np.testing.assert_allclose(made[0], wanted, rtol=1e-4, atol=1e-5 * float(np.abs(wanted).max()))
    for each in made[1:]:
        np.testing.assert_array_equal(each, made[0])
    assert macs[0] == macs[1]
