"""Hum: the tones of the mains and their multiples, found and taken out of a recording.

A steady hum is ``sum_h a_h cos(2 pi h f t) + b_h sin(2 pi h f t)``, h = 1 to H: linear in its amplitudes, which are
fitted by least squares, in pieces, since mains drift. What is left of hum that was not quite steady lies within a few
hertz of these tones. The bands there are taken out too (``operators.Notch``), and what a sound had in them is the part
that a restoration invents.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InvalidArgument
from .resampling import resample

MAINS = (50.0, 60.0)
AROUND = 0.5  # hertz to either side of the nominal frequency that are searched
LOW = 2000  # Hz: the rate at which it is searched
HARMONICS = 20
PIECE = 4.0  # seconds in which amplitudes are steady


def find_hum(samples: Tensor, rate: int, near: float | None = None) -> float:
    """The frequency in hertz, near 50 and 60 or ``near``, whose first ten multiples have most power over their
    surroundings in ``samples`` (C, T).

    Errors: :class:`InvalidArgument` for ``frequency`` where nothing stands out (by a factor of 4 in power), or where
    the sound is shorter than half a second.
    """
    x = resample(samples.mean(0, keepdim=True), rate, LOW)[0].double().numpy()
    if len(x) < LOW // 2:
        raise InvalidArgument("frequency", near, "a sound of at least half a second to look for hum in")
    x = x * np.hanning(len(x))
    t = np.arange(len(x)) / LOW
    harmonics = np.arange(1, 11)
    best, found = 0.0, 0.0
    for nominal in MAINS if near is None else (near,):
        tried = nominal + np.arange(-AROUND, AROUND + 1e-9, 0.02)
        # Power of each tone over that a few hertz beside it, averaged in log so that one loud note does not decide.
        beside = _power(x, t, np.outer((nominal - 4.0, nominal + 4.0), np.ones(10)) + nominal * (harmonics - 1))
        ratio = np.log((_power(x, t, np.outer(tried, harmonics)) + 1e-20) / (beside.mean(0) + 1e-20)).mean(1)
        if ratio.max() > best:
            best, found = float(ratio.max()), float(tried[ratio.argmax()])
    if best < np.log(4):
        expected = "the frequency of the hum: none stands out" + ("" if near is None else f" near {near:g} Hz")
        raise InvalidArgument("frequency", near, expected)
    return found


def remove_hum(samples: Tensor, rate: int, frequency: float, harmonics: int = HARMONICS) -> Tensor:
    """``samples`` (C, T) without the least-squares fit of ``frequency`` hertz and its multiples.

    In pieces of four seconds that overlap by half, with amplitudes blended between them.
    """
    count = min(harmonics, int((rate / 2 - 1) // frequency))
    n = samples.shape[-1]
    piece = min(n, round(PIECE * rate))
    step = max(piece // 2, 1)
    hum, weight = np.zeros(samples.shape), np.zeros(n)
    x = samples.double().cpu().numpy()
    for start in range(0, max(n - piece, 0) + step, step):
        start = min(start, n - piece)
        t = (start + np.arange(piece)) / rate
        angles = 2 * np.pi * frequency * np.outer(t, np.arange(1, count + 1))
        tones = np.concatenate((np.cos(angles), np.sin(angles)), 1)
        part = x[:, start : start + piece]
        fitted = tones @ np.linalg.solve(tones.T @ tones, tones.T @ part.T)
        window = np.hanning(piece + 2)[1:-1]
        hum[:, start : start + piece] += window * fitted.T
        weight[start : start + piece] += window
    return torch.from_numpy(x - hum / weight).to(samples)


def _power(x: NDArray[np.float64], t: NDArray[np.float64], frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    tones = np.exp(-2j * np.pi * frequencies.reshape(-1, 1) * t[None, : len(x)])
    out: NDArray[np.float64] = np.abs(tones @ x).reshape(frequencies.shape) ** 2
    return out
