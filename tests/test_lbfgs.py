"""Row-wise L-BFGS against PyTorch's, point by point, known minima, and the strong Wolfe conditions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from kintsugi.samplers.lbfgs import CURVATURE, DECREASE, Trial, cubic, line_search, minimise, most_evaluations

Loss = Callable[[Tensor], Tensor]
ROOT = torch.randn(8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
CENTRE = torch.linspace(-1, 1, 8, dtype=torch.float64)


def quadratic(x: Tensor) -> Tensor:
    """Least at ``CENTRE``, where it is 0."""
    return 0.5 * (ROOT @ (x.flatten() - CENTRE)).square().sum()


def rosenbrock(x: Tensor) -> Tensor:
    """Least at ones, where it is 0."""
    x = x.flatten()
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def waves(x: Tensor) -> Tensor:
    """Many minima, and a line search that overshoots."""
    return (0.1 * x**2 + torch.sin(3 * x)).sum()


def value_and_gradient(loss: Loss, x: Tensor) -> tuple[float, Tensor]:
    leaf = x.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        value = loss(leaf)
    (gradient,) = torch.autograd.grad(value, leaf)
    return float(value.detach()), gradient


def starts(rows: int) -> Tensor:
    return 1.5 * torch.randn(rows, 2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def visited(loss: Loss, first: Tensor, iterations: int) -> list[list[Tensor]]:
    """The points that each row asks for."""
    points: list[list[Tensor]] = [[] for _ in first]

    def evaluate(x: Tensor, rows: Sequence[int]) -> list[tuple[float, Tensor] | None]:
        for i, row in zip(rows, x, strict=True):
            points[i].append(row.clone())
        return [value_and_gradient(loss, row) for row in x]

    minimise(evaluate, first, iterations)
    return points


def theirs(loss: Loss, first: Tensor, iterations: int) -> list[Tensor]:
    """The points of PyTorch's optimiser."""
    points: list[Tensor] = []
    x = first.clone().requires_grad_(True)

    def closure() -> float:
        points.append(x.detach().clone())
        value, x.grad = value_and_gradient(loss, x)
        return value

    torch.optim.LBFGS([x], max_iter=iterations, line_search_fn="strong_wolfe").step(closure)
    return points


@pytest.mark.parametrize("iterations", [1, 2, 3, 6, 15])
@pytest.mark.parametrize("loss", [quadratic, rosenbrock, waves])
def test_the_points_are_those_of_pytorch(loss: Loss, iterations: int) -> None:
    """Every trial of every line search, while rounding is not yet magnified; each row in a batch of five."""
    first = starts(5)
    for start, ours in zip(first, visited(loss, first, iterations), strict=True):
        wanted = theirs(loss, start, iterations)
        assert len(ours) == len(wanted) <= most_evaluations(iterations) + 1
        torch.testing.assert_close(torch.stack(ours), torch.stack(wanted), rtol=0, atol=1e-8)


@pytest.mark.parametrize(("loss", "least"), [(quadratic, CENTRE), (rosenbrock, torch.ones(8, dtype=torch.float64))])
def test_known_minima(loss: Loss, least: Tensor) -> None:
    """Until the gain of an iteration is below 1e-9; the smallest curvature of the two is about 0.02 and 0.4."""
    first = starts(3) if loss is quadratic else 1 + 0.3 * starts(3)
    for points in visited(loss, first, 200):
        torch.testing.assert_close(points[-1].flatten(), least, rtol=0, atol=2e-4)


def test_a_row_does_not_see_its_neighbours() -> None:
    """Nor the order, nor when the others stop: the same bits."""
    first = starts(4)
    together = visited(rosenbrock, first, 30)
    for i in (3, 0):
        (alone,) = visited(rosenbrock, first[i : i + 1], 30)
        assert len(alone) == len(together[i])
        assert all(torch.equal(a, b) for a, b in zip(alone, together[i], strict=True))


def test_a_row_stops_when_it_is_told_to() -> None:
    asked: list[list[int]] = []

    def evaluate(x: Tensor, rows: Sequence[int]) -> list[tuple[float, Tensor] | None]:
        asked.append(list(rows))
        return [None if len(asked) == 3 and i == 1 else value_and_gradient(rosenbrock, row)
                for i, row in zip(rows, x, strict=True)]  # fmt: skip

    minimise(evaluate, starts(3), 10)
    assert asked[:4] == [[0, 1, 2]] * 3 + [[0, 2]]
    assert all(1 not in rows for rows in asked[3:])


def test_at_a_minimum_nothing_moves() -> None:
    first = CENTRE.view(1, 2, 4)
    ((point,),) = visited(quadratic, first, 10)
    assert torch.equal(point, first[0])


@pytest.mark.parametrize("first", [1e-3, 0.3, 40.0])
@pytest.mark.parametrize("seed", range(5))
def test_strong_wolfe(first: float, seed: int) -> None:
    """Whatever the first trial: far too short, about right, far too long."""
    x = 1.5 * torch.randn(8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    loss, g = value_and_gradient(rosenbrock, x)
    d = -g / g.norm()
    origin = Trial(0.0, loss, float(g @ d), g)
    search = line_search(x, d, first, origin, 40)
    point = next(search)
    while True:
        try:
            point = search.send(value_and_gradient(rosenbrock, point))
        except StopIteration as end:
            found, trials = end.value
            break
    assert 1 <= trials <= 41
    value, gradient = value_and_gradient(rosenbrock, x + found.t * d)
    assert value == found.loss
    assert value <= loss + DECREASE * found.t * origin.slope
    assert abs(float(gradient @ d)) <= CURVATURE * abs(origin.slope)


def test_what_is_not_a_number_is_too_far() -> None:
    """A loss that is undefined beyond 1: the search stays below, where its minimum is."""

    def bounded(x: Tensor) -> Tensor:
        return -(x + 4 * torch.log(1 - x)).sum() - 4 * x.sum() * 2

    points = visited(bounded, torch.zeros(1, 1, dtype=torch.float64), 30)[0]
    values = [value_and_gradient(bounded, p)[0] for p in points]
    # d/dx: -9 + 4/(1 - x) = 0
    assert float(points[values.index(min(v for v in values if not math.isnan(v)))]) == pytest.approx(5 / 9, abs=1e-4)


def test_cubic() -> None:
    """x^3 - 3x has its minimum at 1; a line and a fall without an end have none between two points."""

    def at(t: float) -> Trial:
        return Trial(t, t**3 - 3 * t, 3 * t**2 - 3, torch.empty(0))

    assert cubic(at(0.2), at(2.5), 0.2, 2.5) == pytest.approx(1, abs=1e-12)
    assert cubic(at(2.5), at(0.2), 0.2, 2.5) == pytest.approx(1, abs=1e-12)
    assert cubic(at(0.2), at(2.5), 1.5, 2.5) == 1.5
    line = Trial(0.0, 0.0, -1.0, torch.empty(0)), Trial(1.0, -1.0, -1.0, torch.empty(0))
    assert cubic(*line, 1.01, 10.0) == pytest.approx(5.505)
