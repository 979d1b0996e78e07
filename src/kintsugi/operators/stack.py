"""Several measurements of one signal: two exposures, a blurred and a noisy picture, all coils of a scanner.

    y = (A_1 x, ..., A_k x),    A^T y = sum_i A_i^T y_i,    A^T A = sum_i A_i^T A_i

Where all parts are convolutions of the same channels, or all are masks, ``A^T A`` is diagonal like theirs, and

    h(A A^T) u = A h(A^T A) (A^T A)^+ A^T u      on the range of A

is a closed form: a product with numbers, once ``u`` is in the basis of the parts.

Parts with noise of different strength: divide each by its own, ``Stack([(1 / s1) * A1, (1 / s2) * A2])``, and its
measurement too; the noise of the stack is then 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .algebra import Scaled
from .base import Function, LinearOperator, check_shape, restricted, spatial, total
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
        self._diagonal = _common_basis(parts, self.cutoff)

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
        return self._diagonal is not None

    def gram(self, h: Function, u: Tensor) -> Tensor:
        if self._diagonal is None:
            return super().gram(h, u)
        check_shape("u", u, self.out_shape, self.out_complex, self.batch)
        return self._diagonal.gram(h, u)

    def pinv(self, y: Tensor) -> Tensor:
        if self._diagonal is None:
            return super().pinv(y)
        check_shape("y", y, self.out_shape, self.out_complex, self.batch)
        return self._diagonal.pinv(y)

    def select(self, rows: Sequence[int]) -> LinearOperator:
        return Stack([part.select(rows) for part in self.parts])

    def settings(self) -> dict[str, Any]:
        return {"parts": [part.describe() for part in self.parts]}


class _Diagonal:
    """A stack of parts that are products with ``weights`` (k, C or 1, *S), of the signal or of its half spectrum.

    ``power``: ``A^T A`` in that basis, the sum of their squares.
    """

    def __init__(self, weights: Tensor, cutoff: float, fourier: bool) -> None:
        # Small problems, tests among them, in full precision; else in that of pictures, which saves memory.
        single = weights.numel() > 2**15
        self.weights = weights.to(torch.complex64 if fourier else torch.float32) if single else weights
        self.power = self.weights.abs().square().sum(0)
        self.threshold = cutoff**2 * float(self.power.max())
        self.fourier = fourier

    def gram(self, h: Function, u: Tensor) -> Tensor:
        inner, weights, power = self._inner(u)
        inner *= restricted(lambda lam: h(lam) / lam, power, self.threshold)
        return self._back(weights * inner, u).reshape(u.shape)

    def pinv(self, y: Tensor) -> Tensor:
        inner, _, power = self._inner(y)
        inner *= restricted(torch.reciprocal, power, self.threshold)
        return self._back(inner, y).squeeze(1)

    def _inner(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``A^T u`` in the basis, (B, 1, C, *), with the weights and the power as numbers of its kind."""
        u = u.unflatten(1, (len(self.weights), -1))
        if self.fourier:
            u = torch.fft.rfftn(u, dim=spatial(u)[1:])
        weights = self.weights.to(u)
        return (weights.conj() * u).sum(1, keepdim=True), weights, self.power.to(u.real)

    def _back(self, v: Tensor, like: Tensor) -> Tensor:
        return torch.fft.irfftn(v, s=like.shape[2:], dim=spatial(v)[1:]) if self.fourier else v


def _common_basis(parts: Sequence[LinearOperator], cutoff: float) -> _Diagonal | None:
    """All parts as products in one basis; None where they have none."""
    bare = [(part.scale, part.operator) if isinstance(part, Scaled) else (1.0, part) for part in parts]
    if all(type(part) is Mask for _, part in bare):
        masks = [scale * part.weights for scale, part in bare if isinstance(part, Mask)]
        return _Diagonal(torch.stack(masks), cutoff, fourier=False)
    shape = parts[0].in_shape
    half = shape[-1] // 2 + 1
    eye = torch.eye(shape[0], dtype=torch.float64)
    transfers = []
    for scale, part in bare:
        plain = type(part) is Stationary and max(part.factor) == 1 and torch.equal(part.colour, eye)
        if not plain or not isinstance(part, Stationary):
            return None
        transfers.append(scale * part.transfer[..., :half])
    return _Diagonal(torch.stack(transfers).unsqueeze(1), cutoff, fourier=True)
