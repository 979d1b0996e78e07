"""Whether samples differ as much as they should. None of these clips: the tails of a distribution count.

Complex signals count as twice as many real ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from ..errors import InvalidArgument
from ..problem import Problem
from .base import Metric

DUST = 1e-6  # an error that float32 makes by itself, for data in [-1, 1]


@dataclass(frozen=True)
class Diversity(Metric):
    """Root mean square over pixels of the standard deviation over samples (with n - 1), in the units of the data."""

    name: ClassVar[str] = "diversity"
    better: ClassVar[Literal["higher", "lower", "none"]] = "none"
    needs: ClassVar[frozenset[str]] = frozenset({"samples"})
    takes_complex: ClassVar[bool] = True

    def _value(self, samples: Tensor, truth: Tensor | None, problem: Problem | None) -> float:
        return float(samples.var(0).mean().sqrt())


@dataclass(frozen=True)
class Coverage(Metric):
    """Share of the pixels whose truth lies in the central ``level`` interval of the samples; ``level`` is the best.

    The interval of a pixel is ``m ± t s sqrt(1 + 1/n)`` with the mean m and the standard deviation s (n - 1) of n
    samples and t the ``(1 + level) / 2`` quantile of Student's t with n - 1 degrees of freedom: for Gaussian pixels it
    holds one more draw with probability ``level`` at any n, and it is ``m ± 1.645 s`` for many samples and 0.9.
    Where samples and truth are equal to 1e-6, as in pixels that were measured without noise, the truth is inside.
    """

    name: ClassVar[str] = "coverage"
    better: ClassVar[Literal["higher", "lower", "none"]] = "none"
    best: ClassVar[float | None] = 0.9
    needs: ClassVar[frozenset[str]] = frozenset({"truth", "samples"})
    takes_complex: ClassVar[bool] = True

    level: float = 0.9

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise InvalidArgument("level", self.level, "a probability between 0 and 1")

    def _value(self, samples: Tensor, truth: Tensor | None, problem: Problem | None) -> float:
        assert truth is not None
        from scipy.special import stdtrit

        n = len(samples)
        reach = float(stdtrit(n - 1, (1 + self.level) / 2)) * (1 + 1 / n) ** 0.5
        inside = (truth - samples.mean(0)).abs() <= reach * samples.std(0) + DUST
        return float(inside.double().mean())


@dataclass(frozen=True)
class SpreadSkill(Metric):
    """Spread over error, ``sqrt((n + 1) / n) rms(s) / rms(m - x0)``: 1 for n samples of the true posterior.

    m and s are the mean and the standard deviation (n - 1) of the samples, and the rms is over pixels: the mean of n
    draws is off from another draw by ``s^2 (1 + 1/n)`` on average (Fortin et al. 2014). Above 1 samples differ too
    much, below 1 too little. inf where the mean is the truth.
    """

    name: ClassVar[str] = "spread_skill"
    better: ClassVar[Literal["higher", "lower", "none"]] = "none"
    best: ClassVar[float | None] = 1.0
    needs: ClassVar[frozenset[str]] = frozenset({"truth", "samples"})
    takes_complex: ClassVar[bool] = True

    def _value(self, samples: Tensor, truth: Tensor | None, problem: Problem | None) -> float:
        assert truth is not None
        n = len(samples)
        spread, error = samples.var(0).mean(), (samples.mean(0) - truth).square().mean()
        return float(((n + 1) / n * spread / error).sqrt())
