"""Measured widths of intervals: what the spread of a model's samples is worth, as its file states it.

On held-out pictures whose truth is known, n samples have at each pixel a mean m, a standard deviation s and an error
``|x_0 - m|``. Among the pixels with about this s, a share ``level`` has an error below ``reach(level, s)``, which rises
with the level and with s. That table, for one sampler, number of steps and kind of problem, is a calibration;
:mod:`kintsugi.uncertainty.calibration` measures it, and intervals ``m ± reach(level, s)`` then have the coverage that
they state, on pictures like those. A standard deviation of no more than ``DUST`` is that of a pixel that was measured
exactly; it is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

DUST = 1e-5


@dataclass(frozen=True)
class Calibration:
    """``reaches[i][k]``: half the width at ``levels[i]`` (rising) of a pixel whose samples have the standard deviation
    ``stds[k]`` (rising), in the units of the data.

    sampler: with its settings, in words. kind: of problem. samples: n. images, pixels: what it was fitted on. raw: the
    coverage of the uncalibrated "student" intervals of those pixels, at ``levels``.
    """

    sampler: str
    steps: int
    kind: str
    samples: int
    images: int
    pixels: int
    levels: tuple[float, ...]
    stds: tuple[float, ...]
    reaches: tuple[tuple[float, ...], ...]
    raw: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        table = np.asarray(self.reaches, dtype=float)
        if table.shape != (len(self.levels), len(self.stds)) or table.size == 0:
            raise ValueError(f"calibration of shape {table.shape}: expected (levels, standard deviations)")
        rising = all(bool((np.diff(knots) > 0).all()) for knots in (self.levels, self.stds)) and self.stds[0] > 0
        if not rising or not 0 < self.levels[0] <= self.levels[-1] < 1 or not np.isfinite(table).all():
            raise ValueError("calibration: expected rising levels in (0, 1) and rising positive standard deviations")
        if (table < 0).any() or (np.diff(table, axis=0) < 0).any() or (np.diff(table, axis=1) < 0).any():
            raise ValueError("calibration: expected reaches that rise with the level and the standard deviation")

    def reach(self, level: float, std: Tensor) -> Tensor:
        """Half the width of the interval at ``level``, for standard deviations of any shape.

        Linear in the standard deviation and, in between the levels measured, in the quantile of a normal
        distribution; below the first knot constant, beyond the last in proportion. ValueError for a level outside.
        """
        from scipy.special import ndtri

        if not self.levels[0] - 1e-9 <= level <= self.levels[-1] + 1e-9:
            raise ValueError(f"level {level}: measured from {self.levels[0]} to {self.levels[-1]}")
        at = [float(ndtri((1 + v) / 2)) for v in (*self.levels, level)]
        table = np.asarray(self.reaches, dtype=float)
        line = np.array([np.interp(at[-1], at[:-1], table[:, k]) for k in range(len(self.stds))])
        s = std.detach().to("cpu", torch.float64).numpy()
        found = np.interp(s, self.stds, line) * np.maximum(s / self.stds[-1], 1)
        return torch.from_numpy(np.where(s > DUST, found, 0.0)).to(std)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Calibration:
        """The inverse of :meth:`to_dict`. ValueError, TypeError or KeyError for what is none."""
        known = {f.name: entry[f.name] for f in fields(cls)}
        for name in ("levels", "stds", "raw"):
            known[name] = tuple(float(v) for v in known[name])
        known["reaches"] = tuple(tuple(float(v) for v in row) for row in known["reaches"])
        for name in ("steps", "samples", "images", "pixels"):
            known[name] = int(known[name])
        return cls(**known)
