"""Running a suite: a loop that never does a row twice.

Rows that are finished are not computed again, whoever finished them; a row that another worker is at is left to it. So
a run that was killed goes on where it was, and several workers, on one machine or on a shared folder, divide a run
between them by starting the same command.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import InvalidArgument, InvalidFile
from ..samplers import make_sampler
from .compute import compute, model
from .pictures import Pictures, write_picture
from .store import Store
from .suite import Row, Suite, rows

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What a run is about to do: rows in all and left, and about how long the rest takes in seconds, if that is known.

    ``missing``: metrics that cannot be computed here, and why.
    """

    total: int
    left: int
    seconds: float | None
    missing: Mapping[str, str]


def plan(suite: Suite, folder: Path) -> Plan:
    """Check a suite against this machine, without a network running for more than a moment.

    Errors: :class:`InvalidFile`, :class:`InvalidArgument` for priors, pictures or problems that cannot be.
    """
    pictures = Pictures(suite.images) if suite.problems else None
    if pictures is not None:
        _try(suite, pictures)
    wanted = list(rows(suite, pictures.digests if pictures else {}))
    finished = Store(folder, suite.model_dump(mode="json")).finished() if folder.exists() else set()
    left = [row for row in wanted if row.id not in finished]
    return Plan(len(wanted), len(left), _estimate(suite, pictures, left), _missing(suite))


def run(suite: Suite, folder: Path, *, device: str = "cpu", say: Say = print) -> int:
    """Compute what is missing in ``folder``; the number of rows that were computed here.

    Errors: as :func:`plan`. What goes wrong within a row is a row: "refused" where the method does not take the
    problem, "failed" where samples are not finite or memory ran out.
    """
    missing = _missing(suite)
    if missing:
        name, why = next(iter(missing.items()))
        raise InvalidArgument("metrics", name, f"a metric that can be computed here ({why})")
    pictures = Pictures(suite.images) if suite.problems else None
    if pictures is not None:
        _try(suite, pictures)
    store, done = Store(folder, suite.model_dump(mode="json")), 0
    finished = store.finished()
    for row in rows(suite, pictures.digests if pictures else {}):
        if row.id in finished:
            continue
        with store.claim(row.id) as ours:
            if not ours:
                continue
            result, images = compute(row, suite, pictures, device)
            for name, x in images.items():
                write_picture(store.image(name), x)
            store.write(result)
            done += 1
            say(_line(row, result))
    return done


def _missing(suite: Suite) -> dict[str, str]:
    if not suite.metrics:
        return {}
    from ..metrics import make_metric

    found = {name: make_metric(name).missing() for name in suite.metrics}
    return {name: why for name, why in found.items() if why}


def _try(suite: Suite, pictures: Pictures) -> None:
    """Every problem on every picture's size, and every metric that is there on the first picture."""
    for name in pictures.digests:
        for problem in suite.problems:
            problem.make(pictures.shape(name), name)
    name = next(iter(pictures.digests))
    truth = pictures.load(name)
    samples = truth + 0.1 * torch.randn((suite.samples, *truth.shape), generator=torch.Generator().manual_seed(0))
    from ..metrics import make_metric

    for word in suite.metrics:
        metric = make_metric(word)
        if metric.missing() is None:
            metric(samples, truth, suite.problems[0].simulate(truth, name))


def _estimate(suite: Suite, pictures: Pictures | None, left: list[Row]) -> float | None:
    """From one evaluation of each prior on the first picture; a VJP counts as two, and inner loops are not counted."""
    if pictures is None or not left:
        return None if left else 0.0
    total = 0.0
    for name in suite.priors:
        prior, x = model(name, "cpu"), pictures.load(next(iter(pictures.digests)))[None]
        with torch.no_grad():
            prior.denoise(x, torch.ones(1))
            began = time.perf_counter()
            prior.denoise(x, torch.ones(1))
            once = time.perf_counter() - began
        for row in left:
            if row.prior == name:
                vjp = make_sampler(row.sampler.name, **row.sampler.settings).needs_vjp
                total += once * row.steps * row.samples * (3 if vjp else 1)
    return total


def run_workers(words: list[str], workers: int) -> None:
    """``workers`` processes of the same command, which divide the rows by their locks."""
    command = [sys.executable, "-m", "kintsugi", *words]
    processes = [subprocess.Popen(command) for _ in range(workers)]
    try:
        codes = [process.wait() for process in processes]
    except KeyboardInterrupt:
        for process in processes:
            process.terminate()
        raise
    if any(codes):
        raise InvalidFile(
            "workers", f"{sum(map(bool, codes))} of {workers} ended with an error; the same command goes on"
        )


def _line(row: Row, result: Mapping[str, Any]) -> str:
    place = " ".join(word for word in (row.prior, row.image, row.problem) if word)
    head = f"{place}  {row.sampler.shown}  {row.steps} steps, seed {row.seed}: "
    if result["status"] != "done":
        return head + f"{result['status']} ({result['message'][:80]})"
    numbers = [
        f"{k.removeprefix('metric.')} {v:.4g}" for k, v in result.items() if k.startswith("metric.") and v is not None
    ]
    return head + ", ".join([*numbers, f"{result['seconds']:.2f} s"])
