"""Units of work: items that are sent to a worker together.

A unit should cost enough to be worth sending, and little enough that a lost worker loses little and the last one to
end does not keep the others waiting. Items that need the same things should follow one another, since a worker keeps
the last of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..errors import InvalidArgument

Item = TypeVar("Item")
UNITS_A_WORKER = 8
LONGEST = 300.0  # seconds, where costs are seconds: what a lost worker may lose


@dataclass(frozen=True)
class Unit(Generic[Item]):
    """Items and their cost together, in whatever unit costs are."""

    items: tuple[Item, ...]
    cost: float


def target_cost(total: float, workers: int, longest: float = LONGEST) -> float:
    """A cost at which each of ``workers`` gets about ``UNITS_A_WORKER`` units, but no unit more than ``longest``."""
    return min(total / (UNITS_A_WORKER * workers), longest) or 1.0


def make_units(
    items: Iterable[Item],
    *,
    key: Callable[[Item], tuple[Hashable, ...]],
    cost: Callable[[Item], float],
    target: float,
    most: int | None = None,
) -> list[Unit[Item]]:
    """Units of about ``target``, the heavy ones first.

    Items of one ``key`` stay together, in their order, unless they cost more than ``target``: they are then cut into
    parts of about the same cost. Small groups join where the first word of their keys is the same: name there what is
    dear to change, such as the model. All units of one first word stand together, those of the most work first.
    ``most``: items in a unit.

    Errors: :class:`InvalidArgument` for ``target`` and ``most``, and for ``cost`` where one is negative or not finite.
    """
    if not target > 0:
        raise InvalidArgument("target", target, "a positive cost")
    if most is not None and most < 1:
        raise InvalidArgument("most", most, "at least 1 item")
    families: dict[Hashable, dict[tuple[Hashable, ...], list[tuple[Item, float]]]] = {}
    for item in items:
        name, price = key(item), float(cost(item))
        if not 0 <= price < math.inf:
            raise InvalidArgument("cost", price, "a finite cost of at least 0")
        families.setdefault(name[0], {}).setdefault(name, []).append((item, price))
    joined = [_join(list(groups.values()), target, most) for groups in families.values()]
    joined.sort(key=lambda units: -sum(unit.cost for unit in units))
    return [unit for units in joined for unit in sorted(units, key=lambda unit: -unit.cost)]


def _join(groups: Sequence[Sequence[tuple[Item, float]]], target: float, most: int | None) -> list[Unit[Item]]:
    """Large groups cut, small ones joined."""
    units: list[Unit[Item]] = []
    waiting: list[tuple[Item, float]] = []
    for group in groups:
        for part in _cut(group, target, most):
            full = _cost(waiting) + _cost(part) > target or (most is not None and len(waiting) + len(part) > most)
            if waiting and full:
                units.append(_unit(waiting))
                waiting = []
            waiting.extend(part)
    return [*units, _unit(waiting)] if waiting else units


def _cut(group: Sequence[tuple[Item, float]], target: float, most: int | None) -> list[list[tuple[Item, float]]]:
    """The group in parts of about the same cost, none much above ``target`` unless a single item is."""
    total = _cost(group)
    count = max(math.ceil(total / target), math.ceil(len(group) / (most or len(group))))
    parts: dict[int, list[tuple[Item, float]]] = {}
    before = 0.0
    for number, (item, price) in enumerate(group):
        # By the middle of the item on the line of all costs, or of all items where they cost nothing.
        middle = (before + price / 2) / total if total else (number + 0.5) / len(group)
        parts.setdefault(int(middle * count), []).append((item, price))
        before += price
    size = most or len(group)
    return [part[at : at + size] for part in parts.values() for at in range(0, len(part), size)]


def _cost(items: Sequence[tuple[Item, float]]) -> float:
    return sum(price for _, price in items)


def _unit(items: Sequence[tuple[Item, float]]) -> Unit[Item]:
    return Unit(tuple(item for item, _ in items), _cost(items))
