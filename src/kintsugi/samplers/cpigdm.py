"""C-PiGDM and C-PiGFM: conditional conjugate integrators. The theory is in ``solvers/conjugate.py``.

One step evaluates the network and one VJP, and then applies functions of ``A^T A``:

    z_c = c_z(A^T A) z + sum_j c_Fj(A^T A) F_j + c_y A^+ y + sum_j c_qj(A^T A) q_j

Beyond the papers: ``scheme`` raises the order, by a polynomial through earlier levels (multistep, free) or by a second
evaluation at the end of the step (Heun); ``churn`` raises the noise level before each step, as Karras et al. (2022,
algorithm 2) do, which leaves the marginals of the posterior as they are and forgets the errors of earlier steps.

The residual that the VJP is of, frozen during a step by the papers, may relax as what was measured does (``residual``;
``solvers/conjugate.py``): the step is then stable for any w.

Nonlinear measurements: with a pseudo-inverse (and no noise), ``u = A^+(y) - A^+(A(D))`` relaxes, or is frozen as it
stands, as in the paper, and then diverges unless w is small; without one, ``A`` is replaced by its derivative at D, a
Gauss-Newton step, and everything above applies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..guidance.base import levels_like
from ..guidance.ddnm import isotropic_variance
from ..noise import RowNoise
from ..operators.base import LinearOperator
from ..operators.linearized import Linearized
from ..paths import FlowMatching, Path
from ..priors.base import Prior
from ..problem import Problem
from ..solvers.conjugate import (
    Coefficients,
    Frozen,
    Residual,
    conjugate_coefficients,
    divided_differences,
    free_coefficients,
    frozen_quantity,
    residual_coefficient,
)
from ..solvers.tabulated import tabulated
from .base import Report, Sampler, check_number, check_type, march, start_at
from .defaults import pseudo_inverse_defaults
from .schedule import Schedule, Start
from .space import Choice, Range, Space

Scheme = Literal["euler", "multistep2", "multistep3", "heun"]
_MOST_KNOWN = {"euler": 1, "multistep2": 2, "multistep3": 3, "heun": 1}


@dataclass(frozen=True)
class _Known:
    """What the network said at a noise level: F, and q where there is a VJP."""

    eta: float
    frozen: Tensor
    vjp: Tensor | None


@dataclass(frozen=True)
class _Memory:
    """From one step to the next: evaluations at earlier levels, the latest first, and one at this level already."""

    earlier: tuple[_Known, ...] = ()
    ahead: _Known | None = None


@dataclass(frozen=True)
class CPiGDM(Sampler):
    """C-PiGDM: conditional conjugate integrator for diffusion; the measured part relaxes exactly.

    z_c = c_z(A^T A) z + c_F(A^T A) F + c_y A^+ y + c_q(A^T A) q, with F the network's output, held during a step.

    w: guidance strength; None picks it from the noise and the number of steps. lam: the papers' lambda. tau: the time
    in (0, 1] at which the run starts, from ``A^+ y`` plus noise. frozen: what of the network is held during a step.
    scheme: "euler" (the papers), "multistep2", "multistep3" or "heun" (two evaluations a step). churn: how much noise
    is added and removed again, in all, as the log of the ratio of levels. residual: "frozen" during a step (the papers)
    or "relaxing" (with "euler"), which bears any w; None for "relaxing" where a measurement is not linear and has a
    pseudo-inverse, and "frozen" elsewhere. jacobian: False drops the VJP (half the cost). path: the path whose time and
    alpha weight the guidance; None for the prior's own, or what paces it (``Path.paced``). Steps are uniform in the
    path's time.

    Paper: Pandey, Yang, Mandt, NeurIPS 2024, "Fast samplers for inverse problems in iterative refinement models".
    Cost: 1 forward and 1 VJP a step; Heun 2 and 2.
    Takes: any linear operator, with or without noise; nonlinear ones with a derivative or a pseudo-inverse ("euler").
    Authors: 5 to 20 steps, first order, from the pseudo-inverse; w, tau and lambda tuned for each task.
    """

    name: ClassVar[str] = "cpigdm"
    steadier: ClassVar[Mapping[str, str]] = {
        "residual": "'relaxing'", "w": "smaller", "lam": "closer to 0", "jacobian": "False",
    }  # fmt: skip
    space: ClassVar[Space] = {
        "w": Range(2.0, 400.0, log=True), "lam": Range(-1.0, 1.0), "tau": Range(0.2, 0.9),
        "residual": Choice(("frozen", "relaxing")),
    }  # fmt: skip

    w: float | None = None
    lam: float = 0.0
    tau: float | None = None
    frozen: Frozen = "noise"
    scheme: Scheme = "euler"
    churn: float = 0.0
    residual: Residual | None = None
    jacobian: bool = True
    start: Start = "pinv"
    path: Path | None = None

    def __post_init__(self) -> None:
        if self.w is not None:
            check_number("w", self.w, lambda w: 0 < w < math.inf, "a positive number or None")
        if self.tau is not None:
            check_number("tau", self.tau, lambda tau: 0 < tau <= 1, "a time above 0 and at most 1, or None")
        check_number("lam", self.lam, math.isfinite, "a finite number")
        for name, allowed in (("frozen", Frozen), ("scheme", Scheme), ("start", Start)):
            if getattr(self, name) not in get_args(allowed):
                raise InvalidArgument(name, getattr(self, name), " or ".join(map(repr, get_args(allowed))))
        check_number("churn", self.churn, lambda churn: 0 <= churn < math.inf, "a number of at least 0")
        if self.lam != 0 and self.scheme != "euler":
            raise InvalidArgument("lam", self.lam, f"0 with the scheme {self.scheme!r}: lambda is a first-order method")
        if self.churn > 0 and self.scheme.startswith("multistep"):
            raise InvalidArgument("churn", self.churn, "0 with a multistep scheme; 'heun' is second order with noise")
        if self.residual not in (None, *get_args(Residual)):
            raise InvalidArgument("residual", self.residual, "'frozen', 'relaxing' or None")
        if self.residual == "relaxing" and self.scheme != "euler":
            raise InvalidArgument("residual", self.residual, f"'frozen', with the scheme {self.scheme!r}")
        check_type("jacobian", self.jacobian, bool, "True or False")
        check_type("path", self.path, (Path, type(None)), "a path or None")

    @property
    def needs_vjp(self) -> bool:
        return self.jacobian

    def check(self, prior: Prior, problem: Problem) -> None:
        if self.frozen == "velocity":
            (self.path or prior.path.paced()).velocity_form(torch.ones((), dtype=torch.float64))
        if not isinstance(problem.operator, LinearOperator) and self.scheme != "euler":
            raise InvalidArgument("scheme", self.scheme, "'euler', for an operator that is not linear")

    def settings(self, problem: Problem, steps: int) -> tuple[float, float]:
        """``(w, tau)``: as given, or the defaults that were chosen on held-out training images."""
        w, tau = pseudo_inverse_defaults(self.name, problem, steps)
        return self.w or w, self.tau or tau

    def resolved(self, problem: Problem, steps: int) -> dict[str, Any]:
        w, tau = self.settings(problem, steps)
        return {"w": w, "lam": self.lam, "tau": tau, "residual": "relaxing" if self._relaxes(problem) else "frozen"}

    def _relaxes(self, problem: Problem) -> bool:
        if self.residual is not None:
            return self.residual == "relaxing"
        operator = problem.operator
        return not isinstance(operator, LinearOperator) and operator.has_pinv and problem.noise == 0

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        prior = prior.with_path(self.path or prior.path.paced())
        w, tau = self.settings(problem, steps)
        levels = Schedule(tau=tau, end=None, grid="time").levels(prior, steps)
        z = start_at(prior, problem, self.start, levels[0], noise)
        return self.along(prior, problem, z, levels, w, noise, report)

    def along(
        self,
        prior: Prior,
        problem: Problem,
        z: Tensor,
        levels: Sequence[float],
        w: float,
        noise: RowNoise,
        report: Report = lambda done, total: None,
    ) -> Tensor:
        """``z`` from the first of ``levels`` to the last; 0 or above."""
        rise = min(math.expm1(self.churn / (len(levels) - 1)), math.sqrt(2) - 1)

        def step(z: Tensor, a: float, c: float, memory: _Memory) -> tuple[Tensor, _Memory]:
            if rise > 0:
                z, a = z + a * math.sqrt((1 + rise) ** 2 - 1) * noise.normal_like(z), (1 + rise) * a
            return self._step(prior, problem, z, a, c, w, memory)

        return march(levels, z, step, _Memory(), noise, report)

    def _step(
        self, prior: Prior, problem: Problem, z: Tensor, a: float, c: float, w: float, memory: _Memory
    ) -> tuple[Tensor, _Memory]:
        """``z`` at level ``c``, and what is known for the next step."""
        if not isinstance(problem.operator, LinearOperator):
            return self._nonlinear_step(prior, problem, z, a, c, w), memory
        first = memory.ahead or self._evaluate(prior, problem, z, a)
        # The last step goes to the network's estimate; a polynomial would carry it beyond what the network has seen.
        known = (first, *memory.earlier)[: _MOST_KNOWN[self.scheme] if c > 0 else 1]
        out, ahead = self._move(prior, problem, z, known, c, w), None
        starting = self.scheme == "multistep3" and not memory.earlier
        if c > 0 and (self.scheme == "heun" or starting):
            ahead = self._evaluate(prior, problem, out, c)
            out = self._move(prior, problem, z, (first, ahead), c, w)
        # A first step of first order would spoil third order. What corrects it serves the next step, at no cost.
        return out, _Memory(known, ahead if starting else None)

    def _evaluate(self, prior: Prior, problem: Problem, z: Tensor, a: float) -> _Known:
        """One forward and, with the Jacobian, one VJP."""
        level = levels_like(z, a)
        d, vjp = prior.denoise_vjp(z, level) if self.jacobian else (prior.denoise(z, level), None)
        f, to_frozen = frozen_quantity(prior.path, self.frozen, z, d, a)
        if vjp is None:
            return _Known(a, f, None)
        operator = problem.operator
        assert isinstance(operator, LinearOperator)
        ratio = problem.noise**2 / isotropic_variance(prior.data_variance, a)
        u = operator.lift(lambda lam: (-1 / (lam + ratio), 1 / (lam + ratio)), [d], problem.y)
        return _Known(a, f, to_frozen(u, vjp(u)))

    def _move(self, prior: Prior, problem: Problem, z: Tensor, known: tuple[_Known, ...], c: float, w: float) -> Tensor:
        """From the level of ``known[0]`` to ``c``, with F and q on the polynomial through ``known``."""
        noise2, data_variance = problem.noise**2, prior.data_variance
        operator = problem.operator
        assert isinstance(operator, LinearOperator)
        levels = tuple(k.eta for k in known)
        vectors = [z, *divided_differences([k.frozen for k in known], levels)]
        if self.jacobian:
            vectors += divided_differences([k.vjp for k in known if k.vjp is not None], levels)

        def coefficients(rho: Callable[[Tensor], Tensor]) -> Coefficients:
            return conjugate_coefficients(
                prior.path, self.frozen, levels[0], c, w=w, lam=self.lam, rho=rho, known=levels, relaxing=relaxing
            )

        relaxing = self._relaxes(problem)
        # The filter is 0 off the range of A^T, and without noise 1 on it.
        free = free_coefficients(
            prior.path, self.frozen, levels[0], c, w=w, lam=self.lam, known=levels, relaxing=relaxing
        )
        out = _weighted(free, vectors)
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
            moves = [v - float(v0) for v, v0 in zip(_in_order(on), _in_order(free), strict=True)]
            return [values / lam for values in (*moves[: len(vectors)], on.data)]

        return out + operator.lift(h, vectors, problem.y)

    def _nonlinear_step(self, prior: Prior, problem: Problem, z: Tensor, a: float, c: float, w: float) -> Tensor:
        level = levels_like(z, a)
        d, vjp = prior.denoise_vjp(z, level) if self.jacobian else (prior.denoise(z, level), None)
        f, to_frozen = frozen_quantity(prior.path, self.frozen, z, d, a)
        operator = problem.operator
        if operator.has_pinv and problem.noise == 0:
            u = operator.pinv(problem.y) - operator.pinv(operator(d))
            relaxing = self._relaxes(problem)
            free = free_coefficients(prior.path, self.frozen, a, c, w=w, lam=self.lam, relaxing=relaxing)
            share = residual_coefficient(prior.path, self.frozen, a, c, w=w, lam=self.lam, relaxing=relaxing)
            vectors = [z, f] if vjp is None else [z, f, to_frozen(u, vjp(u))]
            return torch.add(_weighted(free, vectors), u, alpha=share)
        local = Linearized(operator, d)
        linear = Problem(problem.y - local.value + local(d), local, problem.noise)
        q = None
        if vjp is not None:
            u = local.adjoint(
                local.solve(1.0, problem.noise**2 / isotropic_variance(prior.data_variance, a), problem.y - local.value)
            )
            q = to_frozen(u, vjp(u))
        return self._move(prior, linear, z, (_Known(a, f, q),), c, w)


@dataclass(frozen=True)
class CPiGFM(CPiGDM):
    """C-PiGFM: conditional conjugate integrator for flow models; the measured part relaxes exactly.

    As :class:`CPiGDM`, on the straight path of flow matching and with the velocity held.

    Paper: Pandey, Yang, Mandt, NeurIPS 2024, the version for flows (weight w t (1 - t)).
    Cost: 1 forward and 1 VJP a step; Heun 2 and 2.
    Takes: any linear operator, with or without noise; nonlinear ones with a derivative or a pseudo-inverse ("euler").
    Authors: 5 to 20 steps, first order, from the pseudo-inverse; w, tau and lambda tuned for each task.
    """

    name: ClassVar[str] = "cpigfm"

    frozen: Frozen = "velocity"
    path: Path | None = FlowMatching()


def _in_order(coefficients: Coefficients) -> tuple[Tensor, ...]:
    """The coefficients of z, F_0, ..., q_0, ...."""
    return (coefficients.z, *coefficients.frozen, *coefficients.vjp)


def _weighted(coefficients: Coefficients, vectors: list[Tensor]) -> Tensor:
    """The sum of ``vectors`` (z, F_0, ..., q_0, ...) with scalar coefficients; without a VJP there are no q."""
    first, *factors = (float(c) for c in _in_order(coefficients))
    out = first * vectors[0]
    for factor, vector in zip(factors, vectors[1:], strict=False):
        out = torch.add(out, vector, alpha=factor)
    return out
