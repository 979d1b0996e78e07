"""One row of a problem, as the maps need it: real or complex, white noise, linear at a point."""

from __future__ import annotations

import math

from torch import Tensor

from ..errors import InvalidArgument
from ..operators.base import LinearOperator, Operator
from ..operators.intervals import Intervals
from ..operators.linearized import local_operator
from ..problem import Problem

MOST = 2**20  # elements of the signals that go through an operator at a time


def row_problem(problem: Problem, row: int) -> Problem:
    """Measurement ``row`` alone, its noise white (:meth:`Problem.whitened`)."""
    return problem.select([row]).whitened()


def on_grid(x: Tensor, operator: Operator) -> Tensor:
    """Visible signals (n, *S) on the operator's grid; what lies beyond the border is not in them, and is mirrored."""
    shape = tuple(operator.in_shape)
    if tuple(x.shape[1:]) == shape:
        return x
    extended = operator.extend(x)
    if tuple(extended.shape[1:]) != shape:
        raise InvalidArgument("samples", tuple(x.shape), f"signals of the operator's shape {shape}")
    return extended


def as_signal(x: Tensor, problem: Problem) -> Tensor:
    """``x`` on the device and in the precision of the measurement, real or complex as the operator takes it."""
    y = problem.y
    dtype = y.dtype
    if y.is_complex() and not problem.operator.in_complex:
        dtype = y.real.dtype
    elif problem.operator.in_complex and not y.is_complex():
        dtype = y.dtype.to_complex()
    return x.to(y.device, dtype)


def linear_at(operator: Operator, mean: Tensor) -> LinearOperator:
    """``operator``, or its derivative at ``mean`` (1, *in_shape) if it is not linear."""
    return local_operator(operator, mean)


def together(operator: Operator) -> int:
    """How many signals go through the operator at a time: many small ones, one large one; one where it is for one."""
    if operator.batch is not None or not isinstance(operator, LinearOperator | Intervals):
        return 1
    return max(1, MOST // math.prod(operator.in_shape))


def check_rows(problem: Problem, samples: Tensor) -> None:
    """:class:`InvalidArgument` unless ``samples`` (B, n, *S) are of the B measurements of ``problem``."""
    if not isinstance(problem, Problem):
        raise InvalidArgument("problem", type(problem).__name__, "a Problem")
    if len(samples) != len(problem.batch):
        raise InvalidArgument("samples", f"of {len(samples)} measurements", f"those of {len(problem.batch)}")
