"""The surface of the original: its own film grain, canvas or paper, without the structure that lies in it.

A surface is stationary: its spectrum P, which ``grain.py`` measures, is the same everywhere, with the peaks of a weave.
Structure is not: at an edge a window has far more power at some frequencies than P. So each window's spectrum F,
in which the surface has |F|^2 = P on average, is limited to what the surface can have,

    F <- F min(1, sqrt(LIMIT P) / |F|),

and the windows are put together again. Stationary Gaussian noise exceeds LIMIT = 4 in e^-4 = 1.8 % of the coefficients
and is nearly untouched; what belongs to an edge is cut down to the level of the surface, at which it cannot be seen.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .grain import Grain
from .spectra import from_axes, overlap, to_axes, unit, windows

LIMIT = 4.0


def surface(residual: Tensor, grain: Grain) -> Tensor:
    """The stationary part of ``residual`` (1 or 3, H, W), same shape; ``grain`` is its measured spectrum."""
    side = grain.power.shape[-1]
    spectrum = torch.fft.fft2(windows(to_axes(residual), side))
    most = (LIMIT * unit(side) * grain.power.to(residual)).sqrt()[:, None, None]
    gain = (most / spectrum.abs().clamp_min(1e-30)).clamp_max(1)
    parts = torch.fft.ifft2(gain * spectrum).real
    return from_axes(overlap(parts, (residual.shape[1], residual.shape[2])))
