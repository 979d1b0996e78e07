"""L-BFGS of many rows at once: each row's search asks for the loss at a point, and one evaluation answers all of them.

A search is a generator of one row: it yields a point and is sent the loss and its gradient there. So each row keeps a
history, a line search and a stop of its own, whatever its neighbours do, and :func:`minimise` evaluates the points of
all rows that still search in one batch.

The direction is that of Liu and Nocedal (1989), with ``H_0 = (s y)/(y y)`` of the latest pair, and pairs with
``s y <= 1e-10`` left out. The step satisfies the strong Wolfe conditions (Nocedal and Wright, algorithms 3.5 and 3.6)

    f(t) <= f(0) + 1e-4 t f'(0),    |f'(t)| <= 0.9 |f'(0)|,

with the minimum of the cubic through values and slopes as the next trial: at most ten times farther while no minimum is
enclosed, and a tenth of the interval away from its ends when two trials in a row fell near them (Schmidt's minFunc).
First trials, limits and stops are those of ``torch.optim.LBFGS(line_search_fn="strong_wolfe")``, so the points are too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Search = Generator[Tensor, tuple[float, Tensor], None]
# The loss and its gradient at points (R, ...) of the rows that are named; no gradient where a row shall stop.
Evaluate = Callable[[Tensor, Sequence[int]], Sequence[tuple[float, Tensor] | None]]

DECREASE, CURVATURE = 1e-4, 0.9
SMALL_GRADIENT, SMALL_CHANGE = 1e-7, 1e-9


def minimise(evaluate: Evaluate, first: Tensor, iterations: int) -> None:
    """Search from each row of ``first`` (B, ...) until every row has stopped; ``evaluate`` keeps what it finds."""
    searches = [search(row.flatten(), iterations) for row in first]
    asked = {i: next(s) for i, s in enumerate(searches)}
    while asked:
        rows = list(asked)
        points = torch.stack([asked[i] for i in rows]).view(-1, *first.shape[1:])
        for i, answer in zip(rows, evaluate(points, rows), strict=True):
            point = None if answer is None else _send(searches[i], answer[0], answer[1].flatten())
            if point is None:
                searches[i].close()  # its history is of no more use
                del asked[i]
            else:
                asked[i] = point


def _send(searching: Search, loss: float, gradient: Tensor) -> Tensor | None:
    """The next point of a search; None where it has ended."""
    try:
        return searching.send((loss, gradient))
    except StopIteration:
        return None


def most_evaluations(iterations: int) -> int:
    """What a search may take; one more where a line search has only begun."""
    return iterations * 5 // 4


def search(x: Tensor, iterations: int) -> Search:
    """L-BFGS from the vector ``x``: yields points, is sent ``(loss, gradient)``."""
    loss, g = yield x
    most = most_evaluations(iterations)
    evaluations, t = 1, min(1.0, 1 / max(float(g.abs().sum()), 1e-300))
    pairs: list[tuple[Tensor, Tensor]] = []
    for _ in range(iterations):
        if float(g.abs().max()) <= SMALL_GRADIENT:
            return
        d = direction(g, pairs)
        slope = float(g.dot(d))
        if not slope <= -SMALL_CHANGE:
            return
        found, trials = yield from line_search(x, d, t, Trial(0.0, loss, slope, g), most - evaluations)
        evaluations += trials
        s, y = found.t * d, found.g - g
        if float(s.dot(y)) > 1e-10:
            pairs.append((s, y))
        still = float(s.abs().max()) <= SMALL_CHANGE or abs(found.loss - loss) < SMALL_CHANGE
        if still or evaluations >= most:
            return
        x, loss, g, t = x + s, found.loss, found.g, 1.0


def direction(g: Tensor, pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """``-H g``, H the inverse Hessian that fits the pairs of steps and changes of the gradient, oldest first."""
    d, shares = -g, []
    inverse = [1 / s.dot(y) for s, y in pairs]
    for (s, y), r in zip(reversed(pairs), reversed(inverse), strict=True):
        shares.append(r * s.dot(d))
        d = d - shares[-1] * y
    if pairs:
        s, y = pairs[-1]
        d = s.dot(y) / y.dot(y) * d
    for (s, y), r, share in zip(pairs, inverse, reversed(shares), strict=True):
        d = d + (share - r * y.dot(d)) * s
    return d


class Trial(NamedTuple):
    """A point of a line search: the step, the loss, its slope along the line, its gradient."""

    t: float
    loss: float
    slope: float
    g: Tensor


def line_search(
    x: Tensor, d: Tensor, t: float, origin: Trial, most: int
) -> Generator[Tensor, tuple[float, Tensor], tuple[Trial, int]]:
    """A step along ``d`` with the strong Wolfe conditions, ``t`` tried first, and the number of trials.

    At most ``most`` and one. Where no trial meets them it is the lowest end of the last interval.
    """

    def too_high(trial: Trial) -> bool:  # or not a number
        return not trial.loss <= origin.loss + DECREASE * trial.t * origin.slope

    def fits(trial: Trial) -> bool:
        return abs(trial.slope) <= -CURVATURE * origin.slope

    before, trials = origin, 0
    while True:  # farther, until a minimum is enclosed
        loss, g = yield x + t * d
        now, trials = Trial(t, loss, float(g.dot(d)), g), trials + 1
        if too_high(now) or (trials > 2 and now.loss >= before.loss):
            break
        if fits(now):
            return now, trials
        if now.slope >= 0:
            break
        if trials > most:
            return now, trials
        t = cubic(before, now, now.t + 0.01 * (now.t - before.t), 10 * now.t)
        before = now
    low, high = (before, now) if before.loss <= now.loss or now.loss != now.loss else (now, before)
    size, near = float(d.abs().max()), False
    while trials <= most and abs(high.t - low.t) * size >= SMALL_CHANGE:  # narrower, until a trial fits
        left, right = min(low.t, high.t), max(low.t, high.t)
        t, margin = cubic(low, high, left, right), 0.1 * (right - left)
        close = min(right - t, t - left) < margin
        if close and (near or not left < t < right):
            t = right - margin if right - t < t - left else left + margin
            close = False
        near = close
        loss, g = yield x + t * d
        now, trials = Trial(t, loss, float(g.dot(d)), g), trials + 1
        if too_high(now) or now.loss >= low.loss:
            high = now
            if high.loss < low.loss:
                low, high = high, low
        else:
            if fits(now):
                return now, trials
            if now.slope * (high.t - low.t) >= 0:
                high = low
            low = now
    return low, trials


def cubic(a: Trial, b: Trial, left: float, right: float) -> float:
    """Where the cubic through the values and slopes of two trials is least, kept between ``left`` and ``right``; the
    middle of these where it has no minimum."""
    a, b = (a, b) if a.t <= b.t else (b, a)
    bend = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = bend**2 - a.slope * b.slope
    if square >= 0:
        root = math.sqrt(square)
        below = b.slope - a.slope + 2 * root
        t = b.t - (b.t - a.t) * (b.slope + root - bend) / below if below else math.nan
        if math.isfinite(t):
            return min(max(t, left), right)
    return (left + right) / 2
