"""GMRES, each row of a batch by itself: for systems that ought to be symmetric and positive, but are not.

Minimal residual in the Krylov space of the right-hand side, by Arnoldi (Saad and Schultz, 1986), without restarts: it
is meant for a handful of products with a matrix. In contrast to conjugate gradients the residual never grows, whatever
the matrix: directions in which it has no curvature, or a negative one, are left alone or bounded instead of blown up.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..operators.iterative import Map, row_dot


def gmres(matvec: Map, b: Tensor, *, tolerance: float = 1e-3, iterations: int = 3) -> Tensor:
    """``sum_k c_k q_k`` over the Krylov vectors ``q_k`` of ``b``, with the least ``|b - matvec(u)|`` in each row.

    A row stops when its residual is below ``tolerance * |b|`` or its space is exhausted; its result does not depend
    on which rows stand beside it.
    """
    ones = (-1,) + (1,) * (b.ndim - 1)
    limit = min(iterations, b[0].numel())
    length = row_dot(b, b).sqrt()
    active = length > 0
    basis = [b / torch.where(active, length, 1.0).view(ones)]
    # The small least-squares problem, brought to triangular form R c = f as it grows; float64 on the CPU.
    r, f = torch.zeros(len(b), limit, limit, dtype=torch.float64), torch.zeros(len(b), limit, dtype=torch.float64)
    goal = length.double().cpu()  # what is left of |b|; the norm of the residual
    turns: list[tuple[Tensor, Tensor]] = []
    for k in range(limit):
        if not bool(active.any()):
            break
        w = torch.where(active.view(ones), matvec(basis[k]), 0.0)
        norm = row_dot(w, w).sqrt()
        column = torch.zeros(k + 2, len(b), dtype=torch.float64)
        for _ in range(2):  # twice is enough (Parlett)
            for i, q in enumerate(basis):
                share = row_dot(q, w)
                column[i] += share.double().cpu()
                w = w - share.view(ones) * q
        left = row_dot(w, w).sqrt()
        alive = active & (left > 8 * torch.finfo(b.dtype).eps * norm)
        column[k + 1] = torch.where(alive, left, 0.0).double().cpu()
        for i, (cos, sin) in enumerate(turns):
            column[i], column[i + 1] = cos * column[i] + sin * column[i + 1], cos * column[i + 1] - sin * column[i]
        size = torch.hypot(column[k], column[k + 1])
        live = size > 1e-12 * norm.double().cpu()  # else the vector is of no use, and gets no weight
        cos, sin = (
            torch.where(live, c / torch.where(live, size, 1.0), d) for c, d in zip(column[k:], (1.0, 0.0), strict=True)
        )
        turns.append((cos, sin))
        r[:, :k, k] = torch.where(live, column[:k], 0.0).T
        r[:, k, k] = torch.where(live, size, 1.0)
        f[:, k], goal = torch.where(live, cos * goal, 0.0), torch.where(live, -sin * goal, goal)
        basis.append(torch.where(alive.view(ones), w / torch.where(alive, left, 1.0).view(ones), 0.0))
        active = alive & (goal.abs().to(b) > tolerance * length)
    used = len(basis) - 1
    c = torch.linalg.solve_triangular(r[:, :used, :used], f[:, :used, None], upper=True)
    out = torch.zeros_like(b)
    for k, q in enumerate(basis[:-1]):
        out = out + c[:, k, 0].to(b).view(ones) * q
    return out
