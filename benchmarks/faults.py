"""Hostile input, at length: thousands of generated cases through every door of tests/faults, and a fuzzer.

    python benchmarks/faults.py run --cases 1000 -o runs/faults        # by hypothesis, every door
    python benchmarks/faults.py fuzz pictures "kernel files" --seconds 600 -o runs/faults   # pip install atheris
    python benchmarks/faults.py table -o runs/faults                   # Markdown
    python benchmarks/faults.py again "kernel files" runs/faults/.../failures/ID.pickle

Each part of a door's cases has a process of its own and a seed that follows from ``--seed``, the door and the number of
the part. A process that crashes or is silent for ``--patience`` seconds is counted as a failure, with the case that it
was at. ``results.jsonl`` gets a line a part; the same command again does only the parts that have none.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer
from faults_worker import HERE, doors, modules

WORKER = HERE / "faults_worker.py"
PART = 1000  # cases of a process

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
Output = Annotated[Path, typer.Option("--output", "-o", help="The folder of the campaign.")]
Seed = Annotated[int, typer.Option(min=0)]
Patience = Annotated[float, typer.Option(help="Seconds without a case ended, after which a process is killed.")]


@app.command()
def run(
    output: Output = Path("runs/faults"),
    door: Annotated[list[str] | None, typer.Option(help="Only this door; repeatable.")] = None,
    cases: Annotated[int, typer.Option(help="Cases of each door.", min=1)] = 1000,
    seed: Seed = 0,
    workers: Annotated[int, typer.Option(min=1)] = 2,
    patience: Patience = 300.0,
) -> None:
    """Generated cases through every door; then the table of all that is in the folder."""
    known = _known()
    for name in door or ():
        _known(name)
    sizes = [min(PART, cases - start) for start in range(0, cases, PART)]
    parts = [
        {"kind": "hypothesis", "door": name, "part": part, "seed": seed, "asked": size}
        for part, size in enumerate(sizes)
        for name in (door or known)
    ]
    _do(parts, output, workers, patience)
    print(table(read(output)))


@app.command()
def fuzz(
    door: Annotated[list[str], typer.Argument(help="Doors that take bytes; they share the time and the process.")],
    seconds: Annotated[int, typer.Option(help="By the clock, of each part.", min=1)] = 60,
    output: Output = Path("runs/faults"),
    seed: Seed = 0,
    parts: Annotated[int, typer.Option(help="Runs with seeds of their own.", min=1)] = 1,
    patience: Patience = 300.0,
) -> None:
    """atheris through doors of files, guided by the coverage of Python code, from good files to begin with."""
    for name in door:
        _known(name)
    one = {"kind": "atheris", "door": ",".join(door), "seed": seed, "asked": seconds}
    _do([one | {"part": part} for part in range(parts)], output, 1, patience)
    print(table(row for row in read(output) if row["kind"] == "atheris"))


@app.command(name="table")
def print_table(output: Output = Path("runs/faults")) -> None:
    """The table of a folder, and what broke."""
    rows = read(output)
    print(table(rows))
    for row in rows:
        if row["died"]:
            print(f"\n{row['door']}, {row['kind']}, in {row['folder']}:\n    {row['died']}")
        for door, found in row["found"].items():
            for text, times in found["failures"].items():
                print(f"\n{door}, {row['kind']}, {times} times, in {row['folder']}:\n    {text}")


@app.command()
def again(door: str, case: Path) -> None:
    """One case that was kept, through its door: its verdict, or how it breaks. Reads a pickle: only one of your own."""
    found = doors(_known(door)[door])[door]
    import judge

    judge.warm(found)
    print(judge.judge(found, pickle.loads(case.read_bytes())))


def _known(wanted: str | None = None) -> dict[str, str]:
    """The module of every door. Ends the command where there is none of the name that is ``wanted``."""
    known = modules()
    if wanted is not None and wanted not in known:
        raise typer.BadParameter(f"{wanted!r}; one of {', '.join(known)}")
    return known


def _do(parts: Sequence[dict[str, Any]], output: Path, workers: int, patience: float) -> None:
    """Those that are not done yet, each in a process of its own."""
    output.mkdir(parents=True, exist_ok=True)
    key = ("kind", "door", "part", "seed", "asked")
    done = {tuple(row[k] for k in key) for row in read(output)}
    left = [part for part in parts if tuple(part[k] for k in key) not in done]
    lock, began = threading.Lock(), time.monotonic()

    def do(number: int) -> None:
        row = _part(left[number], output.resolve(), patience)
        with lock, (output / "results.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        cases, broken = (sum(found[key] for found in row["found"].values()) for key in ("cases", "broken"))
        told = f"{row['door']} {row['part']}: {cases} cases, {broken} broken"
        print(f"[{time.monotonic() - began:.0f} s, {number + 1} of {len(left)}] {told}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(do, range(len(left))))


def _part(part: dict[str, Any], output: Path, patience: float) -> dict[str, Any]:
    """Run one process and count what it wrote."""
    name = re.sub(r"\W+", "-", f"{part['kind']}-{part['door']}-{part['seed']}-{part['part']}-{part['asked']}")
    folder = output / "parts" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    digest = hashlib.sha256(f"{part['seed']} {part['door']} {part['part']}".encode()).digest()
    what = "fuzz" if part["kind"] == "atheris" else "generate"
    words = [what, part["door"], str(part["asked"]), str(int.from_bytes(digest[:3], "big"))]
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(WORKER), *words], cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        died = _wait(process, folder / "verdicts.jsonl", patience)
    row = part | {"found": count(folder / "verdicts.jsonl"), "folder": str(folder.relative_to(output)), "died": died}
    if died:
        tail = (folder / "log.txt").read_text(errors="replace")[-300:]
        row["died"] = f"{died}; the case is in case.pickle; {' '.join(tail.split())}"
    shutil.rmtree(folder / "corpus", ignore_errors=True)
    return row


def _wait(process: subprocess.Popen[bytes], progress: Path, patience: float) -> str:
    """Until it ends; how it died, or nothing. Killed where ``progress`` has not grown for ``patience`` seconds."""
    size, since = -1, time.monotonic()
    try:
        while process.poll() is None:
            now = progress.stat().st_size if progress.exists() else 0
            if now != size:
                size, since = now, time.monotonic()
            if time.monotonic() - since > patience:
                process.kill()
                process.wait()
                return f"hangs: no case ended in {patience:.0f} s"
            time.sleep(0.2)
    finally:
        if process.poll() is None:
            process.kill()
    code = process.returncode
    if code < 0:
        return f"died of {signal.Signals(-code).name}"
    return f"ended with exit code {code}" if code else ""


def count(verdicts: Path) -> dict[str, dict[str, Any]]:
    """By door how the cases of a part ended, the slowest in processor seconds, the largest in bytes."""
    found: dict[str, dict[str, Any]] = {}
    for line in verdicts.read_text().splitlines() if verdicts.exists() else ():
        try:
            verdict = json.loads(line)
        except ValueError:  # the last line of a process that died
            continue
        new = {"cases": 0, "results": 0, "errors": 0, "broken": 0, "seconds": 0.0, "bytes": 0, "failures": {}}
        here = found.setdefault(verdict["door"], new)
        here["cases"] += 1
        if "broken" in verdict:
            here["broken"] += 1
            here["failures"][verdict["broken"]] = here["failures"].get(verdict["broken"], 0) + 1
            continue
        here["results" if verdict["outcome"] == "result" else "errors"] += 1
        for key in ("seconds", "bytes"):
            here[key] = max(here[key], verdict[key])
    return found


def read(output: Path) -> list[dict[str, Any]]:
    """The rows of a campaign."""
    path = output / "results.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Markdown, a line for each door and kind, and the sum."""
    head = ("door", "by", "cases", "documented errors", "results", "slowest, s", "most memory, MiB", "failures")
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        for door, found in row["found"].items():
            groups.setdefault((row["kind"], door), []).append(found)
            groups.setdefault((row["kind"], "~all"), []).append(found)
        if row["died"]:
            lost = {"cases": 1, "results": 0, "errors": 0, "broken": 1, "seconds": 0.0, "bytes": 0}
            groups.setdefault((row["kind"], "~all"), []).append(lost)
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "--:|" * 6]
    for (kind, door), parts in sorted(groups.items()):
        cases, errors, results, broken = (
            sum(p[key] for p in parts) for key in ("cases", "errors", "results", "broken")
        )
        seconds, size = (max(p[key] for p in parts) for key in ("seconds", "bytes"))
        cells = [door.strip("~"), kind, cases, errors, results, f"{seconds:.2f}", round(size / 2**20), broken]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    app()
