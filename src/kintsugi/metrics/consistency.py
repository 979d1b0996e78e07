"""How well samples explain the measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..operators.base import LinearOperator, Operator
from ..problem import Problem
from .base import Metric


@dataclass(frozen=True)
class Consistency(Metric):
    """``rms(A x - y) / noise``, root mean square over readings, averaged over the samples; x is not clipped.

    1 is that of the truth, and of draws of the posterior where there are many more readings than it could fit: far
    above 1 a sample ignores the measurement, far below 1 it fits the noise. Without noise the rms itself is the value,
    in the units of y, and 0 is the best. With a noise model each reading is in its own standard deviation,
    ``sqrt(model.variance(A x))``. The real and the imaginary part of a complex reading are two readings.

    Entries of y that a linear operator makes of nothing are no readings and do not count: the holes of a mask, what a
    trajectory leaves out of k-space. Where the operator has a margin beyond the visible signal, the samples' is not
    known: it is mirrored.
    """

    name: ClassVar[str] = "consistency"
    better: ClassVar[Literal["higher", "lower", "none"]] = "none"
    needs: ClassVar[frozenset[str]] = frozenset()
    takes_complex: ClassVar[bool] = True

    def _value(self, samples: Tensor, truth: Tensor | None, problem: Problem | None) -> float:
        if problem is None:
            raise InvalidArgument("problem", None, "the problem that the samples solve, for consistency")
        real = problem.select([0] * len(samples)).on_real()
        y = real.batch
        measured = real.operator(_on_grid(samples.to(y), real.operator)).double()
        residual = measured - y.double()
        if real.model is not None:
            residual = residual / real.model.variance(measured).sqrt()
        elif real.noise > 0:
            residual = residual / real.noise
        read = _readings(problem.on_real(), y)
        return float(residual.flatten(1)[:, read].square().mean(1).sqrt().mean())


def _readings(problem: Problem, y: Tensor) -> Tensor:
    """Which entries of the flattened y depend on x: a random signal gives those something other than zero."""
    operator = problem.operator
    if not isinstance(operator, LinearOperator):
        return torch.ones(y[0].numel(), dtype=torch.bool, device=y.device)
    generator = torch.Generator().manual_seed(0)
    probe = torch.randn(1, *operator.in_shape, generator=generator, dtype=torch.float64).to(y)
    return operator(probe).flatten() != 0


def _on_grid(x: Tensor, operator: Operator) -> Tensor:
    shape = tuple(operator.in_shape)
    if tuple(x.shape[1:]) == shape:
        return x
    extended = operator.extend(x)
    if tuple(extended.shape[1:]) != shape:
        raise InvalidArgument("samples", tuple(x.shape), f"signals of the operator's shape {shape}")
    return extended
