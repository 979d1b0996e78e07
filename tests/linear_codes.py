"""A latent model of which everything is known: a linear autoencoder, ``decode(z) = W z`` with ``encode = W^+``, and a
Gaussian of the codes, in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from kintsugi.operators import Matrix
from kintsugi.paths import VP, Path
from kintsugi.priors import GaussianPrior
from kintsugi.priors.clock import Level
from kintsugi.priors.latent import Autoencoder, LatentPrior

LATENT, IMAGE = (3, 2, 2), (3, 4, 4)
N, PIXELS = 12, 48

_generator = torch.Generator().manual_seed(11)


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=_generator, dtype=torch.float64)


# Neither orthonormal nor far from it, so that W^T, W^+ and their scales can be told apart.
W = (
    torch.linalg.qr(_random(PIXELS, N))[0]
    * torch.linspace(0.6, 1.4, N, dtype=torch.float64)
    @ torch.linalg.qr(_random(N, N))[0]
)
W_PINV = torch.linalg.pinv(W)
_root = _random(N, N) / 4
COVARIANCE, MEAN = _root @ _root.T + 0.05 * torch.eye(N, dtype=torch.float64), 0.3 * _random(*LATENT)


def autoencoder() -> Autoencoder:
    return Autoencoder(
        lambda z: (z.flatten(1) @ W.T.to(z)).view(-1, *IMAGE),
        lambda x: (x.flatten(1) @ W_PINV.T.to(x)).view(-1, *LATENT),
        LATENT,
        IMAGE,
    )


def gaussian() -> GaussianPrior:
    return GaussianPrior(LATENT, COVARIANCE, MEAN)


def latent_prior(path: Path = VP()) -> LatentPrior:
    """The Gaussian as a network that predicts x_0 from x_t = alpha z and is told the noise level."""
    exact = gaussian()

    def network(x: Tensor, eta: Tensor) -> Tensor:
        alpha = path.alpha_of_eta(eta.double()).to(x).view(-1, 1, 1, 1)
        return exact.denoise(x / alpha, eta)

    return LatentPrior(network, path, "sample", Level(), autoencoder(), data_variance=exact.data_variance)


def through(matrix: Tensor) -> Matrix:
    """``A W`` as a linear operator of codes, for the matrix of ``A`` (m, 48)."""
    return Matrix(matrix @ W, LATENT)
