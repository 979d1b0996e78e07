"""Phase retrieval: detectors that count photons see the modulus of a field, and not its phase.

    y = |F x|              the Fourier transform of the zero-padded signal (crystallography, coherent imaging)
    y_k = |F(d_k x)|       coded diffraction: a few exposures behind known masks d_k (Candes, Li, Soltanolkotabi 2015)

Both are the modulus of a linear map, the *field*, whose pseudo-inverse is known, as the transform is unitary and a mask
diagonal. What :class:`Magnitude` cannot tell apart: a signal, its negative and its mirror image through
the centre (and shifts, if the signal does not fill its window), for each channel by itself. Coded diffraction leaves
the sign alone (of a complex signal: one phase a channel). :func:`align` undoes these before pictures are compared. A
known ``offset`` settles the sign, for ``x + offset`` is then a density that is nowhere negative.

The likelihood has many maxima, so where a method starts decides what it finds:

* :func:`spectral_start`, for coded diffraction: the leading eigenvector of ``A^H diag(w(y)) A`` correlates with x
  (with the truncation of Chen and Candes, 2017);
* :func:`hybrid_input_output`, for the Fourier modulus: Fienup's (1982) iteration from several random starts, of which
  the one that fits best is kept. It knows no prior but the window and, with an offset, the sign.

``nonlinear.with_pinv(operator, start)`` hands either to the methods that begin at a pseudo-inverse.

What worked on a 64 x 64 crop of the bundled lighthouse, noise 0.02, prior "photo" (PSNR after :func:`align`):

* ``CodedDiffraction(shape, 4)``: RED-diff in 100 steps 38.1 dB from ``spectral_start``, 31.0 from noise; DPS in 200
  steps with zeta 1 30.4. Two patterns: 36.1, 14.4 (not recognisable) and 27.0.
* ``Magnitude(shape, offset=1)``: ``hybrid_input_output`` with 8 starts 30.1 dB, RED-diff from it in 100 steps 31.9.
  Without the offset 23.0 and 23.6. From noise neither RED-diff nor DPS finds it (16 to 18 dB, four starts).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import InvalidArgument, is_whole
from .base import Operator, Shape, check_shape, signal_shape, spatial

# The modulus has no derivative at 0; the floor keeps it finite and is far below any noise.
FLOOR = 1e-12


class Modulus(Operator):
    """``y = |A (x + offset)|`` for a linear map A to complex numbers, the :meth:`field`.

    ``scale``: what ``A^H A`` multiplies each sample of a signal by, a number or one for each (C, *S): it is diagonal.
    """

    scale: float | Tensor
    offset: float = 0.0

    def field(self, x: Tensor) -> Tensor:
        """``A (x + offset)``, complex, (B, *out_shape)."""
        raise NotImplementedError

    def field_adjoint(self, u: Tensor) -> Tensor:
        """``A^H u``, (B, *in_shape): its real part where signals are real."""
        raise NotImplementedError

    def impose(self, field: Tensor, y: Tensor) -> Tensor:
        """The signal whose field is nearest to ``field`` with its modulus replaced by ``y``."""
        phase = torch.polar(torch.ones_like(y), field.angle())
        return self.field_adjoint(y * phase) / torch.as_tensor(self.scale).to(y) - self.offset

    def _forward(self, x: Tensor) -> Tensor:
        field = self.field(x)
        return (field.real.square() + field.imag.square() + FLOOR).sqrt()

    def _real_if_needed(self, x: Tensor) -> Tensor:
        return x if self.in_complex else x.real


class Magnitude(Modulus):
    """``y = |F (x + offset)|``: phase retrieval, the modulus of the Fourier transform of the zero-padded signal.

    ``oversample`` is the ratio of the padded size to the size of the signal along each axis; at 2 the autocorrelation
    does not wrap around, and the signal is determined up to the field's trivial ambiguities. The transform is
    normalised by the square root of the *unpadded* number of samples, so that ``y`` does not depend on the padding.
    ``offset`` 1 makes pictures in [-1, 1] densities in [0, 2], as the field's benchmarks have them (in [0, 1]).
    """

    def __init__(
        self, shape: Sequence[int], oversample: float = 2.0, *, offset: float = 0.0, in_complex: bool = False
    ) -> None:
        self.in_shape = signal_shape(shape)
        if not 1 <= oversample <= 16:
            raise InvalidArgument("oversample", oversample, "a ratio from 1 to 16")
        if not math.isfinite(offset):
            raise InvalidArgument("offset", offset, "a finite number")
        self.oversample, self.offset, self.in_complex = float(oversample), float(offset), bool(in_complex)
        self.size = tuple(round(oversample * n) for n in self.in_shape[1:])
        self.out_shape = (self.in_shape[0], *self.size)
        self._pixels = math.prod(self.in_shape[1:])
        self.scale: float = math.prod(self.size) / self._pixels

    def field(self, x: Tensor) -> Tensor:
        return self.transform(torch.nn.functional.pad(x + self.offset, self._padding))

    def field_adjoint(self, u: Tensor) -> Tensor:
        return self.scale * self.window(self.inverse(u))

    def transform(self, padded: Tensor) -> Tensor:
        """The transform of a signal on the padded grid, (B, *out_shape)."""
        return torch.fft.fftn(padded, dim=spatial(padded)) / self._pixels**0.5

    def inverse(self, field: Tensor) -> Tensor:
        """The inverse of :meth:`transform`, real where signals are."""
        return self._real_if_needed(torch.fft.ifftn(field, dim=spatial(field)) * self._pixels**0.5)

    def window(self, padded: Tensor) -> Tensor:
        """What of the padded grid is the signal."""
        return padded[(slice(None), slice(None), *(slice(n) for n in self.in_shape[1:]))]

    @property
    def _padding(self) -> list[int]:
        return [n for big, small in zip(self.size[::-1], self.in_shape[:0:-1], strict=True) for n in (0, big - small)]

    def settings(self) -> dict[str, Any]:
        return {"oversample": self.oversample, "offset": self.offset, "complex": self.in_complex}


class CodedDiffraction(Modulus):
    """``y_k = |F(d_k x)|`` for ``patterns`` random masks ``d_k``: out_shape (patterns * C, *S), pattern by pattern.

    F is unitary. kind: "octanary" masks have one of four phases and a modulus of sqrt(1/2) (four in five) or sqrt(3),
    of mean square 1 (Candes, Li and Soltanolkotabi); "uniform" ones have modulus 1 and any phase. Four patterns
    determine nearly every signal up to its sign; the masks are those of ``seed``.
    """

    def __init__(
        self,
        shape: Sequence[int],
        patterns: int = 4,
        seed: int = 0,
        *,
        kind: Literal["octanary", "uniform"] = "octanary",
        in_complex: bool = False,
    ) -> None:
        self.in_shape = signal_shape(shape)
        if not is_whole(patterns, 1, 64):
            raise InvalidArgument("patterns", patterns, "an integer from 1 to 64")
        if kind not in ("octanary", "uniform"):
            raise InvalidArgument("kind", kind, "'octanary' or 'uniform'")
        self.patterns, self.seed, self.kind, self.in_complex = patterns, seed, kind, bool(in_complex)
        self.out_shape = (patterns * self.in_shape[0], *self.in_shape[1:])
        self.masks = _masks((patterns, 1, *self.in_shape[1:]), kind, seed)
        self.scale = self.masks.abs().square().sum(0)

    def field(self, x: Tensor) -> Tensor:
        coded = self._masks_like(x) * x[:, None]
        return torch.fft.fftn(coded.flatten(1, 2), dim=spatial(x), norm="ortho")

    def field_adjoint(self, u: Tensor) -> Tensor:
        coded = torch.fft.ifftn(u, dim=spatial(u), norm="ortho").unflatten(1, (self.patterns, -1))
        return self._real_if_needed((self._masks_like(u).conj() * coded).sum(1))

    def _masks_like(self, x: Tensor) -> Tensor:
        double = x.dtype in (torch.float64, torch.complex128)
        return self.masks.to(x.device, torch.complex128 if double else torch.complex64)

    def settings(self) -> dict[str, Any]:
        return {"patterns": self.patterns, "seed": self.seed, "kind": self.kind, "complex": self.in_complex}


def _masks(shape: Shape, kind: str, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if kind == "uniform":
        angle = 2 * math.pi * torch.rand(shape, generator=generator, dtype=torch.float64)
        return torch.polar(torch.ones_like(angle), angle)
    quarter = torch.randint(4, shape, generator=generator)
    rare = torch.rand(shape, generator=generator) < 0.2
    modulus = torch.where(rare, 3.0, 0.5).double().sqrt()
    return modulus * torch.tensor([1, 1j, -1, -1j], dtype=torch.complex128)[quarter]


def spectral_start(operator: Modulus, y: Tensor, *, iterations: int = 50, refine: int = 100) -> Tensor:
    """A signal (B, *in_shape) near the truth, up to its sign: the leading eigenvector of ``A^H diag(w) A``, refined.

    ``w = y^2`` where it is below 9 times its mean and 0 elsewhere, ``iterations`` of the power method, and the norm
    that the readings imply; then ``refine`` alternating projections (Gerchberg and Saxton). Each channel by itself. For
    masks that are random: the modulus of a plain Fourier transform tells such an average nothing.
    """
    check_shape("y", y, operator.out_shape)
    power = y.square()
    mean = power.mean(_within(y), keepdim=True)
    weight = torch.where(power < 9 * mean, power, 0.0)
    shape = (1, *operator.in_shape)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(y)
    x = x.expand(len(y), *operator.in_shape)
    x = (x.to(torch.complex128 if y.dtype == torch.float64 else torch.complex64) if operator.in_complex else x) * 1.0
    for _ in range(iterations):
        x = operator.field_adjoint(weight * operator.field(x))
        x = x / x.abs().square().sum(spatial(x), keepdim=True).sqrt().clamp_min(1e-30)
    channels = operator.in_shape[0]
    energy = power.unflatten(1, (-1, channels)).sum((1, *(n + 1 for n in spatial(y))))
    energy = energy / float(torch.as_tensor(operator.scale).mean())
    x = x * energy.sqrt().view(len(y), channels, *(1,) * len(spatial(y)))
    for _ in range(refine):
        x = operator.impose(operator.field(x), y)
    return x


def hybrid_input_output(
    operator: Magnitude, y: Tensor, *, starts: int = 8, iterations: int = 300, beta: float = 0.9, seed: int = 0
) -> Tensor:
    """A signal (B, *in_shape) from its Fourier modulus, up to the trivial ambiguities (Fienup 1982).

    On the padded grid, with g' the signal of the transform of g after its modulus became ``y``,

        g <- g'              where the window is, and g' is not negative (with an ``offset``)
        g <- g - beta g'     elsewhere

    which ends with 30 alternating projections. Each channel of each row takes the one of ``starts`` random starts that
    fits its data best. Real channels are then turned and signed so that they correlate with the first.
    """
    check_shape("y", y, operator.out_shape)
    for name, value in (("starts", starts), ("iterations", iterations)):
        if not (isinstance(value, int) and value >= 1):
            raise InvalidArgument(name, value, "an integer of at least 1")
    generator = torch.Generator().manual_seed(seed)
    best, least = torch.empty(0), torch.empty(0)
    inside = torch.zeros(operator.size, dtype=torch.bool, device=y.device)
    inside[tuple(slice(n) for n in operator.in_shape[1:])] = True
    for _ in range(starts):
        angle = 2 * math.pi * torch.rand(operator.out_shape, generator=generator, dtype=torch.float64).to(y)
        g = operator.inverse(torch.polar(y, angle.expand_as(y)))
        for _ in range(iterations):
            imposed = operator.inverse(torch.polar(y, operator.transform(g).angle()))
            allowed = inside & (imposed >= 0) if operator.offset and not operator.in_complex else inside
            g = torch.where(allowed, imposed, g - beta * imposed)
        x = operator.window(g) - operator.offset
        for _ in range(30):
            x = operator.impose(operator.field(x), y)
            if operator.offset and not operator.in_complex:
                x = x.clamp_min(-operator.offset)
        misfit = (operator(x) - y).square().sum(spatial(y), keepdim=True)
        better = misfit < least if len(least) else torch.ones_like(misfit, dtype=torch.bool)
        best = torch.where(better, x, best) if len(best) else x
        least = torch.where(better, misfit, least) if len(least) else misfit
    if operator.in_complex:
        return best
    signed = not operator.offset
    first = best[:, :1]
    return torch.cat([first, *(align(best[:, c : c + 1], first, signed=signed) for c in range(1, best.shape[1]))], 1)


def align(x: Tensor, reference: Tensor, *, signed: bool = True, mirrored: bool = True) -> Tensor:
    """``x`` (B, C, *S) after the trivial change that brings each channel nearest to ``reference`` (the same shape).

    ``mirrored``: it may be turned by 180 degrees (all axes of space reversed; complex signals are conjugated as well).
    ``signed``: its sign may be changed (of complex signals: its phase).
    """
    if x.shape != reference.shape:
        raise InvalidArgument("reference", tuple(reference.shape), f"the shape of x, {tuple(x.shape)}")
    turned = [x, x.flip(spatial(x)).conj().resolve_conj()] if mirrored else [x]
    candidates = []
    for version in turned:
        product = (version.conj() * reference).sum(spatial(x), keepdim=True)
        unit = product / product.abs().clamp_min(1e-30)
        candidates.append(torch.where(product == 0, version, version * unit) if signed else version)
    distances = torch.stack([(c - reference).abs().square().sum(spatial(x), keepdim=True) for c in candidates])
    nearest = distances.argmin(0)
    return torch.where(nearest == 0, candidates[0], candidates[-1])


def _within(x: Tensor) -> tuple[int, ...]:
    return tuple(range(1, x.ndim))
