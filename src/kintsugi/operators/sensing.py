"""Compressed sensing by orthogonal transforms of which a part of the coefficients is measured.

    A = S T P D      D: random signs, P: a random permutation (both optional), T: orthonormal, S: keeps coefficients

T is the cosine or the Walsh-Hadamard transform: ``A A^T = I``. Or it is Fourier's, of a real signal, measured as
complex numbers: eigenvalues 1, 1/2 and 0, by pairs of frequencies (``pairing.py``).

Signs or a permutation spread every sample over all coefficients, so that any part of them says as much as another: the
"spread spectrum" of Do et al. (2012) and Puy et al. (2012). Without, the coefficients are the signal's frequencies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..errors import InvalidArgument
from .base import (
    DEFAULT_ACCURACY,
    Accuracy,
    Function,
    LinearOperator,
    check_shape,
    signal_shape,
    spatial,
)
from .covariance import StationaryCovariance, frequency_radius
from .iterative import conjugate_gradients
from .pairing import pair_gram, pair_solve, paired
from .transforms import Transform, dct, each_axis, hadamard, idct, sequency

Kind = Literal["dct", "hadamard", "fourier"]
REAL: dict[str, tuple[Transform, Transform]] = {"dct": (dct, idct), "hadamard": (hadamard, hadamard)}


class Subsampled(LinearOperator):
    """Some coefficients of an orthonormal transform of each channel of real signals of ``shape`` (C, *S); y is (C, m).

    transform: "dct" (any size), "hadamard" (powers of two), "fourier" (complex y). keep: a boolean mask (*S) over the
    coefficients, or give ratio: the share of real numbers measured, of the signal's, chosen with ``seed``; for Fourier
    one frequency of each chosen pair k, -k. The mean of the signal is always among them. signs, permute: spread the
    signal by random signs or a random order of its samples, the same in every channel. density: the chance of a
    coefficient of frequency f (0 to 1 along each axis) falls as ``(1 + 8 |f|)^-density``; None for 2, as most of the
    energy of a picture is at low frequencies, or for 0 where the signal is spread.

    >>> Subsampled((3, 8, 8), "dct", ratio=0.25).out_shape
    (3, 16)
    """

    def __init__(
        self,
        shape: Sequence[int],
        transform: Kind = "dct",
        keep: Tensor | None = None,
        ratio: float | None = None,
        *,
        density: float | None = None,
        signs: bool = False,
        permute: bool = False,
        seed: int = 0,
    ) -> None:
        self.in_shape = signal_shape(shape)
        channels, *size = self.in_shape
        if transform not in get_args(Kind):
            raise InvalidArgument("transform", transform, f"one of {', '.join(get_args(Kind))}")
        if transform == "hadamard" and any(n & (n - 1) for n in size):
            raise InvalidArgument("shape", tuple(shape), "a power of two samples along each axis of space")
        if (keep is None) == (ratio is None):
            raise InvalidArgument("keep", keep, "one of keep and ratio, not both")
        if density is not None and not 0 <= density < math.inf:
            raise InvalidArgument("density", density, "a finite number of at least 0, or None")
        generator = torch.Generator().manual_seed(seed)
        if ratio is not None:
            if not 0 < ratio <= 1:
                raise InvalidArgument("ratio", ratio, "a number above 0 and at most 1")
            falls = (0.0 if signs or permute else 2.0) if density is None else density
            keep = _choose(transform, size, ratio, falls, generator)
        assert keep is not None
        if keep.dtype != torch.bool or tuple(keep.shape) != tuple(size) or not bool(keep.any()):
            found = f"{tuple(keep.shape)} of {keep.dtype}"
            raise InvalidArgument("keep", found, f"a boolean mask {tuple(size)} that keeps something")
        self.transform, self.keep, self.seed = transform, keep, seed
        self.signs, self.permute = signs, permute
        self._index = keep.flatten().nonzero()[:, 0]
        self.out_shape = (channels, len(self._index))
        self.out_complex = transform == "fourier"
        self._signs = (2 * torch.randint(0, 2, size, generator=generator) - 1).to(torch.int8) if signs else None
        self._order = torch.randperm(math.prod(size), generator=generator) if permute else None
        if self.out_complex:
            place = torch.full((math.prod(size),), -1)
            place[self._index] = torch.arange(len(self._index))
            partner = place[negated(torch.arange(math.prod(size)).view(size)).flatten()[self._index]]
            self._both, self._partner = partner >= 0, partner.clamp_min(0)

    def _forward(self, x: Tensor) -> Tensor:
        if self._signs is not None:
            x = x * self._signs.to(x)
        if self._order is not None:
            x = x.flatten(2).index_select(2, self._order.to(x.device)).view(x.shape)
        c = torch.fft.fftn(x, dim=spatial(x), norm="ortho") if self.out_complex else self._analyse(x)
        return c.flatten(2).index_select(2, self._index.to(x.device))

    def _adjoint(self, y: Tensor) -> Tensor:
        c = y.new_zeros((*y.shape[:2], math.prod(self.in_shape[1:])))
        c = c.index_copy(2, self._index.to(y.device), y).view(-1, *self.in_shape)
        if self.out_complex:
            x = torch.fft.ifftn(c, dim=spatial(c), norm="ortho").real
        else:
            x = each_axis(REAL[self.transform][1], c)
        if self._order is not None:
            x = torch.empty_like(x.flatten(2)).index_copy(2, self._order.to(x.device), x.flatten(2)).view(x.shape)
        return x if self._signs is None else x * self._signs.to(x)

    def _analyse(self, x: Tensor) -> Tensor:
        return each_axis(REAL[self.transform][0], x)

    @property
    def flat(self) -> float | None:
        return None if self.out_complex else 1.0

    def gram(self, h: Function, u: Tensor) -> Tensor:
        check_shape("u", u, self.out_shape, self.out_complex)
        return pair_gram(self._pair, h, self.cutoff, u) if self.out_complex else super().gram(h, u)

    def _pair(self, u: Tensor, even: Tensor | float, single: Tensor | float) -> Tensor:
        mirrored = u.index_select(2, self._partner.to(u.device)).conj()
        return paired(u, mirrored, self._both.to(u.device), even, 0.0, single)

    def solve_normal(
        self,
        covariance: StationaryCovariance,
        sigma2: float,
        r: Tensor,
        accuracy: Accuracy = DEFAULT_ACCURACY,
    ) -> Tensor:
        """Closed form for Fourier without spreading; else conjugate gradients, preconditioned by ``A (C + s)^-1 A^T``.

        That is exact where everything is measured, and nearly so for the cosines of a smooth spectrum. For a spread
        signal it is not, and a start from pure noise stops short of convergence.
        """
        check_shape("r", r, self.out_shape, self.out_complex)
        plain = self._signs is None and self._order is None
        if self.out_complex and plain:
            return self._solve_fourier(covariance, sigma2, r)
        sigma2 = max(
            sigma2, 8 * torch.finfo(r.dtype).eps * float(covariance.values(r.real.new_empty(1, *self.in_shape)).max())
        )
        inverse = StationaryCovariance(lambda radius: 1 / (covariance.spectrum(radius) + sigma2))
        r = self.gram(torch.ones_like, r)

        def matvec(u: Tensor) -> Tensor:
            return self(covariance(self.adjoint(u))) + sigma2 * u

        return conjugate_gradients(
            matvec,
            r,
            precondition=lambda u: self(inverse(self.adjoint(u))),
            tolerance=accuracy.tolerance,
            iterations=accuracy.iterations,
        )

    def _solve_fourier(self, covariance: StationaryCovariance, sigma2: float, r: Tensor) -> Tensor:
        radius = frequency_radius(self.in_shape[1:], half=False, like=r.real).flatten()
        spectrum = covariance.spectrum(radius[self._index.to(r.device)])
        sigma2 = max(sigma2, torch.finfo(r.dtype).eps * float(spectrum.max()))
        return pair_solve(self._pair, spectrum, sigma2, r)

    def settings(self) -> dict[str, Any]:
        said = {"transform": self.transform, "kept": float(self.keep.double().mean()), "seed": self.seed}
        return said | {"signs": self.signs, "permute": self.permute}


def negated(x: Tensor) -> Tensor:
    """``x(-k)`` of a tensor (*S) on the grid of ``fftn``."""
    dims = tuple(range(x.ndim))
    return x.flip(dims).roll((1,) * x.ndim, dims)


def _choose(transform: str, size: Sequence[int], ratio: float, density: float, generator: torch.Generator) -> Tensor:
    """A mask (*S) of about ``ratio`` of the coefficients, the mean among them."""
    axes = []
    for n in size:
        if transform == "fourier":
            axes.append(2 * torch.fft.fftfreq(n, dtype=torch.float64).abs())
        elif transform == "hadamard":
            axes.append(sequency(n).double() / n)
        else:
            axes.append(torch.arange(n, dtype=torch.float64) / n)
    radius = torch.stack(torch.meshgrid(*(f**2 for f in axes), indexing="ij")).sum(0).sqrt().flatten()
    uniform = torch.rand(radius.shape, generator=generator, dtype=torch.float64).clamp_min(1e-300)
    # The smallest of -log(u) / p are a sample without replacement with chances p.
    score = -uniform.log() * (1 + 8 * radius) ** density
    score[0] = -1
    if transform == "fourier":
        here = torch.arange(len(score))
        there = negated(here.view(*size)).flatten()
        score = torch.where(here <= there, score, math.inf)  # one of each pair
        count = max(1, round(ratio * int((here <= there).sum())))
    else:
        count = max(1, round(ratio * len(score)))
    keep = torch.zeros(len(score), dtype=torch.bool)
    keep[score.topk(count, largest=False).indices] = True
    return keep.view(*size)
