"""What a sampler is: settings, a check before any network runs, and one method that runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from numbers import Real
from typing import Any, ClassVar, TypeVar

from torch import Tensor

from ..errors import InvalidArgument
from ..guidance.base import Guidance
from ..noise import RowNoise
from ..priors.base import Prior
from ..problem import Problem
from ..solvers.base import Solver
from .schedule import Schedule, Start
from .space import Space
from .watch import begin, look

Report = Callable[[int, int], None]


class Sampler:
    """A named method. Subclasses are frozen dataclasses whose fields are the method's settings.

    Their docstrings say what ``about.py`` reads: a line of summary, the update, and the paragraphs ``Paper:``,
    ``Cost:``, ``Takes:`` and ``Authors:``.
    """

    name: ClassVar[str]
    # What `kintsugi tune` may turn; empty for a method that it leaves alone.
    space: ClassVar[Space] = {}
    # What to change where the method diverges: a setting, and how.
    steadier: ClassVar[Mapping[str, str]] = {}

    def resolved(self, problem: Problem, steps: int) -> dict[str, Any]:
        """What the settings in ``space`` are in such a run: as given, and where that is None, what it stands for."""
        return {name: getattr(self, name) for name in self.space}

    def advice(self, problem: Problem, steps: int) -> str:
        """Which settings to change after a divergence, with their present values, in words."""
        known = self.resolved(problem, steps)
        words = []
        for name, change in self.steadier.items():
            value = known.get(name, getattr(self, name, None))
            least = {"smaller": 0, "closer to 0": 0, "fewer": 1}.get(change)
            if repr(value) == change or (least is not None and value == least):  # no farther to go
                continue
            now = f" (now {value:.4g})" if isinstance(value, Real) and not isinstance(value, bool) else ""
            words.append(f"{name} {change}{now}")
        return ", or ".join([*words, "more steps"])

    @property
    def needs_vjp(self) -> bool:
        """Whether the method differentiates the network, with these settings."""
        return False

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

    ``zero``: nothing. ``pinv``: ``A^+ y``, and nothing where the operator has no pseudo-inverse. ``gaussian``: the
    posterior mean under the prior's data spectrum. A guess of the problem takes the place of the last two.
    """
    operator = problem.operator
    y = problem.y
    white = noise.normal(operator.in_shape, y)
    if problem.guess is not None and start in ("pinv", "gaussian"):
        return problem.guess.to(white) + eta * white
    if start == "zero" or (start == "pinv" and not operator.has_pinv):
        return eta * white
    if start == "pinv":
        return operator.pinv(y) + eta * white
    if start == "gaussian":
        from ..guidance.spectral import gaussian_estimate

        return gaussian_estimate(prior, problem) + eta * white
    raise InvalidArgument("start", start, "'pinv', 'zero' or 'gaussian'")


State = TypeVar("State")


def march(
    levels: Sequence[float],
    z: Tensor,
    step: Callable[[Tensor, float, float, State], tuple[Tensor, State]],
    state: State,
    noise: RowNoise,
    report: Report,
) -> Tensor:
    """The loop that all samplers share: from the first noise level to the last.

    ``step(z, a, c, state)`` takes ``z`` from level ``a`` to ``c < a`` and returns the next state. Where the levels rise
    (time travel), ``z`` gets the noise that it lacks, and the next step begins with the first state.
    """
    first, total = state, len(levels) - 1
    begin(report, z, levels[0])
    for done, (a, c) in enumerate(pairwise(levels), 1):
        if c < a:
            z, state = step(z, a, c, state)
        else:
            z, state = z + math.sqrt(c**2 - a**2) * noise.normal_like(z), first
        look(report, z, c, a)
        report(done, total)
    return z


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
    """What every method made of a guidance and a solver does."""
    levels = schedule.levels(prior, steps)
    z = start_at(prior, problem, schedule.start, schedule.scale * levels[0], noise)

    def step(z: Tensor, a: float, c: float, state: tuple[Any, Any]) -> tuple[Tensor, tuple[Any, Any]]:
        guided, memory = state
        d, guided = guidance(prior, problem, z, a, guided)
        z, memory = solver.step(z, d, a, c, memory, noise)
        return z, (guided, memory)

    return march(levels, z, step, (guidance.init(prior, problem), None), noise, report)
