"""The methods that a suite may name: the samplers of the library, and those of others (``deepinv:DDRM``).

A suite is text, so settings that are objects are written as their fields: ``schedule: {eta: null, tau: 1.0, end: null,
grid: time}`` is a :class:`kintsugi.samplers.Schedule`, and ``solver: {churn: 1.0}`` a first-order solver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import InvalidArgument
from ..samplers import Sampler, Schedule, available_samplers, make_sampler
from ..solvers import FirstOrder
from .deepinv import METHODS, Deepinv

PREFIX = "deepinv:"
_OBJECTS: Mapping[str, Callable[..., Any]] = {"schedule": Schedule, "solver": FirstOrder}


def available_methods() -> list[str]:
    """Every name that a suite may give."""
    return [*available_samplers(), *(PREFIX + name for name in METHODS)]


def make_method(name: str, settings: Mapping[str, Any]) -> Sampler:
    """The method ``name`` with ``settings`` of plain values in place of its defaults.

    Errors: :class:`InvalidArgument`, ``TypeError``.

    >>> make_method("ddrm", {"schedule": {"eta": 4.0, "grid": "time"}}).schedule.eta
    4.0
    """
    if name.startswith(PREFIX):
        return Deepinv(name.removeprefix(PREFIX), tuple(sorted(settings.items())))
    made = {key: _object(key, value) for key, value in settings.items()}
    return make_sampler(name, **made)


def _object(key: str, value: Any) -> Any:
    if key not in _OBJECTS or not isinstance(value, Mapping):
        return value
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in value.items()}
    try:
        return _OBJECTS[key](**values)
    except TypeError as error:
        raise InvalidArgument(key, dict(value), f"the fields of a {_OBJECTS[key].__name__} ({error})") from error
