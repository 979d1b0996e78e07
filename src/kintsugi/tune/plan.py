"""What is to be tuned, read from YAML and checked before anything runs.

    name: photo-psnr
    summary: for the highest PSNR
    prior: photo
    images: {folder: PHOTOS, held_out: true, at_least: 500, scale: 0.5, crop: 96, crops: 2}
    problems:
      - {name: sr4, operator: bicubic, factor: 4}
    samplers: [cpigdm, pigdm]
    steps: [5, 20]
    trials: {5: 16, 20: 8}
    objective: {psnr: 1.0, band_energy: -0.5}
    seed: 0

``objective`` is a metric, or the weights of one or two; a larger sum is better, so a metric that is better when it is
lower has a negative weight. ``trials``: searched settings a case, beside the defaults.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, field_validator, model_validator

from ..bench.problems import ProblemSpec
from ..bench.strict import Strict, load_strict
from ..metrics import available_metrics, make_metric
from ..problem import Problem
from ..samplers import available_samplers, make_sampler
from ..samplers.space import nested

Count = Annotated[int, Field(ge=1)]


class TuneImages(Strict):
    """Pictures of a folder: those that ``kintsugi train`` holds out of it (``held_out``), or all.

    ``at_least``: pixels that the shorter side must have. Each is reduced by ``scale``, and ``crops`` squares of
    ``crop`` pixels are cut: in the middle, and towards the corners. All crops of a picture are in one half.
    """

    folder: Path
    held_out: bool = True
    at_least: int = Field(0, ge=0)
    scale: float = Field(1.0, gt=0, le=1)
    crop: int = Field(96, ge=8)
    crops: int = Field(1, ge=1, le=5)


class TunePlan(Strict):
    """A plan; see the module."""

    name: str = Field(pattern=r"^[\w-]+$")
    summary: str = ""
    prior: str = "photo"
    images: TuneImages
    problems: list[ProblemSpec] = Field(min_length=1)
    samplers: list[str] = Field(min_length=1)
    steps: list[Count] = Field(min_length=1)
    trials: Count | dict[Count, Count] = 32
    objective: dict[str, float] = Field(default_factory=lambda: {"psnr": 1.0}, min_length=1, max_length=2)
    measure: list[str] = Field(default_factory=list)
    seed: int = Field(0, ge=0)

    @field_validator("objective", mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        if isinstance(value, str) and value in available_metrics():
            return {value: -1.0 if available_metrics()[value].better == "lower" else 1.0}
        return {value: 1.0} if isinstance(value, str) else value

    @field_validator("objective")
    @classmethod
    def _weights(cls, weights: dict[str, float]) -> dict[str, float]:
        for name, weight in weights.items():
            _known_metric(name)
            better = available_metrics()[name].better
            if not abs(weight) < float("inf") or weight == 0:
                raise ValueError(f"{name}: expected a finite weight other than 0, got {weight}")
            if {"higher": weight < 0, "lower": weight > 0}.get(better, True):
                wanted = {"higher": "a weight above 0", "lower": "a weight below 0"}.get(better, "another metric")
                raise ValueError(f"{name}: expected {wanted}, since {better} is better, got {weight}")
        return weights

    @field_validator("measure")
    @classmethod
    def _measured(cls, names: list[str]) -> list[str]:
        for name in names:
            _known_metric(name)
        return names

    @field_validator("samplers")
    @classmethod
    def _tunable(cls, names: list[str]) -> list[str]:
        can = [name for name, method in available_samplers().items() if method.space]
        for name in names:
            if name not in can:
                raise ValueError(f"{name!r}: expected some of {', '.join(can)}, which state what of them can be tuned")
        return names

    @model_validator(mode="after")
    def _whole(self) -> TunePlan:
        if isinstance(self.trials, dict) and set(self.trials) != set(self.steps):
            raise ValueError(f"trials: expected a number for each of the steps {self.steps}, got {self.trials}")
        for what in ([p.name for p in self.problems], self.samplers, self.steps):
            if len(set(what)) < len(what):
                raise ValueError(f"the same twice: {what}")
        return self

    @property
    def metrics(self) -> list[str]:
        """What is measured: the metrics of the objective, and those that are only reported."""
        return sorted({*self.objective, *self.measure})

    def trials_at(self, steps: int) -> int:
        """How many settings are tried beside the defaults."""
        return self.trials if isinstance(self.trials, int) else self.trials[steps]

    def score(self, measured: Mapping[str, float]) -> float:
        """The objective of what was measured on one crop; the larger the better."""
        return sum(weight * measured[name] for name, weight in self.objective.items())


def _known_metric(name: str) -> None:
    if name not in available_metrics():
        raise ValueError(f"{name!r}: expected one of {', '.join(available_metrics())}")
    metric = make_metric(name)
    if "samples" in metric.needs:
        raise ValueError(f"{name!r}: expected a metric of one sample; this one needs several")
    if metric.missing():
        raise ValueError(f"{name!r}: expected a metric that can be computed here ({metric.missing()})")


def load_plan(path: Path, images: Path | None = None) -> TunePlan:
    """Read and check a plan: a file, or the name of one that comes with the package.

    ``images``: a folder, instead of the plan's own. Errors: :class:`InvalidFile` that names the entry.
    """
    return load_strict(TunePlan, path, "plan", Path(__file__).parent / "plans", images)


@dataclass(frozen=True)
class Case:
    """One search: a sampler, a problem and a number of steps. ``context``: a digest of what else decides its result."""

    sampler: str
    problem: ProblemSpec
    steps: int
    context: str

    @property
    def id(self) -> str:
        """The same for the same search; another prior, other pictures, objective or seed make another."""
        spec = self.problem.model_dump(mode="json")
        return digest([self.sampler, spec, self.steps, self.context])

    @property
    def shown(self) -> str:
        """In words."""
        return f"{self.sampler} {self.problem.name} {self.steps} steps"


def cases(plan: TunePlan, prior: str, pictures: Mapping[str, str]) -> Iterator[Case]:
    """All searches of a plan, fewest steps first. ``prior``: a digest of its weights; ``pictures``: of each crop."""
    context = digest([prior, dict(pictures), plan.objective, plan.measure, plan.seed])
    for steps in sorted(plan.steps):
        for problem in plan.problems:
            for sampler in plan.samplers:
                case = Case(sampler, problem, steps, context)
                yield replace(case, context=digest([context, default_settings(case, plan.images.crop)]))


def default_settings(case: Case, crop: int) -> dict[str, Any]:
    """What the defaults of the sampler are for such a problem on squares of ``crop`` pixels, in plain values.

    They belong to the version of the library; a search and what is measured are for these.
    """
    operator = case.problem.make((3, crop, crop), "defaults")
    stated = Problem(torch.zeros(1, *operator.out_shape), operator, case.problem.noise)
    return nested(make_sampler(case.sampler).resolved(stated, case.steps))


def digest(value: Any) -> str:
    """16 hexadecimal digits for a value of JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
