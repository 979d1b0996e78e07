"""D-Flow: the initial noise is optimised through the whole ODE (Ben-Hamu, Puny, Gat, Karrer, Singer, Lipman, 2024).

The flow maps noise ``n`` to an image ``x(n)`` by ``dx/dt = u(x, t) = (x - D) / t`` (the velocity of flow matching, with
``x = (1 - t) z``), and their algorithm 1 minimises over the noise

    1/2 |y - A x(n)|^2 + lambda R(n),    R(n) = |n|^2 / 2 - (d - 1) log |n|

by L-BFGS with a line search. R is minus the logarithm of the chi density of |n| in d dimensions.
The first noise is a blend ``sqrt(b) n_0 + sqrt(1 - b) eps`` with ``n_0``, the ODE run backwards from ``A^+ y``.
The gradient of the loss is carried back by the adjoint of each discrete step,

    g_t = (1 + h/t) g - h/((1 - t) t) J^T g    for a step  x + h u(x, t),

so it is the exact gradient of the discrete solution. Only the images that the network saw are kept, one an evaluation;
it runs again on the way back. So the memory of a row is that of one evaluation of the network, whatever the number of
steps, those images, and two images an iteration for the history of L-BFGS.

On a Gaussian prior x(n) = M n + c is affine and the minimum nearest to the first noise is

    x = x(n_0) + M (A M)^+ (y - A x(n_0)),

without a blend and as the steps grow Matheron's rule with the covariance M M^T: exact samples of the posterior of a
noiseless measurement. A blend of ``b`` shrinks their spread by ``sqrt(1 - b)``.

What differs from the authors' code: sums over the image; each row has a history, a line search and a stop of its own,
at ``|y - A x| <= sigma_y sqrt(m)``, where theirs watches a PSNR; the best image that was evaluated is returned. The ODE
begins at t = 0.995, since its noise level must be finite. All rows that still search share each evaluation of the
network (``lbfgs.py``); before, one row was optimised after another, in the same points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..guidance.base import levels_like
from ..noise import RowNoise
from ..operators.iterative import row_dot
from ..paths import FlowMatching
from ..priors.base import Prior
from ..problem import Problem
from .base import Report, Sampler, check_number
from .lbfgs import minimise, most_evaluations


@dataclass(frozen=True)
class DFlow(Sampler):
    """D-Flow: L-BFGS on the initial noise of the flow, through the whole ODE, with the memory of one evaluation; dear.

    n = argmin 1/2 |y - A x(n)|^2 + lam R(n), x = x(n), where x(n) is the solution of the flow's ODE from the noise n.

    iterations: of L-BFGS. blend: share of the ODE run backwards from A^+ y in the first noise, where A^+ exists. lam:
    weight of the noise's norm. solver: "midpoint" (two evaluations a step; an odd one out is Euler's) or "euler". The
    number of steps is that of network evaluations along one solution.

    Paper: Ben-Hamu et al., ICML 2024, algorithm 1.
    Cost: about 1.25 ``iterations`` times 2 forwards and 1 VJP a step, less where the noise stops it; 1 forward a step
    for the blend; an image a step of memory, and two an iteration.
    Takes: any differentiable operator.
    Authors: 6 evaluations by midpoint, L-BFGS with line search until a target PSNR, blend 0.1, lam 0.
    """

    name: ClassVar[str] = "dflow"
    steadier: ClassVar[Mapping[str, str]] = {"iterations": "fewer", "lam": "larger"}

    iterations: int = 30
    blend: float = 0.1
    lam: float = 0.0
    solver: Literal["midpoint", "euler"] = "midpoint"

    def __post_init__(self) -> None:
        check_number("iterations", self.iterations, lambda n: n >= 1 and n == int(n), "an integer of at least 1")
        check_number("blend", self.blend, lambda b: 0 <= b <= 1, "a number from 0 to 1")
        check_number("lam", self.lam, lambda lam: 0 <= lam < math.inf, "a finite number of at least 0")
        if self.solver not in ("midpoint", "euler"):
            raise InvalidArgument("solver", self.solver, "'midpoint' or 'euler'")

    @property
    def needs_vjp(self) -> bool:
        return True

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        path = FlowMatching()
        flow = Flow(prior.with_path(path), float(path.time(path.eta_max)), steps, self.solver == "midpoint")
        first = noise.normal(problem.operator.in_shape, problem.y)
        if self.blend and problem.operator.has_pinv:
            back = flow.invert(problem.operator.pinv(problem.y))
            first = self.blend**0.5 * back + (1 - self.blend) ** 0.5 * first
        best, least = first.clone(), [math.inf] * len(first)
        goal, free = problem.noise**2 * problem.y[0].numel(), first[0].numel() - 1
        done, calls = 0, 0

        def evaluate(n: Tensor, rows: Sequence[int]) -> list[tuple[float, Tensor] | None]:
            """The loss at noises of some rows, and its gradient where the measurement is not fitted yet."""
            nonlocal done, calls
            part = problem.select(rows)
            x, seen = flow.solve(n)
            measured, adjoint = part.operator.vjp(x)
            residual = measured - part.y
            misfit = row_dot(residual, residual).tolist()
            square = row_dot(n, n).clamp_min(1e-12)
            loss = [
                0.5 * m + self.lam * 0.5 * (s - free * math.log(s))
                for m, s in zip(misfit, square.tolist(), strict=True)
            ]
            for k, i in enumerate(rows):
                if loss[k] < least[i] or misfit[k] <= goal:
                    best[i], least[i] = x[k], loss[k]
            working = [k for k in range(len(rows)) if not misfit[k] <= goal]  # what is not a number is too far
            answers: list[tuple[float, Tensor] | None] = [None] * len(rows)
            if working:
                for j, point in enumerate(seen):
                    seen[j] = point[working]
                g = flow.pull_back(adjoint(residual)[working], seen)
                g = g + (self.lam * (1 - free / square).view(-1, *(1,) * (n.ndim - 1)) * n)[working]
                for k, row in zip(working, g, strict=True):
                    answers[k] = loss[k], row
            calls += 1
            while done < min(steps - 1, steps * calls // (most_evaluations(self.iterations) + 1)):
                done += 1
                report(done, steps)
            return answers

        with torch.no_grad():
            minimise(evaluate, first, self.iterations)
        for i in range(done, steps):
            report(i + 1, steps)
        return best


@dataclass(frozen=True)
class Flow:
    """The discrete flow from time ``start`` to 0, in ``evaluations`` of the velocity ``u = (x - D) / t``."""

    prior: Prior
    start: float
    evaluations: int
    midpoint: bool

    def steps(self) -> list[tuple[float, float, bool]]:
        """``(t, h, midpoint)`` for steps of equal length ``h`` from ``start`` down to 0."""
        count = -(-self.evaluations // 2) if self.midpoint else self.evaluations
        h = self.start / count
        middle = [self.midpoint and 2 * (i + 1) <= self.evaluations for i in range(count)]
        return [(h * (count - i), h, m) for i, m in enumerate(middle)]

    def solve(self, n: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The image of the noise ``n``, and the points at which the network ran, all that the way back needs."""
        x, seen = self.start * n, []
        for t, h, middle in self.steps():
            seen.append(x)
            step = x - (h / 2 if middle else h) * self._velocity(x, t)
            if middle:
                seen.append(step)
                step = x - h * self._velocity(step, t - h / 2)
            x = step
        return x, seen

    def pull_back(self, g: Tensor, seen: list[Tensor]) -> Tensor:
        """``(dx/dn)^T g``, the network evaluated once more at each point of :meth:`solve`."""
        points = list(seen)
        for t, h, middle in reversed(self.steps()):
            if middle:
                half = -h * self._velocity_vjp(points.pop(), t - h / 2, g)
                g = g + half - h / 2 * self._velocity_vjp(points.pop(), t, half)
            else:
                g = g - h * self._velocity_vjp(points.pop(), t, g)
        return self.start * g

    def invert(self, x: Tensor) -> Tensor:
        """The noise that the ODE, run backwards in the same steps, finds for an image."""
        for t, h, middle in reversed(self.steps()):
            if middle:
                half = x + h / 2 * self._velocity(x, t - h)
                x = x + h * self._velocity(half, t - h / 2)
            else:
                x = x + h * self._velocity(x, t - h)
        return x / self.start

    def _velocity(self, x: Tensor, t: float) -> Tensor:
        if t < 1e-9:  # E[eps - x_0] at clean data
            return -x
        return (x - self.prior.denoise(x / (1 - t), levels_like(x, t / (1 - t)))) / t

    def _velocity_vjp(self, x: Tensor, t: float, g: Tensor) -> Tensor:
        _, vjp = self.prior.denoise_vjp(x / (1 - t), levels_like(x, t / (1 - t)))
        return (g - vjp(g) / (1 - t)) / t
