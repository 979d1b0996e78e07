"""A prior in parts that fit into memory: fewer rows at a time, then smaller tiles, when memory runs out.

A denoiser is a function without random numbers, of which each row, and each tile with its margin, is independent of the
others. So a call that ran out of memory is made again in smaller parts, and gives what it would have given in these
parts from the start. What was too large once is not tried again. Where memory runs out beside the network, in the
algebra of a sampler, :func:`in_halves` takes fewer rows through all of it, from their first random numbers on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from ..memory import OutOfMemory, in_words, ran_out, release
from .base import Prior, Vjp
from .wrappers import Tiled, Wrapped

SMALLEST = 64  # pixels of a tile; with its margins it is several times as large

T = TypeVar("T")


@dataclass
class Fit:
    """How much is done at a time: a ``batch`` of rows, of which the network sees ``rows`` (None for all that a sampler
    gives it), in tiles of ``tile`` pixels a side (None for whole images). ``shrunk``: whether memory ran out and any of
    them became less than it was.
    """

    batch: int
    rows: int | None = None
    tile: int | None = None
    shrunk: bool = False

    def told(self, wanted: Fit | None = None) -> str:
        """In words, as far as it is not as ``wanted``."""
        words = []
        if wanted is None or self.batch != wanted.batch:
            words.append(f"{_rows(self.batch)} at a time")
        if self.rows is not None and self.rows < self.batch:
            words.append(f"{_rows(self.rows)} at a time in the network")
        if self.tile is not None and (wanted is None or self.tile != wanted.tile):
            words.append(f"tiles of {self.tile} pixels")
        return ", ".join(words)


class Fitting(Wrapped):
    """``inner``, evaluated in parts of ``fit``, which is made smaller when memory runs out."""

    def __init__(self, inner: Prior, fit: Fit) -> None:
        super().__init__(inner)
        self.fit = fit

    def denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        return self._until_it_fits(z, lambda: self._denoise(z, eta))

    def denoise_vjp(self, z: Tensor, eta: Tensor) -> tuple[Tensor, Vjp]:
        """As the base class. In parts of the rows the VJP evaluates each again: one graph is in memory at a time."""
        held: list[Vjp] = []  # the VJP of all rows, as long as its graph fits into memory

        def forward() -> Tensor:
            held.clear()
            if self._rows(z) < len(z):
                return self._denoise(z, eta)
            d, pull = self._tiled().denoise_vjp(z, eta)
            held.append(pull)
            return d

        def vjp(v: Tensor) -> Tensor:
            def backward() -> Tensor:
                if held:
                    pull = held[0]
                    try:
                        return pull(v)
                    except BaseException:
                        held.clear()
                        raise
                return self._in_parts(z, lambda part: self._tiled().denoise_vjp(z[part], eta[part])[1](v[part]))

            return self._until_it_fits(z, backward)

        return self._until_it_fits(z, forward), vjp

    def _denoise(self, z: Tensor, eta: Tensor) -> Tensor:
        return self._in_parts(z, lambda part: self._tiled().denoise(z[part], eta[part]))

    def _in_parts(self, z: Tensor, work: Callable[[slice], Tensor]) -> Tensor:
        rows = self._rows(z)
        if rows >= len(z):
            return work(slice(None))
        return torch.cat([work(slice(k, k + rows)) for k in range(0, len(z), rows)])

    def _rows(self, z: Tensor) -> int:
        return len(z) if self.fit.rows is None else min(self.fit.rows, len(z))

    def _tiled(self) -> Prior:
        return self.inner if self.fit.tile is None else Tiled(self.inner, self.fit.tile)

    def _until_it_fits(self, z: Tensor, work: Callable[[], T]) -> T:
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                if isinstance(error, OutOfMemory) or not ran_out(error):
                    raise
                if not self._shrink(z):
                    raise OutOfMemory(_nothing_left(z, self.fit)) from error
            # Only here, where the error is gone, are the tensors of its frames free.
            release(z.device)

    def _shrink(self, z: Tensor) -> bool:
        """Half the rows, or half the tile where there is one row; whether that was possible."""
        rows = self._rows(z)
        if rows > 1:
            self.fit.rows = rows // 2
        else:
            tile = smaller_tile(self.inner, self.fit.tile, z)
            if tile is None:
                return False
            self.fit.rows, self.fit.tile = 1, tile
        self.fit.shrunk = True
        return True


def in_halves(count: int, fit: Fit, run: Callable[[range], Tensor], device: torch.device) -> Tensor:
    """``run`` of the rows ``range(count)``, together or, where memory runs out, in parts of half as many."""
    out: list[Tensor] = []
    start = 0
    while start < count:
        rows = range(start, min(start + fit.batch, count))
        try:
            out.append(run(rows))
            start = rows.stop
            continue
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error) or (len(rows) == 1 and isinstance(error, OutOfMemory)):
                raise
            if len(rows) == 1:
                raise OutOfMemory(f"memory ran out on {device} beside the network, with {fit.told()}") from error
        release(device)
        fit.batch, fit.shrunk = len(rows) // 2, True
    return torch.cat(out)


def window(prior: Prior, tile: int | None, z: Tensor) -> int:
    """Pixels of the largest window of images like ``z`` that ``prior`` sees in tiles of ``tile``, margins included."""
    if tile is None or z.ndim != 4:
        return z[0, 0].numel()
    height, width = z.shape[-2:]
    tiled = Tiled(prior, tile)
    if tiled.sees_whole(z):
        return height * width
    side = tiled.tile + 2 * tiled.overlap
    return min(height, side) * min(width, side)


def smaller_tile(prior: Prior, tile: int | None, z: Tensor) -> int | None:
    """The next tile, of halves, that makes windows of images like ``z`` smaller; None if there is none."""
    if z.ndim != 4 or not Tiled(prior, tile or SMALLEST).local:
        return None
    now, side = window(prior, tile, z), max(z.shape[-2:])
    tile = side if tile is None else min(tile, side)
    while tile > SMALLEST:
        tile = max(tile // 2, SMALLEST)
        if window(prior, tile, z) < now:
            return Tiled(prior, tile).tile
    return None


def _nothing_left(z: Tensor, fit: Fit) -> str:
    size = " x ".join(str(n) for n in z.shape[1:])
    return f"memory ran out on {z.device}, with signals of {size} ({in_words(z[0].nbytes)} each), {fit.told()}"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"
