"""How far samples are from a posterior that is known.

All distances are in the posterior's own standard deviation, root mean square over the elements of the signal, so that
problems of different size and difficulty compare; 0, 1, the floor and 0 are those of a perfect sampler.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .base import Oracle, as_generator

DIRECTIONS, FLOORS = 64, 4


@dataclass(frozen=True)
class Distance:
    """What :func:`distance` measures.

    Attributes
    ----------
    mean: error of the mean of the samples, root mean square over elements; what the finite number of samples adds to
        it has been taken off (its expectation, from their own variance), so a perfect sampler is at 0 but for chance.
    spread: standard deviation of the samples over the true one, both root mean square over elements.
    sliced: sliced Wasserstein-2 distance to as many exact draws: root mean square over random directions of the
        distance of the two sorted projections. But for the floor it is ``c`` for a shift by ``c``, root mean square
        over elements, and ``|s - 1|`` for an isotropic Gaussian scaled by ``s``.
    sliced_floor: that of exact draws to those same exact draws, root mean square over four sets of as many.
    modes: total variation distance of the shares of the samples in each mode from the true ones, in [0, 1]; None for
        priors with one mode.
    modes_floor: what exact draws of the same number have on average.
    goals: where each of these is better: "lower", or near a number.
    """

    goals: ClassVar[Mapping[str, Literal["lower"] | float]] = {
        "mean": "lower", "spread": 1.0, "sliced": "lower", "modes": "lower",
    }  # fmt: skip

    mean: float
    spread: float
    sliced: float
    sliced_floor: float
    modes: float | None = None
    modes_floor: float | None = None


def distance(samples: Tensor, oracle: Oracle, generator: torch.Generator | int = 0) -> Distance:
    """From ``samples`` (n, *shape), at least two, to the posterior of ``oracle``.

    ``generator``: or the seed of one, for the exact draws and the directions.
    """
    if tuple(samples.shape[1:]) != oracle.shape or len(samples) < 2:
        shape = ", ".join(map(str, oracle.shape))
        raise InvalidArgument("samples", tuple(samples.shape), f"shape (n, {shape}) with n of at least 2")
    if not bool(torch.isfinite(samples).all()):
        raise InvalidArgument("samples", "samples with NaN or infinite values", "finite samples")
    generator = as_generator(generator)
    x, n = samples.detach().cpu().double(), len(samples)
    variance = float(x.var(0).mean())
    error = float((x.mean(0) - oracle.mean).square().mean()) - variance / n
    exact = oracle.sample(n, generator)
    directions = _directions(oracle.mean.numel(), generator)
    floors = [_sliced(oracle.sample(n, generator), exact, directions) for _ in range(FLOORS)]
    modes = modes_floor = None
    if oracle.weights is not None and oracle.responsibilities is not None:
        modes = float(0.5 * (oracle.responsibilities(x).mean(0) - oracle.weights).abs().sum())
        # Counts in each mode are binomial; nearly normal, so their mean deviation is sqrt(2 / pi) of the standard one.
        p = oracle.weights
        modes_floor = float(0.5 * (2 / math.pi * p * (1 - p) / n).sqrt().sum())
    return Distance(
        mean=math.sqrt(max(error, 0.0)) / oracle.scale,
        spread=math.sqrt(variance) / oracle.scale,
        sliced=_sliced(x, exact, directions) / oracle.scale,
        sliced_floor=math.hypot(*floors) / FLOORS**0.5 / oracle.scale,
        modes=modes,
        modes_floor=modes_floor,
    )


def _directions(n: int, generator: torch.Generator) -> Tensor:
    """At least ``DIRECTIONS`` unit vectors of n elements, as rows: whole orthonormal bases, each turned at random.

    Over a basis the squares of a shift's projections sum to its square, so that the directions' chance does not enter.
    """
    bases = torch.randn(-(-DIRECTIONS // n), n, n, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(bases).Q.mT.reshape(-1, n)


def _sliced(a: Tensor, b: Tensor, directions: Tensor) -> float:
    """The sliced Wasserstein-2 distance of two samples of the same size."""
    projected = [(x.flatten(1) @ directions.T).sort(0).values for x in (a, b)]
    return float((projected[0] - projected[1]).square().mean().sqrt())
