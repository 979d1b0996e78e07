"""The inverse problem: its checks, its batch, its simulation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch

from kintsugi.errors import InvalidArgument
from kintsugi.operators import BlockAverage, Identity
from kintsugi.problem import Problem

A = BlockAverage((3, 8, 8), 2)
Y = torch.zeros(3, 4, 4)


@pytest.mark.parametrize(
    ("argument", "make"),
    [
        ("y", lambda: Problem([[0.0]], A)),  # type: ignore[arg-type]
        ("y", lambda: Problem(None, A)),  # type: ignore[arg-type]
        ("y", lambda: Problem(Y.int(), A)),
        ("y", lambda: Problem(Y.bool(), A)),
        ("y", lambda: Problem(Y.numpy(), A)),  # type: ignore[arg-type]
        ("y", lambda: Problem(torch.zeros(3, 4, 5), A)),
        ("y", lambda: Problem(torch.zeros(1, 4, 4), A)),
        ("y", lambda: Problem(torch.zeros(4, 4), A)),
        ("y", lambda: Problem(torch.zeros(1, 1, 3, 4, 4), A)),
        ("y", lambda: Problem(torch.zeros(0, 3, 4, 4), A)),
        ("y", lambda: Problem(torch.zeros(3, 8, 8), A)),
        ("y", lambda: Problem(torch.full((3, 4, 4), math.nan), A)),
        ("y", lambda: Problem(torch.full((2, 3, 4, 4), math.inf), A)),
        ("y", lambda: Problem(torch.full((3, 4, 4), -math.inf), A)),
        ("noise", lambda: Problem(Y, A, -0.1)),
        ("noise", lambda: Problem(Y, A, math.nan)),
        ("noise", lambda: Problem(Y, A, math.inf)),
        ("noise", lambda: Problem(Y, A, "0.1")),  # type: ignore[arg-type]
        ("noise", lambda: Problem(Y, A, None)),  # type: ignore[arg-type]
        ("noise", lambda: Problem(Y, A, torch.tensor([0.1, 0.2]))),  # type: ignore[arg-type]
        ("noise", lambda: Problem.simulate(torch.zeros(1, 3, 8, 8), A, noise=-1.0)),
        ("operator", lambda: Problem(Y, "sr")),  # type: ignore[arg-type]
        ("operator", lambda: Problem(Y, None)),  # type: ignore[arg-type]
        ("x", lambda: Problem.simulate(torch.zeros(1, 3, 8, 9), A)),
        ("x", lambda: Problem.simulate(torch.zeros(3, 8, 8), A)),
    ],
)
def test_bad_arguments_are_named(argument: str, make: Callable[[], object]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        make()
    assert caught.value.name == argument


def test_one_nan_among_many_values_is_found() -> None:
    y = torch.zeros(5, 3, 4, 4)
    y[3, 1, 2, 2] = math.nan
    with pytest.raises(InvalidArgument, match=r"^y: "):
        Problem(y, A)


@pytest.mark.parametrize("noise", [0, 0.25, np.float32(0.25), np.float64(0.25), torch.tensor(0.25)])
def test_noise_becomes_a_float(noise: float) -> None:
    problem = Problem(Y, A, noise)
    assert type(problem.noise) is float
    assert problem.noise == float(noise)


def test_batch() -> None:
    assert torch.equal(Problem(Y, A).batch, Y[None])
    rows = torch.randn(5, 3, 4, 4)
    assert Problem(rows, A).batch is rows
    problem = Problem(rows, A, 0.2).with_rows(rows[1:3])
    assert torch.equal(problem.batch, rows[1:3])
    assert (problem.operator, problem.noise) == (A, 0.2)
    with pytest.raises(InvalidArgument):
        problem.with_rows(rows[:, :2])


def test_a_batch_is_not_mistaken_for_a_signal() -> None:
    """Three rows of three channels: the shape decides by the number of axes."""
    operator = Identity((3, 3))
    assert Problem(torch.zeros(3, 3), operator).batch.shape == (1, 3, 3)
    assert Problem(torch.zeros(3, 3, 3), operator).batch.shape == (3, 3, 3)


def test_frozen_and_comparable() -> None:
    problem = Problem(Y, A)
    with pytest.raises(FrozenInstanceError):
        problem.noise = 1.0  # type: ignore[misc]
    assert problem != Problem(Y.clone(), A)  # by identity: tensors have no truth value to compare by
    assert problem in {problem}


def test_simulate() -> None:
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(Problem.simulate(x, A).y, A(x))
    one, two = (Problem.simulate(x, A, noise=0.3, seed=seed) for seed in (1, 2))
    assert one.noise == 0.3
    assert one.y.dtype == torch.float64
    assert torch.equal(one.y, Problem.simulate(x, A, noise=0.3, seed=1).y)
    assert not torch.equal(one.y, two.y)
    many = Problem.simulate(torch.zeros(1, 3, 200, 200), Identity((3, 200, 200)), noise=0.3).y
    assert float(many.std()) == pytest.approx(0.3, rel=0.01)
    assert float(many.mean()) == pytest.approx(0, abs=0.005)
