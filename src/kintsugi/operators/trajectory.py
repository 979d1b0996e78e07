"""Cartesian sampling of k-space: which lines, or which points of the plane of two phase-encoding axes, are measured.

The centre of k-space, with most of the energy of an image, is measured in full. What is left of the budget is spent

* equispaced: every so many lines, which folds the image onto itself;
* random: with equal chances, whose artefacts look like noise;
* gaussian: with chances ``exp(-k^2 / 2 s^2)``, s a sixth of the axis;
* poisson-disc: at random but no two closer than a distance that grows threefold from the centre to the border
  (Bridson, 2007; Lustig and Pauly, 2010), so that there are neither clusters nor large holes.

The number measured is exact: the size over the acceleration, rounded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ..errors import InvalidArgument

Trajectory = Literal["equispaced", "random", "gaussian", "poisson-disc"]


def cartesian_mask(
    size: Sequence[int],
    acceleration: float = 4.0,
    kind: Trajectory = "equispaced",
    centre_fraction: float = 0.08,
    *,
    axes: int | Sequence[int] | None = None,
    seed: int = 0,
) -> Tensor:
    """A boolean mask (*size) over k-space with the zero frequency in the middle, for :class:`MRI`.

    size: of the image, two or three axes (one, for signals). axes: the phase-encoding axes: one for lines, two for
    points of their plane; by default the last axis, and for "poisson-disc" the last two. centre_fraction: of the lines,
    or of the area, that is measured in full around the zero frequency, within the acceleration.

    >>> mask = cartesian_mask((4, 160), acceleration=4)
    >>> int(mask[0].sum()), bool(mask[0, 74:86].all())
    (40, True)
    """
    size = tuple(int(n) for n in size)
    if not 1 <= len(size) <= 3 or min(size) < 1:
        raise InvalidArgument("size", size, "one to three positive integers")
    if kind not in get_args(Trajectory):
        raise InvalidArgument("kind", kind, f"one of {', '.join(get_args(Trajectory))}")
    if axes is None:
        axes = range(len(size))[-2:] if kind == "poisson-disc" else (len(size) - 1,)
    chosen = [axes] if isinstance(axes, int) else list(axes)
    encoded = sorted({a % len(size) for a in chosen if -len(size) <= a < len(size)})
    if len(encoded) != len(chosen) or not 1 <= len(encoded) <= 2:
        raise InvalidArgument("axes", axes, f"one or two different axes of {len(size)}")
    if kind == "equispaced" and len(encoded) > 1:
        raise InvalidArgument("axes", axes, "one axis for equispaced lines")
    grid = tuple(size[a] for a in encoded)
    total = math.prod(grid)
    if not 1 <= acceleration <= total:
        raise InvalidArgument("acceleration", acceleration, f"a number from 1 to the {total} lines or points")
    count = round(total / acceleration)
    if not 0 <= centre_fraction < 1:
        raise InvalidArgument("centre_fraction", centre_fraction, "a number from 0 to less than 1")
    centre = _centre(grid, centre_fraction)
    left = count - int(centre.sum())
    if left < 0:
        raise InvalidArgument("centre_fraction", centre_fraction, f"at most what is measured, 1/{acceleration:g}")
    if seed < 0:
        raise InvalidArgument("seed", seed, "an integer of at least 0")
    rng = np.random.default_rng(seed)
    outside = np.flatnonzero(~centre)
    radius = _radius(grid).ravel()
    if kind == "equispaced":
        chosen_points = outside[_even_steps(len(outside), left, rng)]
    elif kind == "poisson-disc":
        chosen_points = _poisson_disc(grid, centre, left, rng)
    else:
        decay = radius[outside] ** 2 / (2 * (1 / 3) ** 2) if kind == "gaussian" else 0.0
        # The largest of log p + Gumbel noise are a sample without replacement with chances p.
        score = rng.gumbel(size=len(outside)) - decay
        chosen_points = outside[np.argsort(-score, kind="stable")[:left]]
    mask = centre.copy()
    mask.flat[chosen_points] = True
    shape = [n if a in encoded else 1 for a, n in enumerate(size)]
    return torch.from_numpy(mask).view(shape).broadcast_to(size).contiguous()


def _radius(grid: Sequence[int]) -> np.ndarray:
    """The distance of each point from the zero frequency, 1 at the ends of the axes."""
    axes = [2 * np.abs(np.arange(n) - n // 2) / n for n in grid]
    return np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing="ij")))


def _centre(grid: Sequence[int], fraction: float) -> np.ndarray:
    """A block with this share of the grid around the zero frequency."""
    mask = np.ones(grid, dtype=bool)
    for axis, n in enumerate(grid):
        length = round(n * fraction ** (1 / len(grid)))
        begin = n // 2 - length // 2
        inside = (np.arange(n) >= begin) & (np.arange(n) < begin + length)
        mask &= inside.reshape([-1 if a == axis else 1 for a in range(len(grid))])
    return mask


def _even_steps(n: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` of n places, as evenly spaced as integers are, from a random first one."""
    return np.floor((np.arange(count) + rng.random()) * (n / max(count, 1))).astype(int).clip(0, max(n - 1, 0))


def _poisson_disc(grid: Sequence[int], centre: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` points outside ``centre``: the sparsest discs, by bisection, that still leave room for so many."""
    order = np.flatnonzero(~centre)
    rng.shuffle(order)
    radius = _radius(grid)
    low, high = 0.5, 2.0
    best = order[:count]  # discs below one sample keep every point
    while len(points := _throw(grid, order, high * (1 + 2 * radius), count)) == count and high < max(grid):
        low, high, best = high, 2 * high, points
    for _ in range(8):
        middle = 0.5 * (low + high)
        points = _throw(grid, order, middle * (1 + 2 * radius), count)
        if len(points) == count:
            low, best = middle, points
        else:
            high = middle
    return best


def _throw(grid: Sequence[int], order: np.ndarray, distance: np.ndarray, count: int) -> np.ndarray:
    """The first ``count`` points in ``order`` without an earlier one that has them within its own ``distance``."""
    pad = math.ceil(float(distance.max()))
    free = np.ones([n + 2 * pad for n in grid], dtype=bool)
    offsets = np.stack(np.meshgrid(*(np.arange(-pad, pad + 1),) * len(grid), indexing="ij"))
    squares = (offsets**2).sum(0)
    limits = np.ceil(distance**2).astype(int)
    discs: dict[int, tuple[int, np.ndarray]] = {}
    points = []
    for index, place in zip(order, np.stack(np.unravel_index(order, grid), 1).tolist(), strict=True):
        if not free[tuple(p + pad for p in place)]:
            continue
        points.append(index)
        if len(points) == count:
            break
        limit = int(limits[tuple(place)])
        if limit not in discs:
            reach = math.ceil(math.sqrt(limit))
            window = (slice(pad - reach, pad + reach + 1),) * len(grid)
            discs[limit] = reach, squares[window] >= limit
        reach, outside = discs[limit]
        free[tuple(slice(p + pad - reach, p + pad + reach + 1) for p in place)] &= outside
    return np.array(points[:count], dtype=int)
