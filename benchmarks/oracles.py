"""Hold every sampler to exact posteriors: docs/oracles.md and docs/pictures/oracles.png.

    python benchmarks/oracles.py                                  # what is missing in docs/oracles.jsonl, then both
    python benchmarks/oracles.py --only dps,mmps --again dps      # two samplers; one of them is computed again
    python benchmarks/oracles.py --oracles all --budget 300       # every oracle, and patience
    python benchmarks/oracles.py --render-only

Each sampler runs with its defaults on each oracle (``kintsugi.oracles``) at each number of steps. A row of the results
is one such run; it is written when it is done, and is not computed again unless the sampler's defaults have changed.
Seconds are of the processor, with one thread by default, so that other work on the machine does not count.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

import kintsugi
from kintsugi.errors import InvalidArgument
from kintsugi.files import atomic_path
from kintsugi.oracles import Oracle, available_oracles, distance, oracle
from kintsugi.samplers import available_samplers, make_sampler

DOCS = Path(__file__).parent.parent / "docs"
Row = dict[str, Any]
Key = tuple[str, str, int]

# Of each family, with and without noise, one that samplers find easy and one that they do not.
DEFAULT_ORACLES = (
    "gaussian-mask",
    "gaussian-box-noisy",
    "gaussian-bicubic-noisy",
    "gaussian-projection",
    "mixture-16-noisy",
    "mixture-256",
    "line",
    "phase",
)


class OverBudget(Exception):
    """A run that takes much longer than a run of few steps had promised."""


# --- running ----------------------------------------------------------------------------------------------------------


def run(known: Oracle, sampler: str, steps: int, samples: int, limit: float) -> Row:
    """One row: distances and cost, or why there are none."""
    began = time.process_time()

    def watch(done: int, total: int) -> None:
        if time.process_time() - began > limit:
            raise OverBudget

    try:
        result = kintsugi.restore(
            known.problem, known.prior, sampler, steps=steps, samples=samples, batch=samples, tile=None, progress=watch
        )
    except OverBudget:
        return {"skipped": f"stopped after {limit:.0f} s"}
    except FloatingPointError:
        return {"failed": "unstable", "seconds": round(time.process_time() - began, 3)}
    except InvalidArgument as error:
        return {"refused": str(error)}
    seconds = time.process_time() - began
    measured = asdict(distance(result.samples[0], known, generator=1))
    numbers = {name: value if value is None else float(f"{value:.4g}") for name, value in measured.items()}
    cost = {"forwards": round(result.cost.forwards, 2), "vjps": round(result.cost.vjps, 2)}
    return numbers | cost | {"seconds": round(seconds, 3)}


def estimate(rows: dict[Key, Row], sampler: str, name: str, steps: int) -> float:
    """Seconds of a run, from the longest shorter one; 0 where there is none."""
    mine = [row for row in rows.values() if (row["sampler"], row["oracle"]) == (sampler, name) and "seconds" in row]
    shorter = [(row["steps"], row["seconds"]) for row in mine if row["steps"] < steps]
    return max(shorter)[1] * steps / max(shorter)[0] if shorter else 0.0


def finished(row: Row | None, settings: str, samples: int) -> bool:
    """Whether a row need not be computed again."""
    return row is not None and (row["settings"], row["samples"]) == (settings, samples) and "seconds" in row


def collect(
    results: Path,
    samplers: Sequence[str],
    oracles: Sequence[str],
    steps: Sequence[int],
    samples: int,
    budget: float,
    again: Sequence[str],
    say: Callable[[str], None] = print,
) -> None:
    """Compute what is missing in the file of results."""
    rows = {key: row for key, row in read(results).items()
            if not (key[0] in again and key[1] in oracles and key[2] in steps)}  # fmt: skip
    write(results, rows.values())
    for name in oracles:
        known = oracle(name)
        for sampler in samplers:
            settings = repr(make_sampler(sampler))
            for n in sorted(steps):
                key = (sampler, name, n)
                if finished(rows.get(key), settings, samples):
                    continue
                row = {"sampler": sampler, "oracle": name, "steps": n, "samples": samples, "settings": settings}
                row |= attempt(known, sampler, n, samples, budget, estimate(rows, sampler, name, n))
                if row != rows.get(key):
                    say(describe(row))
                    with results.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                rows[key] = row
    write(results, read(results).values())  # another process may have added to it


def attempt(known: Oracle, sampler: str, steps: int, samples: int, budget: float, seconds: float) -> Row:
    """A run, unless the sampler refuses the problem or would take too long."""
    try:
        make_sampler(sampler).check(known.prior, known.problem)
    except InvalidArgument as error:
        return {"refused": str(error)}
    if seconds > budget:
        return {"skipped": f"about {seconds:.0f} s"}
    return run(known, sampler, steps, samples, limit=2 * budget)


def describe(row: Row) -> str:
    """What happened, in a line."""
    start = f"{row['oracle']:24s} {row['sampler']:12s} {row['steps']:5d}  "
    for why in ("refused", "skipped", "failed"):
        if why in row:
            return f"{start}{why}: {row[why]}"
    modes = "" if row["modes"] is None else f", modes {row['modes']:.3f}"
    return (
        f"{start}mean {number(row['mean'])}, spread {number(row['spread'])}, sliced {number(row['sliced'])} "
        f"(floor {row['sliced_floor']:.2f}){modes}; {row['seconds']:.1f} s"
    )


def read(results: Path) -> dict[Key, Row]:
    """The latest row of each run; what an interrupted write left is passed over."""
    rows: dict[Key, Row] = {}
    for line in results.read_text().splitlines() if results.exists() else ():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[row["sampler"], row["oracle"], row["steps"]] = row
    return rows


def write(results: Path, rows: Iterable[Row]) -> None:
    """All rows, in order, each once; those of oracles and samplers that are not there (any more) last."""
    places = [{name: i for i, name in enumerate(known)} for known in (available_oracles(), available_samplers())]

    def place(row: Row) -> tuple[int, int, int]:
        return places[0].get(row["oracle"], 999), places[1].get(row["sampler"], 999), row["steps"]

    kept = sorted(rows, key=place)
    with atomic_path(results) as path:
        path.write_text("".join(json.dumps(row) + "\n" for row in kept))


# --- the page ---------------------------------------------------------------------------------------------------------

PAGE = """# Every sampler against exact posteriors

<!-- Made by `python benchmarks/oracles.py`; do not edit. -->

An *oracle* (`kintsugi.oracles`) is a prior, a measurement and the posterior, which is known: in closed form for
Gaussian images with the 1/f² spectrum of photographs and for mixtures of Gaussians, by quadrature for phase retrieval.
Each sampler drew {samples} samples with its defaults. Nothing was tuned here: defaults are for photographs.

{legend}

![Distances to the posterior against the number of steps](pictures/oracles.png)

A row of panels is a kind of method: its own in colour, all others in grey. A value is the geometric mean over the
oracles of the family; what leaves the panel is at its edge. Dashed: a spread of 1, the floor of the sliced distance.

```bash
python benchmarks/oracles.py --budget 600     # what is here took {minutes:.0f} minutes on one core; --help
```

```python
from kintsugi import oracles, restore

oracle = oracles.oracle("gaussian-mask")
result = restore(oracle.problem, oracle.prior, "ddnm", steps=20, samples=256, tile=None)
oracles.distance(result.samples[0], oracle)  # of any samples: your own method's too
```
"""

LEGEND = """All distances are in the posterior's standard deviation (root mean square over the elements of the signal):

- **mean**: the error of the mean of the samples; 0 is right. {samples} samples leave about {chance:.2f} to chance.
- **spread**: the standard deviation of the samples over the true one; 1 is right, 0 is a single restored image.
- **sliced**: the sliced Wasserstein-2 distance to as many exact draws; the floor, exact draws to exact draws, is given
  for each oracle, and what is within a quarter of it is **bold**: these samples cannot be told from exact ones.
- **modes**: for mixtures, the total variation distance of the shares of the modes, from 0 to 1.

`unstable`: not finite or, in the first table, farther than {diverged:.0f} deviations on one of the oracles. `-`: the
method does not take the problem.{missing} Costs are network evaluations a step for a sample, at the fewest
steps that ran."""
MISSING = " `time`: left out, {least} s or more by the time of fewer steps. `?`: not run."


def render(rows: dict[Key, Row], folder: Path) -> None:
    """``oracles.md`` and ``pictures/oracles.png`` in ``folder``."""
    rows = {key: row for key, row in rows.items() if key[0] in available_samplers() and key[1] in available_oracles()}
    samplers = [name for name in available_samplers() if any(key[0] == name for key in rows)]
    names = [name for name in available_oracles() if any(key[1] == name for key in rows)]
    steps = sorted({key[2] for key in rows})
    samples = max((row["samples"] for row in rows.values()), default=0)
    minutes = max(1.0, sum(row.get("seconds", 0.0) for row in rows.values()) / 60)
    left_out = [int(n) for row in rows.values() for n in re.findall(r"(\d+) s", row.get("skipped", ""))]
    whole = not left_out and all((s, name, n) in rows for s in samplers for name in names for n in steps)
    missing = "" if whole else MISSING.format(least=min(left_out, default=0))
    legend = LEGEND.format(samples=samples, chance=max(samples, 1) ** -0.5, diverged=DIVERGED, missing=missing)
    parts = [PAGE.format(samples=samples, minutes=minutes, legend=legend), summary(rows, samplers, names, steps)]
    parts += [section(rows, samplers, name, steps) for name in names]
    with atomic_path(folder / "oracles.md") as path:
        path.write_text("\n".join(parts))
    (folder / "pictures").mkdir(exist_ok=True)
    draw(rows, samplers, names, steps, folder / "pictures" / "oracles.png")


FAMILIES = {"gaussian": "Gaussian images", "mixture": "25 modes", "line": "one number", "phase": "phase retrieval"}


# Farther than this from the posterior, in its standard deviations, a mean over oracles would say nothing.
DIVERGED = 100.0


def family(name: str) -> str:
    """That of an oracle."""
    return name.split("-")[0]


def summary(rows: dict[Key, Row], samplers: Sequence[str], names: Sequence[str], steps: Sequence[int]) -> str:
    """The sliced distance of each method on each family of oracles."""
    present = [f for f in FAMILIES if any(family(name) == f for name in names)]
    header = ["sampler", "forwards + VJPs", *(FAMILIES[f] for f in present)]
    lines = [[f"`{s}`", cost(rows, s), *(_trend(rows, s, f, names, steps) for f in present)] for s in samplers]
    floors = [_floor(rows, [n for n in names if family(n) == f]) for f in present]
    lines.append(["*exact draws*", "", *(f"{floor:.2f}" for floor in floors)])
    ladder = ", ".join(str(n) for n in steps)
    text = f"## In one table\n\nSliced distance at {ladder} steps: the geometric mean over the oracles of a family.\n"
    return text + "\n" + table(header, lines) + "\n"


def _trend(rows: dict[Key, Row], sampler: str, kind: str, names: Sequence[str], steps: Sequence[int]) -> str:
    cells = []
    for n in steps:
        found = [rows.get((sampler, name, n), {}) for name in names if family(name) == kind]
        taken = [row for row in found if "refused" not in row]
        ran = [row for row in taken if "sliced" in row or "failed" in row]
        if not taken:
            cells.append("-")
        elif not all(taken):
            cells.append("?")
        elif len(ran) < len(taken):
            cells.append("time")
        elif any("failed" in row or row["sliced"] > DIVERGED for row in ran):
            cells.append("unstable")
        else:
            cells.append(
                _bold(geometric([row["sliced"] for row in ran]), geometric([row["sliced_floor"] for row in ran]))
            )
    return "-" if set(cells) == {"-"} else ", ".join(cells)


def section(rows: dict[Key, Row], samplers: Sequence[str], name: str, steps: Sequence[int]) -> str:
    """All distances on one oracle."""
    with_modes = any(row.get("modes") is not None for row in rows.values() if row["oracle"] == name)
    keys = ["mean", "spread", "sliced", *(["modes"] if with_modes else [])]
    header = ["sampler", *(f"{n} steps" for n in steps)]
    lines = []
    refused = []
    for sampler in samplers:
        mine = [rows.get((sampler, name, n)) for n in steps]
        if any(row and "refused" in row for row in mine):
            refused.append(f"`{sampler}`")
        elif any(mine):
            lines.append([f"`{sampler}`", *(cell(row, keys) for row in mine)])
    floor = f"floor of sliced {_floor(rows, [name]):.2f}"
    if with_modes:
        floors = [row["modes_floor"] for row in rows.values() if row["oracle"] == name and row.get("modes_floor")]
        floor += f", of modes {max(floors):.2f}"
    text = f"## {name}\n\n{available_oracles()[name][0].upper()}{available_oracles()[name][1:]}. "
    text += f"In each cell {', '.join(keys)}; {floor}.\n\n{table(header, lines)}\n"
    return text + (f"\nDo not take it: {', '.join(refused)}.\n" if refused else "")


def cell(row: Row | None, keys: Sequence[str]) -> str:
    """The distances of one run."""
    if row is None:
        return "?"
    if "sliced" not in row:
        return "time" if "skipped" in row else row.get("failed", "-")
    said = [_bold(row[k], row["sliced_floor"]) if k == "sliced" else number(row[k]) for k in keys if row[k] is not None]
    return " / ".join(said)


def cost(rows: dict[Key, Row], sampler: str) -> str:
    """Forwards and VJPs a step."""
    mine = sorted((row["steps"], row["forwards"], row["vjps"]) for row in rows.values()
                  if row["sampler"] == sampler and "forwards" in row)  # fmt: skip
    if not mine:
        return ""
    fewest = [row for row in mine if row[0] == mine[0][0]]
    ends = [sorted({f"{row[i] / row[0]:.3g}" for row in fewest}, key=float) for i in (1, 2)]
    return " + ".join(values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}" for values in ends)


def _floor(rows: dict[Key, Row], names: Sequence[str]) -> float:
    floors = [row["sliced_floor"] for row in rows.values() if row["oracle"] in names and "sliced_floor" in row]
    return geometric(floors) if floors else math.nan


def _bold(value: float, floor: float) -> str:
    return f"**{number(value)}**" if value <= 1.25 * floor else number(value)


def number(value: float) -> str:
    """Two decimals, or two digits where they say more."""
    return f"{value:.2f}" if value < 10 else f"{value:.0f}" if value < 1000 else f"{value:.0e}".replace("e+0", "e")


def geometric(values: Sequence[float]) -> float:
    """The geometric mean; zeros, which chance makes, count as 0.01."""
    return math.exp(sum(math.log(max(v, 0.01)) for v in values) / len(values))


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *lines))


# --- the picture ------------------------------------------------------------------------------------------------------

# Methods of one kind share a colour: what they do with the measurement.
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "this library's default": ("black", ("kintsugi",)),
    "conjugate integrators": ("#d62728", ("cpigdm", "cpigfm")),
    "pseudo-inverse guidance": ("#ff7f0e", ("pigdm", "pigfm", "otode")),
    "moment matching": ("#2ca02c", ("tmpd", "mmps", "optcov")),
    "gradient guidance": ("#9467bd", ("dps", "mcg", "flowchef")),
    "projection": ("#1f77b4", ("ddnm", "ddnmplus", "ddrm", "cm4ir", "repaint")),
    "optimisation at each level": ("#8c564b", ("diffpir", "sitcom", "flowdps", "daps", "pnpflow")),
    "optimisation of one image": ("#e377c2", ("reddiff", "dflow")),
    "several particles": ("#17becf", ("tds",)),
    "made for latents": ("#ff9896", ("psld", "resample", "latino")),
    "no measurement": ("#bcbd22", ("ddim",)),
}
OTHER = ("other", "#7f7f7f")
MARKERS = "os^Dv<>PX*"
# The columns: a family of oracles and a distance; and what of each distance is drawn.
COLUMNS = (
    ("gaussian", "mean"),
    ("gaussian", "spread"),
    ("mixture", "mean"),
    ("mixture", "spread"),
    ("line", "sliced"),
    ("phase", "sliced"),
)
TITLES = {"mean": "error of the mean", "spread": "spread", "sliced": "sliced W2"}
LIMITS = {"mean": (0.03, 5.0), "spread": (0.1, 4.0), "sliced": (0.1, 5.0)}


def draw(rows: dict[Key, Row], samplers: Sequence[str], names: Sequence[str], steps: Sequence[int], path: Path) -> None:
    """A row of panels a kind of method, in its colour before all others in grey; a column a distance."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    looks = styles(samplers)
    kinds = sorted({look[2] for look in looks.values()})
    columns = [(f, key) for f, key in COLUMNS if any(family(name) == f for name in names)]
    if not kinds or not columns:
        return
    width, height = 1.95 * len(columns) + 2.4, 1.4 * len(kinds) + 1.1
    figure = Figure(figsize=(width, height), dpi=100)
    axes = figure.subplots(len(kinds), len(columns), sharex=True, squeeze=False)
    figure.subplots_adjust(0.45 / width, 0.5 / height, 1 - 1.95 / width, 1 - 0.6 / height, wspace=0.3, hspace=0.2)
    for j, (kind, key) in enumerate(columns):
        low, high = LIMITS[key]
        curves = {s: curve(rows, s, kind, names, steps, key, LIMITS[key]) for s in samplers}
        floor = _floor(rows, [n for n in names if family(n) == kind]) if key == "sliced" else 1.0
        for i, place in enumerate(kinds):
            ax = axes[i][j]
            mine = [sampler for sampler in samplers if looks[sampler][2] == place]
            for sampler in [s for s in samplers if s not in mine] + mine:
                points = tuple(zip(*curves[sampler], strict=True)) or ((), ())
                if sampler in mine:
                    colour, marker, _ = looks[sampler]
                    ax.plot(*points, color=colour, marker=marker, ms=4.5, lw=1.3, clip_on=False, label=sampler)
                else:
                    ax.plot(*points, color="0.88", lw=0.7)
            if key != "mean":
                ax.axhline(floor, color="0.3", lw=0.8, ls="--", zorder=0)
            ax.set(xscale="log", yscale="log", ylim=(low, high), xlim=(min(steps) / 1.15, max(steps) * 1.15))
            ax.xaxis.set_major_locator(FixedLocator(list(steps)))
            ax.yaxis.set_major_locator(FixedLocator([v for v in (0.03, 0.1, 0.3, 1, 3) if low <= v <= high]))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.yaxis.set_minor_locator(NullLocator())
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
            ax.tick_params(labelsize=8)
            ax.spines[["top", "right"]].set_visible(False)
            if i == 0:
                ax.set_title(f"{FAMILIES[kind]}\n{TITLES[key]}", fontsize=9.5)
            if i == len(kinds) - 1:
                ax.set_xlabel("steps", fontsize=9)
            if j == len(columns) - 1:
                ax.legend(title=place[1], loc="center left", bbox_to_anchor=(1.04, 0.5), frameon=False, fontsize=8,
                          title_fontsize=9, alignment="left", labelspacing=0.25)  # fmt: skip
    figure.savefig(path)


def styles(samplers: Sequence[str]) -> dict[str, tuple[str, str, tuple[int, str]]]:
    """Colour, marker and kind (its place and name) of each sampler."""
    out = {}
    seen: dict[str, int] = {}
    for sampler in samplers:
        place, kind, colour = len(KINDS), *OTHER
        for k, (title, (its, members)) in enumerate(KINDS.items()):
            if sampler in members:
                place, kind, colour = k, title, its
        out[sampler] = colour, MARKERS[seen.get(kind, 0) % len(MARKERS)], (place, kind)
        seen[kind] = seen.get(kind, 0) + 1
    return out


def curve(
    rows: dict[Key, Row], sampler: str, kind: str, names: Sequence[str], steps: Sequence[int], key: str,
    limits: tuple[float, float],
) -> list[tuple[int, float]]:  # fmt: skip
    """Steps and values within ``limits``, over the oracles of a family on which the sampler ran at every step."""
    points = []
    for n in steps:
        found = [rows.get((sampler, name, n), {}) for name in names if family(name) == kind]
        ran = [row for row in found if "failed" in row or key in row]
        values = [math.inf if "failed" in row or row["sliced"] > DIVERGED else row[key] for row in ran]
        if values and len(values) == len([row for row in found if "refused" not in row]):
            points.append((n, min(max(geometric(values), limits[0]), limits[1])))
    return points


# --- the command ------------------------------------------------------------------------------------------------------


def main(
    only: Annotated[str, typer.Option(help="samplers, with commas; all of them")] = "",
    oracles: Annotated[str, typer.Option(help="oracles, with commas, or 'all'; a selection")] = "",
    steps: Annotated[str, typer.Option(help="numbers of steps, with commas")] = "5,20,100,1000",
    samples: Annotated[int, typer.Option(help="samples of each run")] = 256,
    budget: Annotated[float, typer.Option(help="seconds that a run may take; longer ones are left out")] = 30.0,
    again: Annotated[str, typer.Option(help="samplers to compute again, with commas")] = "",
    render_only: Annotated[bool, typer.Option(help="compute nothing")] = False,
    folder: Annotated[Path, typer.Option(help="of oracles.jsonl, oracles.md and pictures/oracles.png")] = DOCS,
    threads: Annotated[int, typer.Option(help="CPU threads")] = 1,
) -> None:
    """Hold every sampler to exact posteriors."""
    torch.set_num_threads(threads)
    results = folder / "oracles.jsonl"
    if not render_only:
        chosen = list(available_oracles()) if oracles == "all" else words(oracles) or list(DEFAULT_ORACLES)
        collect(results, words(only) or list(available_samplers()), chosen, [int(n) for n in words(steps)], samples,
                budget, words(again))  # fmt: skip
    render(read(results), folder)


def words(text: str) -> list[str]:
    """The words between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


if __name__ == "__main__":
    typer.run(main)
