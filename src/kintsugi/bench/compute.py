"""One row of a benchmark: a function of its arguments alone, and what made it.

A process keeps the model, the oracle and the pictures of the row before, so rows that share them should follow one
another.
"""

from __future__ import annotations

import json
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import kintsugi

from ..driver import restore
from ..errors import Diverged, InvalidArgument, KintsugiError
from ..interrupt import interrupted
from ..oracles import Oracle, distance, oracle
from ..priors import Prior, load_prior
from ..problem import Problem
from .measures import row_metrics
from .memory import Peak
from .methods import make_method
from .pictures import Source
from .problems import ProblemSpec
from .suite import Row, Suite

Load = Callable[[str, str], Prior]


def compute(
    row: Row, suite: Suite, pictures: Source | None, device: str = "cpu", load: Load | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """One row, and the pictures that are to be kept: a function of its arguments alone.

    ``load``: the model of a name on a device, :func:`model` if None.
    """
    problem, prior, truth = _given(row, pictures, device, load or model)
    known = {
        "id": row.id, "prior": row.prior, "image": row.image, "problem": row.problem, "sampler": row.sampler.shown,
        "steps": row.steps, "seed": row.seed, "samples": row.samples, "noise": problem.noise,
        "settings": json.dumps(row.sampler.settings, sort_keys=True), "versions": json.dumps(versions(device)),
        "message": "", "forwards": 0.0, "vjps": 0.0, "seconds": 0.0, "peak_mib": 0.0,
    }  # fmt: skip
    method = make_method(row.sampler.name, row.sampler.settings)
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
        if interrupted():
            raise KeyboardInterrupt from error
        took = time.perf_counter() - began
        # One message for all rows of a method, without the numbers of each.
        message = f"diverged; try {error.advice}" if isinstance(error, Diverged) else str(error)
        return known | {"status": "failed", "message": " ".join(message.split())[:300], "seconds": took}, {}
    cost = {"forwards": result.cost.forwards, "vjps": result.cost.vjps, "seconds": result.cost.seconds}
    samples = result.samples[0].cpu()
    measured = _measure(row, suite, samples, truth, problem)
    images = {}
    if suite.keeps and truth is not None:
        images = {row.id: samples[0], f"truth-{row.image}": truth}
        if problem.batch.shape[1:] == truth.shape:
            images[f"y-{row.problem}-{row.image}"] = problem.batch[0].cpu()
    return known | {"status": "done", "peak_mib": peak.mib} | cost | measured, images


def _given(row: Row, pictures: Source | None, device: str, load: Load) -> tuple[Problem, Prior, Tensor | None]:
    if pictures is None:
        known = _oracle(row.problem)
        return known.problem, known.prior, None
    truth = pictures.load(row.image)
    problem = ProblemSpec.model_validate(row.spec["problem"]).simulate(truth, row.image)
    return problem.with_rows(problem.batch.to(device)), load(row.prior, device), truth


@lru_cache(maxsize=1)
def _oracle(name: str) -> Oracle:
    """The oracle, kept for the rows that follow with the same."""
    return oracle(name)


@lru_cache(maxsize=1)
def model(name: str, device: str) -> Prior:
    """The model, kept for the rows that follow with the same."""
    return load_prior(name, device=device)


def _measure(row: Row, suite: Suite, samples: Tensor, truth: Tensor | None, problem: Problem) -> dict[str, Any]:
    if truth is None:
        values = asdict(distance(samples, _oracle(row.problem), generator=1))
        return {f"metric.{name}": value for name, value in values.items()}
    here = problem.with_rows(problem.batch.cpu())
    metrics = row_metrics(suite, row.image)
    return {f"metric.{name}": float(metric(samples, truth, here)) for name, metric in metrics.items()}


@lru_cache(maxsize=8)
def versions(device: str = "cpu") -> dict[str, str]:
    """What made a row: versions, the commit where there is one, the device."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{platform.machine()} CPU"
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
