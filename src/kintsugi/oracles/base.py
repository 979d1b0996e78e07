"""What an oracle is: a problem whose posterior is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..priors.base import Prior
from ..problem import Problem

Draw = Callable[[int, torch.Generator], Tensor]


@dataclass(frozen=True, eq=False)
class Oracle:
    """A prior, one measurement and the exact posterior of the signal, all in float64.

    Attributes
    ----------
    name, family, summary: what it is called, what it is one of, and what it is.
    prior, problem: what a sampler is given. ``problem.y`` has one row.
    truth: the signal that was measured, (1, *shape).
    mean, std: of each element of the posterior, (*shape).
    draw: ``(n, generator)`` to exact samples of the posterior; call :meth:`sample`.
    weights: of the posterior's modes (K,), where the prior is a mixture, else None.
    responsibilities: of the modes for signals (n, *shape), as (n, K) with rows that sum to one. They are those of the
        *prior*, ``p(k | x)``: given the signal, the measurement says nothing more about its mode, so their mean over
        the posterior is ``weights``, with and without noise.
    density: of the posterior at signals (n, *shape), as (n,), where it has one and few dimensions, else None.
    """

    name: str
    family: str
    summary: str
    prior: Prior
    problem: Problem
    truth: Tensor
    mean: Tensor
    std: Tensor
    draw: Draw
    weights: Tensor | None = None
    responsibilities: Callable[[Tensor], Tensor] | None = None
    density: Callable[[Tensor], Tensor] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """That of a signal, (C, *S)."""
        return tuple(self.problem.operator.in_shape)

    @property
    def scale(self) -> float:
        """The standard deviation of the posterior, root mean square over the elements: the unit of distances."""
        return float(self.std.square().mean().sqrt())

    def sample(self, n: int, generator: torch.Generator | int = 0) -> Tensor:
        """``n`` independent exact draws of the posterior, (n, *shape)."""
        return self.draw(n, as_generator(generator))

    def density_on_grid(self, per_axis: int = 401, reach: float = 6.0) -> tuple[Tensor, Tensor]:
        """Signals (N, *shape) on a regular grid of ``reach`` standard deviations about the mean, and the density (N,).

        For the oracles of one or two dimensions, to plot or to integrate.
        """
        if self.density is None:
            raise InvalidArgument("oracle", self.name, "an oracle of one or two dimensions, with a density")
        unit = torch.linspace(-reach, reach, per_axis, dtype=torch.float64)
        axes = [m + s * unit for m, s in zip(self.mean.flatten(), self.std.flatten(), strict=True)]
        points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, *self.shape)
        return points, self.density(points)


def as_generator(seed: torch.Generator | int) -> torch.Generator:
    """A generator on the CPU, from a seed or as it is."""
    return seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
