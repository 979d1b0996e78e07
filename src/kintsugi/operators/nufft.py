"""Non-Cartesian magnetic resonance imaging: the Fourier transform at any points of k-space, by finufft.

    y_j = N^{-1/2} sum_n x_n exp(-2 pi i k_j . n),    n = (0, ..., size - 1) - size // 2 along each axis

with N the number of pixels and ``k_j`` in cycles per pixel, [-1/2, 1/2): on the Cartesian grid ``n / size`` it is the
centred orthonormal transform of ``mri.py``. finufft (Barnett, Magland, af Klinteberg, 2019) computes it to a relative
accuracy ``eps`` by spreading on a finer grid; its type 1 transform spreads with the same weights as type 2
interpolates, so that the adjoint is exact to rounding whatever ``eps``.

finufft runs on the processor; tensors elsewhere go there and back. Several coils: ``NUFFT(coils.out_shape, points) @
coils``, or the argument ``maps``, which keeps it one operator with its own accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..optional import optional
from .base import Accuracy, signal_shape
from .multicoil import check_maps
from .unstructured import KRYLOV, Unstructured

GOLDEN = math.pi * (math.sqrt(5) - 1) / 2  # the angle between spokes that spreads any number of them, 111.2 degrees


class NUFFT(Unstructured):
    """Complex signals ``shape`` (C, *S) at the points ``trajectory`` (M, dims) of k-space; y has shape (C, M).

    trajectory: cycles per pixel, one column for each axis of ``S`` in order, from -1/2 to 1/2.
    maps: complex sensitivities (coils, *S); then ``shape`` is (1, *S) and y (coils, M).
    eps: accuracy of the transform; None for 1e-6 in single and 1e-12 in double precision.
    cutoff: 0.05 of the largest singular value, which belongs to the densest part of the trajectory.
    """

    in_complex = out_complex = True

    def __init__(
        self,
        shape: Sequence[int],
        trajectory: Tensor,
        maps: Tensor | None = None,
        *,
        eps: float | None = None,
        cutoff: float = 0.05,
        accuracy: Accuracy = KRYLOV,
    ) -> None:
        super().__init__(cutoff=cutoff, accuracy=accuracy)
        optional("finufft", "mri")
        self.in_shape = signal_shape(shape)
        size = self.in_shape[1:]
        if trajectory.is_complex() or trajectory.ndim != 2 or trajectory.shape[1] != len(size) or not len(trajectory):
            raise InvalidArgument("trajectory", tuple(trajectory.shape), f"points (M, {len(size)}) of k-space")
        if not bool((trajectory.abs() <= 0.5).all()):
            raise InvalidArgument("trajectory", "points outside", "cycles per pixel, from -1/2 to 1/2")
        if eps is not None and not 1e-15 <= eps < 0.1:
            raise InvalidArgument("eps", eps, "a relative accuracy from 1e-15 to 0.1, or None")
        self.maps = None if maps is None else check_maps(maps, self.in_shape)
        self.trajectory, self.eps = trajectory.detach().double().cpu(), eps
        self._channels = self.in_shape[0] if maps is None else len(maps)
        self.out_shape = (self._channels, len(trajectory))
        self._points = [column.contiguous().numpy() for column in (2 * math.pi * self.trajectory).T]
        self._scale = math.prod(size) ** -0.5

    def _forward(self, x: Tensor) -> Tensor:
        return self._transform(2, x if self.maps is None else self.maps.to(x) * x).view(-1, *self.out_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        x = self._transform(1, y).view(-1, self._channels, *self.in_shape[1:])
        return x if self.maps is None else (self.maps.to(x).conj() * x).sum(1, keepdim=True)

    def _transform(self, kind: int, values: Tensor) -> Tensor:
        """Type 2 (signal to points) or its adjoint, type 1, of each row and channel: (B * C, ...)."""
        single = values.dtype == torch.complex64
        data = values.detach().flatten(0, 1).resolve_conj().contiguous().cpu()
        function = getattr(optional("finufft", "mri"), f"nufft{len(self._points)}d{kind}")
        points = [p.astype("float32" if single else "float64", copy=False) for p in self._points]
        threads = torch.get_num_threads() if data.numel() > 2**14 else 1
        modes = () if kind == 2 else (self.in_shape[1] if len(points) == 1 else self.in_shape[1:],)
        out = function(
            *points, data.numpy(), *modes, eps=self.eps or (1e-6 if single else 1e-12),
            isign=-1 if kind == 2 else 1, nthreads=threads,
        )  # fmt: skip
        return torch.from_numpy(out).to(values) * self._scale

    def settings(self) -> dict[str, Any]:
        said: dict[str, Any] = {"points": len(self.trajectory), "eps": self.eps}
        return said if self.maps is None else said | {"coils": len(self.maps)}


def radial_trajectory(spokes: int, samples: int, *, golden: bool = False) -> Tensor:
    """``spokes`` lines through the middle of k-space with ``samples`` points each: (spokes * samples, 2), float64.

    The angles are evenly spaced over half a turn or, if ``golden``, by the golden angle. ``samples`` of the size of the
    image (the Nyquist rate along a spoke) is usual; twice as many resolve twice the field of view.

    >>> radial_trajectory(2, 4)[:4, 1].tolist()
    [-0.5, -0.25, 0.0, 0.25]
    """
    if spokes < 1 or samples < 1:
        raise InvalidArgument("spokes", (spokes, samples), "positive numbers of spokes and samples")
    angles = torch.arange(spokes, dtype=torch.float64) * (GOLDEN if golden else math.pi / spokes)
    along = (torch.arange(samples, dtype=torch.float64) - samples // 2) / samples
    return torch.stack((along * angles.sin()[:, None], along * angles.cos()[:, None]), -1).flatten(0, 1)


def spiral_trajectory(arms: int, samples: int, turns: float) -> Tensor:
    """``arms`` Archimedean spirals from the middle to the border of k-space: (arms * samples, 2), float64.

    The radius grows with the square root of the time, so that the points are evenly dense but in the middle. The rings
    of all arms together are ``1 / (2 arms turns)`` cycles per pixel apart: with ``arms * turns`` half the size of the
    image, that is the Nyquist rate.
    """
    if arms < 1 or samples < 1 or not 0 < turns < math.inf:
        raise InvalidArgument("arms", (arms, samples, turns), "positive numbers of arms, samples and turns")
    radius = torch.linspace(0, 1, samples, dtype=torch.float64).sqrt()
    first = 2 * math.pi * torch.arange(arms, dtype=torch.float64)[:, None] / arms
    angle = 2 * math.pi * turns * radius + first
    return 0.5 * torch.stack((radius * angle.sin(), radius * angle.cos()), -1).flatten(0, 1)
