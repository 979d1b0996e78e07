"""Random numbers of which each row of a batch has its own stream."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .errors import InvalidArgument


class RowNoise:
    """One generator a row, seeded by ``(seed, image, sample)``: a batch of n draws what n batches of one draw.

    Drawn on the CPU, so that every device sees the same numbers. Seeds may be of any size; numbers are never negative.
    """

    def __init__(self, keys: Sequence[tuple[int, ...]]) -> None:
        for key in keys:
            if any(n < 0 for n in key):
                raise InvalidArgument("seed", key, "integers of at least 0")
        # The seed goes in as entropy and the rest as a spawn key: in one list, a seed of two words could be mistaken
        # for a seed and an image. PyTorch's generator on the CPU takes 32 bits.
        sequences = [np.random.SeedSequence(seed, spawn_key=rest) for seed, *rest in keys]
        self._generators = [torch.Generator().manual_seed(int(s.generate_state(1)[0])) for s in sequences]

    def normal(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Standard normal ``(rows, *shape)`` in the dtype and on the device of ``like``."""
        rows = [torch.randn(tuple(shape), generator=g, dtype=like.dtype) for g in self._generators]
        return torch.stack(rows).to(like.device)

    def normal_like(self, x: Tensor) -> Tensor:
        """Standard normal of the shape (rows, *) of ``x``."""
        return self.normal(x.shape[1:], x)
