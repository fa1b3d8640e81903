"""What drives units to zero and keeps them there: gradients against finite differences, heaps of norms, masks in the loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from everyframe.pruning.pattern import Pattern  # noqa: E402
from everyframe.pruning.regularize import SPENT, Admm, Choice, Masked, Regularizer, Reweighted  # noqa: E402
from everyframe.pruning.units import Applied, spread, squares, weight_of  # noqa: E402
from everyframe.recipes.pruning import SCHEMES, Scheme  # noqa: E402

patterns = st.builds(Pattern, st.sampled_from(SCHEMES), st.tuples(st.integers(1, 5), st.integers(1, 3)))


class Small(nn.Module):
    """(N, 4, T, H, W) -> (N, 2): two convolutions, the second behind the nonlinearity of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv3d(4, 10, (1, 3, 3), padding=(0, 1, 1))
        self.two = nn.Conv3d(10, 8, (3, 1, 1), padding=(1, 0, 0))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.two(F.relu(self.one(x)))).mean((2, 3, 4)))


def small(seed: int = 0) -> Small:
    torch.manual_seed(seed)
    return Small()


RATES = {"one": 0.5, "two": 0.5}


def regularizer(kind: str, pattern: Pattern) -> Regularizer:
    choice = Choice(pattern, RATES)
    return Reweighted(choice, 5) if kind == "reweighted" else Admm(choice, 5, (0.1, 1.0))


@given(patterns, st.integers(1, 11), st.integers(1, 7), st.sampled_from([(3, 3, 3), (1, 2, 2), (1, 1, 1)]))
def test_live_norms_are_those_of_the_pattern(pattern: Pattern, m: int, n: int, kernel: tuple[int, int, int]) -> None:
    weight = torch.randn(m, n, *kernel, generator=torch.Generator().manual_seed(m))
    assert np.allclose(squares(pattern, weight).sqrt().numpy(), pattern.norms(weight.numpy()), rtol=1e-5)


@given(patterns, st.integers(0, 100))
@settings(max_examples=12)
def test_the_penalty_of_admm_has_its_gradient(pattern: Pattern, seed: int) -> None:
    """Along a random direction, against the difference of two penalties."""
    net = small(seed).double()
    hook = regularizer("admm", pattern)
    loss = torch.tensor(1.7)
    for done in (0.0, 0.5):  # U is zero before its second look
        hook.begin_epoch(net, done, 0.01)
    hook.penalty(net, loss).backward()
    for name in RATES:
        weight = weight_of(net, name)
        direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)).double()
        assert weight.grad is not None
        found = float((weight.grad * direction).sum())
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                weight += step * direction
                values.append(float(hook.penalty(net, loss).detach()))
                weight -= step * direction
        assert found == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-3, abs=1e-6)
        assert weight.grad.abs().max() > 0


@given(patterns, st.integers(0, 100))
@settings(max_examples=12)
def test_a_step_is_the_proximal_one(pattern: Pattern, seed: int) -> None:
    """Among the multiples of each unit it has the smallest push * r * ||w|| + ||w - before||^2 / 2, and turns none."""
    net = small(seed)
    hook = Reweighted(Choice(pattern, RATES, threshold=0.5), 5)
    hook.begin_epoch(net, 0.0, 0.01)
    before = {name: weight_of(net, name).detach().clone() for name in RATES}
    hook.after_step(net)
    for name, old in before.items():
        new = weight_of(net, name).detach()
        size = torch.from_numpy(pattern.sizes(tuple(old.shape)))
        norms = (squares(pattern, old.double()) / (size * hook.scales[name])).sqrt()
        pushed = hook.pushes[name].double() / (norms**2 + hook.epsilon)
        tried = torch.linspace(0, 1, 2001, dtype=torch.double)[:, None, None, None] * norms
        best = (pushed * tried + (tried - norms) ** 2 / 2).argmin(0).double() / 2000
        assert torch.allclose(new, old * spread(pattern, best, old), atol=1e-3)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_without_a_loss_what_has_to_go_is_at_zero_in_time(scheme: Scheme) -> None:
    """And no more than that, though nothing holds the others."""
    pattern, net, steps = Pattern(scheme, (2, 2)), small(), 400
    hook = regularizer("reweighted", pattern)
    hook.begin_epoch(net, 0.0, 1 / steps)
    for _ in range(round(1.05 * SPENT * steps)):  # finite steps lag a little
        hook.after_step(net)
    mask = hook.choice.mask(net)
    for name in RATES:
        assert np.array_equal(weight_of(net, name).detach().numpy() != 0, mask.weights(name))


# --- a training of a small network ---


def task(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Clips whose class is whether the first channel brightens from left to right; the other channels are noise."""
    generator = torch.Generator().manual_seed(seed)
    clips = torch.randn(count, 4, 3, 6, 6, generator=generator)
    labels = torch.arange(count) % 2
    ramp = torch.linspace(-1, 1, 6) * (2 * labels[:, None] - 1)
    clips[:, 0] += 1.5 * ramp[:, None, None, :]
    return clips, labels


def train(net: nn.Module, hook: Regularizer | Masked, epochs: int = 10, steps: int = 30, rate: float = 0.05) -> None:
    optimizer = torch.optim.SGD(net.parameters(), rate, momentum=0.9)
    for epoch in range(epochs):
        hook.begin_epoch(net, epoch / epochs, 1 / (epochs * steps))
        for step in range(steps):
            clips, labels = task(32, epoch * steps + step)
            loss = F.cross_entropy(net(clips), labels)
            optimizer.zero_grad()
            (loss + hook.penalty(net, loss.detach()) if hook.penalizes else loss).backward()
            optimizer.step()
            hook.after_step(net)


@torch.no_grad()
def accuracy(net: nn.Module) -> float:
    clips, labels = task(256, 10**6)
    return float((net(clips).argmax(1) == labels).float().mean())


def heaps(net: nn.Module, pattern: Pattern) -> tuple[float, float]:
    """(share of units below a tenth of their layer's norm, share between that and a third of it)"""
    found = [
        pattern.scores(weight) / math.sqrt(float((weight**2).mean()))
        for weight in (weight_of(net, name).detach().numpy() for name in RATES)
    ]
    norms = np.concatenate([part.ravel() for part in found])
    return float((norms < 0.1).mean()), float(((norms >= 0.1) & (norms < 0.33)).mean())


@pytest.fixture(scope="module")
def dense() -> dict[str, Tensor]:
    net = small()
    train(net, Masked(Choice(Pattern("kgs", (2, 2)), {}).mask(net)), epochs=4)
    assert accuracy(net) > 0.9
    return net.state_dict()


def test_norms_separate_into_two_heaps(dense: dict[str, Tensor]) -> None:
    """Reweighted: most units end at zero, few between, and cutting them by a threshold costs nothing. Without it, none do."""
    pattern = Pattern("kgs", (2, 2))
    choice = Choice(pattern, RATES, threshold=0.2)
    net = small()
    net.load_state_dict(dense)
    assert heaps(net, pattern)[0] < 0.05 and choice.mask(net).density("one") > 0.9
    train(net, Reweighted(choice, 10, reach=1.0))
    low, between = heaps(net, pattern)
    assert low > 0.5 and between < 0.1 * low, (low, between)
    before, mask = accuracy(net), choice.mask(net)
    Applied(mask)(net)
    assert before > 0.9 and accuracy(net) == pytest.approx(before, abs=0.02)
    assert mask.density() < 0.7


@pytest.mark.parametrize("kind", ["reweighted", "admm"])
def test_what_pruning_takes_shrinks(kind: str, dense: dict[str, Tensor]) -> None:
    """The share of the norm in the units that the rates will cut, against that of the dense network."""
    net, hook = small(), regularizer(kind, Pattern("kgs", (2, 2)))
    net.load_state_dict(dense)
    before = hook.figures(net)["pruning_would_take"]
    train(net, hook)
    assert hook.figures(net)["pruning_would_take"] < before / 3


@given(patterns)
@settings(max_examples=6)
def test_what_is_pruned_stays_zero(pattern: Pattern) -> None:
    net = small()
    mask = Choice(pattern, RATES).mask(net)
    train(net, Masked(mask), epochs=1, steps=3)
    for name in mask.layers:
        kept = weight_of(net, name).detach().numpy() != 0
        assert np.array_equal(kept, mask.weights(name))
