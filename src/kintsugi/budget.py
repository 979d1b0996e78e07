"""How much may be done at a time within a limit of memory, from measurements made beforehand.

Two things take memory: the algebra of a sampler, in proportion to the rows of a batch, and the network, in proportion
to the pixels of the windows that it sees at once. The first is measured by a run of two steps on one row in which a
denoiser of white Gaussian signals, ``D(z) = s^2 / (s^2 + eta^2) z``, stands for the network. The second by the network
on two small windows: where it is local, its memory is a constant and so much a pixel. Both count the bytes of tensors
(:class:`~kintsugi.memory.Meter`), and stop where these would exceed the limit. What operations take beside tensors,
and what allocators cannot use again, is a share on top, ``SLACK``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from .errors import InvalidArgument, NotConverged
from .memory import Meter, TooMuch, in_words, room
from .noise import RowNoise
from .priors.base import Prior, Vjp
from .priors.fitting import Fit, smaller_tile, window
from .priors.wrappers import Tiled, Wrapped
from .problem import Problem
from .samplers import Sampler

SLACK = 1.4
PROBES = (64, 128)  # sides of the two windows


def fit_into(limit: int, problem: Problem, prior: Prior, method: Sampler, steps: int, rows: int, wanted: Fit) -> Fit:
    """The largest batch, and then the largest tile, of at most those of ``wanted`` that stay within ``limit`` bytes.

    ``problem``: one row of it, as samplers see it. ``rows``: how many samples are drawn in all, which are kept. On
    a CPU the limit is for all that the process has in memory, on a GPU for tensors.

    Errors: :class:`InvalidArgument` for ``max_memory`` where one row in the smallest tiles is too much.
    """
    device = problem.y.device
    z = torch.empty((1, *problem.operator.in_shape), dtype=problem.y.dtype, device=device)
    with torch.no_grad():
        network = _measure_network(prior, method, z, room(device, limit), wanted.tile)
        free = room(device, limit)  # now that the network has run and has all that it keeps
        algebra = _measure_algebra(problem, prior, method, steps, free)

    def estimate(fit: Fit) -> float:
        seen = algebra.rows * fit.batch  # by the network
        seen = seen if fit.rows is None else min(fit.rows, seen)
        call = algebra.resting * fit.batch + network(window(prior, fit.tile, z)) * seen
        return SLACK * max(algebra.peak * fit.batch, call) + 2 * rows * z.nbytes

    fit = wanted
    for fit in _smaller_and_smaller(wanted, prior, z):
        if estimate(fit) <= free:
            return fit
    raise InvalidArgument(
        "max_memory",
        in_words(limit),
        f"at least {in_words(limit - free + estimate(fit))} for this problem with {method.name}, of which "
        f"{in_words(limit - free)} are in use before it starts",
    )


def _smaller_and_smaller(wanted: Fit, prior: Prior, z: Tensor) -> Iterator[Fit]:
    batch, tile = wanted.batch, wanted.tile
    while batch >= 1:
        yield Fit(batch, None, tile)
        rows = batch // 2
        while rows >= 1:
            yield Fit(batch, rows, tile)
            rows //= 2
        batch //= 2
    yield Fit(1, 1, tile)
    while (tile := smaller_tile(prior, tile, z)) is not None:
        yield Fit(1, 1, tile)


def _measure_network(prior: Prior, method: Sampler, z: Tensor, free: float, tile: int | None) -> Callable[[int], float]:
    """The bytes that a row takes in the network, as a function of the pixels of a window."""

    def measure(given: Tensor) -> int:
        eta = given.new_ones(1, dtype=given.real.dtype)
        with _stop_at(free, method) as meter:
            if method.needs_vjp:
                d, pull = prior.denoise_vjp(given, eta)
                pull(d)
            else:
                prior.denoise(given, eta)
        return meter.peak

    sizes = [(min(side, z.shape[-2]), min(side, z.shape[-1])) for side in PROBES] if z.ndim == 4 else []
    areas = [height * width for height, width in sizes]
    if len(set(areas)) < 2 or not Tiled(prior, tile or PROBES[0]).local:
        whole = measure(torch.zeros_like(z))  # it has one size, or looks everywhere
        return lambda pixels: whole
    small, large = (measure(z.new_zeros((1, z.shape[1], *size))) for size in sizes)
    slope = max(large - small, 0) / (areas[1] - areas[0])
    return lambda pixels: max(small - slope * areas[0], 0) + slope * pixels


@dataclass(frozen=True)
class _Algebra:
    """Bytes that a row takes beside the network, at most and while that runs, and the rows that it sees of each."""

    peak: int
    resting: int
    rows: int


def _measure_algebra(problem: Problem, prior: Prior, method: Sampler, steps: int, free: float) -> _Algebra:
    with _stop_at(free, method) as meter:
        stand_in = _StandIn(prior, meter)
        with suppress(FloatingPointError, NotConverged):  # what was measured until then counts
            method.run(stand_in, problem, min(steps, 2), RowNoise([(0, 0, 0)]), lambda done, total: None)
    return _Algebra(meter.peak, stand_in.resting, stand_in.rows)


class _StandIn(Wrapped):
    """The denoiser of white Gaussian signals; the most bytes in use, and rows, when it was called."""

    def __init__(self, inner: Prior, meter: Meter) -> None:
        super().__init__(inner)
        self.meter, self.resting, self.rows = meter, 0, 1

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        self.resting, self.rows = max(self.resting, self.meter.live), max(self.rows, len(z))
        return z * self._share(z, eta)

    def denoise_vjp(self, z: Tensor, eta: Tensor) -> tuple[Tensor, Vjp]:
        share = self._share(z, eta)

        def vjp(v: Tensor) -> Tensor:
            self.resting = max(self.resting, self.meter.live)
            return v * share

        return self.denoise(z, eta), vjp

    def _share(self, z: Tensor, eta: Tensor) -> Tensor:
        share = self.data_variance / (self.data_variance + eta**2)
        return share.to(z.dtype).view(-1, *(1,) * (z.ndim - 1))


@contextmanager
def _stop_at(free: float, method: Sampler) -> Iterator[Meter]:
    """A meter whose limit is told as a mistake in ``max_memory``."""
    try:
        with Meter(max(free, 0)) as meter:
            yield meter
    except TooMuch:
        raise InvalidArgument(
            "max_memory",
            f"{in_words(max(free, 0))} beyond what is in use before it starts",
            f"more memory for this problem with {method.name}",
        ) from None
