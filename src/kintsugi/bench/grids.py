"""The pictures of a report: an image by every sampler, a line a number of steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .figures import picture
from .intervals import formatter
from .reading import Row

SHOWN = 6  # images of a problem in picture grids


@dataclass(frozen=True)
class Shot:
    """A picture of a grid, or its caption alone."""

    caption: str
    uri: str = ""
    alt: str = ""


@dataclass(frozen=True)
class Grid:
    """The pictures of an image: a line a number of steps, a column a sampler."""

    title: str
    header: list[str]
    lines: list[list[Shot]]


def grids_of(run: Path, rows: Sequence[Row], samplers: Sequence[str], metrics: Sequence[str]) -> tuple[list[Grid], str]:
    """A grid for each of the first images of a problem, and a remark on those that are left out."""
    kept = [row for row in rows if row["status"] == "done" and _image(run, row["id"])]
    names = sorted({row["image"] for row in kept})
    grids = [
        _grid(run, name, [row for row in kept if row["image"] == name], samplers, metrics) for name in names[:SHOWN]
    ]
    left = len(names) - SHOWN
    return grids, f"Pictures of {left} more images are in {run / 'images'}." if left > 0 else ""


def _grid(run: Path, name: str, rows: Sequence[Row], samplers: Sequence[str], metrics: Sequence[str]) -> Grid:
    columns = [sampler for sampler in samplers if any(row["sampler"] == sampler for row in rows)]
    given = [
        (label, _image(run, file)) for label, file in (("truth", f"truth-{name}"), ("measurement", _y(run, rows[0])))
    ]
    given = [(label, path) for label, path in given if path]
    metric = next((m for m in metrics if any(row[f"metric.{m}"] is not None for row in rows)), None)
    write = formatter(row[f"metric.{metric}"] for row in rows if metric and row[f"metric.{metric}"] is not None)
    lines = []
    for i, steps in enumerate(sorted({row["steps"] for row in rows})):
        line = [Shot(f"{steps} {'step' if steps == 1 else 'steps'}")]
        line += [Shot("", picture(path), f"{label}, {name}") if path and not i else Shot("") for label, path in given]
        for sampler in columns:
            here = [row for row in rows if row["sampler"] == sampler and row["steps"] == steps]
            path = _image(run, min(here, key=lambda row: row["seed"])["id"]) if here else None
            if path is None:
                line.append(Shot("-"))
                continue
            value = min(here, key=lambda row: row["seed"]).get(f"metric.{metric}")
            caption = f"{metric} {write(value)}" if value is not None else ""
            line.append(Shot(caption, picture(path), f"{sampler}, {steps} steps, {name}"))
        lines.append(line)
    seeds = {row["seed"] for row in rows}
    title = f"{name}, seed {min(seeds)}" if len(seeds) > 1 else name
    return Grid(title, ["", *(label for label, _ in given), *columns], lines)


def _y(run: Path, row: Row) -> str:
    """The name of its measurement's picture: the row's problem may have been given a longer name by `_distinct`."""
    problem = row["problem"]
    while problem and not _image(run, f"y-{problem}-{row['image']}"):
        problem = problem.rpartition(", ")[0]
    return f"y-{problem}-{row['image']}"


def _image(run: Path, name: str) -> Path | None:
    path = run / "images" / f"{name}.png"
    try:
        return path if not {"/", "\\"} & set(name) and path.is_file() else None
    except OSError:  # a name that is too long
        return None
