"""What a restoration is asked to do, what is known of it while it runs, and when it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..priors.base import Prior
from .asked import Asked
from .limits import Limits
from .steps import Stopped


@dataclass
class Report:
    """How far a restoration is. Written by the one thread that mends, read by all."""

    stage: str = ""
    done: int = 0
    total: int = 0
    frames: int = 0
    found: str = ""


@dataclass(frozen=True, eq=False)
class Work:
    """To restore the file ``source``, which the visitor knows as ``name``, into ``folder``, as ``asked``.

    ``mask``: of a picture with holes. ``report``: to be kept up to date. ``stopped()``: whether to give up.
    """

    asked: Asked
    source: Path
    mask: Path | None
    name: str
    folder: Path
    model: Prior
    limits: Limits
    report: Report
    stopped: Callable[[], bool] = lambda: False
    device: str = "cpu"

    def progress(self, done: int, total: int) -> None:
        """For a sampler. Raises :class:`Stopped` once the visitor has."""
        self.report.done, self.report.total = done, total
        if self.stopped():
            raise Stopped


@dataclass(frozen=True)
class Mended:
    """What came out.

    ``files``: name in the folder, and under which name it is saved by the visitor. ``samples``: those of them that are
    the samples; ``looks``: a picture of each, where they are none themselves. ``width``, ``height``: of what is looked
    at; ``size``: of the result, in words. ``shown``: files for the browser: before, after, gold. ``heard``: of a sound,
    before and sample1, sample2, ... ``says``: what the comparison shows, where that is not plain.
    """

    width: int
    height: int
    samples: tuple[str, ...]
    files: Mapping[str, str]
    frames: int
    command: str
    python: str
    notes: tuple[str, ...]
    cost: str
    found: str = ""
    shown: Mapping[str, str] = field(default_factory=dict)
    size: str = ""
    looks: tuple[str, ...] = ()
    heard: Mapping[str, str] = field(default_factory=dict)
    says: str = ""

    @property
    def open(self) -> set[str]:
        """All files that the visitor may fetch."""
        return {*self.files, *self.shown.values(), *self.looks, *self.heard.values()}


def spent(forwards: float, seconds: float) -> str:
    """A cost in words."""
    return f"{forwards:g} runs of the model for a sample, {seconds:.1f} seconds"
