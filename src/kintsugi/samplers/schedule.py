"""Where a run starts, and the noise levels it visits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import InvalidArgument
from ..paths import GridName, noise_levels
from ..priors.base import Prior

Start = Literal["pinv", "zero", "gaussian"]


@dataclass(frozen=True)
class Schedule:
    """Where a run starts and which noise levels it visits.

    ``eta``: the first level, or None for the level of time ``tau``, which is that of the prior's path, or of the one
    that paces it (:meth:`kintsugi.paths.Path.paced`). ``end``: the last before 0, or None for the level of time
    ``tau / steps`` (with the grid "time": steps of equal length). ``scale``: the share of the first level's noise that
    is drawn.
    """

    start: Start = "pinv"
    eta: float | None = 2.0
    tau: float | None = None
    end: float | None = 0.01
    grid: GridName | tuple[float, ...] = "karras"
    scale: float = 1.0

    def levels(self, prior: Prior, steps: int) -> list[float]:
        if not isinstance(self.grid, str):
            return noise_levels(steps, 0.0, grid=self.grid)
        eta, tau, pace = self.eta, self.tau, prior.path.paced()
        if tau is not None:
            if not 0 < tau <= 1:
                raise InvalidArgument("tau", tau, "a time above 0 and at most 1")
            eta = min(float(pace.eta(tau)), prior.path.eta_max)
        if eta is None:
            eta = prior.path.eta_max
        end = self.end
        if end is None:
            end = float(pace.eta(float(pace.time(eta)) / max(steps, 2)))
        if steps > 1 and not end < eta:
            raise InvalidArgument("eta", eta, f"a first noise level above the last, {end:g}")
        return noise_levels(steps, eta, end, grid=self.grid, path=pace)


def time_travel(levels: Sequence[float], length: int, repeats: int) -> list[float]:
    """``levels`` with returns to higher noise: each stretch of ``length`` levels is walked ``repeats`` times.

    ``levels`` fall and end with 0. Counted from the last level above 0, every ``length``-th level is a place to turn
    back from: ``repeats - 1`` times, by ``length`` levels (Lugmayr et al., 2022, appendix B; the s = l of Wang et al.,
    2023, section 3.3). What lies within ``length`` of the first level is not repeated. A rise is one entry, since noise
    that is added in parts is noise.

    >>> time_travel([4.0, 3.0, 2.0, 1.0, 0.0], 2, 2)
    [4.0, 3.0, 2.0, 1.0, 3.0, 2.0, 1.0, 0.0]
    """
    above = len(levels) - 1
    left = dict.fromkeys(range(0, above - length, length), repeats - 1)
    out, remaining = [levels[0]], above - 1
    while remaining >= 0:
        if left.get(remaining, 0) > 0:
            left[remaining] -= 1
            remaining += length
        else:
            remaining -= 1
        out.append(levels[above - 1 - remaining])
    return out
