"""C-PiGDM and C-PiGFM: conditional conjugate integrators. The theory is in ``solvers/conjugate.py``.

One step evaluates the network and one VJP, and then applies four functions of ``A^T A``:

    z_c = c_z(A^T A) z + c_F(A^T A) F + c_y A^+ y + c_q(A^T A) q
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, get_args

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..guidance.base import levels_like, linear_operator
from ..guidance.ddnm import isotropic_variance
from ..noise import RowNoise
from ..operators.base import LinearOperator
from ..paths import FlowMatching, Path
from ..priors.base import Prior
from ..problem import Problem
from ..solvers.conjugate import (
    Coefficients,
    Frozen,
    conjugate_coefficients,
    free_coefficients,
    frozen_quantity,
    tabulated,
)
from .base import Report, Sampler, check_number, check_type, start_at
from .defaults import pseudo_inverse_defaults
from .schedule import Schedule, Start


@dataclass(frozen=True)
class CPiGDM(Sampler):
    """C-PiGDM: conditional conjugate integrator for diffusion, one forward and one VJP a step.

    w: guidance strength; None picks it from the noise and the number of steps. lam: the papers' lambda. tau: the time
    in (0, 1] at which the run starts, from ``A^+ y`` plus noise. frozen: what of the network is held during a step.
    jacobian: False drops the VJP (half the cost). path: the path whose time and alpha weight the guidance; None for
    the prior's own. Steps are uniform in the path's time.
    """

    name: ClassVar[str] = "cpigdm"

    w: float | None = None
    lam: float = 0.0
    tau: float | None = None
    frozen: Frozen = "noise"
    jacobian: bool = True
    start: Start = "pinv"
    path: Path | None = None

    def __post_init__(self) -> None:
        if self.w is not None:
            check_number("w", self.w, lambda w: 0 < w < math.inf, "a positive number or None")
        if self.tau is not None:
            check_number("tau", self.tau, lambda tau: 0 < tau <= 1, "a time above 0 and at most 1, or None")
        check_number("lam", self.lam, math.isfinite, "a finite number")
        for name, allowed in (("frozen", get_args(Frozen)), ("start", get_args(Start))):
            if getattr(self, name) not in allowed:
                raise InvalidArgument(name, getattr(self, name), " or ".join(map(repr, allowed)))
        check_type("jacobian", self.jacobian, bool, "True or False")
        check_type("path", self.path, (Path, type(None)), "a path or None")

    def check(self, prior: Prior, problem: Problem) -> None:
        linear_operator(problem, self.name)
        if self.frozen == "velocity":
            (self.path or prior.path).velocity_form(torch.ones((), dtype=torch.float64))

    def settings(self, problem: Problem, steps: int) -> tuple[float, float]:
        """``(w, tau)``: as given, or the defaults that were chosen on held-out training images."""
        w, tau = pseudo_inverse_defaults(self.name, problem, steps)
        return self.w or w, self.tau or tau

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        if self.path is not None:
            prior = prior.with_path(self.path)
        operator = linear_operator(problem, self.name)
        w, tau = self.settings(problem, steps)
        levels = Schedule(tau=tau, end=None, grid="time").levels(prior, steps)
        z = start_at(prior, problem, self.start, levels[0], noise)
        for done, (a, c) in enumerate(pairwise(levels), 1):
            z = self._step(prior, operator, problem, z, a, c, w)
            report(done, len(levels) - 1)
        return z

    def _step(
        self, prior: Prior, operator: LinearOperator, problem: Problem, z: Tensor, a: float, c: float, w: float
    ) -> Tensor:
        noise2, data_variance = problem.noise**2, prior.data_variance
        level = levels_like(z, a)
        d, vjp = prior.denoise_vjp(z, level) if self.jacobian else (prior.denoise(z, level), None)
        f, to_frozen = frozen_quantity(prior.path, self.frozen, z, d, a)
        vectors = [z, f]
        if vjp is not None:
            ratio = noise2 / isotropic_variance(data_variance, a)
            u = operator.lift(lambda lam: (-1 / (lam + ratio), 1 / (lam + ratio)), [d], problem.y)
            vectors.append(to_frozen(u, vjp(u)))

        def coefficients(rho: Callable[[Tensor], Tensor]) -> Coefficients:
            return conjugate_coefficients(prior.path, self.frozen, a, c, w=w, lam=self.lam, rho=rho)

        # The filter is 0 off the range of A^T, and without noise 1 on it.
        null = free_coefficients(prior.path, self.frozen, a, c, w=w, lam=self.lam)
        out = _weighted(null, vectors)
        if noise2 == 0:
            whole = coefficients(torch.ones_like)
            moved, share = _weighted(whole, vectors) - out, float(whole.data)
            return out + operator.lift(lambda lam: (1 / lam, share / lam), [moved], problem.y)

        def noisy(lam: Tensor) -> Coefficients:
            def rho(eta: Tensor) -> Tensor:
                r2 = isotropic_variance(data_variance, eta).to(lam).view(-1, *(1,) * lam.ndim)
                return r2 * lam / (r2 * lam + noise2)

            return coefficients(rho)

        table = tabulated(noisy)

        def h(lam: Tensor) -> list[Tensor]:
            on = table(lam)
            moves = (on.z - null.z.to(lam), on.frozen - null.frozen.to(lam), on.vjp - null.vjp.to(lam))
            return [values / lam for values in (*moves[: len(vectors)], on.data)]

        return out + operator.lift(h, vectors, problem.y)


@dataclass(frozen=True)
class CPiGFM(CPiGDM):
    """C-PiGFM: conditional conjugate integrator for flow models, one forward and one VJP a step.

    As :class:`CPiGDM`, on the straight path of flow matching and with the velocity frozen.
    """

    name: ClassVar[str] = "cpigfm"

    frozen: Frozen = "velocity"
    path: Path | None = FlowMatching()


def _weighted(coefficients: Coefficients, vectors: list[Tensor]) -> Tensor:
    """``c_z z + c_F F + c_q q`` for scalar coefficients; without a VJP there is no q."""
    factors = [float(c) for c in (coefficients.z, coefficients.frozen, coefficients.vjp)]
    out = factors[0] * vectors[0]
    for factor, vector in zip(factors[1:], vectors[1:], strict=False):
        out = torch.add(out, vector, alpha=factor)
    return out
