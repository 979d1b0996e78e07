"""Presets: settings of samplers for kinds of problems and numbers of steps, by name.

A preset is a YAML file that ``kintsugi tune`` writes: what was tuned, on which images, for which objective, and an
entry for each sampler, problem and number of steps. :meth:`Preset.find` takes the entry of the same sampler and the
same kind of problem that is nearest in its number, its noise and the number of steps (in logarithms), and says how far
it is.

>>> match = load_preset("photo-psnr").find("cpigdm", Place("bicubic", 4), steps=5)
>>> match.entry.steps, match.exact
(5, True)
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidArgument, InvalidFile
from ..samplers import Sampler, available_samplers, make_sampler
from ..samplers.space import as_objects
from ..yamlfile import find_shipped, read_yaml
from .place import PARAMETERS, Place


@dataclass(frozen=True)
class Entry:
    """Settings of a sampler for a kind of problem and a number of steps; empty settings are the sampler's defaults.

    ``verdict``: whether the search found better ones, in words. ``content``: all that the file states of the entry.
    """

    sampler: str
    place: Place
    steps: int
    settings: Mapping[str, Any]
    verdict: str
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Match:
    """The entry that was taken, for which problem and how many steps it was looked for."""

    preset: str
    entry: Entry
    place: Place
    steps: int

    @property
    def exact(self) -> bool:
        """Whether the entry was tuned for just this."""
        return self.entry.place.distance(self.place) == 0 and self.entry.steps == self.steps

    @property
    def note(self) -> str:
        """Which entry was taken, and how far it is, in words."""
        taken = f"preset {self.preset}: {self.entry.sampler}, {self.entry.place.shown}, {self.entry.steps} steps"
        settings = ", ".join(f"{name} {value}" for name, value in self.entry.settings.items())
        away = "" if self.exact else f"; here: {self.place.shown}, {self.steps} steps"
        return f"{taken} ({settings or 'the defaults'}){away}"

    def sampler(self, **settings: Any) -> Sampler:
        """The sampler with the entry's settings; ``settings`` go before them."""
        return make_sampler(self.entry.sampler, **as_objects({**self.entry.settings, **settings}))


@dataclass(frozen=True)
class Preset:
    """A preset file: ``content`` is all of it, ``entries`` what can be taken."""

    name: str
    path: Path
    content: Mapping[str, Any]
    entries: tuple[Entry, ...]

    @property
    def summary(self) -> str:
        """What it is for, in a line."""
        return str(self.content.get("summary", ""))

    @property
    def prior(self) -> str:
        """The name of the prior that it was tuned with."""
        return str(self.content["prior"]["name"])

    def find(self, sampler: str, place: Place, steps: int) -> Match:
        """The nearest entry. Errors: :class:`InvalidArgument` where there is none for the sampler, or this kind."""
        own = [entry for entry in self.entries if entry.sampler == sampler]
        if not own:
            names = sorted({entry.sampler for entry in self.entries})
            raise InvalidArgument("sampler", sampler, f"a sampler that the preset {self.name} has: {', '.join(names)}")
        same = [entry for entry in own if entry.place.operator == place.operator]
        if not same:
            kinds = ", ".join(sorted({entry.place.operator for entry in own}))
            expected = f"a kind of problem that the preset {self.name} has for {sampler}: {kinds}"
            raise InvalidArgument("preset", place.operator, expected)

        def away(entry: Entry) -> tuple[float, int]:
            # Of two that are equally far the one for fewer steps: its settings are the more careful.
            return round(entry.place.distance(place) + abs(math.log(entry.steps / steps)), 9), entry.steps

        return Match(self.name, min(same, key=away), place, steps)


def available_presets() -> dict[str, Path]:
    """The presets that come with the package: names and files."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}


def load_preset(preset: str | os.PathLike[str]) -> Preset:
    """A preset by its name, or from a file. Errors: :class:`InvalidFile` that names what is wrong in it."""
    path = find_shipped(Path(preset), "preset", Path(__file__).parent)
    content = read_yaml(path, "preset")
    if not isinstance(content.get("entries"), list):
        raise InvalidFile(
            path, "not a preset: expected names and values, with a list of entries, as kintsugi tune writes"
        )
    if not isinstance(content.get("prior"), dict) or "name" not in content["prior"]:
        raise InvalidFile(path, "prior: expected its name and a digest of its weights")
    entries = tuple(_entry(path, number, item) for number, item in enumerate(content["entries"]))
    return Preset(str(content.get("name", path.stem)), path, content, entries)


def _entry(path: Path, number: int, item: Any) -> Entry:
    """One entry, whose settings the sampler accepts."""
    where = f"entries.{number}"
    if not isinstance(item, dict):
        raise InvalidFile(path, f"{where}: expected names and values")
    missing = [name for name in ("sampler", "operator", "noise", "steps", "settings") if name not in item]
    if missing:
        raise InvalidFile(path, f"{where}: {missing[0]} is missing")
    steps, settings = item["steps"], item["settings"]
    if item["sampler"] not in available_samplers():
        raise InvalidFile(path, f"{where}.sampler: expected one of {', '.join(available_samplers())}")
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise InvalidFile(path, f"{where}.steps: expected an integer of at least 1, got {steps}")
    if not isinstance(settings, dict):
        raise InvalidFile(path, f"{where}.settings: expected names and values")
    try:
        word = PARAMETERS.get(item["operator"])
        place = Place(item["operator"], None if word is None else item.get(word), item["noise"])
        make_sampler(item["sampler"], **as_objects(settings))
    except (InvalidArgument, TypeError) as error:
        raise InvalidFile(path, f"{where}: {error}") from error
    return Entry(item["sampler"], place, steps, settings, str(item.get("verdict", "")), item)


__all__ = ["Entry", "Match", "Place", "Preset", "available_presets", "load_preset"]
