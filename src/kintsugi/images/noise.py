"""How noisy is a picture? Levels are standard deviations in units of [0, 1], black to white."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from torch import Tensor

from ..errors import InvalidArgument
from .picture import Picture

# Rounding to whole levels adds an error that is uniform over one level.
ROUNDING = {8: 1 / (255 * math.sqrt(12)), 16: 1 / (65535 * math.sqrt(12)), 32: 0.0}


def noise_level(picture: Picture, noise: float | Literal["auto"] | None, missing: Tensor | None = None) -> float:
    """The standard deviation of the noise in ``picture``, never less than the rounding of its file.

    ``noise`` is what the user says: a number from 0 to 1, ``"auto"`` to estimate it, or None for rounding only.
    ``missing`` (1, H, W), True where pixels say nothing. Errors: :class:`InvalidArgument` for ``noise``.
    """
    floor = ROUNDING[picture.bits]
    if noise is None:
        return floor
    if noise == "auto":
        return max(floor, estimate_noise(picture, missing))
    if isinstance(noise, str) or not 0 <= noise <= 1:
        expected = "'auto' or a number from 0 to 1, where 1 is black to white (25 of 255 is 0.098)"
        raise InvalidArgument("noise", noise, expected)
    return max(floor, float(noise))


def estimate_noise(picture: Picture, missing: Tensor | None = None) -> float:
    """The noise level by the median of the finest wavelet coefficients (Donoho and Johnstone, 1994).

    It takes fine texture for noise: on a clean photograph it finds about 0.01. With ``missing`` pixels only the
    coefficients that see none of them count. Needs the extra ``[images]`` (PyWavelets, scikit-image).
    """
    try:
        import pywt
        from skimage.restoration import estimate_sigma
    except ImportError as error:
        raise InvalidArgument("noise", "auto", "pip install 'kintsugi-diffusion[images]', or a number") from error
    pixels = _centre(picture.pixels)
    values = (pixels.numpy().transpose(1, 2, 0).astype(np.float64) + 1) / 2
    if missing is None:
        if min(values.shape[:2]) <= 4:  # no room for a wavelet
            return 0.0
        sigma = float(estimate_sigma(values, channel_axis=-1, average_sigmas=True))
        return sigma if math.isfinite(sigma) else 0.0  # a flat picture has no coefficients to take a median of
    values[_centre(missing)[0].numpy()] = np.nan
    sigmas = []
    for channel in np.moveaxis(values, -1, 0):
        detail = pywt.dwtn(channel, "db2")["dd"]
        detail = np.abs(detail[np.isfinite(detail)])
        if detail.size < 64:
            expected = "a number: too few known pixels stand together to estimate it"
            raise InvalidArgument("noise", "auto", expected)
        sigmas.append(np.median(detail) / 0.6744897501960817)  # the upper quartile of the normal distribution
    return float(np.mean(sigmas))


def _centre(x: Tensor, side: int = 2048) -> Tensor:
    """At most ``side`` x ``side`` pixels of (C, H, W): enough to estimate from, and quick."""
    top, left = (max(0, (n - side) // 2) for n in x.shape[1:])
    return x[:, top : top + side, left : left + side]
