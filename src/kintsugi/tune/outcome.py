"""What a search came to: its best settings and the defaults on the images that it has not seen.

The rule: the settings that were found replace the defaults only if the 95 % interval of the difference, image by image
on the other half, lies above zero. They are one choice of many on the first half, where their score is flattered; the
other half has seen neither.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..bench.intervals import Interval, t_interval
from ..presets import Place
from .measure import Measurer
from .pictures import Crop
from .plan import Case, TunePlan
from .search import Found

NOTHING = "defaults: the search found nothing better on the images for tuning"
LUCK = "defaults: what was found is not better on the other images, beyond the 95 % interval"
UNSTABLE = "defaults: what was found fails on one of the other images"
RESCUE = "found: the defaults fail on these images"
BETTER = "found: better than the defaults on the other images, beyond the 95 % interval"


def entry(case: Case, plan: TunePlan, measurer: Measurer, crops: Sequence[Crop], found: Found) -> dict[str, Any]:
    """The entry of a preset, of plain values.

    ``score`` is that of the entry's own ``settings``; where they are the defaults although the search found others,
    these are under ``tried``.
    """
    place = Place.of_spec(case.problem)
    before = _measured(case, measurer, crops, {})
    after = _measured(case, measurer, crops, found.settings) if found.settings else before
    old, new = (None if m is None else _by_image(plan, crops, m) for m in (before, after))
    difference = None if old is None or new is None else t_interval([new[k] - old[k] for k in old])
    if not found.settings:
        verdict = NOTHING
    elif new is None:
        verdict = UNSTABLE
    elif old is None or difference is None:
        verdict = RESCUE
    else:
        verdict = BETTER if difference.half is not None and difference.mean > difference.half else LUCK
    taken = verdict in (BETTER, RESCUE)
    out: dict[str, Any] = {
        "sampler": case.sampler,
        **place.stated(),
        "steps": case.steps,
        "settings": dict(found.settings) if taken else {},
        "verdict": verdict,
        "score": _told(new if taken else old),
        "defaults": _told(old),
        "means": {"settings": _means(after if taken else before), "defaults": _means(before)},
        "trials": {"all": found.trials, "pruned": found.pruned, "failed": found.failed},
    }
    if taken:
        out["difference"] = _numbers(difference)
    elif found.settings:
        out["tried"] = {
            "settings": dict(found.settings),
            "score": _told(new),
            "difference": _numbers(difference),
            "means": _means(after),
        }
    return out


def _measured(
    case: Case, measurer: Measurer, crops: Sequence[Crop], settings: Mapping[str, Any]
) -> list[Mapping[str, float]] | None:
    """The metrics on each crop; None if one failed."""
    out = []
    for crop in crops:
        measured = measurer(case, settings, crop)
        if measured.values is None:
            return None
        out.append(measured.values)
    return out


def _by_image(plan: TunePlan, crops: Sequence[Crop], measured: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The objective of each picture, the mean over its crops: intervals are over pictures."""
    scores: dict[str, list[float]] = {}
    for crop, values in zip(crops, measured, strict=True):
        scores.setdefault(crop.picture, []).append(plan.score(values))
    return {picture: math.fsum(values) / len(values) for picture, values in scores.items()}


def _means(measured: Sequence[Mapping[str, float]] | None) -> dict[str, float] | None:
    if measured is None:
        return None
    return {name: _short(math.fsum(m[name] for m in measured) / len(measured)) for name in measured[0]}


def _told(scores: Mapping[str, float] | None) -> dict[str, float | int | None] | None:
    return None if scores is None else _numbers(t_interval(list(scores.values())))


def _numbers(interval: Interval | None) -> dict[str, float | int | None] | None:
    if interval is None:
        return None
    half = None if interval.half is None else _short(interval.half)
    return {"mean": _short(interval.mean), "half": half, "images": interval.images}


def _short(value: float) -> float:
    return float(f"{value:.5g}")
