"""What a benchmark compares: a grid, read from YAML and checked before anything runs.

    name: photo
    priors: [photo]
    images: {folder: KODAK, scale: 0.5, crop: 96, limit: 24}
    problems:
      - {name: sr4, operator: bicubic, factor: 4}
      - {name: box, operator: box, size: 32, noise: 0.05}
    samplers:
      - kintsugi
      - {name: cpigdm, settings: {w: 15.0}, steps: [3, 5]}
    steps: [3, 5, 10, 20]
    seeds: [0]
    metrics: [psnr, ssim, consistency]
    set_metrics: [fid, kid]

Every combination of prior, image, problem, sampler, number of steps and seed is a row. Instead of ``images`` and
``problems`` there may be ``oracles``: problems whose posterior is known (:mod:`kintsugi.oracles`), which bring their
own prior. ``noise`` is the standard deviation in the units of the data, [-1, 1].

``set_metrics`` are of all images of a prior, problem, sampler, number of steps and seed (:mod:`kintsugi.bench.sets`).
``features`` and ``classifier`` name what they and ``top1`` look through (:mod:`kintsugi.metrics.functions`); ``labels``
is a file of true classes for ``top1``, one "NAME LABEL" a line, in place of the class that the truth is given.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from ..errors import InvalidArgument, InvalidFile
from ..oracles import available_oracles
from ..presets import Place, Preset, load_preset
from ..yamlfile import find_shipped
from .methods import available_methods, make_method
from .problems import ProblemSpec
from .strict import Strict, load_strict

SUITES = Path(__file__).parent / "suites"
Steps = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]


class Images(Strict):
    """Pictures of a folder, in the order of their names: reduced by ``scale``, and of that the ``crop`` in the middle.

    ``folder`` None: the pictures that come with the package. ``limit``: the first so many. ``names``: a file that names
    those that are meant, one a line: its first word, a path of which the last part counts, without its suffix.
    ``size``: instead of ``scale``, bring the shorter side to so many pixels and take the square in the middle, ``by``
    halving with a box and then bicubic, as the data of ADM were made ("adm"), or "bilinear", as torchvision does.
    """

    later: ClassVar[frozenset[str]] = frozenset({"names", "size", "by"})

    folder: Path | None = None
    scale: float = Field(1.0, gt=0, le=1)
    crop: int | None = Field(None, ge=8)
    limit: int | None = Field(None, ge=1)
    names: Path | None = None
    size: int | None = Field(None, ge=8)
    by: Literal["adm", "bilinear"] = "adm"

    @model_validator(mode="after")
    def _one_way(self) -> Images:
        if self.size is not None and (self.scale != 1 or self.crop is not None):
            raise ValueError("size: expected none beside a scale or a crop")
        return self


class SamplerSpec(Strict):
    """A method (:mod:`kintsugi.bench.methods`), settings that replace its defaults, and its own numbers of steps.

    ``problems``: the names of those that it is for, None for all; so that it may stand again with other settings for
    others, under one ``label``. ``limit``: on the first so many images only, for methods that are slow. ``label``: its
    name in tables. ``preset``: a name or a file (:mod:`kintsugi.presets`), whose settings for the problem and the
    number of steps stand below ``settings``; a row states those that were used.
    """

    later: ClassVar[frozenset[str]] = frozenset({"problems", "preset"})

    name: str
    settings: dict[str, Any] = Field(default_factory=dict)
    steps: Steps | None = None
    limit: int | None = Field(None, ge=1)
    label: str = ""
    problems: list[str] | None = None
    preset: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _exists(self) -> SamplerSpec:
        if self.name not in available_methods():
            raise ValueError(f"sampler {self.name!r}: expected one of {', '.join(available_methods())}")
        try:
            make_method(self.name, self.settings)
            if self.preset is not None:
                _preset(self.preset)
        except (InvalidArgument, InvalidFile, TypeError) as error:
            raise ValueError(f"sampler {self.name!r}: {error}") from error
        return self

    @property
    def shown(self) -> str:
        """Its name in tables."""
        preset = [] if self.preset is None else [f"preset {Path(self.preset).stem}"]
        words = ", ".join([*preset, *(f"{k}={v}" for k, v in self.settings.items())])
        return self.label or (f"{self.name} ({words})" if words else self.name)

    def tuned(self, problem: ProblemSpec, steps: int) -> SamplerSpec:
        """The same with the preset's settings written out. Errors: :class:`InvalidArgument` where it has none."""
        if self.preset is None:
            return self
        found = _preset(self.preset).find(self.name, Place.of_spec(problem), steps).entry.settings
        settings = {**found, **self.settings}
        return self.model_copy(update={"settings": settings, "label": self.shown, "preset": None})


class Suite(Strict):
    """A benchmark; see the module."""

    later: ClassVar[frozenset[str]] = frozenset({"set_metrics", "features", "classifier", "labels"})

    name: str = Field(pattern=r"^[\w-]+$")
    title: str = ""
    priors: list[str] = Field(default_factory=lambda: ["photo"], min_length=1)
    images: Images | None = None
    problems: list[ProblemSpec] = Field(default_factory=list)
    oracles: list[str] = Field(default_factory=list)
    samplers: list[SamplerSpec] = Field(min_length=1)
    steps: Steps
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default_factory=lambda: [0], min_length=1)
    samples: int = Field(1, ge=1)
    metrics: list[str] = Field(default_factory=list)
    keep_images: bool = False
    set_metrics: list[str] = Field(default_factory=list)
    features: str | None = None
    classifier: str | None = None
    labels: Path | None = None

    @property
    def keeps(self) -> bool:
        """Whether the restored pictures are kept; metrics of sets are computed from them."""
        return self.keep_images or bool(self.set_metrics)

    def _has_entries(self, sampler: SamplerSpec) -> None:
        """Whether the preset of ``sampler`` has something for every problem that it is for."""
        if self.oracles:
            raise ValueError(f"sampler {sampler.shown!r}: presets are for problems on images, not for oracles")
        for problem in self.problems:
            if sampler.problems is not None and problem.name not in sampler.problems:
                continue
            for steps in sampler.steps or self.steps:
                try:
                    sampler.tuned(problem, steps)
                except InvalidArgument as error:
                    raise ValueError(f"sampler {sampler.shown!r}: {error}") from error

    @field_validator("oracles")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        wrong = [name for name in names if name not in available_oracles()]
        if wrong:
            raise ValueError(f"{wrong[0]!r}: expected some of {', '.join(available_oracles())}")
        return names

    @model_validator(mode="after")
    def _whole(self) -> Suite:
        if bool(self.problems) == bool(self.oracles):
            raise ValueError("expected either problems (on images) or oracles")
        if self.oracles and (self.images or self.metrics or self.set_metrics):
            raise ValueError("oracles have no images, and their own metrics: mean, spread, sliced, modes")
        if self.oracles and self.samples < 2:
            raise ValueError("samples: oracles need at least 2, since a distance is between distributions")
        for sampler in (s for s in self.samplers if s.preset is not None):
            self._has_entries(sampler)
        names = [p.name for p in self.problems] or self.oracles
        for wanted in (name for s in self.samplers for name in s.problems or []):
            if wanted not in names:
                raise ValueError(f"samplers: problem {wanted!r}: expected one of {', '.join(names)}")
        # A method may stand twice with other numbers of steps, as one that gets fewer images at many steps does.
        tables = [
            (s.shown, steps, problem)
            for s in self.samplers
            for steps in s.steps or self.steps
            for problem in (names if s.problems is None else s.problems)
        ]
        for what in ([p.name for p in self.problems], tables, self.priors, self.seeds):
            if len(set(what)) < len(what):
                raise ValueError(f"the same twice: {what}")
        return self


@lru_cache(maxsize=8)
def _preset(name: str) -> Preset:
    return load_preset(name)


def load_suite(path: Path, images: Path | None = None) -> Suite:
    """Read and check a suite: a file, or the name of one that comes with the package.

    ``images``: a folder, instead of the suite's own. Errors: :class:`InvalidFile` that names the entry.
    """
    return load_strict(Suite, path, "suite", SUITES, images)


def available_suites() -> dict[str, str]:
    """The suites that come with the package: name and title."""
    return {name: load_suite(file).title for name, file in sorted((f.stem, f) for f in SUITES.glob("*.yaml"))}


def suite_path(path: Path) -> Path:
    """``path``, or the file of the suite of that name in the package."""
    return find_shipped(path, "suite", SUITES)


@dataclass(frozen=True)
class Row:
    """One restoration: everything that decides its result."""

    prior: str
    image: str
    problem: str
    sampler: SamplerSpec
    steps: int
    seed: int
    samples: int
    spec: dict[str, Any]

    @property
    def id(self) -> str:
        """The same for the same restoration, in whatever suite it stands."""
        decides = [
            self.prior, self.image, self.problem, self.sampler.name, self.sampler.settings, self.steps, self.seed,
            self.samples, self.spec,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()[:16]


def rows(suite: Suite, images: dict[str, str]) -> Iterator[Row]:
    """All rows; those that share a prior, an image and a problem stand together.

    ``images``: names, and a digest of each one's pixels, so that another picture of the same name is another row.
    """
    places = (
        [("oracle", 0, "", name, {"oracle": name}) for name in suite.oracles]
        if suite.oracles
        else [
            (prior, number, image, problem.name, {"problem": problem.model_dump(mode="json"), "pixels": digest})
            for prior in suite.priors
            for number, (image, digest) in enumerate(images.items())
            for problem in suite.problems
        ]
    )
    specs = {problem.name: problem for problem in suite.problems}
    for prior, number, image, problem, spec in places:
        for sampler in suite.samplers:
            if sampler.limit is not None and number >= sampler.limit:
                continue
            if sampler.problems is not None and problem not in sampler.problems:
                continue
            for steps in sampler.steps or suite.steps:
                used = sampler.tuned(specs[problem], steps) if sampler.preset is not None else sampler
                for seed in suite.seeds:
                    yield Row(prior, image, problem, used, steps, seed, suite.samples, spec)
