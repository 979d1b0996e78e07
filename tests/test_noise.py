"""Noise of which each row has its own stream."""

from __future__ import annotations

import math

import pytest
import torch

from kintsugi.errors import InvalidArgument
from kintsugi.noise import RowNoise

KEYS = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (2**40, 3, 7)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_depend_on_their_own_key_only(dtype: torch.dtype) -> None:
    """Whatever stands beside a row, in whatever order, over several draws of several shapes."""
    like = torch.zeros((), dtype=dtype)
    shapes = [(3, 5, 4), (7,), (1, 2, 33), (17,)]
    together = RowNoise(KEYS)
    drawn = [together.normal(shape, like) for shape in shapes]
    for order in ([4, 2, 0], [1], [3, 0, 1, 2, 4]):
        others = RowNoise([KEYS[i] for i in order])
        for shape, expected in zip(shapes, drawn, strict=True):
            got = others.normal(shape, like)
            assert got.shape == (len(order), *shape)
            assert got.dtype == dtype
            assert torch.equal(got, expected[order])


def test_keys_differ_in_every_place() -> None:
    keys = [(a, b, c) for a in range(6) for b in range(6) for c in range(6)] + [(2**32, 0, 0), (2**63, 1, 2)]
    draws = RowNoise(keys).normal((8,), torch.zeros(()))
    assert len({tuple(row.tolist()) for row in draws}) == len(keys)


def test_negative_seeds_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"^seed: expected integers of at least 0"):
        RowNoise([(0, 0, 0), (-1, 0, 0)])


def test_successive_draws_differ_and_repeat() -> None:
    noise, again = RowNoise([(5, 0, 0)]), RowNoise([(5, 0, 0)])
    x = torch.zeros(1, 2, 6)
    first, second = noise.normal_like(x), noise.normal_like(x)
    assert not torch.equal(first, second)
    assert torch.equal(again.normal_like(x), first)
    assert torch.equal(again.normal_like(x), second)


def test_rows_are_standard_normal_and_uncorrelated() -> None:
    n, rows = 4000, 30
    x = RowNoise([(0, 0, j) for j in range(rows)]).normal((n,), torch.zeros((), dtype=torch.float64))
    assert float(x.mean()) == pytest.approx(0, abs=5 / math.sqrt(n * rows))
    assert float(x.var()) == pytest.approx(1, abs=5 * math.sqrt(2 / (n * rows)))
    correlation = (x @ x.T / n).fill_diagonal_(0.0)
    assert float(correlation.abs().max()) < 5 / math.sqrt(n)


def test_global_state_is_left_alone() -> None:
    torch.manual_seed(0)
    expected = torch.randn(3)
    torch.manual_seed(0)
    RowNoise(KEYS).normal((100,), torch.zeros(()))
    assert torch.equal(torch.randn(3), expected)
