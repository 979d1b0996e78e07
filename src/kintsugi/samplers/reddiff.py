"""RED-diff: variational posterior by regularisation by denoising (Mardani, Song, Kautz, Vahdat, ICLR 2024).

``q = N(mu, s^2 I)`` is fitted to p(x_0 | y). KL(q | p) is an integral over noise levels of the distance between two
scores, and with a suitable weight its gradient needs no Jacobian of the network. At one level,
with ``x_0 = mu + s eps_0``, an optimiser takes a step on (their algorithm 1, here in z = x_t / alpha)

    w/2 |y - A(x_0)|^2 + lambda omega(eta) <stopgrad(eps_hat(x_0 + eta eps, eta) - eps), mu>

whose gradient is ``w A'^T (A x_0 - y) + lambda omega(eta) (x_0 - D(x_0 + eta eps, eta)) / eta``. For omega(eta) = eta,
the authors' choice, the prior's part is ``x_0 - D``. On a Gaussian prior N(m, C) its mean is ``lambda eta^2
(C + eta^2)^{-1} (mu - m)``: at each level mu is drawn to the maximum of the posterior for a prior smoothed by eta and a
measurement noise of variance ``lambda eta^2``. So the result is one restored image and no sample of the posterior: its
spread is what the noise of the last steps left, and vanishes as the optimiser's steps do.

What differs from the authors' code. Sums over each image where they take means over the batch: their weight of 0.25 is
a lambda of 0.25 m/n for m samples of the measurement and n of the signal, the default here. They fold the noise of the
measurement into lambda and use the same for any noise; here the data term is multiplied by ``min(1, floor / noise)^2``,
so that lambda is theirs up to a noise of ``floor`` and above it the measurement weighs what its likelihood says. By
default ``floor = 0.2 sqrt(lambda)``: what the prior assumes at level 0.2 is never less than the noise. The levels are
uniform in time and, from A^+ y, begin at eta 2: above it the denoiser knows little but the mean, and Adam forgets the
start. Each row of a batch has an optimiser of its own, so that any will do; Adam and gradient descent, which work
number by number, take the batch. Adam's first steps have the length ``lr`` in every sample, whatever the gradient:
where signals are small in most places, as sounds are, descent does better (docs/sound.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..noise import RowNoise
from ..operators.iterative import row_dot
from ..priors.base import Prior
from ..problem import Problem
from .base import Report, Sampler, check_number, check_type
from .schedule import Schedule
from .space import Choice, Range, Space
from .watch import begin, look

WEIGHTINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda eta: eta,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "log": torch.log1p,
    "truncated": lambda eta: eta.clamp_max(1),
    "power23": lambda eta: eta ** (2 / 3),
    "constant": torch.ones_like,
}
_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": partial(torch.optim.Adam, betas=(0.9, 0.99)),
    "sgd": torch.optim.SGD,
}
ORDERS = ("descending", "ascending", "random", "parallel")
STARTS = ("pinv", "zero", "noise")


@dataclass(frozen=True)
class REDdiff(Sampler):
    """RED-diff: one image optimised against the data and a denoiser, at falling noise levels; no VJP.

    mu <- optimiser(w A^T (A mu - y) + lam omega(eta) (mu - D(mu + eta eps, eta)) / eta), one step a noise level.

    lam: weight of the prior, None for the authors'. weighting: omega, "linear", "sqrt", "square", "log" (of 1 + eta),
    "truncated" (at 1), "power23" or "constant". order: of the levels, "descending", "ascending", "random" (one a step,
    each row its own) or "parallel" (the mean over ``parallel`` random ones a step). optimizer: "adam" (betas 0.9 and
    0.99) or "sgd", gradient descent, both with the learning rate ``lr``; or a function that makes a PyTorch optimiser
    of a list with one tensor, such as ``partial(LBFGS, max_iter=5)``. spread: standard deviation of q. start: "pinv"
    (noise where there is none), "zero" or "noise". data: weight of the measurement; 0 is score distillation. floor:
    noise of the measurement above which the data term is divided by its variance, None for 0.2 sqrt(lam). schedule: the
    noise levels (its start is not used), None for levels uniform in time.

    Paper: Mardani et al., ICLR 2024, algorithm 1.
    Cost: 1 forward a step, no VJP (``parallel`` forwards with order "parallel"); the memory of one forward.
    Takes: any differentiable operator; the result is close to a maximum of the posterior, not a sample of it.
    Authors: 100 or 1000 steps from A^+ y and from time 1; lam 0.25 m/n; Adam with lr 0.1; spread 0 or 1e-4.
    """

    name: ClassVar[str] = "reddiff"
    steadier: ClassVar[Mapping[str, str]] = {"lr": "smaller", "lam": "smaller"}
    space: ClassVar[Space] = {
        "lam": Range(0.003, 5.0, log=True),
        "lr": Range(0.02, 1.0, log=True),
        "weighting": Choice(tuple(WEIGHTINGS)),
    }

    lam: float | None = None
    weighting: Literal["linear", "sqrt", "square", "log", "truncated", "power23", "constant"] = "linear"
    order: Literal["descending", "ascending", "random", "parallel"] = "descending"
    parallel: int = 4
    lr: float = 0.1
    optimizer: Literal["adam", "sgd"] | Callable[[list[Tensor]], torch.optim.Optimizer] = "adam"
    spread: float = 0.0
    start: Literal["pinv", "zero", "noise"] = "pinv"
    data: float = 1.0
    floor: float | None = None
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        lam = 0.0 if self.lam is None else self.lam
        for name, value in (("lam", lam), ("spread", self.spread), ("data", self.data)):
            check_number(name, value, lambda v: 0 <= v < float("inf"), "a finite number of at least 0")
        for name, known in (("weighting", tuple(WEIGHTINGS)), ("order", ORDERS), ("start", STARTS)):
            if getattr(self, name) not in known:
                raise InvalidArgument(name, getattr(self, name), f"one of {', '.join(known)}")
        check_number("parallel", self.parallel, lambda n: n >= 1 and n == int(n), "an integer of at least 1")
        check_number("lr", self.lr, lambda lr: 0 < lr < float("inf"), "a finite number above 0")
        if self.floor is not None:
            check_number("floor", self.floor, lambda floor: floor > 0, "a positive number or None")
        if not (callable(self.optimizer) or self.optimizer in tuple(_OPTIMIZERS)):
            expected = f"one of {', '.join(_OPTIMIZERS)}, or a function that makes an optimiser"
            raise InvalidArgument("optimizer", self.optimizer, expected)
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")

    def resolved(self, problem: Problem, steps: int) -> dict[str, Any]:
        share = math.prod(problem.operator.out_shape) / math.prod(problem.operator.in_shape)
        lam = 0.25 * share if self.lam is None else self.lam
        return {"lam": lam, "lr": self.lr, "weighting": self.weighting}

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        operator = problem.operator
        informed = self.start == "pinv" and (operator.has_pinv or problem.guess is not None)
        schedule = self.schedule or Schedule(eta=2.0 if informed else None, end=None, grid="time")
        levels = torch.tensor(schedule.levels(prior, steps)[:-1], dtype=torch.float64)
        if informed:
            mu = operator.pinv(problem.y) if problem.guess is None else problem.guess.to(problem.y)
            mu = mu.clone(memory_format=torch.contiguous_format)
        else:
            scale = 0.0 if self.start == "zero" else prior.data_variance**0.5
            mu = scale * noise.normal(operator.in_shape, problem.y)
        lam = self.resolved(problem, steps)["lam"]
        floor = 0.2 * lam**0.5 if self.floor is None else self.floor
        weight = self.data * (min(1.0, floor / problem.noise) ** 2 if lam * problem.noise > 0 else 1.0)
        # Ours work number by number and take the batch; of any other optimiser each row has its own. The parts are
        # views: what an optimiser does to them, it does to mu.
        if callable(self.optimizer):
            size, factory = 1, self.optimizer
        else:
            size, factory = len(mu), partial(_OPTIMIZERS[self.optimizer], lr=self.lr)
        rows = [slice(i, i + size) for i in range(0, len(mu), size)]
        parts = [(i, problem.select(range(len(mu))[i]), mu[i]) for i in rows]
        optimizers = [factory([part]) for _, _, part in parts]
        begin(report, mu, 0.0)
        for done in range(len(levels)):
            shift = self.spread * noise.normal_like(mu) if self.spread else torch.zeros_like(mu)
            etas = self._visit(levels, done, mu, noise)
            pull = lam * torch.stack([self._pull(prior, mu + shift, eta, noise) for eta in etas]).mean(0)
            for (i, stated, part), optimizer in zip(parts, optimizers, strict=True):
                optimizer.step(partial(_loss, stated, part, shift[i], pull[i], weight))
            look(report, mu, 0.0, 0.0)
            report(done + 1, len(levels))
        return mu

    def _visit(self, levels: Tensor, done: int, like: Tensor, noise: RowNoise) -> list[Tensor]:
        """The noise levels of one step, each (B,)."""
        if self.order in ("descending", "ascending"):
            level = levels[done if self.order == "descending" else -1 - done]
            return [level.expand(len(like))]
        uniform = torch.special.ndtr(noise.normal((self.parallel if self.order == "parallel" else 1,), like).double())
        index = (uniform.cpu() * len(levels)).long().clamp_max(len(levels) - 1)
        return list(levels[index].T)

    def _pull(self, prior: Prior, x: Tensor, eta: Tensor, noise: RowNoise) -> Tensor:
        """``omega(eta) (eps_hat(x + eta eps, eta) - eps)``."""
        ones = (-1,) + (1,) * (x.ndim - 1)
        weight = (WEIGHTINGS[self.weighting](eta) / eta).to(x).view(ones)
        z = x + eta.to(x).view(ones) * noise.normal_like(x)
        return weight * (x - prior.denoise(z, eta.to(x)))


@torch.no_grad()
def _loss(problem: Problem, mu: Tensor, shift: Tensor, pull: Tensor, weight: float) -> float:
    """The loss, summed over the rows of ``mu``; its gradient goes where the optimiser looks for it."""
    measured, adjoint = problem.operator.vjp(mu + shift)
    residual = measured - problem.y
    mu.grad = weight * adjoint(residual) + pull
    return float((0.5 * weight * row_dot(residual, residual) + row_dot(pull, mu)).sum())
