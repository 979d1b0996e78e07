"""``kintsugi bench`` and ``kintsugi report``: comparisons that a reviewer would accept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .app import app
from .as_json import JsonOption, emit, messages_aside

if TYPE_CHECKING:
    from ..bench import Plan, Suite
    from ..work import Cluster


def _list_suites(wanted: bool) -> None:
    if wanted:
        from ..bench import available_suites

        names = available_suites()
        for name, title in names.items():
            print(f"{name:{max(map(len, names))}}  {title}")
        raise typer.Exit


@app.command()
def bench(
    suite: Annotated[
        Path, typer.Argument(metavar="SUITE", help="A YAML file, or the name of a suite of the package: see --list.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder of the run; what it holds is not done again.")
    ],
    images: Annotated[Path | None, typer.Option(help="A folder of pictures, instead of the suite's own.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, count the rows, estimate the time, and stop.")
    ] = False,
    workers: options.Workers = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "cpu",
    engine: options.Engine = "process",
    address: options.Address = None,
    cpus: options.Cpus = 1,
    gpus: options.Gpus = None,
    json: JsonOption = False,
    as_worker: options.AsWorker = False,
    list_suites: Annotated[
        bool,
        typer.Option("--list", is_eager=True, callback=_list_suites, help="Show the package's suites, and stop."),
    ] = False,
) -> None:
    """Run a benchmark, or go on with one: every prior, image, problem, sampler, number of steps and seed of a suite.

    Killed at any moment, the same command goes on. Several of it, on machines that share the folder, divide the work.
    """
    from ..bench import count_left, load_suite, plan, run

    cluster = options.cluster(engine, workers, address, cpus, gpus, device)
    checked = load_suite(suite, images)
    if as_worker:
        run(checked, output, device=device)
        return
    with messages_aside(json):
        ahead = plan(checked, output)
        took = "" if ahead.seconds is None else f", about {ahead.seconds / 60:.1f} minutes of one process"
        print(f"{checked.name}: {ahead.total} rows, {ahead.left} to do{took}")
        for name, why in ahead.missing.items():
            print(f"{name} is missing: {why}")
        if not dry_run:
            again = ["bench", str(suite), "-o", str(output), *(["--images", str(images)] if images else [])]
            _compute(checked, ahead, output, again, workers, device, cluster)
    if json:
        left = ahead.left if dry_run else count_left(checked, output)
        told = {"suite": checked.name, "output": output, "rows": ahead.total, "left": left}
        emit(told | {"seconds_estimated": ahead.seconds, "missing": ahead.missing})


def _compute(
    suite: Suite, ahead: Plan, output: Path, again: list[str], workers: int | None, device: str, cluster: Cluster | None
) -> None:
    """Do what is left, by whom the options say. ``again``: the command, for the processes that it starts."""
    from ..bench import count_left, run, run_on_cluster
    from ..work import launched, run_processes, worker_device

    own = launched(device)
    if cluster is not None:
        run_on_cluster(suite, output, cluster, device=device, seconds=ahead.seconds)
    elif own is not None:  # one of several processes of `accelerate launch`
        run(suite, output, device=own, stay=True)
    elif workers and workers > 1 and ahead.left:

        def command(worker: int) -> list[str]:
            return [*again, "--as-worker", "--device", worker_device(device, worker)]

        run_processes(command, workers, left=lambda: count_left(suite, output))
    else:
        run(suite, output, device=device)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run of 'kintsugi bench'.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page to write [default: RUN/report.html].")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write what a benchmark found: one HTML page that needs nothing else, and the same as Markdown."""
    from ..bench.report import report as write

    page, text = write(folder, output)
    if json:
        emit({"html": page, "markdown": text})
    else:
        print(page, text, sep="\n")
