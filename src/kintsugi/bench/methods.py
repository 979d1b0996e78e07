"""The methods that a suite may name: the samplers of the library, and those of others (``deepinv:DDRM``).

A suite is text, so settings that are objects are written as their fields: ``schedule: {eta: null, tau: 1.0, end: null,
grid: time}`` is a :class:`kintsugi.samplers.Schedule`, and ``solver: {churn: 1.0}`` a first-order solver.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..samplers import Sampler, available_samplers, make_sampler
from ..samplers.space import as_objects
from .deepinv import METHODS, Deepinv

PREFIX = "deepinv:"


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
    return make_sampler(name, **as_objects(settings))
