"""Dead links of the built pages: `python docs/check_links.py build/docs`. Exit code 1 if there are any.

Every relative link must lead to a file that was built, and its fragment to an id or name on that page. Links to other
hosts are left to `sphinx-build -b linkcheck`, which needs a network.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is None:
                continue
            if name in ("id", "name"):
                self.anchors.add(value)
            elif name in ("href", "src"):
                self.links.add(value)


def dead_links(folder: Path) -> list[str]:
    """``page: link`` for each that leads nowhere."""
    pages = {path.resolve(): Page(path.read_text()) for path in folder.rglob("*.html")}
    dead = []
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = pages.get(target)
            if not target.exists() or (known is not None and unquote(parts.fragment) not in known.anchors):
                dead.append(f"{path.relative_to(folder.resolve())}: {link}")
    return dead


def main() -> int:
    folder = Path(sys.argv[1])
    found = dead_links(folder)
    print(*found, sep="\n", end="\n" if found else "")
    print(f"{len(found)} dead links in {len(list(folder.rglob('*.html')))} pages")
    return 1 if found or not (folder / "index.html").exists() else 0


if __name__ == "__main__":
    sys.exit(main())
