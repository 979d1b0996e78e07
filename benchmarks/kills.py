"""Commands that are killed hundreds of times, at random moments, and compared with runs that were not.

    python benchmarks/kills.py run --kills 100 -o runs/kills           # SIGKILL, every job
    python benchmarks/kills.py run --kills 30 --interrupt -o runs/kills     # Ctrl-C
    python benchmarks/kills.py table -o runs/kills                     # Markdown

The jobs are small (tests/faults/jobs.py); the kills come after times that are exponentially distributed, with half of
the uninterrupted run's time as their mean. A round is a job that is killed until it has ended; ``results.jsonl``
gets a line for each, and the same command again goes on until there are enough kills. A promise that is not kept is a
line too, and the folder of its round stays.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/faults"))

from jobs import make_jobs
from killing import Broken, Job, Warm, compare, run_killed, run_whole

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
Output = Annotated[Path, typer.Option("--output", "-o", help="The folder of the campaign.")]


@app.command()
def run(
    output: Output,
    kills: Annotated[int, typer.Option(help="Of each job, at least.", min=1)] = 100,
    jobs: Annotated[str, typer.Option(help="Names of jobs with commas between them, or all.")] = "all",
    interrupt: Annotated[bool, typer.Option("--interrupt", help="SIGINT, as Ctrl-C, instead of SIGKILL.")] = False,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Kill, until every job has been killed often enough."""
    output.mkdir(parents=True, exist_ok=True)
    results = output / "results.jsonl"
    sign = "SIGINT" if interrupt else "SIGKILL"
    with tempfile.TemporaryDirectory(prefix="kintsugi-kills-") as name, Warm() as warm:
        known = make_jobs(Path(name))
        for job in known.values() if jobs == "all" else [known[word] for word in jobs.split(",")]:
            done = [line for line in read(results) if line["job"] == job.name and line["signal"] == sign]
            count, number = sum(line["kills"] for line in done), len(done)
            whole: Job | None = None
            seconds = 0.0
            while count < kills:
                folder = Path(name, f"{job.name} {sign} {number}")
                folder.mkdir()
                if whole is None:
                    (Path(name) / job.name).mkdir(exist_ok=True)
                    whole = job.at(Path(name, job.name, f"whole {sign}{job.out.suffix}"))
                    run_whole(warm, whole, folder)
                    seconds = run_whole(warm, job.at(folder / f"timed{job.out.suffix}"), folder)  # caches are warm now
                line = one_round(warm, job, whole, folder, random.Random(f"{seed} {job.name} {sign} {number}"), seconds)
                line = {"job": job.name, "signal": sign, **line}
                if line["broken"]:
                    shutil.copytree(folder, output / f"{job.name}-{sign}-{number}", dirs_exist_ok=True)
                with results.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                print(line, flush=True)
                shutil.rmtree(folder)
                count, number = count + line["kills"], number + 1


def one_round(warm: Warm, job: Job, whole: Job, folder: Path, choose: random.Random, seconds: float) -> dict[str, Any]:
    """Kills, files that were opened meanwhile, seconds, and what broke, in words."""
    own = job.at(folder / f"killed{job.out.suffix}")
    sign = signal.SIGINT if "SIGINT" in folder.name else signal.SIGKILL
    try:
        tally = run_killed(warm, own, folder, choose, seconds / 2, sign=sign)
        compare(own, whole)
    except Broken as error:
        return {"kills": 1, "looks": 0, "seconds": 0.0, "broken": str(error)}
    return {"kills": tally.kills, "looks": tally.looks, "seconds": round(tally.seconds, 1), "broken": ""}


@app.command()
def table(output: Output) -> None:
    """What was done, as a Markdown table."""
    lines = read(output / "results.jsonl")
    print(
        "| job | signal | runs that were killed until they ended | kills | files opened meanwhile | promises broken |"
    )
    print("|---|---|---|---|---|---|")
    groups = dict.fromkeys((line["job"], line["signal"]) for line in lines)
    for job, sign in groups:
        own = [line for line in lines if (line["job"], line["signal"]) == (job, sign)]
        totals = [sum(line[key] for line in own) for key in ("kills", "looks")]
        print(f"| {job} | {sign} | {len(own)} | {totals[0]} | {totals[1]} | {sum(bool(x['broken']) for x in own)} |")
    print(f"\n{sum(line['kills'] for line in lines)} kills in {len(lines)} runs.")


def read(results: Path) -> list[dict[str, Any]]:
    """The rounds that were done."""
    if not results.exists():
        return []
    return [json.loads(line) for line in results.read_text().splitlines()]


if __name__ == "__main__":
    app()
