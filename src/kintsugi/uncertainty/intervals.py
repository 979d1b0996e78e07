"""Quantiles of samples, and central intervals for the truth of each pixel.

If the truth and n samples are draws of the same distribution, they are exchangeable, and two intervals follow:

* "student": ``m ± t s sqrt(1 + 1/n)`` with the mean m and standard deviation s (n - 1) of the samples and t the
  ``(1 + level) / 2`` quantile of Student's t with n - 1 degrees of freedom. Exact for Gaussian pixels at any n >= 2;
* "ranks": between the order statistics at ranks ``p (n + 1)`` and ``(1 - p) (n + 1)``, ``p = (1 - level) / 2``, linear
  between whole ranks. The truth is below the k-th of n samples with probability k / (n + 1), whatever the
  distribution, so this is exact for every continuous one at whole ranks; it needs ``n >= 2 / (1 - level) - 1`` samples
  (19 for 90 %, 39 for 95 %).

Both are of each pixel by itself: 10 % of the pixels are expected outside a 90 % interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import InvalidArgument

Kind = Literal["student", "ranks"]
DUST = 1e-6  # an error that float32 makes by itself, for data in [-1, 1]


@dataclass(frozen=True, eq=False)
class Intervals:
    """``low`` and ``high`` (B, *S), the ``level`` they are meant to have, and ``notes`` on how they were made."""

    low: Tensor
    high: Tensor
    level: float
    notes: tuple[str, ...] = ()

    @property
    def width(self) -> Tensor:
        """``high - low``, (B, *S)."""
        return self.high - self.low


def check_level(level: float) -> None:
    """:class:`InvalidArgument` for a level that is no probability between 0 and 1."""
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise InvalidArgument("level", level, "a probability between 0 and 1")


def check_samples(samples: Tensor, least: int, why: str = "samples") -> int:
    """The number of samples in (B, n, *S), at least ``least``."""
    if not isinstance(samples, Tensor) or samples.ndim < 3:
        raise InvalidArgument("samples", tuple(getattr(samples, "shape", ())), "a tensor (B, n, *S)")
    n = samples.shape[1]
    if n < least:
        raise InvalidArgument("samples", n, f"at least {least} for {why}")
    return n


def quantiles(samples: Tensor, q: float | Sequence[float]) -> Tensor:
    """Quantiles over n of ``samples`` (B, n, *S): (B, *S), or (len(q), B, *S) for several; linear between samples."""
    check_samples(samples, 1)
    values = [q] if isinstance(q, int | float) else list(q)
    if not values or any(isinstance(v, bool) or not 0 <= v <= 1 for v in values):
        raise InvalidArgument("q", q, "numbers from 0 to 1")
    if samples.is_complex():
        raise InvalidArgument("samples", samples.dtype, "real numbers: complex ones have no order")
    ordered = samples.sort(1).values
    found = torch.stack([_between(ordered, v * (samples.shape[1] - 1)) for v in values])
    return found[0] if isinstance(q, int | float) else found


def student_reach(level: float, n: int) -> float:
    """``t sqrt(1 + 1/n)``: half the width of a "student" interval of n samples, in their standard deviations."""
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, (1 + level) / 2)) * math.sqrt(1 + 1 / n)


def intervals(samples: Tensor, level: float = 0.9, kind: Kind = "student") -> Intervals:
    """Central intervals at ``level`` of real ``samples`` (B, n, *S), at least two; see above for ``kind``.

    >>> draws = torch.randn(1, 39, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> intervals(draws, 0.95, "ranks").low.equal(draws.amin(1))
    True
    """
    check_level(level)
    if kind not in get_args(Kind):
        raise InvalidArgument("kind", kind, f"one of {', '.join(get_args(Kind))}")
    if samples.is_complex():
        raise InvalidArgument("samples", samples.dtype, "real numbers; take the real and imaginary parts apart")
    if kind == "ranks":
        least = math.ceil(round(2 / (1 - level) - 1, 9))
        n = check_samples(samples, max(2, least), f"intervals of {level:g} by ranks")
        ordered = samples.sort(1).values
        rank = (1 - level) / 2 * (n + 1) - 1  # counted from 0
        return Intervals(_between(ordered, rank), _between(ordered, n - 1 - rank), level)
    n = check_samples(samples, 2, "intervals")
    mean, half = samples.mean(1), student_reach(level, n) * samples.std(1)
    return Intervals(mean - half, mean + half, level)


def coverage(found: Intervals, truth: Tensor) -> Tensor:
    """The share of the elements of ``truth`` (B, *S) inside, of each row: (B,), float64. 1e-6 beyond is inside."""
    if truth.shape != found.low.shape:
        raise InvalidArgument("truth", tuple(truth.shape), f"the shape of the intervals, {tuple(found.low.shape)}")
    inside = (truth >= found.low - DUST) & (truth <= found.high + DUST)
    return inside.flatten(1).double().mean(1)


def _between(ordered: Tensor, rank: float) -> Tensor:
    """The ``rank``-th (from 0, linear between whole ranks) of the ``ordered`` samples (B, n, *S)."""
    rank = min(max(rank, 0.0), ordered.shape[1] - 1)
    low = min(math.floor(rank + 1e-9), ordered.shape[1] - 1)
    weight = rank - low
    if weight < 1e-9:
        return ordered[:, low]
    return (1 - weight) * ordered[:, low] + weight * ordered[:, low + 1]
