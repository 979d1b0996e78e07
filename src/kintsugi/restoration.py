"""What a restoration gives: samples, and what they say together.

The statistics are of the samples as they are; what they mean, and how far they can be trusted, is in
:mod:`kintsugi.uncertainty`, which does the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .errors import InvalidArgument
from .problem import Problem
from .samplers.base import Sampler

if TYPE_CHECKING:
    from .priors.calibration import Calibration
    from .uncertainty import Intervals, Kind


@dataclass(frozen=True)
class Cost:
    """What a restoration took: network evaluations and VJPs for each sample, and seconds for all."""

    forwards: float
    vjps: float
    seconds: float


@dataclass(frozen=True)
class Restoration:
    """Samples of ``x`` given ``y``.

    Attributes
    ----------
    samples: (B, n, *S) with S the visible signal (C, H, W); data range [-1, 1], not clipped; complex where the
        operator takes complex signals.
    cost: forwards and VJPs for each sample, and seconds.
    sampler: the sampler with its settings.
    notes: what was approximated on the way, and done in smaller parts for lack of memory, in words.
    problem: what was solved, for the maps that compare with the measurement.
    steps: of the sampler, 0 if unknown. calibrations: what the model's file says of the spread of samples.
    """

    samples: Tensor
    cost: Cost
    sampler: Sampler
    notes: tuple[str, ...] = ()
    problem: Problem | None = None
    steps: int = 0
    calibrations: tuple[Calibration, ...] = ()

    @property
    def mean(self) -> Tensor:
        """The mean over samples, (B, *S)."""
        return self.samples.mean(1)

    @property
    def std(self) -> Tensor:
        """The standard deviation over samples, (B, *S), with n - 1; zero for a single sample."""
        if self.samples.shape[1] == 1:
            return torch.zeros_like(self.samples[:, 0])
        return self.samples.std(1)

    def quantiles(self, q: float | Sequence[float]) -> Tensor:
        """Pixelwise quantiles of the samples at ``q`` in [0, 1], (B, *S), or (len(q), B, *S) for several."""
        from .uncertainty import quantiles

        return quantiles(self.samples, q)

    def intervals(self, level: float = 0.9, kind: Kind = "student", *, calibrated: bool = False) -> Intervals:
        """Central intervals that should hold each pixel of the truth with probability ``level``.

        kind: how raw ones are made of the samples, see :func:`kintsugi.uncertainty.intervals`. calibrated: of the
        widths that had this coverage on held-out pictures, as the model's file states them; the result's ``notes``
        say which. Errors: :class:`InvalidArgument` where the file states none for this sampler, steps and problem.
        """
        from .uncertainty import calibrated_intervals, find_calibration, intervals

        if not calibrated:
            return intervals(self.samples, level, kind)
        known = find_calibration(self.calibrations, self.sampler, self.steps, self._known_problem())
        return calibrated_intervals(self.samples, level, known)

    def invented(self) -> Tensor:
        """The share of each pixel's variance that no measurement supports, (B, 1, *space), in [0, 1].

        See :mod:`kintsugi.uncertainty.invented`. At least two samples.
        """
        from .uncertainty import invented

        return invented(self._known_problem(), self.samples)

    def consistency(self) -> Tensor:
        """How far the samples contradict the measurement at each pixel, in units of its noise, (B, *S).

        See :mod:`kintsugi.uncertainty.consistency`.
        """
        from .uncertainty import consistency

        return consistency(self._known_problem(), self.samples)

    def _known_problem(self) -> Problem:
        if self.problem is None:
            raise InvalidArgument("problem", None, "a Restoration that knows the problem it solves")
        return self.problem
