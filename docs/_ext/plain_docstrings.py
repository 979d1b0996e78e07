"""Docstrings of this library as reStructuredText, for Sphinx.

They are written to be read in an editor: ``inline code`` and roles as in reStructuredText, tables and indented
formulas as in Markdown, stars and bars as in mathematics, and sections ``Parameters`` and ``Attributes`` of lines
``name: text``. This translates them, line by line, and knows nothing of Sphinx but the hook at the end.
"""

from __future__ import annotations

import re
from typing import Any

SECTION = re.compile(r"^(Parameters|Attributes)$")
FIELD = re.compile(r"^(\w+(?:, \w+)*): (.*)$")
# What stays as it is inside a line: inline code and roles, and bold words; the third alternative is single backticks.
KEPT = re.compile(r"(:[\w:]+:`[^`]+`|``.+?``|\*\*(?=\S)[^*]+?\*\*)|`([^`\n]+)`")


def escape(text: str) -> str:
    """Stars, bars and trailing underscores as themselves; single backticks as inline code."""
    parts, end = [], 0
    for found in KEPT.finditer(text):
        parts += [_plain(text[end : found.start()]), found[1] or f"``{found[2]}``"]
        end = found.end()
    return "".join((*parts, _plain(text[end:])))


def _plain(text: str) -> str:
    text = re.sub(r"([\\*|])", r"\\\1", text)
    return re.sub(r"(?<=\w)_(?!\w)", r"\\_", text)


def convert(lines: list[str]) -> list[str]:
    """The docstring ``lines``, already without their common indent."""
    out: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.startswith(">>>"):
            at = _copy_doctest(lines, at, out)
        elif SECTION.match(line) and at + 1 < len(lines) and set(lines[at + 1]) == {"-"}:
            at = _copy_fields(lines, at + 2, line, out)
        elif line.lstrip().startswith("|"):
            at = _copy_table(lines, at, out)
        elif line.startswith("    ") and (not out or not out[-1]):
            at = _copy_literal(lines, at, out)
        elif re.match(r"^(Paper|Cost|Takes|Authors|Errors): ", line):
            word, rest = line.split(": ", 1)
            out += ["", f"**{word}:** {escape(rest)}"]  # each a paragraph of its own
            at += 1
        else:
            out.append(escape(line))
            at += 1
    return out


def _copy_doctest(lines: list[str], at: int, out: list[str]) -> int:
    if out and out[-1]:
        out.append("")
    while at < len(lines) and lines[at].strip():
        out.append(lines[at])
        at += 1
    out.append("")
    return at


def _copy_fields(lines: list[str], at: int, title: str, out: list[str]) -> int:
    """``name: text`` with indented lines that go on, to the next blank line, as a list."""
    out += [f":{title}:", ""]
    while at < len(lines) and lines[at].strip():
        found = FIELD.match(lines[at])
        out.append(f"    * **{found[1]}**: {escape(found[2])}" if found else f"      {escape(lines[at].strip())}")
        at += 1
    out.append("")
    return at


def _copy_table(lines: list[str], at: int, out: list[str]) -> int:
    if out and out[-1]:
        out.append("")
    out += [".. list-table::", "   :header-rows: 1", ""]
    while at < len(lines) and lines[at].lstrip().startswith("|"):
        cells = [cell.strip() for cell in lines[at].strip().strip("|").split("|")]
        if not all(set(cell) <= set(":-") and cell for cell in cells):
            out += [f"   {'* -' if i == 0 else '  -'} {escape(cell)}".rstrip() for i, cell in enumerate(cells)]
        at += 1
    out.append("")
    return at


def _copy_literal(lines: list[str], at: int, out: list[str]) -> int:
    out += ["::", ""]
    while at < len(lines) and (lines[at].startswith("    ") or not lines[at].strip()):
        out.append(lines[at])
        at += 1
    if out[-1]:
        out.append("")
    return at


def _process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = convert(lines)


def setup(app: Any) -> dict[str, Any]:
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", _process)
    return {"version": "1", "parallel_read_safe": True}
