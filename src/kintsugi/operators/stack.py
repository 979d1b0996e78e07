"""Several measurements of one signal: two exposures, a blurred and a noisy picture, all coils of a scanner.

    y = (A_1 x, ..., A_k x),    A^T y = sum_i A_i^T y_i,    A^T A = sum_i A_i^T A_i

Where all parts are convolutions of the same channels, or all are masks, ``A^T A`` is diagonal like theirs, and

    h(A A^T) u = A h(A^T A) (A^T A)^+ A^T u      on the range of A

is a closed form. Parts with noise of different strength: divide each by its own, ``Stack([(1 / s1) * A1, (1 / s2) *
A2])``, and its measurement too; the noise of the stack is then 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .algebra import Scaled
from .base import Function, LinearOperator, check_shape, total
from .selection import Mask
from .stationary import Stationary
from .sums import common_batch
from .unstructured import Unstructured


class Stack(Unstructured):
    """``y`` holds the measurements of all ``parts``: along channels where their sizes agree, else as (1, all numbers).

    :meth:`split` takes ``y`` apart, :meth:`join` puts it together.
    """

    def __init__(self, parts: Sequence[LinearOperator]) -> None:
        if not parts:
            raise InvalidArgument("parts", "no operators", "at least one")
        super().__init__(cutoff=max(part.cutoff for part in parts))
        first = parts[0]
        for part in parts[1:]:
            same = part.in_shape == first.in_shape and part.in_complex == first.in_complex
            if not (same and part.out_complex == first.out_complex):
                raise InvalidArgument("parts", part.in_shape, f"operators on signals {first.in_shape}, as the first")
        self.parts = tuple(parts)
        self.in_shape, self.in_complex, self.out_complex = first.in_shape, first.in_complex, first.out_complex
        self.batch = common_batch(parts)
        self._channels = all(part.out_shape[1:] == first.out_shape[1:] for part in parts)
        self._lengths = [part.out_shape[0] if self._channels else math.prod(part.out_shape) for part in parts]
        self.out_shape = (sum(self._lengths), *first.out_shape[1:]) if self._channels else (1, sum(self._lengths))
        self._root = _normal_root(parts)

    def split(self, y: Tensor) -> list[Tensor]:
        """The measurement (B, *out_shape) of each part."""
        pieces = y.split(self._lengths, 1 if self._channels else 2)
        return [piece.reshape(-1, *part.out_shape) for piece, part in zip(pieces, self.parts, strict=True)]

    def join(self, ys: Sequence[Tensor]) -> Tensor:
        """The inverse of :meth:`split`: (B, *part.out_shape) of each part to (B, *out_shape)."""
        if len(ys) != len(self.parts):
            raise InvalidArgument("ys", f"{len(ys)} measurements", f"{len(self.parts)} of them")
        for y, part in zip(ys, self.parts, strict=True):
            check_shape("ys", y, part.out_shape, self.out_complex, self.batch)
        return torch.cat(list(ys), 1) if self._channels else torch.cat([y.flatten(1)[:, None] for y in ys], 2)

    def _forward(self, x: Tensor) -> Tensor:
        return self.join([part(x) for part in self.parts])

    def _adjoint(self, y: Tensor) -> Tensor:
        return total(part.adjoint(piece) for part, piece in zip(self.parts, self.split(y), strict=True))

    @property
    def has_closed_form(self) -> bool:
        return self._root is not None

    def gram(self, h: Function, u: Tensor) -> Tensor:
        if self._root is None:
            return super().gram(h, u)
        check_shape("u", u, self.out_shape, self.out_complex, self.batch)
        return self(self._root.gram(lambda lam: h(lam) / lam, self.adjoint(u)))

    def pinv(self, y: Tensor) -> Tensor:
        if self._root is None:
            return super().pinv(y)
        return self._root.gram(torch.reciprocal, self.adjoint(y))

    def select(self, rows: Sequence[int]) -> LinearOperator:
        return Stack([part.select(rows) for part in self.parts])

    def settings(self) -> dict[str, Any]:
        return {"parts": [part.describe() for part in self.parts]}


def _normal_root(parts: Sequence[LinearOperator]) -> LinearOperator | None:
    """A symmetric operator whose square is ``sum_i A_i^T A_i`` if all parts are diagonal in one basis, else None."""
    bare = [(part.scale, part.operator) if isinstance(part, Scaled) else (1.0, part) for part in parts]
    shape = parts[0].in_shape
    cutoff = max(part.cutoff for part in parts)
    if all(type(part) is Mask for _, part in bare):
        weights = [(scale * part.weights) ** 2 for scale, part in bare if isinstance(part, Mask)]
        return Mask(torch.stack(weights).sum(0).sqrt(), shape)
    eye = torch.eye(shape[0], dtype=torch.float64)
    powers = []
    for scale, part in bare:
        plain = type(part) is Stationary and max(part.factor) == 1 and torch.equal(part.colour, eye)
        if not plain or not isinstance(part, Stationary):
            return None
        powers.append(scale**2 * part.transfer.abs() ** 2)
    return Stationary(shape, torch.stack(powers).sum(0).sqrt(), cutoff=cutoff)
