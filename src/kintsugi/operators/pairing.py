"""Why half of Fourier space is enough: the frequencies k and -k of a real signal carry the same data.

For a real signal ``X(-k) = conj X(k)``. Measure the orthonormal transform F of it at the frequencies of a mask M, as
complex numbers: ``A = M F E``, E from real to complex. Then ``A^T y = Re F^H M y``, and since ``F Re F^H`` keeps the
even part of a spectrum, ``Y(k) -> (Y(k) + conj Y(-k)) / 2``,

    A A^T y (k) = (y(k) + conj y(-k)) / 2     where both k and -k are measured: eigenvalue 1 on even, 0 on odd vectors
    A A^T y (k) = y(k) / 2                    where only one of them is: eigenvalue 1/2
    A A^T y (k) = Re y(k)                     where k = -k, the first case: 1 on the real part, 0 on the imaginary

A stationary covariance C with spectrum S commutes with all of it: ``A C A^T`` is S times the same.

Of a *complex* signal whose real and imaginary part are two channels of one covariance, with the spectra S_0 of their
mean (luma) and S_1 of their difference, luma is ``L x = (x + i conj x) / 2``, in Fourier ``(X(k) + i conj X(-k)) / 2``:
the same pairs, with a phase. ``F C F^H = S_1 + (S_0 - S_1) L``, so ``M F C F^H M`` is S_0 on even and S_1 on odd
vectors where both are measured, and ``(S_0 + S_1) / 2`` where one is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .base import Function, restricted, total

Value = Tensor | float
# ``pair(y, even, single)`` of an operator on real signals: the odd part is lost.
Pair = Callable[[Tensor, Value, Value], Tensor]


def paired(y: Tensor, mirrored: Tensor, both: Tensor, even: Value, odd: Value, single: Value) -> Tensor:
    """Multiply the even part ``(y + mirrored) / 2`` and the odd part of ``y`` where ``both``, and ``y`` elsewhere.

    ``mirrored``: ``conj y(-k)``, times the phase. It does not matter where not ``both``.
    """
    weights = (0.5 * (even + odd), 0.5 * (even - odd), single)
    keeps, swaps, single = (torch.as_tensor(w, dtype=y.real.dtype, device=y.device) for w in weights)
    return torch.where(both, keeps, single) * y + torch.where(both, swaps, 0.0) * mirrored


def pair_gram(pair: Pair, h: Function, cutoff: float, u: Tensor) -> Tensor:
    """``h(A A^T) u`` for a real signal: the eigenvalues are 1 and 1/2."""
    one, half = (float(v) for v in restricted(h, torch.tensor([1.0, 0.5], dtype=torch.float64), cutoff**2))
    return pair(u, one, half)


def pair_solve(pair: Pair, spectrum: Tensor, sigma2: float, r: Tensor) -> Tensor:
    """``(A C A^T + sigma2)^{-1} r`` for a real signal and C of the ``spectrum`` (2, *), luma and chroma, where r is."""
    luma = r.mean(1, keepdim=True)
    parts = [(luma, spectrum[0])] if r.shape[1] == 1 else [(luma, spectrum[0]), (r - luma, spectrum[1])]
    return total(pair(part, 1 / (s + sigma2), 1 / (0.5 * s + sigma2)) for part, s in parts)
