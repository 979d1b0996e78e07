"""Priors that are known exactly: Gaussians and their mixtures.

For ``x_0 ~ N(m, C)`` the denoiser and its Jacobian are

    D(z, eta) = m + C (C + eta^2)^{-1} (z - m)        J = C (C + eta^2)^{-1}

and for a mixture they are averages with the responsibilities ``p(k | z)``. With a linear measurement and white noise
the posterior is known too, so a sampler that runs on them can be held to the truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..operators.base import LinearOperator, spatial
from ..operators.checks import dense_matrix as matrix_of
from ..operators.covariance import StationaryCovariance, frequency_radius
from ..problem import Problem
from .base import Prior, Vjp


@dataclass(frozen=True)
class GaussianPosterior:
    """``N(mean, covariance)`` over flattened signals; mean (B, *shape), covariance (n, n)."""

    mean: Tensor
    covariance: Tensor

    @property
    def std(self) -> Tensor:
        """The standard deviation of each sample of the signal, (*shape)."""
        return self.covariance.diagonal().clamp_min(0).sqrt().view(self.mean.shape[1:])


class GaussianPrior(Prior):
    """``N(mean, covariance)`` with a dense covariance (n, n) over the flattened signal of ``shape`` (C, *S)."""

    def __init__(self, shape: Sequence[int], covariance: Tensor, mean: Tensor | float = 0.0) -> None:
        super().__init__()
        n = math.prod(shape)
        if tuple(covariance.shape) != (n, n):
            raise InvalidArgument("covariance", tuple(covariance.shape), f"a matrix of {n} rows and columns")
        self.covariance = covariance.double()
        asymmetry = float((self.covariance - self.covariance.T).abs().max())
        if not asymmetry <= 1e-9 * float(self.covariance.abs().max()):
            raise InvalidArgument("covariance", "a matrix that is not symmetric or not finite", "a symmetric matrix")
        self.shape: tuple[int, ...] = tuple(shape)
        try:
            self.mean = torch.as_tensor(mean, dtype=torch.float64).broadcast_to(self.shape)
        except RuntimeError as error:
            raise InvalidArgument("mean", tuple(torch.as_tensor(mean).shape), f"shape {self.shape}") from error
        values, vectors = torch.linalg.eigh(self.covariance)
        if float(values.min()) < -1e-9 * float(values.max()):
            raise InvalidArgument(
                "covariance", f"smallest eigenvalue {float(values.min()):g}", "no negative eigenvalue"
            )
        self.values, self.vectors = torch.where(values > 1e-12 * values.max(), values, 0.0), vectors
        self.data_variance = float(self.covariance.diagonal().mean())
        self.data_scale = float(self.mean.abs().max()) + max(1.0, float(self.covariance.diagonal().max()) ** 0.5)

    @classmethod
    def stationary(cls, shape: Sequence[int], covariance: StationaryCovariance) -> GaussianPrior:
        """The dense form of a stationary covariance, for small signals."""
        n = math.prod(shape)
        columns = covariance(torch.eye(n, dtype=torch.float64).view(n, *shape)).flatten(1)
        return cls(shape, 0.5 * (columns + columns.T))

    def _shrink(self, v: Tensor, eta: Tensor) -> Tensor:
        values, vectors = self.values.to(v), self.vectors.to(v)
        # At eta = 0 a direction without variance is 0 / 0; its limit is 0.
        weights = values / (values + eta.to(v)[:, None] ** 2).clamp_min(torch.finfo(v.dtype).tiny)
        return (((v.flatten(1) @ vectors) * weights) @ vectors.T).view(v.shape)

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        mean = self.mean.to(z)
        return mean + self._shrink(z - mean, eta)

    def denoise_vjp(self, z: Tensor, eta: Tensor) -> tuple[Tensor, Vjp]:
        return self.denoise(z, eta), lambda v: self._shrink(v, eta)

    def posterior(self, problem: Problem) -> GaussianPosterior:
        """The exact posterior of ``x`` given ``y``, by dense linear algebra in float64; complex as real channels."""
        problem = problem.on_real()
        a = dense_matrix(problem.operator, self.shape)
        y = problem.batch.double().flatten(1)
        gain = _gain(self.covariance, a, problem.noise)
        mean = self.mean.flatten() + (y - self.mean.flatten() @ a.T) @ gain.T
        covariance = self.covariance - gain @ a @ self.covariance
        return GaussianPosterior(mean.view(-1, *self.shape), covariance)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        # By the symmetric root, which is unique: eigenvectors of equal eigenvalues are whatever the machine makes them.
        white = torch.randn(n, len(self.values), generator=generator, dtype=torch.float64)
        root = (self.vectors * self.values.sqrt()) @ self.vectors.T
        return self.mean + (white @ root).view(n, *self.shape)


class StationaryPrior(Prior):
    """``N(0, C)`` with a stationary covariance, for signals of any size; everything in Fourier."""

    def __init__(self, covariance: StationaryCovariance, channels: int = 3, data_variance: float = 0.25) -> None:
        super().__init__()
        self.covariance = covariance
        self.shape = (channels, None, None)
        self.data_variance = data_variance
        typical = covariance.values(torch.zeros(1, channels, 64, 64, dtype=torch.float64)).mean((1, 2))
        self.data_scale = max(1.0, float(typical.max()) ** 0.5)

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        dims = spatial(z)
        spectrum = self.covariance.spectrum(frequency_radius(z.shape[2:], half=True, like=z))
        ones = (-1,) + (1,) * (z.ndim - 1)
        weights = spectrum / (spectrum + eta.to(z).view(ones) ** 2)  # (B, 2, *half)
        transform = torch.fft.rfftn(z, dim=dims)
        luma = transform.mean(1, keepdim=True)
        out = weights[:, 1:] * (transform - luma) + weights[:, :1] * luma
        return torch.fft.irfftn(out, s=z.shape[2:], dim=dims)

    def denoise_vjp(self, z: Tensor, eta: Tensor) -> tuple[Tensor, Vjp]:
        return self.denoise(z, eta), lambda v: self.denoise(v, eta)


class MixturePrior(Prior):
    """``sum_k weight_k N(mean_k, covariance_k)`` over signals of ``shape`` (C, *S), dense."""

    def __init__(self, weights: Tensor, components: Sequence[GaussianPrior]) -> None:
        super().__init__()
        if len(weights) != len(components) or not components or not bool((weights > 0).all()):
            raise InvalidArgument("weights", tuple(weights.shape), f"{len(components)} positive numbers")
        if any(c.shape != components[0].shape for c in components):
            raise InvalidArgument("components", [c.shape for c in components], "signals of one shape")
        self.weights = weights.double() / weights.double().sum()
        self.components = list(components)
        self.shape = components[0].shape
        self.data_variance = float(self._covariance().diagonal().mean())
        self.data_scale = max(c.data_scale or 1.0 for c in components)

    def _covariance(self) -> Tensor:
        means = torch.stack([c.mean.flatten() for c in self.components])
        centred = means - self.weights @ means
        within = sum(w * c.covariance for w, c in zip(self.weights, self.components, strict=True))
        return within + (self.weights[:, None] * centred).T @ centred

    def _log_density(self, z: Tensor, eta: Tensor) -> Tensor:
        """``log weight_k + log N(z; m_k, C_k + eta^2)``, (B, K)."""
        rows = []
        for weight, c in zip(self.weights, self.components, strict=True):
            total = c.values.to(z) + eta.to(z)[:, None] ** 2
            white = (z - c.mean.to(z)).flatten(1) @ c.vectors.to(z)
            rows.append(weight.log().to(z) - 0.5 * (white**2 / total + total.log()).sum(1))
        return torch.stack(rows, 1)

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        shares = self._log_density(z, eta).softmax(1)
        parts = torch.stack([c.denoise(z, eta) for c in self.components], 1)
        return torch.einsum("bk,bk...->b...", shares, parts)

    def posterior(self, problem: Problem) -> MixturePosterior:
        """The exact posterior: again a mixture, with weights by the evidence of each component."""
        a = dense_matrix(problem.operator, self.components[0].shape)
        y = problem.batch.double().flatten(1)
        # The evidence is a density on the range of A: what lies outside it (a mask keeps places that it did not
        # measure) holds nothing but noise, the same for each component.
        u, s, _ = torch.linalg.svd(a, full_matrices=False)
        u = u[:, s > 1e-10 * s[0]]
        y, a = y @ u, u.T @ a
        parts, evidence = [], []
        for weight, c in zip(self.weights, self.components, strict=True):
            parts.append(c.posterior(problem))
            total = a @ c.covariance @ a.T + problem.noise**2 * torch.eye(len(a), dtype=torch.float64)
            r = y - c.mean.flatten() @ a.T
            quadratic = (r * torch.linalg.solve(total, r.T).T).sum(1)
            evidence.append(weight.log() - 0.5 * (quadratic + torch.linalg.slogdet(total).logabsdet))
        return MixturePosterior(torch.stack(evidence, 1).softmax(1), parts)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        which = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        draws = torch.stack([c.sample(n, generator) for c in self.components], 1)
        return draws[torch.arange(n), which]


@dataclass(frozen=True)
class MixturePosterior:
    """``weights`` (B, K) and a Gaussian posterior for each component."""

    weights: Tensor
    components: Sequence[GaussianPosterior]

    @property
    def mean(self) -> Tensor:
        """The posterior mean (B, *shape)."""
        means = torch.stack([c.mean for c in self.components], 1)
        return torch.einsum("bk,bk...->b...", self.weights, means)


def dense_matrix(operator: object, shape: Sequence[int] | None = None) -> Tensor:
    """The matrix (m, n) of a linear operator on flattened signals, float64, by applying it to the identity.

    ``shape``, where given, is that of the signals it must apply to.
    """
    if not isinstance(operator, LinearOperator):
        raise InvalidArgument("operator", type(operator).__name__, "a linear operator")
    if shape is not None and operator.in_shape != tuple(shape):
        raise InvalidArgument("operator", operator.in_shape, f"an operator on signals of shape {tuple(shape)}")
    return matrix_of(operator)


def _gain(covariance: Tensor, a: Tensor, noise: float) -> Tensor:
    """``C A^T (A C A^T + noise^2)^+``, with the pseudo-inverse where there is no noise."""
    total = a @ covariance @ a.T + noise**2 * torch.eye(len(a), dtype=torch.float64)
    return covariance @ a.T @ torch.linalg.pinv(total, hermitian=True, rtol=1e-12)
