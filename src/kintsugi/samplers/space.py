"""What of a sampler can be tuned: for each setting the values that are worth trying.

A sampler states its space beside its settings, one line each:

    space = {"w": Range(2.0, 200.0, log=True), "tau": Range(0.3, 0.9)}

A name with a dot is a field of a setting that is an object: ``schedule.eta`` is the first level of ``schedule``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..errors import InvalidArgument
from ..solvers.first_order import FirstOrder
from .schedule import Schedule

DIGITS = 4


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both of them included; ``log``: tried uniformly in their logarithm.

    >>> Range(0.1, 10.0, log=True).tidy(3.14159265), 20.0 in Range(0.1, 10.0)
    (3.142, False)
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise InvalidArgument("high", self.high, f"a finite number above the low end, {self.low}")
        if self.log and self.low <= 0:
            raise InvalidArgument("low", self.low, "a number above 0, for a logarithm")

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def tidy(self, value: float) -> float:
        """``value`` to four digits, as a preset states it; never beyond the ends."""
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)


@dataclass(frozen=True)
class Choice:
    """One of ``values``, which are words, numbers or truth values."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(set(self.values)) < max(len(self.values), 2):
            raise InvalidArgument("values", self.values, "at least two different values")

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def tidy(self, value: Any) -> Any:
        """``value`` as it is."""
        return value


Space = Mapping[str, Range | Choice]


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Names with a dot as mappings within mappings, as files of settings have them.

    >>> nested({"lam": 1.0, "schedule.eta": 5.0, "schedule.end": 0.1})
    {'lam': 1.0, 'schedule': {'eta': 5.0, 'end': 0.1}}
    """
    out: dict[str, Any] = {}
    for name, value in values.items():
        *outer, last = name.split(".")
        place = out
        for word in outer:
            place = place.setdefault(word, {})
        place[last] = value
    return out


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of :func:`nested`.

    >>> flat({"lam": 1.0, "schedule": {"eta": 5.0, "end": 0.1}})
    {'lam': 1.0, 'schedule.eta': 5.0, 'schedule.end': 0.1}
    """
    out: dict[str, Any] = {}
    for name, value in values.items():
        inner = flat(value) if isinstance(value, Mapping) else None
        out |= {name: value} if inner is None else {f"{name}.{key}": v for key, v in inner.items()}
    return out


# Settings that are objects, and what makes one of its fields.
_OBJECTS: Mapping[str, Callable[..., Any]] = {"schedule": Schedule, "solver": FirstOrder}


def as_objects(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of plain values, as a file has them, with the objects that they stand for.

    Errors: :class:`InvalidArgument` for a field that there is not.
    """
    return {name: _object(name, value) for name, value in settings.items()}


def _object(name: str, value: Any) -> Any:
    if name not in _OBJECTS or not isinstance(value, Mapping):
        return value
    known = {field.name for field in fields(_OBJECTS[name])}  # type: ignore[arg-type]
    for word in value:
        if word not in known:
            raise InvalidArgument(f"{name}.{word}", value[word], f"one of {name}'s fields: {', '.join(sorted(known))}")
    return _OBJECTS[name](**{word: tuple(v) if isinstance(v, list) else v for word, v in value.items()})
