"""The plots, the pictures and the short tables of docs/results.md, from runs of the shipped suites.

    kintsugi bench photo -o run-photo --images KODAK
    python docs/make_results.py run-photo --images KODAK --shown 23

writes pictures/results-*.png and pictures/results-*.jpg, and two tables of mean PSNR between marks of results.md: of
methods that restored all images, and, on the images that all restored, of every method at its most steps and of the
others beside. The whole tables are those of ``kintsugi report run-photo``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from PIL import Image, ImageDraw, ImageFont

import kintsugi
from kintsugi.bench.figures import Style
from kintsugi.bench.intervals import Interval, best, goal, summary
from kintsugi.bench.pictures import Pictures
from kintsugi.bench.reading import Row, read_rows, read_suite
from kintsugi.bench.suite import Suite
from kintsugi.files import atomic_path

HERE = Path(__file__).parent
PICTURES = HERE / "pictures"
MARKS = "<!-- {0} begin -->", "<!-- {0} end -->"
COLUMNS = (("kintsugi", 5), ("cpigdm", 5), ("pigdm", 5), ("pigdm", 20), ("ddrm", 20), ("reddiff", 100), ("dps", 100))
GAP, LINE = 4, 16


def main(
    run: Path,
    images: Annotated[Path, typer.Option(help="The folder of pictures of the run.")],
    shown: Annotated[str, typer.Option(help="The name of the picture that is shown.")] = "23",
) -> None:
    """Draw everything."""
    suite = Suite.model_validate(read_suite(run))
    rows = read_rows(run)
    problems = [problem.name for problem in suite.problems]
    samplers = list(dict.fromkeys(sampler.shown for sampler in suite.samplers))
    for metric in suite.metrics:
        plot(rows, problems, samplers, metric, PICTURES / f"results-{metric}.png")
    few, whole = on_few(rows)
    insert(HERE / "results.md", "psnr", table(whole, problems, samplers, "psnr"))
    insert(HERE / "results.md", "few", table(few, problems, samplers, "psnr"))
    picture = PICTURES / "results-pictures.jpg"
    sheet(suite, images, shown).save(picture, quality=90)
    print(picture)


def on_few(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The rows on the images that every method restored, of methods at their most steps; and those of methods that
    restored all images."""
    images: dict[tuple[str, int], set[str]] = {}
    for row in rows:
        images.setdefault((row["sampler"], row["steps"]), set()).add(row["image"])
    common, every = set.intersection(*images.values()), set.union(*images.values())
    most = {name: max(steps for sampler, steps in images if sampler == name) for name, _ in images}
    shown = {*most.items(), *COLUMNS}
    few = [r for r in rows if r["image"] in common and (r["sampler"], r["steps"]) in shown]
    return few, [r for r in rows if images[r["sampler"], r["steps"]] == every]


def plot(rows: Sequence[Row], problems: Sequence[str], samplers: Sequence[str], metric: str, path: Path) -> None:
    """A panel a problem: the metric against evaluations (above) and against seconds (below)."""
    from matplotlib.figure import Figure

    values, seconds = summary(rows, metric), summary(rows, "seconds")
    counted = summary([{**row, "forwards": (row["forwards"] or 0) + (row["vjps"] or 0)} for row in rows], "forwards")
    figure = Figure(figsize=(3.1 * len(problems), 6.4), layout="constrained")
    panels = figure.subplots(2, len(problems), squeeze=False)
    for column, problem in enumerate(problems):
        for panel, costs, label in ((panels[0], counted, "forwards + VJPs"), (panels[1], seconds, "seconds")):
            axes = panel[column]
            for i, name in enumerate(samplers):
                keys = sorted(key for key in values if key[:2] == (problem, name))
                axes.plot(
                    [costs[key].mean for key in keys], [values[key].mean for key in keys], **Style(i).line(False),
                    label=name,
                )  # fmt: skip
            axes.set_xscale("log")
            axes.set_xlabel(label)
            axes.grid(alpha=0.3)
        panels[0][column].set_title(problem)
    for panel in panels:
        panel[0].set_ylabel(metric)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside right center")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=80, format="png")
    print(path)


def table(rows: Sequence[Row], problems: Sequence[str], samplers: Sequence[str], metric: str) -> str:
    """A line a sampler and number of steps, a column a problem; bold is the best, and what cannot be told from it."""
    cells = summary(rows, metric)
    keys = sorted({key[1:] for key in cells}, key=lambda key: (samplers.index(key[0]), key[1]))
    winners = {problem: best(_of(cells, problem), goal(metric))[0] for problem in problems}
    lines = ["| sampler | steps | " + " | ".join(problems) + " |", "|---|---:|" + "---:|" * len(problems)]
    for sampler, steps in keys:
        line = []
        for problem in problems:
            cell = cells.get((problem, sampler, steps))
            text = "-" if cell is None or math.isnan(cell.mean) else f"{cell.mean:.2f}"
            line.append(f"**{text}**" if (sampler, steps) in winners[problem] else text)
        lines.append(f"| {sampler} | {steps} | " + " | ".join(line) + " |")
    return "\n".join(lines)


def _of(cells: dict[Any, Interval], problem: str) -> dict[tuple[str, int], Interval]:
    return {key[1:]: cell for key, cell in cells.items() if key[0] == problem}


def insert(page: Path, name: str, text: str) -> None:
    """Put ``text`` between the marks ``name`` of ``page``."""
    whole = page.read_text()
    begin, end = (mark.format(name) for mark in MARKS)
    pattern = re.compile(f"({re.escape(begin)}\n).*?({re.escape(end)})", re.DOTALL)
    if not pattern.search(whole):
        raise SystemExit(f"no lines {begin} and {end} in {page}")
    with atomic_path(page) as temporary:
        temporary.write_text(pattern.sub(lambda match: f"{match[1]}{text}\n{match[2]}", whole))


def sheet(suite: Suite, folder: Path, name: str) -> Image.Image:
    """A line a problem: the measurement, some methods, the truth; twice enlarged."""
    assert suite.images is not None
    truth = Pictures(suite.images.model_copy(update={"folder": folder})).load(name)
    prior = kintsugi.load_prior(suite.priors[0])
    side = 2 * truth.shape[-1]
    width = (len(COLUMNS) + 2) * (side + GAP)
    page = Image.new("RGB", (width, len(suite.problems) * (side + LINE + GAP) + LINE), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)

    def put(x: torch.Tensor, column: int, line: int, caption: str) -> None:
        values = ((x.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        at = column * (side + GAP), line * (side + LINE + GAP) + LINE
        page.paste(Image.fromarray(values).resize((side, side), Image.Resampling.NEAREST), at)
        draw.text((at[0], at[1] + side), caption, fill="black", font=font)

    titles = ["measured", *(f"{sampler}, {steps} steps" for sampler, steps in COLUMNS), "truth"]
    for column, title in enumerate(titles):
        draw.text((column * (side + GAP), 0), title, fill="black", font=font)
    for line, spec in enumerate(suite.problems):
        problem = spec.simulate(truth, name)
        put(problem.y[0], 0, line, spec.name)
        for column, (sampler, steps) in enumerate(COLUMNS, 1):
            x = kintsugi.restore(problem, prior, sampler, steps=steps, tile=None).samples[0, 0]
            psnr = float(10 * torch.log10(4 / (x.clamp(-1, 1) - truth).square().mean()))
            put(x, column, line, f"{psnr:.2f} dB")
        put(truth, len(COLUMNS) + 1, line, "")
    return page


if __name__ == "__main__":
    typer.run(main)
