"""Guidance: how a measurement turns the prior's denoiser into the posterior's.

With a measurement the probability-flow ODE in the canonical variables is

    dz/deta = (z - D_y) / eta,    D_y(z, eta) = D(z, eta) + eta^2 grad_z log p(y | z).

A guidance is an approximation of ``D_y``. It is immutable; what it wants to keep from one noise level to the next
(a pseudo-inverse of y, the last solution of an iterative solver) is a state that the caller threads through.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..errors import InvalidArgument
from ..operators.base import LinearOperator
from ..priors.base import Prior
from ..problem import Problem


class Guidance:
    """``D_y`` of one method. Subclasses are frozen dataclasses."""

    def check(self, prior: Prior, problem: Problem) -> None:
        """Raise :class:`InvalidArgument` if this method is not defined for the problem; no network runs."""

    def init(self, prior: Prior, problem: Problem) -> Any:
        """The state before the first noise level."""
        return None

    def __call__(self, prior: Prior, problem: Problem, z: Tensor, eta: float, state: Any) -> tuple[Tensor, Any]:
        """``D_y(z, eta)`` with shape (B, C, *S), and the next state. ``problem.y`` has B rows."""
        raise NotImplementedError


def linear_operator(problem: Problem, method: str) -> LinearOperator:
    """The operator of ``problem``, which ``method`` needs to be linear."""
    if not isinstance(problem.operator, LinearOperator):
        raise InvalidArgument("operator", type(problem.operator).__name__, f"a linear operator, for {method}")
    return problem.operator


def levels_like(z: Tensor, eta: float) -> Tensor:
    """``eta`` for each row of ``z``, (B,)."""
    return z.new_full((len(z),), eta)
