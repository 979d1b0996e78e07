"""What is known of a restoration while it runs, and when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Report:
    """How far a restoration is. Written by the one thread that mends, read by all."""

    stage: str = ""
    done: int = 0
    total: int = 0
    frames: int = 0
    found: str = ""


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
