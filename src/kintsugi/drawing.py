"""Samples of a prior by itself: what a model takes pictures or sounds to be like, with nothing measured.

The unconditional equation ``dz/deta = (z - D(z, eta)) / eta`` is followed from noise that drowns every signal down to
none, by DDIM (``samplers/ddim.py``). It is the first thing to look at in a model: what it cannot draw it will not
invent well in a hole. A denoiser of crops, as ``photo`` is, has never seen what a picture is of, and draws textures.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import torch
from torch import Tensor

from .driver import restore
from .errors import InvalidArgument, is_whole
from .operators import Mask
from .priors import load_prior
from .priors.base import Prior
from .priors.latent import LatentPrior
from .priors.network import NetworkPrior
from .problem import Problem
from .progress import Progress, shown
from .samplers.schedule import Schedule

# In standard deviations of the data: noise in which nothing is seen of a signal, and beside which nothing is of noise.
FIRST, LAST = 100.0, 0.003


def sample(
    prior: Prior | str | os.PathLike[str],
    count: int = 1,
    *,
    size: Sequence[int] | None = None,
    steps: int = 50,
    seed: int = 0,
    churn: float = 0.0,
    schedule: Schedule | None = None,
    device: torch.device | str = "cpu",
    batch: int | None = None,
    max_memory: int | str | None = None,
    progress: Progress | bool | None = None,
) -> Tensor:
    """Draw ``count`` samples of ``prior``: (count, C, *size), in the data range [-1, 1], not clipped.

    Parameters
    ----------
    prior: a model, or the name or file of one (:func:`kintsugi.load_prior`).
    size: (H, W) of pictures, (samples,) of sounds; None for a model of one size. Channels may stand before it, and must
        for a prior that takes any number.
    steps: noise levels visited, one network evaluation each. seed: sample j depends on (seed, j) alone.
    churn: how much fresh noise each step adds, 0 (none, DDIM) to 1 (DDPM), which forgets the errors of earlier steps.
    schedule: the noise levels; None for 100 down to 0.003 standard deviations of the data for models of Kintsugi's own
        format, and for steps that are uniform in the model's own time for others.
    device, batch, max_memory, progress: as of :func:`kintsugi.restore`.

    Paper: Song, Meng, Ermon, ICLR 2021, equation 12. Errors: :class:`InvalidArgument` before the network runs.
    """
    prior = prior if isinstance(prior, Prior) else load_prior(prior)
    if schedule is None and isinstance(prior, NetworkPrior):
        scale = math.sqrt(prior.data_variance)
        schedule = Schedule(start="zero", eta=min(FIRST * scale, prior.path.eta_max), end=LAST * scale)
    shape = signal_shape(prior, size)
    seen = torch.zeros(shape[1:], dtype=torch.bool)
    seen.view(-1)[0] = True  # what DDIM is given and does not look at
    problem = Problem(torch.zeros(1, *shape, device=device), Mask(seen, shape))
    with shown(progress, "drawing") as report:
        result = restore(
            problem, prior, "ddim", steps=steps, samples=count, seed=seed, batch=batch, max_memory=max_memory,
            progress=report, churn=churn, schedule=schedule,
        )  # fmt: skip
    return result.samples[0]


def signal_shape(prior: Prior, size: Sequence[int] | None) -> tuple[int, ...]:
    """The shape (C, *S) of a sample of ``prior``, with ``size`` where the model has none of its own.

    Errors: :class:`InvalidArgument` for ``size`` where it is missing, or another than the model's.
    """
    known = prior.autoencoder.image_shape if isinstance(prior, LatentPrior) else prior.shape
    given = None if size is None else tuple(size)
    if given is not None and not all(is_whole(n, 1) for n in given):
        raise InvalidArgument("size", given, "positive whole numbers")
    if known is None:
        if given is None or len(given) < 2:
            raise InvalidArgument("size", given, "channels and size, (C, *S): this prior takes any")
        return given
    shape: tuple[int | None, ...] = known if given is None else (*known[: len(known) - len(given)], *given)
    fits = len(shape) == len(known) and all(n in (None, m) for n, m in zip(known, shape, strict=True))
    if None in shape or not fits:
        wanted = ", ".join("any" if n is None else str(n) for n in known)
        raise InvalidArgument("size", given, f"what the prior's shape ({wanted}) leaves open")
    return tuple(n for n in shape if n is not None)
