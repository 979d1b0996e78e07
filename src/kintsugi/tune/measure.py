"""What settings of a sampler give on a crop: a function of its arguments alone, kept in a file once it is known.

The files (one a case without its objective, lines of JSON) only grow, a line a measurement, so that a search that was
killed repeats nothing, and a search for another objective starts from what is known.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..bench.problems import ProblemSpec, seed_of
from ..driver import restore
from ..errors import NotConverged
from ..metrics import make_metric
from ..priors import Prior
from ..problem import Problem
from ..samplers import make_sampler
from ..samplers.space import as_objects
from .pictures import Crop
from .plan import Case, default_settings, digest


@dataclass(frozen=True)
class Measured:
    """``values`` by metric; None where the run ``failed``, with what went wrong."""

    values: Mapping[str, float] | None
    failed: str = ""


@dataclass
class Measurer:
    """Runs samplers on crops. ``known``: digests of the prior and of each crop; ``folder``: where results are kept."""

    prior: Prior
    prior_digest: str
    crops: Mapping[str, str]
    metrics: tuple[str, ...]
    seed: int
    folder: Path
    device: str = "cpu"
    _kept: dict[Path, dict[str, dict[str, Any]]] = field(default_factory=dict)

    def __call__(self, case: Case, settings: Mapping[str, Any], crop: Crop) -> Measured:
        """The metrics of one sample. A sample or a metric that is not finite, or a solver that gives up, is a failure;
        what a sampler refuses is the caller's mistake: :class:`InvalidArgument`."""
        spec = case.problem.model_dump(mode="json")
        where = [self.prior_digest, case.sampler, spec, case.steps, self.seed]
        path = self.folder / f"{digest(where)}.jsonl"
        # The defaults are those of this version of the library, and others in another.
        meant = settings or default_settings(case, crop.size)
        key = digest([where, bool(settings), meant, self.crops[crop.name], crop.name])
        row = self._rows(path).get(key)
        if row is None or ("failed" not in row and not set(self.metrics) <= set(row["values"])):
            row = {"key": key, **self._run(case, settings, crop)}
            self._keep(path, row)
        return Measured(row.get("values"), row.get("failed", ""))

    def _run(self, case: Case, settings: Mapping[str, Any], crop: Crop) -> dict[str, Any]:
        truth, problem = _given(case.problem.model_dump_json(), crop)
        method = make_sampler(case.sampler, **as_objects(settings))
        seed = seed_of(str(self.seed), crop.name)  # the same for all settings: differences are not those of noise
        there = problem.with_rows(problem.batch.to(self.device))
        try:
            result = restore(there, self.prior, method, steps=case.steps, seed=seed, tile=None)
        except (FloatingPointError, NotConverged) as error:
            return {"failed": " ".join(str(error).split())[:200]}
        samples = result.samples[0].cpu()
        values = {name: float(make_metric(name)(samples, truth, problem)) for name in self.metrics}
        wrong = [name for name, value in values.items() if not math.isfinite(value)]
        return {"failed": f"{wrong[0]} is not finite"} if wrong else {"values": values}

    def _rows(self, path: Path) -> dict[str, dict[str, Any]]:
        if path not in self._kept:
            self._kept[path] = {}
            for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
                try:
                    row = json.loads(line)
                    self._kept[path][row["key"]] = row
                except (json.JSONDecodeError, KeyError, TypeError):  # cut off when a machine stopped
                    continue
        return self._kept[path]

    def _keep(self, path: Path, row: dict[str, Any]) -> None:
        self._rows(path)[row["key"]] = row
        text = json.dumps(row, separators=(",", ":")) + "\n"
        with path.open("ab") as file:
            # What was cut off before ends here, so that it spoils no other line; one write, so that none mixes.
            whole = file.tell() == 0 or _last(path) == b"\n"
            os.write(file.fileno(), (text if whole else "\n" + text).encode())


@lru_cache(maxsize=64)
def _given(spec: str, crop: Crop) -> tuple[Tensor, Problem]:
    """The crop and its measurement, of a problem as JSON: lists in it cannot be looked up."""
    truth = crop.load()
    return truth, ProblemSpec.model_validate_json(spec).simulate(truth, crop.name)


def _last(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


def weights_digest(prior: Prior) -> str:
    """16 hexadecimal digits for the numbers of a model: names, shapes and values of all parameters and buffers."""
    found = hashlib.sha256(type(prior).__name__.encode())
    for name, value in sorted(prior.state_dict().items()):
        found.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]
