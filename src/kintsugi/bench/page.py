"""The content of a report, in whatever format: facts, and for each problem its table, plots and pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .figures import Drawing, Style, curves, picture_width, swatch
from .grids import Grid, grids_of
from .reading import STATUSES, Row, files_of
from .tables import Cell, by_key, cells_of, costs, plain, set_columns, titled

METHOD = (
    "Each number is a mean over images, after averaging the seeds of each image; ± is the half-width of Student's 95 % "
    "confidence interval over images (none for a single image). Bold: the best mean of a column (in colour), and those "
    "that cannot be told from it: the 95 % interval of their difference, image by image, holds 0. In brackets: "
    "the number of images, where it is not all of them. Forwards and VJPs are evaluations of the network and of its "
    "derivative, as counted in the rows. ↑: higher is better; ↓: lower is better. FID and KID are of a set of "
    "pictures, whose number is in brackets, and have no interval: compare sets of one size only."
)


@dataclass
class Section:
    """What there is to say of one problem."""

    name: str
    about: str
    header: list[str]
    table: list[list[Cell]]
    troubles: list[str]
    key: list[tuple[str, Drawing]] = field(default_factory=list)
    plots: list[Drawing] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    more: str = ""


@dataclass(frozen=True)
class Page:
    """The content of a report, in whatever format."""

    title: str
    facts: list[tuple[str, str]]
    warnings: list[str]
    method: str
    sections: list[Section]
    settings: list[str]
    suite: str
    width: int
    crisp: bool


def make_page(run: Path, suite: Mapping[str, Any], rows: list[Row]) -> Page:
    """The content of the report of a run, from its suite and rows (:mod:`.reading`)."""
    samplers = _ordered({row["sampler"] for row in rows}, suite.get("samplers"))
    styles = {name: Style(i) for i, name in enumerate(samplers)}
    problems = _ordered({row["problem"] for row in rows}, suite.get("problems") or suite.get("oracles"))
    metrics = _ordered({name[7:] for row in rows for name in row if name.startswith("metric.")}, suite.get("metrics"))
    sections = []
    for problem in problems:
        here = [row for row in rows if row["problem"] == problem]
        section = _section(problem, here, samplers, metrics)
        section.plots = _plots(problem, here, samplers, metrics, styles)
        drawn = {row["sampler"] for row in here if row["status"] == "done"}
        section.key = [(name, swatch(styles[name])) for name in samplers if name in drawn] if section.plots else []
        section.grids, section.more = grids_of(run, here, samplers, metrics)
        sections.append(section)
    facts, warnings = _facts(run, suite, rows)
    width, crisp = picture_width(next(iter(sorted((run / "images").glob("truth-*.png"))), None))
    title = str(suite.get("title") or suite.get("name") or run.resolve().name)
    text = json.dumps(suite, indent=2, ensure_ascii=False)
    return Page(title, facts, warnings, METHOD, sections, _settings(rows, samplers, problems), text, width, crisp)


def _ordered(names: Iterable[str], stated: object) -> list[str]:
    """``names`` in the order of the suite's list of names or of objects with a name, then of the alphabet."""
    items = list(stated) if isinstance(stated, list | tuple | dict) else []
    places: dict[str, int] = {}
    for item in items:
        words = (item.get("label"), item.get("name")) if isinstance(item, dict) else (item,)
        for word in words:
            places.setdefault(str(word), len(places))

    def place(name: str) -> tuple[int, str]:
        whole = places.get(name)
        starts = [p for word, p in places.items() if word and name.startswith((f"{word} (", f"{word}, "))]
        return (whole if whole is not None else min(starts, default=len(places)), name.lower())

    return sorted(names, key=place)


def _facts(run: Path, suite: Mapping[str, Any], rows: Sequence[Row]) -> tuple[list[tuple[str, str]], list[str]]:
    counts = {status: sum(row["status"] == status for row in rows) for status in STATUSES}
    times = [datetime.fromtimestamp(path.stat().st_mtime, UTC) for path in files_of(run)]
    first, last = (f"{time:%Y-%m-%d %H:%M}" for time in (min(times), max(times)))
    images = {row["image"] for row in rows if row["image"]}
    forwards, vjps, seconds = (math.fsum(row[name] or 0 for row in rows) for name in ("forwards", "vjps", "seconds"))
    facts = [
        ("suite", str(suite.get("name", ""))),
        ("priors", ", ".join(sorted({row["prior"] for row in rows}))),
        ("images", f"{len(images)}" if images else "none"),
        ("seeds, samples", " / ".join(", ".join(map(str, sorted({r[n] for r in rows}))) for n in ("seed", "samples"))),
        ("rows", ", ".join(f"{n} {status}" for status, n in counts.items())),
        ("network", f"{forwards:,.0f} forwards + {vjps:,.0f} VJPs"),
        ("time", f"{seconds / 3600:.2f} hours" if seconds >= 36 else f"{seconds:.1f} seconds"),
        ("rows written", f"{first} UTC" if first == last else f"{first} to {last} UTC"),
    ]
    made: dict[str, dict[str, int]] = {}
    for row in rows:
        for name, value in json.loads(row["versions"]).items():
            values = made.setdefault(name, {})
            values[str(value)] = values.get(str(value), 0) + 1
    for name, values in made.items():
        some = [value if len(values) == 1 else f"{value or 'unknown'} ({n} rows)" for value, n in values.items()]
        facts.append((name, "; ".join(some)))
    warnings = []
    if len(made.get("device", {})) > 1:
        warnings.append("the rows were made on several devices; their seconds cannot be compared.")
    if counts["failed"]:
        warnings.append(f"{counts['failed']} rows failed; what is below their tables says why.")
    return [(name, value) for name, value in facts if value], warnings


def _section(problem: str, rows: Sequence[Row], samplers: Sequence[str], metrics: Sequence[str]) -> Section:
    done = [row for row in rows if row["status"] == "done"]
    keys = sorted({(row["sampler"], row["steps"]) for row in rows}, key=lambda key: (samplers.index(key[0]), key[1]))
    every = len({row["image"] for row in rows})
    used = [name for name in metrics if any(row[f"metric.{name}"] is not None for row in rows)]
    columns = [("forwards + VJPs", costs(done)), ("seconds", plain(by_key(done, "seconds")))]
    columns += [(titled(name), cells_of(by_key(done, name), name, every)) for name in used]
    columns += set_columns(done)
    if any(row["peak_mib"] for row in done):
        columns.append(("peak MiB", plain(by_key(done, "peak_mib"))))
    missing = Cell("-", off=True)
    table = []
    for key in keys:
        statuses = {row["status"] for row in rows if (row["sampler"], row["steps"]) == key}
        other = missing if "done" in statuses else Cell("failed" if "failed" in statuses else "refused", off=True)
        first = columns[0][1].get(key, other)
        table.append([Cell(key[0]), Cell(str(key[1])), first, *(cells.get(key, missing) for _, cells in columns[1:])])
    noises = ", ".join(f"{noise:g}" for noise in sorted({row["noise"] for row in rows if row["noise"] is not None}))
    about = f"{every} {'image' if every == 1 else 'images'}" + (
        f", noise {noises} in units of [-1, 1]" if noises else ""
    )
    return Section(
        problem, about, ["sampler", "steps", *(name for name, _ in columns)], table, _troubles(rows, samplers)
    )


def _troubles(rows: Sequence[Row], samplers: Sequence[str]) -> list[str]:
    """A sentence for each reason for which rows are not done."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row["status"] != "done":
            groups.setdefault((row["sampler"], row["status"], row["message"]), []).append(row)
    lines = []
    for (sampler, status, message), members in sorted(groups.items(), key=lambda item: samplers.index(item[0][0])):
        steps = ", ".join(map(str, sorted({row["steps"] for row in members})))
        count = f"{len(members)} {'row' if len(members) == 1 else 'rows'}"
        lines.append(f"{sampler}, steps {steps}: {status} ({count}): {message or 'no reason given'}")
    return lines


def _plots(
    problem: str, rows: Sequence[Row], samplers: Sequence[str], metrics: Sequence[str], styles: Mapping[str, Style]
) -> list[Drawing]:
    done = [row for row in rows if row["status"] == "done"]
    network = [{**row, "forwards": (row["forwards"] or 0) + (row["vjps"] or 0)} for row in done]
    costs = [("forwards + VJPs", by_key(network, "forwards")), ("seconds", by_key(done, "seconds"))]
    plots = []
    for metric in metrics:
        values = {key: cell for key, cell in by_key(done, metric).items() if math.isfinite(cell.mean)}
        for label, cost in costs:
            lines = {
                name: [(cost[key].mean, values[key]) for key in sorted(values) if key[0] == name and key in cost]
                for name in samplers
            }
            lines = {name: points for name, points in lines.items() if points}
            if lines:
                plots.append(curves(lines, styles, label, titled(metric), problem))
    return plots


def _settings(rows: Sequence[Row], samplers: Sequence[str], problems: Sequence[str]) -> list[str]:
    """For each sampler the settings that its rows state, and where several, for which problems and steps."""
    lines = []
    for sampler in samplers:
        groups: dict[str, list[Row]] = {}
        for row in rows:
            if row["sampler"] == sampler:
                groups.setdefault(json.dumps(json.loads(row["settings"]), sort_keys=True), []).append(row)
        for settings, members in groups.items():
            words = ", ".join(f"{name} = {json.dumps(value)}" for name, value in json.loads(settings).items())
            where = ""
            if len(groups) > 1:
                steps = ", ".join(map(str, sorted({row["steps"] for row in members})))
                names = {row["problem"] for row in members}
                where = f" [{', '.join(name for name in problems if name in names)}; steps {steps}]"
            lines.append(f"{sampler}: {words or 'its defaults'}{where}")
    return lines
