"""Running a suite: a loop that never does a row twice.

Rows that are finished are not computed again, whoever finished them; a row that another worker is at is left to it. So
a run that was killed goes on where it was, and several workers, on one machine or on a shared folder, divide a run
between them by starting the same command.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InvalidArgument
from ..files import remove_half_written
from .compute import compute, model
from .deepinv import Deepinv
from .measures import label_of, missing_metrics, row_metrics
from .methods import make_method
from .pictures import Pictures, write_picture
from .sets import check_sets, finish_sets
from .store import Store
from .suite import Row, Suite, rows

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What a run is about to do: rows in all and left, and about how long the rest takes in seconds, if that is known.

    ``missing``: metrics and methods that cannot be had here ("metric lpips", "sampler deepinv:DPS"), and why.
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


def run(suite: Suite, folder: Path, *, device: str = "cpu", stay: bool = False, say: Say = print) -> int:
    """Compute what is missing in ``folder``; the number of rows that were computed here.

    ``stay``: until all rows are there, also those that others are at, in case they are lost.

    Errors: as :func:`plan`. What goes wrong within a row is a row: "refused" where the method does not take the
    problem, "failed" where samples are not finite or memory ran out.
    """
    pictures = checked(suite)
    store, done = Store(folder, suite.model_dump(mode="json")), 0
    finished = store.finished()
    left = [row for row in rows(suite, pictures.digests if pictures else {}) if row.id not in finished]
    store.claims.forget(finished)
    left.sort(key=lambda row: store.claims.died(row.id))
    while left:
        for row in left:
            with store.claim(row.id) as ours:
                if not ours:
                    continue
                result, images = compute(row, suite, pictures, device)
                keep(store, result, images)
                done += 1
                say(line(row, result))
        left = [row for row in left if not store.holds(row.id)] if stay else []
        if left:
            time.sleep(1)
    finish_sets(suite, folder, pictures, device=device, say=say)
    return done


def count_left(suite: Suite, folder: Path) -> int:
    """How many rows are not in ``folder``."""
    pictures = Pictures(suite.images) if suite.problems else None
    finished = Store(folder, suite.model_dump(mode="json")).finished()
    return sum(row.id not in finished for row in rows(suite, pictures.digests if pictures else {}))


def keep(store: Store, result: Mapping[str, Any], images: Mapping[str, Tensor]) -> None:
    """A row and its pictures in the folder, the row last: what is there is whole."""
    for name, x in images.items():
        # Measurements and truths belong to several rows, and to several processes at once.
        with store.claims.alone(f"picture-{name}"):
            remove_half_written(store.image(name))
            if name == result["id"] or not store.image(name).exists():
                write_picture(store.image(name), x)
    store.write(result)


def checked(suite: Suite) -> Pictures | None:
    """The pictures of a suite of which every problem and metric can be computed here.

    Errors: as :func:`plan`, and :class:`InvalidArgument` for metrics that are missing.
    """
    missing = _missing(suite)
    if missing:
        name, why = next(iter(missing.items()))
        kind, _, word = name.partition(" ")
        raise InvalidArgument(f"{kind}s", word, f"a {kind} that can be had here ({why})")
    pictures = Pictures(suite.images) if suite.problems else None
    if pictures is not None:
        _try(suite, pictures)
    return pictures


def _missing(suite: Suite) -> dict[str, str]:
    found: dict[str, str | None] = {**missing_metrics(suite)}
    for sampler in suite.samplers:
        method = make_method(sampler.name, sampler.settings)
        lack = method.lack() if isinstance(method, Deepinv) else None
        found[f"sampler {sampler.name}"] = None if lack is None else str(lack)
    return {name: why for name, why in found.items() if why}


def _try(suite: Suite, pictures: Pictures) -> None:
    """Every problem on every picture's size, and every metric that is there on the first picture."""
    for name in pictures.digests:
        for problem in suite.problems:
            problem.make(pictures.shape(name), name)
    name = next(iter(pictures.digests))
    truth = pictures.load(name)
    samples = truth + 0.1 * torch.randn((suite.samples, *truth.shape), generator=torch.Generator().manual_seed(0))
    for metric in row_metrics(suite, name).values():
        if metric.missing() is None:
            metric(samples, truth, suite.problems[0].simulate(truth, name))
    if suite.labels is not None:
        for image in pictures.digests:
            label_of(suite.labels, image)
    check_sets(suite, pictures)


def _estimate(suite: Suite, pictures: Pictures | None, left: list[Row]) -> float | None:
    """From one evaluation of each prior on the first picture; inner loops are not counted."""
    if pictures is None or not left:
        return None if left else 0.0
    once = {}
    for name in {row.prior for row in left}:
        prior, x = model(name, "cpu"), pictures.load(next(iter(pictures.digests)))[None]
        with torch.no_grad():
            prior.denoise(x, torch.ones(1))
            began = time.perf_counter()
            prior.denoise(x, torch.ones(1))
            once[name] = time.perf_counter() - began
    return sum(once[row.prior] * evaluations(row) for row in left)


def evaluations(row: Row) -> float:
    """About how many evaluations of the prior a row costs; a VJP counts as two."""
    vjp = make_method(row.sampler.name, row.sampler.settings).needs_vjp
    return row.steps * row.samples * (3 if vjp else 1)


def line(row: Row, result: Mapping[str, Any]) -> str:
    """A finished row in words."""
    place = " ".join(word for word in (row.prior, row.image, row.problem) if word)
    head = f"{place}  {row.sampler.shown}  {row.steps} steps, seed {row.seed}: "
    if result["status"] != "done":
        return head + f"{result['status']} ({result['message'][:80]})"
    numbers = [
        f"{k.removeprefix('metric.')} {v:.4g}" for k, v in result.items() if k.startswith("metric.") and v is not None
    ]
    return head + ", ".join([*numbers, f"{result['seconds']:.2f} s"])
