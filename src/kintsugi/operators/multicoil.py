"""Magnetic resonance imaging with several coils, each of which sees the image through its own sensitivity.

    y_c = M F (S_c x),    F: orthonormal, centred (``mri.py``),  M: 0 or 1, the samples of k-space that were measured

Coils are what makes parallel imaging work: where M folds the image onto itself, their differences unfold it. ``S`` has
a closed form, since ``S^H S = sum_c |S_c|^2`` is diagonal:

    h(S S^H) u = S (h(lam) / lam) S^H u,    lam = sum_c |S_c|^2      on the range of S

``M F S`` has none: ``A^H A`` is a sum of products that no transform diagonalises. With maps normalised to
``sum_c |S_c|^2 = 1`` its singular values are between 0 and 1, and ``A^H A = I`` with everything measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .base import Accuracy, Function, LinearOperator, Shape, check_shape, restricted, signal_shape, spatial
from .mri import centred_fft, centred_ifft, sampling_mask
from .unstructured import KRYLOV, Unstructured


def birdcage_maps(coils: int, size: Sequence[int], *, radius: float = 1.6) -> Tensor:
    """Simulated sensitivities (coils, H, W), complex128, with ``sum_c |S_c|^2 = 1`` everywhere.

    The coils are straight rods, perpendicular to the image, evenly spaced on a circle of ``radius`` (the image is the
    square [-1, 1]^2; more than sqrt(2) keeps the rods outside it). The transverse field of a current in a rod at p is
    that of Biot and Savart, and as a complex number an analytic function of the place w = x + iy:

        S_c(w) ~ 1 / (1 - w / p_c),    p_c = radius exp(2 pi i c / coils)

    >>> maps = birdcage_maps(8, (32, 24))
    >>> torch.allclose(maps.abs().square().sum(0), torch.ones(32, 24, dtype=torch.float64))
    True
    """
    if coils < 1 or len(size) != 2 or min(size) < 1:
        raise InvalidArgument("coils", (coils, tuple(size)), "at least one coil and the size (H, W) of an image")
    if not math.sqrt(2) < radius < math.inf:
        raise InvalidArgument("radius", radius, "more than sqrt(2), outside the square [-1, 1]^2")
    down, right = (((2 * torch.arange(n, dtype=torch.float64) + 1) / n - 1) for n in size)
    place = torch.complex(right.expand(*size), down[:, None].expand(*size))
    angles = 2 * math.pi * torch.arange(coils, dtype=torch.float64) / coils
    rods = torch.polar(torch.full_like(angles, radius), angles)
    maps = 1 / (1 - place / rods[:, None, None])
    return maps / maps.abs().square().sum(0).sqrt()


class Coils(LinearOperator):
    """``y_c = S_c x``: a complex image (1, *S) as each coil sees it, (coils, *S); ``maps`` (coils, *S) are complex.

    Compose it with what follows: ``NUFFT(coils.out_shape, trajectory) @ coils``.
    """

    in_complex = out_complex = True

    def __init__(self, maps: Tensor) -> None:
        self.maps = check_maps(maps)
        self.out_shape = tuple(maps.shape)
        self.in_shape = (1, *maps.shape[1:])
        self._lam = maps.abs().square().sum(0)
        self._top = float(self._lam.max())

    def _forward(self, x: Tensor) -> Tensor:
        return self.maps.to(x) * x

    def _adjoint(self, y: Tensor) -> Tensor:
        return (self.maps.to(y).conj() * y).sum(1, keepdim=True)

    def gram(self, h: Function, u: Tensor) -> Tensor:
        check_shape("u", u, self.out_shape, True)
        scale = restricted(lambda lam: h(lam) / lam, self._lam.to(u.real), self.cutoff**2 * self._top)
        return self._forward(scale * self._adjoint(u))

    def settings(self) -> dict[str, Any]:
        return {"coils": len(self.maps)}


class MultiCoilMRI(Unstructured):
    """Complex images ``shape`` (1, H, W) to the k-space of each coil (coils, H, W), zero where ``mask`` is.

    ``mask`` broadcasts to (coils, H, W), zero frequency in the middle (:func:`cartesian_mask`); ``maps`` (coils, H, W)
    are the complex sensitivities. What stands in ``y`` where nothing was measured is ignored.

    cutoff: 0.05. A direction that the coils see 20 times less well than the best is left to the prior.
    """

    in_complex = out_complex = True

    def __init__(
        self,
        shape: Sequence[int],
        mask: Tensor,
        maps: Tensor,
        *,
        cutoff: float = 0.05,
        accuracy: Accuracy = KRYLOV,
    ) -> None:
        super().__init__(cutoff=cutoff, accuracy=accuracy)
        self.in_shape = signal_shape(shape)
        self.maps = check_maps(maps, self.in_shape)
        self.out_shape = tuple(maps.shape)
        self.mask = sampling_mask(mask, self.out_shape)

    def _forward(self, x: Tensor) -> Tensor:
        return self._keep(centred_fft(self.maps.to(x) * x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return (self.maps.to(y).conj() * centred_ifft(self._keep(y))).sum(1, keepdim=True)

    def _keep(self, y: Tensor) -> Tensor:
        return torch.where(self.mask.to(y.device), y, 0.0)

    def _normal(self, x: Tensor) -> Tensor:
        """``A^H A x`` with the middles moved to the corners once, and no transform along axes that the mask ignores."""
        space, (maps, mask, dims) = spatial(x), self._cornered
        maps, mask = maps.to(x), mask.to(x.device)
        seen = maps * torch.fft.ifftshift(x, space)
        seen = torch.fft.ifftn(mask * torch.fft.fftn(seen, dim=dims), dim=dims) if dims else mask * seen
        return torch.fft.fftshift((maps.conj() * seen).sum(1, keepdim=True), space)

    @cached_property
    def _cornered(self) -> tuple[Tensor, Tensor, list[int]]:
        """Maps and mask with their middles in the corners, and the axes of a batch along which the mask varies."""
        varies = [d for d in (1, 2) if not bool((self.mask == self.mask.narrow(d, 0, 1)).all())]
        maps, mask = (torch.fft.ifftshift(v, (1, 2)) for v in (self.maps, self.mask))
        return maps, mask, [d + 1 for d in varies]

    def solve(self, r2: float, sigma2: float, u: Tensor) -> Tensor:
        return super().solve(r2, sigma2, self._keep(u))

    def settings(self) -> dict[str, Any]:
        return {"coils": len(self.maps), "measured": float(self.mask.double().mean())}


def check_maps(maps: Tensor, shape: Shape | None = None) -> Tensor:
    """Complex sensitivities (coils, *S), finite and not all zero; of images of ``shape`` (1, *S) where it is given."""
    if not maps.is_complex() or not 2 <= maps.ndim <= 4:
        raise InvalidArgument("maps", (maps.dtype, tuple(maps.shape)), "complex sensitivities (coils, *S)")
    if not bool(torch.isfinite(maps.abs()).all()) or not bool(maps.abs().any()):
        raise InvalidArgument("maps", "values that are not finite, or all zero", "finite sensitivities")
    if shape is not None and shape != (1, *maps.shape[1:]):
        raise InvalidArgument("maps", tuple(maps.shape), f"sensitivities (coils, {shape[1:]}) of one image")
    return maps
