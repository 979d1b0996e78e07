"""Operators on channels alone: colour matrices, white balance, mixtures of spectra.

    y_pixel = M x_pixel,    A A^T = M M^T at each pixel

They are :class:`Stationary`, so that composed with a blur or a decimation they stay in closed form.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .base import signal_shape
from .stationary import Stationary


def ColourMatrix(
    shape: Sequence[int], matrix: Tensor | Sequence[Sequence[float]], *, cutoff: float = 1e-4
) -> Stationary:
    """``matrix`` (C_out, C) on the channels of signals of ``shape`` (C, *S): colour spaces, crosstalk of a sensor.

    >>> ColourMatrix((3, 4, 4), [[0.299, 0.587, 0.114]]).out_shape
    (1, 4, 4)
    """
    return Stationary(shape, colour=torch.as_tensor(matrix, dtype=torch.float64), cutoff=cutoff)


def WhiteBalance(shape: Sequence[int], gains: Sequence[float]) -> Stationary:
    """Each channel times its own gain, as the light coloured it; ``gains`` positive, one a channel."""
    channels = signal_shape(shape)[0]
    diagonal = torch.as_tensor(gains, dtype=torch.float64)
    if tuple(diagonal.shape) != (channels,) or not bool((diagonal > 0).all()):
        raise InvalidArgument("gains", gains, f"{channels} positive numbers")
    return ColourMatrix(shape, diagonal.diag())


def SpectralUnmixing(shape: Sequence[int], endmembers: Tensor, *, cutoff: float = 1e-2) -> Stationary:
    """The linear mixing model: ``x`` of ``shape`` (materials, *S) are abundances, ``y`` (bands, *S) what is seen.

    ``endmembers`` (bands, materials): the spectrum of each material in its column. Similar spectra make small singular
    values: those below ``cutoff`` of the largest count as zero.

    >>> SpectralUnmixing((2, 4, 4), torch.tensor([[0.1, 0.9], [0.5, 0.5], [0.8, 0.2]])).out_shape
    (3, 4, 4)
    """
    materials = signal_shape(shape)[0]
    if endmembers.ndim != 2 or endmembers.shape[1] != materials:
        raise InvalidArgument("endmembers", tuple(endmembers.shape), f"a matrix of {materials} columns, the materials")
    return ColourMatrix(shape, endmembers, cutoff=cutoff)
