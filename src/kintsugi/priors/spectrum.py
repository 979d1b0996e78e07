"""The measured covariance of the denoising error, per noise level, radial frequency and colour direction.

At noise level ``eta`` the error ``x_0 - D(z, eta)`` of a denoiser is treated as stationary. Its covariance is then
diagonal in Fourier; we keep its radial average for the luma axis (1, 1, 1)/sqrt(3) and for the chroma plane
orthogonal to it, in which errors are near enough alike. The spectrum is normalised so that white noise of variance v
has the value v at every frequency. It is what the spectral-covariance guidance uses in place of eta^2 J.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class ErrorSpectrum:
    """``values[i, k, c]``: variance at noise level ``etas[i]`` (rising) and frequency ``freqs[k]`` (rising, cycles per
    pixel, at most 0.5 sqrt(2)), for luma (``c = 0``) and chroma (``c = 1``)."""

    etas: Tensor
    freqs: Tensor
    values: Tensor

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.etas), len(self.freqs), 2) or not bool((self.values > 0).all()):
            raise ValueError(f"spectrum of shape {tuple(self.values.shape)}: expected positive (levels, bins, 2)")
        rising = all(bool((knots.diff() > 0).all()) for knots in (self.etas, self.freqs))
        if not rising or len(self.etas) < 1 or len(self.freqs) < 2 or not float(self.etas[0]) > 0:
            raise ValueError("spectrum: expected positive rising noise levels and at least two rising frequencies")

    def at(self, eta: float, radius: Tensor) -> Tensor:
        """The spectrum at noise level ``eta`` and the frequencies ``radius`` (any shape, cycles per pixel).

        Returns ``(2, *radius.shape)``: luma and chroma, in the dtype and on the device of ``radius``. Interpolation
        is linear in log eta, frequency and log variance, and constant outside; below the lowest measured level the
        error falls with ``eta^2``, as that of a denoiser which has nothing left to remove.
        """
        log_etas = self.etas.log().numpy()
        position = float(np.interp(np.log(max(eta, 1e-30)), log_etas, np.arange(len(log_etas))))
        low = min(int(position), len(log_etas) - 2) if len(log_etas) > 1 else 0
        high = min(low + 1, len(log_etas) - 1)
        weight = position - low
        log_values = self.values.log()
        knots = (1 - weight) * log_values[low] + weight * log_values[high]
        if eta < float(self.etas[0]):
            knots = knots + 2 * float(np.log(max(eta, 1e-30) / float(self.etas[0])))
        freqs = self.freqs.to(radius)
        above = torch.searchsorted(freqs, radius.contiguous()).clamp(1, len(freqs) - 1)
        below = above - 1
        frac = ((radius - freqs[below]) / (freqs[above] - freqs[below])).clamp(0, 1)
        knots = knots.to(radius)
        return torch.stack([(knots[below, c] * (1 - frac) + knots[above, c] * frac).exp() for c in (0, 1)])

    def to_tensors(self) -> dict[str, Tensor]:
        """The entries of a model file."""
        return {f"spectrum.{name}": getattr(self, name).contiguous() for name in ("etas", "freqs", "values")}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> ErrorSpectrum | None:
        """The inverse of :meth:`to_tensors`; None if there are no such entries."""
        if "spectrum.values" not in tensors:
            return None
        return cls(*(tensors[f"spectrum.{name}"].double() for name in ("etas", "freqs", "values")))
