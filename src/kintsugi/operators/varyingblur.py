"""Blur that changes over the image: lenses, atmosphere, a camera that turned.

    y = sum_k K_k (w_k x)        with convolutions K_k, and weights w_k(place) >= 0, sum_k w_k = 1

(Nagy and O'Leary, 1998): a point at a place is spread by the mean of the kernels with the weights of that place. It is
linear interpolation of the point spread function, and costs one transform of the image for each kernel. No transform
diagonalises it, so functions of its Gram operator are Krylov methods.

The convolutions are circular. For real borders blur a canvas with a margin and measure its middle: ``Crop(canvas, size,
offset) @ VaryingBlur(canvas, ...)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .base import Accuracy, per_axis, signal_shape, spatial, total
from .kernels import check_kernel
from .stationary import kernel_transfer
from .unstructured import KRYLOV, Unstructured


class VaryingBlur(Unstructured):
    """``y = sum_k K_k (w_k x)`` on signals ``shape`` (C, *S), the same for all channels.

    kernels: point spread functions (K, *k), each divided by its sum. weights: (K, *S), not negative, that add up to 1
    at every place. cutoff: 0.03, as for :func:`Blur`.
    """

    def __init__(
        self,
        shape: Sequence[int],
        kernels: Tensor,
        weights: Tensor,
        *,
        cutoff: float = 3e-2,
        accuracy: Accuracy = KRYLOV,
    ) -> None:
        super().__init__(cutoff=cutoff, accuracy=accuracy)
        self.in_shape = self.out_shape = signal_shape(shape)
        size = self.in_shape[1:]
        if kernels.ndim != 1 + len(size) or not len(kernels):
            raise InvalidArgument("kernels", tuple(kernels.shape), f"kernels (K, *k) with {len(size)} axes each")
        if tuple(weights.shape) != (len(kernels), *size):
            raise InvalidArgument("weights", tuple(weights.shape), f"one map for each kernel, {(len(kernels), *size)}")
        weights = weights.double()
        if not bool((weights >= 0).all()) or not bool(((weights.sum(0) - 1).abs() < 1e-6).all()):
            raise InvalidArgument("weights", "other maps", "maps that are not negative and add up to 1 at every place")
        checked = [check_kernel(kernel) for kernel in kernels]
        if any(k > n for k, n in zip(kernels.shape[1:], size, strict=True)):
            raise InvalidArgument("kernels", tuple(kernels.shape), f"kernels no larger than the signal {size}")
        self.weights = weights
        full = torch.stack([kernel_transfer(kernel, size) for kernel in checked])
        self._transfers = full[..., : size[-1] // 2 + 1]

    @classmethod
    def from_grid(
        cls,
        shape: Sequence[int],
        kernels: Tensor,
        *,
        cutoff: float = 3e-2,
        accuracy: Accuracy = KRYLOV,
    ) -> VaryingBlur:
        """Kernels (*grid, *k) at the nodes of a grid over the signal, from edge to edge, linear between them."""
        size = signal_shape(shape)[1:]
        if kernels.ndim != 2 * len(size):
            expected = f"{len(size)} axes of the grid, then {len(size)} of a kernel"
            raise InvalidArgument("kernels", tuple(kernels.shape), expected)
        grid, kernel = kernels.shape[: len(size)], kernels.shape[len(size) :]
        weights = torch.ones((1,) * len(size), dtype=torch.float64)
        weights = weights.reshape(1, *weights.shape)
        for axis, (nodes, n) in enumerate(zip(grid, size, strict=True)):
            hats = _hats(nodes, n).view(1, nodes, *(n if a == axis else 1 for a in range(len(size))))
            weights = (weights[:, None] * hats).flatten(0, 1)
        return cls(shape, kernels.reshape(-1, *kernel), weights, cutoff=cutoff, accuracy=accuracy)

    def _forward(self, x: Tensor) -> Tensor:
        dims = spatial(x)
        pairs = zip(*self._like(x), strict=True)
        spectrum = total(torch.fft.rfftn(weight * x, dim=dims) * transfer for weight, transfer in pairs)
        return torch.fft.irfftn(spectrum, s=x.shape[2:], dim=dims)

    def _adjoint(self, y: Tensor) -> Tensor:
        dims = spatial(y)
        spectrum, pairs = torch.fft.rfftn(y, dim=dims), zip(*self._like(y), strict=True)
        return total(w * torch.fft.irfftn(spectrum * k.conj(), s=y.shape[2:], dim=dims) for w, k in pairs)

    def _like(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.weights.to(x), self._transfers.to(x.device, x.dtype.to_complex())

    def settings(self) -> dict[str, Any]:
        return {"kernels": len(self.weights)}


def _hats(nodes: int, n: int) -> Tensor:
    """``nodes`` hat functions over n samples, (nodes, n): 1 at a node, 0 at the next, from end to end."""
    (count,) = per_axis("kernels", nodes, 1)
    place = torch.linspace(0, count - 1, n, dtype=torch.float64) if count > 1 else torch.zeros(n, dtype=torch.float64)
    return (1 - (place - torch.arange(count, dtype=torch.float64)[:, None]).abs()).clamp_min(0)
