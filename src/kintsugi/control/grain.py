"""Fresh grain: noise with the level and the spectrum of the original's.

The residual of a picture (``residual.py``) is cut into windows (``spectra.py``). At each frequency, for luma and two
chroma axes, the power of stationary Gaussian noise is exponentially distributed over the windows, with the median
``ln 2`` times the mean. Edges and texture that the denoiser removed too are in a few windows only, so the median over
the windows, over ln 2, is the grain's spectrum P whatever they hold. Noise is then white noise filtered by sqrt(P).

A restoration may have grain of its own left. What it lacks is ``P - P_restored`` where that is positive
(:meth:`Grain.minus`), which brings it to the original's level. That the grain of film depends on the brightness is not
modelled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InvalidArgument
from .spectra import from_axes, side_for, to_axes, unit, windows

LEAST = 8  # windows


@dataclass(frozen=True, eq=False)
class Grain:
    """``power`` (1 or 3, side, side): the spectrum of each axis, laid out as an FFT, v everywhere for white noise of
    variance v; 0 at frequency 0, so that grain does not change the brightness."""

    power: Tensor

    @property
    def level(self) -> float:
        """The standard deviation, root mean square over the channels."""
        return math.sqrt(float(self.power.mean()))

    def minus(self, other: Grain) -> Grain:
        """What ``other`` lacks of this."""
        theirs = other.power
        if theirs.shape != self.power.shape:
            theirs = _resampled(theirs, (self.power.shape[1], self.power.shape[2]))
        return Grain((self.power - theirs.to(self.power)).clamp_min(0))

    def sample(self, shape: tuple[int, int], seed: int = 0) -> Tensor:
        """A field of such noise, (C, H, W); the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        white = torch.randn((self.power.shape[0], *shape), generator=generator, dtype=torch.float64)
        root = _resampled(self.power.double(), shape).clamp_min(0).sqrt()
        return from_axes(torch.fft.ifft2(torch.fft.fft2(white) * root).real).to(self.power.dtype)


def measure_grain(residual: Tensor, known: Tensor | None = None) -> Grain:
    """The spectrum of the stationary part of ``residual`` (1 or 3, H, W), in the units of the data.

    known: bool (1, H, W), where the residual is to be believed; windows that hold other pixels are left out. Errors:
    :class:`InvalidArgument` where too few windows are left.
    """
    side = side_for((residual.shape[1], residual.shape[2]))
    while True:
        parts = windows(to_axes(residual), side).flatten(1, 2)
        if known is not None:
            whole = windows(known.to(residual.dtype), side)[0] > 0
            parts = parts[:, whole.flatten(0, 1).flatten(1).all(1)]
        if parts.shape[1] >= LEAST:
            break
        if side == 16:
            expected = f"at least {LEAST} windows of 16 x 16 known pixels to measure grain in"
            raise InvalidArgument("picture", f"{parts.shape[1]} windows", expected)
        side //= 2
    power = torch.fft.fft2(parts).abs().square() / unit(side)
    middle = power.median(1).values / math.log(2)
    middle[:, 0, 0] = 0
    return Grain(middle)


def _resampled(power: Tensor, shape: tuple[int, int]) -> Tensor:
    """The spectrum (C, a, b) at the frequencies of an FFT of ``shape``, (C, H, W), linear in between."""
    for axis, n in ((1, shape[0]), (2, shape[1])):
        side = power.shape[axis]
        at = torch.fft.fftfreq(n, dtype=torch.float64) * side
        low = at.floor().long()
        weight = (at - low).to(power)
        weight = weight.view(-1, 1) if axis == 1 else weight
        power = (1 - weight) * power.index_select(axis, low % side) + weight * power.index_select(
            axis, (low + 1) % side
        )
    return power


def blur_known(known: Tensor, pixels: int) -> Tensor:
    """``known`` (1, H, W) without the ``pixels`` next to what is unknown, where a denoiser mixes the two."""
    return F.max_pool2d((~known).float()[None], 2 * pixels + 1, 1, pixels)[0] == 0
