"""Many modes of one width: a mixture prior whose denoiser is a handful of small matrix products."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..priors import GaussianPrior
from ..priors.base import Prior, Vjp
from ..priors.oracles import MixturePosterior, dense_matrix
from ..problem import Problem


class IsotropicMixture(Prior):
    """``sum_k weight_k N(mean_k, std^2 I)`` with ``means`` (K, *shape): what ``MixturePrior`` is, for many modes.

    With ``t = std^2 + eta^2`` and ``p_k = p(k | z)``, ``D = (std^2 z + eta^2 sum_k p_k m_k) / t``, and the Jacobian is
    ``(std^2 I + eta^2 Cov_p(m) / t) / t``, symmetric.
    """

    def __init__(self, weights: Tensor, means: Tensor, std: float) -> None:
        super().__init__()
        if weights.ndim != 1 or len(weights) != len(means) or not bool((weights > 0).all()):
            raise InvalidArgument("weights", tuple(weights.shape), f"{len(means)} positive numbers")
        if not std > 0:
            raise InvalidArgument("std", std, "a positive number")
        self.weights = weights.double() / weights.double().sum()
        self.means, self.std = means.double().flatten(1), std
        self.shape: tuple[int, ...] = tuple(means.shape[1:])
        centred = self.means - self.weights @ self.means
        self.data_variance = float((self.weights @ centred.square()).mean()) + std**2
        self.data_scale = max(1.0, float(self.means.abs().max()) + std)

    def log_shares(self, z: Tensor, variance: Tensor) -> Tensor:
        """``log(weight_k N(z; m_k, variance I))`` up to what all modes share, (B, K); ``variance`` is (B,)."""
        flat, means = z.flatten(1), self.means.to(z)
        return self.weights.log().to(z) + (flat @ means.T - 0.5 * means.square().sum(1)) / variance[:, None]

    def responsibilities(self, x: Tensor) -> Tensor:
        """``p(k | x)`` for clean signals (B, *shape), (B, K)."""
        return self.log_shares(x, x.new_full((len(x),), self.std**2)).softmax(1)

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        total = self.std**2 + eta.to(z) ** 2
        mean = self.log_shares(z, total).softmax(1) @ self.means.to(z)
        own = (self.std**2 / total)[:, None]
        return (own * z.flatten(1) + (1 - own) * mean).view(z.shape)

    def denoise_vjp(self, z: Tensor, eta: Tensor) -> tuple[Tensor, Vjp]:
        total = self.std**2 + eta.to(z) ** 2
        shares, means = self.log_shares(z, total).softmax(1), self.means.to(z)
        own = (self.std**2 / total)[:, None]
        mean = shares @ means

        def vjp(v: Tensor) -> Tensor:
            flat = v.flatten(1)
            # Cov_p(m) v = sum_k p_k (m_k^T v - mean^T v) m_k, since the p_k-mean of the bracket is 0.
            along = shares * (flat @ means.T - (flat * mean).sum(1, keepdim=True))
            return (own * flat + (1 - own) / total[:, None] * (along @ means)).view(v.shape)

        return (own * z.flatten(1) + (1 - own) * mean).view(z.shape), vjp

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draws (n, *shape)."""
        which = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        white = torch.randn(n, self.means.shape[1], generator=generator, dtype=torch.float64)
        return (self.means[which] + self.std * white).view(n, *self.shape)

    def posterior(self, problem: Problem) -> MixturePosterior:
        """The exact posterior for one measurement: modes of one covariance, which is computed once."""
        n = math.prod(self.shape)
        a = dense_matrix(problem.operator, self.shape)
        # Rows: what each mode leaves to explain.
        r = problem.batch.double().flatten(1) - self.means @ a.T
        total = self.std**2 * a @ a.T + problem.noise**2 * torch.eye(len(a), dtype=torch.float64)
        logs = self.weights.log() - 0.5 * (r * torch.linalg.solve(total, r.T).T).sum(1)
        centre = GaussianPrior(self.shape, self.std**2 * torch.eye(n, dtype=torch.float64))
        moved = centre.posterior(Problem(r.view(-1, *problem.operator.out_shape), problem.operator, problem.noise))
        means = self.means.view(-1, 1, *self.shape) + moved.mean[:, None]
        parts = [type(moved)(mean, moved.covariance) for mean in means]
        return MixturePosterior(logs.softmax(0)[None], parts)
