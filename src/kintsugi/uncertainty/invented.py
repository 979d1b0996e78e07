"""Which part of the spread no measurement supports: what a restoration invented.

The samples x_i of one measurement differ by deviations ``d_i = x_i - mean``. A measurement ``y = A x + sigma n`` says
nothing of what lies in the null space of A, and little of a direction of singular value ``sqrt(lam)`` whose noise is
large. For a signal whose directions have the variance s^2 beforehand, it leaves the share

    f(lam) = sigma^2 / (s^2 lam + sigma^2)        f(0) = 1

of that variance. So the deviations are split into an unsupported and a supported part,

    d^N = f(A^T A)^{1/2} d        d^R = (1 - f(A^T A))^{1/2} d        |d^N|^2 + |d^R|^2 = |d|^2,

v^N and v^R are the variances of the two at each pixel, and the map is ``v^N / (v^N + v^R)``. Without noise f is the
projection on the null space, ``d^N = d - A^+ A d``. The sum of ``v^N + v^R`` over the pixels is that of the variance:
the two parts of a single pixel may be correlated, those of the whole signal are not.

A that is not linear is replaced by its derivative at the mean of the samples, noise that is not white by the white
noise that the samplers see. A measurement that says of each coefficient of ``T x`` in which interval it lies (rounding,
saturation, JPEG: ``operators/intervals.py``) is one of T with the variance of its interval as noise, a third of the
square of half its width: f is 0 for a pixel that is known, 1 for one that was clipped. Where A has an unknown margin
beyond the visible signal, the deviations are mirrored there.

From few samples a share is uncertain. Both variances are averaged over the channels and shrunk towards their mean over
the neighbouring 5^d pixels, with the weight of ``SHRINKAGE`` further samples; and a pixel in which the samples agree to
about one grey level of 255 has nothing to divide up: the map is multiplied by ``v / (v + FLOOR^2)``.

The map says what was left open, not what is wrong. Where it is dark the measurement decides, if the operator is right.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InvalidArgument
from ..operators.covariance import StationaryCovariance
from ..operators.intervals import Intervals
from ..problem import Problem
from .grid import as_signal, check_rows, linear_at, on_grid, row_problem, together
from .intervals import check_samples

SHRINKAGE = 2.0  # samples
FLOOR = 2 / 255  # a grey level of 8 bits, in the units of the data
WINDOW = 5


def invented(problem: Problem, samples: Tensor, *, signal_variance: float = 0.25) -> Tensor:
    """The share of each pixel's variance that no measurement supports: (B, 1, *space), in [0, 1].

    samples: (B, n, *S) of the B measurements of ``problem``, n at least 2. signal_variance: s^2 of a direction before
    the measurement; 0.25 is that of a photograph's pixel in [-1, 1]. It matters only where there is noise.

    >>> from kintsugi.operators import Mask
    >>> keep = torch.tensor([[1, 0, 1, 1]])
    >>> x = torch.randn(1, 8, 1, 1, 4, generator=torch.Generator().manual_seed(0)) * (1 - keep)
    >>> problem = Problem(torch.zeros(1, 1, 1, 4), Mask(keep, (1, 1, 4)))
    >>> [round(float(v), 2) for v in invented(problem, x).flatten()]
    [0.0, 1.0, 0.0, 0.0]
    """
    null, measured = split_variance(problem, samples, signal_variance=signal_variance)
    n = samples.shape[1]
    null, measured = null.mean(1, keepdim=True), measured.mean(1, keepdim=True)
    variance = samples.var(1).mean(1, keepdim=True)
    weight = SHRINKAGE / (n - 1 + SHRINKAGE)
    shrunk = [(1 - weight) * v + weight * _local_mean(v) for v in (null, measured)]
    share = shrunk[0] / (shrunk[0] + shrunk[1]).clamp_min(torch.finfo(variance.dtype).tiny)
    return share * variance / (variance + FLOOR**2)


def split_variance(problem: Problem, samples: Tensor, *, signal_variance: float = 0.25) -> tuple[Tensor, Tensor]:
    """``(v^N, v^R)``: the unsupported and the supported part of the variance of ``samples`` (B, n, *S), each (B, *S).

    Real for complex signals too. Errors: :class:`InvalidArgument` for one sample, or samples of another problem.
    """
    n = check_samples(samples, 2, "a map of what was invented; --samples 2 or more on the command line")
    check_rows(problem, samples)
    if not 0 < signal_variance < float("inf"):
        raise InvalidArgument("signal_variance", signal_variance, "a positive number")
    rows = []
    for i in range(len(samples)):
        alone = row_problem(problem, i)
        x = as_signal(samples[i], alone)
        mean = x.mean(0, keepdim=True)
        split = _splitter(alone, mean, signal_variance)
        null = measured = torch.zeros_like(mean.abs())
        for part in x.split(together(alone.operator)):
            d = on_grid(part - mean, alone.operator)
            unsupported, supported = (alone.operator.visible(v).abs().square().sum(0, keepdim=True) for v in split(d))
            null, measured = null + unsupported, measured + supported
        rows.append((null / (n - 1), measured / (n - 1)))
    return torch.cat([a for a, _ in rows]), torch.cat([b for _, b in rows])


def _splitter(alone: Problem, mean: Tensor, s2: float) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """``d -> (d^N, d^R)`` for deviations on the operator's grid."""
    if isinstance(alone.operator, Intervals):
        return _interval_splitter(alone.operator, alone, s2)
    operator, noise2 = linear_at(alone.operator, on_grid(mean, alone.operator)), alone.noise**2

    def less(lam: Tensor) -> Tensor:
        return ((noise2 / (s2 * lam + noise2)).sqrt() - 1) / lam

    def rest(lam: Tensor) -> Tensor:
        return (s2 * lam / (s2 * lam + noise2)).sqrt() / lam

    def split(d: Tensor) -> tuple[Tensor, Tensor]:
        read = operator(d)
        return d + operator.adjoint(operator.gram(less, read)), operator.adjoint(operator.gram(rest, read))

    return split


def _interval_splitter(operator: Intervals, alone: Problem, s2: float) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    lower, upper = operator.interval(alone.y, alone.noise)
    noise2 = ((upper - lower) / 2).square() / 3
    before = operator.variances(StationaryCovariance(lambda radius: torch.full((2, *radius.shape), s2)), alone.y)
    share = torch.where(noise2.isinf(), 1.0, noise2 / (before.to(noise2) + noise2))

    def split(d: Tensor) -> tuple[Tensor, Tensor]:
        t = operator.transform(d)
        return d + operator.back((share.sqrt() - 1).to(t) * t), operator.back((1 - share).sqrt().to(t) * t)

    return split


def _local_mean(v: Tensor) -> Tensor:
    """Over ``WINDOW`` pixels along each axis of space of (B, 1, *space); fewer at the border."""
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[v.ndim - 3]
    return pool(v, WINDOW, 1, WINDOW // 2, count_include_pad=False)
