"""Singular value decompositions ``A = U diag(s) V^T`` for methods of others that ask for one; ours need none.

U and V are functions between signals of the same shape, s has that shape too, and singular values below the operator's
cut-off are 0. Three kinds of operators have one:

* masks: ``V = I``, ``U`` the signs of the weights;
* circular convolutions: with the Hartley transform ``H = Re F - Im F``, real, orthonormal and its own inverse,
  ``A^T A = H |k^|^2 H`` since ``|k^|`` is even; so ``V = H``, ``s = |k^|`` and ``U = A H / s``, the phase of ``k^``
  after H;
* any operator on at most ``most`` numbers: dense, as flat vectors (1, n) with zeros for what was not measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..operators import LinearOperator, Mask, Stationary, dense_matrix
from ..operators.base import spatial

Map = Callable[[Tensor], Tensor]
MOST = 2048


@dataclass(frozen=True)
class Decomposition:
    """``A x = u(values * v_adjoint(x))`` for rows x (B, *in_shape); ``values`` (1, ...)."""

    u: Map
    u_adjoint: Map
    v: Map
    v_adjoint: Map
    values: Tensor


def decomposable(operator: LinearOperator, most: int = MOST) -> bool:
    """Whether :func:`decompose` takes ``operator``."""
    return isinstance(operator, Mask) or _circular(operator) or math.prod(operator.in_shape) <= most


def decompose(operator: LinearOperator, like: Tensor, most: int = MOST) -> Decomposition:
    """The decomposition of ``operator``, in the dtype and on the device of ``like``. Errors: `InvalidArgument`."""
    if isinstance(operator, Mask):
        weights = operator.weights.to(like)[None]
        signs = torch.where(weights < 0, -1.0, 1.0).to(like)
        values = _cut(weights.abs(), operator.cutoff)
        return Decomposition(lambda z: signs * z, lambda y: signs * y, _same, _same, values)
    if isinstance(operator, Stationary) and _circular(operator):
        transfer = operator.transfer.to(like.device)
        size = transfer.abs()
        phase = torch.where(size > 0, transfer / size.clamp_min(1e-300), 1.0)
        values = _cut(size, operator.cutoff).to(like).expand(1, *operator.in_shape).contiguous()

        def turn(x: Tensor, by: Tensor) -> Tensor:
            by = by.to(torch.complex128 if x.dtype == torch.float64 else torch.complex64)
            return torch.fft.ifftn(torch.fft.fftn(x, dim=spatial(x)) * by, dim=spatial(x)).real

        return Decomposition(
            lambda z: turn(hartley(z), phase), lambda y: hartley(turn(y, phase.conj())), hartley, hartley, values
        )
    n = math.prod(operator.in_shape)
    if n > most:
        expected = f"a mask, a circular blur or at most {most} numbers, for a singular value decomposition"
        raise InvalidArgument("operator", f"{type(operator).__name__} on {n} numbers", expected)
    u, s, vt = torch.linalg.svd(dense_matrix(operator), full_matrices=True)
    m, basis, left = len(u), vt.to(like), u.to(like)
    width = max(m, n)  # what has no counterpart on the other side is zero
    values = torch.zeros((1, width), dtype=like.dtype, device=like.device)
    values[0, : len(s)] = _cut(s, operator.cutoff).to(like)

    def pad(z: Tensor) -> Tensor:
        return torch.nn.functional.pad(z, (0, width - z.shape[1]))

    return Decomposition(
        lambda z: (z[:, :m] @ left.T).view(-1, *operator.out_shape),
        lambda y: pad(y.flatten(1) @ left),
        lambda z: (z[:, :n] @ basis).view(-1, *operator.in_shape),
        lambda x: pad(x.flatten(1) @ basis.T),
        values,
    )


def hartley(x: Tensor) -> Tensor:
    """``Re F x - Im F x`` along the axes of space of x (B, C, *S), orthonormal: its own inverse and transpose."""
    field = torch.fft.fftn(x, dim=spatial(x), norm="ortho")
    return field.real - field.imag


def _circular(operator: LinearOperator) -> bool:
    if not isinstance(operator, Stationary) or operator.in_shape != operator.out_shape:
        return False
    return torch.equal(operator.colour, torch.eye(len(operator.colour), dtype=torch.float64))


def _cut(values: Tensor, cutoff: float) -> Tensor:
    return torch.where(values > cutoff * values.max(), values, 0.0)


def _same(x: Tensor) -> Tensor:
    return x
