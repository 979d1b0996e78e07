"""Lost samples by linear prediction: what a sound's own recent past and future say of them, without a network.

A sound whose samples are sums of the ``p`` before them and a small error, ``x_t = a_1 x_{t-1} + ... + a_p x_{t-p} + e``
as steady tones are, has the lost samples that make the sum of the ``e^2`` least: a banded system of linear equations.
The coefficients are those of the sound around the gap (Yule and Walker), estimated with the lost samples as they are
filled so far, hence in rounds (Janssen, Veldhuis and Vries, IEEE Trans. ASSP 34, 1986). They are the posterior mean
under a Gaussian with the sound's own local spectrum, which knows the pitch of *this* tone; a trained model knows how
sounds go on. Samplers begin with the one and end with the other (:attr:`kintsugi.Problem.guess`).

A gap wants an order of about its own length or more: with gaps of 50 ms at 16 kHz in eight test sounds, 12.8 dB SI-SDR
with the order 32, 16.9 with 128, 20.3 with 512.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from .gaps import runs

ORDER, CONTEXT = 0.032, 0.256  # seconds: 512 and 4096 samples at 16 kHz
MOST = 1024  # of the order: at 48 kHz it would cost ten times as much
TOGETHER = 0.064  # seconds: gaps within so much are filled at once
TRIED = 64  # groups at which the error is tried, which costs twice as much as filling them
RIDGE = 1e-9  # of the power: recordings with an empty band have singular autocorrelations

Array = NDArray[np.float64]


def predict_missing(y: Array, missing: NDArray[np.bool_], rate: int, rounds: int = 2) -> tuple[Array, Array]:
    """``y`` (T,) with the samples where ``missing`` (T,) filled in, and how far off they may be, (T,).

    ``rate`` in hertz sets order and context; ``rounds``: how often coefficients and samples are estimated in turn.
    Silence around a gap fills it with silence. The error, a standard deviation, 0 where nothing is missing, is that of
    the same gap in what is known beside it; of a record with many scratches it is tried at some of them.
    """
    out, error = np.where(missing, 0.0, y), np.zeros(len(y))
    groups = _groups(missing, round(TOGETHER * rate))
    for _ in range(rounds):
        for lost in groups:
            _predict(out, lost, rate)
    every = -(-len(groups) // TRIED)
    for i in range(0, len(groups), every):
        found = _error_beside(out, groups[i], missing, rate, rounds)
        for lost in groups[i : i + every]:
            error[lost] = found
    return out, error


def _error_beside(out: Array, lost: NDArray[np.int64], missing: NDArray[np.bool_], rate: int, rounds: int) -> float:
    """The error of predicting what is as far apart as ``lost``, before it or after it; that of silence if neither."""
    span = int(lost[-1] - lost[0]) + 1
    tried = [lost - span, lost + span]
    known = [here for here in tried if here[0] >= 0 and here[-1] < len(out) and not missing[here].any()]
    if not known:
        return float(out.std())
    squares = []
    for here in known:
        again = out.copy()
        again[here] = 0
        for _ in range(rounds):
            _predict(again, here, rate)
        squares.append(np.square(again[here] - out[here]).mean())
    return float(np.mean(squares) ** 0.5)


def _predict(out: Array, lost: NDArray[np.int64], rate: int) -> None:
    around = out[max(int(lost[0]) - round(CONTEXT * rate), 0) : int(lost[-1]) + 1 + round(CONTEXT * rate)]
    _fill(out, lost, _coefficients(around, min(MOST, max(4, round(ORDER * rate)))))


def _groups(missing: NDArray[np.bool_], span: int) -> list[NDArray[np.int64]]:
    """The positions of the lost samples, of runs that begin and end within ``span`` together."""
    groups: list[list[tuple[int, int]]] = []
    for start, end in runs(torch.from_numpy(missing)):
        if groups and end - groups[-1][0][0] <= span:
            groups[-1].append((start, end))
        else:
            groups.append([(start, end)])
    return [np.concatenate([np.arange(start, end) for start, end in group]) for group in groups]


def _coefficients(x: Array, order: int) -> Array:
    """``(1, -a_1, ..., -a_p)`` of ``x``, of at most half as high an order as it has samples; 0 of silence."""
    from scipy.linalg import solve_toeplitz
    from scipy.signal import correlate

    order = max(1, min(order, len(x) // 2))
    c = correlate(x, x, "full", "fft")[len(x) - 1 :][: order + 1] if len(x) > 1 else np.zeros(2)
    if not c[0] > 0:
        return np.array([1.0])
    c[0] *= 1 + RIDGE
    return np.concatenate(([1.0], -solve_toeplitz(c[:-1], c[1:])))


def _fill(out: Array, lost: NDArray[np.int64], a: Array) -> None:
    """Replace ``out[lost]`` by what makes the squares of the prediction errors around it least."""
    from scipy.linalg import solveh_banded

    order, size = len(a) - 1, len(lost)
    b = np.correlate(a, a, "full")[order:]  # the sum of squares is x^T B x, with B_ij = b_|i-j|
    first = max(int(lost[0]) - order, 0)
    around = out[first : int(lost[-1]) + 1 + order].copy()
    around[lost - first] = 0
    right = -np.convolve(around, np.concatenate((b[:0:-1], b)))[order:][lost - first]
    bands = np.zeros((min(order, size - 1) + 1, size))
    for lag in range(len(bands)):
        apart = lost[lag:] - lost[: size - lag]
        bands[lag, : size - lag] = np.where(apart <= order, b[np.minimum(apart, order)], 0.0)
    bands[0] *= 1 + RIDGE
    out[lost] = solveh_banded(bands, right, lower=True)
