"""A model of sounds at one sampling rate, for sounds at a higher one.

A signal of n samples is the sum of two parts that do not overlap in Fourier: the low band, which the model at its own
rate can hold, and what lies above. White noise is independent in the two, so that for independent bands

    D(z, eta) = U D_m(V z, eta sqrt(m / n)) + W z,    W = S / (S + eta^2) above the band, 0 in it

with V the low band in m samples (a crop of the Fourier transform that keeps the values of a slow signal), U the way
back, and S the spectrum of what lies above: a Gaussian whose spectrum the caller states, for instance that of the
recording itself. V makes the noise of z weaker, since m of n dimensions are left. Everything that is done to samples at
the higher rate (clipping, gaps, rounding, a response) can so be said where it happened.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

from ..errors import InvalidArgument
from ..operators.covariance import StationaryCovariance, frequency_radius
from .base import Prior
from .spectrum import ErrorSpectrum


class AtRate(Prior):
    """``model``, a prior of signals (C, T) at some rate, for signals (C, T') at ``ratio`` times that rate.

    ratio: at least 1. above: the variance at each frequency (any shape, cycles per sample of the higher rate), at least
    1e-12, of the band that the model does not know. margin: samples that are mirrored beyond both ends before the
    Fourier transform, which would otherwise join the end to the beginning; 0 for periodic signals.

    Errors: :class:`InvalidArgument` for a ratio below 1 and for models of signals with more than one dimension.
    """

    def __init__(self, model: Prior, ratio: float, above: Callable[[Tensor], Tensor], margin: int = 1024) -> None:
        super().__init__()
        if not 1 <= ratio < math.inf:
            raise InvalidArgument("ratio", ratio, "a finite number of at least 1")
        if model.shape is None or len(model.shape) != 2:
            raise InvalidArgument("model", model.shape, "a prior of signals (channels, samples)")
        if margin < 0:
            raise InvalidArgument("margin", margin, "a number of samples of at least 0")
        # Not "inner": what asks wrapped priors for their parts must stop here, their samples are others.
        self.model, self.ratio, self.above, self.margin = model, ratio, above, margin
        self.path, self.shape = model.path, (model.shape[0], None)
        self.data_variance, self.data_scale, self.has_vjp = model.data_variance, model.data_scale, model.has_vjp
        measured, exact = getattr(model, "spectrum", None), getattr(model, "covariance", None)
        if isinstance(measured, ErrorSpectrum):
            self.spectrum = TwoBands(measured, ratio, above)
        elif isinstance(exact, StationaryCovariance):
            self.covariance = StationaryCovariance(lambda f: _join(f, ratio, exact.spectrum, above(f)))

    @property
    def evaluations(self) -> int:
        return self.model.evaluations

    def check(self) -> None:
        self.model.check()

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        size, margin = z.shape[-1], min(self.margin, z.shape[-1] - 1)
        # What is mirrored at the end may be longer, so that Fourier transforms are fast.
        after = min(next_fast_len(size + 2 * margin, real=True) - size - margin, size - 1) if margin else 0
        wide = F.pad(z, (margin, after), mode="reflect") if margin else z
        n = wide.shape[-1]
        m = 2 * ((max(1, round(n / self.ratio)) - 1) // 2) + 1  # odd: every bin below half the rate is a whole one
        bins = (m + 1) // 2
        transform = torch.fft.rfft(wide)
        low = torch.fft.irfft(transform[..., :bins], n=m) * (m / n)
        low = self.model.denoise(low, eta * (m / n) ** 0.5)
        variance = self.above(frequency_radius((n,), half=True, like=wide)[bins:])
        high = transform[..., bins:] * (variance / (variance + eta.to(variance).view(-1, 1, 1) ** 2))
        out = torch.fft.irfft(torch.cat((torch.fft.rfft(low) * (n / m), high), -1), n=n)
        return out[..., margin : margin + size]


@dataclass(frozen=True)
class TwoBands:
    """The spectrum of the errors of :class:`AtRate`: the model's ``own`` below, that of a Wiener filter above."""

    own: ErrorSpectrum
    ratio: float
    above: Callable[[Tensor], Tensor]

    def at(self, eta: float, radius: Tensor) -> Tensor:
        """As :meth:`ErrorSpectrum.at`."""
        variance = self.above(radius)
        high = variance * eta**2 / (variance + eta**2)
        return _join(radius, self.ratio, lambda f: self.own.at(eta / self.ratio**0.5, f), high)


def _join(radius: Tensor, ratio: float, low: Callable[[Tensor], Tensor], high: Tensor) -> Tensor:
    """``ratio low(ratio f)`` in the band of the model, ``high`` above it; (2, *radius.shape).

    A signal of variance v that fills the m bins of the low band has the value v n / m in them.
    """
    own = ratio * low((ratio * radius).clamp_max(0.5))
    return torch.where(ratio * radius <= 0.5, own, high.expand_as(own))
