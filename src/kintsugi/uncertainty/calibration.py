"""Calibration: intervals of the width that had the right coverage on held-out pictures.

The spread of samples is wrong for three reasons: the model is not the distribution of the pictures, a few steps do not
sample it, and n samples estimate a standard deviation roughly. None depends on the one picture alone, so that what
happened on held-out pictures with known truth tells what to expect: :func:`fit` measures, among pixels with about the
same standard deviation s, the quantiles of the error of the mean. They are made to rise with s (isotonic regression),
and each picture has the same weight. The result (:class:`kintsugi.priors.calibration.Calibration`) stands in the
model's file, one for each sampler with its settings, number of steps and kind of problem (:func:`kind_of`), and is
applied only when asked for.

Coverage is then right on average over pictures like those and over pixels. It is not right for each picture, nor for
each part of one: for a guarantee see ``conformal.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InvalidArgument
from ..operators import LinearOperator, Mask
from ..priors.calibration import DUST, Calibration
from ..problem import Problem
from .intervals import Intervals, check_level, check_samples, student_reach

if TYPE_CHECKING:
    from ..samplers.base import Sampler

LEVELS = (0.5, 0.68, 0.8, 0.9, 0.95)
KNOTS = 12
NOTICEABLE = 0.01  # noise, in the units of the data: about one grey level of 255


def kind_of(problem: Problem) -> str:
    """What kind of problem it is, as far as the spread of its samples depends on it.

    >>> from kintsugi.operators import Bicubic
    >>> kind_of(Problem(torch.zeros(1, 3, 4, 4), Bicubic((3, 16, 16), 4), noise=0.1))
    'fewer pixels, noisy'
    """
    operator = problem.operator
    if not isinstance(operator, LinearOperator):
        word = f"nonlinear {type(operator).__name__}"
    elif operator.scalar is not None:
        word = "all pixels"
    elif isinstance(operator, Mask):
        word = _kind_of_mask(operator)
    elif operator.out_shape[0] < operator.in_shape[0]:
        word = "fewer channels"
    else:
        seen = operator.visible(torch.zeros(1, *operator.in_shape, dtype=_dtype(operator))).numel()
        word = "fewer pixels" if np.prod(operator.out_shape) < 0.9 * seen else "filtered"
    return f"{word}, {'noisy' if problem.model is not None or problem.noise > NOTICEABLE else 'exact'}"


def _dtype(operator: LinearOperator) -> torch.dtype:
    return torch.complex64 if operator.in_complex else torch.float32


def _kind_of_mask(operator: Mask) -> str:
    """Whether most missing pixels have a known neighbour."""
    known = operator(torch.ones(1, *operator.in_shape, dtype=_dtype(operator))).abs()[:, :1]
    known = (known > 0).float().reshape(1, 1, *operator.in_shape[1:])
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[known.ndim - 3]
    lonely = pool(known, 3, 1, 1) == 0
    return "large holes" if float(lonely.sum()) > 0.5 * float((known == 0).sum()) else "small holes"


def describe_sampler(sampler: Sampler) -> str:
    """The name of a sampler and what of its settings is not the default, in words.

    >>> from kintsugi.samplers import make_sampler
    >>> describe_sampler(make_sampler("kintsugi", texture=1))
    'kintsugi, texture 1'
    """
    words = [sampler.name]
    for f in fields(sampler):  # type: ignore[arg-type]
        default: Any = f.default_factory() if f.default_factory is not MISSING else f.default
        value = getattr(sampler, f.name)
        if value != default:
            words.append(f"{f.name} {value:g}" if isinstance(value, int | float) else f"{f.name} {value!r}")
    return ", ".join(words)


def fit(samples: Tensor, truth: Tensor, *, sampler: str, steps: int, kind: str) -> Calibration:
    """Measure the widths from ``samples`` (B, n, *S) of B problems of one kind, and their ``truth`` (B, *S).

    Errors: :class:`InvalidArgument` for shapes that do not fit, one sample, or nothing uncertain to measure.
    """
    n = check_samples(samples, 2, "a calibration")
    if truth.shape != samples[:, 0].shape:
        raise InvalidArgument("truth", tuple(truth.shape), f"the shape {tuple(samples[:, 0].shape)}")
    std = samples.std(1).flatten(1).double().cpu().numpy()
    error = (truth - samples.mean(1)).abs().flatten(1).double().cpu().numpy()
    open_ = std > DUST
    rows = [i for i in range(len(std)) if open_[i].any()]
    if not rows:
        raise InvalidArgument("samples", "samples that are all alike", "samples that differ")
    s = np.concatenate([std[i][open_[i]] for i in rows])
    e = np.concatenate([error[i][open_[i]] for i in rows])
    weight = np.concatenate([np.full(open_[i].sum(), 1 / open_[i].sum()) for i in rows])
    order = np.argsort(s)
    s, e, weight = s[order], e[order], weight[order]
    edges = np.searchsorted(np.cumsum(weight) / weight.sum(), np.linspace(0, 1, min(KNOTS, len(s)) + 1)[1:-1])
    parts = [part for part in np.split(np.arange(len(s)), np.unique(edges)) if len(part)]
    stds = [float(np.average(s[p], weights=weight[p])) for p in parts]
    parts = [p for k, p in enumerate(parts) if k == 0 or stds[k] > stds[k - 1]]  # equal ones: no knots of their own
    stds = sorted(set(stds))
    mass = np.array([weight[p].sum() for p in parts])
    table = [_rising(np.array([_quantile(e[p], weight[p], v) for p in parts]), mass) for v in LEVELS]
    raw = [float(np.average(e <= student_reach(v, n) * s, weights=weight)) for v in LEVELS]
    return Calibration(
        sampler=sampler,
        steps=steps,
        kind=kind,
        samples=n,
        images=len(rows),
        pixels=len(s),
        levels=LEVELS,
        stds=tuple(stds),
        reaches=tuple(tuple(row.tolist()) for row in np.maximum.accumulate(np.array(table), axis=0)),
        raw=tuple(raw),
    )


def find_calibration(known: Sequence[Calibration], sampler: Sampler, steps: int, problem: Problem) -> Calibration:
    """The one for this sampler, number of steps and kind of problem. Errors: :class:`InvalidArgument` if none is."""
    wanted = (describe_sampler(sampler), steps, kind_of(problem))
    for entry in known:
        if (entry.sampler, entry.steps, entry.kind) == wanted:
            return entry
    there = "; ".join(f"{c.sampler}, {c.steps} steps: {c.kind}" for c in known) or "none"
    got = f"{wanted[0]}, {steps} steps: {wanted[2]}"
    expected = f"a calibration in the model's file (there: {there}); see kintsugi calibrate"
    raise InvalidArgument("calibrated", got, expected)


def calibrated_intervals(samples: Tensor, level: float, known: Calibration) -> Intervals:
    """``m ± reach(level, s)`` of ``samples`` (B, n, *S), with a note on where the widths come from."""
    check_level(level)
    n = check_samples(samples, 2, "intervals")
    if not known.levels[0] <= level <= known.levels[-1]:
        raise InvalidArgument("level", level, f"from {known.levels[0]} to {known.levels[-1]}, as calibrated")
    mean, half = samples.mean(1), known.reach(level, samples.std(1))
    return Intervals(mean - half, mean + half, level, notes_of(known, n))


def calibrated_std(samples: Tensor, known: Calibration) -> Tensor:
    """What a standard deviation should be at each pixel, (B, *S): half the width of the calibrated 68 % interval."""
    check_samples(samples, 2, "a standard deviation")
    return known.reach(0.68, samples.std(1))


def notes_of(known: Calibration, n: int) -> tuple[str, ...]:
    """What a user should know who reads calibrated widths of n samples."""
    what = f"{known.sampler}, {known.steps} steps, {known.kind}"
    words = f"widths calibrated on {known.images} held-out pictures ({what})"
    if n != known.samples:
        words += f"; fitted with {known.samples} samples, these are {n}"
    return (words,)


def _quantile(values: np.ndarray[Any, Any], weights: np.ndarray[Any, Any], level: float) -> float:
    """The smallest value that a share ``level`` of the weights is not above."""
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(int(np.searchsorted(share, level)), len(values) - 1)])


def _rising(values: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Isotonic regression: neighbours that fall are replaced by their weighted mean until none does."""
    blocks: list[list[float]] = []  # value, weight, length
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        blocks.append([value, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            v, w, k = blocks.pop()
            last = blocks[-1]
            blocks[-1] = [(last[0] * last[1] + v * w) / (last[1] + w), last[1] + w, last[2] + k]
    return np.concatenate([np.full(int(k), v) for v, _, k in blocks])
