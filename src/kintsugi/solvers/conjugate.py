"""Coefficients of the conditional conjugate integrators (Pandey, Yang, Mandt, NeurIPS 2024).

Write the guidance as ``omega J^T (A^+ y - P D)`` with ``omega = w alpha(eta)^2``, and let the network enter through a
quantity F that is frozen during a step, ``D = k z - m F``:

| frozen | F | k | m |
|---|---|---|---|
| noise (the diffusion paper) | eps | 1 | eta |
| velocity (the flow paper) | v | alpha (flow), alpha^2 (VP) | sigma |
| data | D | 0 | -1 |

Then ``J = k I - m dF/dz`` and equation (1) of the design reads, for each eigenvector of A^T A with filter rho,

    dz/deta = [(1 - k)/eta + eta omega k^2 rho] z + [m/eta - eta omega k m rho] F - eta omega k rho A^+ y
              + eta omega m alpha q,        q = (dF/dx_t)^T (A^+ y - P D)

The bracket in front of z is known and stiff. With ``mu = exp(int (1 - k)/eta)`` and ``kappa = int eta omega k^2 rho``
the conjugate variable ``x~ = exp(lambda t - kappa) z / mu`` has a right-hand side that is free of it, but for
``lambda x~``, which the papers take by an explicit Euler step in the model's time t. F and q (the papers freeze the
VJP with respect to x_t) are frozen, and everything else is a one-dimensional integral. From level a to c:

    z_c = c_z z_a + c_F F + c_y A^+ y + c_q q,     K(eta) = mu_c/mu e^{lambda (t - t_c)} e^{-(kappa - kappa_c)}
    c_z = (1 - lambda (t_a - t_c)) K(a)            c_F = -int_c^a K (m/eta - eta omega k m rho) deta
    c_y = int_c^a K eta omega k rho deta           c_q = -int_c^a K eta omega m alpha deta

Higher order: F and q are not frozen but follow a polynomial through what they were at earlier levels, in Newton's form
in ``x = asinh(eta)`` (which is smooth at 0, where log(eta) is not). The coefficients of their divided differences are
the same integrals with Newton's basis inside, so each order is exact for that polynomial, whatever the stiffness.

The residual ``u = A^+ y - P D`` need not be frozen in q (``relaxing``). While F is held and for lambda = 0, u obeys
``du/deta = eta omega k^2 u`` on the range of A^T (frozen noise, and the velocity of a flow), but for what q itself does
to it, and q is linear in u:

    u = e^{-(kappa_a - kappa)} u_a,    c_q = -int_c^a K e^{-(kappa_a - kappa)} eta omega m alpha deta

with the kappa of rho = 1 in the exponent. Frozen, the force of a strong guidance acts over the whole step although what
it pulls at is gone after a part of it, which is what bounds w from above; relaxing, it pulls by no more than is left,
however large w is. Nothing relaxes where D is held.

The transform is divided out before it is ever evaluated, so nothing overflows (its range factor reaches 1e5) and
float32 suffices. For lambda = 0 and no VJP, frozen noise gives the design's closed form: a DDIM step whose measured
part relaxes with ``e^{-(kappa_a - kappa_c)}``. Without measurement noise rho is 1 on the range of A^T and 0 on its
complement; with it, ``rho = r^2 lam / (r^2 lam + sigma_y^2)``, exact where the paper expands to first order in
sigma_y^2. The integrals use Gauss-Legendre nodes in asinh(eta), crowded for a large w towards c, where K lives, or a,
where a relaxing residual does; the running integral kappa at the nodes is the exact integral of the interpolating
polynomial.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..paths import Path

Frozen = Literal["noise", "velocity", "data"]
Residual = Literal["frozen", "relaxing"]
NODES = 48


@dataclass(frozen=True)
class Coefficients:
    """``z_c = z z_a + sum_j frozen_j F_j + data A^+ y + sum_j vjp_j q_j``; tensors () or over eigenvalues.

    ``F_0`` and ``q_0`` are what the network gave, and the others their divided differences (see ``newton``).
    """

    z: Tensor
    frozen: tuple[Tensor, ...]
    data: Tensor
    vjp: tuple[Tensor, ...]

    def map(self, f: Callable[[Tensor], Tensor]) -> Coefficients:
        """``f`` of each coefficient."""
        return Coefficients(f(self.z), tuple(map(f, self.frozen)), f(self.data), tuple(map(f, self.vjp)))


@functools.lru_cache(maxsize=1)
def _quadrature() -> tuple[Tensor, Tensor, Tensor]:
    """Gauss-Legendre nodes and weights on [0, 1], and the matrix S with ``(S f)_j = int_0^{x_j} f``."""
    x, w = np.polynomial.legendre.leggauss(NODES)
    p = np.polynomial.legendre.legvander(x, NODES)  # P_k(x_j)
    k = np.arange(NODES)
    primitive = np.empty((NODES, NODES))  # int_{-1}^{x_j} P_k
    primitive[:, 0] = x + 1
    primitive[:, 1:] = (p[:, 2:] - p[:, : NODES - 1]) / (2 * k[1:] + 1)
    running = primitive @ (((2 * k + 1) / 2)[:, None] * p[:, :NODES].T * w)
    return torch.from_numpy((x + 1) / 2), torch.from_numpy(w / 2), torch.from_numpy(running / 2)


def conjugate_coefficients(
    path: Path,
    frozen: Frozen,
    a: float,
    c: float,
    *,
    w: float,
    lam: float,
    rho: Callable[[Tensor], Tensor],
    known: tuple[float, ...] = (),
    relaxing: bool = False,
) -> Coefficients:
    """The coefficients of the step from level ``a`` to ``c < a``.

    ``rho`` maps noise levels (NODES,) to the filter, (NODES,) or (NODES, *shape) over eigenvalues; the coefficients
    have the shape () or ``shape`` and the dtype of ``rho``'s values. ``known``: the levels at which F and q are known,
    ``a`` first; one for first order, two or three for a polynomial through them. ``relaxing``: the residual in q, of
    first order.
    """
    known = known or (a,)
    if frozen == "data" and c == 0:  # K is concentrated at the end point, and z_0 = D there
        zero = torch.zeros_like(rho(torch.ones(NODES, dtype=torch.float64))[0])
        basis = newton_basis(torch.zeros(1, dtype=torch.float64), known)
        return Coefficients(zero, tuple(zero + float(n) for n in basis), zero, (zero,) * len(known))
    weights = _quadrature()[1]
    on = _integrands(path, frozen, a, c, w, lam, known)
    filters, shape, kappa = _relaxed(on, rho)

    def at_nodes(values: Tensor) -> Tensor:
        return values.to(filters)[:, None]

    transport = at_nodes(on.transport) * torch.exp(-kappa[:-1])
    moved, pulled = at_nodes(on.coupled) * filters - at_nodes(on.free), -at_nodes(on.vjp).expand_as(filters)
    basis = [at_nodes(n) for n in on.basis]
    # The first function of the basis is 1.
    parts = [at_nodes(on.data) * filters, moved, pulled, *(n * v for n in basis[1:] for v in (moved, pulled))]
    data, *integrals = (values.view(shape) for values in weights.to(filters) @ (transport * torch.stack(parts)))
    z = (on.scale * torch.exp(-kappa[-1])).view(shape)
    vjp = (_relaxing_vjp(path, frozen, a, c, w, lam, rho),) if relaxing else tuple(integrals[1::2])
    return Coefficients(z, tuple(integrals[::2]), data, vjp)


def _relaxing_vjp(
    path: Path, frozen: Frozen, a: float, c: float, w: float, lam: float, rho: Callable[[Tensor], Tensor]
) -> Tensor:
    """``c_q`` of a residual that relaxes; its integrand lives near ``a``."""
    on = _integrands(path, frozen, a, c, w, lam, (a,), "a")
    filters, shape, kappa = _relaxed(on, rho)
    parts = (_quadrature()[1] * on.transport * on.vjp * on.fading).to(filters)
    return -(parts @ torch.exp(-kappa[:-1])).view(shape)


def _relaxed(on: _Integrands, rho: Callable[[Tensor], Tensor]) -> tuple[Tensor, torch.Size, Tensor]:
    """The filter (NODES, n), the shape of its eigenvalues, and kappa (NODES + 1, n): to each node and over the step."""
    _, weights, running = _quadrature()
    filters = rho(on.eta)
    shape, filters = filters.shape[1:], filters.reshape(NODES, -1)
    return filters, shape, torch.cat((running, weights[None])).to(filters) @ (on.rate.to(filters)[:, None] * filters)


def free_coefficients(
    path: Path,
    frozen: Frozen,
    a: float,
    c: float,
    *,
    w: float,
    lam: float,
    known: tuple[float, ...] = (),
    relaxing: bool = False,
) -> Coefficients:
    """:func:`conjugate_coefficients` where nothing was measured: ``rho = 0``. All of shape ()."""
    known = known or (a,)
    zero = torch.zeros((), dtype=torch.float64)
    if frozen == "data" and c == 0:
        basis = newton_basis(zero[None], known)
        return Coefficients(zero, tuple(zero + float(n) for n in basis), zero, (zero,) * len(known))
    on = _integrands(path, frozen, a, c, w, lam, known)
    transport = _quadrature()[1] * on.transport
    moved, pulled = transport * on.free, transport * on.vjp
    vjp = (_relaxing_vjp(path, frozen, a, c, w, lam, torch.zeros_like),) if relaxing else (
        tuple(-pulled.dot(n) for n in on.basis)
    )  # fmt: skip
    return Coefficients(zero + on.scale, tuple(-moved.dot(n) for n in on.basis), zero, vjp)


def residual_coefficient(
    path: Path, frozen: Frozen, a: float, c: float, *, w: float, lam: float, relaxing: bool = False
) -> float:
    """The coefficient of ``u = A^+(y) - A^+(A(D))``: ``int_c^a K eta omega k deta`` with the K of ``rho = 0``, or
    ``int_c^a K e^{-(kappa_a - kappa)} eta omega k deta``, the relaxing one, which for frozen noise is below 1.

    For measurements whose guidance ``omega J^T u`` has no part that is linear in z. The relaxing one is exact where
    ``A^+ A`` is a projection and nothing but u is seen by it.
    """
    if frozen == "data" and c == 0:
        return 0.0
    on = _integrands(path, frozen, a, c, w, lam, (a,), "a" if relaxing else "c")
    data = on.data * on.fading if relaxing else on.data
    return float((_quadrature()[1] * on.transport).dot(data))


def newton_basis(eta: Tensor, known: Sequence[float]) -> list[Tensor]:
    """Newton's polynomials ``1, x - x_0, (x - x_0)(x - x_1), ...`` in ``x = asinh(eta)`` at the levels ``known``."""
    x, out = torch.asinh(eta), [torch.ones_like(eta)]
    for level in known[:-1]:
        out.append(out[-1] * (x - math.asinh(level)))
    return out


def divided_differences(values: Sequence[Tensor], known: Sequence[float]) -> list[Tensor]:
    """Newton's divided differences of ``values`` at the levels ``known``: what the basis multiplies."""
    x = [math.asinh(level) for level in known]
    column, out = list(values), [values[0]]
    for width in range(1, len(values)):
        column = [
            (after - before) / (x[i + width] - x[i]) for i, (before, after) in enumerate(itertools.pairwise(column))
        ]
        out.append(column[0])
    return out


@dataclass(frozen=True)
class _Integrands:
    """What the integrals of a step hold besides the filter, at the nodes of the quadrature, times ``deta``."""

    eta: Tensor
    rate: Tensor
    transport: Tensor
    free: Tensor
    coupled: Tensor
    data: Tensor
    vjp: Tensor
    scale: float
    basis: list[Tensor]

    @property
    def fading(self) -> Tensor:
        """What is left at the nodes of a residual that relaxes from a on: ``e^{-(kappa_a - kappa)}`` of rho = 1."""
        _, weights, running = _quadrature()
        return torch.exp(running @ self.rate - weights.dot(self.rate))


@functools.lru_cache(maxsize=128)
def _integrands(
    path: Path,
    frozen: Frozen,
    a: float,
    c: float,
    w: float,
    lam: float,
    known: tuple[float, ...],
    crowded: Literal["a", "c"] = "c",
) -> _Integrands:
    eta, slope = _nodes(path, frozen, a, c, w, crowded)
    alpha = path.alpha_of_eta(eta)
    pull = slope * eta * w * alpha**2
    k, m = _form(path, frozen, eta)
    everywhere = torch.cat((eta, torch.tensor([c, a], dtype=torch.float64)))
    mu, t = _mu(path, frozen, everywhere), path.time(everywhere) if lam else torch.zeros_like(everywhere)
    mu_c, mu_a, t_c, h = float(mu[-2]), float(mu[-1]), t[-2], float(t[-1] - t[-2])
    return _Integrands(
        eta=eta,
        rate=pull * k**2,
        transport=mu_c / mu[:-2] * torch.exp(lam * (t[:-2] - t_c)),
        free=slope * m / eta,
        coupled=pull * k * m,
        data=pull * k,
        vjp=pull * m * alpha,
        scale=(1 - lam * h) * mu_c / mu_a * math.exp(lam * h),
        basis=newton_basis(eta, known),
    )


def _nodes(
    path: Path, frozen: Frozen, a: float, c: float, w: float, crowded: Literal["a", "c"]
) -> tuple[Tensor, Tensor]:
    """Noise levels in [c, a] at the nodes of the quadrature, and their derivative.

    A large w lets K fall off within a small part of the interval, at c, and a relaxing residual within one at a; the
    nodes then crowd there.
    """
    x, weights, _ = _quadrature()
    if frozen == "data":
        span = float(np.log(a / c))
        eta = c * torch.exp(x * span)
        return eta, eta * span
    low, span = float(np.arcsinh(c)), float(np.arcsinh(a) - np.arcsinh(c))
    eta, slope = torch.sinh(low + x * span), torch.cosh(low + x * span) * span
    k, _ = _form(path, frozen, eta)
    kappa = float((weights * slope * eta * w * path.alpha_of_eta(eta) ** 2 * k**2).sum())
    grade = float(np.log(max(kappa, 1.0) / 64))
    if grade <= 0:
        return eta, slope
    from_end = x if crowded == "c" else 1 - x
    share = torch.expm1(grade * from_end) / float(np.expm1(grade))
    place = low + span * (share if crowded == "c" else 1 - share)
    return torch.sinh(place), torch.cosh(place) * span * grade * torch.exp(grade * from_end) / float(np.expm1(grade))


def _form(path: Path, frozen: Frozen, eta: Tensor) -> tuple[Tensor, Tensor]:
    if frozen == "noise":
        return torch.ones_like(eta), eta
    if frozen == "velocity":
        return path.velocity_form(eta)
    return torch.zeros_like(eta), -torch.ones_like(eta)


def _mu(path: Path, frozen: Frozen, eta: Tensor) -> Tensor:
    """``exp(int (1 - k)/eta deta)``: 1, 1/alpha (both velocities) and eta."""
    if frozen == "noise":
        return torch.ones_like(eta)
    return 1 / path.alpha_of_eta(eta) if frozen == "velocity" else eta


def frozen_quantity(
    path: Path, frozen: Frozen, z: Tensor, d: Tensor, eta: float
) -> tuple[Tensor, Callable[[Tensor, Tensor], Tensor]]:
    """``F`` at level ``eta``, and the map ``(u, J^T u) -> (dF/dx_t)^T u``."""
    level = torch.tensor(eta, dtype=torch.float64)
    k, m = (float(v) for v in _form(path, frozen, level))
    alpha = float(path.alpha_of_eta(level))
    f = d if frozen == "data" else (k * z - d) / m

    def vjp(u: Tensor, jtu: Tensor) -> Tensor:
        return (k * u - jtu) / (m * alpha)

    return f, vjp
