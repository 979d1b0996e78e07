"""The table of methods in docs/samplers.md, made of the docstrings of the samplers.

python docs/make_tables.py            # writes it between <!-- methods begin --> and <!-- methods end -->
"""

from __future__ import annotations

import re
from pathlib import Path

from kintsugi.files import atomic_path
from kintsugi.samplers import Sampler, about, available_samplers

PAGE = Path(__file__).parent / "samplers.md"
BEGIN, END = "<!-- methods begin -->", "<!-- methods end -->"
HEADER = ("name", "method", "paper", "cost", "takes", "its authors' settings")


def methods() -> str:
    """A row of Markdown for each sampler."""
    lines = [HEADER, ["---"] * len(HEADER), *(row(name, cls) for name, cls in available_samplers().items())]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def row(name: str, sampler: type[Sampler]) -> list[str]:
    """What the docstring says; a method without the paragraphs has its first line alone."""
    try:
        said = about(sampler)
    except LookupError:
        words = [((sampler.__doc__ or "").strip().splitlines() or [""])[0], "", "", "", ""]
    else:
        words = [said.summary, said.paper, said.cost, said.takes, said.authors]
    return [f"`{name}`", *(escape(word) for word in words)]


def escape(text: str) -> str:
    """For a cell: bars would end it, two backquotes are reStructuredText's code, and sentences need no full stop."""
    return text.replace("``", "`").replace("|", "\\|").removesuffix(".")


def insert(page: str, table: str) -> str:
    """``page`` with ``table`` between the markers."""
    pattern = re.compile(f"({re.escape(BEGIN)}\n).*?({re.escape(END)})", re.DOTALL)
    if not pattern.search(page):
        raise SystemExit(f"no lines {BEGIN} and {END} in the page")
    return pattern.sub(lambda match: f"{match[1]}{table}\n{match[2]}", page)


if __name__ == "__main__":
    page = insert(PAGE.read_text(), methods())
    with atomic_path(PAGE) as path:
        path.write_text(page)
