"""What a sampler is: settings, a check before any network runs, and one method that runs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from numbers import Real
from typing import Any, ClassVar

from torch import Tensor

from ..errors import InvalidArgument
from ..guidance.base import Guidance
from ..noise import RowNoise
from ..operators.base import LinearOperator
from ..priors.base import Prior
from ..problem import Problem
from ..solvers.base import Solver
from .schedule import Schedule, Start

Report = Callable[[int, int], None]


class Sampler:
    """A named method. Subclasses are frozen dataclasses whose fields are the method's settings."""

    name: ClassVar[str]

    def check(self, prior: Prior, problem: Problem) -> None:
        """Raise :class:`InvalidArgument` for what the method cannot do, before any network runs."""

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        """Samples (B, *in_shape), one for each row of ``problem.y`` (B, *out_shape).

        ``report(done, total)`` is called after each step.
        """
        raise NotImplementedError


def check_number(name: str, value: object, fits: Callable[[Any], bool], expected: str) -> None:
    """Raise :class:`InvalidArgument` unless ``value`` is a real number that ``fits``; NaN never does."""
    if isinstance(value, bool) or not isinstance(value, Real) or value != value or not fits(value):
        raise InvalidArgument(name, value, expected)


def check_type(name: str, value: object, kind: type | tuple[type, ...], expected: str) -> None:
    """Raise :class:`InvalidArgument` unless ``value`` is one of ``kind``."""
    if not isinstance(value, kind):
        raise InvalidArgument(name, value, expected)


def start_at(prior: Prior, problem: Problem, start: Start, eta: float, noise: RowNoise) -> Tensor:
    """``z`` at the first noise level: an estimate of x_0 plus ``eta`` times white noise, (B, *in_shape).

    ``pinv``: ``A^+ y``. ``zero``: nothing. ``gaussian``: the posterior mean under the prior's data spectrum.
    """
    operator = problem.operator
    y = problem.y
    white = noise.normal(operator.in_shape, y)
    if start == "zero":
        return eta * white
    if not isinstance(operator, LinearOperator):
        raise InvalidArgument("start", start, "'zero', for an operator that is not linear")
    if start == "pinv":
        return operator.pinv(y) + eta * white
    if start == "gaussian":
        from ..guidance.spectral import gaussian_estimate

        return gaussian_estimate(prior, problem) + eta * white
    raise InvalidArgument("start", start, "'pinv', 'zero' or 'gaussian'")


def integrate(
    prior: Prior,
    problem: Problem,
    guidance: Guidance,
    solver: Solver,
    schedule: Schedule,
    steps: int,
    noise: RowNoise,
    report: Report,
) -> Tensor:
    """The loop that every method made of a guidance and a solver shares."""
    levels = schedule.levels(prior, steps)
    z = start_at(prior, problem, schedule.start, schedule.scale * levels[0], noise)
    state: Any = guidance.init(prior, problem)
    memory: Any = None
    for done, (a, c) in enumerate(pairwise(levels), 1):
        d, state = guidance(prior, problem, z, a, state)
        z, memory = solver.step(z, d, a, c, memory, noise)
        report(done, len(levels) - 1)
    return z
