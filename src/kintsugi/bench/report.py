"""What a run found, as one HTML page that needs nothing else, and as Markdown: tables, plots, pictures, settings."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import InvalidFile
from ..files import atomic_path
from ..optional import optional
from .figures import Drawing, Style, curves, picture, picture_width, swatch
from .intervals import Interval, best, formatter, goal, summary, t_interval
from .sets import read_sets, with_sets
from .store import row_files

Row = dict[str, Any]
TEXT = ("id", "prior", "image", "problem", "sampler", "settings", "status", "message", "versions")
WHOLE = ("steps", "seed", "samples")
REAL = ("noise", "forwards", "vjps", "seconds", "peak_mib")
STATUSES = ("done", "refused", "failed")
SHOWN = 6  # images of a problem in picture grids

METHOD = (
    "Each number is a mean over images, after averaging the seeds of each image; ± is the half-width of Student's 95 % "
    "confidence interval over images (none for a single image). Bold: the best mean of a column (in colour), and those "
    "that cannot be told from it: the 95 % interval of their difference, image by image, holds 0. In brackets: "
    "the number of images, where it is not all of them. Forwards and VJPs are evaluations of the network and of its "
    "derivative, as counted in the rows. ↑: higher is better; ↓: lower is better. FID and KID are of a set of "
    "pictures, whose number is in brackets, and have no interval: compare sets of one size only."
)


def report(run: Path, output: Path | None = None) -> tuple[Path, Path]:
    """Write the report of the run in ``run``: its HTML and its Markdown file.

    ``output``: a name ending in .html, which the Markdown file shares, or a folder for ``report.html`` and
    ``report.md``; None is ``run``. Errors: :class:`InvalidFile` where the run is not whole.
    """
    run = Path(run)
    output = run if output is None else Path(output)
    html = output if output.suffix.lower() in (".html", ".htm") else output / "report.html"
    jinja2 = optional("jinja2", "bench", "a benchmark's report")
    suite, rows = _suite(run), _distinct(with_sets(read_rows(run), read_sets(run)))
    page = _page(run, suite, rows)
    template = (Path(__file__).parent / "report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    texts = {html: environment.from_string(template).render(vars(page)), html.with_suffix(".md"): _markdown(page)}
    html.parent.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return html, html.with_suffix(".md")


def read_rows(run: Path) -> list[Row]:
    """The rows of a run, each id once (done before refused and failed, else the last by file name), with equal keys.

    Errors: :class:`InvalidFile` for a folder without rows, a file that is not Parquet, a column that is missing or
    holds something else.
    """
    run = Path(run)
    found: dict[str, Row] = {}
    for path in _files(run):
        for row in _read(path):
            known = found.get(row["id"])
            if known is None or STATUSES.index(row["status"]) <= STATUSES.index(known["status"]):
                found[row["id"]] = row
    if not found:
        raise InvalidFile(run / "rows", "no rows yet; has the benchmark run?")
    metrics = sorted({name for row in found.values() for name in row if name.startswith("metric.")})
    names = [*TEXT, *WHOLE, *REAL, *metrics]
    return [{name: row.get(name) for name in names} for row in found.values()]


def _files(run: Path) -> list[Path]:
    """Its Parquet files, without those that are being written."""
    if not run.is_dir():
        raise InvalidFile(run, "no such folder")
    return row_files(run)


def _read(path: Path) -> list[Row]:
    pyarrow = optional("pyarrow", "bench", "a benchmark's rows")
    parquet = optional("pyarrow.parquet", "bench", "a benchmark's rows")
    try:
        with parquet.ParquetFile(path) as file:
            rows: list[Row] = file.read(use_threads=False).to_pylist()
            columns = set(file.schema_arrow.names)
    except (OSError, pyarrow.ArrowException) as error:
        raise InvalidFile(path, f"cannot be read as Parquet ({' '.join(str(error).split())[:200]})") from error
    missing = [name for name in (*TEXT, *WHOLE, *REAL) if name not in columns]
    if missing:
        raise InvalidFile(path, f"the columns {', '.join(missing)} are missing")
    for row in rows:
        row["message"] = row["message"] or ""
        _check(path, row)
    return rows


def _check(path: Path, row: Row) -> None:
    for name, value in row.items():
        if name in TEXT:
            right = isinstance(value, str)
        elif name in WHOLE:
            right = isinstance(value, int) and not isinstance(value, bool)
        elif name in REAL or name.startswith("metric."):
            right = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        else:
            continue
        if not right:
            kind = "a text" if name in TEXT else "an integer" if name in WHOLE else "a number"
            raise InvalidFile(path, f"{name}: expected {kind}, got {value!r}")
    if row["status"] not in STATUSES:
        raise InvalidFile(path, f"status: expected one of {', '.join(STATUSES)}, got {row['status']!r}")
    for name in ("settings", "versions"):
        _mapping(path, row[name], f"{name}: ")


def _suite(run: Path) -> dict[str, Any]:
    if not run.is_dir():
        raise InvalidFile(run, "no such folder")
    path = run / "suite.json"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise InvalidFile(path, f"cannot be read ({error}); is {run} the folder of a benchmark's run?") from error
    return _mapping(path, text)


def _mapping(path: Path, text: str, where: str = "") -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidFile(path, f"{where}not JSON ({error})") from error
    if not isinstance(value, dict):
        raise InvalidFile(path, f"{where}expected a JSON object, got {text[:80]}")
    return value


def _distinct(rows: Sequence[Row]) -> list[Row]:
    """Rows whose names tell apart what must not be averaged.

    A problem's name gets the prior and the noise, a sampler's the number of samples and its settings, where one image
    and seed was restored with several.
    """
    priors = {row["prior"] for row in rows}
    noises: dict[str, set[float | None]] = {}
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        noises.setdefault(row["problem"], set()).add(row["noise"])
        key = (row["prior"], row["image"], row["problem"], row["noise"], row["sampler"], row["steps"], row["seed"])
        groups.setdefault(key, []).append(row)
    varied: dict[str, set[str]] = {}
    for members in groups.values():
        several = [_options(row) for row in members]
        for name in {name for options in several for name in options}:
            if len({json.dumps(options.get(name), sort_keys=True) for options in several}) > 1:
                varied.setdefault(members[0]["sampler"], set()).add(name)
    named = []
    for row in rows:
        options, names = _options(row), varied.get(row["sampler"], set())
        problem = [row["problem"]]
        if len(priors) > 1:
            problem.append(row["prior"])
        if len(noises[row["problem"]]) > 1:
            problem.append(f"noise {row['noise']:g}" if row["noise"] is not None else "noise unknown")
        words = ", ".join(f"{name}={options[name]}" for name in sorted(names & options.keys()))
        sampler = f"{row['sampler']} ({words})" if words else row["sampler"]
        named.append({**row, "problem": ", ".join(problem), "sampler": sampler})
    return named


def _options(row: Row) -> dict[str, Any]:
    return {**json.loads(row["settings"]), "samples": row["samples"]}


@dataclass(frozen=True)
class Cell:
    """A cell of a table: ``best`` or as good as that, the ``first`` of those; ``off`` is grey."""

    text: str
    best: bool = False
    first: bool = False
    off: bool = False


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


def _page(run: Path, suite: Mapping[str, Any], rows: list[Row]) -> Page:
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
        section.grids, section.more = _grids(run, here, samplers, metrics)
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
    times = [datetime.fromtimestamp(path.stat().st_mtime, UTC) for path in _files(run)]
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
    columns = [("forwards + VJPs", _costs(done)), ("seconds", _plain(_by_key(done, "seconds")))]
    columns += [(_titled(name), _cells(_by_key(done, name), name, every)) for name in used]
    columns += _set_columns(done)
    if any(row["peak_mib"] for row in done):
        columns.append(("peak MiB", _plain(_by_key(done, "peak_mib"))))
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


def _by_key(rows: Sequence[Row], metric: str) -> dict[tuple[str, int], Interval]:
    return {(sampler, steps): cell for (_, sampler, steps), cell in summary(rows, metric).items()}


def _costs(rows: Sequence[Row]) -> dict[tuple[str, int], Cell]:
    forwards, vjps = _by_key(rows, "forwards"), _by_key(rows, "vjps")
    return {
        key: Cell(f"{_count(cell.mean)} + {_count(vjps[key].mean) if key in vjps else '-'}")
        for key, cell in forwards.items()
    }


def _set_columns(rows: Sequence[Row]) -> list[tuple[str, dict[tuple[str, int], Cell]]]:
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
            columns.append((f"{_titled(metric)} (pictures)", cells))
    return columns


def _plain(cells: Mapping[tuple[str, int], Interval]) -> dict[tuple[str, int], Cell]:
    """Means without their intervals."""
    write = formatter(cell.mean for cell in cells.values())
    return {key: Cell(write(cell.mean)) for key, cell in cells.items()}


def _count(value: float) -> str:
    return f"{value:.0f}" if abs(value - round(value)) < 0.05 else f"{value:.1f}"


def _cells(cells: Mapping[tuple[str, int], Interval], metric: str, every: int) -> dict[tuple[str, int], Cell]:
    write, winners, leads = formatter(cell.mean for cell in cells.values()), *best(cells, goal(metric))
    texts = {}
    for key, cell in cells.items():
        text = write(cell.mean) + (f" ± {write(cell.half)}" if cell.half is not None else "")
        texts[key] = Cell(text + (f" ({cell.images})" if cell.images < every else ""), key in winners, key in leads)
    return texts


def _titled(metric: str) -> str:
    """Its name, and where better is."""
    aim = goal(metric)
    if isinstance(aim, float):
        return f"{metric} (best {aim:g})"
    return metric + {"higher": " ↑", "lower": " ↓", None: ""}[aim]


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
    costs = [("forwards + VJPs", _by_key(network, "forwards")), ("seconds", _by_key(done, "seconds"))]
    plots = []
    for metric in metrics:
        values = {key: cell for key, cell in _by_key(done, metric).items() if math.isfinite(cell.mean)}
        for label, cost in costs:
            lines = {
                name: [(cost[key].mean, values[key]) for key in sorted(values) if key[0] == name and key in cost]
                for name in samplers
            }
            lines = {name: points for name, points in lines.items() if points}
            if lines:
                plots.append(curves(lines, styles, label, _titled(metric), problem))
    return plots


def _grids(run: Path, rows: Sequence[Row], samplers: Sequence[str], metrics: Sequence[str]) -> tuple[list[Grid], str]:
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
    return path if not {"/", "\\"} & set(name) and path.is_file() else None


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


def _markdown(page: Page) -> str:
    blocks = [f"# {_escape(page.title)}", _list(f"{name}: {value}" for name, value in page.facts)]
    blocks += [f"**Note:** {_escape(warning)}" for warning in page.warnings]
    blocks += [_escape(page.method), "Plots and pictures are in the HTML report."]
    for section in page.sections:
        blocks += [f"## {_escape(section.name)}", _escape(section.about)]
        table = [[f"**{_escape(c.text)}**" if c.best else _escape(c.text) for c in row] for row in section.table]
        blocks.append(_table([_escape(name) for name in section.header], table))
        if section.troubles:
            blocks.append(_list(section.troubles))
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", page.suite)), default=0))
    blocks += ["## Settings", _list(page.settings), f"{fence}json\n{page.suite}\n{fence}"]
    return "\n\n".join(blocks) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_escape(line)}" for line in lines)


def _escape(text: str) -> str:
    """Text that Markdown shows as it is, also within a table; underscores within words mean nothing to it."""
    words = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"[\\`*|\[\]]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", words)
