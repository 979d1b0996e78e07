"""How noisy is a sound? Levels are standard deviations, of a full scale of 1."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InvalidArgument

# Rounding to whole levels adds an error that is uniform over one level; what libsndfile calls the bits of a sample.
ROUNDING = {f"PCM_{kind}": 2.0 ** (1 - bits) / math.sqrt(12)
            for kind, bits in (("S8", 8), ("U8", 8), ("16", 16), ("24", 24), ("32", 32))}  # fmt: skip
FRAME = 512
QUIET = 0.2  # the share of the frames in which a frequency is taken for noise alone
BINS = 0.25  # and the share of the frequencies, of which there are some that the sound hardly has
SILENT = 3e-5  # what is below it, some three roundings to 16 bits, is no noise of a recording
FILTERED = 1e-6  # nor is what has so much less power than what lies below: low-pass filters let it pass
CLIFF = 300.0  # how much more power there must be below the end of the band of a file than above it
EDGE = 16  # frequencies over which a low-pass filter falls


def noise_level(samples: Tensor, subtype: str, noise: float | Literal["auto"] | None) -> float:
    """The standard deviation of the noise in a sound (C, T) of a file's ``subtype``, at least that of its rounding.

    ``noise``: a number from 0 to 1, ``"auto"`` to estimate it, or None for the rounding only.
    """
    floor = ROUNDING.get(subtype, 0.0)
    if noise is None:
        return floor
    if noise == "auto":
        return max(floor, estimate_noise(samples))
    if isinstance(noise, str) or not 0 <= noise <= 1:
        raise InvalidArgument("noise", noise, "'auto' or a number from 0 to 1, of a full scale of 1")
    return max(floor, float(noise))


def estimate_noise(samples: Tensor) -> float:
    """The standard deviation of white noise in a sound (C, T), from its quietest frames and frequencies.

    The power of white noise of variance v at one frequency and frame is exponentially distributed with mean v: its
    q-quantile over frames is ``-v log(1 - q)``. A quantile over frequencies then leaves out those of the sound. What is
    no sound and no white noise either, as the hiss of a tape, is found as far as it is in all frequencies, up to
    where a low-pass filter has cut the file: see :func:`band`. 0 for sounds of less than eight frames.
    """
    from scipy.signal import stft

    if samples.shape[-1] < 8 * FRAME // 2:
        return 0.0
    _, _, z = stft(samples.double().cpu().numpy(), nperseg=FRAME, boundary=None, padded=False)
    window = np.hanning(FRAME + 1)[:-1]
    power = np.abs(z[:, 1:-1]) ** 2 * window.sum() ** 2 / (window**2).sum()  # scipy divides by the window's sum
    heard = power[..., power.max((0, 1)) > 0]  # frames of digital silence say nothing of the others
    if heard.shape[-1] < 8:
        return 0.0
    levels = np.quantile(heard, QUIET, axis=-1) / -math.log(1 - QUIET)
    return float(np.sqrt(np.quantile(levels[:, : band(levels.mean(0))], BINS)))


def band(levels: NDArray[np.floating]) -> int:
    """How many frequencies, from below, a file has of which the powers of its noise are ``levels`` (F,).

    All, unless there is a cliff with silence above it, as where a recording at 16 kHz was saved at 44.1 kHz, or a codec
    has cut what one hardly hears. Music alone ends gradually.
    """
    from scipy.ndimage import median_filter

    levels = median_filter(levels, 9, mode="nearest")  # resampling leaves faint images of tones in the silence
    for end in range(len(levels) - EDGE - 1, EDGE, -1):
        below, above = np.median(levels[end - EDGE // 2 : end]), levels[end + EDGE :]
        if above.max() < below / CLIFF and np.median(above) < max(SILENT**2, FILTERED * below):
            return end - EDGE
    return len(levels)
