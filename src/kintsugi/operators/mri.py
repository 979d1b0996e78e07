"""Magnetic resonance imaging with one coil: some samples of the Fourier transform of a complex image.

    A = M F,    F: orthonormal, the zero frequency and the middle of the image in the middle of their grids
                M: 0 or 1, the trajectory;  A A^H = M

The measurement keeps the shape of k-space with zeros where nothing was measured, as fastMRI stores it; what stands
there in a ``y`` is ignored. Priors see an image as two channels, its real and imaginary part; a system in a stationary
covariance of these is solved in closed form, by pairs of frequencies (``pairing.py``).

``MRI(...) @ AsComplex(shape)`` measures *real* images, for priors with one channel. Its Gram operator has the
eigenvalues 1 and 1/2, by the same pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .base import (
    DEFAULT_ACCURACY,
    Accuracy,
    Function,
    LinearOperator,
    Shape,
    check_plain,
    check_shape,
    signal_shape,
    spatial,
)
from .covariance import StationaryCovariance, frequency_radius
from .pairing import pair_gram, pair_solve, paired


class AsComplex(LinearOperator):
    """A real signal of ``shape`` (C, *S) as a complex one; the adjoint is the real part."""

    out_complex = True

    def __init__(self, shape: Sequence[int]) -> None:
        self.in_shape = self.out_shape = signal_shape(shape)

    def _forward(self, x: Tensor) -> Tensor:
        return torch.complex(x, torch.zeros_like(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return y.real

    def gram(self, h: Function, u: Tensor) -> Tensor:
        check_shape("u", u, self.out_shape, True)
        return self._forward(float(h(torch.ones((), dtype=torch.float64))) * u.real)

    def solve_normal(
        self,
        covariance: StationaryCovariance,
        sigma2: float,
        r: Tensor,
        accuracy: Accuracy = DEFAULT_ACCURACY,
    ) -> Tensor:
        check_shape("r", r, self.out_shape, True)
        inverse = StationaryCovariance(lambda radius: 1 / (covariance.spectrum(radius) + sigma2))
        return self._forward(inverse(r.real))


class MRI(LinearOperator):
    """Complex images of ``shape`` (C, *S) measured at the samples of k-space where ``mask`` is 1 (or True).

    ``mask`` broadcasts to S, with the zero frequency in the middle (:func:`cartesian_mask` makes one).

    >>> keep = torch.zeros(8, dtype=torch.bool)
    >>> keep[2:7] = True
    >>> MRI((1, 6, 8), keep).settings()
    {'measured': 0.625}
    """

    in_complex = out_complex = True

    def __init__(self, shape: Sequence[int], mask: Tensor) -> None:
        self.in_shape = self.out_shape = signal_shape(shape)
        self.mask = sampling_mask(mask, self.in_shape[1:])

    def _forward(self, x: Tensor) -> Tensor:
        return self._keep(centred_fft(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return centred_ifft(self._keep(y))

    def _keep(self, y: Tensor) -> Tensor:
        return torch.where(self.mask.to(y.device), y, 0.0)

    def gram(self, h: Function, u: Tensor) -> Tensor:
        check_shape("u", u, self.out_shape, True)
        return self._keep(float(h(torch.ones((), dtype=torch.float64))) * u)

    def solve_normal(
        self,
        covariance: StationaryCovariance,
        sigma2: float,
        r: Tensor,
        accuracy: Accuracy = DEFAULT_ACCURACY,
    ) -> Tensor:
        check_shape("r", r, self.out_shape, True)
        spectrum, sigma2 = self._spectrum(covariance, sigma2, r)
        even, odd, single = (1 / (s + sigma2) for s in (spectrum[0], spectrum[1], 0.5 * (spectrum[0] + spectrum[1])))
        mean = r.mean(1, keepdim=True)
        out = paired(mean, 1j * mirrored(mean), self._both.to(r.device), even, odd, single)
        return self._keep(out if r.shape[1] == 1 else out + odd * (r - mean))

    def _spectrum(self, covariance: StationaryCovariance, sigma2: float, like: Tensor) -> tuple[Tensor, float]:
        """The spectra (2, *S) with zero in the middle, and the noise that keeps a system in them regular."""
        radius = frequency_radius(self.in_shape[1:], half=False, like=like.real)
        spectrum = covariance.spectrum(torch.fft.fftshift(radius))
        return spectrum, max(sigma2, torch.finfo(like.dtype).eps * float(spectrum.max()))

    @cached_property
    def _both(self) -> Tensor:
        """Where a frequency and its negative are both measured, (*S)."""
        return self.mask & _negated(self.mask, range(self.mask.ndim))

    def settings(self) -> dict[str, Any]:
        return {"measured": float(self.mask.double().mean())}


class RealMRI(MRI):
    """``MRI(shape, mask) @ AsComplex(shape)``: k-space of a real image."""

    in_complex = False

    def _adjoint(self, y: Tensor) -> Tensor:
        return super()._adjoint(y).real

    def gram(self, h: Function, u: Tensor) -> Tensor:
        check_shape("u", u, self.out_shape, True)
        return pair_gram(self._pair, h, self.cutoff, u)

    def pinv(self, y: Tensor) -> Tensor:
        # The odd part, of which A^T makes an imaginary image, need not be taken out first.
        check_shape("y", y, self.out_shape, True)
        return self._adjoint(torch.where(self._both.to(y.device), 1.0, 2.0).to(y.real.dtype) * y)

    def _pair(self, u: Tensor, even: Tensor | float, single: Tensor | float) -> Tensor:
        measured = self.mask.to(u.device, u.real.dtype)
        return paired(u, mirrored(u), self._both.to(u.device), even, 0.0, measured * single)

    def solve_normal(
        self,
        covariance: StationaryCovariance,
        sigma2: float,
        r: Tensor,
        accuracy: Accuracy = DEFAULT_ACCURACY,
    ) -> Tensor:
        check_shape("r", r, self.out_shape, True)
        return pair_solve(self._pair, *self._spectrum(covariance, sigma2, r), r)


def sampling_mask(mask: Tensor, shape: Shape) -> Tensor:
    """What of k-space was measured, bool, of ``shape``: from 0 and 1 (or booleans) that broadcast to it, not all 0."""
    mask = torch.as_tensor(mask)
    check_plain("mask", mask)
    try:
        whole = mask.broadcast_to(shape)
    except RuntimeError as error:
        raise InvalidArgument("mask", tuple(mask.shape), f"a mask that broadcasts to {shape}") from error
    if not bool(((mask == 0) | (mask == 1)).all()) or not bool(mask.any()):
        raise InvalidArgument("mask", "weights", "0 and 1 (or booleans), not all 0")
    return whole.bool()


def centred_fft(x: Tensor) -> Tensor:
    """The orthonormal Fourier transform over space of (B, C, *S), both grids with zero in the middle (``n // 2``)."""
    dims = spatial(x)
    return torch.fft.fftshift(torch.fft.fftn(torch.fft.ifftshift(x, dims), dim=dims, norm="ortho"), dims)


def centred_ifft(y: Tensor) -> Tensor:
    """The inverse of :func:`centred_fft`, its adjoint."""
    dims = spatial(y)
    return torch.fft.fftshift(torch.fft.ifftn(torch.fft.ifftshift(y, dims), dim=dims, norm="ortho"), dims)


def mirrored(y: Tensor) -> Tensor:
    """``conj y(-k)`` of (B, C, *S) with the zero frequency in the middle: ``y`` itself if it comes of a real image."""
    return _negated(y, spatial(y)).conj()


def _negated(y: Tensor, dims: Sequence[int]) -> Tensor:
    even = [d for d in dims if y.shape[d] % 2 == 0]  # an odd grid is symmetric about its middle
    flipped = y.flip(tuple(dims))
    return flipped.roll((1,) * len(even), even) if even else flipped
