"""JPEG: what a file loses when it is saved, as a differentiable function, as the real codec, and as a linear problem.

A picture of 8 bits is turned into luma and two colour differences, which are averaged over 2 x 2 pixels (4:2:0).
Blocks of 8 x 8 samples go through the discrete cosine transform, and each coefficient c becomes the nearest multiple of
its step q, from a table that the quality scales. The decoder reverses this, with a triangle filter for the colours.

**The surrogate** does the same in torch, with the rounding, the bias of the averages and the padding of libjpeg, and
differs from it where a coefficient lies on the edge of a step to within the precision of integer arithmetic. Each
rounding has the derivative 1, clipping that of a clip: ``A'`` is the colour filter, near enough a projection. With
``codec="pillow"`` the value is that of the real encoder and decoder, row by row, and the derivative the surrogate's.

``y`` is the decoded picture. It is its own pseudo-inverse in the sense of PiGDM: saving a JPEG file again with the same
tables changes little (in 4:4:4 grey levels of rounding; in 4:2:0 the colours pass the triangle filter once more).

**As a linear problem.** A file says of each coefficient that it lies within half a step of c. Taken for white noise of
variance ``q^2 / 12``,

    c / s_i = (1/s_i) (T x)_i + noise,    s_i^2 = q_i^2 / 12 + rounding,

with T the linear part (colours, averages, DCT) is a linear problem with Gaussian noise, which every method takes:
:meth:`JPEG.linear_problem`. What the file says exactly are the intervals (``intervals.py``): :meth:`JPEG.nearest`
projects onto them, and the default sampler uses them as they are.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image
from scipy.linalg import solveh_banded
from torch import Tensor

from ..errors import InvalidArgument, is_whole
from .base import DEFAULT_ACCURACY, Accuracy, check_shape, signal_shape
from .covariance import StationaryCovariance
from .intervals import Intervals
from .iterative import conjugate_gradients
from .unstructured import Unstructured

Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]
Codec = Literal["surrogate", "pillow"]

# Annex K of the standard (ITU-T T.81), which libjpeg scales: luma, and colour differences.
_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMA = (17, 18, 24, 47, *[99] * 4, 18, 21, 26, 66, *[99] * 4, 24, 26, 56, *[99] * 5, 47, 66, *[99] * 38)
_YCBCR = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))
_VARIANCE_OF_ROUNDING = 3 / 12  # of the input, the colours and the result, in grey levels


def quality_tables(quality: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The steps of luma and of the colours at libjpeg's ``quality``, 64 each, row by row.

    >>> quality_tables(75)[0][:4]
    (8, 6, 5, 8)
    """
    if not is_whole(quality, 1, 100):
        raise InvalidArgument("quality", quality, "an integer from 1 to 100")
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    luma, chroma = (tuple(min(max((q * scale + 50) // 100, 1), 255) for q in table) for table in (_LUMA, _CHROMA))
    return luma, chroma


class JPEG(Intervals):
    """A picture (1 or 3, H, W) saved as JPEG and read again; see the module. Both in [-1, 1], of any size.

    quality: of libjpeg, 1 to 100. subsampling: of the colours. codec: "surrogate", or "pillow" for the real one.
    tables: instead of a quality, the steps of luma and colours, 64 whole numbers each, row by row (as in Pillow's
    ``image.quantization``).
    """

    def __init__(
        self,
        shape: Sequence[int],
        quality: int | None = None,
        subsampling: Subsampling = "4:2:0",
        codec: Codec = "surrogate",
        *,
        tables: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.in_shape = self.out_shape = signal_shape(shape)
        if len(self.in_shape) != 3 or self.in_shape[0] not in (1, 3):
            raise InvalidArgument("shape", tuple(shape), "(1 or 3, H, W): a grey or a colour picture")
        if subsampling not in get_args(Subsampling):
            raise InvalidArgument("subsampling", subsampling, f"one of {', '.join(get_args(Subsampling))}")
        if codec not in get_args(Codec):
            raise InvalidArgument("codec", codec, "'surrogate' or 'pillow'")
        if (quality is None) == (tables is None):
            raise InvalidArgument("quality", quality, "a quality or tables, one of them")
        self.quality, self.codec = quality, codec
        self.subsampling = subsampling if self.in_shape[0] == 3 else "4:4:4"
        self.tables = quality_tables(quality) if quality is not None else _check_tables(tables or ())
        self._planes = _planes(self.in_shape, self.subsampling)

    def settings(self) -> dict[str, Any]:
        out: dict[str, Any] = {"quality": self.quality, "subsampling": self.subsampling, "codec": self.codec}
        return out if self.quality is not None else out | {"tables": [list(table) for table in self.tables]}

    def _forward(self, x: Tensor) -> Tensor:
        return self._encoded(x) if self.codec == "pillow" else self.surrogate(x)

    def vjp(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        if self.codec == "surrogate":
            return super().vjp(x)
        return self(x), self.with_codec("surrogate").vjp(x)[1]

    def jvp(self, x: Tensor, v: Tensor) -> Tensor:
        return super().jvp(x, v) if self.codec == "surrogate" else self.with_codec("surrogate").jvp(x, v)

    def with_codec(self, codec: Codec) -> JPEG:
        """The same tables with another codec."""
        given = {"quality": self.quality} if self.quality is not None else {"tables": self.tables}
        return JPEG(self.in_shape, subsampling=self.subsampling, codec=codec, **given)

    @property
    def has_pinv(self) -> bool:
        return True

    def pinv(self, y: Tensor) -> Tensor:
        check_shape("y", y, self.out_shape)
        return y

    def surrogate(self, x: Tensor) -> Tensor:
        """The decoded picture, differentiable."""
        grey = _round(127.5 * (x + 1)).clamp(0, 255)
        colours = _round(_mix(grey, _YCBCR)) if x.shape[1] == 3 else grey  # without the offset of 128
        parts = []
        for plane in self._planes:
            samples = plane.shrink(colours[:, plane.channels], exact=True) - plane.level
            steps = _tiled(self.tables[plane.table], samples)
            coefficients = steps * _round_away(_dct(samples) / steps)
            decoded = _round(_dct(coefficients, inverse=True) + 128).clamp(0, 255)
            parts.append(plane.grow(decoded))
        out = torch.cat(parts, 1)
        if x.shape[1] == 3:
            out = torch.cat((out[:, :1], out[:, 1:] - 128), 1)
            out = _round(_mix(out, _RGB)).clamp(0, 255)
        return out / 127.5 - 1

    def _encoded(self, x: Tensor) -> Tensor:
        pictures = (127.5 * (x.detach() + 1)).round().clamp(0, 255).to("cpu", torch.uint8).movedim(1, -1).numpy()
        rows = [decode(self.encode(picture)) for picture in pictures]
        return (torch.from_numpy(np.stack(rows)).movedim(-1, 1).to(x.device).double() / 127.5 - 1).to(x)

    def encode(self, picture: np.ndarray[Any, Any]) -> bytes:
        """The file of one picture, (H, W, C) of 8 bits."""
        image = Image.fromarray(picture if picture.shape[2] == 3 else picture[..., 0])
        words: dict[str, Any] = {"quality": self.quality} if self.quality is not None else {"qtables": self.tables}
        if picture.shape[2] == 3:
            words["subsampling"] = self.subsampling
        elif "qtables" in words:
            words["qtables"] = self.tables[:1]
        file = io.BytesIO()
        image.save(file, "JPEG", **words)
        return file.getvalue()

    @cached_property
    def linear(self) -> JPEGTransform:
        """T, each coefficient over its own deviation."""
        return JPEGTransform(self)

    def linear_problem(self, y: Tensor) -> tuple[Tensor, JPEGTransform, float]:
        """``(c, T, noise)``: the measurement, the operator and the deviation of the problem that stands for ``y``."""
        transform = self.linear
        return transform.weigh(self.coefficients(y)), transform, transform.noise

    def coefficients(self, y: Tensor) -> list[Tensor]:
        """The multiples of their steps from which a decoded picture (B, *out_shape) was made, one tensor a plane."""
        check_shape("y", y, self.out_shape)
        grey = 127.5 * (y + 1)
        colours = _mix(grey, _YCBCR) if y.shape[1] == 3 else grey
        out = []
        for plane in self._planes:
            samples = plane.ungrow(colours[:, plane.channels]) - plane.level
            steps = _tiled(self.tables[plane.table], samples)
            out.append(steps * (_dct(samples) / steps).round())
        return out

    def transform(self, x: Tensor) -> Tensor:
        return self.linear(x)

    def back(self, t: Tensor) -> Tensor:
        return self.linear.back(t)

    def interval(self, y: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor]:
        """Half a step about each coefficient of ``y``."""
        linear = self.linear
        centre, half = linear.weigh(self.coefficients(y)), linear.half_steps(y)
        half = half + math.sqrt(3) * noise
        return centre - half, centre + half

    def variances(self, covariance: StationaryCovariance, like: Tensor) -> Tensor:
        return self.linear.diagonal(covariance, like)


def decode(file: bytes) -> np.ndarray[Any, Any]:
    """The picture (H, W, C) of a JPEG file, 8 bits."""
    with Image.open(io.BytesIO(file)) as image:
        array = np.asarray(image)
    return array if array.ndim == 3 else array[..., None]


def _check_tables(tables: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    whole = [tuple(int(q) for q in table) for table in tables]
    if not 1 <= len(whole) <= 4 or any(len(table) != 64 or not all(1 <= q <= 65535 for q in table) for table in whole):
        raise InvalidArgument("tables", f"{len(whole)} tables", "one or two of 64 whole numbers from 1")
    return whole[0], whole[min(1, len(whole) - 1)]


class _Plane:
    """Channels that share a table and a grid: how they are averaged and padded to blocks of 8, and brought back.

    Every sample of the padded grid is the mean of one or two samples along each axis (``taps``): so averages and
    repeated borders are one.
    """

    def __init__(self, channels: slice, table: int, size: tuple[int, int], factors: tuple[int, int]) -> None:
        self.channels, self.table, self.size, self.factors = channels, table, size, factors
        self.small = tuple(-(-n // f) for n, f in zip(size, factors, strict=True))
        self.padded = tuple(8 * -(-n // 8) for n in self.small)
        self.level = 128 if table == 0 else 0
        # libjpeg repeats the last row of averages, but the last column of pixels.
        last = [self.small[0] - 1, self.padded[1] - 1]
        self.taps: list[list[Tensor]] = []
        for axis in (0, 1):
            place = torch.arange(self.padded[axis]).clamp(max=last[axis]) * factors[axis]
            self.taps.append([(place + k).clamp(max=size[axis] - 1) for k in range(factors[axis])])

    def shrink(self, x: Tensor, exact: bool = False) -> Tensor:
        """Means and padding, (B, c, *size) to (B, c, *padded); ``exact``: rounded as libjpeg does."""
        for axis, taps in enumerate(self.taps):
            x = sum((x.index_select(2 + axis, t.to(x.device)) for t in taps), torch.zeros(())) / len(taps)
        if exact and self.factors != (1, 1):
            count = self.factors[0] * self.factors[1]
            odd = torch.arange(x.shape[-1], device=x.device) % 2
            x = _floor(x + (odd + (count == 4)) / count)
        return x

    def shrink_adjoint(self, u: Tensor) -> Tensor:
        for axis, taps in enumerate(self.taps):
            shape = list(u.shape)
            shape[2 + axis] = self.size[axis]
            out = u.new_zeros(shape)
            for t in taps:
                out.index_add_(2 + axis, t.to(u.device), u / len(taps))
            u = out
        return u

    def spread(self, u: Tensor) -> Tensor:
        """A change of each mean given to all the pixels of which it is the mean, (B, c, *padded) to (B, c, *size)."""
        u = u[..., : self.small[0], : self.small[1]]
        for axis, f in enumerate(self.factors):
            u = u.repeat_interleave(f, 2 + axis).narrow(2 + axis, 0, self.size[axis])
        return u

    def grow(self, x: Tensor) -> Tensor:
        """What the decoder makes of the samples: the triangle filter, rounded as libjpeg does."""
        x = x[..., : self.small[0], : self.small[1]]
        if self.factors == (1, 1):
            return x
        if self.small[1] <= 2:  # too narrow for libjpeg's filter
            return self.spread(x)
        bias = (8, 7) if self.factors[0] == 2 else (1, 2)
        if self.factors[0] == 2:
            x = _interleave(*_triangle(x, 2), 2)
        even, odd = _triangle(x, 3)
        count = 16 if self.factors[0] == 2 else 4
        x = _interleave(_floor((even + bias[0]) / count), _floor((odd + bias[1]) / count), 3)
        return x[..., : self.size[0], : self.size[1]]

    def ungrow(self, x: Tensor) -> Tensor:
        """The samples (B, c, *padded) from which :meth:`grow` made ``x``, by least squares along each axis."""
        if self.factors != (1, 1) and self.small[1] <= 2:
            return self.shrink(x)
        for axis, f in enumerate(self.factors):
            if f == 2:
                x = _least_squares(x, 2 + axis, self.small[axis])
        for axis in (0, 1):
            x = x.index_select(2 + axis, torch.arange(self.padded[axis]).clamp(max=self.small[axis] - 1).to(x.device))
        return x


def _planes(shape: tuple[int, ...], subsampling: str) -> list[_Plane]:
    size = (shape[1], shape[2])
    luma = _Plane(slice(0, 1), 0, size, (1, 1))
    factors = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:2:0": (2, 2)}[subsampling]
    return [luma] if shape[0] == 1 else [luma, _Plane(slice(1, 3), 1, size, factors)]


def _triangle(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """``3 x_i + x_{i-1}`` and ``3 x_i + x_{i+1}``, the border repeated."""
    place = torch.arange(x.shape[dim], device=x.device)
    before, after = (x.index_select(dim, (place + k).clamp(0, len(place) - 1)) for k in (-1, 1))
    return 3 * x + before, 3 * x + after


def _interleave(even: Tensor, odd: Tensor, dim: int) -> Tensor:
    return torch.stack((even, odd), dim + 1).flatten(dim, dim + 1)


def _least_squares(x: Tensor, dim: int, count: int) -> Tensor:
    """The ``count`` samples whose triangle interpolation along ``dim`` is nearest to ``x``: a tridiagonal system."""
    size = x.shape[dim]
    place = torch.arange(size)
    own, other = place // 2, (place // 2 + torch.where(place % 2 == 0, -1, 1)).clamp(0, count - 1)
    diagonal, beside = torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.float64)
    same = own == other
    diagonal.index_add_(0, own, torch.where(same, 1.0, 0.75**2).double())
    diagonal.index_add_(0, other, torch.where(same, 0.0, 0.25**2).double())
    beside.index_add_(0, torch.minimum(own, other), torch.where(same, 0.0, 0.75 * 0.25).double())
    right = x.detach().double().cpu().movedim(dim, 0)
    target = torch.zeros((count, *right.shape[1:]), dtype=torch.float64)
    target.index_add_(0, own, 0.75 * right)
    target.index_add_(0, other, 0.25 * right)
    bands = torch.stack((torch.cat((torch.zeros(1), beside[:-1])), diagonal)).numpy()
    solved = solveh_banded(bands, target.flatten(1).numpy())
    return torch.from_numpy(solved).view(target.shape).movedim(0, dim).to(x)


class JPEGTransform(Unstructured):
    """T: colours, averages and block DCT, each coefficient over its deviation; (C, H, W) to (1, m), plane by plane.

    The weights have a mean square of 1 and ``noise`` is what is left of the deviations, in the units of the data.
    """

    def __init__(self, jpeg: JPEG) -> None:
        super().__init__(cutoff=1e-3)
        self.jpeg, self._planes = jpeg, jpeg._planes
        self.in_shape = jpeg.in_shape
        channels = [1, 2][: len(self._planes)]
        self._shapes = [(c, *plane.padded) for c, plane in zip(channels, self._planes, strict=True)]
        self.out_shape = (1, sum(math.prod(shape) for shape in self._shapes))
        deviations = [torch.tensor(jpeg.tables[plane.table], dtype=torch.float64) ** 2 / 12 for plane in self._planes]
        self._deviations = [(v + _VARIANCE_OF_ROUNDING).sqrt() / 127.5 for v in deviations]
        counts = torch.tensor([float(math.prod(shape)) for shape in self._shapes], dtype=torch.float64)
        precision = torch.stack([s.pow(-2).mean() for s in self._deviations])
        self.noise = float((precision * counts).sum() / counts.sum()) ** -0.5

    def settings(self) -> dict[str, Any]:
        return {"of": self.jpeg.describe()}

    def weigh(self, coefficients: Sequence[Tensor]) -> Tensor:
        """Coefficients in grey levels as a measurement: in the units of the data, without the offset, over s."""
        out = []
        for plane, c, weights in zip(self._planes, coefficients, self._weights(coefficients[0]), strict=True):
            flat = torch.full_like(c, 127.5 - plane.level if plane.table == 0 else 0.0)
            out.append((weights * (c - _dct(flat)) / 127.5).flatten(1))
        return torch.cat(out, 1)[:, None]

    def _weights(self, like: Tensor) -> list[Tensor]:
        return [
            _tiled((self.noise / s).tolist(), like.new_empty((1, *shape)))
            for s, shape in zip(self._deviations, self._shapes, strict=True)
        ]

    def _forward(self, x: Tensor) -> Tensor:
        colours = _mix(x, _YCBCR) if x.shape[1] == 3 else x
        parts = [_dct(plane.shrink(colours[:, plane.channels])) for plane in self._planes]
        return torch.cat([(w * c).flatten(1) for w, c in zip(self._weights(x), parts, strict=True)], 1)[:, None]

    def _adjoint(self, y: Tensor) -> Tensor:
        sizes = [math.prod(shape) for shape in self._shapes]
        parts = []
        for plane, u, shape, w in zip(
            self._planes, y[:, 0].split(sizes, 1), self._shapes, self._weights(y), strict=True
        ):
            parts.append(plane.shrink_adjoint(_dct(w * u.unflatten(1, shape), inverse=True)))
        out = torch.cat(parts, 1)
        return _mix(out, tuple(zip(*_YCBCR, strict=True))) if out.shape[1] == 3 else out

    def half_steps(self, like: Tensor) -> Tensor:
        """Half the step of each coefficient, as :meth:`weigh` would have it, (1, 1, m)."""
        parts = []
        for plane, w, shape in zip(self._planes, self._weights(like), self._shapes, strict=True):
            steps = _tiled(self.jpeg.tables[plane.table], w) / 127.5
            parts.append((0.5 * w * steps).expand(1, *shape).flatten(1))
        return torch.cat(parts, 1)[:, None]

    def back(self, t: Tensor) -> Tensor:
        """``T^+ t``: a change of the mean of several pixels is given to all of them."""
        sizes = [math.prod(shape) for shape in self._shapes]
        parts = []
        for plane, u, shape, w in zip(
            self._planes, t[:, 0].split(sizes, 1), self._shapes, self._weights(t), strict=True
        ):
            parts.append(plane.spread(_dct(u.unflatten(1, shape) / w, inverse=True)))
        out = torch.cat(parts, 1)
        return _mix(out, _RGB) if out.shape[1] == 3 else out

    def solve_normal(
        self,
        covariance: StationaryCovariance,
        sigma2: float,
        r: Tensor,
        accuracy: Accuracy = DEFAULT_ACCURACY,
    ) -> Tensor:
        check_shape("r", r, self.out_shape)
        diagonal = self.diagonal(covariance, r) + sigma2
        return conjugate_gradients(
            lambda u: self(covariance(self.adjoint(u))) + sigma2 * u, r, precondition=lambda u: u / diagonal,
            tolerance=accuracy.tolerance, iterations=accuracy.iterations,
        )  # fmt: skip

    def diagonal(self, covariance: StationaryCovariance, like: Tensor) -> Tensor:
        """The diagonal of ``A C A^T``: what C says of one block, measured on a small picture; (1, 1, m)."""
        shape = (self.in_shape[0], 48, 48)
        small = self if self.in_shape == shape else JPEGTransform(
            JPEG(shape, subsampling=self.jpeg.subsampling, tables=self.jpeg.tables)
        )  # fmt: skip
        ratio = self.noise / small.noise
        parts, offset = [], 0
        for (channels, height, width), whole in zip(small._shapes, self._shapes, strict=True):
            places = torch.arange(channels * height * width).view(channels, height, width)
            block = places[:, 16:24, 16:24] if height >= 24 else places[:, :8, :8]
            units = like.new_zeros((block.numel(), 1, small.out_shape[1]))
            units[torch.arange(len(units)), 0, offset + block.flatten().to(like.device)] = 1
            sent = small.adjoint(units)
            variance = (sent * covariance(sent)).flatten(1).sum(1).view(channels, 8, 8) * ratio**2
            parts.append(variance.repeat(1, whole[1] // 8, whole[2] // 8).flatten())
            offset += channels * height * width
        return torch.cat(parts)[None, None]


_ROOTS = torch.tensor([math.sqrt((1 if k == 0 else 2) / 8) for k in range(8)], dtype=torch.float64)
_ANGLES = torch.tensor([[math.pi * (2 * n + 1) * k / 16 for n in range(8)] for k in range(8)], dtype=torch.float64)
_COSINES = _ROOTS[:, None] * _ANGLES.cos()


def _dct(x: Tensor, inverse: bool = False) -> Tensor:
    """The orthonormal DCT of each 8 x 8 block of (B, c, H, W), in its place; its inverse is its adjoint."""
    d = (_COSINES.T if inverse else _COSINES).to(x)
    blocks = x.unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8))  # (B, c, H/8, 8, W/8, 8)
    return torch.einsum("ki,...iwj,mj->...kwm", d, blocks, d).flatten(-2, -1).flatten(-3, -2)


def _tiled(table: Sequence[float], like: Tensor) -> Tensor:
    """A table of 64 for every block of ``like`` (B, c, H, W): (H, W)."""
    block = torch.tensor(table, dtype=torch.float64).view(8, 8).to(like)
    return block.repeat(like.shape[-2] // 8, like.shape[-1] // 8)


def _mix(x: Tensor, matrix: Sequence[Sequence[float]]) -> Tensor:
    return torch.einsum("dc,bc...->bd...", torch.tensor(matrix, dtype=torch.float64).to(x), x)


def _round(x: Tensor) -> Tensor:
    """Rounded, with derivative 1."""
    return x + (x.round() - x).detach()


def _round_away(x: Tensor) -> Tensor:
    """:func:`_round` with halves away from 0, which flat areas meet often; a little early, for float32's sake."""
    return x + (x.sign() * (x.abs() + (0.5 + 1e-5)).floor() - x).detach()


def _floor(x: Tensor) -> Tensor:
    return x + (x.floor() - x).detach()
