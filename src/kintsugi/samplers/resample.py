"""ReSample: hard data consistency in a latent space (Song, Kwon, Zhang, Hu, Qu, Shen, ICLR 2024).

After an unconditional step of DDIM the clean code is moved until its image has the measurement, and the state is drawn
anew between the two (their algorithm 1 and proposition 1)

    z' = D + (c/a) (z_a - D)
    D_y = argmin_z |y - A decode(z)|^2 / 2, from D
    z_c ~ N((s^2 D_y + c^2 z') / (s^2 + c^2), s^2 c^2 / (s^2 + c^2)),    s^2 = resample c^2 (a^2 - c^2) / a^2

``s^2`` is the authors' ``gamma (1 - abar_c)/(1 - abar_a) (1 - abar_a/abar_c)`` over ``abar_c``: their gamma times the
variance of an ancestral step. The minimum that is nearest is what makes the estimate differ from D in the measured part
alone. Three stages share the steps: in the first, where D says little, nothing is asked of the data; in the second the
*image* is optimised, ``D_y = encode(argmin_x |y - A x|^2 / 2, from decode(D))``, which needs no derivative of the
decoder and is good enough while the errors of the autoencoder drown in noise; in the third the code itself.

Where a row meets the measurement to ``|y - A x| <= sigma_y sqrt(m)`` it stops: the noise is not fitted.

What differs from the authors' code. Minima are sought by L-BFGS (``lbfgs.py``), each row with a history and a stop of
its own, where theirs takes up to 2000 (images) or 500 (codes) steps of Adam; for a linear A it converges to
``x + A^+ (y - A x)``, as gradient descent does. They ask for consistency at every tenth of 500 steps, and run five
steps of DDIM ahead before; here at 50 of any number of steps, so at each of 50 or less, and nothing runs ahead. A
gradient of DPS at each step, which the algorithm does not have, is left out. Their last act is an optimisation of the
code, as here at c = 0. Where the model knows the images themselves all of it happens in their space.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..guidance.base import levels_like
from ..noise import RowNoise
from ..operators.base import Operator
from ..operators.iterative import row_dot
from ..operators.latent import in_pixels
from ..priors.base import Prior
from ..problem import Problem
from .base import Report, Sampler, check_number, check_type, march, start_at
from .lbfgs import minimise
from .schedule import Schedule


@dataclass(frozen=True)
class ReSample(Sampler):
    """ReSample: the clean code, or its image, is optimised until it fits the data; then the state is drawn anew.

    z_c ~ N((s^2 D_y + c^2 z')/(s^2 + c^2), s^2 c^2/(s^2 + c^2)), z' the DDIM step, D_y = argmin |y - A decode(z)|^2
    from D, s^2 = resample c^2 (1 - c^2/a^2).

    resample: gamma, how much of z' is drawn anew. iterations: of L-BFGS. free: share of the steps, from the first, that
    leave the data alone. coded: share of the steps, to the last, in which the code is optimised, and the image before.
    every: steps from one optimisation to the next; None for 50 in all. schedule: None for steps uniform in time, from
    pure noise.

    Paper: Song et al., ICLR 2024, algorithm 1 and proposition 1.
    Cost: 1 forward a step, no VJP of the network; up to 1.25 ``iterations`` of the decoder in the last third.
    Takes: any differentiable operator.
    Authors: 500 steps from pure noise, gamma 40, the first third free and the last coded, every 10.
    """

    name: ClassVar[str] = "resample"
    steadier: ClassVar[Mapping[str, str]] = {"iterations": "fewer", "resample": "larger"}

    resample: float = 40.0
    iterations: int = 30
    free: float = 1 / 3
    coded: float = 1 / 3
    every: int | None = None
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        check_number("resample", self.resample, lambda g: 0 < g < math.inf, "a finite number above 0")
        check_number("iterations", self.iterations, lambda k: k >= 1 and k == int(k), "an integer of at least 1")
        for name in ("free", "coded"):
            check_number(name, getattr(self, name), lambda share: 0 <= share <= 1, "a number from 0 to 1")
        if self.every is not None:
            check_number("every", self.every, lambda k: k >= 1 and k == int(k), "an integer of at least 1, or None")
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        schedule = self.schedule or Schedule(start="zero", eta=None, tau=1.0, end=None, grid="time")
        levels = schedule.levels(prior, steps)
        z = start_at(prior, problem, schedule.start, schedule.scale * levels[0], noise)
        total = len(levels) - 1
        every = max(1, round(total / 50)) if self.every is None else int(self.every)
        free, coded = round(self.free * total), round(self.coded * total)

        def step(z: Tensor, a: float, c: float, left: int) -> tuple[Tensor, int]:
            d = prior.denoise(z, levels_like(z, a))
            if c > 0 and (left >= total - free or left % every):
                return d + (c / a) * (z - d), left - 1
            d_y = self.consistent(problem, d, image=c > 0 and left >= coded)
            if c == 0:
                return d_y, left - 1
            kept = 1 / (1 + self.resample * (1 - c**2 / a**2))  # c^2 / (s^2 + c^2)
            mean = d_y + kept * (d + (c / a) * (z - d) - d_y)
            return mean + c * math.sqrt(1 - kept) * noise.normal_like(z), left - 1

        return march(levels, z, step, total - 1, noise, report)

    def consistent(self, problem: Problem, d: Tensor, image: bool) -> Tensor:
        """The code near ``d`` (B, *in_shape) that fits the measurement, found by way of its ``image`` or itself."""
        goal = problem.noise**2 * problem.y[0].numel()
        if not image:
            return fit(problem.operator, problem.y, d, goal, int(self.iterations))
        parts = in_pixels(problem.operator)
        return parts.encode(fit(parts.pixels, problem.y, parts.decode(d), goal, int(self.iterations)))


def fit(operator: Operator, y: Tensor, first: Tensor, goal: float, iterations: int) -> Tensor:
    """The minimum of ``|y - A x|^2 / 2`` that is nearest to ``first`` (B, *in_shape), or the first point on the way to
    it with ``|y - A x|^2 <= goal``; each row by itself."""
    best, least = first.clone(), [math.inf] * len(first)

    def evaluate(x: Tensor, rows: Sequence[int]) -> list[tuple[float, Tensor] | None]:
        measured, adjoint = operator.select(rows).vjp(x)
        residual = measured - y[list(rows)]
        gradient = adjoint(residual)
        answers: list[tuple[float, Tensor] | None] = []
        for k, (i, misfit) in enumerate(zip(rows, row_dot(residual, residual).tolist(), strict=True)):
            if misfit < least[i]:
                best[i], least[i] = x[k], misfit
            answers.append(None if misfit <= goal else (misfit / 2, gradient[k]))
        return answers

    with torch.no_grad():
        minimise(evaluate, first, iterations)
    return best
