"""Fast orthonormal transforms of real signals, along one axis: cosine and Walsh-Hadamard.

    DCT-II   c_k = s_k sum_j x_j cos(pi k (2j + 1) / 2n),  s_0 = sqrt(1/n), else sqrt(2/n);  any n
    Hadamard H_1 = (1),  H_2n = [[H_n, H_n], [H_n, -H_n]] / sqrt(2)  (Sylvester's order), its own inverse;  n = 2^m

The DCT is one real FFT of length n: of the even samples followed by the odd ones backwards (Makhoul, 1980). The
Hadamard transform is a Kronecker product of small ones, applied as matrices: a few passes over the signal, not log n.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .base import spatial

Transform = Callable[[Tensor, int], Tensor]
BLOCK = 64  # the largest Hadamard matrix that is made


def dct(x: Tensor, dim: int) -> Tensor:
    """The orthonormal DCT-II along ``dim``."""
    n = x.shape[dim]
    x = x.movedim(dim, -1)
    turned = torch.fft.rfft(torch.cat((x[..., ::2], x[..., 1::2].flip(-1)), -1)).mul_(_weights(n, x.dtype, x.device))
    # c_k is the real part, and c_{n-k} minus the imaginary part, of the same number.
    return torch.cat((turned.real, turned.imag[..., 1 : (n + 1) // 2].flip(-1).neg_()), -1).movedim(-1, dim)


def idct(c: Tensor, dim: int) -> Tensor:
    """The inverse of :func:`dct`, its transpose."""
    n = c.shape[dim]
    c = c.movedim(dim, -1)
    half = n // 2 + 1
    turned = c.new_zeros((*c.shape[:-1], half, 2))
    turned[..., 0] = c[..., :half]
    turned[..., 1:, 1] = c[..., n - half + 1 :].flip(-1)  # c_{n-k}, and 0 for k = 0
    spectrum = torch.view_as_complex(turned).conj() * _weights(n, c.dtype, c.device).reciprocal()
    folded = torch.fft.irfft(spectrum, n=n)
    x = torch.empty_like(folded)
    x[..., ::2] = folded[..., : (n + 1) // 2]
    x[..., 1::2] = folded[..., (n + 1) // 2 :].flip(-1)
    return x.movedim(-1, dim)


@functools.lru_cache(maxsize=16)
def _weights(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """``s_k exp(-i pi k / 2n)`` for k = 0 ... n/2."""
    k = torch.arange(n // 2 + 1, dtype=torch.float64)
    scale = torch.where(k == 0, torch.ones_like(k), 2.0).div(n).sqrt()
    phased = torch.polar(scale, -math.pi * k / (2 * n))
    return phased.to(device, dtype.to_complex())


def hadamard(x: Tensor, dim: int) -> Tensor:
    """The orthonormal Walsh-Hadamard transform along ``dim``, of a power of two samples; its own inverse."""
    n = x.shape[dim]
    if n & (n - 1):
        raise InvalidArgument("shape", tuple(x.shape), "a power of two samples along each axis of space")
    shape = x.shape
    inner = math.prod(shape[dim % x.ndim + 1 :])
    left = n
    while left > 1:  # H_n = H_64 x H_64 x ... x H_rest
        size = min(left, BLOCK)
        left //= size
        matrix = hadamard_matrix(size).to(x)
        after = left * inner
        x = x.reshape(-1, size) @ matrix if after == 1 else matrix @ x.reshape(-1, size, after)
    return x.reshape(shape)


def hadamard_matrix(n: int) -> Tensor:
    """``H_n`` (n, n), orthonormal, float64; n a power of two."""
    matrix = torch.ones((1, 1), dtype=torch.float64)
    pair = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64) / math.sqrt(2)
    while len(matrix) < n:
        matrix = torch.kron(pair, matrix)
    return matrix


def sequency(n: int) -> Tensor:
    """How often each row of ``H_n`` changes sign, its frequency: integers (n,)."""
    return (hadamard_matrix(n).sign().diff(dim=1) != 0).sum(1) if n <= BLOCK else _sequency_of_product(n)


def _sequency_of_product(n: int) -> Tensor:
    """Row (a, b) of ``H_p x H_q`` runs through row b of ``H_q`` p times, and turns over where row a does.

    A row with an odd number of changes ends on the other sign than it began, so that it changes between repeats where
    row a does not.
    """
    p, q = n // BLOCK, BLOCK
    outer, inner = sequency(p)[:, None], sequency(q)[None]
    between = torch.where(inner % 2 == 1, p - 1 - outer, outer)
    return (p * inner + between).flatten()


def each_axis(transform: Transform, x: Tensor) -> Tensor:
    """``transform`` along every axis of space of ``x`` (B, C, *S)."""
    for dim in spatial(x):
        x = transform(x, dim)
    return x
