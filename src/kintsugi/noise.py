"""Random numbers of which each row of a batch has its own stream."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class RowNoise:
    """One generator a row, seeded by ``(seed, image, sample)``: a batch of n draws what n batches of one draw.

    Drawn on the CPU, so that every device sees the same numbers.
    """

    def __init__(self, keys: Sequence[tuple[int, ...]]) -> None:
        self._generators = [
            torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))
            for key in keys
        ]

    def normal(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Standard normal ``(rows, *shape)`` in the dtype and on the device of ``like``."""
        rows = [torch.randn(tuple(shape), generator=g, dtype=like.dtype) for g in self._generators]
        return torch.stack(rows).to(like.device)

    def normal_like(self, x: Tensor) -> Tensor:
        """Standard normal of the shape (rows, *) of ``x``."""
        return self.normal(x.shape[1:], x)
