"""DDRM: denoising diffusion restoration models (Kawar, Elad, Ermon, Song, NeurIPS 2022).

With ``A = U S V^T`` a linear measurement is one number for each singular value, ``ybar_i = (U^T y)_i / s_i``, with
noise ``sigma_y / s_i``: a noisy view of ``xbar_i = (V^T x)_i`` just as ``z`` is one at level eta. Their variables are
ours: they write the model as variance exploding. From level a to c, with bars for what is rotated by ``V^T`` (their
equation 8):

    s_i = 0              Dbar + k c (zbar - Dbar) / a                  + churn c xi,        k = sqrt(1 - churn^2)
    c < sigma_y / s_i    Dbar + k c (ybar - Dbar) / (sigma_y / s_i)    + churn c xi
    c >= sigma_y / s_i   (1 - data) Dbar + data ybar                   + sqrt(c^2 - data^2 sigma_y^2 / s_i^2) xi

and the first level (their equation 7) is ``ybar + sqrt(c^2 - sigma_y^2 / s_i^2) xi`` where ``c >= sigma_y / s_i``,
else ``c xi``. Each line is linear with coefficients that depend on ``s_i^2``, an eigenvalue of ``A^T A``; white noise
is white in every basis; so a step is the first line everywhere, plus the differences as functions of ``A A^T``, and no
singular value decomposition is needed.

What differs from the authors' code. The last step, to c = 0, follows the paper: without noise the measured part is
``(1 - data) D + data A^+ y`` (their code returns D), with noise D. The network's estimate is not clipped. Where the
spectrum of A is not at hand and functions of it come from Lanczos, the switch at ``s_i = sigma_y / c`` is smoothed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..guidance.base import levels_like, linear_operator
from ..noise import RowNoise
from ..operators.base import LinearOperator
from ..priors.base import Prior
from ..problem import Problem
from .base import Report, Sampler, check_number, check_type, march
from .defaults import null_space_schedule
from .schedule import Schedule
from .space import Range, Space


@dataclass(frozen=True)
class DDRM(Sampler):
    """DDRM: each singular value of the measurement is a noisy view, used from the level of its noise upwards.

    Dbar + k c (zbar - Dbar) / a where nothing was measured, k c (ybar - Dbar) s / sigma_y below the noise of ybar, and
    ybar itself above it, with the noise that each lacks of level c.

    churn: share of fresh noise (the authors' eta); k = sqrt(1 - churn^2). data: how far the estimate moves to the data
    where these are better than z (the authors' eta_b). schedule: None for DDNM's levels, by the number of steps (its
    start is not used: the method has its own).

    Paper: Kawar et al., NeurIPS 2022, equations 7 and 8.
    Cost: 1 forward a step, no VJP.
    Takes: any linear operator, with or without noise.
    Authors: 20 steps uniform in time from pure noise; churn 0.85, data 1.
    """

    name: ClassVar[str] = "ddrm"
    steadier: ClassVar[Mapping[str, str]] = {"data": "smaller", "schedule": "with a lower first level"}
    space: ClassVar[Space] = {
        "churn": Range(0.0, 1.0),
        "schedule.eta": Range(0.5, 50.0, log=True),
        "schedule.end": Range(0.005, 0.3, log=True),
    }

    churn: float = 0.85
    data: float = 1.0
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        for name in ("churn", "data"):
            check_number(name, getattr(self, name), lambda share: 0 <= share <= 1, "a number from 0 to 1")
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")

    def check(self, prior: Prior, problem: Problem) -> None:
        linear_operator(problem, "DDRM")

    def resolved(self, problem: Problem, steps: int) -> dict[str, Any]:
        schedule = self.schedule or null_space_schedule(problem, steps)
        return {"churn": self.churn, "schedule.eta": schedule.eta, "schedule.end": schedule.end}

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        operator = linear_operator(problem, "DDRM")
        schedule = self.schedule or null_space_schedule(problem, steps)
        levels = schedule.levels(prior, steps)

        def step(z: Tensor, a: float, c: float, state: None) -> tuple[Tensor, None]:
            d = prior.denoise(z, levels_like(z, a))
            return self._step(operator, problem, z, d, a, c, noise), state

        z = schedule.scale * levels[0] * noise.normal(operator.in_shape, problem.y)
        return march(levels, impose(problem, z, z, levels[0]), step, None, noise, report)

    def _step(
        self, operator: LinearOperator, problem: Problem, z: Tensor, d: Tensor, a: float, c: float, noise: RowNoise
    ) -> Tensor:
        keep, fresh = math.sqrt(1 - self.churn**2) * c, self.churn * c
        xi = noise.normal_like(z) if c > 0 else torch.zeros_like(z)
        unmeasured = d + (keep / a) * (z - d) + fresh * xi

        def h(lam: Tensor) -> list[Tensor]:
            above = c**2 * lam >= problem.noise**2
            # Without noise nothing lies below, and the quotient is not used.
            below = keep * lam.sqrt() / (problem.noise or 1.0)
            towards = torch.where(above, self.data, below)
            lacking = (c**2 - (self.data * problem.noise) ** 2 / lam).clamp_min(0).sqrt()
            moves = (
                torch.full_like(lam, -keep / a),
                keep / a - towards,
                torch.where(above, lacking, fresh) - fresh,
                towards,
            )
            return [move / lam for move in moves]

        return unmeasured + operator.lift(h, [z, d, xi], problem.y)


def impose(problem: Problem, z: Tensor, white: Tensor, c: float) -> Tensor:
    """``z`` with its measured part replaced by ``A^+ y`` plus the noise that it lacks of level ``c``.

    Per singular value ``ybar + sqrt(c^2 - sigma_y^2 / s^2) / c white`` where ``c >= sigma_y / s``, and as it was where
    the measurement is noisier than level ``c``. ``white`` has the standard deviation ``c``; at ``c = 0`` nothing is
    added.
    """

    def h(lam: Tensor) -> list[Tensor]:
        share = (1 - problem.noise**2 / (c**2 * lam)).clamp_min(0).sqrt() if c > 0 else torch.zeros_like(lam)
        on = (c**2 * lam >= problem.noise**2).to(lam)
        return [-on / lam, on * share / lam, on / lam]

    return z + linear_operator(problem, "a noisy projection").lift(h, [z, white], problem.y)
