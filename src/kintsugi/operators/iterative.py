"""Conjugate gradients and Lanczos, each row of a batch by itself.

A row that has converged is frozen, so its result does not depend on which rows stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import NotConverged
from .base import Function, restricted

Map = Callable[[Tensor], Tensor]


def row_dot(a: Tensor, b: Tensor) -> Tensor:
    """``(B,)`` inner products of the rows of two tensors (B, *)."""
    return (a.flatten(1) * b.flatten(1)).sum(1)


def conjugate_gradients(
    matvec: Map,
    b: Tensor,
    *,
    precondition: Map | None = None,
    start: Tensor | None = None,
    tolerance: float = 1e-3,
    iterations: int = 100,
    strict: bool = False,
) -> Tensor:
    """Solve ``matvec(u) = b`` for a symmetric positive definite map, rows of shape (B, *) independently.

    Stops a row when its residual is below ``tolerance * |b|``. After ``iterations`` it returns what it has or, if
    ``strict``, raises :class:`NotConverged`.
    """
    precondition = precondition or (lambda r: r)
    ones = (-1,) + (1,) * (b.ndim - 1)
    u = torch.zeros_like(b) if start is None else start
    r = b - matvec(u) if start is not None else b
    goal = tolerance**2 * row_dot(b, b)
    w = precondition(r)
    p, rw = w, row_dot(r, w)
    for _ in range(iterations):
        active = row_dot(r, r) > goal
        if not bool(active.any()):
            return u
        q = matvec(p)
        step = torch.where(active, rw / row_dot(p, q).clamp_min(1e-38), 0.0).view(ones)
        u, r = u + step * p, r - step * q
        w = precondition(r)
        rw, before = torch.where(active, row_dot(r, w), rw), rw
        p = torch.where(active.view(ones), w + (rw / before.clamp_min(1e-38)).view(ones) * p, p)
    left = row_dot(r, r) > goal
    if strict and bool(left.any()):
        worst = float((row_dot(r, r) / row_dot(b, b).clamp_min(1e-38)).sqrt().max())
        raise NotConverged(
            f"conjugate gradients: relative residual {worst:.1e} after {iterations} iterations, wanted {tolerance:.1e}"
        )
    return u


def lanczos(
    matvec: Map, h: Function, u: Tensor, *, cutoff: float, tolerance: float = 1e-4, iterations: int = 80
) -> Tensor:
    """``h(G) w(G) u`` for a symmetric positive semi-definite ``G`` and a window ``w`` that fades small eigenvalues out.

    A sharp cut-off has no short polynomial approximation, so it is replaced by ``w(lam) = lam^2 / (lam^2 + c^2)`` with
    ``c`` the threshold, ``cutoff^2`` times the largest eigenvalue. The Krylov space of ``u`` is built with full
    reorthogonalisation and the function is applied to the small tridiagonal matrix. Stops when the result moves by
    less than ``tolerance`` (relative) over four more vectors in every row, or when the space is exhausted.
    """
    size = u[0].numel()
    norm = u.flatten(1).norm(dim=1)
    ones = (-1,) + (1,) * (u.ndim - 1)
    basis = [u / norm.clamp_min(1e-30).view(ones)]
    alphas: list[Tensor] = []
    betas: list[Tensor] = []
    previous: Tensor | None = None
    limit = min(iterations, size)
    for k in range(limit):
        w = matvec(basis[-1])
        alphas.append(row_dot(w, basis[-1]))
        for _ in range(2):  # twice is enough (Parlett)
            for v in basis:
                w = w - row_dot(w, v).view(ones) * v
        beta = w.flatten(1).norm(dim=1)
        scale = torch.stack(alphas, 1).abs().amax(1)
        dead = beta <= 1e-6 * scale if u.dtype == torch.float32 else beta <= 1e-13 * scale
        done = bool(dead.all()) or k + 1 == limit
        if done or k % 4 == 3:
            weights = _ritz(h, alphas, betas, cutoff)
            change = _change(weights, previous)
            if done or (change is not None and bool((change < tolerance).all())):
                out = torch.zeros_like(u)
                for j, v in enumerate(basis):
                    out = out + (norm * weights[:, j].to(norm)).view(ones) * v
                return out
            previous = weights
        betas.append(torch.where(dead, 0.0, beta))
        basis.append(torch.where(dead.view(ones), 0.0, w / beta.clamp_min(1e-30).view(ones)))
    raise AssertionError("unreachable: the last pass returns")


def _ritz(h: Function, alphas: list[Tensor], betas: list[Tensor], cutoff: float) -> Tensor:
    """``h(T) e_1`` of the tridiagonal matrix with these diagonals, (B, k), in float64."""
    t = torch.diag_embed(torch.stack(alphas, 1).double().cpu())
    if betas:
        off = torch.stack(betas, 1).double().cpu()
        t = t + torch.diag_embed(off, 1) + torch.diag_embed(off, -1)
    lam, vectors = torch.linalg.eigh(t)
    top = lam[:, -1:].clamp_min(1e-300)
    # The window is relative to each row's own largest Ritz value, so that rows do not influence each other.
    window = lam**2 / (lam**2 + (cutoff**2 * top) ** 2)
    values = restricted(h, lam, 1e-14 * float(top.max())) * window
    return torch.einsum("bij,bj,bj->bi", vectors, values, vectors[:, 0, :])


def _change(now: Tensor, before: Tensor | None) -> Tensor | None:
    if before is None:
        return None
    padded = torch.nn.functional.pad(before, (0, now.shape[1] - before.shape[1]))
    return (now - padded).norm(dim=1) / now.norm(dim=1).clamp_min(1e-300)
