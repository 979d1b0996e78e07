"""Measuring the spectrum of a model's denoising error, for the spectral-covariance guidance.

At each of a ladder of noise levels the error ``x_0 - D(x_0 + eta eps, eta)`` of held-out crops is windowed (Hann, of
unit mean square) and Fourier transformed; ``|FFT|^2`` over the number of pixels is averaged in radial bins, for luma
and for chroma. Bins are spaced evenly in log frequency, since natural images and their errors follow power laws.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..operators.covariance import frequency_radius
from ..priors.base import Prior
from ..priors.spectrum import ErrorSpectrum


@torch.inference_mode()
def measure_spectrum(
    prior: Prior,
    crops: Tensor,
    *,
    levels: int = 16,
    bins: int = 24,
    low: float = 0.01,
    high: float = 80.0,
    seed: int = 0,
) -> ErrorSpectrum:
    """The error spectrum of ``prior`` on clean ``crops`` (N, C, *S) in [-1, 1], at levels ``low`` to ``high``."""
    size = crops.shape[2:]
    radius = frequency_radius(size, half=False, like=crops).flatten().double()
    lowest, highest = max(0.5 / min(size), 5e-4), 0.5 * len(size) ** 0.5 + 1e-4
    edges = torch.logspace(float(np.log10(lowest)), float(np.log10(highest)), bins, dtype=torch.float64)
    _, which = torch.unique(torch.bucketize(radius, edges, right=True), return_inverse=True)  # empty bins drop out
    counts = torch.bincount(which)
    bins = len(counts)
    centres = torch.zeros(bins, dtype=torch.float64).index_add_(0, which, radius) / counts
    axes = torch.meshgrid(*(torch.hann_window(n, periodic=False, dtype=crops.dtype) for n in size), indexing="ij")
    window = torch.stack(axes).prod(0)
    window = window / window.square().mean().sqrt()
    etas = torch.logspace(float(np.log10(low)), float(np.log10(high)), levels, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    values = torch.zeros(levels, bins, 2, dtype=torch.float64)
    for i, eta in enumerate(etas.tolist()):
        for x0 in crops.split(8):
            z = x0 + eta * torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
            device = next(iter(prior.parameters()), torch.empty(0)).device
            error = x0 - prior.denoise(z.to(device), torch.full((len(x0),), eta, device=device)).cpu()
            values[i] += _binned_power(error * window, which, counts)
    return ErrorSpectrum(etas, centres, (values / len(crops)).clamp_min(1e-12))


def _binned_power(error: Tensor, which: Tensor, counts: Tensor) -> Tensor:
    """Summed over images: mean power (bins, 2) of luma and of one chroma direction."""
    channels = error.shape[1]
    transform = torch.fft.fftn(error.double(), dim=tuple(range(2, error.ndim)))
    pixels = error[0, 0].numel()
    luma = transform.sum(1).abs().square() / channels / pixels
    total = transform.abs().square().sum(1) / pixels
    chroma = (total - luma) / max(1, channels - 1) if channels > 1 else luma
    out = torch.zeros(len(counts), 2, dtype=torch.float64)
    for c, power in enumerate((luma, chroma)):
        out[:, c].index_add_(0, which, power.sum(0).flatten())
    return out / counts[:, None]
