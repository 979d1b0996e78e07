"""What the data still say against an estimate: the residual, and the operator that carries it back."""

from __future__ import annotations

import torch
from torch import Tensor

from ..operators.base import Accuracy, LinearOperator
from ..operators.iterative import conjugate_gradients
from ..operators.linearized import Linearized
from ..problem import Problem

_ACCURACY = Accuracy(1e-2, 20)


def local_residual(problem: Problem, d: Tensor) -> tuple[LinearOperator, Tensor]:
    """``A'`` at the rows of ``d`` (B, *in_shape) and ``y - A(d)`` (B, *out_shape); ``A' = A`` where A is linear.

    The residual is restricted to the range of ``A'``, so that conjugate gradients meet no part of it that no signal can
    explain (noise where a mask measured nothing). Where ``A'`` is a derivative it is left as it is if there is noise,
    which makes the system regular, and else replaced by what a least-squares fit explains of it.
    """
    if isinstance(problem.operator, LinearOperator):
        residual = problem.y - problem.operator(d)
        return problem.operator, problem.operator.gram(torch.ones_like, residual)
    local = Linearized(problem.operator, d)
    residual = problem.y - local.value
    if problem.noise > 0:
        return local, residual
    fit = conjugate_gradients(
        lambda x: local.adjoint(local(x)),
        local.adjoint(residual),
        tolerance=_ACCURACY.tolerance,
        iterations=_ACCURACY.iterations,
    )
    return local, local(fit)
