"""Means over images with 95 % t intervals, and which rows of a table are the best.

>>> t_interval([1.0, 2.0, 3.0])
Interval(mean=2.0, half=2.4841377118, images=3)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from scipy.special import stdtrit

from ..errors import InvalidArgument
from ..oracles import Distance

Key = tuple[str, str, int]
Goal = Literal["higher", "lower"] | float | None
K = TypeVar("K", bound=Hashable)

COSTS = ("forwards", "vjps", "seconds", "peak_mib")


@dataclass(frozen=True)
class Interval:
    """``mean ± half`` at 95 % over ``images`` images; ``half`` is None for one image or a mean that is not finite.

    ``values``: of each image, by name, where they are known.
    """

    mean: float
    half: float | None
    images: int
    values: Mapping[str, float] = field(default_factory=dict, repr=False, compare=False)

    def overlaps(self, other: Interval) -> bool:
        if self.mean == other.mean:
            return True
        return abs(self.mean - other.mean) <= (self.half or 0.0) + (other.half or 0.0)


def t_interval(values: Sequence[float]) -> Interval:
    """Student's interval of the mean of n >= 1 values: ``t(0.975, n - 1) s / sqrt(n)``, s with n - 1."""
    n = len(values)
    if n == 0:
        raise InvalidArgument("values", [], "at least one value")
    mean = math.fsum(values) / n if all(map(math.isfinite, values)) else float(sum(values))
    if n == 1 or not math.isfinite(mean):
        return Interval(mean, None, n)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return Interval(mean, round_off(float(stdtrit(n - 1, 0.975)) * math.sqrt(variance / n)), n)


def round_off(value: float) -> float:
    """``value`` to 11 digits: what is left of a spread of exactly equal numbers is no spread."""
    return float(f"{value:.10e}")


def summary(rows: Iterable[Mapping[str, Any]], metric: str) -> dict[Key, Interval]:
    """The mean of ``metric`` and its interval, by (problem, sampler, steps), over the rows that are done.

    Rows of one image (seeds) are averaged first, so that n counts images. ``metric`` is a metric's name, or one of
    ``COSTS``. Rows without a value (null, NaN) are left out, and a key without any value is absent.
    """
    rows = list(rows)
    column = metric if metric in COSTS else f"metric.{metric}"
    if rows and not any(column in row for row in rows):
        names = sorted({name.removeprefix("metric.") for row in rows for name in row if name.startswith("metric.")})
        raise InvalidArgument("metric", metric, f"one of {', '.join([*names, *COSTS])}")
    images: dict[Key, dict[str, list[float]]] = {}
    for row in rows:
        value = row.get(column)
        if row["status"] == "done" and value is not None and not math.isnan(value):
            key = (row["problem"], row["sampler"], row["steps"])
            images.setdefault(key, {}).setdefault(row["image"], []).append(float(value))
    found = {}
    for key, seeds in images.items():
        values = {image: sum(v) / len(v) for image, v in seeds.items()}
        found[key] = replace(t_interval(list(values.values())), values=values)
    return found


def goal(metric: str) -> Goal:
    """Whether a metric should be "higher", "lower" or near a number, as the metric itself says; None where it does not.

    ``metric`` is the name of one of :mod:`kintsugi.metrics`, with more words or without ("lpips-vgg"), or of a distance
    to an exact posterior (:class:`kintsugi.oracles.Distance`).

    >>> goal("psnr_y"), goal("lpips-vgg"), goal("coverage"), goal("spread"), goal("sliced_floor"), goal("beauty")
    ('higher', 'lower', 0.9, 1.0, None, None)
    """
    from ..metrics import Metric, SetMetric, available_metrics, available_set_metrics

    goals: dict[str, Goal] = dict(Distance.goals)
    classes: dict[str, type[Metric] | type[SetMetric]] = {**available_metrics(), **available_set_metrics()}
    for name, cls in classes.items():
        goals[name] = cls.best if cls.better == "none" else cls.better
    words = _words(metric)
    fits = [name for name in goals if words[: len(_words(name))] == _words(name)]
    return goals[max(fits, key=len)] if fits and words[-1] != "floor" else None


def _words(name: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in name.lower()).split()


def best(cells: Mapping[K, Interval], aim: Goal) -> tuple[set[K], set[K]]:
    """The keys that cannot be told from the best mean, and of these the ones with the best mean itself.

    Samplers restore the same images, some of which are harder for all: what is compared is the difference image by
    image, whose 95 % interval holds 0 where two cannot be told apart. Where the images are not the same, or a metric
    is to be near a number, two intervals that overlap stand for it. Only means over as many images as the fullest has
    are compared: one lucky picture is no winner.
    """
    most = max((cell.images for cell in cells.values()), default=0)
    full = {key: cell for key, cell in cells.items() if cell.images == most}
    if aim is None or not full:
        return set(), set()

    def loss(cell: Interval) -> float:
        if isinstance(aim, float):
            return abs(cell.mean - aim)
        return -cell.mean if aim == "higher" else cell.mean

    first = min(full.values(), key=loss)
    winners = {key for key, cell in full.items() if _tied(cell, first, aim)}
    return winners, {key for key in winners if loss(full[key]) == loss(first)}


def _tied(cell: Interval, first: Interval, aim: Goal) -> bool:
    paired = len(first.values) > 1 and cell.values.keys() == first.values.keys()
    if isinstance(aim, float) or not paired:
        return cell.overlaps(first)
    difference = t_interval([cell.values[image] - value for image, value in first.values.items()])
    return difference.mean == 0 or abs(difference.mean) <= (difference.half or 0.0)


def formatter(values: Iterable[float]) -> Callable[[float], str]:
    """One way to print all numbers of a column: 2 decimals for tens, 3 for what is below ten, four digits for small.

    >>> formatter([27.031, 3.0])(27.031), formatter([0.78612])(0.78612), formatter([0.00123])(0.00123)
    ('27.03', '0.786', '0.00123')
    """
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if largest and (largest < 1e-4 or largest >= 1e7):
        return lambda value: f"{value:.2e}"
    if largest >= 1000:
        decimals = 0
    elif largest >= 100:
        decimals = 1
    elif largest >= 10:
        decimals = 2
    else:
        decimals = 3 if largest >= 0.1 or not largest else 2 - math.floor(math.log10(largest))
    return lambda value: f"{value:.{decimals}f}"
