"""Conjugate gradients and Lanczos, each row of a batch by itself.

A row that has converged is frozen, so its result does not depend on which rows stand beside it. Complex vectors are
taken as real ones of twice the length: a Hermitian map is symmetric there, with the same spectrum.

Both take about ``sqrt(k) log(1 / tolerance)`` applications of the map, ``k`` the ratio of its largest eigenvalue to the
smallest that matters: ``r^2 lam_max / sigma^2`` with noise, ``1 / cutoff^2`` without.
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


def unit_rows(a: Tensor) -> Tensor:
    """``a / |a|``, each row by itself; 0 where a row is."""
    return a / row_dot(a, a).sqrt().clamp_min(1e-12).view(-1, *(1,) * (a.ndim - 1))


def _on_pairs(f: Map) -> Map:
    """A map of complex vectors as one of the pairs (real, imaginary) that ``view_as_real`` makes of them."""
    return lambda v: torch.view_as_real(f(torch.view_as_complex(v.contiguous())).resolve_conj())


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

    Stops a row when its residual is below ``tolerance * |b|``, or where the map has no curvature left but rounding: in
    a singular system. After ``iterations`` it returns what it has or, if ``strict``, raises :class:`NotConverged`.
    """
    if b.is_complex():
        pairs = conjugate_gradients(
            _on_pairs(matvec),
            torch.view_as_real(b.resolve_conj()),
            precondition=None if precondition is None else _on_pairs(precondition),
            start=None if start is None else torch.view_as_real(start.resolve_conj()),
            tolerance=tolerance,
            iterations=iterations,
            strict=strict,
        )
        return torch.view_as_complex(pairs.contiguous())
    precondition = precondition or (lambda r: r)
    ones = (-1,) + (1,) * (b.ndim - 1)
    u = torch.zeros_like(b) if start is None else start
    r = b - matvec(u) if start is not None else b
    goal = tolerance**2 * row_dot(b, b)
    w = precondition(r)
    p, rw = w, row_dot(r, w)
    active, top = row_dot(r, r) > goal, torch.zeros_like(rw)
    for _ in range(iterations):
        if not bool(active.any()):
            break
        q = matvec(p)
        curvature, length = row_dot(p, q), row_dot(p, p)
        top = torch.maximum(top, curvature / length)
        active = active & (rw > 0) & (curvature > 4 * torch.finfo(b.dtype).eps * top * length)
        step = torch.where(active, rw / curvature, 0.0).view(ones)
        u, r = u + step * p, r - step * q
        w = precondition(r)
        rw, before = torch.where(active, row_dot(r, w), rw), rw
        p = torch.where(active.view(ones), w + (rw / before).view(ones) * p, p)
        active = active & (row_dot(r, r) > goal)
    left = row_dot(r, r) > goal
    if strict and bool(left.any()):
        worst = float((row_dot(r, r) / row_dot(b, b).clamp_min(1e-38)).sqrt().max())
        raise NotConverged(
            f"conjugate gradients: relative residual {worst:.1e} after {iterations} iterations, wanted {tolerance:.1e};"
            " give the operator a larger cut-off, or an accuracy with more iterations or a looser tolerance"
        )
    return u


def lanczos(
    matvec: Map,
    h: Function,
    u: Tensor,
    *,
    cutoff: float,
    tolerance: float = 1e-4,
    iterations: int = 80,
    strict: bool = False,
    terms: int = 1,
) -> Tensor:
    """``h(G) w(G) u`` for a symmetric positive semi-definite ``G`` and a window ``w`` that fades small eigenvalues out.

    A sharp cut-off has no short polynomial approximation, so it is replaced by ``w(lam) = lam^2 / (lam^2 + c^2)`` with
    ``c`` the threshold, ``cutoff^2`` times the largest eigenvalue. The Krylov space of ``u`` is built with full
    reorthogonalisation and the function is applied to the small tridiagonal matrix. A row is done when its result moves
    by less than ``tolerance`` (relative) over four more vectors (a sixth more, from the 24th), or when its space is
    exhausted. After ``iterations`` vectors it returns what it has or, if ``strict``, raises :class:`NotConverged`.

    ``terms``: row i of B belongs to a sum with rows i + B / terms, i + 2 B / terms, ..., and what it moves by is
    relative to the largest of these. ``h`` sees the eigenvalues of all rows as (B, k), and may differ from row to row.
    """
    if u.is_complex():
        pairs = lanczos(
            _on_pairs(matvec),
            h,
            torch.view_as_real(u.resolve_conj()),
            cutoff=cutoff,
            tolerance=tolerance,
            iterations=iterations,
            strict=strict,
            terms=terms,
        )
        return torch.view_as_complex(pairs.contiguous())
    flat = u.flatten(1)
    norm = flat.norm(dim=1)
    limit = min(iterations, flat.shape[1])
    basis = u.new_empty((len(u), limit, flat.shape[1]))  # memory is only taken when a vector is written
    basis[:, 0] = flat / norm.clamp_min(1e-30)[:, None]
    alphas: list[Tensor] = []
    betas: list[Tensor] = []
    weights = torch.zeros((len(u), 0), dtype=torch.float64)
    settled = torch.zeros(len(u), dtype=torch.bool)
    loudness, look = norm.double().cpu(), 3
    for k in range(limit):
        known = basis[:, : k + 1]
        w = matvec(basis[:, k].view(u.shape)).flatten(1)
        alphas.append((w * basis[:, k]).sum(1))
        w = w - alphas[-1][:, None] * basis[:, k]
        if k:
            w = w - betas[-1][:, None] * basis[:, k - 1]
        w = torch.stack([_orthogonal(row, v) for v, row in zip(known, w, strict=True)])
        beta = w.norm(dim=1)
        scale = torch.stack(alphas, 1).abs().amax(1)
        dead = beta <= 1e-6 * scale if u.dtype == torch.float32 else beta <= 1e-13 * scale
        done = bool((dead.cpu() | settled).all()) or k + 1 == limit
        if done or k == look:
            look += max(4, k // 6)
            before = torch.nn.functional.pad(weights, (0, k + 1 - weights.shape[1]))
            weights = torch.where(settled[:, None], before, _ritz(h, alphas, betas, cutoff))
            size = (loudness * weights.norm(dim=1)).view(terms, -1).amax(0).repeat(terms)
            change = loudness * (weights - before).norm(dim=1) / size.clamp_min(1e-300)
            settled = settled | dead.cpu() | (change < tolerance)
            if strict and k + 1 == limit < flat.shape[1] and not bool(settled.all()):
                raise NotConverged(
                    f"lanczos: the result still moves by {float(change[~settled].max()):.1e} (relative) after {limit} "
                    f"vectors, wanted {tolerance:.1e}; give the operator a larger cut-off, or an accuracy with more "
                    "iterations or a looser tolerance"
                )
            if done or bool(settled.all()):
                return (norm[:, None, None] * (weights.to(norm)[:, None] @ known))[:, 0].view(u.shape)
        betas.append(torch.where(dead, 0.0, beta))
        basis[:, k + 1] = torch.where(dead[:, None], 0.0, w / beta.clamp_min(1e-30)[:, None])
    raise AssertionError("unreachable: the last pass returns")


def _orthogonal(row: Tensor, basis: Tensor) -> Tensor:
    """``row`` (n) without its part along ``basis`` (k, n); row by row, since batched products round otherwise."""
    out = row - (basis @ row) @ basis
    # Only rounding was left along the basis, and one pass removes it; where nothing else is, two do (Parlett).
    return out if bool(out.norm() > 0.1 * row.norm()) else out - (basis @ out) @ basis


def _ritz(h: Function, alphas: list[Tensor], betas: list[Tensor], cutoff: float) -> Tensor:
    """``h(T) e_1`` of the tridiagonal matrix with these diagonals, (B, k), in float64."""
    t = torch.diag_embed(torch.stack(alphas, 1).double().cpu())
    if betas:
        off = torch.stack(betas, 1).double().cpu()
        t = t + torch.diag_embed(off, 1) + torch.diag_embed(off, -1)
    lam, vectors = torch.linalg.eigh(t)
    top = lam[:, -1:].clamp_min(1e-300)
    # The window is relative to each row's own largest Ritz value, so that rows do not influence each other.
    values = restricted(lambda v: h(v) / (1 + (cutoff**2 * top / v) ** 2), lam, 1e-14 * top)
    return torch.einsum("bij,bj,bj->bi", vectors, values, vectors[:, 0, :])
