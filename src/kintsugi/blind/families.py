"""Degradations with parameters: what is known of a measurement that is only partly known.

A :class:`Family` names its parameters with their ranges and turns values of them into an operator. All families here
commute with shifts, so each is its transfer function, a differentiable function of the parameters:

    y = crop(ifft(k^(theta) fft(x))) + sigma n

    GaussianBlur    k^ of a sampled Gaussian of standard deviation ``width`` pixels
    MotionBlur      of a straight line of ``length`` pixels at ``angle`` degrees, as ``operators.motion_kernel``
    FreeKernel      of ``size`` x ``size`` weights that are positive and sum to one
    Gain            a number
    NoiseOnly       one; what is unknown is sigma

``outer @ inner`` composes two families; their parameters stand side by side. Borders are unknown by default: the
signal lives on a canvas with a margin wide enough for every member of the family, as ``Blur(..., "unknown")`` has it,
and the measurement is compared only where the canvas determines it.

Optimisers see the parameters in an unconstrained form ``u``: a bounded number is ``low + (high - low) logistic(u)``,
of its logarithm where it is a scale; an angle is a rotated point on the circle and needs no bounds; weights on the
simplex are a softmax.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..operators import Crop, Identity, LinearOperator
from ..operators.base import per_axis, signal_shape
from ..operators.canvas import unknown_boundary
from ..operators.linear import Boundary
from ..operators.stationary import Stationary

Values = Mapping[str, Any]
Form = Literal["log", "linear", "angle", "simplex"]


@dataclass(frozen=True)
class Parameter:
    """A named parameter from ``low`` to ``high``: a number, or weights on the simplex of ``size`` numbers.

    ``form``: ``"log"`` for a positive scale, ``"linear"`` for a number, ``"angle"`` for degrees with the period
    ``high - low``, ``"simplex"`` for weights that are positive and sum to one. ``start`` is where a search without a
    better idea begins (None: the middle).
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    form: Form = "log"
    size: tuple[int, ...] = ()
    start: float | None = None

    def __post_init__(self) -> None:
        finite = math.isfinite(self.low) and math.isfinite(self.high)
        if not (finite and self.low < self.high and (self.form != "log" or self.low > 0)):
            expected = "finite low < high, and low above 0 for a scale"
            raise InvalidArgument(self.name, (self.low, self.high), expected)

    def free(self, value: object) -> Tensor:
        """The unconstrained form (flat, float64) of a value in range; values at the ends are moved inside a little."""
        at = self.check(value)
        if self.form == "simplex":
            return at.clamp_min(1e-6 / at.numel()).log().flatten()
        if self.form == "angle":
            return (at * (2 * math.pi / (self.high - self.low))).reshape(1)
        low, high = (math.log(v) if self.form == "log" else v for v in (self.low, self.high))
        share = ((at.log() if self.form == "log" else at) - low) / (high - low)
        return torch.logit(share.clamp(1e-3, 1 - 1e-3)).reshape(1)

    def value(self, free: Tensor) -> Tensor:
        """The value of an unconstrained form: differentiable, of shape ``size`` or a number."""
        if self.form == "simplex":
            return free.softmax(0).view(self.size)
        if self.form == "angle":
            return free[0] * ((self.high - self.low) / (2 * math.pi))
        low, high = (math.log(v) if self.form == "log" else v for v in (self.low, self.high))
        inside = low + (high - low) * free[0].sigmoid()
        return inside.exp() if self.form == "log" else inside

    def report(self, value: Tensor) -> float | Tensor:
        """What a user sees: a float, an angle brought into its range, or the weights."""
        if self.form == "simplex":
            return value.detach()
        if self.form == "angle":
            return self.low + (float(value) - self.low) % (self.high - self.low)
        return float(value)

    def check(self, value: object) -> Tensor:
        """The value in float64. Errors: :class:`InvalidArgument` if it is out of range."""
        try:
            at = torch.as_tensor(value, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError):
            at = torch.tensor(math.nan)
        if self.form == "simplex":
            total = float(at.sum()) if at.numel() else math.nan
            if tuple(at.shape) != self.size or not bool((at >= 0).all()) or not abs(total - 1) < 1e-6:
                raise InvalidArgument(self.name, tuple(at.shape), f"{self.size} weights of at least 0 that sum to 1")
            return at
        if at.numel() != 1 or not math.isfinite(float(at)):
            raise InvalidArgument(self.name, value, "a finite number")
        if self.form != "angle" and not self.low - 1e-9 <= float(at) <= self.high + 1e-9:
            raise InvalidArgument(self.name, value, f"a number from {self.low:g} to {self.high:g}")
        return at.reshape(())


class Family:
    """Operators on signals of ``shape`` (C, *S), one for each value of the ``parameters``.

    Attributes
    ----------
    reach: how far, along each axis, a measured sample looks, for any value of the parameters.
    boundary: ``"unknown"`` (the world) or ``"circular"`` (benchmarks).
    rescales: whether a parameter changes the brightness of the whole, which no picture alone can tell from its own.
    oriented: whether only the power of the transfer function can be learnt from second moments, so that a kernel and
        its mirror image cannot be told apart; then the search goes on with the samples of a model.
    """

    shape: tuple[int, ...]
    parameters: tuple[Parameter, ...]
    reach: tuple[int, ...]
    boundary: Boundary
    rescales: bool = False
    oriented: bool = False

    def __init__(self, shape: Sequence[int], reach: int | Sequence[int], boundary: Boundary) -> None:
        self.shape = signal_shape(shape)
        dims = len(self.shape) - 1
        self.reach = (reach,) * dims if isinstance(reach, int) else tuple(reach)
        self.boundary = boundary
        if boundary not in ("circular", "unknown"):
            raise InvalidArgument("boundary", boundary, "'circular' or 'unknown'")
        if boundary == "circular" and any(2 * r + 1 > n for r, n in zip(self.reach, self.shape[1:], strict=True)):
            raise InvalidArgument(
                "shape", self.shape, f"a signal that holds the kernels, {2 * max(self.reach) + 1} wide"
            )

    def response(self, values: Values, size: Sequence[int], like: Tensor) -> Tensor:
        """``k^(theta)`` on the grid of ``rfftn`` of ``size``, differentiable in ``values``; complex."""
        raise NotImplementedError

    def operator(self, values: Values) -> LinearOperator:
        """The member of the family at ``values`` (numbers in range, see :attr:`parameters`)."""
        return self.lay_out({p.name: p.check(_pick(values, p.name)) for p in self.parameters})

    def lay_out(self, values: Values) -> LinearOperator:
        """The operator for values that have been checked."""
        like = torch.zeros((), dtype=torch.float64)

        def circular(canvas: tuple[int, ...]) -> Stationary:
            size = canvas[1:]
            half = self.response(values, size, like).expand(*size[:-1], size[-1] // 2 + 1)
            kernel = torch.fft.irfftn(half.detach(), s=size)
            return Stationary(canvas, torch.fft.fftn(kernel), cutoff=3e-2)

        if self.boundary == "circular" or not any(self.reach):
            return circular(self.shape)
        return unknown_boundary(self.shape, self.reach, (1,) * len(self.reach), circular)

    def measure(self, values: Values, x: Tensor) -> Tensor:
        """``operator(values)(x)`` for ``x`` (B, *canvas), differentiable in ``values`` and ``x``."""
        dims = tuple(range(2, x.ndim))
        size = x.shape[2:]
        y = torch.fft.irfftn(torch.fft.rfftn(x, dim=dims) * self.response(values, size, x), s=size, dim=dims)
        return self.window(y)

    def window(self, x: Tensor) -> Tensor:
        """What was measured of a signal on the canvas (B, *canvas): (B, *shape)."""
        cut = self.layout
        return x if cut is None else cut(x)

    @property
    def layout(self) -> Crop | None:
        """The window on the canvas; None where there is no margin."""
        if self.boundary == "circular" or not any(self.reach):
            return None
        canvas = unknown_boundary(self.shape, self.reach, (1,) * len(self.reach), Identity)
        assert isinstance(canvas.outer, Crop)
        return canvas.outer

    def free(self, values: Values) -> Tensor:
        """All parameters in one unconstrained vector, float64."""
        parts = [p.free(_pick(values, p.name)) for p in self.parameters]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)

    def values(self, free: Tensor) -> dict[str, Tensor]:
        """The parameters of an unconstrained vector, differentiable."""
        out, at = {}, 0
        for p in self.parameters:
            n = math.prod(p.size)
            out[p.name] = p.value(free[at : at + n])
            at += n
        return out

    def report(self, values: Values) -> dict[str, float | Tensor]:
        """The values as a user sees them."""
        return {p.name: p.report(torch.as_tensor(values[p.name])) for p in self.parameters}

    def starts(self) -> list[dict[str, Any]]:
        """Where a search for the best values begins: a coarse grid over the ranges."""
        return [{}] if not self.parameters else [{p.name: _middle(p) for p in self.parameters}]

    def on(self, shape: Sequence[int]) -> Family:
        """The same family for signals of another shape."""
        other = copy.copy(self)
        other.shape = signal_shape(shape)
        return other

    def __matmul__(self, inner: Family) -> Family:
        """``outer @ inner``: first the inner degradation, then this one."""
        return Product(self, inner)


class GaussianBlur(Family):
    """A Gaussian of standard deviation ``width`` pixels, the same along each axis.

    >>> family = GaussianBlur((3, 32, 32), widths=(0.5, 3.0))
    >>> round(float(family.operator({"width": 1.5})(torch.ones(1, 3, 60, 60)).mean()), 4)
    1.0
    """

    def __init__(
        self, shape: Sequence[int], widths: tuple[float, float] = (0.3, 4.0), boundary: Boundary = "unknown"
    ) -> None:
        self.parameters = (Parameter("width", *_pair("widths", widths)),)
        super().__init__(shape, math.ceil(4 * widths[1]), boundary)

    def response(self, values: Values, size: Sequence[int], like: Tensor) -> Tensor:
        width = _number(values, "width", like)
        out = torch.ones((), dtype=like.dtype, device=like.device)
        for axis, (n, reach) in enumerate(zip(size, self.reach, strict=True)):
            offsets = torch.arange(-reach, reach + 1, dtype=like.dtype, device=like.device)
            taps = torch.exp(-0.5 * (offsets / width).square())
            # A symmetric kernel has a real transfer function: a sum of cosines.
            grid = torch.fft.rfftfreq(n) if axis == len(size) - 1 else torch.fft.fftfreq(n)
            cosines = torch.cos(2 * math.pi * grid.to(like)[:, None] * offsets)
            out = out[..., None] * (cosines @ (taps / taps.sum()))
        return out.to(like.dtype.to_complex())

    def starts(self) -> list[dict[str, Any]]:
        p = self.parameters[0]
        return [{"width": w} for w in torch.logspace(math.log10(p.low), math.log10(p.high), 12).tolist()[1:-1]]


class MotionBlur(Family):
    """A straight line of ``length`` pixels at ``angle`` degrees (0 is horizontal, 90 upwards; from 0 to 180).

    The same kernel as ``operators.motion_kernel``: points along the line, each shared out over four pixels.
    """

    def __init__(
        self, shape: Sequence[int], lengths: tuple[float, float] = (1.5, 24.0), boundary: Boundary = "unknown"
    ) -> None:
        length = Parameter("length", *_pair("lengths", lengths))
        if length.low < 1:
            raise InvalidArgument("lengths", lengths, "lengths of at least 1 pixel")
        self.parameters = (length, Parameter("angle", 0.0, 180.0, "angle"))
        if len(signal_shape(shape)) != 3:
            raise InvalidArgument("shape", tuple(shape), "a picture (C, H, W)")
        super().__init__(shape, math.ceil(length.high / 2) + 1, boundary)
        self._points = 16 * math.ceil(length.high)

    def response(self, values: Values, size: Sequence[int], like: Tensor) -> Tensor:
        length, angle = (_number(values, name, like) for name in ("length", "angle"))
        turn = angle * (math.pi / 180)
        along = torch.linspace(-0.5, 0.5, self._points, dtype=like.dtype, device=like.device) * (length - 1)
        grid = torch.arange(-self.reach[0], self.reach[0] + 1, dtype=like.dtype, device=like.device)

        def shares(at: Tensor) -> Tensor:
            return (1 - (at[:, None] - grid).abs()).clamp_min(0)

        kernel = shares(-turn.sin() * along).T @ shares(turn.cos() * along) / self._points
        return kernel_response(kernel, size)

    def starts(self) -> list[dict[str, Any]]:
        p = self.parameters[0]
        lengths = torch.logspace(math.log10(p.low), math.log10(p.high), 12).tolist()[1:-1]
        return [{"length": length, "angle": angle} for length in lengths for angle in range(0, 180, 10)]


class FreeKernel(Family):
    """``size`` weights along each axis (odd), positive, of sum one: any blur.

    For pairs (``learn``), or with a prior that knows its signals well. One photograph and the photo model do not
    determine a kernel of nine by nine: the estimate is then worse than the photograph.
    """

    oriented = True

    def __init__(self, shape: Sequence[int], size: int | Sequence[int], boundary: Boundary = "unknown") -> None:
        sizes = per_axis("size", size, len(signal_shape(shape)) - 1)
        if any(n % 2 == 0 for n in sizes):
            raise InvalidArgument("size", size, "odd sizes, so that the kernel has a middle")
        self.parameters = (Parameter("kernel", form="simplex", size=sizes),)
        super().__init__(shape, [n // 2 for n in sizes], boundary)

    def response(self, values: Values, size: Sequence[int], like: Tensor) -> Tensor:
        return kernel_response(_number(values, "kernel", like), size)

    def starts(self) -> list[dict[str, Any]]:
        sizes = self.parameters[0].size
        out = []
        for share in (0.15, 0.25):
            kernel = torch.ones((), dtype=torch.float64)
            for n in sizes:
                line = torch.exp(-0.5 * ((torch.arange(n, dtype=torch.float64) - n // 2) / (share * n)) ** 2)
                kernel = kernel[..., None] * (line / line.sum())
            # A weight of nearly nothing has a gradient of nearly nothing under a softmax.
            out.append({"kernel": 0.7 * kernel / kernel.sum() + 0.3 / kernel.numel()})
        return out


class Gain(Family):
    """``y = gain x``: a change of contrast about mid-grey (0 in [-1, 1]).

    A single picture does not tell a dark scene from a dark print: without a pair, or a prior that knows how bright its
    signals are, the estimate is a guess.
    """

    rescales = True

    def __init__(
        self, shape: Sequence[int], gains: tuple[float, float] = (0.1, 10.0), boundary: Boundary = "unknown"
    ) -> None:
        self.parameters = (Parameter("gain", *_pair("gains", gains)),)
        super().__init__(shape, 0, boundary)

    def response(self, values: Values, size: Sequence[int], like: Tensor) -> Tensor:
        return _number(values, "gain", like).to(like.dtype.to_complex())

    def lay_out(self, values: Values) -> LinearOperator:
        return float(values["gain"]) * Identity(self.shape)


class NoiseOnly(Family):
    """``y = x``: nothing is unknown but the noise level."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.parameters = ()
        super().__init__(shape, 0, "unknown")

    def response(self, values: Values, size: Sequence[int], like: Tensor) -> Tensor:
        return torch.ones((), dtype=like.dtype.to_complex(), device=like.device)

    def lay_out(self, values: Values) -> LinearOperator:
        return Identity(self.shape)


class Product(Family):
    """``outer @ inner`` of two families on the same signals."""

    def __init__(self, outer: Family, inner: Family) -> None:
        if outer.shape != inner.shape:
            raise InvalidArgument("family", f"{outer.shape} after {inner.shape}", "families of the same shape")
        names = [p.name for p in (*outer.parameters, *inner.parameters)]
        if len(set(names)) != len(names):
            raise InvalidArgument("family", names, "parameters of different names")
        self.outer, self.inner = outer, inner
        self.parameters = outer.parameters + inner.parameters
        boundaries = [f.boundary for f in (outer, inner) if any(f.reach)]
        if len(set(boundaries)) > 1:
            raise InvalidArgument("family", boundaries, "families with the same boundary")
        reach = [a + b for a, b in zip(outer.reach, inner.reach, strict=True)]
        self.rescales = outer.rescales or inner.rescales
        self.oriented = outer.oriented or inner.oriented
        super().__init__(outer.shape, reach, boundaries[0] if boundaries else outer.boundary)

    def response(self, values: Values, size: Sequence[int], like: Tensor) -> Tensor:
        return self.outer.response(values, size, like) * self.inner.response(values, size, like)

    def on(self, shape: Sequence[int]) -> Family:
        return Product(self.outer.on(shape), self.inner.on(shape))

    def starts(self) -> list[dict[str, Any]]:
        return [a | b for a in self.outer.starts() for b in self.inner.starts()]


def kernel_response(kernel: Tensor, size: Sequence[int]) -> Tensor:
    """``rfftn`` on a grid of ``size`` of a kernel of odd sizes with its middle at the origin; differentiable."""
    if any(k > n for k, n in zip(kernel.shape, size, strict=True)):
        raise InvalidArgument("shape", tuple(size), f"a signal that holds a kernel of {tuple(kernel.shape)}")
    padding = [v for k, n in zip(reversed(kernel.shape), reversed(size), strict=True) for v in (0, n - k)]
    laid = torch.nn.functional.pad(kernel, padding)
    dims = tuple(range(kernel.ndim))
    return torch.fft.rfftn(laid.roll([-(k // 2) for k in kernel.shape], dims), dim=dims)


def _number(values: Values, name: str, like: Tensor) -> Tensor:
    return torch.as_tensor(values[name], dtype=like.dtype, device=like.device)


def _middle(p: Parameter) -> Any:
    if p.form == "simplex":
        return torch.full(p.size, 1 / math.prod(p.size), dtype=torch.float64)
    if p.start is not None:
        return p.start
    return math.sqrt(p.low * p.high) if p.form == "log" else (p.low + p.high) / 2


def _pair(name: str, limits: tuple[float, float]) -> tuple[float, float]:
    try:
        low, high = (float(v) for v in limits)
    except (TypeError, ValueError):
        low = high = math.nan
    if not 0 < low < high < math.inf:
        raise InvalidArgument(name, limits, "two numbers, 0 < lowest < highest")
    return low, high


def _pick(values: Values, name: str) -> Any:
    if name not in values:
        raise InvalidArgument("parameters", sorted(values), f"a value for {name}")
    return values[name]


__all__ = [
    "Family",
    "FreeKernel",
    "Gain",
    "GaussianBlur",
    "MotionBlur",
    "NoiseOnly",
    "Parameter",
    "Product",
]
