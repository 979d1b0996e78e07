"""Operators that commute with shifts: mix colours, convolve, keep every s-th sample.

    A = S_s K M        M: a matrix over channels, K: circular convolution, S_s: every s-th sample along each axis

``A A^T`` is again a circular convolution, on the small grid, times ``M M^T``: its eigenvalues are those of ``M M^T``
times the mean over aliases of ``|k^(f)|^2``,

    lam(f') = (1 / prod s) sum_j |k^(f' + j / s)|^2 .

Identity, blur, block average, bicubic decimation, colour to grey and all their compositions are of this kind, and
so is ``A C A^T`` for a stationary covariance C. Real boundaries are a crop of such an operator on a larger canvas
(``selection.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
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
    per_axis,
    restricted_all,
    signal_shape,
    spatial,
    total,
)
from .covariance import SideBySide, StationaryCovariance, frequency_radius


class Stationary(LinearOperator):
    """``S_s K M`` on signals of ``shape`` (C, *S).

    Parameters
    ----------
    shape: of the clean signal, (C, *S).
    transfer: the Fourier transform of the kernel on the full grid ``fftn`` of S, complex; None for no convolution.
    factor: keep every ``factor``-th sample (an integer, or one an axis); must divide S.
    colour: the matrix M (C_out, C); None for the identity.
    cutoff: singular values below this share of the largest count as zero.
    """

    def __init__(
        self,
        shape: Sequence[int],
        transfer: Tensor | None = None,
        *,
        factor: int | Sequence[int] = 1,
        colour: Tensor | None = None,
        cutoff: float = 1e-4,
    ) -> None:
        self.in_shape = signal_shape(shape)
        channels, *size = self.in_shape
        self.factor = per_axis("factor", factor, len(size))
        if any(n % s for n, s in zip(size, self.factor, strict=True)):
            raise InvalidArgument("factor", factor, f"a divisor of the size {tuple(size)}")
        for name, given in (("colour", colour), ("transfer", transfer)):
            if given is not None:
                check_plain(name, given)
        self.colour = torch.eye(channels, dtype=torch.float64) if colour is None else colour.detach().double()
        if self.colour.ndim != 2 or self.colour.shape[1] != channels:
            raise InvalidArgument("colour", tuple(self.colour.shape), f"a matrix with {channels} columns")
        if not bool(torch.isfinite(self.colour).all()) or not bool(self.colour.any()):
            raise InvalidArgument("colour", self.colour.tolist(), "finite weights that are not all zero")
        if not 0 <= cutoff < 1:
            raise InvalidArgument("cutoff", cutoff, "a number from 0 to less than 1")
        if transfer is not None and tuple(transfer.shape) != tuple(size):
            raise InvalidArgument("transfer", tuple(transfer.shape), f"the grid of the signal, {tuple(size)}")
        if transfer is not None and not bool(torch.isfinite(transfer).all()):
            raise InvalidArgument("transfer", "values with NaN or infinite ones", "finite values")
        self.cutoff = cutoff
        self.size: Shape = tuple(size)
        self.small: Shape = tuple(n // s for n, s in zip(size, self.factor, strict=True))
        self.out_shape = (self.colour.shape[0], *self.small)
        self._kept: Any = (..., *(slice(None, None, s) for s in self.factor))
        self._mixes = not torch.equal(self.colour, torch.eye(channels, dtype=torch.float64))
        power = (
            torch.ones(self.size, dtype=torch.float64) if transfer is None else transfer.detach().abs().double() ** 2
        )
        colours, self._basis = torch.linalg.eigh(self.colour @ self.colour.T)
        eigenvalues = self.fold(power)
        self._colours = colours.clamp_min(0)
        self._top = float(eigenvalues.max() * self._colours.max())
        single = all(float(v.max() - v.min()) <= 1e-10 * float(v.max()) for v in (eigenvalues, self._colours))
        self._flat = self._top if single and self._top > 0 else None
        # Small problems, tests among them, in full precision.
        precision = torch.float64 if math.prod(self.size) <= 2**14 else torch.float32
        self._eigenvalues = (eigenvalues if self._flat is None else eigenvalues.flatten()[:1]).to(precision)
        self._power = None if transfer is None else power.to(precision)
        half = size[-1] // 2 + 1
        self._transfer = None if transfer is None else transfer[..., :half].to(precision.to_complex())

    @property
    def flat(self) -> float | None:
        return self._flat

    def settings(self) -> dict[str, Any]:
        said: dict[str, Any] = {"factor": list(self.factor), "filter": self._transfer is not None}
        return said | ({"colour": self.colour.tolist()} if self._mixes else {})

    @property
    def transfer(self) -> Tensor:
        """The transfer function on the full grid, complex128."""
        if self._transfer is None:
            return torch.ones(self.size, dtype=torch.complex128)
        kernel = torch.fft.irfftn(self._transfer.to(torch.complex128), s=self.size, dim=_dims(self.size))
        return torch.fft.fftn(kernel)

    def fold(self, values: Tensor) -> Tensor:
        """The mean over aliases of a real even function on the full grid (..., *size); (..., *half of small)."""
        for axis, (n, s) in enumerate(zip(self.small, self.factor, strict=True)):
            dim = values.ndim - len(self.size) + axis
            if s > 1:
                values = values.unflatten(dim, (s, n)).mean(dim)
        return values[..., : self.small[-1] // 2 + 1]

    def _forward(self, x: Tensor) -> Tensor:
        if self._mixes:
            x = torch.einsum("oc,bc...->bo...", self.colour.to(x), x)
        if self._transfer is None:
            return x[self._kept]
        # Keeping every s-th sample adds up the aliases. Along all axes but the last, whose half spectrum does not hold
        # them, that is done before the way back, which is then so much shorter.
        dims = spatial(x)
        product = torch.fft.rfftn(x, dim=dims) * self._complex_transfer(x)
        for dim, s, n in zip(dims[:-1], self.factor, self.small, strict=False):
            if s > 1:
                product = product.unflatten(dim, (s, n)).mean(dim)
        out = torch.fft.irfftn(product, s=(*self.small[:-1], self.size[-1]), dim=dims)
        return out[..., :: self.factor[-1]]

    def _adjoint(self, y: Tensor) -> Tensor:
        if self._transfer is None:
            if max(self.factor) > 1:
                full = y.new_zeros((*y.shape[:2], *self.size))
                full[self._kept] = y
                y = full
        else:
            if self.factor[-1] > 1:
                full = y.new_zeros((*y.shape[:-1], self.size[-1]))
                full[..., :: self.factor[-1]] = y
                y = full
            dims = spatial(y)
            spectrum = torch.fft.rfftn(y, dim=dims).repeat(1, 1, *self.factor[:-1], 1)
            y = torch.fft.irfftn(spectrum.mul_(self._complex_transfer(y).conj()), s=self.size, dim=dims)
        return torch.einsum("oc,bo...->bc...", self.colour.to(y), y) if self._mixes else y

    def _complex_transfer(self, like: Tensor) -> Tensor:
        assert self._transfer is not None
        return self._transfer.to(like.device, like.dtype.to_complex())

    def gram(self, h: Function, u: Tensor) -> Tensor:
        return self.gram_sum(lambda lam: (h(lam),), (u,))

    def gram_sum(self, h: Callable[[Tensor], Sequence[Tensor]], us: Sequence[Tensor]) -> Tensor:
        for u in us:
            check_shape("u", u, self.out_shape)
        threshold = self.cutoff**2 * self._top
        if self._flat is not None:
            lam = torch.tensor(self._flat, dtype=torch.float64)
            scales = restricted_all(h, lam, threshold)
            return total(float(s) * u for s, u in zip(scales, us, strict=True))
        if self._transfer is None:
            return _mixed(self._mixes_of(h), us)
        lam = self._eigenvalues.to(us[0])
        basis = None
        if self._mixes and len(self._colours) > 1:
            lam = lam * self._colours.to(lam).view(-1, *(1,) * len(self.size))
            basis = self._basis
        else:
            lam = lam * float(self._colours[0])
        values = restricted_all(h, lam, threshold)
        return self.diagonal(values, basis, us)

    def _mixes_of(self, h: Callable[[Tensor], Sequence[Tensor]]) -> list[Tensor]:
        """``h_i`` of the colours' Gram matrix, where colours are all there is: the same at every frequency."""
        values = restricted_all(h, self._colours, self.cutoff**2 * self._top)
        return [(self._basis * value) @ self._basis.T for value in values]

    def lift(self, h: Callable[[Tensor], Sequence[Tensor]], xs: Sequence[Tensor], y: Tensor) -> Tensor:
        blur_alone = self._transfer is not None and not self._mixes
        colours_alone = self._transfer is None and self._flat is None
        if max(self.factor) > 1 or not (blur_alone or colours_alone):
            return super().lift(h, xs, y)
        for name, values, shape in (*(("x", x, self.in_shape) for x in xs), ("y", y, self.out_shape)):
            check_shape(name, values, shape)
        if colours_alone:
            *on_signals, on_data = (self.colour.T @ m for m in self._mixes_of(h))
            return _mixed([*(m @ self.colour for m in on_signals), on_data], [*xs, y])
        # A blur: everything is a product in Fourier, and only what comes and goes is transformed.
        dims = spatial(y)
        lam = self._eigenvalues.to(y)
        *with_signals, with_data = restricted_all(h, lam, self.cutoff**2 * self._top)
        out = torch.fft.rfftn(y, dim=dims).mul_(with_data * self._complex_transfer(y).conj())
        for value, x in zip(with_signals, xs, strict=True):
            out += torch.fft.rfftn(x, dim=dims).mul_(value * lam)
        return torch.fft.irfftn(out, s=self.size, dim=dims)

    def normal_eigenvalues(self, covariance: StationaryCovariance, like: Tensor) -> tuple[Tensor, Tensor] | None:
        """``A C A^T`` as (values (C_out, *half of small), basis over channels (C_out, C_out)).

        Over channels it is ``S_1 M M^T + (S_0 - S_1) m m^T`` with ``m = M (1, ..., 1)^T / sqrt(C)``. None where the
        two matrices have no common eigenbasis (a colour matrix that mixes luma into chroma). Of sources side by side it
        is diagonal where M keeps the channels apart, and one number a frequency where it makes one channel of them.
        """
        if isinstance(covariance, SideBySide):
            return self._normal_of_sources(covariance, like)
        outer = self.colour.sum(1, keepdim=True) / math.sqrt(self.in_shape[0])
        chroma, luma = self.colour @ self.colour.T, outer @ outer.T
        if not torch.allclose(chroma @ luma, luma @ chroma, atol=1e-10):
            return None
        _, basis = torch.linalg.eigh(chroma + math.pi * luma)
        b_chroma, b_luma = ((basis.T @ m @ basis).diagonal().to(like) for m in (chroma, luma))
        decimates = max(self.factor) > 1
        spectrum = covariance.spectrum(frequency_radius(self.size, half=not decimates, like=like))
        if self._power is not None:
            power = self._power if decimates else self._power[..., : self.size[-1] // 2 + 1]
            spectrum = spectrum * power.to(like)
        folded = self.fold(spectrum)
        ones = (-1,) + (1,) * len(self.size)
        values = b_chroma.view(ones) * folded[1] + b_luma.view(ones) * (folded[0] - folded[1])
        return values, basis

    def _normal_of_sources(self, covariance: SideBySide, like: Tensor) -> tuple[Tensor, Tensor] | None:
        gram = self.colour @ self.colour.T
        apart = self.colour.shape[0] == 1 or torch.equal(self.colour, self.colour.diagonal().diag())
        spectra = covariance.channels(frequency_radius(self.size, half=False, like=like)) if apart else None
        if spectra is None:
            return None
        if self._power is not None:
            spectra = spectra * self._power.to(like)
        values = torch.einsum("oc,c...->o...", self.colour.square().to(like), self.fold(spectra))
        return values, torch.eye(len(gram), dtype=torch.float64)

    def diagonal(self, values: Sequence[Tensor], basis: Tensor | None, us: Sequence[Tensor]) -> Tensor:
        """``sum_i values_i u_i`` in Fourier and in ``basis`` over channels (None: the channels themselves).

        ``us`` have shape (B, C_out, *small); ``values`` broadcast to the half grid of their ``rfftn``.
        """
        dims = spatial(us[0])

        def term(v: Tensor, u: Tensor) -> Tensor:
            rotated = u if basis is None else torch.einsum("oc,bo...->bc...", basis.to(u), u)
            return torch.fft.rfftn(rotated, dim=dims).mul_(v)

        mixed = total(term(v, u) for v, u in zip(values, us, strict=True))
        out = torch.fft.irfftn(mixed, s=self.small, dim=dims)
        return out if basis is None else torch.einsum("oc,bc...->bo...", basis.to(out), out)

    def solve_normal(
        self,
        covariance: StationaryCovariance,
        sigma2: float,
        r: Tensor,
        accuracy: Accuracy = DEFAULT_ACCURACY,
    ) -> Tensor:
        check_shape("r", r, self.out_shape)
        normal = self.normal_eigenvalues(covariance, r)
        if normal is None:
            return super().solve_normal(covariance, sigma2, r, accuracy)
        values, basis = normal
        floor = torch.finfo(r.dtype).eps * float(values.max())
        return self.diagonal((1 / (values + max(sigma2, floor)),), basis, (r,))


def _mixed(matrices: Sequence[Tensor], us: Sequence[Tensor]) -> Tensor:
    """``sum_i m_i u_i`` over channels."""
    return total(torch.einsum("oc,bc...->bo...", m.to(u), u) for m, u in zip(matrices, us, strict=True))


def kernel_transfer(kernel: Tensor, size: Sequence[int], centre: Sequence[float] | None = None) -> Tensor:
    """``fftn`` on a grid of ``size`` of a kernel laid down periodically with the sample ``centre`` at the origin.

    ``kernel`` has one axis for each of ``size``; it may be larger than the grid, it then wraps around. The default
    centre is ``(n - 1) // 2`` along each axis, the middle of an odd kernel. (A convolution *adds* the centre's shift;
    a kernel of even length moves the signal by half a sample, which ``centre`` cannot undo.)
    """
    if kernel.ndim != len(size):
        raise InvalidArgument("kernel", tuple(kernel.shape), f"a kernel with {len(size)} axes")
    middle = [(n - 1) // 2 for n in kernel.shape] if centre is None else [int(c) for c in centre]
    grid = torch.zeros(tuple(size), dtype=torch.float64)
    index = torch.meshgrid(
        *((torch.arange(n) - c) % m for n, c, m in zip(kernel.shape, middle, size, strict=True)), indexing="ij"
    )
    grid.index_put_(index, kernel.double(), accumulate=True)
    return torch.fft.fftn(grid)


def _dims(size: Sequence[int]) -> tuple[int, ...]:
    return tuple(range(-len(size), 0))
