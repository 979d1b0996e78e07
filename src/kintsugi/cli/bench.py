"""``kintsugi bench`` and ``kintsugi report``: comparisons that a reviewer would accept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .app import app


@app.command()
def bench(
    suite: Annotated[
        Path, typer.Argument(metavar="SUITE", help="A YAML file, or a suite's name: oracle, photo, photo-quick.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder of the run; what it holds is not done again.")
    ],
    images: Annotated[Path | None, typer.Option(help="A folder of pictures, instead of the suite's own.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, count the rows, estimate the time, and stop.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes that divide the rows between them.", min=1)] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
) -> None:
    """Run a benchmark, or go on with one: every prior, image, problem, sampler, number of steps and seed of a suite.

    Killed at any moment, the same command goes on. Several of it, on machines that share the folder, divide the work.
    """
    from ..bench import load_suite, plan, run, run_workers

    checked = load_suite(suite, images)
    ahead = plan(checked, output)
    took = "" if ahead.seconds is None else f", about {ahead.seconds / 60:.1f} minutes of one process"
    print(f"{checked.name}: {ahead.total} rows, {ahead.left} to do{took}")
    for name, why in ahead.missing.items():
        print(f"metric {name} is missing: {why}")
    if dry_run:
        return
    if workers > 1 and ahead.left:
        words = ["bench", str(suite), "-o", str(output), "--device", device]
        run_workers([*words, *(["--images", str(images)] if images else [])], workers)
    else:
        run(checked, output, device=device)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run of 'kintsugi bench'.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page to write [default: RUN/report.html].")
    ] = None,
) -> None:
    """Write what a benchmark found: one HTML page that needs nothing else, and the same as Markdown."""
    from ..bench.report import report as write

    for path in write(folder, output):
        print(path)
