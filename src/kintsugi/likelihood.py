"""Noise that is not white and Gaussian: photon counts, and photon counts read by a noisy sensor.

With ``m = A x`` the measurement without noise, in units of the data,

    Gaussian          y = m + sigma eps                                                Var = sigma^2
    Poisson           y = black + gain N,  N ~ Poisson((m - black) / gain)             Var = gain (m - black)
    Poisson-Gaussian  the same plus sigma eps                                          Var = gain (m - black) + sigma^2

``gain`` is what one photon adds to ``y`` and ``black`` is what ``y`` reads in the dark (-1 for a picture in [-1, 1]):
a picture exposed so that white is P photons has gain 2 / P.

All samplers of the library are derived for white Gaussian noise. A problem with another noise is brought to that form
before they run (:meth:`Problem.whitened`): each sample is divided by the standard deviation that the readings around it
imply, so that

    W y = W A x + noise,    W = diag(s / s_i),    s_i^2 = Var at m_i,    s^2 = Var at black + 1

is a linear (or differentiable) problem with white noise of standard deviation s. To second order it is the exact
likelihood; what it lacks is the skewness of few counts. ``m_i`` is a local mean (:func:`estimated_mean`): a single
reading says too little of its own variance, and low ones would count too much (a photograph of 20 photons at white,
denoised: 21.0 dB with single readings, 24.5 with local means, 24.2 with the true variances). Denoising itself takes
white noise of the mean variance (27.0 dB), see :meth:`Problem.whitened`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import InvalidArgument


@dataclass(frozen=True)
class NoiseModel:
    """A distribution of ``y`` given the measurement ``m`` without noise. Immutable."""

    def sample(self, m: Tensor, generator: torch.Generator) -> Tensor:
        """A noisy measurement for each element of ``m`` (B, *out_shape); shape and dtype of ``m``."""
        raise NotImplementedError

    def variance(self, m: Tensor) -> Tensor:
        """Variance of ``y``, element by element; ``m`` may be an estimate, or ``y`` itself. Positive."""
        raise NotImplementedError

    @property
    def typical_variance(self) -> float:
        """That of a sample of middling brightness: a scale, the same for every measurement."""
        return float(self.variance(torch.tensor(getattr(self, "black", -1.0) + 1.0, dtype=torch.float64)))

    def log_likelihood(self, y: Tensor, m: Tensor) -> Tensor:
        """``log p(y | m)`` of each row, (B,), up to a constant that does not depend on ``m``."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Name and settings, as JSON would hold them."""
        return {"noise": type(self).__name__} | asdict(self)


@dataclass(frozen=True)
class Poisson(NoiseModel):
    """Photon counts: ``y = black + gain N`` with ``N ~ Poisson((m - black) / gain)``; ``m`` below ``black`` is black.

    >>> Poisson(gain=0.1).variance(torch.tensor([[-1.0, 1.0]]))
    tensor([[0.0100, 0.2000]])
    """

    gain: float
    black: float = -1.0

    def __post_init__(self) -> None:
        if not (self.gain > 0 and math.isfinite(self.gain)):
            raise InvalidArgument("gain", self.gain, "a positive number, what one photon adds to y")
        if not math.isfinite(self.black):
            raise InvalidArgument("black", self.black, "a finite number, what y reads in the dark")

    def sample(self, m: Tensor, generator: torch.Generator) -> Tensor:
        rate = ((m.double() - self.black) / self.gain).clamp_min(0).cpu()
        return (self.black + self.gain * torch.poisson(rate, generator=generator)).to(m)

    def variance(self, m: Tensor) -> Tensor:
        return (self.gain * (m - self.black)).clamp_min(self.gain**2)  # at least that of one photon

    def log_likelihood(self, y: Tensor, m: Tensor) -> Tensor:
        count, rate = ((v.double() - self.black) / self.gain for v in (y, m))
        return (torch.xlogy(count, rate.clamp_min(1e-30)) - rate.clamp_min(0)).flatten(1).sum(1)


@dataclass(frozen=True)
class PoissonGaussian(NoiseModel):
    """Photon counts read by a sensor: :class:`Poisson` and white Gaussian noise of standard deviation ``sigma``."""

    gain: float
    sigma: float
    black: float = -1.0

    def __post_init__(self) -> None:
        Poisson(self.gain, self.black)
        if not (self.sigma > 0 and math.isfinite(self.sigma)):
            raise InvalidArgument("sigma", self.sigma, "a positive number; without it the noise is Poisson")

    def sample(self, m: Tensor, generator: torch.Generator) -> Tensor:
        photons = Poisson(self.gain, self.black).sample(m, generator)
        return photons + self.sigma * torch.randn(m.shape, generator=generator, dtype=torch.float64).to(m)

    def variance(self, m: Tensor) -> Tensor:
        return (self.gain * (m - self.black)).clamp_min(0) + self.sigma**2

    def log_likelihood(self, y: Tensor, m: Tensor) -> Tensor:
        """By the Gaussian of the same mean and variance; exact sums over counts serve no method here."""
        variance = self.variance(m.double())
        return -0.5 * ((y - m).double().square() / variance + variance.log()).flatten(1).sum(1)


def estimated_mean(y: Tensor, model: NoiseModel, size: int = 5) -> Tensor:
    """What ``y`` (B, C, *S) would read without noise, well enough for its variance: Lee's filter (1980).

    The mean m over up to ``size`` samples along each axis of space and, where readings vary more than noise does (at an
    edge), the reading itself: ``m + max(0, 1 - Var(m) / V) (y - m)`` with V their variance there.
    """
    pool = partial((F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[y.ndim - 3], kernel_size=size, stride=1,
                   padding=size // 2, count_include_pad=False)  # fmt: skip
    mean = pool(y)
    spread = (pool(y.square()) - mean.square()).clamp_min(torch.finfo(y.dtype).tiny)
    return mean + (1 - model.variance(mean) / spread).clamp_min(0) * (y - mean)
