"""Guidance with the optimal covariance in a fixed orthonormal basis (Peng et al., ICML 2024).

p(x_0 | z) is taken as ``N(D, C)`` with ``C = Psi diag(v) Psi^T``, Psi orthonormal: the likeliest v is the variance of
the coefficients of the error, ``v = E (Psi^T (x_0 - D))^2`` (their optimal posterior covariance). It is used in both
families of methods, with ``u = (A C A^T + sigma^2 I)^{-1} (y - A D)``:

    type I (PiGDM and kin):    D_y = D + eta^2 J^T A^T u        through the network, one VJP
    type II (DDNM, DiffPIR):   D_y = D + C A^T u                 no VJP

Psi is the DCT (type 2) of each channel, or the pixels themselves. The paper learns v per pixel with the model or
estimates one number per level from a data set; here it is what is known of every prior, the spectrum of its errors at
that level (``spectral.py``), read at the frequency ``k / 2n`` of each cosine, with luma and chroma apart; the basis of
pixels gets its mean, which is one number. For a dense Gaussian prior v is exact. The covariance of the DCT does not
wrap around the border as that of ``spectral.py`` does, but no measurement is diagonal in it: the system takes
conjugate gradients, none of which needs the network.

Type I is stiff where J is larger than C says: an explicit step overshoots wherever ``eta^2 J`` is more than twice C. On
the shipped model 20 steps are too few and 100 enough (one 96 x 96 photograph, 70 % missing, one seed: 6.6, 6.0 and
24.1 dB at 5, 20 and 100; type II: 25.1, 24.8 and 24.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..operators.base import Accuracy, spatial
from ..operators.iterative import conjugate_gradients
from ..operators.transforms import dct, each_axis, idct
from ..priors.base import Prior
from ..problem import Problem
from .base import Guidance, levels_like
from .residual import local_residual
from .spectral import STEP_ACCURACY, error_covariance

Basis = Literal["dct", "pixel"]


@dataclass(frozen=True)
class BasisCovariance(Guidance):
    """A diagonal covariance in ``basis``; one forward a level and, with ``jacobian`` (type I), one VJP.

    ``accuracy`` bounds the conjugate gradients, which do not call the network.
    """

    basis: Basis = "dct"
    jacobian: bool = False
    accuracy: Accuracy = STEP_ACCURACY

    def __post_init__(self) -> None:
        if self.basis not in get_args(Basis):
            raise InvalidArgument("basis", self.basis, "'dct' or 'pixel'")

    def __call__(self, prior: Prior, problem: Problem, z: Tensor, eta: float, state: Any) -> tuple[Tensor, Any]:
        level = levels_like(z, eta)
        d, vjp = prior.denoise_vjp(z, level) if self.jacobian else (prior.denoise(z, level), None)
        operator, residual = local_residual(problem, d)
        v = self.variances(prior, eta, z)

        def matvec(u: Tensor) -> Tensor:
            return operator(self.multiply(operator.adjoint(u), v)) + problem.noise**2 * u

        u = conjugate_gradients(
            matvec, residual, tolerance=self.accuracy.tolerance, iterations=self.accuracy.iterations
        )
        back = operator.adjoint(u)
        return d + (self.multiply(back, v) if vjp is None else eta**2 * vjp(back)), state

    def variances(self, prior: Prior, eta: float, like: Tensor) -> Tensor:
        """``v`` at level ``eta``: (2, 1, *S), luma and chroma, or (1, C, *S), exact, for a dense Gaussian prior."""
        dense = getattr(prior, "covariance", None)
        if isinstance(dense, Tensor):
            error = eta**2 * torch.linalg.solve(dense + eta**2 * torch.eye(len(dense)).to(dense), dense)
            half = self._analyse(error.view(-1, *like.shape[1:])).flatten(1).T  # Psi^T C
            both = self._analyse(half.reshape(-1, *like.shape[1:])).flatten(1)
            return both.diagonal().view(1, *like.shape[1:]).to(like)
        axes = [torch.arange(n, dtype=torch.float64) / (2 * n) for n in like.shape[2:]]
        radius = torch.stack(torch.meshgrid(*(f**2 for f in axes), indexing="ij")).sum(0).sqrt()
        v = error_covariance(prior, eta).spectrum(radius).to(like)[:, None]
        return v if self.basis == "dct" else v.mean(dim=spatial(v), keepdim=True)

    def multiply(self, x: Tensor, v: Tensor) -> Tensor:
        """``Psi diag(v) Psi^T x``; of two spectra the mean over channels takes the first, and the rest the second."""
        c = self._analyse(x)
        c = v * c if len(v) == 1 else v[1] * c + (v[0] - v[1]) * c.mean(1, keepdim=True)
        return c if self.basis == "pixel" else each_axis(idct, c)

    def _analyse(self, x: Tensor) -> Tensor:
        return x if self.basis == "pixel" else each_axis(dct, x)
