"""How likely a measurement is, for given parameters: a closed form in Fourier.

Let the signal be ``x = d + e`` with ``d`` known and ``e`` stationary of spectrum S. A family that commutes with shifts
then has ``y - A d`` stationary, of spectrum ``|k^|^2 S + sigma^2``, and

    -log p(y) = 1/2 sum over f and channels of  log(|k^|^2 S + sigma^2) + |FFT(y - A d)|^2 / (|k^|^2 S + sigma^2).   (1)

With ``d = 0`` and the spectrum of a model's data this is the marginal likelihood of the parameters, in which every
clean signal has been integrated out; with ``d = D(z, eta)`` and the spectrum of the model's errors at that level it is
``p(y | z)``. Unlike the joint maximum over signal and parameters, which prefers "no blur, and a blurred signal", (1)
charges for a signal's improbable lack of high frequencies. It is exact for circular operators and Gaussian signals.

Two corrections for the world. Pictures do not wrap around: the residual is multiplied by a window that falls to zero
at the border (Dahlhaus, 1983), its weighted mean is taken out, and the lowest frequencies, where the window's own
spectrum is all one sees, do not count. Pictures differ: the spectrum may be multiplied by ``exp(a + b log f)`` with a
level a and a slope b for each picture, for luma and for chroma, under weak Gaussian priors of the given widths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..operators.covariance import StationaryCovariance, frequency_radius, half_weights
from .descent import descend
from .families import Family, Values

# The share of each side over which the window rises from 0 to 1, and the periods a side below which nothing counts.
TAPER, LOWEST = 0.25, 3.0
# A fitted noise level is at least about this, so that the search cannot run away where there is none.
LEAST_NOISE = 1e-4


@dataclass(frozen=True)
class Freedom:
    """Standard deviations of the priors on what shapes a picture's spectrum, in natural logarithms.

    ``level``, ``slope`` and ``direction``: of cos and sin of twice and four times the angle of a frequency.
    """

    level: float = 1.0
    slope: float = 0.3
    direction: float = 0.3


class Evidence:
    """``-log p(y | theta, sigma)``, for y (B, C, *S) whose rows share the parameters.

    Parameters
    ----------
    covariance: of ``x - d``.
    mean: ``d`` on the canvas, (B n, C, *canvas), n samples for each row, over which (1) is averaged; None for zero.
    freedom: how freely the spectrum is fitted; None to take it as it is.
    weighting: parameters at which ``|k^|^2 S + sigma^2`` is held. What is left is a weighted least squares fit of
        ``A_theta d``, unbiased, since the error of a posterior mean is not correlated with it, and without the local
        minima in which a kernel explains a residual by a larger variance.
    """

    def __init__(
        self,
        family: Family,
        y: Tensor,
        covariance: StationaryCovariance,
        mean: Tensor | None = None,
        freedom: Freedom | None = None,
        weighting: Values | None = None,
    ) -> None:
        self.family, self.freedom = family, freedom
        self.y = y.detach().to("cpu", torch.float64)
        self.size = tuple(self.y.shape[2:])
        self.dims = tuple(range(2, self.y.ndim))
        self.like = torch.zeros((), dtype=torch.float64)
        circular = family.layout is None and family.boundary == "circular"
        radius = frequency_radius(self.size, half=True, like=self.like)
        self.spectrum = covariance.spectrum(radius)
        self.basis, self.deviations = _shapes(self.size, radius, freedom)
        self.weights = half_weights(self.size[-1]).expand(radius.shape).clone()
        self.taper = None
        if not circular:
            self.taper = _taper(self.size)
            self.weights[radius < LOWEST / min(self.size)] = 0
        self.mean = None
        if mean is not None:
            canvas = mean.detach().to("cpu", torch.float64)
            self._canvas = tuple(canvas.shape[2:])
            self.mean = torch.fft.rfftn(canvas, dim=self.dims)
        self.power = None if mean is not None else self._power(self.y)
        self.gain = None if weighting is None else self._gain(weighting).detach()

    @property
    def nuisances(self) -> int:
        """The numbers that shape the spectra, for luma and chroma of each row."""
        return 2 * len(self.basis) * len(self.y)

    def __call__(self, values: Values, sigma: Tensor, shape: Tensor) -> Tensor:
        """The sum (1) and the penalty of ``shape`` (``nuisances``,), up to a constant; differentiable in all three."""
        power = self._residual_power(values) if self.power is None else self.power
        return self.sum(power, self._gain(values) if self.gain is None else self.gain, sigma, shape)

    def _gain(self, values: Values) -> Tensor:
        """``|k^|^2`` on the grid of the measurement."""
        return self.family.response(values, self.size, self.like).abs().square()

    def sum(self, power: Tensor, gain: Tensor, sigma: Tensor, shape: Tensor, chosen: Tensor | None = None) -> Tensor:
        """(1) for the power (2, B, *half) of a residual and ``|k^|^2``; ``chosen`` frequencies stand for all."""
        weights, basis, spectrum = self.weights, self.basis, self.spectrum[:, None]
        gain = gain.expand(weights.shape)
        share = 1.0
        if chosen is not None:
            share = float(weights.sum() / weights.flatten()[chosen].sum())
            weights, gain = (v.flatten()[chosen] for v in (weights, gain))
            basis, spectrum, power = (v.flatten(-self.y.ndim + 2)[..., chosen] for v in (basis, spectrum, power))
        penalty = shape.new_zeros(())
        if len(basis):
            scales = shape.view(2, -1, len(basis))
            spectrum = spectrum * torch.einsum("crk,k...->cr...", scales, basis).exp()
            penalty = 0.5 * (scales / self.deviations).square().sum()
        total = gain * spectrum + sigma.square()
        luma, chroma = total.log()
        terms = luma + power[0] / total[0] + (self.y.shape[1] - 1) * chroma + power[1] / total[1]
        return 0.5 * share * (weights * terms).sum() + penalty

    def _residual_power(self, values: Values) -> Tensor:
        assert self.mean is not None
        response = self.family.response(values, self._canvas, self.like)
        measured = self.family.window(torch.fft.irfftn(self.mean * response, s=self._canvas, dim=self.dims))
        rows, n = len(self.y), len(measured) // len(self.y)
        residual = (self.y[:, None] - measured.view(rows, n, *self.y.shape[1:])).flatten(0, 1)
        return self._power(residual).view(2, rows, n, *self.weights.shape).mean(2)

    def _power(self, residual: Tensor) -> Tensor:
        """``|FFT|^2 / samples`` of luma, and of chroma summed over its plane: (2, rows, *half)."""
        if self.taper is not None:
            means = (residual * self.taper).sum(self.dims, keepdim=True) / self.taper.sum()
            residual = (residual - means) * self.taper
        transform = torch.fft.rfftn(residual, dim=self.dims)
        samples, channels = math.prod(self.size), residual.shape[1]
        # Not abs(): its derivative at zero is not a number.
        total = (transform.real.square() + transform.imag.square()).sum(1) / samples
        middle = transform.mean(1)
        luma = (middle.real.square() + middle.imag.square()) * (channels / samples)
        return torch.stack((luma, total - luma))


def _shapes(size: tuple[int, ...], radius: Tensor, freedom: Freedom | None) -> tuple[Tensor, Tensor]:
    """What the logarithm of a picture's spectrum may add, (K, *half), and the deviations of the K coefficients."""
    if freedom is None:
        return radius.new_zeros((0, *radius.shape)), radius.new_zeros(0)
    shapes, deviations = [torch.ones_like(radius), (radius.clamp_min(1e-3) / 0.1).log()], [freedom.level, freedom.slope]
    if len(size) == 2 and freedom.direction > 0:
        down, right = torch.fft.fftfreq(size[0]).to(radius), torch.fft.rfftfreq(size[1]).to(radius)
        angle = torch.atan2(down[:, None].expand(radius.shape), right.expand(radius.shape))
        for order in (2, 4):
            shapes += [torch.cos(order * angle), torch.sin(order * angle)]
            deviations += [freedom.direction] * 2
    return torch.stack(shapes), radius.new_tensor(deviations)


def _taper(size: tuple[int, ...]) -> Tensor:
    """A window that rises over ``TAPER`` of each side as a cosine, of mean square one."""
    out = torch.ones((), dtype=torch.float64)
    for n in size:
        at = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        edge = torch.minimum(at, 1 - at)
        out = out[..., None] * torch.where(edge < TAPER, 0.5 - 0.5 * torch.cos(math.pi * edge / TAPER), 1.0)
    return out / out.square().mean().sqrt()


@dataclass(frozen=True)
class Point:
    """Where a search stands: the unconstrained parameters, log sigma, the nuisances, and minus the log evidence."""

    free: Tensor
    log_sigma: float
    shape: Tensor
    cost: float = math.inf


def minimise(evidence: Evidence, start: Point, iterations: int, fixed_sigma: bool, hold: bool = False) -> Point:
    """Quasi-Newton steps on parameters (unless ``hold``), noise level and spectrum together, from ``start``."""
    n = len(start.free)
    first = torch.cat((start.free, torch.tensor([start.log_sigma], dtype=torch.float64), start.shape))
    keep = torch.ones_like(first)
    keep[:n] = 0.0 if hold else 1.0
    keep[n] = 0.0 if fixed_sigma else 1.0

    def cost(vector: Tensor) -> Tensor:
        sigma = vector[n].exp()
        if not fixed_sigma:
            sigma = (sigma.square() + LEAST_NOISE**2).sqrt()
        return evidence(evidence.family.values(vector[:n]), sigma, vector[n + 1 :])

    out, end = descend(cost, first, keep, max_iter=iterations, history_size=20, tolerance_change=1e-7)
    return Point(out[:n], float(out[n]), out[n + 1 :], end) if math.isfinite(end) else start


def search(evidence: Evidence, sigma: float | None, floor: float) -> Point:
    """The maximum of the marginal likelihood: a grid over the family's starts, then :func:`minimise` from the best.

    The zeros of a kernel make the maximum narrow, and a grid point beside it need not be the best one: a few steps are
    taken from the best for each value of the first parameter.

    ``sigma``: the known noise level; None where it is fitted, from a start of ``floor``. Where the power of a transfer
    function says too little (``family.oriented``), the parameters stay at the best start.
    """
    family = evidence.family
    assert evidence.power is not None
    counted = evidence.weights.flatten().nonzero()[:, 0]
    few = counted[torch.randperm(len(counted), generator=torch.Generator().manual_seed(0))[:4096]]
    points = []
    for values in family.starts():
        free = family.free(values)
        with torch.no_grad():
            gain = evidence._gain(family.values(free))
        points.append(_profile(evidence, gain, few, free, sigma, floor))
    points.sort(key=lambda point: point.cost)
    best: dict[float, Point] = {}
    for point in points:
        best.setdefault(float(point.free[0]), point)
    points = list(best.values())
    for iterations in (8, 60):
        ends = [minimise(evidence, p, iterations, sigma is not None, family.oriented) for p in points]
        points = sorted(ends, key=lambda point: point.cost)[:2]
    return points[0]


def _profile(evidence: Evidence, gain: Tensor, few: Tensor, free: Tensor, sigma: float | None, floor: float) -> Point:
    """The cost at given parameters with noise level and spectrum adapted, on a few frequencies."""
    start = torch.zeros(1 + evidence.nuisances, dtype=torch.float64)
    start[0] = math.log(sigma if sigma is not None else floor)
    keep = torch.ones_like(start)
    keep[0] = 0.0 if sigma is not None else 1.0
    assert evidence.power is not None
    power = evidence.power

    def cost(vector: Tensor) -> Tensor:
        return evidence.sum(power, gain, vector[0].exp(), vector[1:], few)

    out, end = descend(cost, start, keep, max_iter=6)
    return Point(free, float(out[0]), out[1:], end if math.isfinite(end) else math.inf)
