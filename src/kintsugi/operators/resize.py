"""Resampling as cameras, phones and Pillow do it: any kernel, any factor, antialiased.

Sample i of n_out lies at ``c_i = (i + 1/2) s`` among n samples, ``s = n / n_out``. With a kernel k of radius r,

    y_i = sum_j w_ij x_j / sum_j w_ij,    w_ij = k((j + 1/2 - c_i) / max(s, 1)),    |j + 1/2 - c_i| < max(s, 1) r

so that the kernel is stretched to the new spacing when shrinking, and near a border the weights that fall inside are
renormalised. That is Pillow's ``Image.resize`` to rounding, and torch's ``interpolate(antialias=True)``. Without
``antialias`` the kernel keeps the old spacing, and fine detail aliases.

It is separable (``separable.py``): functions of ``A A^T`` are exact, with nothing periodic about them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .base import DEFAULT_ACCURACY, MOST, Accuracy, check_shape, per_axis, signal_shape
from .covariance import StationaryCovariance
from .iterative import conjugate_gradients
from .separable import Separable


@dataclass(frozen=True)
class ResampleKernel:
    """``value(t)`` at distances t in samples, zero for ``|t| > radius``."""

    name: str
    radius: float
    value: Callable[[Tensor], Tensor]


def _box(t: Tensor) -> Tensor:
    return ((t > -0.5) & (t <= 0.5)).to(t)


def _linear(t: Tensor) -> Tensor:
    return (1 - t.abs()).clamp_min(0)


def _hamming(t: Tensor) -> Tensor:
    return torch.where(t.abs() < 1, torch.sinc(t) * (0.54 + 0.46 * torch.cos(math.pi * t)), 0.0)


def _bicubic(t: Tensor) -> Tensor:
    """Keys' cubic convolution with a = -1/2."""
    t = t.abs()
    near, far = (1.5 * t - 2.5) * t * t + 1, ((-0.5 * t + 2.5) * t - 4) * t + 2
    return torch.where(t < 1, near, torch.where(t < 2, far, 0.0))


def _lanczos3(t: Tensor) -> Tensor:
    return torch.where((t >= -3) & (t < 3), torch.sinc(t) * torch.sinc(t / 3), 0.0)


KERNELS = {
    kernel.name: kernel
    for kernel in (
        ResampleKernel("box", 0.5, _box),
        ResampleKernel("linear", 1, _linear),
        ResampleKernel("hamming", 1, _hamming),
        ResampleKernel("bicubic", 2, _bicubic),
        ResampleKernel("lanczos3", 3, _lanczos3),
    )
}


LARGEST_MATRIX = 2**27  # numbers: a GiB


class Resize(Separable):
    """Signals of ``shape`` (C, *S) at another ``size``, or ``scale`` times theirs (rounded).

    size, scale: one number, or one an axis; give one of the two. kernel: "box", "linear", "hamming", "bicubic",
    "lanczos3", or a :class:`ResampleKernel` of your own. antialias: stretch the kernel when shrinking.

    >>> Resize((3, 100, 75), scale=0.4).out_shape
    (3, 40, 30)
    """

    def __init__(
        self,
        shape: Sequence[int],
        size: int | Sequence[int] | None = None,
        scale: float | Sequence[float] | None = None,
        kernel: str | ResampleKernel = "bicubic",
        antialias: bool = True,
        *,
        cutoff: float = 1e-3,
    ) -> None:
        space = signal_shape(shape)[1:]
        if isinstance(kernel, str):
            if kernel not in KERNELS:
                raise InvalidArgument("kernel", kernel, f"one of {', '.join(KERNELS)}, or a ResampleKernel")
            kernel = KERNELS[kernel]
        elif not isinstance(kernel, ResampleKernel):
            raise InvalidArgument("kernel", type(kernel).__name__, f"one of {', '.join(KERNELS)}, or a ResampleKernel")
        sizes = _sizes(space, size, scale)
        if any(n * m > LARGEST_MATRIX for n, m in zip(space, sizes, strict=True)):
            raise InvalidArgument(
                "size", sizes, f"one that {tuple(space)} can be brought to by matrices that fit memory"
            )
        matrices = [
            None if m == n else resize_matrix(n, m, kernel, antialias) for n, m in zip(space, sizes, strict=True)
        ]
        super().__init__(matrices, shape, cutoff=cutoff)
        self.kernel, self.antialias = kernel, antialias

    def settings(self) -> dict[str, Any]:
        return {"kernel": self.kernel.name, "antialias": self.antialias}

    def solve_normal(
        self,
        covariance: StationaryCovariance,
        sigma2: float,
        r: Tensor,
        accuracy: Accuracy = DEFAULT_ACCURACY,
    ) -> Tensor:
        """Conjugate gradients, preconditioned by what ``A C A^T`` does to an impulse in the middle, taken as periodic.

        Away from borders and up to the phase of the new grid ``A C A^T`` commutes with shifts.
        """
        check_shape("r", r, self.out_shape)
        values = self._response(covariance, r)
        top = float(values.max())
        sigma2 = max(sigma2, 8 * torch.finfo(r.dtype).eps * top)
        inverse = 1 / (values.clamp_min(1e-5 * top) + sigma2)

        def matvec(u: Tensor) -> Tensor:
            return self(covariance(self.adjoint(u))) + sigma2 * u

        return conjugate_gradients(
            matvec,
            r,
            precondition=lambda u: StationaryCovariance.multiply(u, inverse),
            tolerance=accuracy.tolerance,
            iterations=accuracy.iterations,
        )

    def _response(self, covariance: StationaryCovariance, like: Tensor) -> Tensor:
        """The spectrum, for luma and chroma, of ``A C A^T`` at an impulse: (2, *half grid of the measurement)."""
        channels, *small = self.out_shape
        middle = [n // 2 for n in small]
        index: Any = (slice(None), *middle)
        impulse = like.new_zeros((2, *self.out_shape))
        impulse[0][index] = 1
        impulse[1][index] = torch.linspace(-1, 1, channels).to(like) if channels > 1 else 1.0
        answer = self(covariance(self.adjoint(impulse)))[:, -1]
        centred = torch.roll(answer, [-m for m in middle], tuple(range(1, 1 + len(small))))
        return torch.fft.rfftn(centred, dim=tuple(range(1, 1 + len(small)))).real


def resize_matrix(n: int, m: int, kernel: ResampleKernel, antialias: bool = True) -> Tensor:
    """The matrix (m, n), float64, that resamples n samples to m."""
    step = n / m
    stretch = max(step, 1.0) if antialias else 1.0
    reach = kernel.radius * stretch
    centres = (torch.arange(m, dtype=torch.float64) + 0.5) * step
    # The window of each row, in the integer arithmetic of Pillow, which decides ties.
    first = (centres - reach + 0.5).trunc().clamp_min(0)[:, None]
    end = (centres + reach + 0.5).trunc().clamp_max(n)[:, None]
    j = first + torch.arange(int((end - first).max()), dtype=torch.float64)
    weights = torch.where(j < end, kernel.value((j + 0.5 - centres[:, None]) / stretch), 0.0)
    total = weights.sum(1, keepdim=True)
    if not bool((torch.isfinite(total) & (total != 0)).all()):
        raise InvalidArgument("kernel", kernel.name, f"weights with a finite sum other than 0, from {n} samples to {m}")
    matrix = torch.zeros((m, n), dtype=torch.float64)
    return matrix.scatter_add(1, j.long().clamp_max(n - 1), weights / total)


def _sizes(
    space: Sequence[int], size: int | Sequence[int] | None, scale: float | Sequence[float] | None
) -> tuple[int, ...]:
    if (size is None) == (scale is None):
        raise InvalidArgument("size", size, "one of size and scale, not both")
    if size is not None:
        return per_axis("size", size, len(space))
    scales = [scale] * len(space) if isinstance(scale, int | float) else list(scale or ())
    if len(scales) != len(space) or not all(isinstance(s, int | float) and 0 < s < math.inf for s in scales):
        raise InvalidArgument("scale", scale, f"a positive number, or {len(space)} of them")
    out = tuple(max(1, round(min(n * s, MOST + 1))) for n, s in zip(space, scales, strict=True))
    if max(out) > MOST:
        raise InvalidArgument("scale", scale, f"one that makes at most {MOST} samples along an axis")
    return out
