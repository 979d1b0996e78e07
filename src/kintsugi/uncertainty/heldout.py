"""Measuring calibrations: crops of held-out pictures, problems whose truth is known, and the widths that they ask for.

Each crop is a square of a picture at a random place and scale, log-uniform from the smallest at which one and a half
crops fit up to ``max_scale`` of its size: close-ups are smooth, small pictures are full of detail, and a width has to
serve both. The problems are one or more of each kind of the command line's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..driver import restore
from ..errors import InvalidArgument, InvalidFile
from ..images import read_picture
from ..operators import Bicubic, Blur, Identity, LinearOperator, Mask, gaussian_kernel
from ..priors.base import Prior
from ..priors.calibration import Calibration
from ..problem import Problem
from ..samplers.base import Sampler
from .calibration import describe_sampler, fit, kind_of

Problems = Mapping[str, tuple[LinearOperator, float]]


def crops(files: Sequence[Path], count: int, size: int, seed: int = 0, max_scale: float = 1.0) -> Tensor:
    """``count`` crops (count, 3, size, size) in [-1, 1], from each of ``files`` as nearly as many as from any other.

    Files smaller than a crop are left out. Errors: :class:`InvalidFile` where all are, or one cannot be read.
    """
    if not 0 < max_scale <= 1:
        raise InvalidArgument("max_scale", max_scale, "a number from 0 to 1")
    rng = np.random.default_rng(seed)
    files = [files[i] for i in rng.permutation(len(files))]
    found: list[Tensor] = []
    while len(found) < count:
        before = len(found)
        for path in files[: count - len(found)] if found else files:
            pixels = read_picture(path).colour()
            if min(pixels.shape[1:]) >= size and len(found) < count:
                found.append(_crop(pixels, size, rng, max_scale))
        if len(found) == before:
            name = files[0] if files else "no picture"
            raise InvalidFile(name, f"no picture of at least {size} pixels a side among {len(files)}")
    return torch.stack(found)


def _crop(pixels: Tensor, size: int, rng: np.random.Generator, max_scale: float) -> Tensor:
    smallest = min(1.0, 1.5 * size / min(pixels.shape[1:]))
    scale = math.exp(rng.uniform(math.log(smallest), math.log(max(smallest, max_scale))))
    shape = [max(size, round(n * scale)) for n in pixels.shape[1:]]
    if scale < 1:
        pixels = F.interpolate(pixels[None], shape, mode="bicubic", antialias=True, align_corners=False)[0]
    top, left = (int(rng.integers(n - size + 1)) for n in pixels.shape[1:])
    return pixels[:, top : top + size, left : left + size].clamp(-1, 1)


def problems(size: int) -> dict[str, tuple[LinearOperator, float]]:
    """Operators for (3, size, size) and the noise in the units of the data, by name."""
    shape = (3, size, size)
    keep = torch.rand(size, size, generator=torch.Generator().manual_seed(0)) > 0.7
    box = torch.ones(size, size)
    box[size // 3 : 2 * size // 3, size // 3 : 2 * size // 3] = 0
    return {
        "inpaint, random 70 %": (Mask(keep, shape), 0.0),
        "inpaint, box": (Mask(box, shape), 0.0),
        "sr, 4x bicubic": (Bicubic(shape, 4), 0.0),
        "deblur, 1.6, noise 0.02": (Blur(shape, gaussian_kernel(1.6)), 0.02),
        "denoise, 25 of 255": (Identity(shape), 2 * 25 / 255),
    }


def calibrate(
    prior: Prior,
    truth: Tensor,
    sampler: Sampler,
    steps: int,
    samples: int,
    chosen: Problems,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Calibration, ...]:
    """One calibration for each kind among the ``chosen`` problems, from restorations of ``truth`` (N, 3, H, W).

    ``progress``: steps done, and in all.
    """
    by_kind: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for index, (operator, noise) in enumerate(chosen.values()):

        def tell(done: int, total: int, index: int = index) -> None:
            if progress is not None:
                progress(index * total + done, len(chosen) * total)

        problem = Problem.simulate(truth, operator, noise, seed=index)
        result = restore(problem, prior, sampler, steps=steps, samples=samples, seed=index, progress=tell)
        by_kind.setdefault(kind_of(problem), []).append((result.samples, truth))
    words = describe_sampler(sampler)
    return tuple(
        fit(torch.cat([s for s, _ in parts]), torch.cat([x for _, x in parts]), sampler=words, steps=steps, kind=kind)
        for kind, parts in by_kind.items()
    )


def merged(known: Sequence[Calibration], new: Sequence[Calibration]) -> tuple[Calibration, ...]:
    """``known`` with the ``new`` ones, which replace those for the same sampler, steps and kind."""
    place = {(c.sampler, c.steps, c.kind): c for c in (*known, *new)}
    return tuple(place.values())
