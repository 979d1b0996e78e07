"""What a camera does to the light, sample by sample: saturation, response curves, rounding.

    Clip        y = min(max(gain x, low), high)         over-exposure; high dynamic range from one exposure
    Gamma       y = x^g on [black, white]               a display's or a scanner's power law
    Response    y = a rising curve of x, by a table     a measured camera response
    Quantise    y = the nearest of 2^bits levels        few grey levels, banding

Saturation after a blur is the composition ``Clip(blur.out_shape, gain) @ blur``. (``Clip(shape) @ (gain * blur)`` is
the same function, but a clip that does not know the gain cannot know how far beyond its limit a sample may be.)

Each has a pseudo-inverse with ``A(A^+ y) = y`` for every ``y`` that it can produce: saturated samples come back as
the level at which they saturate, levels as the centres of their bins, curves exactly.

What methods make of the derivatives. That of a clip is 0 where the *estimate* is outside the range and ``gain`` inside.
So a sample that is saturated in ``y`` pulls the estimate up until it saturates too, and is then silent, which is all it
knows. A sample that is not saturated in ``y`` cannot recall an estimate that has left the range: methods that begin at
``A^+ y`` (inside it) do not meet this, those that begin at noise may (DPS, from far outside; there the denoiser, which
knows that data are in [-1, 1], brings it back). ``through=True`` gives the clip the derivative ``gain`` everywhere,
which changes nothing where both are saturated, for then the residual is 0; but methods that solve systems in the
derivative then take the value of a saturated estimate for measured. Rounding has the derivative 1 ("straight through"):
the residual, not the derivative, says whether an estimate is in the right bin.

What worked on 96 x 96 crops (lighthouse; parrots), noise 0.02 and ``HDR(shape)``, prior "photo": the default sampler
in 5 steps 31.0 and 28.0 dB; RED-diff in 100 steps with lam 1 28.3 and 24.2; DPS in 200 steps with zeta 2 27.7 (7.9 on
parrots, and 19.8 with zeta 1: it leaves the range). Saturation after a motion blur of 9 pixels, gain 2: RED-diff in 100
steps 28.4 and 29.5; the default 26.7 and 22.3, which rings where much is saturated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgument, is_whole
from .base import check_shape, signal_shape
from .intervals import Intervals

_EXACT = 1e-3  # half the width of the interval of what was measured without noise: a quarter of a grey level of 8 bits


class Pointwise(Intervals):
    """``y_i = f(x_i)`` for a rising function: what it does not lose is undone exactly."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.in_shape = self.out_shape = signal_shape(shape)

    @property
    def has_pinv(self) -> bool:
        return True

    def pinv(self, y: Tensor) -> Tensor:
        check_shape("y", y, self.out_shape)
        return self._inverse(y)

    def _inverse(self, y: Tensor) -> Tensor:
        raise NotImplementedError

    def interval(self, y: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor]:
        check_shape("y", y, self.out_shape)
        half = math.sqrt(3) * noise + _EXACT
        return self._inverse(y - half), self._inverse(y + half)

    def slope(self, x: Tensor) -> Tensor:
        """The derivative at each sample of ``x`` (B, *in_shape)."""
        return self.vjp(x)[1](torch.ones_like(x))

    def jvp(self, x: Tensor, v: Tensor) -> Tensor:
        return self.slope(x) * v


class Clip(Pointwise):
    """``y = min(max(gain x, low), high)``: over-exposure. ``through``: see the module.

    ``bounds``: what no signal exceeds, so that a saturated sample is known to lie between ``high / gain`` and that.
    None for -1 and 1 where these saturate, and for no bound where they do not, since signals must then go further.
    """

    def __init__(
        self,
        shape: Sequence[int],
        gain: float = 1.0,
        low: float = -1.0,
        high: float = 1.0,
        *,
        through: bool = False,
        bounds: tuple[float, float] | None = None,
    ) -> None:
        super().__init__(shape)
        _range(low, high)
        if not 0 < gain < math.inf:
            raise InvalidArgument("gain", gain, "a positive number")
        if bounds is not None and not bounds[0] < bounds[1]:
            raise InvalidArgument("bounds", bounds, "two numbers that rise")
        self.gain, self.low, self.high, self.through = float(gain), float(low), float(high), bool(through)
        self.bounds = None if bounds is None else (float(bounds[0]), float(bounds[1]))

    def _forward(self, x: Tensor) -> Tensor:
        return (self.gain * x).clamp(self.low, self.high)

    def vjp(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        slope = self.slope(x)
        return self(x), lambda v: slope * v

    def slope(self, x: Tensor) -> Tensor:
        check_shape("x", x, self.in_shape)
        if self.through:
            return torch.full_like(x, self.gain)
        # As in pinv, so that its results count as inside whatever the rounding of gain x.
        inside = (x >= self.low / self.gain) & (x <= self.high / self.gain)
        return self.gain * inside.to(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.clamp(self.low, self.high) / self.gain

    def saturated(self, y: Tensor) -> Tensor:
        """Where a measurement (B, *out_shape) is at the end of its range, bool."""
        return (y <= self.low) | (y >= self.high)

    def interval(self, y: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor]:
        check_shape("y", y, self.out_shape)
        half = math.sqrt(3) * noise + _EXACT
        lower, upper = (y.clamp(self.low, self.high) + sign * half for sign in (-1, 1))
        least, most = self._limits()
        return (
            torch.where(lower <= self.low, least, lower / self.gain),
            torch.where(upper >= self.high, most, upper / self.gain),
        )

    def _limits(self) -> tuple[float, float]:
        low, high = self.low / self.gain, self.high / self.gain
        if self.bounds is not None:
            return min(self.bounds[0], low), max(self.bounds[1], high)
        return -1.0 if low > -1 else -math.inf, 1.0 if high < 1 else math.inf

    def centre(self, y: Tensor, noise: float = 0.0) -> Tensor:
        lower, upper = self.interval(y, noise)
        middle = (lower + upper) / 2
        return torch.where(middle.isfinite(), middle, self.pinv(y))

    def settings(self) -> dict[str, Any]:
        bounds = None if self.bounds is None else list(self.bounds)
        return {"gain": self.gain, "low": self.low, "high": self.high, "through": self.through, "bounds": bounds}


def HDR(shape: Sequence[int], gain: float = 2.0) -> Clip:
    """The field's high-dynamic-range task: ``y = clip(2 x, -1, 1)``, what a picture of twice the contrast loses.

    >>> HDR((1, 1, 4))(torch.tensor([[[[-0.8, -0.2, 0.1, 0.6]]]]))
    tensor([[[[-1.0000, -0.4000,  0.2000,  1.0000]]]])
    """
    return Clip(shape, gain)


class Gamma(Pointwise):
    """``y = u^gamma`` with ``u`` the share of the way from ``low`` (black) to ``high`` (white), and back to that range.

    Below a grey level of 8 bits, ``u < 1/255``, it is the straight line from black to where the power law begins, so
    that the derivative stays finite and values below black have an image. Above white the power law goes on.
    """

    TOE = 1 / 255

    def __init__(self, shape: Sequence[int], gamma: float, low: float = -1.0, high: float = 1.0) -> None:
        super().__init__(shape)
        _range(low, high)
        if not 0.05 <= gamma <= 20:
            raise InvalidArgument("gamma", gamma, "a number from 0.05 to 20")
        self.gamma, self.low, self.high = float(gamma), float(low), float(high)

    def _forward(self, x: Tensor) -> Tensor:
        return self._power(x, self.gamma, self.TOE)

    def _inverse(self, y: Tensor) -> Tensor:
        return self._power(y, 1 / self.gamma, self.TOE**self.gamma)

    def _power(self, x: Tensor, exponent: float, toe: float) -> Tensor:
        u = (x - self.low) / (self.high - self.low)
        out = torch.where(u < toe, u * toe ** (exponent - 1), u.clamp_min(toe) ** exponent)
        return self.low + (self.high - self.low) * out

    def settings(self) -> dict[str, Any]:
        return {"gamma": self.gamma, "low": self.low, "high": self.high}


class Response(Pointwise):
    """A camera response by a table: ``y`` goes through the points ``(inputs_i, outputs_i)``, straight between them.

    Both rise strictly; ``inputs`` None spreads them evenly from -1 to 1. Beyond the table the end pieces go on.

    >>> curve = Response((1, 1, 3), outputs=[-1.0, 0.5, 1.0])
    >>> curve(torch.tensor([[[[-0.5, 0.0, 0.5]]]]))
    tensor([[[[-0.2500,  0.5000,  0.7500]]]])
    """

    def __init__(
        self, shape: Sequence[int], outputs: Sequence[float] | Tensor, inputs: Sequence[float] | Tensor | None = None
    ) -> None:
        super().__init__(shape)
        self.outputs = torch.as_tensor(outputs, dtype=torch.float64)
        count = self.outputs.numel()
        even = torch.linspace(-1, 1, max(count, 2), dtype=torch.float64)
        self.inputs = even if inputs is None else torch.as_tensor(inputs, dtype=torch.float64)
        for name, table in (("outputs", self.outputs), ("inputs", self.inputs)):
            rising = table.ndim == 1 and count >= 2 and bool((table.diff() > 0).all())
            if not rising or not bool(torch.isfinite(table).all()):
                raise InvalidArgument(name, table.tolist(), "at least two finite numbers that rise")
        if len(self.inputs) != count:
            raise InvalidArgument("inputs", f"{len(self.inputs)} numbers", f"as many as outputs, {count}")

    def _forward(self, x: Tensor) -> Tensor:
        return _interpolate(x, self.inputs, self.outputs)

    def _inverse(self, y: Tensor) -> Tensor:
        return _interpolate(y, self.outputs, self.inputs)

    def settings(self) -> dict[str, Any]:
        return {"inputs": self.inputs.tolist(), "outputs": self.outputs.tolist()}


class Quantise(Pointwise):
    """``y`` = the nearest of ``2^bits`` levels, evenly spaced from ``low`` to ``high`` (both are levels), as in files.

    The derivative is 1 where the estimate rounds to a level, and 0 beyond half a step outside the range.
    """

    tail = 2.0

    def __init__(self, shape: Sequence[int], bits: int, low: float = -1.0, high: float = 1.0) -> None:
        super().__init__(shape)
        _range(low, high)
        if not is_whole(bits, 1, 16):
            raise InvalidArgument("bits", bits, "an integer from 1 to 16")
        self.bits, self.low, self.high = bits, float(low), float(high)
        self.step = (self.high - self.low) / (2**bits - 1)

    @property
    def deviation(self) -> float:
        """The standard deviation of rounding, ``step / sqrt(12)``, for methods that take it for noise."""
        return self.step / math.sqrt(12)

    def _forward(self, x: Tensor) -> Tensor:
        index = ((x - self.low) / self.step).round().clamp(0, 2**self.bits - 1)
        return self.low + self.step * index

    def vjp(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        slope = self.slope(x)
        return self(x), lambda v: slope * v

    def slope(self, x: Tensor) -> Tensor:
        half = 0.5 * self.step
        return ((x >= self.low - half) & (x <= self.high + half)).to(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self._forward(y)

    def interval(self, y: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor]:
        """Half a step about each level, and no further than the first and the last: what is stored was in the range."""
        check_shape("y", y, self.out_shape)
        half = 0.5 * self.step + math.sqrt(3) * noise
        return (y - half).clamp_min(self.low), (y + half).clamp_max(self.high)

    def settings(self) -> dict[str, Any]:
        return {"bits": self.bits, "low": self.low, "high": self.high}


def _range(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InvalidArgument("low", low, f"a finite number below high, {high}")


def _interpolate(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Straight between the knots and on beyond the last ones."""
    knots, values = knots.to(x), values.to(x)
    above = torch.searchsorted(knots, x.detach().contiguous()).clamp(1, len(knots) - 1)
    below = above - 1
    slope = (values[above] - values[below]) / (knots[above] - knots[below])
    return values[below] + slope * (x - knots[below])
