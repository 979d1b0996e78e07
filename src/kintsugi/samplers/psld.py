"""PSLD: posterior sampling with latent diffusion (Rout, Raoof, Daras, Caramanis, Dimakis, Shakkottai, NeurIPS 2023).

DPS through a decoder has many codes to choose from whose images measure alike, most of them no codes of any image. The
gluing term pulls towards those that are fixed points of decoding, of putting the measured part in its place, and of
encoding. After the unconditional step (their algorithm 2, in z = x_t / alpha, with D the model's clean code)

    z_c = step(z_a, D) - 1/(alpha_a alpha_c) grad_z [omega |y - A x| + gamma |D - encode(A^+ y + (I - A^+ A) x)|],
    x = decode(D)

They write A^T for A^+, for operators with A A^T = I, where the two agree; here A^+ for any linear A. Both gradients are
one product with the Jacobian of the network: with unit vectors r of the residual y - A x and q of the gluing residual

    grad_D = gamma q - decode'^T [omega A^T r + gamma (I - A^+ A) encode'^T q],    grad_z = J^T grad_D.

The paper's objective has squared norms and the authors' code norms, which are taken here, those of each image by
itself. As in DPS the correction does not shrink with the step. Where the model knows the images themselves decode and
encode do nothing, and the gluing residual is ``A^+ (A D - y)``: DPS with a second norm of the same residual.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from ..errors import InvalidArgument
from ..guidance.base import levels_like
from ..noise import RowNoise
from ..operators.base import LinearOperator
from ..operators.iterative import unit_rows
from ..operators.latent import Parts, in_pixels
from ..priors.base import Prior
from ..problem import Problem
from ..solvers.base import Solver
from ..solvers.first_order import FirstOrder
from .base import Report, Sampler, check_number, check_type, march, start_at
from .schedule import Schedule


@dataclass(frozen=True)
class PSLD(Sampler):
    """PSLD: DPS for latents, with a second gradient that keeps the code one of its own mended image.

    z_c = step(z_a, D) - 1/(alpha_a alpha_c) grad_z [omega |y - A x| + gamma |D - encode(A^+ y + (I - A^+ A) x)|], x =
    decode(D).

    omega: length of the data's correction. gamma: of the gluing. solver: of the unconditional step. schedule: None for
    steps uniform in time, from pure noise.

    Paper: Rout et al., NeurIPS 2023, algorithm 2.
    Cost: 1 forward and 1 VJP a step; one of the decoder and one of the encoder with them.
    Takes: any linear operator of images; the noise level of the measurement does not enter.
    Authors: 1000 steps from pure noise, omega 1, gamma 0.1, Stable Diffusion 1.5 without a prompt.
    """

    name: ClassVar[str] = "psld"
    steadier: ClassVar[Mapping[str, str]] = {"omega": "smaller", "gamma": "smaller"}

    omega: float = 1.0
    gamma: float = 0.1
    solver: Solver = field(default_factory=lambda: FirstOrder(churn=1.0))
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        for name in ("omega", "gamma"):
            check_number(name, getattr(self, name), lambda w: 0 <= w < math.inf, "a finite number of at least 0")
        check_type("solver", self.solver, Solver, "a solver")
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")

    @property
    def needs_vjp(self) -> bool:
        return True

    def check(self, prior: Prior, problem: Problem) -> None:
        _linear(in_pixels(problem.operator))

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        prior = prior.with_path(prior.path.paced())  # the authors' steps are in units of x_t on such a path
        schedule = self.schedule or Schedule(start="zero", eta=None, tau=1.0, end=None, grid="time")
        levels = schedule.levels(prior, steps)
        z = start_at(prior, problem, schedule.start, schedule.scale * levels[0], noise)
        parts = in_pixels(problem.operator)
        measured = _linear(parts).pinv(problem.y)

        def step(z: Tensor, a: float, c: float, memory: object) -> tuple[Tensor, object]:
            d, vjp = prior.denoise_vjp(z, levels_like(z, a))
            gradient = vjp(self.slope(parts, problem.y, measured, d))
            z, memory = self.solver.step(z, d, a, c, memory, noise)
            alpha_a, alpha_c = (float(prior.path.alpha_of_eta(eta)) for eta in (a, c))
            return z - gradient / (alpha_a * alpha_c), memory

        return march(levels, z, step, None, noise, report)

    def slope(self, parts: Parts, y: Tensor, measured: Tensor, d: Tensor) -> Tensor:
        """The gradient with respect to the clean code ``d`` of both norms; ``measured`` is ``A^+ y``."""
        pixels = _linear(parts)
        x, through_decoder = parts.decode.vjp(d)
        mended = measured + x - pixels.project(x)
        code, through_encoder = parts.encode.vjp(mended)
        r, q = unit_rows(y - pixels(x)), unit_rows(d - code)
        back = through_encoder(q)
        lost = back - pixels.project(back)
        return self.gamma * q - through_decoder(self.omega * pixels.adjoint(r) + self.gamma * lost)


def _linear(parts: Parts) -> LinearOperator:
    if not isinstance(parts.pixels, LinearOperator):
        raise InvalidArgument("operator", type(parts.pixels).__name__, "a linear operator of images, for PSLD")
    return parts.pixels
