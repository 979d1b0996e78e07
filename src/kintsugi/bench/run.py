"""Running a suite: a pure function for a row, and a loop that never does a row twice.

Rows that are finished are not computed again, whoever finished them; a row that another worker is at is left to it. So
a run that was killed goes on where it was, and several workers, on one machine or on a shared folder, divide a run
between them by starting the same command.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import kintsugi

from ..driver import restore
from ..errors import InvalidArgument, InvalidFile, KintsugiError
from ..oracles import Oracle, distance, oracle
from ..priors import Prior, load_prior
from ..problem import Problem
from ..samplers import make_sampler
from .memory import Peak
from .pictures import Pictures, write_picture
from .problems import ProblemSpec
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


def compute(
    row: Row, suite: Suite, pictures: Pictures | None, device: str = "cpu"
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """One row, and the pictures that are to be kept: a function of its arguments alone."""
    problem, prior, truth = _given(row, pictures, device)
    known = {
        "id": row.id, "prior": row.prior, "image": row.image, "problem": row.problem, "sampler": row.sampler.shown,
        "steps": row.steps, "seed": row.seed, "samples": row.samples, "noise": problem.noise,
        "settings": json.dumps(row.sampler.settings, sort_keys=True), "versions": json.dumps(versions(device)),
        "message": "", "forwards": 0.0, "vjps": 0.0, "seconds": 0.0, "peak_mib": 0.0,
    }  # fmt: skip
    method = make_sampler(row.sampler.name, **row.sampler.settings)
    batch = row.samples if row.prior == "oracle" else None
    began = time.perf_counter()
    try:
        with Peak(device) as peak:
            result = restore(
                problem, prior, method, steps=row.steps, samples=row.samples, seed=row.seed, batch=batch, tile=None
            )
    except InvalidArgument as error:
        return known | {"status": "refused", "message": str(error)}, {}
    except (FloatingPointError, KintsugiError, RuntimeError) as error:
        took = time.perf_counter() - began
        return known | {"status": "failed", "message": " ".join(str(error).split())[:300], "seconds": took}, {}
    cost = {"forwards": result.cost.forwards, "vjps": result.cost.vjps, "seconds": result.cost.seconds}
    samples = result.samples[0].cpu()
    measured = _measure(row, suite, samples, truth, problem)
    images = {}
    if suite.keep_images and truth is not None:
        images = {row.id: samples[0], f"truth-{row.image}": truth}
        if problem.batch.shape[1:] == truth.shape:
            images[f"y-{row.problem}-{row.image}"] = problem.batch[0].cpu()
    return known | {"status": "done", "peak_mib": peak.mib} | cost | measured, images


def _given(row: Row, pictures: Pictures | None, device: str) -> tuple[Problem, Prior, Tensor | None]:
    if pictures is None:
        known = _oracle(row.problem)
        return known.problem, known.prior, None
    truth = pictures.load(row.image)
    problem = ProblemSpec.model_validate(row.spec["problem"]).simulate(truth, row.image)
    return problem.with_rows(problem.batch.to(device)), _prior(row.prior, device), truth


@lru_cache(maxsize=1)
def _oracle(name: str) -> Oracle:
    """The oracle, kept for the rows that follow with the same."""
    return oracle(name)


@lru_cache(maxsize=1)
def _prior(name: str, device: str) -> Prior:
    """The model, kept for the rows that follow with the same."""
    return load_prior(name, device=device)


def _measure(row: Row, suite: Suite, samples: Tensor, truth: Tensor | None, problem: Problem) -> dict[str, Any]:
    if truth is None:
        values = asdict(distance(samples, _oracle(row.problem), generator=1))
        return {f"metric.{name}": value for name, value in values.items()}
    from ..metrics import make_metric

    here = problem.with_rows(problem.batch.cpu())
    return {f"metric.{name}": float(make_metric(name)(samples, truth, here)) for name in suite.metrics}


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
        prior, x = _prior(name, "cpu"), pictures.load(next(iter(pictures.digests)))[None]
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


@lru_cache(maxsize=8)
def versions(device: str = "cpu") -> dict[str, str]:
    """What made a row: versions, the commit where there is one, the device."""
    name = torch.cuda.get_device_name() if device.startswith("cuda") else f"{platform.machine()} CPU"
    return {
        "kintsugi": kintsugi.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": _commit(),
        "device": f"{name}, {torch.get_num_threads()} threads" if device == "cpu" else name,
    }


def _commit() -> str:
    folder = Path(kintsugi.__file__).parent
    try:
        words = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


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
