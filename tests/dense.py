"""Dense references that the tests of methods share: a denoiser with its Jacobian, and DDIM in a model's own x_t."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch

from kintsugi.paths import FlowMatching, Path
from kintsugi.priors import Prior
from toy import SHAPE, mixture, operator


def measured(name: str, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """The matrix of ``toy.operator(name)``, and a measurement (m,) of a signal of the mixture."""
    matrix = operator(name)[1]
    x = mixture().sample(1, torch.Generator().manual_seed(5)).flatten().numpy()
    return matrix, matrix @ x + noise * np.random.default_rng(1).standard_normal(len(matrix))


def scales(path: Path, eta: float) -> tuple[float, float]:
    """``alpha`` and ``sigma`` at noise level ``eta``, as the papers define them."""
    alpha = 1 / (1 + eta) if isinstance(path, FlowMatching) else 1 / math.sqrt(1 + eta**2)
    return alpha, eta * alpha


def denoised(prior: Prior, z: np.ndarray, eta: float) -> tuple[np.ndarray, np.ndarray]:
    """``D`` (n,) and its dense Jacobian (n, n) at ``z`` (n,), by autograd."""
    level = torch.full((1,), eta, dtype=torch.float64)

    def one(v: torch.Tensor) -> torch.Tensor:
        return prior.denoise(v.view(1, *SHAPE), level).flatten()

    at = torch.from_numpy(z)
    return one(at).numpy(), torch.autograd.functional.jacobian(one, at).numpy()


Score = Callable[[np.ndarray, np.ndarray, float, float], np.ndarray]


def ddim(prior: Prior, path: Path, levels: Sequence[float], z: np.ndarray, likelihood: Score) -> np.ndarray:
    """DDIM for ``x_t = alpha z`` (n,) with the score of the prior plus ``likelihood(D, dD/dx_t, alpha, sigma)``."""
    x = scales(path, levels[0])[0] * z
    for a, c in pairwise(levels):
        (alpha, sigma), (alpha_c, sigma_c) = scales(path, a), scales(path, c)
        d, jacobian = denoised(prior, x / alpha, a)
        d_x = jacobian / alpha
        score = (alpha * d - x) / sigma**2 + likelihood(d, d_x, alpha, sigma)
        clean = (x + sigma**2 * score) / alpha
        x = alpha_c * clean + sigma_c * (x - alpha * clean) / sigma
    return x
