"""Measurements that say of each coefficient in which interval it lies: rounding, saturation, JPEG.

    lower_i <= (T x)_i <= upper_i,    T linear with T T^+ = I:  samples as they are, or block DCT coefficients

is all that such a measurement knows, and more than a derivative at a point can tell: inside the interval nothing is
preferred, outside nothing is possible. What is known of x before, a Gaussian of mean d whose coefficients have the
variances v_i, becomes with it a truncated Gaussian, and its mean moves d by

    T^+ (E[t_i | lower_i <= t_i <= upper_i] - (T d)_i),    t_i ~ N((T d)_i, v_i)

coefficient by coefficient: :meth:`Intervals.conditional_mean`. Behind a linear operator B (saturation after a blur),
the mean m_i and the variance s_i^2 of the truncated Gaussian stand for a reading with Gaussian noise (one step of
expectation propagation),

    B x = t + (m - t) v / (v - s^2) + noise,    of variance v s^2 / (v - s^2),    t = B d

with which x is estimated as with any other: :func:`conditional_mean_behind`. Noise of the measurement widens the
intervals to those of a uniform distribution of the same variance.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import DEFAULT_ACCURACY, Accuracy, LinearOperator, Operator
from .covariance import SideBySide, StationaryCovariance, half_weights
from .iterative import conjugate_gradients


class Intervals(Operator):
    """An operator whose measurements are intervals.

    ``tail``: by how much the squares of a denoiser's errors exceed the variances that a stationary covariance states
    for them, where it matters: in busy places, whose coefficients are large. Chosen on photographs.
    """

    tail: float = 8.0

    def transform(self, x: Tensor) -> Tensor:
        """``T x``."""
        return x

    def back(self, t: Tensor) -> Tensor:
        """``T^+ t``, (B, *in_shape)."""
        return t

    def interval(self, y: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor]:
        """The least and the largest coefficients, of the shape of ``T x``, that agree with ``y`` (B, *out_shape)."""
        raise NotImplementedError

    def variances(self, covariance: StationaryCovariance, like: Tensor) -> Tensor:
        """The diagonal of ``T C T^T``, broadcastable to ``T x`` for ``like`` (B, *in_shape)."""
        return sample_variance(covariance, like)

    def centre(self, y: Tensor, noise: float = 0.0) -> Tensor:
        """The signal nearest to ``A^+ y`` whose coefficients are in the middle of their intervals, (B, *in_shape)."""
        x = self.pinv(y)
        lower, upper = self.interval(y, noise)
        return x + self.back((lower + upper) / 2 - self.transform(x))

    def nearest(self, x: Tensor, y: Tensor, noise: float = 0.0) -> Tensor:
        """``x`` with each coefficient moved into the interval of ``y``; both (B, ...)."""
        lower, upper = self.interval(y, noise)
        t = self.transform(x)
        return x + self.back(t.clamp(lower, upper) - t)

    def conditional_mean(self, d: Tensor, y: Tensor, covariance: StationaryCovariance, noise: float = 0.0) -> Tensor:
        """The mean of a Gaussian about ``d`` (B, *in_shape) given ``y``; see the module."""
        lower, upper = self.interval(y, noise)
        t = self.transform(d)
        variances = (self.tail * self.variances(covariance, d)).expand_as(t)
        return d + self.back(truncated_moments(t, variances, lower, upper)[0].to(d) - t)


def conditional_mean_behind(
    outer: Intervals,
    inner: LinearOperator,
    d: Tensor,
    y: Tensor,
    covariance: StationaryCovariance,
    noise: float = 0.0,
    accuracy: Accuracy = DEFAULT_ACCURACY,
) -> Tensor:
    """The mean of a Gaussian about ``d`` (B, *in_shape) given ``y = outer(inner(x))``, for samples (T the identity)."""
    lower, upper = outer.interval(y, noise)
    t = inner(d)
    draw = torch.randn(inner.in_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(d)
    probe = inner(covariance.root(draw.expand_as(d)))
    v = outer.tail * probe.square().mean(tuple(range(2, t.ndim)), keepdim=True).clamp_min(1e-12)
    m, s2 = truncated_moments(t, v.expand_as(t), lower, upper)
    lost = (1 - s2 / v).clamp_min(1e-4)  # of the variance; next to nothing where t is well inside its interval
    variance = (s2 / lost).clamp_min(1e-6 * v).to(t)
    residual = ((m - t) / lost).to(t)
    u = conjugate_gradients(
        lambda u: outer.tail * inner(covariance(inner.adjoint(u))) + variance * u, residual,
        precondition=lambda r: r / (variance + v), tolerance=accuracy.tolerance, iterations=accuracy.iterations,
    )  # fmt: skip
    return d + outer.tail * covariance(inner.adjoint(u))


def sample_variance(covariance: StationaryCovariance, like: Tensor) -> Tensor:
    """The variance of one sample of a signal (B, C, *S) of this covariance, a scalar: the mean of its spectrum.

    Of sources side by side one a channel, (C, 1, ...).
    """
    if isinstance(covariance, SideBySide):
        each = [(n, sample_variance(part, like[:, :n])) for n, part in covariance.parts]
        return torch.stack([v for n, v in each for _ in range(n)]).view(-1, *(1,) * (like.ndim - 2))
    values = covariance.values(like)
    size = like.shape[2:]
    luma, chroma = (values * half_weights(size[-1]).to(values)).flatten(1).sum(1) / math.prod(size)
    channels = like.shape[1]
    return (luma + (channels - 1) * chroma) / channels


def truncated_moments(mean: Tensor, variance: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of ``t ~ N(mean, variance)`` given ``lower <= t <= upper``, element by element, float64.

    The bounds may be infinite. Far from the interval the mean is near the nearer bound, and in a narrow one its middle.

    >>> [round(float(v), 4) for v in truncated_moments(*(torch.tensor(v) for v in (0.0, 1.0, 0.0, float("inf"))))]
    [0.7979, 0.3634]
    """
    scale = variance.double().sqrt().clamp_min(1e-30)
    low, high = (lower - mean).double() / scale, (upper - mean).double() / scale
    mirrored = low + high < 0  # so that the interval lies to the right of the mean, where tails are accurate
    a, b = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
    log_a, log_b = torch.special.log_ndtr(-a), torch.special.log_ndtr(-b)
    log_mass = log_a + torch.log1p(-torch.exp((log_b - log_a).clamp_max(-1e-15)))
    at_a, at_b = torch.exp(_log_density(a) - log_mass), torch.exp(_log_density(b) - log_mass)
    narrow = b - a < 1e-2
    middle = (a + b) / 2 * (1 - (b - a) ** 2 / 12)  # to second order in the width
    shift = torch.where(narrow, middle, at_a - at_b)
    shift = torch.maximum(torch.minimum(shift, b), a)
    ends = torch.where(a.isinf(), 0.0, a * at_a) - torch.where(b.isinf(), 0.0, b * at_b)
    share = torch.where(narrow, (b - a) ** 2 / 12, (1 + ends - shift**2).clamp(1e-12, 1.0))
    return mean.double() + scale * torch.where(mirrored, -shift, shift), scale**2 * share


def _log_density(z: Tensor) -> Tensor:
    return -0.5 * z.square() - 0.5 * math.log(2 * math.pi)
