"""Optimal covariance in a fixed orthonormal basis (``guidance/basis.py``) with a generic solver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from ..guidance.basis import Basis, BasisCovariance
from ..guidance.spectral import STEP_ACCURACY
from ..noise import RowNoise
from ..operators.base import Accuracy
from ..priors.base import Prior
from ..problem import Problem
from ..solvers.base import Solver
from ..solvers.first_order import FirstOrder
from .base import Report, Sampler, check_type, integrate
from .mmps import FROM_NOISE
from .schedule import Schedule


@dataclass(frozen=True)
class OptimalCovariance(Sampler):
    """OptCov: the optimal diagonal covariance of the clean signal in the DCT, through the network or past it.

    D_y = D + C A^T u, or with jacobian D + eta^2 J^T A^T u; (A C A^T + sigma^2) u = y - A D, C = Psi diag(v) Psi^T.

    jacobian: type I of the paper (as PiGDM), through the network; else type II (as DDNM). basis: "dct" or "pixel".
    accuracy: of the conjugate gradients, which do not call the network. solver: of the reverse process. schedule: None
    for 20 to 0.02, from pure noise.

    Paper: Peng et al., ICML 2024, "Improving diffusion models for inverse problems using optimal posterior covariance".
    Cost: 1 forward a step, no VJP; with jacobian one.
    Takes: any differentiable operator, with or without noise; those that are not linear through their derivative at D.
    Authors: linear operators; v from the model's learned variances or a data set; pixels and wavelets; 50 Heun steps.
    """

    name: ClassVar[str] = "optcov"
    steadier: ClassVar[Mapping[str, str]] = {"jacobian": "False", "schedule": "with a lower first level"}

    jacobian: bool = False
    basis: Basis = "dct"
    accuracy: Accuracy = STEP_ACCURACY
    solver: Solver = field(default_factory=lambda: FirstOrder(churn=1.0))
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        check_type("jacobian", self.jacobian, bool, "True or False")
        check_type("accuracy", self.accuracy, Accuracy, "an Accuracy")
        check_type("solver", self.solver, Solver, "a solver")
        check_type("schedule", self.schedule, (Schedule, type(None)), "a schedule or None")
        self._guidance()

    @property
    def needs_vjp(self) -> bool:
        return self.jacobian

    def _guidance(self) -> BasisCovariance:
        return BasisCovariance(self.basis, self.jacobian, self.accuracy)

    def run(self, prior: Prior, problem: Problem, steps: int, noise: RowNoise, report: Report) -> Tensor:
        schedule = self.schedule or FROM_NOISE
        return integrate(prior, problem, self._guidance(), self.solver, schedule, steps, noise, report)
