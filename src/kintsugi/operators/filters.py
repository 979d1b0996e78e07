"""Filters of sounds and other signals: resampling, convolution with a response, frequencies that were not measured.

    Decimate    every s-th sample after a low-pass filter, as sampling rates are lowered
    Convolve    with a kernel that is not divided by its sum: the impulse response of a room or a loudspeaker
    Notch       everything but narrow bands around the multiples of a frequency: a recording with hum

All are :class:`Stationary`, so that functions of ``A A^T`` are products in Fourier, or crops of one (``canvas.py``)
where ``boundary`` is ``"unknown"``: what precedes and follows a recording is then estimated with it and cut off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .base import LinearOperator, Shape, per_axis, signal_shape
from .linear import Boundary, _bounded
from .stationary import Stationary, kernel_transfer

_REACH = 10  # zero crossings of the sinc on either side
_BETA = 5.0


def kaiser_kernel(factor: int) -> Tensor:
    """A low-pass filter for decimation by ``factor``: a sinc under a Kaiser window, ``20 factor + 1`` taps, of sum one.

    ``h_k = w_k sinc(k / factor)``, |k| <= 10 factor, w of beta 5: half at half the new sampling rate, below -50 dB from
    1.17 times that on. The default filter of :func:`scipy.signal.resample_poly`.
    """
    if factor < 1:
        raise InvalidArgument("factor", factor, "an integer of at least 1")
    if factor == 1:
        return torch.ones(1, dtype=torch.float64)
    half = _REACH * factor
    k = torch.arange(-half, half + 1, dtype=torch.float64)
    line = torch.special.sinc(k / factor) * torch.kaiser_window(2 * half + 1, False, beta=_BETA, dtype=torch.float64)
    return line / line.sum()


def Decimate(shape: Sequence[int], factor: int | Sequence[int], boundary: Boundary = "circular") -> LinearOperator:
    """Another sampling rate, ``factor`` times lower along each axis: :func:`kaiser_kernel`, then every s-th sample.

    ``y_i = sum_k h_k x_{s i - k}``: samples 0, s, 2s, ... of signals of ``shape`` (C, *S), any number of dimensions; y
    has ``ceil(n / factor)`` samples along an axis. Inside, that is ``scipy.signal.resample_poly(x, 1, factor)``. With a
    circular boundary ``factor`` must divide the size.

    >>> Decimate((1, 16000), 2).out_shape
    (1, 8000)
    """
    shape = signal_shape(shape)
    factors = per_axis("factor", factor, len(shape) - 1)
    if any(s > n for s, n in zip(factors, shape[1:], strict=True)):
        raise InvalidArgument("factor", factor, f"at most the size of the signal {shape[1:]}")
    lines = [kaiser_kernel(s) for s in factors]

    def circular(canvas: Shape) -> Stationary:
        transfer = torch.ones((), dtype=torch.complex128)
        for line, n in zip(lines, canvas[1:], strict=True):
            transfer = transfer[..., None] * kernel_transfer(line, (n,))
        return Stationary(canvas, transfer, factor=factors)

    reach = [_REACH * s if s > 1 else 0 for s in factors]
    return _bounded(shape, reach, factors, circular, boundary)


def Convolve(
    shape: Sequence[int],
    kernel: Tensor,
    boundary: Boundary = "circular",
    *,
    causal: bool = False,
    cutoff: float = 1e-2,
) -> LinearOperator:
    """``y_i = sum_k h_k x_{i - k}``: convolution with ``kernel`` h as it is, one axis for each of space.

    Unlike :class:`Blur` it does not divide h by its sum, which may be zero or negative.

    causal: ``h_0`` is the first tap, as of the impulse response of a room, in which nothing is heard before it was
    played; else the middle tap, ``(n - 1) // 2``. cutoff: singular values (moduli of the transfer function) below this
    share of the largest count as zero in pseudo-inverses. A kernel that is longer than a circular signal wraps around.
    """
    shape = signal_shape(shape)
    kernel = torch.as_tensor(kernel).detach().double()
    size = shape[1:]
    if kernel.ndim != len(size) or kernel.numel() == 0:
        raise InvalidArgument("kernel", tuple(kernel.shape), f"a kernel with {len(size)} axes, not empty")
    if not bool(torch.isfinite(kernel).all()) or not bool(kernel.any()):
        raise InvalidArgument("kernel", "weights that are not finite, or all zero", "finite weights, not all zero")
    centre = [0] * len(size) if causal else [(n - 1) // 2 for n in kernel.shape]

    def circular(canvas: Shape) -> Stationary:
        return Stationary(canvas, kernel_transfer(kernel, canvas[1:], centre), cutoff=cutoff)

    reach = [max(c, n - 1 - c) for n, c in zip(kernel.shape, centre, strict=True)]
    return _bounded(shape, reach, (1,) * len(size), circular, boundary)


def Notch(
    shape: Sequence[int],
    frequency: float,
    rate: float = 1.0,
    *,
    width: float | None = None,
    harmonics: int | None = None,
) -> Stationary:
    """``x`` without the bands of ``width`` around ``frequency`` and its multiples, along the last axis: a projection.

    What a recording with hum says of the sound, once these bands, in which hum outweighs it, are taken out of the
    recording too. ``frequency`` and ``width`` are in the units of ``rate``, the sampling rate (1 for cycles a sample);
    ``width`` None for the narrowest, three bins of the Fourier transform. ``harmonics``: how many multiples, the
    frequency itself among them; None for all below half the sampling rate. Circular: a tone that does not fit into the
    signal a whole number of times leaks beyond its band.

    >>> Notch((1, 16000), 50, 16000, width=4, harmonics=8).flat is None
    True
    """
    shape = signal_shape(shape)
    n = shape[-1]
    for name, value in (("rate", rate), ("frequency", frequency)):
        if not 0 < value < math.inf:
            raise InvalidArgument(name, value, "a finite number above 0")
    if frequency > rate / 2:
        raise InvalidArgument("frequency", frequency, f"at most half the sampling rate, {rate / 2:g}")
    if width is not None and not 0 < width < frequency:
        raise InvalidArgument("width", width, f"a number above 0 and below the frequency, {frequency:g}")
    if harmonics is not None and harmonics < 1:
        raise InvalidArgument("harmonics", harmonics, "an integer of at least 1, or None")
    spacing = rate / n
    if frequency < 2 * spacing:
        raise InvalidArgument(
            "frequency", frequency, f"at least two bins of the signal's Fourier transform, {2 * spacing:g}"
        )
    bins = torch.fft.fftfreq(n, dtype=torch.float64).abs() * rate
    multiple = (bins / frequency).round()
    last = math.inf if harmonics is None else harmonics
    half = max(0.0 if width is None else width / 2, 1.5 * spacing) * (1 + 1e-9)
    removed = ((bins - multiple * frequency).abs() <= half) & (multiple >= 1) & (multiple <= last)
    if bool(removed.all()):
        raise InvalidArgument("width", width, "bands that leave something of the signal")
    transfer = (~removed).to(torch.complex128).expand(shape[1:])
    return Stationary(shape, transfer)
