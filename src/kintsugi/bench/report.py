"""What a run found, as one HTML page that needs nothing else, and as Markdown: tables, plots, pictures, settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..files import atomic_path
from ..optional import optional
from .page import Page, make_page
from .reading import distinct, read_rows, read_suite
from .sets import read_sets, with_sets


def report(run: Path, output: Path | None = None) -> tuple[Path, Path]:
    """Write the report of the run in ``run``: its HTML and its Markdown file.

    ``output``: a name ending in .html, which the Markdown file shares, or a folder for ``report.html`` and
    ``report.md``; None is ``run``. Errors: :class:`InvalidFile` where the run is not whole.
    """
    run = Path(run)
    output = run if output is None else Path(output)
    html = output if output.suffix.lower() in (".html", ".htm") else output / "report.html"
    jinja2 = optional("jinja2", "bench", "a benchmark's report")
    suite, rows = read_suite(run), distinct(with_sets(read_rows(run), read_sets(run)))
    page = make_page(run, suite, rows)
    template = (Path(__file__).parent / "report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    texts = {html: environment.from_string(template).render(vars(page)), html.with_suffix(".md"): _markdown(page)}
    html.parent.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return html, html.with_suffix(".md")


def _markdown(page: Page) -> str:
    blocks = [f"# {_escape(page.title)}", _list(f"{name}: {value}" for name, value in page.facts)]
    blocks += [f"**Note:** {_escape(warning)}" for warning in page.warnings]
    blocks += [_escape(page.method), "Plots and pictures are in the HTML report."]
    for section in page.sections:
        blocks += [f"## {_escape(section.name)}", _escape(section.about)]
        table = [[f"**{_escape(c.text)}**" if c.best else _escape(c.text) for c in row] for row in section.table]
        blocks.append(_table([_escape(name) for name in section.header], table))
        if section.troubles:
            blocks.append(_list(section.troubles))
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", page.suite)), default=0))
    blocks += ["## Settings", _list(page.settings), f"{fence}json\n{page.suite}\n{fence}"]
    return "\n\n".join(blocks) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_escape(line)}" for line in lines)


def _escape(text: str) -> str:
    """Text that Markdown shows as it is, also within a table; underscores within words mean nothing to it."""
    words = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"[\\`*|\[\]]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", words)


__all__ = ["read_rows", "report"]
