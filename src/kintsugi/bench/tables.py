"""The tables of a report: a line a sampler and number of steps, a column a cost or a metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .intervals import Interval, best, formatter, goal, summary, t_interval
from .reading import Row


@dataclass(frozen=True)
class Cell:
    """A cell of a table: ``best`` or as good as that, the ``first`` of those; ``off`` is grey."""

    text: str
    best: bool = False
    first: bool = False
    off: bool = False


def by_key(rows: Sequence[Row], metric: str) -> dict[tuple[str, int], Interval]:
    """The mean of a metric or a cost by (sampler, steps), over the images of one problem."""
    return {(sampler, steps): cell for (_, sampler, steps), cell in summary(rows, metric).items()}


def costs(rows: Sequence[Row]) -> dict[tuple[str, int], Cell]:
    """Forwards and VJPs."""
    forwards, vjps = by_key(rows, "forwards"), by_key(rows, "vjps")
    return {
        key: Cell(f"{_count(cell.mean)} + {_count(vjps[key].mean) if key in vjps else '-'}")
        for key, cell in forwards.items()
    }


def set_columns(rows: Sequence[Row]) -> list[tuple[str, dict[tuple[str, int], Cell]]]:
    """Metrics of sets, the mean over seeds, and of how many pictures; bold and coloured is the best one."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["sampler"], row["steps"]), []).append(row)
    columns = []
    for column in sorted({name for row in rows for name in row if name.startswith("set.") and name != "set.images"}):
        values, counts = {}, {}
        for key, members in groups.items():
            seeds = {row["seed"]: row[column] for row in members if row.get(column) is not None}
            if seeds:
                values[key] = t_interval([math.fsum(seeds.values()) / len(seeds)])
                counts[key] = min(row["set.images"] for row in members if row["seed"] in seeds)
        metric = column.removeprefix("set.")
        write, leads = formatter(cell.mean for cell in values.values()), best(values, goal(metric))[1]
        cells = {k: Cell(f"{write(v.mean)} ({counts[k]})", k in leads, k in leads) for k, v in values.items()}
        if cells:
            columns.append((f"{titled(metric)} (pictures)", cells))
    return columns


def plain(cells: Mapping[tuple[str, int], Interval]) -> dict[tuple[str, int], Cell]:
    """Means without their intervals."""
    write = formatter(cell.mean for cell in cells.values())
    return {key: Cell(write(cell.mean)) for key, cell in cells.items()}


def _count(value: float) -> str:
    return f"{value:.0f}" if abs(value - round(value)) < 0.05 else f"{value:.1f}"


def cells_of(cells: Mapping[tuple[str, int], Interval], metric: str, every: int) -> dict[tuple[str, int], Cell]:
    """Means with their intervals, the best in bold; in brackets the number of images where it is not ``every`` one."""
    write, winners, leads = formatter(cell.mean for cell in cells.values()), *best(cells, goal(metric))
    texts = {}
    for key, cell in cells.items():
        text = write(cell.mean) + (f" ± {write(cell.half)}" if cell.half is not None else "")
        texts[key] = Cell(text + (f" ({cell.images})" if cell.images < every else ""), key in winners, key in leads)
    return texts


def titled(metric: str) -> str:
    """Its name, and where better is."""
    aim = goal(metric)
    if isinstance(aim, float):
        return f"{metric} (best {aim:g})"
    return metric + {"higher": " ↑", "lower": " ↓", None: ""}[aim]
