"""What a sampler says of itself, read from its docstring: the tables of the command line and of the docs."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

from .base import Sampler

_FIELDS = ("Paper", "Cost", "Takes", "Authors")


@dataclass(frozen=True)
class About:
    """One line each: what a method is, where it comes from, what it costs and takes, and what its authors used."""

    summary: str
    paper: str
    cost: str
    takes: str
    authors: str


def about(sampler: type[Sampler]) -> About:
    """Read the docstring of ``sampler``: its first line, and the paragraphs ``Paper:``, ``Cost:``, ``Takes:``,
    ``Authors:``. Raises ``LookupError`` for one that is missing."""
    text = inspect.cleandoc(vars(sampler).get("__doc__") or "")
    summary = text.split("\n", 1)[0]
    found = {}
    for name in _FIELDS:
        match = re.search(rf"^{name}: (.*?)(?=^(?:{'|'.join(_FIELDS)}): |^\s*$|\Z)", text, re.MULTILINE | re.DOTALL)
        if match is None:
            raise LookupError(f"{sampler.__name__} has no paragraph '{name}:' in its docstring")
        found[name.lower()] = " ".join(match.group(1).split())
    return About(summary=summary, **found)
