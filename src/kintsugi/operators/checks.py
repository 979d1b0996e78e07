"""Tests for operators of your own: the dot test, the identities of a pseudo-inverse, a derivative by differences.

Each returns relative errors: near machine precision for a correct operator, around one for a wrong one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .base import Function, LinearOperator, Operator, Shape
from .realview import real_linear

_TINY = 1e-300


def check_adjoint(operator: LinearOperator, *, dtype: torch.dtype = torch.float64, seed: int = 0) -> float:
    """The dot test: ``|Re <A x, y> - Re <x, A^T y>|`` relative to ``|A x| |y|``, for random ``x`` and ``y``.

    Near machine precision for a correct pair; around one for a wrong one. Use it on any operator of your own.
    """
    rows = operator.batch or 2
    generator = torch.Generator().manual_seed(seed)
    x = _random((rows, *operator.in_shape), operator.in_complex, dtype, generator)
    y = _random((rows, *operator.out_shape), operator.out_complex, dtype, generator)
    ax, aty = operator(x), operator.adjoint(y)
    left, right = (ax.conj() * y).real.sum(), (x.conj() * aty).real.sum()
    return float((left - right).abs() / (ax.norm() * y.norm()).clamp_min(_TINY))


def check_pinv(operator: LinearOperator, *, dtype: torch.dtype = torch.float64, seed: int = 0) -> dict[str, float]:
    """Relative errors of what must hold for a pseudo-inverse, for a random ``x``.

    ``A A+ A``: ``|P P x - P x| / |P x|``. ``symmetric``: ``<P x, v> = <x, P v>``. ``range``: ``|A P x - A x|`` over
    ``|A x|``, which is only small where the cut-off removes little.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (operator.batch or 2, *operator.in_shape)
    x, v = (_random(shape, operator.in_complex, dtype, generator) for _ in range(2))
    px, pv, ax = operator.project(x), operator.project(v), operator(x)
    left, right = (px.conj() * v).real.sum(), (x.conj() * pv).real.sum()
    return {
        "A A+ A": float((operator.project(px) - px).norm() / px.norm().clamp_min(_TINY)),
        "symmetric": float((left - right).abs() / (px.norm() * v.norm()).clamp_min(_TINY)),
        "range": float((operator(px) - ax).norm() / ax.norm().clamp_min(_TINY)),
    }


def check_gram(operator: LinearOperator, h: Function, *, seed: int = 0) -> float:
    """``|h(A A^T) u - (the same by a dense eigendecomposition)| / |h(A A^T) u|`` for random ``u``, in float64.

    For small operators: the matrix is made. ``h`` maps positive eigenvalues to values.
    """
    matrix = dense_matrix(operator)
    values, vectors = torch.linalg.eigh(matrix @ matrix.T)
    inside = values > operator.cutoff**2 * values.max()
    scaled = torch.where(inside, h(torch.where(inside, values, 1.0)), 0.0)
    real = real_linear(operator)
    u = torch.randn((2, *real.out_shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = ((u.flatten(1) @ vectors) * scaled) @ vectors.T
    return float((real.gram(h, u).flatten(1) - expected).norm() / expected.norm().clamp_min(_TINY))


def check_vjp(operator: Operator, x: Tensor | None = None, *, seed: int = 0, step: float = 1e-6) -> float:
    """``|<v, dA/dx w> - <(dA/dx)^T v, w>|``, with ``dA/dx w`` by central differences in float64, relative.

    ``x`` (B, *in_shape): where; random numbers in [-1, 1] by default. About ``step^2`` for a smooth operator.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (operator.batch or 2, *operator.in_shape)
    if x is None:
        x = _random(shape, operator.in_complex, torch.float64, generator, uniform=True)
    w = _random(tuple(x.shape), operator.in_complex, torch.float64, generator)
    value, product = operator.vjp(x)
    v = _random(tuple(value.shape), operator.out_complex, torch.float64, generator)
    slope = (operator(x + step * w) - operator(x - step * w)) / (2 * step)
    left, right = (v.conj() * slope).real.sum(), (product(v).conj() * w).real.sum()
    return float((left - right).abs() / (v.norm() * slope.norm()).clamp_min(_TINY))


def dense_matrix(operator: LinearOperator) -> Tensor:
    """The matrix (m, n) of a small operator over the real numbers, float64; complex ones as twice as many real ones."""
    if operator.batch is not None:
        raise InvalidArgument("operator", f"one for {operator.batch} rows", "one of its rows: operator.select([i])")
    real = real_linear(operator)
    n = math.prod(real.in_shape)
    return real(torch.eye(n, dtype=torch.float64).view(n, *real.in_shape)).flatten(1).T


def _random(
    shape: Shape, is_complex: bool, dtype: torch.dtype, generator: torch.Generator, uniform: bool = False
) -> Tensor:
    def draw() -> Tensor:
        if uniform:
            return 2 * torch.rand(shape, generator=generator, dtype=dtype) - 1
        return torch.randn(shape, generator=generator, dtype=dtype)

    return torch.complex(draw(), draw()) if is_complex else draw()
