"""What the tab key offers beside commands and options: names, found in the package's files without importing torch."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parents[1]
NAME = re.compile(r'^    name: ClassVar\[str\] = "(\w+)"', re.MULTILINE)


def sampler_names(incomplete: str) -> list[str]:
    """Samplers: the ``name`` of each class in ``samplers/``."""
    found: set[str] = set()
    for path in (HERE / "samplers").glob("*.py"):
        found.update(
            re.findall(r'^    name: ClassVar\[str\] = "(\w+)"', path.read_text(encoding="utf-8"), re.MULTILINE)
        )
    return _matching(found, incomplete)


def prior_names(incomplete: str) -> list[str]:
    """Priors that come with the package."""
    return _matching({path.stem for path in (HERE / "data").glob("*.safetensors")}, incomplete)


def preset_names(incomplete: str) -> list[str]:
    """Presets that come with the package."""
    return _matching({path.stem for path in (HERE / "presets").glob("*.yaml")}, incomplete)


def _matching(names: set[str], incomplete: str) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))
