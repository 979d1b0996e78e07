"""What a model calls noise in a picture:  r = x - D(x, eta)  at the level of the picture's own noise.

A denoiser removes what is not picture: the noise, and with it some of the finest texture. So r is grain, canvas or
paper, and traces of edges; ``surface.py`` tells them apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..priors.base import Prior
from ..priors.latent import LatentPrior
from ..priors.wrappers import Tiled

TILE = 1024


def noise_residual(prior: Prior, picture: Tensor, eta: float, tile: int = TILE) -> Tensor:
    """``picture - D(picture, eta)`` for a picture (C, H, W) in [-1, 1]; one forward, in tiles of ``tile`` pixels.

    eta: the standard deviation of its noise, in the units of the data. Errors: :class:`InvalidArgument` for a model of
    latents, of another size or of another number of channels.
    """
    if isinstance(prior, LatentPrior):
        raise InvalidArgument("prior", type(prior).__name__, "a model of pictures, not of latents, to measure grain")
    if not 0 < eta < float("inf"):
        raise InvalidArgument("eta", eta, "a finite noise level above 0")
    shape = prior.shape
    if shape is not None and any(known not in (None, n) for known, n in zip(shape, picture.shape, strict=False)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise InvalidArgument("picture", tuple(picture.shape), f"one of the prior's shape ({wanted})")
    with torch.no_grad():
        denoised = Tiled(prior, tile).denoise(picture[None], torch.tensor([eta], dtype=torch.float64))[0]
    return picture - denoised
