"""The tables in docs/tune.md, made of the presets that come with the package: an entry a row, also where nothing was
gained.

python docs/make_tune.py            # writes them between <!-- NAME begin --> and <!-- NAME end -->
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kintsugi.files import atomic_path
from kintsugi.presets import Entry, Preset, available_presets, load_preset

PAGE = Path(__file__).parent / "tune.md"
HEADER = ("sampler", "problem", "steps", "defaults", "settings that were found", "difference", "in the preset")


def table(preset: Preset) -> str:
    """Counts, and a row of Markdown for each entry."""
    gained = sum(bool(entry.settings) for entry in preset.entries)
    searched = sum(entry.content["trials"]["all"] - 1 for entry in preset.entries)
    said = f"{len(preset.entries)} entries, {searched} trials beside the defaults; {gained} other than the defaults."
    lines = [HEADER, ["---"] * len(HEADER), *(row(entry) for entry in preset.entries)]
    return said + "\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines)


def row(entry: Entry) -> list[str]:
    """What was found for one case, with 95 % intervals over the images that the search did not see."""
    content = entry.content
    found = entry.settings or content.get("tried", {}).get("settings", {})
    gain = content.get("difference") or content.get("tried", {}).get("difference")
    return [
        f"`{entry.sampler}`",
        entry.place.shown,
        str(entry.steps),
        interval(content["defaults"]),
        shown(found) if found else "none better",
        interval(gain, "+") if gain else "",
        "yes" if entry.settings else "defaults",
    ]


def interval(value: Mapping[str, Any] | None, sign: str = "") -> str:
    """Mean and half-width."""
    return "fails" if value is None else f"{value['mean']:{sign}.2f} ± {value['half']:.2f}"


def shown(settings: Mapping[str, Any]) -> str:
    """Settings in words; fields of objects with a dot."""
    flat = [
        (f"{name}.{key}", inner) if isinstance(value, Mapping) else (name, value)
        for name, value in settings.items()
        for key, inner in (value.items() if isinstance(value, Mapping) else [("", None)])
    ]
    return ", ".join(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in flat)


def insert(page: str, name: str, text: str) -> str:
    """``page`` with ``text`` between the markers of ``name``."""
    pattern = re.compile(f"(<!-- {re.escape(name)} begin -->\n).*?(<!-- {re.escape(name)} end -->)", re.DOTALL)
    if not pattern.search(page):
        raise SystemExit(f"no lines <!-- {name} begin --> and <!-- {name} end --> in {PAGE}")
    return pattern.sub(lambda match: f"{match[1]}{text}\n{match[2]}", page)


if __name__ == "__main__":
    page = PAGE.read_text()
    for name in available_presets():
        page = insert(page, name, table(load_preset(name)))
    with atomic_path(PAGE) as path:
        path.write_text(page)
