"""Spectral-covariance guidance: moment matching with a stationary covariance of the denoising error.

p(x_0 | z) is approximated by N(D, C_eta) with C_eta diagonal in Fourier, and Bayes' rule gives

    D_y = D + C_eta A^T (A C_eta A^T + sigma^2 I)^{-1} (y - A D).

``C_eta`` carries what was measured at one pixel to its neighbours, over the distances at which the denoiser's errors
are correlated; with ``C = r^2 I`` this is the isotropic DDNM. It is the spectrum of ``x_0 - D`` that was measured for
the model and is stored with it, or else ``S eta^2 / (S + eta^2)`` from a spectrum S of the data. No Jacobian is
needed: the cost is one forward a level. The system is solved in closed form where A is diagonal in Fourier, and by
preconditioned conjugate gradients elsewhere.

Where ``A^T A = lam I`` (denoising) the measurement is itself a noisy view of the signal, ``A^T y / lam`` at level
``sigma / sqrt(lam)``, independent of z. No approximation is needed then: two views are one at their pooled level,

    D_y(z, eta) = D(z', eta'),    1/eta'^2 = 1/eta^2 + lam/sigma^2,    z' = eta'^2 (z / eta^2 + A^T y / sigma^2).

**Confidence.** C_eta is stationary: an average over busy and flat places, too small for the first and too large for
the second. Where a linear measurement is noisy, the solution for it leaves noise in flat places that every level puts
back. So at all levels but the last the variance of the noise may be taken as ``sigma^2 / confidence``: the estimate
keeps more of the measurement's noise, no more than the denoiser expects at that level, and what of it is noise is
decided by the network, which sees the place, and not by the average. (DDRM does the same for each singular value: what
was measured enters z with its own noise.) At 4, on held-out photographs with a noise of 0.05, it is worth 0.4 to 1.1
dB. A prior whose covariance is stationary and known (the Gaussian oracles) needs none, and gets none.

**Measurements that are not linear.** Those that say in which interval a coefficient lies (rounding, saturation, JPEG)
condition N(D, C_eta) on it, coefficient by coefficient (``operators/intervals.py``); the variances of C_eta are
multiplied by a constant, 2 for rounded pixels and 8 for the others, since a stationary covariance is too sure of busy
places. Any other A is replaced by its derivative at D (Gauss-Newton), with a noise of at least ``FLOOR``, for what the
derivative leaves out. Both cost no more of the network than a linear measurement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..operators.base import Accuracy, LinearOperator, Operator
from ..operators.camera import Pointwise
from ..operators.chain import Chain
from ..operators.covariance import SideBySide, StationaryCovariance
from ..operators.intervals import Intervals, conditional_mean_behind
from ..operators.linearized import Linearized
from ..priors.base import Prior
from ..priors.rates import TwoBands
from ..priors.spectrum import ErrorSpectrum
from ..priors.together import sources
from ..problem import Problem
from .base import Guidance, levels_like

# What conjugate gradients leave undone at a level is hidden by what the network changes next; at the start less of it
# is (noisy masks: 20 iterations cost 0.3 dB in the result at a noise of 0.02 and 0.6 dB at 0.3; 60 do as well as 300).
START_ACCURACY = Accuracy(2e-2, 60)
STEP_ACCURACY = Accuracy(3e-2, 12)
FLOOR = 0.01  # about one grey level of 255


def photo_spectrum(radius: Tensor, data_variance: float = 0.25) -> Tensor:
    """The 1/f^2 spectrum of photographs, as (2, *radius.shape): luma, and chroma with a twentieth of its power.

    Scaled so that a pixel of a 256 x 256 picture has about ``data_variance``. For models whose spectrum was never
    measured.
    """
    luma = 0.09 * data_variance / (radius**2 + (1 / 256) ** 2)
    return torch.stack((luma, luma / 20))


def error_covariance(prior: Prior, eta: float) -> StationaryCovariance:
    """``C_eta`` of ``prior``: measured where the model carries a spectrum, else from the 1/f^2 model of the data."""
    parts = sources(prior)
    if parts:
        return SideBySide([(channels, error_covariance(part, eta)) for channels, part in parts])
    measured = getattr(prior, "spectrum", None)
    if isinstance(measured, ErrorSpectrum | TwoBands):
        return StationaryCovariance(lambda radius: measured.at(eta, radius))
    exact = getattr(prior, "covariance", None)
    data = exact.spectrum if isinstance(exact, StationaryCovariance) else photo_spectrum

    def shrunk(radius: Tensor) -> Tensor:
        s = data(radius)
        return s * eta**2 / (s + eta**2)

    return StationaryCovariance(shrunk)


def gaussian_estimate(prior: Prior, problem: Problem, accuracy: Accuracy = START_ACCURACY) -> Tensor:
    """``S A^T (A S A^T + sigma^2)^{-1} y``: the posterior mean for data of spectrum S, without the network.

    S is the prior's error at the highest noise level, where the network knows nothing but the mean. The noise of the
    first level hides most of what the conjugate gradients have left, so a loose tolerance does. Where A is not linear:
    the middle of the intervals that the measurement states; else two Gauss-Newton steps from A^+ y, or from 0.
    """
    operator = problem.operator
    covariance = error_covariance(prior, 80.0)
    if isinstance(operator, Intervals):
        return operator.centre(problem.y, problem.noise)
    y, noise = problem.y, problem.noise
    behind = _behind(operator)
    if behind is not None:
        y, noise, operator = behind[0].centre(y, noise), max(noise, FLOOR), behind[1]
    if not isinstance(operator, LinearOperator):
        zero = y.new_zeros((len(y), *operator.in_shape))
        x = operator.pinv(y) if operator.has_pinv else zero
        level = x.mean(tuple(range(2, x.ndim)), keepdim=True).expand_as(x)
        for _ in range(2):
            local = Linearized(operator, x)
            r = y - local.value - local(level - x)
            x = level + local.gain(covariance, max(noise, FLOOR) ** 2, r, accuracy)
        return x
    level = constant_fit(operator, y)
    r = y - operator(level)
    return level + operator.gain(covariance, noise**2, r, accuracy)


def constant_fit(operator: LinearOperator, y: Tensor) -> Tensor:
    """The constant signal (B, *in_shape), one value a channel, whose measurement is closest to ``y``.

    Pictures have no mean colour that a prior could know; taken out first, it does not dominate a relative residual.
    """
    channels, rows, space = operator.in_shape[0], operator.batch or 1, (1,) * (len(operator.in_shape) - 1)
    ones = torch.eye(channels, dtype=y.dtype, device=y.device).view(channels, 1, channels, *space)
    each = [operator(one.expand(rows, *operator.in_shape)) for one in ones]
    measured = torch.stack(each).flatten(2).transpose(0, 1).expand(len(y), -1, -1)
    gram = measured @ measured.transpose(1, 2)
    values = torch.linalg.pinv(gram, hermitian=True) @ (measured @ y.flatten(1)[:, :, None])
    return values.view(len(y), channels, *space).expand(len(y), *operator.in_shape)


def _behind(operator: Operator) -> tuple[Pointwise, LinearOperator] | None:
    """The two parts of what changes samples one by one after a linear operator; None for anything else."""
    if isinstance(operator, Chain):
        outer, inner = operator.outer, operator.inner
        if isinstance(outer, Pointwise) and isinstance(inner, LinearOperator):
            return outer, inner
    return None


@dataclass(frozen=True)
class SpectralCovariance(Guidance):
    """Guidance with the spectrum of the model's own errors.

    ``accuracy`` bounds the conjugate gradients of operators without a closed form; the default costs 0.03 dB against a
    converged solution (measured on 70 % missing pixels). ``confidence``: what the variance of the noise of a linear
    measurement is divided by at levels above ``last``, where C_eta is an average; 1 for the posterior as it says.
    """

    accuracy: Accuracy = STEP_ACCURACY
    confidence: float = 1.0
    last: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.confidence < math.inf:
            raise InvalidArgument("confidence", self.confidence, "a finite number of at least 1")

    def __call__(self, prior: Prior, problem: Problem, z: Tensor, eta: float, state: Any) -> tuple[Tensor, Any]:
        operator = problem.operator
        if isinstance(operator, LinearOperator) and operator.scalar is not None and problem.noise > 0:
            pooled = 1 / (1 / eta**2 + operator.scalar / problem.noise**2)
            z = pooled * (z / eta**2 + operator.adjoint(problem.y) / problem.noise**2)
            return prior.denoise(z, levels_like(z, pooled**0.5)), state
        d = prior.denoise(z, levels_like(z, eta))
        return self.correct(prior, problem, d, eta), state

    def correct(self, prior: Prior, problem: Problem, d: Tensor, eta: float) -> Tensor:
        """``d + C A^T (A C A^T + sigma^2)^{-1} (y - A d)``: the mean of x_0 given ``d`` and the measurement."""
        operator, covariance, noise = problem.operator, error_covariance(prior, eta), problem.noise
        if isinstance(operator, Intervals):
            return operator.conditional_mean(d, problem.y, covariance, noise)
        if isinstance(operator, LinearOperator):
            averaged = not isinstance(getattr(prior, "covariance", None), StationaryCovariance)
            variance = noise**2 / (self.confidence if averaged and eta > self.last else 1.0)
            return d + operator.gain(covariance, variance, problem.y - operator(d), self.accuracy)
        behind = _behind(operator)
        if behind is not None:
            return conditional_mean_behind(*behind, d, problem.y, covariance, noise, self.accuracy)
        local = Linearized(operator, d)
        return d + local.gain(covariance, max(noise, FLOOR) ** 2, problem.y - local.value, self.accuracy)
