"""Detail of every size: energy in octaves of frequency against the truth's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..operators.transforms import dct
from .base import ROUNDING, PictureMetric


@dataclass(frozen=True)
class BandEnergy(PictureMetric):
    """Root mean square over octave bands of ``10 log10(E_b(x) / E_b(x0))``, in dB; 0 where the energies are the same.

    ``E_b`` is the energy of the orthonormal cosine transform of all channels at frequencies f in the band,
    ``f = |(k_i / 2 N_i)_i|`` in cycles per pixel: (1/4, 1/2], (1/8, 1/4], ... down to the lowest, without the mean; the
    corners above 1/2 belong to the first. Both get the energy of rounding to 8 bits, so that a band in which there is
    nothing to see weighs nothing. A picture blurred, or with too much grain, is far from 0 whatever its PSNR.
    """

    name: ClassVar[str] = "band_energy"
    better: ClassVar[Literal["higher", "lower", "none"]] = "lower"
    unit: ClassVar[str] = "dB"

    def _each(self, x: Tensor, truth: Tensor) -> Tensor:
        band, count = _bands(tuple(truth.shape[1:]), truth.device)
        if count == 0:  # a single pixel has a mean only
            return torch.zeros(len(x), dtype=x.dtype)
        energy = _energies(x, band, count)
        return (10 * (energy / _energies(truth[None], band, count)).log10()).square().mean(1).sqrt()


def _bands(shape: tuple[int, ...], device: torch.device) -> tuple[Tensor, int]:
    """The octave of each coefficient (``shape``), 0 the highest and -1 for the mean, and how many there are."""
    axes = [torch.arange(n, dtype=torch.float64, device=device) / (2 * n) for n in shape]
    f = sum((a.square() for a in torch.meshgrid(*axes, indexing="ij")), torch.zeros((), dtype=torch.float64)).sqrt()
    octave = (-(f.clamp(max=0.5) * 2).log2()).floor()  # (1/2, 1] of the Nyquist frequency is 0
    octave[f == 0] = -1
    found = octave[f > 0].unique()  # a thin signal may leave octaves empty
    band = torch.full(shape, -1, dtype=torch.int64, device=device)
    for index, value in enumerate(found.tolist()):
        band[octave == value] = index
    return band, len(found)


def _energies(x: Tensor, band: Tensor, count: int) -> Tensor:
    """Energy of each band (n, count), with that of rounding."""
    for dim in range(2, x.ndim):
        x = dct(x, dim)
    squares = x.square().sum(1) + x.shape[1] * ROUNDING**2
    return torch.stack([squares[:, band == index].sum(1) for index in range(count)], 1)
