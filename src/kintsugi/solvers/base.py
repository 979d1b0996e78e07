"""Solvers: how dz/deta = (z - D_y)/eta is integrated from one noise level to the next.

A solver is immutable; what it remembers from earlier levels is threaded through by the caller. All of them evaluate
``D_y`` once a level, and at the last level, 0, all of them return ``D_y`` of the level before.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..noise import RowNoise


class Solver:
    """One step from noise level ``a`` to ``c < a``. Subclasses are frozen dataclasses."""

    order: int = 1

    def step(self, z: Tensor, d: Tensor, a: float, c: float, memory: Any, noise: RowNoise) -> tuple[Tensor, Any]:
        """``z`` at level ``c`` from ``z`` and ``d = D_y(z, a)`` at level ``a``, and the next memory (None at first)."""
        raise NotImplementedError
