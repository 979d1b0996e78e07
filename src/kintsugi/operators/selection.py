"""Operators that keep some samples: masks and crops.

A mask multiplies by weights and keeps the shape, so that a picture with holes is its own measurement; ``A A^T`` is
diagonal. A crop cuts a window out of a larger canvas, ``A A^T = I``: composed with a circular operator on the canvas
it makes a measurement with *real* borders, where what lies outside the picture is unknown instead of wrapped around.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from ..errors import InvalidArgument
from .base import (
    DEFAULT_ACCURACY,
    Accuracy,
    Function,
    LinearOperator,
    Shape,
    check_plain,
    check_shape,
    restricted_all,
    signal_shape,
    total,
)
from .covariance import SideBySide, StationaryCovariance, frequency_radius
from .iterative import conjugate_gradients
from .stationary import Stationary


class Mask(LinearOperator):
    """``y = m x``: inpainting. Measured where ``mask`` is 1 (or True), missing where it is 0.

    ``mask`` is any real weight that broadcasts to ``shape`` (C, *S): per pixel or per channel, any pattern.
    """

    def __init__(self, mask: Tensor, shape: Sequence[int]) -> None:
        self.in_shape = self.out_shape = signal_shape(shape)
        mask = torch.as_tensor(mask).detach()
        check_plain("mask", mask)
        try:
            weights = mask.double().broadcast_to(self.in_shape)
        except RuntimeError as error:
            raise InvalidArgument("mask", tuple(mask.shape), f"a mask that broadcasts to {self.in_shape}") from error
        if not bool(torch.isfinite(weights).all()):
            raise InvalidArgument("mask", "weights that are not finite", "finite weights")
        if not bool((weights != 0).any()):
            raise InvalidArgument("mask", "a mask of zeros", "at least one measured sample")
        self._binary = mask.dtype == torch.bool or bool(((mask == 0) | (mask == 1)).all())
        # Small problems, tests among them, in full precision; else in that of pictures, which saves a pass over memory.
        single = self._binary or weights.numel() > 2**14
        self._weights = mask.float().broadcast_to(self.in_shape) if single else weights
        self._top = float(weights.square().max())
        self._identity = Stationary(self.in_shape)

    @property
    def weights(self) -> Tensor:
        """What each sample is multiplied by, (C, *S), float64."""
        return self._weights.double()

    def settings(self) -> dict[str, Any]:
        return {"measured": float((self._weights != 0).double().mean())}

    def _forward(self, x: Tensor) -> Tensor:
        return x * self._weights.to(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._forward(y)

    def gram(self, h: Function, u: Tensor) -> Tensor:
        return self.gram_sum(lambda lam: (h(lam),), (u,))

    def gram_sum(self, h: Callable[[Tensor], Sequence[Tensor]], us: Sequence[Tensor]) -> Tensor:
        for u in us:
            check_shape("u", u, self.out_shape)
        threshold = self.cutoff**2 * self._top
        if self._binary:
            scales = restricted_all(h, torch.ones((), dtype=torch.float64), threshold)
            return total(float(s) * u for s, u in zip(scales, us, strict=True)).mul_(self._weights.to(us[0]))
        values = restricted_all(h, self._weights.to(us[0]).square(), threshold)
        return total(v * u for v, u in zip(values, us, strict=True))

    @cached_property
    def _inverse(self) -> Tensor:
        """``1 / m`` above the cut-off, else 0: the pseudo-inverse, in the precision of the weights."""
        inside = self._weights.abs() > self.cutoff * self._top**0.5
        return torch.where(inside, 1 / torch.where(inside, self._weights, 1.0), 0.0)

    @cached_property
    def _power(self) -> Tensor:
        """``m^2`` above the cut-off, else infinity."""
        return torch.where(self._inverse != 0, self._weights.square(), torch.inf)

    def pinv(self, y: Tensor) -> Tensor:
        check_shape("y", y, self.out_shape)
        return y * self._inverse.to(y)

    def solve(self, r2: float, sigma2: float, u: Tensor) -> Tensor:
        if sigma2 == 0 or r2 == 0:
            return super().solve(r2, sigma2, u)
        check_shape("u", u, self.out_shape)
        if self._binary:
            return self._forward(u).mul_(1 / (r2 + sigma2))
        # Two passes over memory: what is not measured has an infinite variance.
        return u / torch.add(sigma2, self._power.to(u), alpha=r2)

    def solve_normal(
        self,
        covariance: StationaryCovariance,
        sigma2: float,
        r: Tensor,
        accuracy: Accuracy = DEFAULT_ACCURACY,
    ) -> Tensor:
        return solve_selected(self, self._identity, covariance, sigma2, r, accuracy)

    def gain(
        self,
        covariance: StationaryCovariance,
        sigma2: float,
        r: Tensor,
        accuracy: Accuracy = DEFAULT_ACCURACY,
    ) -> Tensor:
        check_shape("r", r, self.out_shape)
        if isinstance(covariance, SideBySide):
            return super().gain(covariance, sigma2, r, accuracy)
        values = covariance.values(r)
        # Where the noise is far below the smallest variance of the prior, the measured samples are as good as exact:
        # to about one per cent.
        if self._binary and sigma2 < 0.02 * float(values.min()):
            return self._fill(values, r * self._weights.to(r), accuracy)
        return super().gain(covariance, sigma2, r, accuracy)

    @cached_property
    def _hole_radius(self) -> float:
        """The largest distance, in samples, from a missing sample to a measured one; 0 if none is missing."""
        return max(float(distance_transform_edt(channel).max()) for channel in (1 - self._weights).cpu().numpy())

    def _fill(self, values: Tensor, r: Tensor, accuracy: Accuracy) -> Tensor:
        """``r`` where measured and its conditional mean ``-(Q_uu)^{-1} Q_um r`` in the holes u, with ``Q = C^{-1}``.

        The same as ``C M (M C M)^{-1} r``, but the system is on the holes, whose extent bounds its condition: errors
        longer than a hole cannot live in it. The preconditioner is C on the holes with its spectrum capped there.
        """
        hole = 1 - self._weights.to(r)
        width = 4 * self._hole_radius
        if width == 0:
            return r
        flat = values.flatten(1)
        # The spectrum falls with frequency: its value at one period in four half-widths of the widest hole.
        radius = frequency_radius(r.shape[2:], half=True, like=r).flatten()
        cap = flat[:, (radius - min(1 / width, 0.5)).abs().argmin()]
        capped = torch.minimum(values, cap.view(2, *(1,) * (values.ndim - 1)))
        inverse = 1 / values

        def precision(v: Tensor) -> Tensor:
            return hole * StationaryCovariance.multiply(v, inverse)

        def precondition(v: Tensor) -> Tensor:
            return hole * StationaryCovariance.multiply(v, capped)

        filled = conjugate_gradients(
            precision,
            -precision(r),
            precondition=precondition,
            tolerance=accuracy.tolerance,
            iterations=accuracy.iterations,
        )
        return r + filled


class Crop(LinearOperator):
    """The window of ``size`` that begins at ``offset`` in signals of ``shape`` (C, *S)."""

    def __init__(self, shape: Sequence[int], size: Sequence[int], offset: Sequence[int]) -> None:
        self.in_shape = signal_shape(shape)
        channels, *space = self.in_shape
        fits = len(size) == len(offset) == len(space) and all(
            o >= 0 and n >= 1 and o + n <= m for o, n, m in zip(offset, size, space, strict=True)
        )
        if not fits:
            raise InvalidArgument("size", (tuple(size), tuple(offset)), f"a window inside {tuple(space)}")
        self.out_shape: Shape = (channels, *size)
        self.offset = tuple(offset)
        self._window: Any = (..., *(slice(o, o + n) for o, n in zip(offset, size, strict=True)))

    def _forward(self, x: Tensor) -> Tensor:
        return x[self._window]

    def _adjoint(self, y: Tensor) -> Tensor:
        x = y.new_zeros((len(y), *self.in_shape))
        x[self._window] = y
        return x

    @property
    def flat(self) -> float | None:
        return 1.0

    def settings(self) -> dict[str, Any]:
        return {"offset": list(self.offset)}


def solve_selected(
    select: LinearOperator,
    inner: Stationary,
    covariance: StationaryCovariance,
    sigma2: float,
    r: Tensor,
    accuracy: Accuracy,
) -> Tensor:
    """``(E T E^T + sigma2 I)^{-1} r`` with ``E`` a selection and ``T = A C A^T`` of a circular ``A``.

    Conjugate gradients on the grid of ``T``, preconditioned by ``E (T + sigma2 I)^{-1} E^T``: exact when nothing is
    left out, and for a Toeplitz section of a smooth spectrum close to it (Strang, 1986). Weights ``w`` are balanced so
    that it stays exact for a ``T`` that is a multiple ``t`` of the identity, ``1 / (w^2 t + sigma2)``.
    """
    check_shape("r", r, select.out_shape)
    normal = inner.normal_eigenvalues(covariance, r)
    if normal is None:
        return LinearOperator.solve_normal(select @ inner, covariance, sigma2, r, accuracy)
    values, basis = normal
    # A noiseless measurement of a smooth prior is singular in the precision of the tensors.
    sigma2 = max(sigma2, 8 * torch.finfo(r.dtype).eps * float(values.max()))
    inverse = 1 / (values + sigma2)
    r = select.gram(torch.ones_like, r)

    def matvec(u: Tensor) -> Tensor:
        return select(inner.diagonal((values,), basis, (select.adjoint(u),))) + sigma2 * u

    mean = float(values.mean())
    balance = select.gram(lambda lam: ((mean + sigma2) / ((mean * lam + sigma2) * lam)).sqrt(), torch.ones_like(r[:1]))

    def precondition(u: Tensor) -> Tensor:
        return balance * select(inner.diagonal((inverse,), basis, (select.adjoint(balance * u),)))

    return conjugate_gradients(
        matvec, r, precondition=precondition, tolerance=accuracy.tolerance, iterations=accuracy.iterations
    )
